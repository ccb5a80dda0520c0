"""What the bot keeps of a website's live sessions between polls, and which to evaluate next."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from bot.domain.subjects import Band
from bot.errors import BotError
from bot.polling.candidates import Candidate, Evaluation, Knowledge, Result, Scope
from bot.polling.list_reader import ListReading, Pace, sweep_is_due
from bot.polling.page_views import Expansion
from bot.polling.server_facts import VisitorType
from bot.polling.session import (
    FLUSH,
    aware,
    fingerprint,
    last_activity,
    packed,
    settled,
    unpacked,
)
from bot.polling.watermark import EndedUnder
from bot.rules.unread import unread
from mouseflow.filters import SessionFilters
from mouseflow.models import PageView, Recording

LAG = timedelta(minutes=2)
"""The server may count friction a little after the activity that caused it.

It is asked again after this long, for prompt matches, and once more when the session has ended.
"""

PATIENCE = timedelta(hours=1)
"""How long to wait for one recording's detail if other details can be read then."""

LONGEST_WAIT = timedelta(days=1)
"""How long to wait for a recording's detail at most, even if no detail can be read."""

EAGER, RETRY = timedelta(minutes=5), timedelta(minutes=10)
"""A missing detail is retried at every poll at first, then after this long each time."""


class LiveSession(Struct, frozen=True):
    """A live session between two polls: its row, and the facts asked about it and when.

    `views` are the page views of its detail, which hold until the session grows; only their tags
    may be added later.
    """

    row: bytes
    at: datetime | None
    friction: Band | None
    visitor_type: VisitorType | None
    asked: datetime
    views: bytes | None = None


class MissingDetail(Struct, frozen=True):
    """A detail that is needed and could not be fetched.

    `since` is the first failure, or the end of the last outage of all details; `first` the first
    failure in any case; `tried` the last one. `rules` has the names of the rules in force when
    the session had ended, which alone decide it; None while it goes on.
    """

    first: datetime
    since: datetime
    tried: datetime
    rules: frozenset[str] | None = None

    def is_due(self, now: datetime) -> bool:
        """Whether to try again now."""
        return now - self.since < EAGER or now - self.tried >= RETRY

    def is_overdue(self, now: datetime) -> bool:
        """Whether to give up, if others can be read now."""
        return now - self.since >= PATIENCE

    def hopeless(self, now: datetime, others: bool) -> bool:
        """Whether to give up and close the recording without its detail.

        `others`: the details of other recordings can be read now. Else all may be away.
        """
        return now - self.first >= LONGEST_WAIT or (others and self.is_overdue(now))


class LiveSessions(Struct, frozen=True):
    """What helps from poll to poll. Losing it, as in a restart, costs a few calls, no match.

    `without_detail` holds the recordings that wait for a detail, `detail_read` is when any detail
    was read last, and `detail_failure` why none can be read since some began to wait. `reported`
    has the unreadable rows that the audit log names already. `gone` has recordings whose detail
    is gone, while the list still has them. `marks_read` is when each question about late marks
    was asked last.
    """

    sessions: Mapping[str, LiveSession] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)
    knowledge: Knowledge = field(default_factory=Knowledge)
    without_detail: Mapping[str, MissingDetail] = field(default_factory=dict)
    detail_read: datetime | None = None
    detail_failure: BotError | None = None
    outage: bool = False
    reported: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    costs: Mapping[str, int] = field(default_factory=dict)
    counted_since: datetime | None = None
    marks_read: Mapping[SessionFilters, datetime] = field(default_factory=dict)

    def waiting_again(self, ended: Iterable[EndedUnder], now: datetime) -> "LiveSessions":
        """What the first poll of a process starts with: `ended` still wait for their detail."""
        without_detail = {
            key: MissingDetail(now, now, now, frozenset(group.rules))
            for group in ended
            for key in group.recordings
        }
        return replace(self, without_detail=self.without_detail or without_detail)

    def forget_facts(self) -> "LiveSessions":
        """What a poll by other rules starts with: facts are asked again, as these rules need them.

        They may also read tags, which expanded lists have not been compared by.
        """
        knowledge = replace(self.knowledge, expansion=Expansion())
        return self.learnt(knowledge, ask_again=True)

    def learnt(self, knowledge: Knowledge, *, ask_again: bool = False) -> "LiveSessions":
        """Keep this knowledge. `ask_again`: forget what filters told of live sessions so far."""
        if not ask_again:
            return replace(self, knowledge=knowledge)
        sessions = {
            key: replace(each, friction=None, visitor_type=None)
            for key, each in self.sessions.items()
        }
        return replace(self, knowledge=knowledge, sessions=sessions)

    def without_deleted(self, seen: ListReading) -> "LiveSessions":
        """Drop the sessions that the bot has deleted meanwhile: their rows tell no end."""
        there = seen.known.live | seen.listing.ids
        if self.sessions.keys() | self.without_detail.keys() <= there:
            return self
        return replace(
            self,
            sessions={key: it for key, it in self.sessions.items() if key in there},
            without_detail={key: it for key, it in self.without_detail.items() if key in there},
        )

    def forget_sessions(self) -> "LiveSessions":
        """Drop the rows of live sessions: the next poll reads them again."""
        return replace(self, sessions={})


def ending_depth(live: LiveSessions, scope: Scope, settle: timedelta, gap: timedelta) -> int:
    """How deep the list must be read for the rows of sessions that end now, 0 if none matter.

    A session is decided by its row as it is at its end. Only sessions count whose outcome hinges
    on what people can change on a finished session, and that don't wait for a detail anyway.
    Assumes a list in order of activity, and that as many sessions came during the `gap` since
    the last poll as before.
    """
    ending = [
        each.at
        for key, each in live.sessions.items()
        if each.at is not None
        and key not in live.without_detail
        and scope.now - each.at >= settle
        and scope.rules.hinging_on_marks(scope.subject(_so_far(each)))
    ]
    if not ending:
        return 0
    oldest = min(ending)
    newer = sum(each.at is not None and each.at >= oldest for each in live.sessions.values())
    return newer + live.pace.depth + round(len(live.sessions) * (gap / max(settle, LAG)))


def candidates(
    seen: ListReading, live: LiveSessions, settle: timedelta, now: datetime
) -> list[Candidate]:
    """What to evaluate: rows that are new or have grown, and sessions that have ended."""
    clock = seen.clock(now)
    found = {
        row.id: Candidate(row, settled(row, clock, settle), visitor_type=_visitor(row, live))
        for row in seen.grown
    }
    for row in seen.listing.rows:
        if row.id in seen.known.live and row.id not in live.sessions and row.id not in found:
            found[row.id] = Candidate(row, settled(row, clock, settle))
    listed = {row.id: row for row in seen.listing.rows}  # with what people have marked since
    there = seen.listing.ids
    for key, session in live.sessions.items():
        if key in found:
            continue
        row = listed.get(key) or unpacked(session.row)
        unlisted = key not in there and (seen.shrunk or seen.listing.covers(row))
        missing = live.without_detail.get(key)
        if missing and not live.outage and not missing.is_due(now):
            continue
        if settled(row, clock, settle):
            found[key] = replace(
                _final(row, session),
                stale=key not in listed,
                views=_views(row, session),
                unlisted=unlisted,
            )
        elif missing:
            found[key] = Candidate(
                row, settled=False, visitor_type=session.visitor_type, unlisted=unlisted
            )
        elif (at := last_activity(row, clock)) and session.asked < at + LAG <= clock:
            found[key] = Candidate(
                row,
                settled=False,
                visitor_type=session.visitor_type,
                quiet=True,
                before=session.friction,
                views=_views(row, session),
                unlisted=unlisted,
            )
    return list(found.values())


def places(seen: ListReading, live: LiveSessions) -> dict[str, int]:
    """Where recordings are in the list, as far as that is known, counted from 1.

    Below the rows that were read come the other live sessions, by their last activity.
    """
    listing = seen.listing
    if listing.exhausted:
        return {}
    found = {row.id: at for at, row in enumerate(listing.rows, 1)}
    if listing.order == "activity" and not listing.whole:
        below = [
            (each.at, key) for key, each in live.sessions.items() if each.at and key not in found
        ]
        below.sort(reverse=True)
        found |= {key: at for at, (_at, key) in enumerate(below, len(found) + 1)}
    return found


def _visitor(row: Recording, live: LiveSessions) -> VisitorType | None:
    """Whether the visitor came back, which does not change during a session."""
    session = live.sessions.get(row.id)
    return session.visitor_type if session else None


def _views(row: Recording, session: LiveSession) -> tuple[PageView, ...] | None:
    """The page views of the session's detail, if it has not grown since."""
    if session.views is None or fingerprint(row) != fingerprint(unpacked(session.row)):
        return None
    return unpacked(session.views).page_views


def _seen_views(each: Evaluation) -> bytes | None:
    """The page views that a detail told of the session, if it tells all up to its last activity.

    Not with a value that can't be read: the next detail says again that it is unknown.
    """
    row, whole = each.candidate.row, each.subject.recording
    if row.page_views is not None or whole.page_views is None:
        return None  # the list tells them, or nothing does
    if any(name.partition(".")[0] == "page_views" for name in unread(whole)):
        return None
    ends = [aware(view.end_time) for view in whole.page_views if view.end_time]
    if len(whole.page_views) < (row.pages or 1) or not ends or row.last_activity is None:
        return None
    if max(ends) < aware(row.last_activity) - FLUSH:
        return None
    return packed(Recording(id=row.id, page_views=whole.page_views))


def _so_far(session: LiveSession) -> Candidate:
    """A session that ends now, with the friction that was told so far."""
    return replace(_final(unpacked(session.row), session), friction=session.friction)


def _final(row: Recording, session: LiveSession) -> Candidate:
    """A session at its end. Its friction is asked again: the server may count it late."""
    return Candidate(row, True, visitor_type=session.visitor_type)


def some_overdue(live: LiveSessions, result: Result, now: datetime) -> bool:
    """Whether a recording is to be given up if the details of others can be read now."""
    if result.outage is not None:
        return False
    known = live.without_detail
    keys = (each.candidate.row.id for each in result.evaluations if each.open)
    return any(key in known and known[key].is_overdue(now) for key in keys)


def missing_details(
    live: LiveSessions, result: Result, others: bool, now: datetime, rules: frozenset[str]
) -> tuple[dict[str, MissingDetail], frozenset[str]]:
    """The recordings that wait for their detail, and those that are given up now.

    `others`: the details of other recordings can be read. `rules` are the names of the rules in
    force. When the first detail can be read again, all are due, and each is tried once more: it
    may have failed a moment before.
    """
    waiting = {
        key: replace(it, since=now) if result.details_read and all_failed(it, live) else it
        for key, it in live.without_detail.items()
    }
    given_up = set()
    for each in result.evaluations:
        key = each.candidate.row.id
        known = waiting.pop(key, None)
        if not each.open:
            continue
        first, since = (known.first, known.since) if known else (now, now)
        ended = each.candidate.settled
        theirs = (known and known.rules) or rules if ended else None
        missing = MissingDetail(first, now if result.outage else since, now, theirs)
        again = known is not None and not all_failed(known, live)
        if missing.hopeless(now, others and again):
            given_up.add(key)
        else:
            waiting[key] = missing
    return waiting, frozenset(given_up)


def ended_under(waiting: Mapping[str, MissingDetail]) -> tuple[EndedUnder, ...]:
    """Those that have ended, by the rules that decide them."""
    groups: dict[frozenset[str], list[str]] = {}
    for key, missing in waiting.items():
        if missing.rules is not None:
            groups.setdefault(missing.rules, []).append(key)
    return tuple(EndedUnder(tuple(sorted(names)), tuple(keys)) for names, keys in groups.items())


def all_failed(missing: MissingDetail, live: LiveSessions) -> bool:
    """Whether no detail has been read since that recording began to wait."""
    return live.detail_read is None or live.detail_read < missing.first


def details_away(live: LiveSessions, now: datetime) -> BotError | None:
    """Why no detail can be read, if that lasts; few may be asked for, and all fail."""
    lasts = any(
        all_failed(it, live) and now - it.first >= EAGER for it in live.without_detail.values()
    )
    return live.detail_failure if lasts else None


def kept_sessions(
    seen: ListReading,
    evaluations: Sequence[Evaluation],
    waiting: Mapping[str, MissingDetail],
    vanished: frozenset[str],
    live: LiveSessions,
    now: datetime,
) -> dict[str, LiveSession]:
    """The live sessions after a poll, with those that wait for their detail."""
    clock = seen.clock(now)
    found = dict(live.sessions)
    for each in evaluations:
        row = each.candidate.row
        if each.gone or (each.candidate.settled and row.id not in waiting):
            found.pop(row.id, None)
        else:
            found[row.id] = LiveSession(
                row=packed(msgspec.structs.replace(row, page_views=None)),
                at=aware(row.last_activity) if row.last_activity else None,
                friction=each.subject.friction,
                visitor_type=each.subject.visitor_type,
                asked=each.candidate.asked or clock,
                views=_seen_views(each),
            )
    for key in vanished:
        found.pop(key, None)
    return found


def after_poll(
    live: LiveSessions,
    seen: ListReading,
    result: Result,
    waiting: Mapping[str, MissingDetail],
    vanished: frozenset[str],
    now: datetime,
) -> LiveSessions:
    """What to keep for the next poll."""
    evaluations = result.evaluations
    sessions = kept_sessions(seen, evaluations, waiting, vanished, live, now)
    listed = seen.listing.ids
    pace = live.pace.learn(seen, frozenset(sessions))
    if seen.listing.whole or sweep_is_due(live.pace, now):
        pace = replace(pace, swept=now)
    gone = frozenset(each.candidate.row.id for each in evaluations if each.gone)
    counted = None if vanished or gone else (seen.window, seen.known_after, seen.known.deleted)
    pace = replace(pace, counted=counted)
    return replace(
        live,
        sessions=sessions,
        pace=pace,
        without_detail={key: it for key, it in waiting.items() if key in sessions},
        detail_read=now if result.details_read else live.detail_read,
        detail_failure=None if result.details_read else result.failure or live.detail_failure,
        gone=gone.union(key for key in live.gone if key in listed),
    )


def add_costs(live: LiveSessions, costs: Mapping[str, int]) -> LiveSessions:
    """The sessions, with more calls counted by rule."""
    return replace(live, costs=Counter(live.costs) + Counter(costs))
