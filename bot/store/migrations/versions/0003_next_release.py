"""Format 3: every change since format 2, until it is released."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Collect the changes until the next release."""
    # How often and when the store was written: a restored copy is recognised by it.
    op.create_table(
        "lineage",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("writes", sa.Integer, nullable=False),
        sa.Column("written", sa.Integer, nullable=False),
        sa.Column("restored_from", sa.Integer),
        sa.Column("restored_at", sa.Integer),
    )
    # How many recordings of a window are known is counted from the index alone.
    op.drop_index("recordings_created")
    op.create_index("recordings_created", "recordings", ["website", "created", "vanished"])
