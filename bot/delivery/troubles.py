"""Messages to people about delivery: each trouble once when it begins and once when it ends.

Works inside one transaction, so that what was told and what is known of it never differ.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, assert_never

import structlog
from msgspec import Struct
from msgspec.structs import replace

from bot.domain.causes import (
    MOUSEFLOW,
    PASSING,
    Cause,
    Stops,
    is_about,
    place,
    service,
    stops,
    trouble_key,
)
from bot.messages import ops as messages
from bot.messages.ops import Fault, Notice
from bot.messages.text import without_answer
from bot.store import Connection
from bot.store.recordings import website_names
from bot.store.schema import ms
from bot.store.troubles import (
    PATIENCE,
    FailingLane,
    Trouble,
    Untold,
    bound_dead_letters,
    bound_queues,
    expire,
    failing_lanes,
    forget_trouble,
    keep_trouble,
    mark_told,
    told_before,
    troubles,
    untold,
)

log = structlog.get_logger(__name__)

QUIET = timedelta(minutes=5)
"""What may pass by itself is told when it lasts this long."""
GATHER = timedelta(minutes=1)
"""How long dead letters are gathered before people are told."""
AGAIN = timedelta(days=1)
"""People hear of further dead letters with the same cause this often at most."""


def _nobody(_conn: Connection, _notice: Notice, _now: datetime) -> None:
    """Tell nobody."""


def _never(_conn: Connection) -> bool:
    return False


class Ops(Struct, frozen=True):
    """How people are told: `announce` writes a notice into the outbox, for the lane of `channel`.

    `amend` edits the message of a trouble's beginning, and posts nothing.
    `polls_fail` says whether polls fail too, since Mouseflow is down or rejects the key: the
    polls tell people then. Without a channel, a notice is only in the audit log.
    """

    channel: str | None = None
    announce: Callable[[Connection, Notice, datetime], None] = _nobody
    amend: Callable[[Connection, Notice, datetime], None] = _nobody
    polls_fail: Callable[[Connection], bool] = _never

    @property
    def lane(self) -> str:
        """The lane of its notices."""
        return f"slack:{self.channel or ''}"

    @property
    def reaches(self) -> bool:
        """Whether a notice reaches people."""
        return self.channel is not None


NOBODY = Ops()
"""Nobody is told; the log says everything."""


class TroubleFigures(NamedTuple):
    """The `trouble_key` of each lane that fails, and how many steps were given up or not kept."""

    failing: frozenset[str]
    expired: int = 0
    dropped: int = 0


def expire_and_tell(conn: Connection, now: datetime, ops: Ops) -> TroubleFigures:
    """End what waits too long, and tell people what began and ended.

    One call does a bounded part of the work.
    """
    expired, dropped = expire(conn, now), bound_queues(conn, now)
    bound_dead_letters(conn, now)
    failing = _by_key(failing_lanes(conn, now))
    names = website_names(conn) if failing else {}
    known = {trouble.key: trouble for trouble in troubles(conn)}
    turned = _ends_or_turns(conn, known, failing, names, now, ops)
    for key, lanes in failing.items():
        fault = _fault(lanes, names)
        if key in known:
            _lasts(conn, known[key], fault)
        elif key in turned or _is_news(conn, fault, lanes[0].lane, now, ops):
            _begins(conn, key, fault, _can_tell(fault.cause, lanes, ops), now, ops)
    _tell_dead_letters(conn, now, ops)
    return TroubleFigures(frozenset(failing), expired, dropped)


def _by_key(lanes: Sequence[FailingLane]) -> dict[str, list[FailingLane]]:
    found: dict[str, list[FailingLane]] = {}
    for lane in lanes:
        found.setdefault(trouble_key(lane.cause, lane.lane), []).append(lane)
    return found


def _fault(lanes: Sequence[FailingLane], names: dict[str, str]) -> Fault:
    first = min(lanes, key=lambda lane: lane.since)
    return Fault(
        cause=first.cause,
        place=_place(first.cause, first.lane, names),
        reason=without_answer(first.reason),
        remedy=first.remedy,
        since=first.since,
        waiting=sum(lane.waiting for lane in lanes),
        rules=tuple(sorted({rule for lane in lanes for rule in lane.rules})),
    )


def _place(cause: Cause, lane: str, names: dict[str, str]) -> str:
    match stops(cause):
        case Stops.SERVICE:
            return ""
        case Stops.KIND:
            action = lane.partition(" ")[2]
            return f"{action} on {names.get(place(lane), place(lane))}"
        case Stops.LANE | Stops.STEP:
            return place(lane)
        case never:
            assert_never(never)


def _is_news(conn: Connection, fault: Fault, lane: str, now: datetime, ops: Ops) -> bool:
    if fault.cause in PASSING and now - fault.since < QUIET:
        return False
    return service(lane) != MOUSEFLOW or not ops.polls_fail(conn)


def _ends_or_turns(
    conn: Connection,
    known: Mapping[str, Trouble],
    failing: Mapping[str, Sequence[FailingLane]],
    names: dict[str, str],
    now: datetime,
    ops: Ops,
) -> frozenset[str]:
    """End the troubles that fail no more; returns the keys of the causes into which some turned.

    One that has not worked since, and whose lane fails for another cause, is not over: people are
    told of the other cause, or, as long as that is impossible, later.
    """
    turned = set[str]()
    for key in sorted(known.keys() - failing.keys()):
        trouble = known[key]
        now_fails = {it: lanes for it, lanes in failing.items() if _concerns(trouble, lanes)}
        into = next((it for it in now_fails if it not in known), None)
        if trouble.worked:
            _ends(conn, trouble, now, ops)
        elif not all(_can_tell(it[0].cause, it, ops) for it in now_fails.values()):
            continue
        elif into is not None:
            turned.add(into)
            fault = _fault(failing[into], names)
            what = messages.what(fault.cause, fault.place)
            _forget(conn, trouble, now, turned_into=what)
            if trouble.told:
                old = messages.what(trouble.cause, trouble.place)
                notice = messages.turned(old, what, trouble.since, now)
                ops.amend(conn, replace(notice, about=trouble.key), now)
        else:
            _ends(conn, trouble, now, ops)
    return frozenset(turned)


def _concerns(trouble: Trouble, lanes: Sequence[FailingLane]) -> bool:
    return any(is_about(trouble.key, trouble.cause, each.lane) for each in lanes)


def _can_tell(cause: Cause, lanes: Sequence[FailingLane], ops: Ops) -> bool:
    """Whether a notice can arrive: not through what fails."""
    if stops(cause) is Stops.SERVICE and service(lanes[0].lane) == service(ops.lane):
        return False
    return all(lane.lane != ops.lane for lane in lanes)


def _begins(
    conn: Connection, key: str, fault: Fault, can_tell: bool, now: datetime, ops: Ops
) -> None:
    keep_trouble(
        conn,
        Trouble(
            key=key,
            cause=fault.cause,
            place=fault.place,
            reason=fault.reason,
            remedy=fault.remedy,
            since=fault.since,
            told=can_tell and ops.reaches,
            waiting=fault.waiting,
        ),
    )
    notice = messages.began(fault, PATIENCE)
    log.error("deliver.trouble", trouble=messages.what(fault.cause, fault.place),
              reason=fault.reason, remedy=fault.remedy, waiting=fault.waiting)  # fmt: skip
    if can_tell:
        _announce(conn, replace(notice, about=key), now, ops)


def _lasts(conn: Connection, trouble: Trouble, fault: Fault) -> None:
    if fault.waiting > trouble.waiting:
        keep_trouble(conn, replace(trouble, waiting=fault.waiting))


def _ends(conn: Connection, trouble: Trouble, now: datetime, ops: Ops) -> None:
    _forget(conn, trouble, now, worked=trouble.worked)
    fault = Fault(
        cause=trouble.cause,
        place=trouble.place,
        reason=trouble.reason,
        remedy=trouble.remedy,
        since=trouble.since,
        waiting=trouble.waiting,
    )
    if trouble.worked:
        said = messages.ended(fault, now, trouble.dropped)
    elif trouble.told:
        said = messages.nothing_waits(fault, now, trouble.dropped)
    else:  # it would be the next thing that waits for what fails
        return
    _announce(conn, replace(said, about=trouble.key, ends=True), now, ops)


def _forget(conn: Connection, trouble: Trouble, now: datetime, **more: bool | str) -> None:
    forget_trouble(conn, trouble.key)
    log.info("deliver.trouble_ended", trouble=messages.what(trouble.cause, trouble.place),
             seconds=round((now - trouble.since).total_seconds()), waited=trouble.waiting,
             dropped=trouble.dropped, **more)  # fmt: skip


def _tell_dead_letters(conn: Connection, now: datetime, ops: Ops) -> None:
    """Tell people of new dead letters, by what failed and why."""
    waiting = untold(conn)
    if not waiting or now - waiting[0].first < GATHER:
        return
    groups: dict[tuple[str, Cause, str], list[Untold]] = {}
    for letters in waiting:
        group = _group(letters.action, letters.cause, letters.reason)
        groups.setdefault(group, []).append(letters)
    told: dict[tuple[str, Cause, str], datetime] = {}
    for action, cause, reason, at in told_before(conn):
        group = _group(action, cause, reason)
        told[group] = max(at, told.get(group, at))
    # Each group has a moment of its own, by which a press finds it again.
    for moment, (group, alike) in enumerate(groups.items()):
        at = now + moment * timedelta(milliseconds=1)
        if group not in told or now - told[group] >= AGAIN:
            count = sum(letters.count for letters in alike)
            rules = sorted({rule for each in alike for rule in mark_told(conn, each, at)})
            action, _, reason = group
            first = min(letters.first for letters in alike)
            notice = messages.dead_letters(
                count, action, reason, alike[0].remedy, rules, first, ms(at)
            )
            _announce(conn, notice, now, ops)


def _group(action: str, cause: Cause, reason: str) -> tuple[str, Cause, str]:
    return action, cause, without_answer(reason)


def _announce(conn: Connection, notice: Notice, now: datetime, ops: Ops) -> None:
    ops.announce(conn, notice, now)
