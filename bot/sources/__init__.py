"""What the bot reads: one file per kind of subject, pure; the polls do the asking."""
