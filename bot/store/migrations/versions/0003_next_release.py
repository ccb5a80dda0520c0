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
    # What people had marked on a recording when it was decided; empty: not known.
    op.add_column("recordings", sa.Column("marks", sa.Text, nullable=False, server_default=""))
    # once_per needs every time at which a rule acted, not only the latest.
    op.execute(
        "CREATE TABLE once_3 (rule TEXT NOT NULL, value BLOB NOT NULL, at INTEGER NOT NULL,"
        " until INTEGER NOT NULL, PRIMARY KEY (rule, value, at)) WITHOUT ROWID"
    )
    op.execute(
        "INSERT INTO once_3 (rule, value, at, until) SELECT rule, value, at, until FROM once"
    )
    op.execute("DROP TABLE once")
    op.execute("ALTER TABLE once_3 RENAME TO once")
    op.create_index("once_until", "once", ["until"])
