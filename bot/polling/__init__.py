"""The polls: ask Mouseflow, decide, and write watermark, decisions and steps in one transaction."""
