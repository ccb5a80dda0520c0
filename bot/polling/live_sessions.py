"""What is kept of a website's live sessions from poll to poll, and which are due to be judged."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import msgspec

from bot.domain.subjects import Band
from bot.polling.evaluate import Due, Judged
from bot.polling.list_reader import Look, Pace, sweep_is_due
from bot.polling.page_views import Expansion
from bot.polling.server_facts import TagFilter, VisitorType
from bot.polling.session import aware, last_activity, packed, settled, unpacked
from mouseflow.models import Recording

LAG = timedelta(minutes=2)
"""Friction may be counted a little after the activity that caused it."""

TRY_AGAIN, TRY_SOON = timedelta(hours=1), timedelta(minutes=5)
"""How often it is tried whether the server heeds the friction filter, and where it did not."""

PATIENCE = 10
"""Polls that may fail to bring a recording's detail before it is judged without."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A live session between two polls: its row, and what was asked about it when.

    Page views are not kept: until the session is settled, something may be added to them.
    """

    row: bytes
    at: datetime | None
    friction: Band | None
    visitor_type: VisitorType | None
    asked: datetime


@dataclass(slots=True)
class Memory:
    """What helps from poll to poll and may be lost: a restart reads a little more, once.

    `tries` counts failed details by recording, `said` holds unreadable rows named before.
    `gone` names recordings whose detail was gone, as long as the list still has them.
    """

    live: dict[str, Waiting] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)
    friction_ignored: bool | None = None
    tags: TagFilter = field(default_factory=TagFilter)
    expansion: Expansion = field(default_factory=Expansion)
    tries: dict[str, int] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)
    gone: frozenset[str] = frozenset()
    generation: int = 0
    costs: Counter[str] = field(default_factory=Counter)
    counted_since: datetime | None = None
    friction_tried: datetime | None = None

    def must_try_friction(self, now: datetime) -> bool:
        """Is it time to see whether the server heeds the friction filter? Sooner if it did not."""
        tried, again = self.friction_tried, TRY_SOON if self.friction_ignored else TRY_AGAIN
        if tried is not None and now - tried < again:
            return False
        self.friction_tried = now
        return True

    def forget_facts(self) -> None:
        """Other rules ask other things: what was asked of live sessions is asked again.

        They may read tags, too, of which nothing was compared.
        """
        self.generation += 1
        self.expansion = Expansion()
        self.live = {
            key: replace(waiting, friction=None, visitor_type=None)
            for key, waiting in self.live.items()
        }


def due(seen: Look, memory: Memory, settle: timedelta, now: datetime) -> list[Due]:
    """What to judge: rows that are new or have grown, and sessions that have become final."""
    clock = seen.clock(now)
    dues = {
        row.id: Due(row, settled(row, clock, settle), visitor_type=_visitor(row, memory))
        for row in seen.grown
    }
    for row in seen.listing.rows:
        if row.id in seen.known.live and row.id not in memory.live and row.id not in dues:
            dues[row.id] = Due(row, settled(row, clock, settle))
    listed = {row.id: row for row in seen.listing.rows}  # with what people have marked since
    for key, waiting in memory.live.items():
        if key in dues:
            continue
        row = listed.get(key) or unpacked(waiting.row)
        if settled(row, clock, settle):
            dues[key] = _final(row, waiting)
        elif key in memory.tries:
            dues[key] = Due(row, settled=False, visitor_type=waiting.visitor_type)
        elif (at := last_activity(row, clock)) and waiting.asked < at + LAG <= clock:
            dues[key] = Due(
                row,
                settled=False,
                visitor_type=waiting.visitor_type,
                quiet=True,
                before=waiting.friction,
            )
    return list(dues.values())


def places(seen: Look, memory: Memory) -> dict[str, int]:
    """Where recordings stand in the list, as far as that is known.

    Below the rows that were read come the other live sessions, by their last activity.
    """
    listing = seen.listing
    if listing.exhausted:
        return {}
    found = {row.id: at for at, row in enumerate(listing.rows, 1)}
    if listing.order == "activity" and not listing.whole:
        below = [
            (each.at, key) for key, each in memory.live.items() if each.at and key not in found
        ]
        below.sort(reverse=True)
        found |= {key: at for at, (_at, key) in enumerate(below, len(found) + 1)}
    return found


def _visitor(row: Recording, memory: Memory) -> VisitorType | None:
    """Whether the visitor came back, which no session changes while it goes on."""
    waiting = memory.live.get(row.id)
    return waiting.visitor_type if waiting else None


def _final(row: Recording, waiting: Waiting) -> Due:
    """A session at its end; facts asked well after its last activity still hold."""
    at = last_activity(row)
    if at is not None and waiting.asked < at + LAG:
        return Due(row, True, visitor_type=waiting.visitor_type)
    return Due(row, True, waiting.friction, waiting.visitor_type, waiting.asked)


def put_off(judged: Sequence[Judged], memory: Memory) -> frozenset[str]:
    """Recordings whose detail could not be had, as long as patience lasts."""
    waiting = set()
    for each in judged:
        key = each.due.row.id
        if not each.open:
            memory.tries.pop(key, None)
        elif memory.tries.get(key, 0) < PATIENCE:
            memory.tries[key] = memory.tries.get(key, 0) + 1
            waiting.add(key)
        elif each.due.settled:
            memory.tries.pop(key)
    return frozenset(waiting)


def remember(
    seen: Look,
    judged: Sequence[Judged],
    waiting: frozenset[str],
    vanished: frozenset[str],
    memory: Memory,
    now: datetime,
) -> None:
    """Keep what the next poll needs of the live sessions. `waiting` have been put off."""
    clock = seen.clock(now)
    for each in judged:
        row = each.due.row
        if each.gone or (each.due.settled and row.id not in waiting):
            memory.live.pop(row.id, None)
        else:
            memory.live[row.id] = Waiting(
                row=packed(msgspec.structs.replace(row, page_views=None)),
                at=aware(row.last_activity) if row.last_activity else None,
                friction=each.subject.friction,
                visitor_type=each.subject.visitor_type,
                asked=each.due.asked or clock,
            )
    for key in vanished:
        memory.live.pop(key, None)
    listed = seen.listing.ids
    memory.gone = frozenset(
        {key for key in memory.gone if key in listed}
        | {each.due.row.id for each in judged if each.gone}
    )
    if seen.listing.whole or sweep_is_due(memory.pace, now):
        memory.pace.swept = now
    memory.pace.learn(seen, frozenset(memory.live))
