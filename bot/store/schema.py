"""The tables of the store, their version, and how times are stored.

Times are integers, milliseconds since 1970. Columns named `data`, `figures`, `why`, `many`,
`details`, `posting`, `params`, `glimpse` and `shows` hold JSON.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

from bot.domain.step import StepStatus

SCHEMA_VERSION = 3
"""The format that this version writes: the number of the newest revision in `migrations`."""
APPLICATION_ID = 0x4D46_4254
"""Identifies the bot's SQLite files ("MFBT")."""

metadata = MetaData()

# PostgreSQL's Integer is too small for a time, and its order of texts depends on the server.
_Int = BigInteger().with_variant(Integer(), "sqlite")
_Str = Text().with_variant(Text(collation="C"), "postgresql")


def _id() -> Column[int]:
    return Column("id", _Int, primary_key=True)


def _text(name: str, default: str | None = None, **more: bool) -> Column[str]:
    if default is None:
        return Column(name, _Str, nullable=False, **more)  # type: ignore[arg-type]
    return Column(name, _Str, nullable=False, server_default=default)


def _number(name: str, default: int | None = None) -> Column[int]:
    if default is None:
        return Column(name, _Int, nullable=False)
    return Column(name, _Int, nullable=False, server_default=text(str(default)))


def _if(condition: str) -> dict[str, Any]:
    """Restricts an index to some rows; the condition's literals let SQLite use it.

    `bot.store.postgres` says the same of PostgreSQL's: to name it here would import its dialect.
    """
    return {"sqlite_where": text(condition)}


lineage = Table(
    "lineage",
    metadata,
    _id(),  # always 1
    _number("writes"),  # transactions that changed something, ever
    _number("written"),  # when the last of them was
    # A copy was put in the store's place: when it was made, when the bot noticed.
    Column("restored_from", _Int),
    Column("restored_at", _Int),
)

watermarks = Table(
    "watermarks",
    metadata,
    _text("source", primary_key=True),
    _text("website", primary_key=True),
    _text("data"),
    _number("at"),
    sqlite_with_rowid=False,
)

recordings = Table(
    "recordings",
    metadata,
    _text("website", primary_key=True),
    _text("id", primary_key=True),
    _number("created"),
    Column("last_activity", _Int),
    _text("fingerprint"),
    _number("settled"),
    _number("closed", 0),
    _number("vanished", 0),
    _text("marks", ""),
    sqlite_with_rowid=False,
)
# With `vanished` the index alone answers how many recordings of a window are known.
Index("recordings_created", recordings.c.website, recordings.c.created, recordings.c.vanished)
Index(
    "recordings_live",
    recordings.c.website,
    recordings.c.created,
    **_if("settled = 0 AND closed = 0 AND vanished = 0"),
)

matches = Table(
    "matches",
    metadata,
    _id(),
    _text("key", unique=True),
    _text("rule"),
    _text("kind"),
    _text("website"),
    _text("subject_key"),
    _text("summary", ""),
    Column("subject", LargeBinary),
    _text("why"),
    _text("posting"),
    _number("matched"),
    _number("happened"),
    _text("many", ""),
    _text("severity", "warning"),
    _text("runbook", ""),
    _text("owner", ""),
    Column("continues", _Int),  # the match that began its alert
    Column("insight", LargeBinary),  # what the status page shows once the subject is erased
    Column("counted_in", _Int),  # the match that summarises it, also itself
)
Index("matches_subject", matches.c.website, matches.c.subject_key)
Index("matches_rule", matches.c.rule, matches.c.matched)
Index("matches_age", matches.c.matched)
Index("matches_counted", matches.c.counted_in, **_if("counted_in IS NOT NULL"))
Index("matches_alerts", matches.c.rule, matches.c.key, **_if("kind <> 'recordings'"))

steps = Table(
    "steps",
    metadata,
    _id(),
    Column("match_id", _Int, ForeignKey("matches.id", ondelete="CASCADE"), nullable=False),
    _text("key", unique=True),
    _number("rank"),
    _text("lane"),
    _text("action"),
    _text("params"),
    _text("state", StepStatus.PENDING),
    _number("due"),
    Column("waits", _Int),
    _number("created"),
    _number("attempts", 0),
    _number("admitted", 0),
    Column("first_tried", _Int),
    Column("began", _Int),
    Column("unknown_since", _Int),
    Column("look_since", _Int),  # after a restore: it may have been done since then
    Column("token", _Str),
    Column("ended", _Int),
    Column("result", _Str),
    _text("fault", ""),
    _text("remedy", ""),
    _text("cause", ""),
    _number("told", 0),
    Column("digest_id", _Int),
    Column("post_key", _Str),  # of the message that it is added to
)
Index("steps_match", steps.c.match_id)
Index("steps_due", steps.c.lane, steps.c.due, steps.c.id, **_if("state = 'pending'"))
Index("steps_posts", steps.c.lane, **_if("state = 'pending' AND rank = 2"))
Index("steps_sending", steps.c.lane, **_if("state = 'sending'"))
Index("steps_folded", steps.c.digest_id, **_if("digest_id IS NOT NULL"))
Index("steps_dead", steps.c.ended, **_if("state = 'dead'"))
Index("steps_untold", steps.c.ended, **_if("state = 'dead' AND told = 0"))

posts = Table(
    "posts",
    metadata,
    _text("key", primary_key=True),  # as in the message's metadata
    Column("match_id", _Int, ForeignKey("matches.id", ondelete="CASCADE"), nullable=False),
    _text("lane"),
    _text("channel"),
    _text("stamp"),
    _text("shows"),
    _number("at"),
    sqlite_with_rowid=False,
)
Index("posts_match", posts.c.match_id)

presses = Table(
    "presses",
    metadata,
    _text("id", primary_key=True),
    _text("button"),
    _text("post_key"),
    _text("user"),
    _text("name"),
    _text("channel"),
    _number("at"),
    Column("ended", _Int),  # when it took effect or was refused
    _text("outcome", ""),
    sqlite_with_rowid=False,
)
Index("presses_post", presses.c.post_key)
Index("presses_at", presses.c.at)

lanes = Table(
    "lanes",
    metadata,
    _text("lane", primary_key=True),
    _number("paused_until", 0),
    _text("reason", ""),
    _number("failures", 0),
    _text("cause", ""),
    _text("remedy", ""),
    Column("since", _Int),  # when the present failures began
    sqlite_with_rowid=False,
)

troubles = Table(
    "troubles",
    metadata,
    _text("key", primary_key=True),
    _text("cause"),
    _text("place"),
    _text("reason"),
    _text("remedy"),
    _number("since"),
    _number("told"),  # whether people could be told when it began
    _number("waiting"),
    _number("dropped", 0),
    _number("worked", 0),  # something got through since
    sqlite_with_rowid=False,
)

digests = Table(
    "digests",
    metadata,
    _text("rule", primary_key=True),
    _text("lane", primary_key=True),
    Column("step_id", _Int, ForeignKey("steps.id", ondelete="CASCADE"), nullable=False),
    sqlite_with_rowid=False,
)

windows = Table(
    "windows",
    metadata,
    _text("rule", primary_key=True),
    _text("lane", primary_key=True),
    _number("began"),
    _number("used"),
    sqlite_with_rowid=False,
)

audit = Table(
    "audit",
    metadata,
    _id(),
    _number("at"),
    _text("kind"),
    _text("rule", ""),
    _text("website", ""),
    _text("subject", ""),
    _text("step", ""),
    _text("text", ""),
    _text("details", ""),
)
Index("audit_at", audit.c.at)
Index("audit_kind", audit.c.kind, audit.c.id)
Index("audit_rule", audit.c.rule, audit.c.id, **_if("rule <> ''"))
Index("audit_subject", audit.c.subject, audit.c.id, **_if("subject <> ''"))
Index("audit_website", audit.c.website, audit.c.id, **_if("website <> ''"))

rule_states = Table(
    "rule_states",
    metadata,
    _text("rule", primary_key=True),
    _text("digest", ""),
    Column("paused_at", _Int),
    _text("paused_why", ""),
    Column("snoozed_until", _Int),
    Column("snoozed_at", _Int),
    _text("snoozed_by", ""),
    _text("snoozed_because", ""),
    Column("released_at", _Int),
    Column("since", _Int),  # None: before this was kept
    _number("outdated", 0),  # steps that wait may still be those of the rule before its edit
    sqlite_with_rowid=False,
)

rules_in_force = Table(
    "rules_in_force",
    metadata,
    _id(),  # always 1: the latest set replaces the one before
    _number("at"),
    Column("files", LargeBinary, nullable=False),
)

once = Table(
    "once",
    metadata,
    _text("rule", primary_key=True),
    Column("value", LargeBinary, primary_key=True, nullable=False),
    Column("at", _Int, primary_key=True, nullable=False),
    _number("until"),  # not needed after that, by the rule as it was
    sqlite_with_rowid=False,
)
Index("once_until", once.c.until)

tallies = Table(
    "tallies",
    metadata,
    _text("rule", primary_key=True),
    Column("value", LargeBinary, primary_key=True, nullable=False),
    _text("subject", primary_key=True),
    _number("at"),
    Column("glimpse", LargeBinary),
    sqlite_with_rowid=False,
)
Index("tallies_at", tallies.c.at)

levels = Table(
    "levels",
    metadata,
    _text("rule", primary_key=True),
    _text("website", primary_key=True),
    _text("subject", primary_key=True),
    Column("true_since", _Int),
    Column("fired", _Int),
    _number("episode", 0),
    _text("figures", ""),
    _number("at"),
    Column("known", _Int),
    Column("ending", _Int),
    _number("told", 1),
    Column("reminded", _Int),
    _text("effect", "none"),
    _text("counter", ""),
    _text("condition", ""),
    Column("absent", _Int),
    sqlite_with_rowid=False,
)

figures = Table(
    "figures",
    metadata,
    _text("kind", primary_key=True),
    _text("website", primary_key=True),
    _text("subject", primary_key=True),
    _text("name", primary_key=True),
    Column("at", _Int, primary_key=True, nullable=False),
    Column("value", Float, nullable=False),
    sqlite_with_rowid=False,
)
Index("figures_at", figures.c.at)

ledger = Table(
    "ledger",
    metadata,
    _text("website", primary_key=True),
    _text("day", primary_key=True),
    _number("highest"),
    _number("at"),
    sqlite_with_rowid=False,
)

budget_steps = Table(
    "budget_steps",
    metadata,
    _text("budget", primary_key=True),
    _text("period", primary_key=True),
    _text("step", primary_key=True),
    _number("at"),
    sqlite_with_rowid=False,
)

ownership = Table(
    "ownership",
    metadata,
    _text("website", primary_key=True),
    _text("owner"),
    _number("at"),
    _text("reason"),
    _text("status"),
    Column("rate", _Int),
    sqlite_with_rowid=False,
)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def ms(moment: datetime) -> int:
    """The moment as stored. `moment` must be timezone-aware."""
    return (moment - _EPOCH) // _MS


def ms_or_none(moment: datetime | None) -> int | None:
    """The moment as stored, or None."""
    return None if moment is None else ms(moment)


def moment(stored: int) -> datetime:
    """The moment stored by `ms`."""
    return _EPOCH + stored * _MS


def moment_or_none(stored: int | None) -> datetime | None:
    """The moment stored by `ms_or_none`."""
    return None if stored is None else moment(stored)
