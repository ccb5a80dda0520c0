"""Alerts about sessions that do not come: `count: {at_most: 0, within: 2h}` on recordings.

Each session that meets the rule is counted when it matches. The rule fires while too few were
counted, and only if the bot has seen all sessions of that time: a poll that failed, a list that
was cut short, a session without its detail is not "nobody came".
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bot.domain.alert_state import Level, advance
from bot.domain.limits import is_open
from bot.domain.subjects import Site, WebsiteSubject
from bot.messages.text import lasting
from bot.polling.list_reader import OVERLAP
from bot.polling.record_matches import Recorded, Routing, posting, site_group
from bot.polling.recordings import Polled
from bot.reports.alerts import (
    Transition,
    for_condition,
    found_by,
    is_time_to_remind,
    transition_to,
    with_end_of_another,
)
from bot.reports.history import NOT_RECORDED
from bot.reports.poll import HeldBack, record_transitions
from bot.reports.site_poll import SitePoll
from bot.rules.explain import in_one_line
from bot.rules.model import Rule, TooFew, condition_id
from bot.rules.needs import fires_early, needs_detail
from bot.store import Connection
from bot.store.alert_states import KeptLevel, levels, recorded_share
from bot.store.audit import Note, record
from bot.store.budgets import owned
from bot.store.recordings import COUNTING, set_watermark, watermark
from bot.store.rules import tallied, tally_clear

WEEK = timedelta(weeks=1)
"""What the website recorded in it is usual."""

USUAL_SHARE = 0.5
"""With less than this part of the usual rate nobody knows who came."""


UNRECORDED = "silence is unknown: recording was off or throttled in that time"


class Counting(msgspec.Struct, frozen=True):
    """Since when every session was counted without a gap, and when that was last so.

    `unrecorded`: the website did not record enough of its visitors to tell.
    """

    since: datetime
    until: datetime
    condition: str
    unrecorded: bool = False


class Counted(Struct, frozen=True):
    """How many sessions met the rule's condition in the time that it asks for.

    `enough_known` tells whether there were no others. `unconfirmed`: that takes another look at
    the website's switches.
    """

    few: TooFew
    sessions: int
    enough_known: bool
    unconfirmed: bool = False

    @property
    def too_few(self) -> bool | None:
        """Whether there are too few; None while that is not known."""
        if self.sessions > self.few.at_most:
            return False
        return True if self.enough_known else None


def record_absences(
    conn: Connection,
    rules: Sequence[Rule],
    polled: Polled,
    site_poll: SitePoll,
    settle: timedelta,
    routing: Routing,
    others: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Recorded:
    """Advance the alerts about too few sessions after a poll of the website's recordings.

    `others` are the rules that each one waits for, which come first.
    """
    site_poll = replace(site_poll, recorded=recorded_share(conn, site_poll.site.id))
    throttled = _is_throttled(conn, site_poll.site)
    recorded, unconfirmed = Recorded(), False
    few = [(len(others.get(it.id, ())), it, it.too_few) for it in rules if it.too_few is not None]
    for turn in sorted({each for each, _rule, _few in few}):
        back = HeldBack(conn, site_poll.site)
        transitions: list[Transition] = []
        for each, rule, asked in few:
            if each == turn:
                counted = _count(
                    conn, rule, asked, polled, site_poll, settle, routing, throttled=throttled
                )
                held = back.why(rule, others.get(rule.id, ()))
                transitions.append(_transition(conn, rule, counted, site_poll, held=held))
                fires = transitions[-1].after.level.fired is not None
                unconfirmed = unconfirmed or (counted.unconfirmed and not fires)
        recorded = recorded.beside(record_transitions(conn, transitions, site_poll, (), routing))
    return replace(recorded, unconfirmed=unconfirmed)


def _count(
    conn: Connection,
    rule: Rule,
    few: TooFew,
    polled: Polled,
    site_poll: SitePoll,
    settle: timedelta,
    routing: Routing,
    *,
    throttled: bool,
) -> Counted:
    """Count, and note since when nothing was missed."""
    hours = posting(rule, routing.zone).hours
    skipped = polled.lost or rule.id in polled.on_hold
    skipped = skipped or (hours is not None and not is_open(hours, site_poll.now))
    span = few.within + _late(rule, settle)
    # It may have been stopped since somebody looked: silence is known until then.
    start = site_poll.recorded.seen_until(site_poll.now) - span
    unrecorded = throttled or _was_unrecorded(site_poll, start)
    since = _since(conn, rule, site_poll, skipped=skipped, unrecorded=unrecorded)
    group = site_group(site_poll.site)
    tally_clear(conn, rule.id, group, start - timedelta(milliseconds=1))
    waits = needs_detail(rule) and (polled.without_detail > 0 or polled.outage is not None)
    unseen = not site_poll.recorded.is_current(site_poll.now, site_poll.gap)
    whole = not (waits or skipped or unrecorded or unseen)
    recent = site_poll.now - span
    sessions = tallied(conn, rule.id, group, recent)
    known = since <= start and whole and tallied(conn, rule.id, group, start) <= few.at_most
    silent = since <= recent and whole and sessions <= few.at_most
    return Counted(few, sessions, enough_known=known, unconfirmed=start < recent and silent)


def _is_throttled(conn: Connection, site: Site) -> bool:
    """Whether the bot itself has lowered the website's recording rate by much."""
    held = owned(conn).get((site.id, "recording_rate"))
    if held is None or held.before is None or not held.set_to.isdecimal():
        return False
    return int(held.set_to) < USUAL_SHARE * held.before


def _was_unrecorded(site_poll: SitePoll, start: datetime) -> bool:
    """Whether, at some time since then, much less was recorded than is usual."""
    least = site_poll.recorded.least((start, site_poll.now))
    most = site_poll.recorded.most((site_poll.now - WEEK, site_poll.now))
    return least is not None and (not least or least < USUAL_SHARE * (most or 0.0))


def _late(rule: Rule, settle: timedelta) -> timedelta:
    """How much later than it happens a session is counted.

    Rows may come late, and what only a settled session decides is known when it is settled.
    """
    return OVERLAP + (timedelta() if fires_early(rule) else settle)


class LastCount(Struct, frozen=True):
    """How many sessions there were at the last poll, at `at`.

    `known_from` is from when on the rule can fire: before, some were not counted.
    """

    at: datetime
    sessions: int
    known_from: datetime


def last_count(
    conn: Connection, rule: Rule, few: TooFew, site: Site, settle: timedelta
) -> LastCount | None:
    """What the rule counted on the website; None if it has not yet, as it is now."""
    text = watermark(conn, f"{COUNTING}{rule.id}", site.id)
    kept = msgspec.json.decode(text, type=Counting) if text else None
    if kept is None or kept.condition != condition_id(rule):
        return None
    span = few.within + _late(rule, settle)
    sessions = tallied(conn, rule.id, site_group(site), kept.until - span)
    return LastCount(kept.until, sessions, kept.since + span)


def _since(
    conn: Connection, rule: Rule, site_poll: SitePoll, *, skipped: bool, unrecorded: bool
) -> datetime:
    """Since when every session was counted, by the rule as it is; saves it."""
    source, condition = f"{COUNTING}{rule.id}", condition_id(rule)
    text = watermark(conn, source, site_poll.site.id)
    before = msgspec.json.decode(text, type=Counting) if text else None
    since = site_poll.now
    if before is not None and before.condition == condition and not skipped:
        went_on = timedelta() <= site_poll.now - before.until <= site_poll.gap
        since = before.since if went_on else site_poll.now
    now = msgspec.json.encode(Counting(since, site_poll.now, condition, unrecorded)).decode()
    set_watermark(conn, source, site_poll.site.id, now, site_poll.now)
    if unrecorded != (before is not None and before.unrecorded):
        text = UNRECORDED if unrecorded else "all of the time was recorded: silence counts again"
        record(
            conn,
            site_poll.now,
            [Note(kind=NOT_RECORDED, rule=rule.id, website=site_poll.site.id, text=text)],
        )
    return since


def _transition(
    conn: Connection, rule: Rule, counted: Counted, site_poll: SitePoll, *, held: str
) -> Transition:
    """The rule's state on the website after this poll."""
    website = WebsiteSubject(website=site_poll.site)
    kept = levels(conn, rule.id, site_poll.site.id).get(website.key)
    condition = condition_id(rule)
    known = kept or KeptLevel(Level(), condition=condition)
    holds = counted.too_few
    changed, before = for_condition(known, condition)
    if changed and holds is None and known.level.lives:
        return Transition(rule, site_poll.site.id, website.key, known, save=False)
    ended = None if holds is None else not holds
    after, event = advance(
        before, holds, ended, site_poll.now, gap=site_poll.gap, paused=bool(held),
        remind=is_time_to_remind(conn, rule, website, before, site_poll),
    )  # fmt: skip
    why = (_in_words(rule, counted),)
    found = found_by(conn, rule, website, before, event, why, site_poll) if event else None
    state = KeptLevel(after, website if after.lives else None, condition)
    transition = transition_to(rule, website.key, kept, state, event, found, site_poll, held=held)
    return (
        with_end_of_another(conn, transition, website, known, site_poll) if changed else transition
    )


def _in_words(rule: Rule, counted: Counted) -> str:
    """`no session in 2 h with saw_page /thanks`."""
    many = {0: "no session", 1: "1 session"}.get(counted.sessions, f"{counted.sessions:,} sessions")
    return f"{many} in {lasting(counted.few.within)} with {in_one_line(rule)}"
