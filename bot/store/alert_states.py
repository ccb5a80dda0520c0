"""The alert state of each rule and subject, the history of the subjects' figures, and which share
of its visitors a website recorded."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, delete, select, update

from bot.domain.alert_state import Counter, Effect, Level
from bot.domain.recorded_share import RecordedShare, share
from bot.domain.subjects import Subject, reread, written
from bot.store.schema import figures as _figures
from bot.store.schema import levels as _levels
from bot.store.schema import moment, moment_or_none, ms, ms_or_none
from bot.store.statements import Value, execute, execute_for, execute_many, upsert

Figures = Mapping[str, float]

GRAIN = timedelta(minutes=15)
"""One figure is kept per interval of this length, the first one seen in it."""

"""How many old figures one transaction deletes, so that other work does not wait long."""


class KeptLevel(Struct, frozen=True):
    """A rule's alert state for one subject, with the subject as it was when the rule fired.

    `condition` is the fingerprint of the condition that the state is about; empty in states of
    earlier versions. `subject` is None where the state is about nothing that was true.
    """

    level: Level
    subject: Subject | None = None
    condition: str = ""


def levels(conn: Connection, rule: str, website: str) -> dict[str, KeptLevel]:
    """The rule's alert states for the website's subjects, by key."""
    found = execute(conn, _OF_RULE, {"rule": rule, "website": website})
    return {subject: _kept(*row) for subject, *row in found}


_OF_RULE = (
    "SELECT subject, true_since, fired, episode, known, at, ending, told, reminded, effect,"
    " counter, figures, condition FROM levels WHERE rule = :rule AND website = :website"
)


def _kept(
    true_since: int | None,
    fired: int | None,
    episode: int,
    known: int | None,
    at: int,
    ending: int | None,
    told: int,
    reminded: int | None,
    effect: Effect,
    counter: str,
    figures: str,
    condition: str,
) -> KeptLevel:
    level = Level(
        true_since=moment_or_none(true_since),
        fired=moment_or_none(fired),
        episode=episode,
        known=moment_or_none(known),
        polled=moment(at),
        ending=moment_or_none(ending),
        told=bool(told),
        reminded=moment_or_none(reminded),
        effect=effect,
        counter=msgspec.json.decode(counter, type=Counter) if counter else None,
    )
    return KeptLevel(level, reread(figures) if figures else None, condition)


def websites_of_levels(conn: Connection) -> list[tuple[str, str, str]]:
    """(rule, website, JSON of a subject) for every rule and website with something true now."""
    return [(rule, website, figures) for rule, website, figures in execute(conn, _TRUE_NOW, {})]


_TRUE_NOW = (
    "SELECT rule, website, max(figures) FROM levels"
    " WHERE true_since IS NOT NULL OR fired IS NOT NULL GROUP BY rule, website"
)


def states_of_rules(conn: Connection) -> list[tuple[str, str]]:
    """(rule, website) of all states."""
    return [(rule, website) for rule, website in execute(conn, _WITH_STATES, {})]


_WITH_STATES = "SELECT DISTINCT rule, website FROM levels"


def told_on(conn: Connection, website: str, rules: Collection[str]) -> frozenset[str]:
    """Those of the rules that have an alert on the website that fires now and was told."""
    found = execute_for(conn, _TOLD, {"website": website}, tuple(rules))
    return frozenset(rule for (rule,) in found)


_TOLD = (
    "SELECT rule FROM levels WHERE rule IN (:ids) AND website = :website"
    " AND fired IS NOT NULL AND told = 1 AND absent IS NULL"
)


def save_level(
    conn: Connection,
    rule: str,
    website: str,
    subject: str,
    kept: KeptLevel,
    at: datetime,
) -> None:
    """Save the alert state with what it is about."""
    level = kept.level
    values = {
        "true_since": ms_or_none(level.true_since),
        "fired": ms_or_none(level.fired),
        "episode": level.episode,
        "known": ms_or_none(level.known),
        "ending": ms_or_none(level.ending),
        "told": int(level.told),
        "reminded": ms_or_none(level.reminded),
        "effect": level.effect,
        "counter": msgspec.json.encode(level.counter).decode() if level.counter else "",
        "figures": written(kept.subject).decode() if kept.subject and level.lives else "",
        "condition": kept.condition,
        "at": ms(level.polled or at),
    }
    write = upsert(_levels).values(rule=rule, website=website, subject=subject, **values)
    conn.execute(
        write.on_conflict_do_update(index_elements=["rule", "website", "subject"], set_=values)
    )


def forget_level(conn: Connection, rule: str, website: str, subject: str) -> None:
    """Delete the rule's alert state for a subject that it no longer covers."""
    conn.execute(
        delete(_levels).where(
            _levels.c.rule == rule, _levels.c.website == website, _levels.c.subject == subject
        )
    )


def rules_present(conn: Connection, rules: Collection[str], now: datetime, gap: timedelta) -> None:
    """Note which rules there are: a rule that was away for longer than `gap` has no state."""
    known, there = dict(execute(conn, _RULES, {}).fetchall()), set(rules)
    back = [rule for rule, absent in known.items() if absent is not None and rule in there]
    if back:
        these = _levels.c.rule.in_(back) & _levels.c.absent.is_not(None)
        conn.execute(delete(_levels).where(these, _levels.c.absent < ms(now - gap)))
        conn.execute(update(_levels).where(these).values(absent=None))
    away = known.keys() - there
    if away:
        these = _levels.c.rule.in_(away) & _levels.c.absent.is_(None)
        conn.execute(update(_levels).where(these).values(absent=ms(now)))


_RULES = "SELECT rule, max(absent) FROM levels GROUP BY rule"


def add_figures(
    conn: Connection, kind: str, website: str, subject: str, values: Figures, at: datetime
) -> None:
    """Add to the history of the subject's figures."""
    rows: list[dict[str, Value]] = [
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
        execute_many(conn, _ADD, rows)


_ADD = (
    "INSERT INTO figures (kind, website, subject, name, at, value)"
    " VALUES (:kind, :website, :subject, :name, :at, :value) ON CONFLICT DO NOTHING"
)


def figure_between(
    conn: Connection, kind: str, website: str, subject: str, name: str, first: datetime,
    last: datetime,
) -> tuple[datetime, float] | None:  # fmt: skip
    """The last figure seen in that time, and when."""
    query = (
        select(_figures.c.at, _figures.c.value)
        .where(
            _figures.c.kind == kind,
            _figures.c.website == website,
            _figures.c.subject == subject,
            _figures.c.name == name,
            _figures.c.at <= ms(last),
            _figures.c.at >= ms(first),
        )
        .order_by(_figures.c.at.desc())
        .limit(1)
    )
    row = conn.execute(query).first()
    return None if row is None else (moment(row.at), row.value)


_ALL_BETWEEN = (
    "SELECT subject, name, at, value FROM figures INDEXED BY figures_at"
    " WHERE at >= :first AND at <= :last AND kind = :kind AND website = :website ORDER BY at"
)
"""By the primary key SQLite would read every figure that the website ever had."""


def figures_between(
    conn: Connection, kind: str, website: str, first: datetime, last: datetime
) -> dict[tuple[str, str], tuple[datetime, float]]:
    """The last figure of each subject and name seen in that time, and when."""
    rows = execute(
        conn,
        _ALL_BETWEEN,
        {"kind": kind, "website": website, "first": ms(first), "last": ms(last)},
    )
    return {(subject, name): (moment(at), value) for subject, name, at, value in rows}


def grain(at: datetime) -> datetime:
    """The start of the interval that a figure seen at this moment belongs to."""
    return moment(ms(at) - ms(at) % (GRAIN // timedelta(milliseconds=1)))


_SHARES = "SELECT at, value FROM figures WHERE kind = 'recorded' AND website = :website"
_MOVE_ON = (
    "UPDATE figures SET at = :at WHERE kind = 'recorded' AND website = :website AND at = :last"
)
_SHARE = (
    "INSERT INTO figures (kind, website, subject, name, at, value)"
    " VALUES ('recorded', :website, '', 'recorded', :at, :value) ON CONFLICT DO NOTHING"
)
_FORGET_AHEAD = (
    "DELETE FROM figures WHERE kind = 'recorded' AND website = :website AND at > :latest"
)

LONGEST_POLL = timedelta(hours=1)
"""Polls of many websites take a while: another one may have looked later than this one began."""


def note_share(
    conn: Connection, website: str, status: str | None, rate: int | None, at: datetime
) -> None:
    """Note which share of its visitors the website records, as a poll has just seen it.

    While nothing changes the last look moves on: each time of one share is two rows. Looks of a
    clock that was ahead are forgotten.
    """
    here: dict[str, Value] = {"website": website}
    execute(conn, _FORGET_AHEAD, here | {"latest": ms(at + LONGEST_POLL)})
    last = execute(conn, f"{_SHARES} ORDER BY at DESC LIMIT 2", here).fetchall()
    if last and last[0][0] >= ms(at):
        return
    lit = f"{_SHARES} AND value > 0 ORDER BY at DESC LIMIT 1"
    before = execute(conn, lit, here).fetchone() if rate is None else None
    seen = share(status, rate, before[1] if before else None)
    if len(last) == 2 and {value for _, value in last} == {seen}:
        execute(conn, _MOVE_ON, here | {"last": last[0][0], "at": ms(at)})
        return
    execute(conn, _SHARE, here | {"at": ms(at), "value": seen})


def recorded_share(conn: Connection, website: str) -> RecordedShare:
    """Which share of its visitors the website recorded, as far as polls have seen it."""
    rows = execute(conn, f"{_SHARES} ORDER BY at", {"website": website})
    return RecordedShare(tuple((moment(at), value) for at, value in rows))
