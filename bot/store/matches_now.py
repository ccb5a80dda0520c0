"""Matches as they are now: the outcome of each, its steps, and the matches that it summarises."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import BindParameter, Connection, Select, bindparam, func, select, text

from bot.domain.insight import Insight, unpacked
from bot.domain.step import StepStatus
from bot.store.audit import Entry
from bot.store.presses import TAKEN
from bot.store.schema import (
    audit,
    matches,
    moment,
    moment_or_none,
    ms,
    posts,
    presses,
    steps,
)
from bot.store.statements import AT_ONCE, execute


@dataclass(frozen=True, slots=True, kw_only=True)
class StepNow:
    """A step of a match as it is now."""

    key: str
    action: str
    rank: int
    state: StepStatus
    due: datetime
    ended: datetime | None
    fault: str
    digest_due: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchNow:
    """A match with what became of it.

    `stands_for` is how many matches a count or digest summarises, 0 for a match of one.
    `counted`: it is one of those that a count summarises. `useless`: somebody called its message
    not useful.
    """

    id: int
    key: str
    rule: str
    kind: str
    website: str
    subject_key: str
    why: tuple[str, ...]
    matched: datetime
    happened: datetime
    summary: str
    stands_for: int = 0
    counted: bool = False
    useless: bool = False
    steps: tuple[StepNow, ...] = ()
    insight: Insight | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """The matches that one summarises: when the first and the last happened, a page of them.

    `older` is where the next page begins, None for the last one.
    """

    since: datetime
    until: datetime
    found: tuple[MatchNow, ...]
    older: int | None


def matches_now(
    conn: Connection,
    *,
    rules: Sequence[str] = (),
    website: str = "",
    subject_key: str = "",
    key: str = "",
    limit: int = 10,
    whole: bool = False,
) -> list[MatchNow]:
    """The newest matches of the rules with their steps. `whole`: with insights.

    Without digests, unless the key is that of one.
    """
    query = select(matches) if key else select(matches).where(matches.c.kind != "digest")
    if rules:
        query = query.where(matches.c.rule.in_(rules))
    if len(rules) > 1:  # else SQLite reads and sorts all that they ever matched
        query = query.with_hint(matches, "INDEXED BY matches_age", "sqlite")
    for column, wanted in (
        (matches.c.website, website),
        (matches.c.subject_key, subject_key),
        (matches.c.key, key),
    ):
        if wanted:
            query = query.where(column == wanted)
    newest = query.order_by(matches.c.matched.desc(), matches.c.id.desc()).limit(limit)
    return _as_now(conn, conn.execute(newest).all(), whole=whole)


def members_of(conn: Connection, match: MatchNow, before: int | None, limit: int) -> Members:
    """The matches that it summarises, newest first; `before` is the previous page's `older`."""
    members = matches.c.counted_in == match.id
    if match.kind == "digest":
        digest = steps.alias("digest")
        folded = steps.join(digest, digest.c.id == steps.c.digest_id)
        chosen = select(steps.c.match_id).select_from(folded).where(digest.c.match_id == match.id)
        members = matches.c.id.in_(chosen)
    first, last = conn.execute(
        select(func.min(matches.c.happened), func.max(matches.c.happened)).where(members)
    ).one()
    page = select(matches).where(members)
    if before is not None:
        page = page.where(matches.c.id < before)
    rows = conn.execute(page.order_by(matches.c.id.desc()).limit(limit + 1)).all()
    return Members(
        since=moment_or_none(first) or match.happened,
        until=moment_or_none(last) or match.happened,
        found=tuple(_as_now(conn, rows[:limit], whole=False)),
        older=rows[limit - 1].id if len(rows) > limit else None,
    )


def weekly_reports(conn: Connection, rule: str, limit: int) -> list[tuple[MatchNow, str]]:
    """The newest weekly reports of this name, each with the parameters of its post (JSON)."""
    query = select(matches).where(matches.c.rule == rule)
    newest = query.order_by(matches.c.matched.desc(), matches.c.id.desc()).limit(limit)
    found = _as_now(conn, conn.execute(newest).all(), whole=False)
    told = select(steps.c.match_id, steps.c.params)
    rows = conn.execute(told.where(steps.c.match_id.in_([it.id for it in found])))
    params = {row.match_id: row.params for row in rows}
    return [(each, params.get(each.id, "{}")) for each in found]


def _as_now(conn: Connection, rows: Sequence[Any], *, whole: bool) -> list[MatchNow]:
    ids = [row.id for row in rows]
    done, stand_for, useless = _steps_of(conn, ids), _stand_for(conn, ids), _useless(conn, ids)
    whys = {row.id: tuple(msgspec.json.decode(row.why)) for row in rows}
    return [
        MatchNow(
            id=row.id,
            key=row.key,
            rule=row.rule,
            kind=row.kind,
            website=row.website,
            subject_key=row.subject_key,
            why=whys[row.id] or _why_of(conn, row.rule, row.subject_key, row.matched),
            matched=moment(row.matched),
            happened=moment(row.happened),
            summary=row.summary,
            stands_for=stand_for.get(row.id, 0),
            counted=row.counted_in not in (None, row.id),
            useless=row.id in useless,
            steps=tuple(done.get(row.id, ())),
            insight=unpacked(row.insight) if whole else None,
        )
        for row in rows
    ]


_digest = steps.alias("digest")
_SOME: BindParameter[Any] = bindparam("some", expanding=True)
# Built once: that takes longer than running them.
_COUNTED = (
    select(matches.c.counted_in, func.count())
    .where(matches.c.counted_in.in_(_SOME))
    .group_by(matches.c.counted_in)
)
_FOLDED = (
    select(_digest.c.match_id, func.count())
    .select_from(_digest.join(steps, steps.c.digest_id == _digest.c.id))
    .where(_digest.c.match_id.in_(_SOME))
    .group_by(_digest.c.match_id)
)
_CALLED_USELESS = (
    select(posts.c.match_id)
    .join(presses, presses.c.post_key == posts.c.key)
    .where(presses.c.button == "not_useful", presses.c.outcome == TAKEN)
    .where(posts.c.match_id.in_(_SOME))
)
_STEPS_OF = (
    select(steps, _digest.c.due.label("digest_due"))
    .outerjoin(_digest, _digest.c.id == steps.c.digest_id)
    .where(steps.c.match_id.in_(_SOME))
    .order_by(steps.c.id)
)


def _of_some(conn: Connection, query: Select[Any], ids: Sequence[int]) -> Iterator[Any]:
    """The rows of the matches with these ids."""
    for start in range(0, len(ids), AT_ONCE):
        yield from conn.execute(query, {"some": ids[start : start + AT_ONCE]})


def _stand_for(conn: Connection, ids: Sequence[int]) -> dict[int, int]:
    """How many matches each of these summarises, if it does."""
    both = (_of_some(conn, query, ids) for query in (_COUNTED, _FOLDED))
    return {match: number for rows in both for match, number in rows}


def _useless(conn: Connection, ids: Sequence[int]) -> frozenset[int]:
    """Those of the matches of which a message was called not useful."""
    return frozenset(match for (match,) in _of_some(conn, _CALLED_USELESS, ids))


def _why_of(conn: Connection, rule: str, subject_key: str, at: int) -> tuple[str, ...]:
    """Why the rule matched, from the audit log: the match forgets it once all is done."""
    about: dict[str, str | int] = {"rule": rule, "subject": subject_key, "at": at}
    row = execute(conn, _WHY, about).fetchone()
    return tuple(filter(None, row[0].split("; "))) if row else ()


_WHY = (
    "SELECT text FROM audit WHERE subject = :subject AND subject <> '' AND kind = 'match'"
    " AND rule = :rule AND at = :at ORDER BY id DESC LIMIT 1"
)


def outcomes_of(conn: Connection, match: Entry) -> list[tuple[str, str, str]]:
    """(kind, step, text) of what the audit log says of a match's actions, oldest first.

    `match` is the entry of the match; other matches of the same subject are left out.
    """
    done = (audit.c.kind == "step.done") & audit.c.step.in_(match.details.get("steps", ()))
    held = (audit.c.kind == "suppressed") & (audit.c.at == ms(match.at))
    query = select(audit.c.kind, audit.c.step, audit.c.text).where(
        audit.c.subject == match.subject,
        text("subject <> ''"),  # the literal lets SQLite use the partial index
        audit.c.rule == match.rule,
        done | held,
    )
    return [tuple(row) for row in conn.execute(query.order_by(audit.c.id).limit(20))]


def _steps_of(conn: Connection, ids: Sequence[int]) -> dict[int, list[StepNow]]:
    found: dict[int, list[StepNow]] = {}
    for row in _of_some(conn, _STEPS_OF, ids):
        step = StepNow(
            key=row.key,
            action=row.action,
            rank=row.rank,
            state=StepStatus(row.state),
            due=moment(row.due),
            ended=moment_or_none(row.ended),
            fault=row.fault,
            digest_due=moment_or_none(row.digest_due),
        )
        found.setdefault(row.match_id, []).append(step)
    return found
