"""Posts that must not go out now: fold them into their rule's digest, or withhold them.

The digest is a step of the outbox like any other; its `params` are a DigestContent.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from enum import IntEnum
from typing import Literal, NamedTuple, assert_never

import msgspec
from sqlalchemy import Connection, Row, insert, select, text, update

from bot.actions import DIGESTS, IF_HELD_BACK
from bot.domain.alert_state import RESOLVED
from bot.domain.limits import (
    SHOWN_IN_A_DIGEST,
    Posting,
    Reason,
    badness,
)
from bot.domain.many import NOWHERE, Spread
from bot.domain.step import Rank, StepStatus
from bot.domain.subjects import Subject, reread
from bot.messages.pages import glimpse, spread_with
from bot.store.audit import AuditKind, Note, record
from bot.store.matches import NewStep, add_steps, release_next
from bot.store.rules import snoozer
from bot.store.schema import digests, matches, moment, ms, posts, steps
from bot.store.statements import Value, execute, execute_later, execute_many, upsert


class DueStep(NamedTuple):
    """A waiting step and its match (`m_`): columns of the two tables."""

    id: int
    match_id: int
    key: str
    rank: int
    lane: str
    action: str
    params: str
    attempts: int
    admitted: int
    first_tried: int | None
    unknown_since: int | None
    look_since: int | None
    post_key: str | None
    fault: str
    m_key: str
    m_rule: str
    m_website: str
    m_subject_key: str
    m_summary: str
    m_subject: bytes | None
    m_why: str
    m_matched: int
    m_happened: int
    m_posting: str
    m_many: str
    m_continues: int | None
    m_severity: str
    m_runbook: str
    m_owner: str


_COLUMNS = (f"matches.{f[2:]}" if f[:2] == "m_" else f"steps.{f}" for f in DueStep._fields)
_DUE_STEP = ", ".join(_COLUMNS)


def due_steps(*more: str) -> str:
    """Selects the columns of DueStep, and `more`; append a condition and an order."""
    columns = ", ".join((_DUE_STEP, *more))
    return f"SELECT {columns} FROM steps JOIN matches ON matches.id = steps.match_id"  # noqa: S608


QUEUE_BOUND = 200
"""The most posts that wait on one lane; newer ones are folded into digests."""
FOLD_AT_ONCE = 200
"""How many posts one transaction folds, so that other work does not wait long."""


class Left(IntEnum):
    """Which steps of a match have not ended yet, dead letters too."""

    NONE = 0
    SOME = 1
    WAITING = 2
    """Some, of which at least one waits for others to end."""


_LEFT = (
    f"SELECT CASE WHEN count(waits) > 0 THEN {Left.WAITING:d}"  # noqa: S608
    f" WHEN count(*) > 0 THEN {Left.SOME:d} ELSE {Left.NONE:d} END FROM steps AS others"
    " WHERE others.state IN ('pending', 'sending', 'dead')"
)
OTHERS_LEFT = f"({_LEFT} AND others.match_id = steps.match_id AND others.id <> steps.id)"
"""SQL: the `Left` of a match without the present row of `steps`."""
_OF_MATCH = f"{_LEFT} AND others.match_id = :match"
_ERASE = "UPDATE matches SET subject = NULL, why = '[]', many = '' WHERE id = :match"


class DigestItem(msgspec.Struct, frozen=True, kw_only=True):
    """A match that a digest shows."""

    subject: Subject
    matched: datetime
    why: tuple[str, ...] = ()


class DigestContent(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of a digest, as the action `digest` reads them.

    `channel` is the posts' channel as their rule has it, `total` their number, `reasons` how
    many were held back for which reason, `since` when the first one matched, `items` the worst
    few, worst first, `spread` where they concentrate. Of them `over` are alerts that have ended.
    `snoozed` is who snoozed the rule, and why (` by Kim: release`), if a snooze held some back and
    somebody said so.
    """

    channel: str
    since: datetime
    total: int = 0
    reasons: dict[str, int] = {}
    items: tuple[DigestItem, ...] = ()
    spread: Spread = NOWHERE
    over: int = 0
    snoozed: str = ""


class _AtMost(msgspec.Struct, frozen=True):
    times: int
    window_ms: int


class PostParams(msgspec.Struct, frozen=True):
    """The part of a post's parameters that limits need."""

    channel: str = ""
    at_most: _AtMost | None = None
    overflow: Literal["digest", "drop"] = "digest"
    digest_at: str = ""


read_posting = msgspec.json.Decoder(Posting).decode
read_params = msgspec.json.Decoder(PostParams).decode
read_why = msgspec.json.Decoder(tuple[str, ...]).decode
read_content = msgspec.json.Decoder(DigestContent).decode


def step_ended(conn: Connection, match: int) -> None:
    """A step of the match has ended: make due what waited for nothing else.

    Once all have ended the visitor's data is erased; the keys stay.
    """
    after_step(conn, match, Left(execute(conn, _OF_MATCH, {"match": match}).fetchone()[0]))


def after_step(conn: Connection, match: int, left: Left) -> None:
    """What follows when a step ended, if it is known which steps of the match are left."""
    match left:
        case Left.NONE:
            execute_later(conn, _ERASE, {"match": match})
        case Left.SOME:
            pass
        case Left.WAITING:
            release_next(conn, match)
        case _:
            assert_never(left)


def erase_digest(conn: Connection, step: int) -> None:
    """Erase the content of a digest that was posted."""
    conn.execute(update(steps).where(steps.c.id == step).values(params="{}"))


def receipt(params: str) -> str:
    """What a digest replaces: how many posts, and why they were held back."""
    try:
        content = read_content(params)
    except msgspec.MsgspecError:
        return "a digest"
    why = ", ".join(f"{count} {reason}" for reason, count in content.reasons.items())
    return f"replaces posts held back: {why}"


def has_backlog(conn: Connection) -> bool:
    """Whether a lane has more than QUEUE_BOUND posts."""
    return conn.execute(_FULL, {"bound": QUEUE_BOUND}).first() is not None


def fold_backlog(conn: Connection, now: datetime) -> dict[str, int]:
    """Fold some of the newest posts of the lanes that have more than QUEUE_BOUND of them.

    Returns how many were held back on each lane that may have more of them: call it again until
    that is empty, and send nothing on these lanes meanwhile.
    """
    held: dict[str, int] = {}
    for lane in conn.execute(_FULL, {"bound": QUEUE_BOUND}).scalars().all():
        left = FOLD_AT_ONCE - sum(held.values())
        values = {"lane": lane, "bound": QUEUE_BOUND, "left": left}
        rows = [DueStep(*row) for row in execute(conn, _BACKLOG, values)] if left else []
        folded = _fold_for_space(conn, rows, now)
        if folded or not left:
            held[lane] = folded
    return held


def _fold_for_space(conn: Connection, rows: Sequence[DueStep], now: datetime) -> int:
    """Hold back those that can be read; returns how many."""
    dropped: list[DueStep] = []
    folded: dict[str, list[Folding]] = {}
    for row in rows:
        try:
            params = read_params(row.params)
            if params.overflow == "drop" or edits_first(conn, row):
                dropped.append(row)
            else:
                folded.setdefault(row.m_rule, []).append(folding(row, params.channel))
        except msgspec.MsgspecError:
            continue
    withhold(conn, dropped, Reason.QUEUE_FULL, now)
    held = len(dropped)
    for some in folded.values():
        with suppress(msgspec.MsgspecError):  # its digest can't be read; nothing was written
            fold(conn, some, Reason.QUEUE_FULL, now, now)
            held += len(some)
    return held


_FULL = text(
    "SELECT lane FROM lanes WHERE EXISTS"  # noqa: S608
    " (SELECT 1 FROM steps WHERE steps.lane = lanes.lane"
    f" AND steps.state = 'pending' AND steps.rank = {Rank.POST} LIMIT 1 OFFSET :bound)"
    " ORDER BY lane"
)
_BACKLOG = (
    f"{due_steps()} WHERE steps.lane = :lane AND steps.state = 'pending'"
    f" AND steps.rank = {Rank.POST} AND steps.unknown_since IS NULL AND steps.look_since IS NULL"
    f" AND steps.action IN ({', '.join(repr(kind) for kind in sorted(DIGESTS))})"
    " ORDER BY steps.id LIMIT :left OFFSET :bound"
)


def withhold(conn: Connection, rows: Sequence[DueStep], reason: Reason, now: datetime) -> None:
    """End posts that are not sent and told of nowhere; the audit log says why."""
    end_held_back(conn, rows, "step.withheld", StepStatus.WITHHELD, reason, now)


class Folding(NamedTuple):
    """A post that goes into a digest, read."""

    row: DueStep
    channel: str
    subject: Subject
    why: tuple[str, ...]


def folding(row: DueStep, channel: str) -> Folding:
    """Raises MsgspecError if its subject can't be read."""
    return Folding(row, channel, reread(row.m_subject or b""), read_why(row.m_why))


def fold(
    conn: Connection, posts: Sequence[Folding], reason: Reason, due: datetime, now: datetime
) -> None:
    """Fold posts of one rule on one lane into its digest.

    The end of an alert of which it tells is not one more of them.
    """
    first = posts[0]
    digest = _open_digest(conn, first.row) or _begin_digest(
        conn, first.row, first.channel, due, reason, now
    )
    content = read_content(digest.params)
    items, spread = content.items, content.spread
    over = _over(conn, [row for row, *_ in posts], digest.id)
    more = [it for it in posts if it.row.id not in over]
    for row, _channel, subject, why in more:
        item = DigestItem(subject=glimpse(subject), matched=moment(row.m_matched), why=why)
        items, spread = _worst((*items, item)), spread_with(spread, subject)
    content = DigestContent(
        channel=content.channel,
        since=content.since,
        total=content.total + len(more),
        reasons={**content.reasons, reason: content.reasons.get(reason, 0) + len(more)},
        items=items,
        spread=spread,
        over=content.over + len(over),
        snoozed=(reason is Reason.SNOOZED and snoozer(conn, first.row.m_rule)) or content.snoozed,
    )
    write = update(steps).where(steps.c.id == digest.id)
    conn.execute(write.values(params=msgspec.json.encode(content).decode()))
    rows = [each.row for each in posts]
    end_held_back(conn, rows, "step.folded", StepStatus.FOLDED, reason, now, digest.id)


def _over(conn: Connection, rows: Sequence[DueStep], digest: int) -> set[int]:
    """The steps that end an alert of which one of the others tells, or the digest."""
    ends = {
        row.m_continues: row.id
        for row in rows
        if row.m_continues is not None and row.m_key.endswith(RESOLVED)
    }
    if not ends:
        return set()
    begun = {row.match_id for row in rows}
    # Where an alert began the digest, its end continues the digest's own match.
    held = (steps.c.digest_id == digest) | (steps.c.id == digest)
    query = select(steps.c.match_id).where(steps.c.match_id.in_(ends), held)
    begun.update(conn.execute(query).scalars())
    return {ends[match] for match in ends.keys() & begun}


def _worst(items: tuple[DigestItem, ...]) -> tuple[DigestItem, ...]:
    return tuple(sorted(items, key=lambda item: -badness(item.subject))[:SHOWN_IN_A_DIGEST])


def _open_digest(conn: Connection, row: DueStep) -> Row[int, str] | None:
    query = (
        select(steps.c.id, steps.c.params)
        .join(digests, digests.c.step_id == steps.c.id)
        .where(digests.c.rule == row.m_rule, digests.c.lane == row.lane)
    )
    return conn.execute(query).first()


def _begin_digest(
    conn: Connection, row: DueStep, channel: str, due: datetime, reason: Reason, now: datetime
) -> Row[int, str]:
    # A match of its own, so that it is sent, retried and erased like any other step. Its key
    # comes from the first post it replaces.
    key = f"digest/{row.key}"
    match_id = conn.execute(
        insert(matches)
        .values(
            key=key,
            rule=row.m_rule,
            kind="digest",
            website=row.m_website,
            subject_key=row.m_subject_key,
            summary=row.m_summary,
            severity=row.m_severity,
            runbook=row.m_runbook,
            owner=row.m_owner,
            subject=row.m_subject,
            why="[]",
            posting=row.m_posting,
            matched=ms(now),
            happened=row.m_happened,
        )
        .returning(matches.c.id)
    ).scalar_one()
    content = DigestContent(channel=channel, since=moment(row.m_matched))
    digest = conn.execute(
        insert(steps)
        .values(
            match_id=match_id,
            key=f"{key}/{DIGESTS[row.action]}-1",
            rank=Rank.POST,
            lane=row.lane,
            action=DIGESTS[row.action],
            params=msgspec.json.encode(content).decode(),
            due=ms(due),
            created=ms(now),
            fault=str(reason) if reason is Reason.SCHEDULED else "",
        )
        .returning(steps.c.id, steps.c.params)
    ).one()
    conn.execute(upsert(digests).values(rule=row.m_rule, lane=row.lane, step_id=digest.id))
    return digest


_END = (
    "UPDATE steps SET state = :state, ended = :ended, fault = :fault, digest_id = :digest"
    " WHERE id = :step"
)


def end_held_back(
    conn: Connection,
    rows: Sequence[DueStep],
    kind: AuditKind,
    state: StepStatus,
    reason: Reason,
    now: datetime,
    digest: int | None = None,
) -> None:
    """End posts that were held back, and let what comes after them in their match begin."""
    ended: dict[str, Value] = {
        "state": state, "ended": ms(now), "fault": str(reason), "digest": digest,
    }  # fmt: skip
    execute_many(conn, _END, ({**ended, "step": row.id} for row in rows))
    for row in rows:
        add_steps(conn, row.match_id, _instead(conn, row, now), now)
        step_ended(conn, row.match_id)
    record(conn, now, [note(row, kind, reason) for row in rows])


def edits_first(conn: Connection, row: DueStep) -> bool:
    """Whether the post would answer a message that says the same once it is edited.

    In a digest the end of an alert would look like one more of them.
    """
    if row.action not in IF_HELD_BACK or row.m_continues is None:
        return False
    begun = select(posts.c.key).where(posts.c.match_id == row.m_continues, posts.c.lane == row.lane)
    return conn.execute(begun).first() is not None


def _instead(conn: Connection, row: DueStep, now: datetime) -> tuple[NewStep, ...]:
    """The step that edits the message to which the post would have answered, if there is one."""
    if not edits_first(conn, row):
        return ()
    kind = IF_HELD_BACK[row.action]
    key = f"{row.key}/{kind}-1"
    return (NewStep(key=key, rank=Rank.POST, lane=row.lane, kind=kind, params=row.params, due=now),)


def note(row: DueStep, kind: AuditKind, said: str) -> Note:
    """A line of the audit log about the step."""
    return Note(
        kind=kind,
        rule=row.m_rule,
        website=row.m_website,
        subject=row.m_subject_key,
        step=row.key,
        text=said,
    )
