"""The audit log: one row per decision, suppression, attempt, outcome and human action."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any, Literal, Protocol, get_args

import msgspec
from sqlalchemy import Connection, Select, bindparam, func, select, text

from bot.store.schema import audit, moment, ms
from bot.store.statements import Value, execute, execute_many

AuditKind = Literal[
    "budget.edited", "budget.period", "budget.step", "level.held", "level.no_history",
    "level.not_recorded", "match", "match.not_stored", "notice",
    "poll.bad_value", "poll.cost", "poll.truncated", "poll.undetailed", "poll.unreadable", "press",
    "rule.edited", "rule.paused", "rule.renamed", "rule.resumed", "rule.snooze_ended",
    "rule.snoozed", "rules.loaded", "rules.reload_failed",
    "step.cancelled", "step.dead", "step.done", "step.erased", "step.folded",
    "step.interrupted", "step.postponed", "step.put_off", "step.rebuilt", "step.retried",
    "step.superseded", "step.withheld", "suppressed",
    "website.held", "website.listed", "website.note", "website.person", "website.released",
    "website.renamed",
]  # fmt: skip
"""Kinds of entries that this version writes."""

KINDS: tuple[AuditKind, ...] = get_args(AuditKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A line for the audit log. `kind` is dotted and stable, `text` for people.

    `subject` is the key of what it is about (a recording's id), `step` the key of a step.
    `details` are plain JSON values and hold no secret.
    """

    kind: AuditKind
    text: str = ""
    rule: str = ""
    website: str = ""
    subject: str = ""
    step: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


class AboutStep(Protocol):
    """A step's key, and what its match is about."""

    @property
    def key(self) -> str: ...
    @property
    def rule(self) -> str: ...
    @property
    def website(self) -> str: ...
    @property
    def subject_key(self) -> str: ...


def of_step(
    kind: AuditKind, step: AboutStep, text: str, details: Mapping[str, Any] | None = None
) -> Note:
    """A line about a step."""
    return Note(
        kind=kind,
        text=text,
        rule=step.rule,
        website=step.website,
        subject=step.subject_key,
        step=step.key,
        details=details or {},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Note):
    """A line of the audit log as it was written, perhaps with a kind of another version."""

    id: int
    at: datetime


LONGEST_TEXT = 16 * 1024
"""How many characters of a note are stored; the copy of a campaign is the longest of them."""

_INSERT = (
    "INSERT INTO audit (at, kind, rule, website, subject, step, text, details)"
    " VALUES (:at, :kind, :rule, :website, :subject, :step, :text, :details)"
)


def record(conn: Connection, at: datetime, notes: Iterable[Note]) -> None:
    """Save the notes, all at the same moment."""
    rows: list[dict[str, Value]] = [
        {
            "at": ms(at),
            "kind": note.kind,
            "rule": note.rule,
            "website": note.website,
            "subject": note.subject,
            "step": note.step,
            "text": note.text[:LONGEST_TEXT],
            "details": msgspec.json.encode(note.details).decode() if note.details else "",
        }
        for note in notes
    ]
    if rows:
        execute_many(conn, _INSERT, rows)
        conn.info[_RECORDED] = conn.info.get(_RECORDED, 0) + len(rows)


_RECORDED = "entries of the audit log"


def take_recorded(conn: Connection) -> int:
    """How many entries `record` has saved on the connection since the last call."""
    recorded: int = conn.info.pop(_RECORDED, 0)
    return recorded


def history(
    conn: Connection,
    *,
    rule: str = "",
    subject: str = "",
    website: str = "",
    kind: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    before: int | None = None,
    without: Sequence[str] = (),
    limit: int = 100,
) -> list[Entry]:
    """Entries that match all given filters, newest first.

    `kind` is a whole kind (`step.done`) or the first part of one (`step`). `before` is the
    id of the last entry seen, for paging; kinds in `without` are left out.
    """
    query = _matching(rule, subject, website, since, until, before)
    if without:
        query = query.where(audit.c.kind.not_in(without))
    queries = (
        [query.where(audit.c.kind == each) for each in _kinds(conn, kind)] if kind else [query]
    )
    # One query per kind uses the index of kinds; one for all of them would sort.
    found = chain.from_iterable(conn.execute(query.limit(limit)) for query in queries)
    newest = sorted(found, key=lambda row: row.id, reverse=True)[:limit]
    return [
        Entry(
            id=row.id,
            at=moment(row.at),
            kind=row.kind,
            text=row.text,
            rule=row.rule,
            website=row.website,
            subject=row.subject,
            step=row.step,
            details=msgspec.json.decode(row.details) if row.details else {},
        )
        for row in newest
    ]


def subjects_beginning(conn: Connection, beginning: str, most: int) -> list[str]:
    """The subjects of entries that begin so, at most so many."""
    begins = func.substr(audit.c.subject, 1, len(beginning)) == beginning
    return sorted(
        conn.execute(select(audit.c.subject).where(begins).distinct().limit(most)).scalars()
    )


def newest_entry(conn: Connection) -> int:
    """The number of the newest entry; 0 without one."""
    return conn.execute(select(func.max(audit.c.id))).scalar() or 0


def entries_after(
    conn: Connection, last: int, limit: int = 5_000
) -> Sequence[tuple[int, str, str, str]]:
    """(number, kind, rule, step) of the entries after that number, oldest first."""
    sql = "SELECT id, kind, rule, step FROM audit WHERE id > :last ORDER BY id LIMIT :limit"
    return [tuple(row) for row in execute(conn, sql, {"last": last, "limit": limit})]


def _matching(
    rule: str,
    subject: str,
    website: str,
    since: datetime | None,
    until: datetime | None,
    before: int | None,
) -> Select[Any]:
    query = select(audit).order_by(audit.c.id.desc())
    for column, wanted in (
        (audit.c.rule, rule),
        (audit.c.subject, subject),
        (audit.c.website, website),
    ):
        if wanted:
            # The literal lets SQLite use the partial index.
            query = query.where(column == wanted, text(f"audit.{column.name} <> ''"))
    if since is not None:
        query = query.where(audit.c.at >= ms(since))
    if until is not None:
        query = query.where(audit.c.at < ms(until))
    if before is not None:
        query = query.where(audit.c.id < before)
    return query


def _kinds(conn: Connection, kind: str) -> list[str]:
    """The kinds in use that are `kind`, or begin with it and a dot."""
    found = [kind]
    # "/" is the character after "."; each turn is one index look-up.
    after = f"{kind}."
    while after := conn.execute(_NEXT_KIND, {"after": after, "end": f"{kind}/"}).scalar() or "":
        found.append(after)
    return found


_NEXT_KIND = select(func.min(audit.c.kind)).where(
    audit.c.kind > bindparam("after"), audit.c.kind < bindparam("end")
)
