"""The audit log: one row for each decision, suppression, attempt, outcome and human act."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select

from bot.store.tables import audit
from bot.store.times import moment, ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A line for the audit log. `kind` is dotted and stable, `text` for people.

    `subject` is the key of what it is about (a recording's id), `step` the key of a step.
    `details` are plain JSON values and hold no secret.
    """

    kind: str
    text: str = ""
    rule: str = ""
    website: str = ""
    subject: str = ""
    step: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Note):
    """A line of the audit log as it was written."""

    id: int
    at: datetime


_INSERT = insert(audit)


def record(conn: Connection, at: datetime, notes: Iterable[Note]) -> None:
    """Write the notes down, all at the same moment."""
    rows = [
        {
            "at": ms(at),
            "kind": note.kind,
            "rule": note.rule,
            "website": note.website,
            "subject": note.subject,
            "step": note.step,
            "text": note.text,
            "details": msgspec.json.encode(note.details).decode() if note.details else "",
        }
        for note in notes
    ]
    if rows:
        conn.execute(_INSERT, rows)


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
    limit: int = 100,
) -> list[Entry]:
    """The newest entries first; every filter given must hold.

    `kind` is a whole kind (`step.done`) or the first part of one (`step`). `before` is the
    id of the last entry seen, to go on from there.
    """
    query = select(audit).order_by(audit.c.id.desc()).limit(limit)
    for column, wanted in ((audit.c.rule, rule), (audit.c.subject, subject)):
        if wanted:
            query = query.where(column == wanted)
    if website:
        query = query.where(audit.c.website == website)
    if kind:
        # "/" is the character after "."; a range can use the index, LIKE can not.
        family = (audit.c.kind >= f"{kind}.") & (audit.c.kind < f"{kind}/")
        query = query.where((audit.c.kind == kind) | family)
    if since is not None:
        query = query.where(audit.c.at >= ms(since))
    if until is not None:
        query = query.where(audit.c.at < ms(until))
    if before is not None:
        query = query.where(audit.c.id < before)
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
        for row in conn.execute(query)
    ]
