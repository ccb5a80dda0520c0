"""The actions a rule can name, one file each."""
