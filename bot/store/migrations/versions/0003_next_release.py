"""Format 3: every change since format 2, until it is released."""

from hashlib import blake2b
from urllib.parse import urlsplit

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Collect the changes until the next release."""
    op.add_column("steps", sa.Column("look_since", sa.Integer))
    # A secret that a rule spells out is no longer stored with the step.
    op.execute(
        "UPDATE steps SET params = json_set(params, '$.secret', 'rule') WHERE action = 'webhook'"
        " AND json_valid(params) AND json_extract(params, '$.secret') NOT LIKE 'env:%'"
        " AND json_extract(params, '$.secret') NOT LIKE 'file:/%'"
    )
    # Nor is a URL, which may be a secret itself: only its host, and a hash to find it in the rule.
    calls = sa.text(
        "SELECT id, json_extract(params, '$.url') FROM steps WHERE action = 'webhook'"
        " AND json_valid(params) AND json_extract(params, '$.url') LIKE 'http%'"
    )
    hide = sa.text("UPDATE steps SET params = json_set(params, '$.url', :url) WHERE id = :id")
    for step, url in op.get_bind().execute(calls).all():
        parts, named = urlsplit(url), blake2b(url.encode(), digest_size=16).hexdigest()
        hidden = f"{parts.scheme}://{parts.netloc}/ {named}"
        op.get_bind().execute(hide, {"id": step, "url": hidden})
    # Why steps fail, what each cause stops, and whether people were told.
    op.add_column("steps", sa.Column("cause", sa.Text, server_default="", nullable=False))
    op.add_column(
        "steps", sa.Column("told", sa.Integer, server_default=sa.text("0"), nullable=False)
    )
    op.create_index(
        "steps_untold", "steps", ["ended"], sqlite_where=sa.text("state = 'dead' AND told = 0")
    )
    op.add_column("lanes", sa.Column("cause", sa.Text, server_default="", nullable=False))
    op.add_column("lanes", sa.Column("remedy", sa.Text, server_default="", nullable=False))
    op.add_column("lanes", sa.Column("since", sa.Integer))
    op.create_table(
        "troubles",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("remedy", sa.Text, nullable=False),
        sa.Column("since", sa.Integer, nullable=False),
        sa.Column("told", sa.Integer, nullable=False),
        sa.Column("waiting", sa.Integer, nullable=False),
        sa.Column("dropped", sa.Integer, server_default=sa.text("0"), nullable=False),
        sa.Column("worked", sa.Integer, server_default=sa.text("0"), nullable=False),
        sqlite_with_rowid=False,
    )
    # What alerts know of times in which nobody polled, or the rule was another one.
    op.add_column("levels", sa.Column("known", sa.Integer))
    op.add_column("levels", sa.Column("ending", sa.Integer))
    op.add_column(
        "levels", sa.Column("told", sa.Integer, server_default=sa.text("1"), nullable=False)
    )
    op.add_column("levels", sa.Column("reminded", sa.Integer))
    op.add_column("levels", sa.Column("effect", sa.Text, server_default="none", nullable=False))
    op.add_column("levels", sa.Column("counter", sa.Text, server_default="", nullable=False))
    op.add_column("levels", sa.Column("condition", sa.Text, server_default="", nullable=False))
    op.add_column("levels", sa.Column("absent", sa.Integer))
    # The rule files that a start with faulty ones runs.
    op.create_table(
        "rules_in_force",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Integer, nullable=False),
        sa.Column("files", sa.LargeBinary, nullable=False),
    )
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
    # How many recordings of a window are known is counted from the index alone.
    op.drop_index("recordings_created")
    op.create_index("recordings_created", "recordings", ["website", "created", "vanished"])
    # What a match of many says: how many, where they concentrate, the worst few.
    op.add_column("matches", sa.Column("many", sa.Text, server_default="", nullable=False))
    op.add_column("tallies", sa.Column("glimpse", sa.LargeBinary))
    # Messages in Slack that may be answered or edited, and which match began an alert.
    op.add_column("matches", sa.Column("continues", sa.Integer))
    # What the status page shows of a match once its subject is erased.
    op.add_column("matches", sa.Column("insight", sa.LargeBinary))
    op.create_table(
        "posts",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column(
            "match_id", sa.Integer, sa.ForeignKey("matches.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("lane", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("stamp", sa.Text, nullable=False),
        sa.Column("shows", sa.Text, nullable=False),
        sa.Column("at", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("posts_match", "posts", ["match_id"])
    op.add_column("steps", sa.Column("post_key", sa.Text))
    # What messages say of the rule.
    op.add_column(
        "matches", sa.Column("severity", sa.Text, server_default="warning", nullable=False)
    )
    op.add_column("matches", sa.Column("runbook", sa.Text, server_default="", nullable=False))
    op.add_column("matches", sa.Column("owner", sa.Text, server_default="", nullable=False))
    # Which matches a count or a digest stands for.
    op.add_column("matches", sa.Column("counted_in", sa.Integer))
    op.create_index(
        "matches_counted",
        "matches",
        ["counted_in"],
        sqlite_where=sa.text("counted_in IS NOT NULL"),
    )
    op.create_index(
        "steps_folded", "steps", ["digest_id"], sqlite_where=sa.text("digest_id IS NOT NULL")
    )
    # What people pressed on messages, once each.
    op.create_table(
        "presses",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("button", sa.Text, nullable=False),
        sa.Column("post_key", sa.Text, nullable=False),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("at", sa.Integer, nullable=False),
        sa.Column("ended", sa.Integer),
        sa.Column("outcome", sa.Text, server_default="", nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("presses_post", "presses", ["post_key"])
    op.create_index("presses_at", "presses", ["at"])
    # What `status` counts.
    op.create_index(
        "matches_alerts", "matches", ["rule", "key"], sqlite_where=sa.text("kind <> 'recordings'")
    )
    # Rules whose steps must still be rebuilt after an edit.
    op.add_column(
        "rule_states",
        sa.Column("outdated", sa.Integer, server_default=sa.text("0"), nullable=False),
    )
    # Since when a rule is active.
    op.add_column("rule_states", sa.Column("since", sa.Integer))
    # Who snoozed a rule, and why.
    for name in ("snoozed_by", "snoozed_because"):
        op.add_column("rule_states", sa.Column(name, sa.Text, server_default="", nullable=False))
