"""One poll of a website's reports, and the alert states (firing or resolved) that follow.

Rules that ask the same question share its answer. One transaction records what came of a poll:
the state of every rule for every subject, matches, and figures.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from msgspec import Struct, field
from msgspec.structs import replace

from bot.domain.limits import Reason
from bot.domain.subjects import Kind, Site, Subject
from bot.fields.catalogue import SUBJECTS, text_fields
from bot.polling.context import PollContext
from bot.polling.ops_messages import announce
from bot.polling.record_matches import Recorded, Routing, record_poll
from bot.reports.alerts import DISABLED, NOT_COVERED, NOT_THERE, Transition, lacking, transitions
from bot.reports.fetch import COUNTED, IGNORED, Figures, LevelMemory, Limited, fetch, proved
from bot.reports.history import (
    backfill_averages,
    keep_figures,
    too_early,
    unrecorded,
    with_usual,
)
from bot.reports.past_days import backfill_counts
from bot.reports.site_poll import WEEKS_BACK, SitePoll
from bot.rules.model import Rule, applies, waits_for
from bot.rules.needs import changes_asked, usuals_asked
from bot.store import Connection
from bot.store.alert_states import (
    forget_level,
    levels,
    recorded_share,
    save_level,
    states_of_rules,
    told_on,
)
from bot.store.audit import Note, record
from bot.store.matches import PollOutcome
from bot.store.recordings import forget_watermark, on_hold, save_read_time, set_on_hold
from bot.store.rules import paused_rules


class ReportsPolled(Struct, frozen=True):
    """What a poll of reports read and recorded.

    `held` names the filters that hold rules back, with the reason; `unread` counts rows that
    could not be read, `failed` is why some rules were not evaluated. `failed_forms` are those
    whose report can't be read, `limited` is what was left out.
    """

    subjects: int
    recorded: Recorded
    held: Mapping[str, str] = field(default_factory=dict)
    unread: int = 0
    failed: Exception | None = None
    failed_forms: Mapping[str, Exception] = field(default_factory=dict)
    limited: tuple[Limited, ...] = ()


async def poll(
    kind: Kind,
    site: Site,
    rules: Sequence[Rule],
    context: PollContext,
    memory: LevelMemory,
    now: datetime,
    in_force: Callable[[], Collection[str]] | None = None,
) -> ReportsPolled:
    """Poll the website's subjects of one kind once.

    `in_force` tells the ids of the rules once the answers are there: for one that was renamed,
    disabled or taken out meanwhile nothing is recorded, since its states are elsewhere or gone.
    Raises GiveUp or TryLater if no question was answered.
    """
    watching = [rule for rule in rules if rule.watch == kind and applies(rule, site)]
    if not watching:
        return ReportsPolled(0, Recorded())
    fetched = await fetch(kind, site, watching, context, memory, now)
    site_poll = SitePoll(site, now, context.zone, context.gap, context.holidays, context.quiet)
    if any(usuals_asked(rule) or changes_asked(rule) for rule in watching):
        share = await context.store.run(partial(recorded_share, website=site.id))
        site_poll = replace(site_poll, recorded=share)
    oldest = now.date() - timedelta(weeks=WEEKS_BACK + 1)
    memory.tried = frozenset(it for it in memory.tried if it[2] > oldest)
    for each in fetched.answered:
        names = COUNTED.intersection(name for it in each.rules for name in usuals_asked(it))
        if kind == "websites" and names:
            memory.tried = await backfill_counts(
                each.question, each.series, site_poll, names, context, memory.tried
            )
        memory.tried = await backfill_averages(kind, each, site_poll, context, memory.tried)
    if any(usuals_asked(rule) for rule in watching):
        work = partial(with_usual, answered=fetched.answered, site_poll=site_poll)
        fetched = replace(fetched, answered=await context.store.run(work))
    filtered = [each for each in fetched.answered if each.question.aspects]
    if filtered:
        firing = await context.store.run(
            partial(would_fire, site_poll=site_poll, figures=filtered, rules=rules)
        )
        fetched = await proved(kind, site, fetched, firing, context, memory, now)
    held = None if memory.held.get(kind) == fetched.held else fetched.held
    recorded = await context.store.run(
        partial(
            record_levels,
            site_poll=site_poll,
            figures=fetched.answered,
            held=None if held is None else (kind, held),
            rules=rules,
            routing=context.routing,
            in_force=in_force,
        )
    )
    memory.held[kind] = fetched.held
    return ReportsPolled(
        sum(len(each.subjects) for each in fetched.answered),
        recorded,
        fetched.held,
        sum(each.unread for each in fetched.answered),
        fetched.failed,
        fetched.unread,
        fetched.limited,
    )


def website_gone(
    conn: Connection, site: Site, rules: Iterable[Rule], routing: Routing, now: datetime
) -> Recorded:
    """Resolve what fired on a website that the account no longer has, of every kind."""
    site_poll = SitePoll(site, now, ZoneInfo("UTC"))
    found: list[Transition] = []
    for rule in rules:
        if rule.has_state:
            # The list of websites has agreed twice already.
            for key, known in levels(conn, rule.id, site.id).items():
                lacked = replace(known, level=replace(known.level, ending=now))
                found.append(lacking(conn, rule, key, lacked, site_poll, NOT_THERE))
    return record_transitions(conn, found, site_poll, (), routing)


def uncovered(
    conn: Connection,
    sites: Sequence[Site],
    rules: Iterable[Rule],
    routing: Routing,
    now: datetime,
    left_out: Sequence[Site] = (),
) -> Recorded:
    """End the states of rules on what they no longer cover, once two lists of websites say so.

    The website was renamed, or an edit of the rule has left it out. Those `left_out` are no
    rule's, such as demo websites. A rule about too few sessions covers the website alone: it may
    have been about something else before.
    """
    by_id = {rule.id: rule for rule in rules}
    by_site = {site.id: site for site in (*left_out, *sites)}
    watched = {site.id for site in sites}
    found: list[Transition] = []
    over: list[Transition] = []
    for rule_id, website in states_of_rules(conn):
        rule, site = by_id.get(rule_id), by_site.get(website)
        if rule is None or site is None:
            continue
        covered = website in watched and rule.has_state and applies(rule, site)
        if covered and not rule.too_few:
            continue
        site_poll = SitePoll(site, now, ZoneInfo("UTC"))
        for key, known in levels(conn, rule_id, website).items():
            if covered and key == website:
                continue
            transition = lacking(conn, rule, key, known, site_poll, NOT_COVERED)
            found.append(transition)
            if known.level.ending is not None:
                over.append(transition)
    if not found:
        return Recorded()
    recorded = record_transitions(
        conn, found, SitePoll(Site("", ""), now, ZoneInfo("UTC")), (), routing
    )
    for transition in over:
        forget_level(conn, transition.rule.id, transition.website, transition.subject_key)
    return recorded


def end_disabled(
    conn: Connection, rules: Iterable[Rule], routing: Routing, now: datetime
) -> Recorded:
    """End what fires of rules that were disabled, and forget their states."""
    by_id = {rule.id: rule for rule in rules}
    site_poll = SitePoll(Site("", ""), now, ZoneInfo("UTC"))
    found: list[Transition] = []
    for rule_id, website in states_of_rules(conn):
        if (rule := by_id.get(rule_id)) is not None:
            for key, known in levels(conn, rule_id, website).items():
                lacked = replace(known, level=replace(known.level, ending=now))
                transition = lacking(conn, rule, key, lacked, site_poll, DISABLED)
                found.append(replace(transition, website=website))
    recorded = record_transitions(conn, found, site_poll, (), routing)
    for transition in found:
        forget_level(conn, transition.rule.id, transition.website, transition.subject_key)
    return recorded


def would_fire(
    conn: Connection, site_poll: SitePoll, figures: Sequence[Figures], rules: Sequence[Rule]
) -> list[Figures]:
    """The answers by which some rule would fire, or some alert end."""
    held, others = HeldBack(conn, site_poll.site), waits_for(rules)
    return [
        each
        for each in figures
        if any(
            transition.found is not None
            for rule in each.rules
            for transition in transitions(
                conn, rule, each, site_poll, held=held.why(rule, others[rule.id])
            )
        )
    ]


def record_levels(
    conn: Connection,
    site_poll: SitePoll,
    figures: Sequence[Figures],
    held: tuple[Kind, Mapping[str, str]] | None,
    rules: Sequence[Rule],
    routing: Routing,
    in_force: Callable[[], Collection[str]] | None = None,
) -> Recorded:
    """Advance every rule's state by one poll and record what fired or ended.

    `held` are the filters that hold rules of a kind back, if that has changed. `rules` are all of
    them: those that others wait for come first. `in_force` as for `poll`.
    """
    if in_force is not None:
        there = in_force()
        figures = [
            replace(each, rules=[it for it in each.rules if it.id in there]) for each in figures
        ]
    others = waits_for(rules)
    early = [
        note
        for each in figures
        for rule in each.rules
        for note in (*too_early(conn, rule, each, site_poll), *unrecorded(rule, each, site_poll))
    ]
    recorded = Recorded()
    turns = sorted({len(others[rule.id]) for each in figures for rule in each.rules})
    for turn in turns or [0]:
        back = HeldBack(conn, site_poll.site)
        found = [
            transition
            for each in figures
            for rule in each.rules
            if len(others[rule.id]) == turn
            for transition in transitions(
                conn, rule, each, site_poll, held=back.why(rule, others[rule.id])
            )
        ]
        recorded = recorded.beside(record_transitions(conn, found, site_poll, early, routing))
        early = []
    for each in figures:
        keep_figures(conn, each, site_poll)
        if each.earlier:
            forget_watermark(conn, source="feedback", website=site_poll.site.id)
    for kind in {rule.watch for each in figures for rule in each.rules}:
        subjects = {one.key for each in figures for one in each.subjects}
        save_read_time(conn, kind, site_poll.site.id, subjects, site_poll.now)
    told = _hold(conn, site_poll, *held, routing) if held else False
    return replace(recorded, announced=told or recorded.announced)


class HeldBack:
    """Why rules are held back now: paused, or told of by another rule's alert on the website."""

    def __init__(self, conn: Connection, site: Site) -> None:
        self._paused = paused_rules(conn)
        self._firing = partial(told_on, conn, site.id)

    def why(self, rule: Rule, others: Sequence[str]) -> str:
        """Why the rule is held back, by a pause or one of the others; empty if it is not."""
        if rule.id in self._paused:
            return Reason.PAUSED
        firing = self._firing(others) if others else frozenset()
        return next((f"not_while: {each} is firing" for each in others if each in firing), "")


def _hold(
    conn: Connection, site_poll: SitePoll, kind: Kind, held: Mapping[str, str], routing: Routing
) -> bool:
    """Store what is on hold, for `status`; tell of filters that the API ignores, and of the end.

    True if people are told.
    """
    site = site_poll.site
    before = {
        it.filter: it.reason for it in on_hold(conn) if (it.kind, it.website) == (kind, site.id)
    }
    set_on_hold(conn, kind, site.id, held, site_poll.now)
    began = {name: reason for name, reason in held.items() if before.get(name) != reason}
    texts = [
        f"rules for {kind} with {name} are on hold: {reason}" for name, reason in began.items()
    ]
    texts += [f"rules for {kind} with {name} run again" for name in before.keys() - held.keys()]
    record(conn, site_poll.now, [Note(kind="level.held", website=site.id, text=it) for it in texts])
    told = [
        (
            f"Rules with {name} are on hold on {site.name}",
            f"The API ignores that filter for {kind}: its figures are of all visitors.",
        )
        for name, reason in began.items()
        if reason == IGNORED
    ]
    told += [
        (f"Rules with {name} run again on {site.name}", f"The filter works again for {kind}.")
        for name, reason in before.items()
        if reason == IGNORED and name not in held
    ]
    for title, line in told:
        announce(conn, title, (line,), site_poll.now, routing.ops, site)
    return bool(told)


def record_transitions(
    conn: Connection,
    transitions: Sequence[Transition],
    site_poll: SitePoll,
    notes: Sequence[Note],
    routing: Routing,
) -> Recorded:
    """Record the matches, then the states: a state knows whether its firing was told."""
    outcome = PollOutcome(
        source="reports", website=site_poll.site.id, at=site_poll.now, notes=notes
    )
    found = [transition.found for transition in transitions if transition.found is not None]
    recorded = record_poll(conn, outcome, found, routing)
    for transition in transitions:
        held = transition.found is not None and transition.found.key in recorded.suppressed
        after = transition.untold if held and transition.untold is not None else transition.after
        if transition.save or held:
            save_level(
                conn,
                transition.rule.id,
                transition.website,
                transition.subject_key,
                after,
                site_poll.now,
            )
        if transition.undone:
            _tell_left_alone(conn, transition, site_poll, routing)
    return replace(recorded, announced=any(transition.undone for transition in transitions))


def _tell_left_alone(
    conn: Connection, transition: Transition, site_poll: SitePoll, routing: Routing
) -> None:
    subject = transition.after.subject
    name = "" if subject is None else _named(subject)
    announce(
        conn,
        f"Rule {transition.rule.id} leaves {name or site_poll.site.name} alone",
        (
            f"The rule had set {transition.undone}; a person or another rule has changed it since.",
            "The rule acts there again after its condition has been false by itself.",
        ),
        site_poll.now,
        routing.ops,
        site_poll.site,
    )


def _named(subject: Subject) -> str:
    """What people call the subject."""
    about = SUBJECTS[subject.kind]
    return str(text_fields(subject.kind)[about.names].in_text(subject)) if about.names else ""
