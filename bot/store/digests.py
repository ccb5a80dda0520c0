"""Posts that must not go out now: fold them into their rule's digest, or withhold them.

The digest is a step of the outbox like any other; its `params` are a DigestContent.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal, NamedTuple, assert_never

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, text, update

from bot.actions import AFTER_QUIET, DIGESTS, IF_HELD_BACK
from bot.domain.alert_state import REMINDED, RESOLVED
from bot.domain.calendar import Calendar, schedule
from bot.domain.limits import (
    SHOWN_IN_A_DIGEST,
    Held,
    Limit,
    Post,
    Posting,
    Reason,
    Waits,
    Window,
    admit,
    badness,
    digest_waits,
)
from bot.domain.many import NOWHERE, Spread
from bot.domain.step import OWN_RULE, Rank, StepStatus
from bot.domain.subjects import Subject, reread
from bot.messages.pages import glimpse, spread_with
from bot.store.audit import Note, record
from bot.store.matches import NewStep, add_steps, release_next
from bot.store.rules import snoozed_until
from bot.store.schema import digests, matches, moment, ms, posts, steps, windows
from bot.store.statements import Value, execute, execute_many, upsert


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
SELECT_DUE_STEP = (
    f"SELECT {', '.join(_COLUMNS)} FROM steps JOIN matches ON matches.id = steps.match_id"  # noqa: S608
)
"""Selects the columns of DueStep; append a condition and an order."""


QUEUE_BOUND = 200
"""The most posts that wait on one lane; newer ones are folded into digests."""
FOLD_AT_ONCE = 200
"""How many posts one transaction folds, so that other work does not wait long."""

_ERASE = (
    "UPDATE matches SET subject = NULL, why = '[]', many = '' WHERE id = :match AND NOT EXISTS"
    " (SELECT 1 FROM steps WHERE match_id = :match AND state IN ('pending', 'sending', 'dead'))"
)


class DigestItem(msgspec.Struct, frozen=True, kw_only=True):
    """A match that a digest shows."""

    subject: Subject
    matched: datetime
    why: tuple[str, ...] = ()


class DigestContent(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of a digest, as the action `digest` reads them.

    `channel` is the posts' channel as their rule has it, `total` their number, `reasons` how
    many were held back for which reason, `since` when the first one matched, `items` the worst
    few, worst first, `spread` where they concentrate.
    """

    channel: str
    since: datetime
    total: int = 0
    reasons: dict[str, int] = {}
    items: tuple[DigestItem, ...] = ()
    spread: Spread = NOWHERE


class _AtMost(msgspec.Struct, frozen=True):
    times: int
    window_ms: int


class _PostParams(msgspec.Struct, frozen=True):
    """The part of a post's parameters that limits need."""

    channel: str = ""
    at_most: _AtMost | None = None
    overflow: Literal["digest", "drop"] = "digest"
    digest_at: str = ""


_read_posting = msgspec.json.Decoder(Posting).decode
_read_params = msgspec.json.Decoder(_PostParams).decode
_read_why = msgspec.json.Decoder(tuple[str, ...]).decode
_read_content = msgspec.json.Decoder(DigestContent).decode


def erase_ended(conn: Connection, match: int) -> None:
    """Erase the visitor's data once every step of a match has ended; its keys stay."""
    execute(conn, _ERASE, {"match": match})


def erase_digest(conn: Connection, step: int) -> None:
    """Erase the content of a digest that was posted."""
    conn.execute(update(steps).where(steps.c.id == step).values(params="{}"))


def receipt(params: str) -> str:
    """What a digest replaces: how many posts, and why they were held back."""
    try:
        content = _read_content(params)
    except msgspec.MsgspecError:
        return "a digest"
    why = ", ".join(f"{count} {reason}" for reason, count in content.reasons.items())
    return f"replaces posts held back: {why}"


def held_back(conn: Connection, row: DueStep, now: datetime, calendar: Calendar) -> bool:
    """Whether a limit holds back this step, which is due; if so, that is saved.

    An attempt whose outcome is unknown is never held back: it may be posted already.
    """
    if row.rank != Rank.POST or row.unknown_since is not None or row.look_since is not None:
        return False
    try:
        return _held_back(conn, row, now, calendar)
    except msgspec.MsgspecError:
        # Not readable: the attempt will fail the same way and give it up.
        return False


def _held_back(conn: Connection, row: DueStep, now: datetime, calendar: Calendar) -> bool:
    if row.action not in (*DIGESTS, *DIGESTS.values(), WEEKLY):
        return False
    quiet = None if row.m_severity == "critical" else calendar.quiet_until(now)
    if row.fault == Reason.QUIET and quiet is None and fold_after_quiet(conn, row, now):
        return True
    if row.action == WEEKLY:
        if quiet is not None:
            _put_off(conn, row, quiet, Reason.QUIET, now)
        return quiet is not None
    if row.action in DIGESTS.values():
        return _digest_waits(conn, row, now, quiet)
    params = _read_params(row.params)
    posting = _read_posting(row.m_posting)
    if row.fault == Reason.QUIET:  # it was not too old when it came
        posting = replace(posting, act_up_to=None)
    at = schedule(params.digest_at).following(now, calendar.zone) if params.digest_at else None
    limit = None if row.admitted else _limit(params)
    verdict = admit(
        now,
        happened=moment(row.m_happened),
        posting=posting,
        limit=limit,
        window=_window(conn, row) if limit else None,
        snoozed_until=snoozed_until(conn, row.m_rule),
        scheduled=at,
        quiet_until=quiet,
    )
    match verdict:
        case Post(window):
            if window:
                _keep_window(conn, row, window)
            if row.fault == Reason.QUIET:  # nor is it after an attempt that fails
                kept = msgspec.json.encode(posting).decode()
                conn.execute(
                    update(matches).where(matches.c.id == row.match_id).values(posting=kept)
                )
            return False
        case Waits(until):
            _put_off(conn, row, until, Reason.QUIET, now)
        case Held(reason, until, drop):
            if drop:
                _withhold(conn, [row], reason, now)
            else:
                _fold(conn, [_folding(row, params.channel)], reason, until, now)
        case _:
            assert_never(verdict)
    return True


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
    folded: dict[str, list[_Folding]] = {}
    for row in rows:
        try:
            params = _read_params(row.params)
            if params.overflow == "drop":
                dropped.append(row)
            else:
                folded.setdefault(row.m_rule, []).append(_folding(row, params.channel))
        except msgspec.MsgspecError:
            continue
    _withhold(conn, dropped, Reason.QUEUE_FULL, now)
    held = len(dropped)
    for some in folded.values():
        with suppress(msgspec.MsgspecError):  # its digest can't be read; nothing was written
            _fold(conn, some, Reason.QUEUE_FULL, now, now)
            held += len(some)
    return held


_FULL = text(
    "SELECT lane FROM lanes WHERE EXISTS"  # noqa: S608
    " (SELECT 1 FROM steps WHERE steps.lane = lanes.lane"
    f" AND steps.state = 'pending' AND steps.rank = {Rank.POST} LIMIT 1 OFFSET :bound)"
)
_BACKLOG = (
    f"{SELECT_DUE_STEP} WHERE steps.lane = :lane AND steps.state = 'pending'"
    f" AND steps.rank = {Rank.POST} AND steps.unknown_since IS NULL AND steps.look_since IS NULL"
    f" AND steps.action IN ({', '.join(repr(kind) for kind in sorted(DIGESTS))})"
    " ORDER BY steps.id LIMIT :left OFFSET :bound"
)


def _limit(params: _PostParams) -> Limit | None:
    rate = params.at_most
    if rate is None:
        return None
    return Limit(rate.times, timedelta(milliseconds=rate.window_ms), params.overflow)


def _window(conn: Connection, row: DueStep) -> Window | None:
    query = select(windows.c.began, windows.c.used).where(
        windows.c.rule == row.m_rule, windows.c.lane == row.lane
    )
    found = conn.execute(query).first()
    return Window(moment(found.began), found.used) if found else None


def _keep_window(conn: Connection, row: DueStep, window: Window) -> None:
    values = {"began": ms(window.began), "used": window.used}
    write = upsert(windows).values(rule=row.m_rule, lane=row.lane, **values)
    conn.execute(write.on_conflict_do_update(index_elements=["rule", "lane"], set_=values))
    # Do not count a retry of this post again.
    conn.execute(update(steps).where(steps.c.id == row.id).values(admitted=1))


def _digest_waits(conn: Connection, row: DueStep, now: datetime, quiet: datetime | None) -> bool:
    snoozed = snoozed_until(conn, row.m_rule)
    held = digest_waits(now, _read_posting(row.m_posting), snoozed, quiet)
    if held is not None:
        _put_off(conn, row, held.until, held.reason, now)
        return True
    # It is being sent now; what is held back later goes into another one.
    conn.execute(delete(digests).where(digests.c.step_id == row.id))
    return False


def _put_off(
    conn: Connection, row: DueStep, until: datetime, reason: Reason, now: datetime
) -> None:
    # What it has failed until now counts no more: it would be given up after its next try.
    anew = {"attempts": 0, "first_tried": None}
    later = update(steps).where(steps.c.id == row.id)
    conn.execute(later.values(due=ms(until), fault=str(reason), **anew))
    what = "the digest" if row.action in DIGESTS.values() else "the post"
    said = f"{what} waits until {until:%Y-%m-%d %H:%M} UTC: {reason}"
    record(conn, now, [_note(row, "step.put_off", said)])


def _withhold(conn: Connection, rows: Sequence[DueStep], reason: Reason, now: datetime) -> None:
    _end_held_back(conn, rows, "step.withheld", StepStatus.WITHHELD, reason, now)


class _Folding(NamedTuple):
    """A post that goes into a digest, read."""

    row: DueStep
    channel: str
    subject: Subject
    why: tuple[str, ...]


def _folding(row: DueStep, channel: str) -> _Folding:
    """Raises MsgspecError if its subject can't be read."""
    return _Folding(row, channel, reread(row.m_subject or b""), _read_why(row.m_why))


def _fold(
    conn: Connection, posts: Sequence[_Folding], reason: Reason, due: datetime, now: datetime
) -> None:
    """Fold posts of one rule on one lane into its digest."""
    first = posts[0]
    digest = _open_digest(conn, first.row) or _begin_digest(
        conn, first.row, first.channel, due, reason, now
    )
    content = _read_content(digest.params)
    items, spread = content.items, content.spread
    for row, _channel, subject, why in posts:
        item = DigestItem(subject=glimpse(subject), matched=moment(row.m_matched), why=why)
        items, spread = _worst((*items, item)), spread_with(spread, subject)
    content = DigestContent(
        channel=content.channel,
        since=content.since,
        total=content.total + len(posts),
        reasons={**content.reasons, reason: content.reasons.get(reason, 0) + len(posts)},
        items=items,
        spread=spread,
    )
    write = update(steps).where(steps.c.id == digest.id)
    conn.execute(write.values(params=msgspec.json.encode(content).decode()))
    rows = [each.row for each in posts]
    _end_held_back(conn, rows, "step.folded", StepStatus.FOLDED, reason, now, digest.id)


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


def _end_held_back(
    conn: Connection,
    rows: Sequence[DueStep],
    kind: str,
    state: StepStatus,
    reason: Reason,
    now: datetime,
    digest: int | None = None,
) -> None:
    ended: dict[str, Value] = {
        "state": state, "ended": ms(now), "fault": str(reason), "digest": digest,
    }  # fmt: skip
    execute_many(conn, _END, ({**ended, "step": row.id} for row in rows))
    for row in rows:
        add_steps(conn, row.match_id, _instead(conn, row, now), now)
        release_next(conn, row.match_id)
        erase_ended(conn, row.match_id)
    record(conn, now, [_note(row, kind, reason) for row in rows])


def _instead(conn: Connection, row: DueStep, now: datetime) -> tuple[NewStep, ...]:
    """The step that edits the message to which the post would have answered, if there is one."""
    kind = IF_HELD_BACK.get(row.action)
    begun = select(posts.c.key).where(posts.c.match_id == row.m_continues, posts.c.lane == row.lane)
    if kind is None or row.m_continues is None or conn.execute(begun).first() is None:
        return ()
    key = f"{row.key}/{kind}-1"
    return (NewStep(key=key, rank=Rank.POST, lane=row.lane, kind=kind, params=row.params, due=now),)


def _note(row: DueStep, kind: str, said: str) -> Note:
    return Note(
        kind=kind,
        rule=row.m_rule,
        website=row.m_website,
        subject=row.m_subject_key,
        step=row.key,
        text=said,
    )


# After a quiet time.

FEW = 3
"""As many posts that waited go out alone; more become one digest of their channel."""

WEEKLY = "weekly"
"""The kind of step that posts a weekly report, which stays a message of its own."""

MOST_GROUPS = 50
"""Rules and ended alerts that it keeps; it counts the others."""


class QuietGroup(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule had to say: how often, where, and the worst; or an alert that is over.

    `over` is when the alert ended, which began at `since`.
    """

    rule: str
    summary: str
    severity: str
    since: datetime
    total: int = 1
    worst: DigestItem | None = None
    spread: Spread = NOWHERE
    over: datetime | None = None

    def plus(self, other: "QuietGroup") -> "QuietGroup":
        """The same with what the rule said later."""
        items = [it for it in (self.worst, other.worst) if it is not None]
        return msgspec.structs.replace(
            self,
            total=self.total + other.total,
            worst=max(items, key=lambda it: badness(it.subject)) if items else None,
            spread=self.spread.and_(other.spread),
        )


class QuietContent(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of a digest after a quiet time, as its action reads them."""

    channel: str
    since: datetime
    until: datetime
    total: int
    groups: tuple[QuietGroup, ...]


def fold_after_quiet(conn: Connection, row: DueStep, now: datetime) -> bool:
    """A quiet time is over: fold what waited on the lane into one digest, if there is much of it.

    An alert that began and ended in that time is one line, and its reminders are none. What
    answers an earlier message goes out alone, and so does what can't be read or must still wait.
    False if this step does.
    """
    waiting: dict[str, Value] = {"lane": row.lane, "now": ms(now), "quiet": str(Reason.QUIET)}
    found = (DueStep(*each) for each in execute(conn, _AFTER_QUIET, waiting).fetchall())
    told = {each.id: (each, _to_tell(conn, each, now)) for each in found if each.action != WEEKLY}
    rows = [each for each, group in told.values() if group is not None]
    fresh = [each for each in rows if each.m_continues is None]
    begun = {each.match_id: each for each in fresh}
    ends = {each.m_continues: each for each in rows if each.m_key.endswith(RESOLVED)}
    said = [each for each in rows if each.m_key.endswith(REMINDED)]
    moot = [each for each in said if each.m_continues in {*begun, *ends}]
    moot += [each for each, later in pairwise(_by_alert(said)) if _same_alert(each, later)]
    _withhold(conn, moot, Reason.QUIET, now)
    gone = {each.id for each in moot}
    over = {match: ends[match] for match in begun if match in ends}
    folded = fresh if len(fresh) > FEW else [begun[match] for match in over]
    if not folded:
        return row.id in gone
    folded = [*folded, *over.values()]
    groups = {each.id: group for each, group in told.values() if group is not None}
    digest = _begin_quiet(conn, folded, groups, over, now)
    _end_held_back(conn, folded, "step.folded", StepStatus.FOLDED, Reason.QUIET, now, digest)
    for each in folded:
        if each.action in DIGESTS.values():
            erase_digest(conn, each.id)
            conn.execute(delete(digests).where(digests.c.step_id == each.id))
    return row.id in {*gone, *(each.id for each in folded)}


_AFTER_QUIET = (
    f"{SELECT_DUE_STEP} WHERE steps.lane = :lane AND steps.due <= :now"
    " AND steps.state = 'pending' AND steps.fault = :quiet AND steps.unknown_since IS NULL"
    " AND steps.look_since IS NULL ORDER BY steps.due, steps.id"
)


def _by_alert(rows: Iterable[DueStep]) -> Sequence[DueStep]:
    return sorted(rows, key=lambda row: (row.m_continues or 0, row.id))


def _same_alert(one: DueStep, other: DueStep) -> bool:
    return one.m_continues is not None and one.m_continues == other.m_continues


def _begin_quiet(
    conn: Connection,
    rows: Sequence[DueStep],
    told: Mapping[int, QuietGroup],
    over: Mapping[int, DueStep],
    now: datetime,
) -> int:
    """Put the digest of these posts into the outbox; returns its step."""
    first = rows[0]
    ends = {each.id for each in over.values()}
    groups: dict[str, QuietGroup] = {}
    for row in rows:
        if row.id in ends:
            continue
        ended = over.get(row.match_id)
        group = told[row.id]
        if ended is not None:
            group = msgspec.structs.replace(group, over=moment(ended.m_matched))
        key = f"{row.m_rule}/{row.match_id if ended else ''}"
        groups[key] = groups[key].plus(group) if key in groups else group
    key = f"quiet/{first.key}"
    kind = AFTER_QUIET[DIGESTS.get(first.action, first.action)]
    match_id = conn.execute(
        insert(matches)
        .values(
            key=key,
            rule=OWN_RULE,
            kind="digest",
            website=first.m_website,
            subject_key=first.m_subject_key,
            summary="What waited in the quiet time",
            severity="warning" if any(row.m_severity == "warning" for row in rows) else "info",
            subject=first.m_subject,
            why="[]",
            posting=msgspec.json.encode(Posting()).decode(),
            matched=ms(now),
            happened=ms(now),
        )
        .returning(matches.c.id)
    ).scalar_one()
    shown = sorted(groups.values(), key=lambda it: (it.over is not None, -it.total))
    content = QuietContent(
        channel=_read_params(first.params).channel,
        since=moment(min(row.m_matched for row in rows)),
        until=now,
        total=sum(it.total for it in shown),
        groups=tuple(shown[:MOST_GROUPS]),
    )
    step = insert(steps).values(
        match_id=match_id,
        key=f"{key}/{kind}-1",
        rank=Rank.POST,
        lane=first.lane,
        action=kind,
        params=msgspec.json.encode(content).decode(),
        due=ms(now),
        created=ms(now),
    )
    added: int = conn.execute(step.returning(steps.c.id)).scalar_one()
    return added


def _to_tell(conn: Connection, row: DueStep, now: datetime) -> QuietGroup | None:
    """What this post has to say; None if it can't be read, or if its rule must be silent now."""
    try:
        _read_params(row.params)
        waits = digest_waits(now, _read_posting(row.m_posting), snoozed_until(conn, row.m_rule))
        return None if waits else _quiet_group(row)
    except msgspec.MsgspecError:
        return None


def _quiet_group(row: DueStep) -> QuietGroup:
    """The same of a post, which may be a digest itself; raises MsgspecError."""
    about = QuietGroup(
        rule=row.m_rule, summary=row.m_summary, severity=row.m_severity, since=moment(row.m_matched)
    )
    if row.action in DIGESTS.values():
        content = _read_content(row.params)
        return msgspec.structs.replace(
            about,
            since=content.since,
            total=content.total,
            worst=next(iter(content.items), None),
            spread=content.spread,
        )
    subject = reread(row.m_subject or b"")
    item = DigestItem(
        subject=glimpse(subject), matched=moment(row.m_matched), why=_read_why(row.m_why)
    )
    return msgspec.structs.replace(
        about,
        worst=item,
        spread=spread_with(NOWHERE, subject),
    )
