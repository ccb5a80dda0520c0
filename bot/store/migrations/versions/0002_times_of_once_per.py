"""Format 2: when a rule last matched for a value, and when it was last edited or released."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add `rule_states.released_at` and `once.at`.

    Format 1 stored only the end of the `once_per` window. The rule's latest match and its latest
    end give the window's length; if the match is gone, the window counts from its end.
    """
    op.add_column("rule_states", sa.Column("released_at", sa.Integer))
    op.execute(
        "CREATE TABLE once_2 (rule TEXT NOT NULL, value BLOB NOT NULL, at INTEGER NOT NULL,"
        " until INTEGER NOT NULL, PRIMARY KEY (rule, value)) WITHOUT ROWID"
    )
    op.execute(
        "INSERT INTO once_2 (rule, value, at, until)"
        " SELECT rule, value, until - max(0, coalesce(longest - latest, 0)), until"
        " FROM once JOIN (SELECT rule, max(until) AS longest FROM once GROUP BY rule) USING (rule)"
        " LEFT JOIN (SELECT rule, max(happened) AS latest FROM matches GROUP BY rule) USING (rule)"
    )
    op.execute("DROP TABLE once")
    op.execute("ALTER TABLE once_2 RENAME TO once")
    op.create_index("once_until", "once", ["until"])
