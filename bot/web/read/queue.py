"""The queue: does anything wait, or need a hand."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b

import msgspec

from bot.actions.tag import Tag, Untag
from bot.domain.causes import MOUSEFLOW, SERVICES, Cause, place, service
from bot.domain.limits import Reason
from bot.messages.ops import what
from bot.messages.text import clean, sentence
from bot.store import Connection
from bot.store.dead_letters import dead_groups, queue_figures
from bot.store.overview import (
    DeadStep,
    HeldBack,
    LaneNow,
    dead_steps,
    held_back_now,
    lanes_now,
    sent_by_lane,
)
from bot.web.read.world import DAY, Span, World, plain
from bot.web.views import DeadGroup, DeadItem, Held, Lane, Queue, State

MOST_ITEMS = 500
MOST_SHOWN = 20
MOST_GROUPS = 20


def queue(seen: World, span: Span, *, lane: str = "") -> Queue:
    """Read it with this page of the lanes; with `lane` only that one."""
    conn = seen.conn
    figures = queue_figures(conn, seen.now)
    sent = sent_by_lane(conn, seen.now - DAY)
    held, groups = held_back_now(conn, seen.now), _groups(conn)
    lanes = [
        _lane(each, sent.get(each.lane, 0), held.get(each.lane, ()), seen)
        for each in lanes_now(conn, seen.now)
    ]
    lanes = [each for each in lanes if each.id == lane or not lane]
    lanes.sort(key=lambda each: (each.state == "ok", -each.waiting, each.place))
    shown, paging = span.of(lanes)
    lasting = {each.key for each in seen.troubles}
    return Queue(
        frame=seen.frame,
        problems=tuple(each for each in seen.problems if each.key in lasting),
        waiting=figures.pending,
        held=sum(each.posts for some in held.values() for each in some),
        running=figures.sending,
        lanes=tuple(shown),
        paging=paging,
        dead=figures.dead,
        groups_total=len(groups),
        groups=groups[:MOST_GROUPS],
    )


def _lane(found: LaneNow, sent: int, held: Sequence[HeldBack], seen: World) -> Lane:
    state, text = _state(found, seen)
    if state == "ok" and held:
        state, text = "wait", "Holds messages back"
    where = place(found.lane)
    of = service(found.lane)
    name = seen.name(where) if of == MOUSEFLOW else clean(where)
    title = SERVICES[of].title if of in SERVICES else clean(of)  # another version made the lane
    kind = found.lane.partition(" ")[2]
    return Lane(
        id=found.lane,
        place=" ".join(filter(None, (title, name, kind))),
        state=state,
        state_text=text,
        error=plain(found.reason) if found.cause or found.paused_until else "",
        waiting=found.waiting,
        oldest_at=found.oldest if found.oldest and found.oldest <= seen.now else None,
        next_attempt_at=found.next_due if found.waiting else None,
        held=tuple(
            Held(reason=_WAITS_FOR[each.reason], count=each.posts, until=each.until)
            for each in held
        ),
        sent_24h=sent,
    )


_WAITS_FOR = {
    "": "for the next digest",
    Reason.QUIET: "for the end of the quiet time",
    Reason.OUTSIDE_HOURS: "for the rule’s active hours",
    Reason.SNOOZED: "for the end of the snooze",
    Reason.SCHEDULED: "for the scheduled digest",
}


def _state(found: LaneNow, seen: World) -> tuple[State, str]:
    if found.cause:
        where = place(found.lane)
        return "warn", plain(what(Cause(found.cause), seen.shown.get(where, where)))
    if found.paused_until:
        return "wait", "Asked to wait"
    if found.failures:
        return "warn", "The last attempt failed"
    return "ok", "Delivers"


def group_key(rule: str, action: str, reason: str) -> str:
    """Names a group of dead letters in a form."""
    return blake2b(
        f"{rule}\n{action}\n{reason}".encode("utf-8", "replace"), digest_size=8
    ).hexdigest()


def _groups(conn: Connection) -> tuple[DeadGroup, ...]:
    items: dict[str, list[DeadItem]] = {}
    for it in dead_steps(conn, MOST_ITEMS):
        item = DeadItem(
            number=it.number,
            action=it.action,
            text=_tag(it),
            recording_id=it.recording or None,
            given_up_at=it.ended,
            attempts=it.attempts,
        )
        items.setdefault(group_key(it.rule, it.action, it.fault), []).append(item)
    return tuple(
        DeadGroup(
            group=key,
            rule_id=each.rule,
            action=each.action.replace("_", " "),
            cause=plain(each.reason),
            remedy=sentence(plain(each.remedy)),
            count=each.count,
            first_at=each.first,
            items=tuple(items.get(key, ()))[:MOST_SHOWN],
        )
        for each in dead_groups(conn)
        for key in [group_key(each.rule, each.action, each.reason)]
    )


_TAGGING: Mapping[str, type[Tag | Untag]] = {"tag": Tag, "untag": Untag}


def _tag(it: DeadStep) -> str:
    """The tag that it would set or remove; "" for other actions, which may hold more."""
    model = _TAGGING.get(it.action)
    try:
        return clean(model.restored(it.params).tag) if model else ""
    except msgspec.MsgspecError:  # another version wrote it
        return ""


def members(conn: Connection, group: str) -> list[int]:
    """The numbers of the dead letters of a group."""
    return [
        it.number
        for it in dead_steps(conn, 100_000)
        if group_key(it.rule, it.action, it.fault) == group
    ]
