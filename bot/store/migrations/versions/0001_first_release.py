"""Format 1: the tables of the first release. A store of this format is stamped with it."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Do nothing: the tables are there."""
