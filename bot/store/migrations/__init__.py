"""Alembic's revisions of the store. The number of a revision is the format it leads to."""
