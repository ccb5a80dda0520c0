"""One recording with all that the API lets us know of it, as far as one rule asks."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from bot.domain.step import StepStatus
from bot.domain.subjects import Band, RecordingSubject, Site
from bot.errors import ConfigError, Gone
from bot.messages.text import instant, on_behalf
from bot.polling.filter_checks import Filter, FilterChecks, check_filter, failure
from bot.polling.list_reader import Listing, deeper, of_days, read
from bot.polling.server_facts import (
    FrictionQuestion,
    PollFacts,
    VisitorType,
    named_tags,
    without_tags,
)
from bot.polling.session import day, last_activity, merge, settled
from bot.ports import Mouseflow
from bot.rules.explain import Explanation
from bot.rules.model import Rule
from bot.rules.needs import (
    asks_friction,
    asks_search,
    asks_visitor_type,
    fires_early,
    searches,
    thresholds,
)
from bot.store.audit import Entry
from bot.store.dead_letters import StepState
from bot.store.matches import KeptMatch
from bot.store.rules import RuleState
from mouseflow import recordings
from mouseflow.filters import SessionFilters
from mouseflow.models import Recording


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the store knows of this rule and this recording.

    `notes` are the audit log's lines about both, newest first. `watching` is since when the
    bot watches the website, None where it does not yet. `tags` are those that rules set or
    have set.
    """

    match: KeptMatch | None = None
    steps: Sequence[StepState] = ()
    notes: Sequence[Entry] = ()
    state: RuleState | None = None
    watching: datetime | None = None
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Outcome:
    """One action and what became of it; `why` may be empty."""

    action: str
    state: str
    why: str = ""


def past(known: Remembered, now: datetime) -> list[Outcome]:
    """What became of each step of a match that is in the store."""
    notes = {note.step: note.text for note in reversed(known.notes) if note.step}
    found = [_outcome(step, notes.get(step.key, ""), now) for step in known.steps]
    reasons = [note.text for note in known.notes if note.kind == "suppressed" and not note.step]
    return found + [Outcome("actions", "held back", reason) for reason in reasons]


def _outcome(step: StepState, note: str, now: datetime) -> Outcome:
    action = step.key.rpartition("/")[2]
    match step.state:
        case StepStatus.PENDING:
            if step.waits:
                return Outcome(action, "waiting for the match's earlier steps")
            late = step.due <= now
            state = "waiting in the queue" if late else f"waiting until {instant(step.due)}"
            tries = f"after {step.attempts} attempts: " if step.attempts and step.fault else ""
            return Outcome(action, state, f"{tries}{step.fault}")
        case StepStatus.SENDING:
            return Outcome(action, "under way")
        case StepStatus.DONE:
            state = "done"
        case StepStatus.DEAD:
            state = "given up"
        case StepStatus.FOLDED:
            state = "in a digest"
        case StepStatus.WITHHELD:
            state = "withheld"
        case _:
            assert_never(step.state)
    if step.ended is not None:
        state += f" {instant(step.ended)}"
    why = "; ".join(dict.fromkeys(filter(None, (step.fault, step.remedy)))) or note
    return Outcome(action, state, why)


def future(
    rule: Rule,
    subject: RecordingSubject,
    explanation: Explanation,
    known: Remembered,
    *,
    held: str,
    settle: timedelta,
    now: datetime,
) -> list[str]:
    """What would happen now, if there is no match in the store."""
    if held:
        return [f"the rule is suspended: {held}"]
    final = settled(subject.recording, now, settle)
    if explanation.matches is None:
        return ["not decided yet: some of what the rule asks about is not known"]
    if not explanation.matches:
        more = "" if final else "; the session is still live and is evaluated again when it grows"
        return [f"no action: the rule does not match{more}"]
    seen = last_activity(subject.recording)
    if known.watching is None:
        return ["it matches, but the bot has not polled this website yet"]
    if seen is not None and seen < known.watching:
        return [
            "it matches, but the session ended before the bot began to watch, "
            f"{instant(known.watching)}; `mouseflow-bot replay --apply` acts on such recordings"
        ]
    if not final and not fires_early(rule):
        until = f" at {instant(seen + settle)}" if seen else ""
        return [f"it would match, but waits until the session is settled{until}"]
    actions = ", ".join(dict.fromkeys(action.kind for action in rule.do)) or "no action"
    return [f"it would match at the next poll: {actions}", *_limits(rule, known, now)]


def _limits(rule: Rule, known: Remembered, now: datetime) -> list[str]:
    """What may still hold the actions back."""
    found = []
    state = known.state
    if state is not None and state.paused_at is not None:
        found.append(f"but the rule is paused since {instant(state.paused_at)}: {state.paused_why}")
    if state is not None and state.snoozed_until is not None and state.snoozed_until > now:
        who = on_behalf(state.snoozed_by, state.snoozed_because)
        found.append(f"posts are snoozed until {instant(state.snoozed_until)}{who}")
    if rule.active is not None:
        found.append("posts wait for the rule's active hours")
    if rule.once_per is not None:
        found.append(f"unless another one matched for the same {rule.once_per.field} before")
    if rule.count is not None:
        found.append(
            f"the actions wait until {rule.count.at_least} have been counted by {rule.count.by}"
        )
    if rule.too_few is not None:
        found.append("the rule counts it, and acts only while there are too few")
    return found


def lines(known: Remembered, outcomes: Sequence[Outcome]) -> list[str]:
    """A stored decision in words."""
    if known.match is None:
        return []
    why = next((note.text for note in known.notes if note.kind == "match"), "")
    found = [f"matched {instant(known.match.matched)}{f': {why}' if why else ''}"]
    found += [
        f"  {each.action}: {each.state}{f' ({each.why})' if each.why else ''}" for each in outcomes
    ]
    if not outcomes:
        found.append("  the rule had no actions, or the store has forgotten them")
    return found


_LINK = re.compile(r"(?:/websites/([^/?#]+))?/recordings/([^/?#]+)")
_DAY = timedelta(days=1)
_SLACK = timedelta(seconds=1)
AT_FIRST = 1_000
"""Rows to ask for when one recording is looked for in a day's list."""


@dataclass(frozen=True, slots=True)
class Address:
    """A recording as people name it; `website` is empty where only its id is known."""

    recording: str
    website: str = ""


@dataclass(frozen=True, slots=True)
class Explained:
    """The recording, and what is wrong with a filter that the rule needs, if anything is."""

    subject: RecordingSubject
    held: str = ""


def address(text: str) -> Address:
    """An id, or a pasted link to the playback (API document, L761).

    Raises ConfigError for what can be neither.
    """
    found = _LINK.search(text)
    made = Address(found[2], found[1] or "") if found else Address(text.strip())
    if {made.recording, made.website} & {".", ".."} or not made.recording or "/" in made.recording:
        raise ConfigError("that is neither a recording's id nor a link to one")
    return made


async def find(
    mouseflow: Mouseflow, sites: Iterable[Site], recording: str
) -> tuple[Site, Recording] | None:
    """The website that has the recording, and its detail; None where none has it.

    Asks one website after the other. Raises the errors of the calls.
    """
    for site in sites:
        try:
            return site, await mouseflow.send(recordings.detail(site.id, recording))
        except Gone:
            continue
    return None


async def ask(
    mouseflow: Mouseflow,
    site: Site,
    detail: Recording,
    rule: Rule,
    tags: frozenset[str],
    zone: str,
    now: datetime,
) -> Explained:
    """Ask the rest: the list's row, and the facts that the rule needs, of that day alone.

    `tags` are the bot's own, which count only for rules that name them. Raises the errors of
    the calls.
    """
    at = day(detail)
    if at is None:
        return Explained(_subject(site, detail, rule, tags, zone))
    window = of_days(at - _DAY, at + 2 * _DAY)
    near = _narrowed(window, detail)
    row = await _row(mouseflow, site, near, detail.id)
    if row is None:
        near, row = window, await _row(mouseflow, site, window, detail.id)
    whole = detail if row is None else merge(row, detail)
    subject = _subject(site, whole, rule, tags, zone)
    if row is None:
        return Explained(subject)
    facts = PollFacts(mouseflow, site.id, near)
    bands: Mapping[str, Band] = {}
    types: Mapping[str, VisitorType] = {}
    needed: list[Filter] = []
    if asks_friction(rule) and subject.friction is None:
        needed.append("frictionmin")
    if asks_visitor_type(rule):
        needed.append("visitortype")
    if asks_search(rule):
        needed.append("search")
    filters = FilterChecks()
    total = (await read(mouseflow, site.id, window, 1)).count if needed else 0
    for name in needed:
        filters = await check_filter(filters, name, mouseflow, site.id, window, total, now)
    if "frictionmin" in filters.proved:
        question = FrictionQuestion(row, Band(), frozenset(thresholds([rule])))
        bands = (await facts.friction([question])).by_id
    if "visitortype" in filters.proved:
        types = (await facts.visitor_types([subject])).by_id
    found: Mapping[str, tuple[str, ...]] = {}
    if "search" in filters.proved:
        found = (await facts.searches([subject], searches([rule]))).by_id
    known = RecordingSubject(
        website=site,
        recording=subject.recording,
        zone=zone,
        friction=bands.get(row.id, subject.friction),
        visitor_type=types.get(row.id),
        found_by=found.get(row.id),
    )
    held = "; ".join(failure(name, it.cause) for name, it in filters.suspended.items())
    return Explained(known, held)


def _narrowed(window: SessionFilters, detail: Recording) -> SessionFilters:
    """Sessions of about that length: few rows beside the one that is looked for."""
    if detail.duration is None:
        return window
    length = timedelta(milliseconds=detail.duration)
    low = max(length - _SLACK, timedelta(0))
    return replace(window, visitmin=low, visitmax=length + _SLACK)


async def _row(
    mouseflow: Mouseflow, site: Site, filters: SessionFilters, recording: str
) -> Recording | None:
    async def sift(some: Sequence[Recording]) -> list[Recording]:
        return [row for row in some if row.id == recording]

    listing = await read(mouseflow, site.id, filters, AT_FIRST)
    while True:
        row = _among(listing, recording)
        if row is not None:
            return row
        further = await deeper(mouseflow, site.id, filters, listing, sift)
        if further is listing:
            return None
        listing = further


def _among(listing: Listing, recording: str) -> Recording | None:
    return next((row for row in listing.rows if row.id == recording), None)


def _subject(
    site: Site, recording: Recording, rule: Rule, tags: frozenset[str], zone: str
) -> RecordingSubject:
    exact = recording.friction if recording.friction is not None else recording.friction_score
    return RecordingSubject(
        website=site,
        recording=without_tags(recording, tags - named_tags([rule])),
        zone=zone,
        friction=None if exact is None else Band.exactly(exact),
    )
