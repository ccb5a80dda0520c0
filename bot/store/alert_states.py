"""The alert state of each rule and subject, and the history of the subjects' figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, select, text
from sqlalchemy.dialects.sqlite import insert

from bot.domain.alert_state import Level
from bot.store.schema import figures as _figures
from bot.store.schema import levels as _levels
from bot.store.schema import moment, moment_or_none, ms, ms_or_none

Figures = Mapping[str, float]

GRAIN = timedelta(minutes=15)
"""One figure is kept per interval of this length, the first one seen in it."""

AT_ONCE = 2_000
"""How many old figures one transaction deletes, so that other work does not wait long."""


@dataclass(frozen=True, slots=True)
class KeptLevel:
    """A rule's alert state for one subject, the figures last seen, and when it was saved.

    `figures` is the subject's JSON if the poll saw the subject.
    """

    level: Level
    figures: Mapping[str, Any]
    at: datetime | None = None


def levels(conn: Connection, rule: str, website: str) -> dict[str, KeptLevel]:
    """The rule's alert states for the website's subjects, by key."""
    query = select(_levels).where(_levels.c.rule == rule, _levels.c.website == website)
    return {
        row.subject: KeptLevel(
            Level(moment_or_none(row.true_since), moment_or_none(row.fired), row.episode),
            msgspec.json.decode(row.figures) if row.figures else {},
            moment(row.at),
        )
        for row in conn.execute(query)
    }


def websites_of_levels(conn: Connection) -> list[tuple[str, str, str]]:
    """(rule, website, JSON of a subject) for every rule and website with something true now."""
    query = (
        select(_levels.c.rule, _levels.c.website, func.max(_levels.c.figures).label("figures"))
        .where(_levels.c.true_since.is_not(None) | _levels.c.fired.is_not(None))
        .group_by(_levels.c.rule, _levels.c.website)
    )
    return [(row.rule, row.website, row.figures) for row in conn.execute(query)]


def save_level(
    conn: Connection,
    rule: str,
    website: str,
    subject: str,
    level: Level,
    at: datetime,
    figures: Mapping[str, Any] | None = None,
) -> None:
    """Save the alert state and the figures it was evaluated with."""
    values = {
        "true_since": ms_or_none(level.true_since),
        "fired": ms_or_none(level.fired),
        "episode": level.episode,
        "figures": msgspec.json.encode(figures).decode() if figures else "",
        "at": ms(at),
    }
    write = insert(_levels).values(rule=rule, website=website, subject=subject, **values)
    conn.execute(
        write.on_conflict_do_update(index_elements=["rule", "website", "subject"], set_=values)
    )


def forget_level(conn: Connection, rule: str, website: str, subject: str) -> None:
    """The subject is gone for good."""
    conn.execute(
        delete(_levels).where(
            _levels.c.rule == rule, _levels.c.website == website, _levels.c.subject == subject
        )
    )


def add_figures(
    conn: Connection, kind: str, website: str, subject: str, values: Figures, at: datetime
) -> None:
    """Add to the history of the subject's figures."""
    rows = [
        {
            "kind": kind,
            "website": website,
            "subject": subject,
            "name": name,
            "at": ms(at),
            "value": value,
        }
        for name, value in values.items()
    ]
    if rows:
        conn.execute(insert(_figures).on_conflict_do_nothing(), rows)


def figure_history(
    conn: Connection, kind: str, website: str, subject: str, name: str, since: datetime
) -> list[tuple[datetime, float]]:
    """The figure since then, oldest first."""
    query = (
        select(_figures.c.at, _figures.c.value)
        .where(
            _figures.c.kind == kind,
            _figures.c.website == website,
            _figures.c.subject == subject,
            _figures.c.name == name,
            _figures.c.at >= ms(since),
        )
        .order_by(_figures.c.at)
    )
    return [(moment(row.at), row.value) for row in conn.execute(query)]


def figure_at(
    conn: Connection, kind: str, website: str, subject: str, name: str, around: datetime,
    slack: timedelta,
) -> float | None:  # fmt: skip
    """The figure at that time: the last one seen until then, at most `slack` older."""
    query = (
        select(_figures.c.value)
        .where(
            _figures.c.kind == kind,
            _figures.c.website == website,
            _figures.c.subject == subject,
            _figures.c.name == name,
            _figures.c.at <= ms(around),
            _figures.c.at >= ms(around - slack),
        )
        .order_by(_figures.c.at.desc())
        .limit(1)
    )
    return conn.execute(query).scalar_one_or_none()


def grain(at: datetime) -> datetime:
    """The start of the interval that a figure seen at this moment belongs to."""
    return moment(ms(at) - ms(at) % (GRAIN // timedelta(milliseconds=1)))


_OLD = text(
    "DELETE FROM figures WHERE (kind, website, subject, name, at) IN"
    " (SELECT kind, website, subject, name, at FROM figures WHERE at < :limit LIMIT :some)"
)


def forget_figures(conn: Connection, before: datetime) -> int:
    """Delete some of the older figures; returns how many."""
    return conn.execute(_OLD, {"limit": ms(before), "some": AT_ONCE}).rowcount
