"""One poll of a website's reports, and the alert states (firing or resolved) that follow.

Rules that ask the same question share its answer. One transaction records what came of a poll:
the state of every rule for every subject, matches, and figures.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import blake2b
from typing import Any, cast
from zoneinfo import ZoneInfo

from bot.actions.notifier import Notifier
from bot.domain.alert_state import GAP, RESOLVED, Counter, Event, Level, advance, gone
from bot.domain.subjects import Kind, Site, Subject
from bot.fields.catalogue import SUBJECTS, fields, text_fields
from bot.fields.catalogue import field as field_named
from bot.polling.ops_messages import announce
from bot.polling.record_matches import Found, Recorded, Routing, record_poll
from bot.polling.recordings import PollContext
from bot.reports.fetch import IGNORED, Figures, LevelMemory, Limited, fetch, proved
from bot.rules.evaluate import Past, answer
from bot.rules.explain import why
from bot.rules.model import Rule, applies
from bot.rules.needs import asks_for_news, changes_asked, lasting, news
from bot.rules.units import seen
from bot.store import Connection
from bot.store.alert_states import (
    KeptLevel,
    add_figures,
    figure_between,
    forget_figures,
    forget_levels,
    grain,
    levels,
    save_level,
    states_of_rules,
)
from bot.store.audit import Note, record
from bot.store.matches import PollOutcome, reached_people
from bot.store.recordings import forget_watermark, on_hold, set_on_hold
from bot.store.rules import rule_states

KEPT = timedelta(days=35)
"""How long to keep figures at least; longer if a rule compares with an older past."""

FRESH = timedelta(days=1)
"""How often to store an unchanged state again, since old ones are deleted."""

NOT_THERE = "it is not there any more"
NOT_COVERED = "the rule no longer covers it"
OTHER_CONDITION = "the rule's condition was changed"


@dataclass(frozen=True, slots=True)
class ReportsPolled:
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
) -> ReportsPolled:
    """Poll the website's subjects of one kind once.

    Raises GiveUp or TryLater if no question was answered.
    """
    watching = [rule for rule in rules if rule.watch == kind and applies(rule, site)]
    if not watching:
        return ReportsPolled(0, Recorded())
    fetched = await fetch(kind, site, watching, context, memory, now)
    look = Look(site, now, context.zone, context.gap, max(KEPT, compared_for(rules)))
    filtered = [each for each in fetched.answered if each.question.aspects]
    if filtered:
        firing = await context.store.run(partial(would_fire, look=look, figures=filtered))
        fetched = await proved(kind, site, fetched, firing, context, memory, now)
    held = None if memory.held.get(kind) == fetched.held else fetched.held
    recorded = await context.store.run(
        partial(
            record_levels,
            look=look,
            figures=fetched.answered,
            held=None if held is None else (kind, held),
            routing=context.routing,
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


@dataclass(frozen=True, slots=True)
class Look:
    """One poll of a website: when, and by which clock. `gap` is how long a time without a poll
    may be for a condition to have held in it, `history` how long figures are kept."""

    site: Site
    now: datetime
    zone: ZoneInfo
    gap: timedelta = GAP
    history: timedelta = KEPT


@dataclass(frozen=True, slots=True)
class _Move:
    """What a poll changes about one rule and one subject.

    `untold` is the state if the match leads to nothing, `undone` the name of the field that the
    rule had set and that somebody has changed since.
    """

    rule: Rule
    website: str
    subject_key: str
    after: KeptLevel
    save: bool
    found: Found | None = None
    untold: KeptLevel | None = None
    undone: str = ""


def compared_for(rules: Iterable[Rule]) -> timedelta:
    """How old the figures are that rules compare with: twice as old as asked for, at most."""
    asked = [ago for rule in rules for _name, ago in changes_asked(rule)]
    return timedelta(milliseconds=max(asked)) * 2 + timedelta(days=2) if asked else timedelta()


def website_gone(
    conn: Connection, site: Site, rules: Iterable[Rule], routing: Routing, now: datetime
) -> Recorded:
    """Resolve what fired on a website that the account no longer has, of every kind."""
    look = Look(site, now, ZoneInfo("UTC"))
    moves: list[_Move] = []
    for rule in rules:
        if rule.watch != "recordings":
            # The list of websites has agreed twice already.
            for key, known in levels(conn, rule.id, site.id).items():
                lacked = replace(known, level=replace(known.level, ending=now))
                moves.append(_lacking(conn, rule, key, lacked, look, NOT_THERE))
    return _record(conn, moves, look, (), routing)


def uncovered(
    conn: Connection, sites: Sequence[Site], rules: Iterable[Rule], routing: Routing, now: datetime
) -> Recorded:
    """End the states of rules on websites that they no longer cover, once two lists say so.

    The website was renamed, or an edit of the rule has left it out.
    """
    by_id = {rule.id: rule for rule in rules}
    by_site = {site.id: site for site in sites}
    moves: list[_Move] = []
    done: list[tuple[str, str]] = []
    for rule_id, website in states_of_rules(conn):
        rule, site = by_id.get(rule_id), by_site.get(website)
        if rule is None or site is None or applies(rule, site):
            continue
        look = Look(site, now, ZoneInfo("UTC"))
        for key, known in levels(conn, rule_id, website).items():
            if known.level.ending is not None:
                done.append((rule_id, website))
            moves.append(_lacking(conn, rule, key, known, look, NOT_COVERED))
    recorded = _record(conn, moves, Look(Site("", ""), now, ZoneInfo("UTC")), (), routing)
    for rule_id, website in dict.fromkeys(done):
        forget_levels(conn, rule_id, website)
    return recorded


def would_fire(conn: Connection, look: Look, figures: Sequence[Figures]) -> list[Figures]:
    """The answers by which some rule would fire, or some alert end."""
    paused = _paused(conn)
    return [
        each
        for each in figures
        if any(
            move.found is not None
            for rule in each.rules
            for move in _moves(conn, rule, each, look, paused=rule.id in paused)
        )
    ]


def record_levels(
    conn: Connection,
    look: Look,
    figures: Sequence[Figures],
    held: tuple[Kind, Mapping[str, str]] | None,
    routing: Routing,
) -> Recorded:
    """Advance every rule's state by one poll and record what fired or ended.

    `held` are the filters that hold rules of a kind back, if that has changed.
    """
    paused = _paused(conn)
    moves: list[_Move] = []
    early: list[Note] = []
    for each in figures:
        for rule in each.rules:
            moves += _moves(conn, rule, each, look, paused=rule.id in paused)
            early += _too_early(conn, rule, each, look)
        _keep(conn, each, look)
        if each.earlier:
            forget_watermark(conn, source="feedback", website=look.site.id)
    forget_figures(conn, grain(look.now) - look.history)
    told = _hold(conn, look, *held, routing) if held else False
    recorded = _record(conn, moves, look, early, routing)
    return replace(recorded, announced=told or recorded.announced)


def _paused(conn: Connection) -> frozenset[str]:
    states = rule_states(conn)
    return frozenset(rule for rule, state in states.items() if state.paused_at is not None)


def _hold(
    conn: Connection, look: Look, kind: Kind, held: Mapping[str, str], routing: Routing
) -> bool:
    """Store what is on hold, for `status`; tell of filters that the API ignores, and of the end.

    True if people are told.
    """
    site = look.site
    before = {
        it.filter: it.reason for it in on_hold(conn) if (it.kind, it.website) == (kind, site.id)
    }
    set_on_hold(conn, kind, site.id, held, look.now)
    began = {name: reason for name, reason in held.items() if before.get(name) != reason}
    texts = [
        f"rules for {kind} with {name} are on hold: {reason}" for name, reason in began.items()
    ]
    texts += [f"rules for {kind} with {name} run again" for name in before.keys() - held.keys()]
    record(conn, look.now, [Note(kind="level.held", website=site.id, text=it) for it in texts])
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
        announce(conn, title, (line,), look.now, routing.ops, site)
    return bool(told)


def _record(
    conn: Connection, moves: Sequence[_Move], look: Look, notes: Sequence[Note], routing: Routing
) -> Recorded:
    """Record the matches, then the states: a state knows whether its firing was told."""
    outcome = PollOutcome(source="reports", website=look.site.id, at=look.now, notes=notes)
    found = [move.found for move in moves if move.found is not None]
    recorded = record_poll(conn, outcome, found, routing)
    for move in moves:
        held = move.found is not None and move.found.key in recorded.suppressed
        after = move.untold if held and move.untold is not None else move.after
        if move.save or held:
            save_level(conn, move.rule.id, move.website, move.subject_key, after, look.now)
        if move.undone:
            _step_aside(conn, move, look, routing)
    return replace(recorded, announced=any(move.undone for move in moves))


def _step_aside(conn: Connection, move: _Move, look: Look, routing: Routing) -> None:
    subject = move.after.subject
    name = "" if subject is None else _named(subject)
    announce(
        conn,
        f"Rule {move.rule.id} leaves {name or look.site.name} alone",
        (
            f"The rule had set {move.undone}; a person or another rule has changed it since.",
            "The rule acts there again after its condition has been false by itself.",
        ),
        look.now,
        routing.ops,
        look.site,
    )


def _named(subject: Subject) -> str:
    """What people call the subject."""
    about = SUBJECTS[subject.kind]
    return str(text_fields(subject.kind)[about.names].in_text(subject)) if about.names else ""


def _moves(
    conn: Connection, rule: Rule, figures: Figures, look: Look, *, paused: bool
) -> Iterator[_Move]:
    kept = levels(conn, rule.id, look.site.id)
    for subject in figures.subjects:
        known = kept.pop(subject.key, None)
        yield _moved(conn, rule, subject, known, figures, look, paused=paused)
    if figures.whole:
        for key, known in kept.items():
            if known.level.lives:
                yield _lacking(conn, rule, key, known, look, NOT_THERE)


def _moved(
    conn: Connection,
    rule: Rule,
    subject: Subject,
    kept: KeptLevel | None,
    figures: Figures,
    look: Look,
    *,
    paused: bool,
) -> _Move:
    """The rule's state for the subject after this poll."""
    known = kept or KeptLevel(Level())
    condition = condition_id(rule)
    changed = known.condition not in ("", condition)
    before = _for_another_condition(known.level) if changed else known.level
    earlier = figures.earlier.get(subject.key)
    counter, subject = _counted(rule, subject, before.counter, earlier, look.now)
    effect = _effect(rule, subject, known)
    before = replace(before, counter=counter, effect="none" if changed else effect)
    judged = _without_effect(rule, subject, known) if before.effect == "in_force" else subject
    past = past_of(conn, figures, subject, look.now, look)
    holds = answer(lasting(rule.condition, rule.watch), judged, past)
    if changed and holds is None and known.level.lives:
        return _Move(rule, look.site.id, subject.key, known, save=False)
    ended = _ended(rule, holds, judged, past)
    after, event = advance(
        before, holds, ended, look.now, rule.held_for or timedelta(), gap=look.gap, paused=paused
    )
    told, fires = after, event == "fired"
    if fires or (not paused and _is_news(rule, subject, counter, past)):
        event, told = "fired", replace(after, counter=counter.told() if counter else None)
    found = _found(conn, rule, subject, known, changed, event, figures, past, look)
    state = KeptLevel(told, _remembered(subject, known, event, told), condition)
    return _Move(
        rule,
        look.site.id,
        subject.key,
        state,
        save=_is_worth_saving(kept, state, look.now),
        found=found,
        untold=replace(state, level=replace(after, told=after.told and not fires)),
        undone=_undone(rule, known, before),
    )


def condition_id(rule: Rule) -> str:
    """A fingerprint of what a rule's states are about: another condition is another alert."""
    what = (rule.watch, rule.when, rule.excepts, rule.over_last, sorted(rule.visitors.items()))
    return blake2b(repr(what).encode(), digest_size=8).hexdigest()


def _for_another_condition(before: Level) -> Level:
    counter = before.counter and before.counter.told()
    return Level(episode=before.episode, counter=counter)


def _ended(rule: Rule, holds: bool | None, judged: Subject, past: Past) -> bool | None:
    if rule.until is not None:
        return answer(rule.until, judged, past)
    return None if holds is None else not holds


# What is new


def _counted(
    rule: Rule, subject: Subject, counter: Counter | None, earlier: int | None, now: datetime
) -> tuple[Counter | None, Subject]:
    """The rule's counter after this answer, and the subject with what is new for the rule.

    `earlier` is the count that an earlier version of the bot has stored.
    """
    about = next((it for it in fields(rule.watch) if it.news_of), None)
    if about is None:
        return counter, subject
    count = cast("int | None", field_named(rule.watch, about.news_of).get(subject))
    if counter is None and earlier is not None:
        counter = Counter(earlier, earlier)
    if counter is None:
        # The first answer is where counting begins.
        return (None if count is None else Counter(count, count)), subject
    if count is not None:
        counter = counter.counted(count, now)
    return counter, about.give(subject, counter.new)


def _is_news(rule: Rule, subject: Subject, counter: Counter | None, past: Past) -> bool:
    if counter is None or not counter.new or not asks_for_news(rule.condition, rule.watch):
        return False
    return answer(news(rule.condition, rule.watch), subject, past) is True


# What the rule itself has set


def _sets(rule: Rule, fired: Subject | None) -> dict[str, Any]:
    """The fields that the rule's actions changed when it fired, with their new values."""
    if fired is None:
        return {}
    found: dict[str, Any] = {}
    for action in rule.do:
        found |= action.sets
    return {name: value for name, value in found.items() if not _is(rule, fired, name, value)}


def _is(rule: Rule, subject: Subject, name: str, value: Any) -> bool:
    about = field_named(rule.watch, name)
    has = about.get(subject)
    if isinstance(has, str) and isinstance(value, str):
        return about.normal(has) == about.normal(value)
    return bool(has == value)


def _effect(rule: Rule, subject: Subject, known: KeptLevel) -> Any:
    """What has become of the fields that the rule set when it fired."""
    effect = known.level.effect
    sets = _sets(rule, known.subject) if known.level.fired else {}
    if not sets or any(field_named(rule.watch, name).get(subject) is None for name in sets):
        return effect
    as_set = all(_is(rule, subject, name, value) for name, value in sets.items())
    if effect == "none" and as_set:
        return "in_force"
    return "undone" if effect == "in_force" and not as_set else effect


def _without_effect(rule: Rule, subject: Subject, known: KeptLevel) -> Subject:
    """The subject as it would be if the rule had set nothing: its own switch ends no alert."""
    for name in _sets(rule, known.subject):
        about = field_named(rule.watch, name)
        subject = about.give(subject, about.get(known.subject))
    return subject


def _undone(rule: Rule, known: KeptLevel, now: Level) -> str:
    if known.level.effect != "in_force" or now.effect != "undone":
        return ""
    return ", ".join(_sets(rule, known.subject))


# What comes of it


def _found(
    conn: Connection,
    rule: Rule,
    subject: Subject,
    known: KeptLevel,
    changed: bool,
    event: Event | None,
    figures: Figures,
    past: Past,
    look: Look,
) -> Found | None:
    if event == "fired":
        return Found(
            rule=rule,
            subject=subject,
            happened=look.now,
            why=why(rule, subject, past),
            episode=_episode(look.now),
        )
    if changed and known.level.fired and known.level.told:
        return _resolved(conn, rule, subject, known.level, look.now, OTHER_CONDITION)
    if event == "resolved":
        usual = _usual_now(conn, rule, subject, known.level, figures, look)
        return _resolved(conn, rule, subject, known.level, look.now, *usual)
    return None


def _usual_now(
    conn: Connection, rule: Rule, subject: Subject, before: Level, figures: Figures, look: Look
) -> Iterator[str]:
    """Figures that have not come back: the past with which they are compared has caught up."""
    asked = dict(sorted(changes_asked(rule)))
    if not asked or before.fired is None or rule.until is not None:
        return
    past = past_of(conn, figures, subject, before.fired, look)
    if answer(lasting(rule.condition, rule.watch), subject, past) is not True:
        return
    for name in asked:
        about = field_named(rule.watch, name)
        yield f"{name} {seen(about, about.get(subject))} is usual now"


def _lacking(
    conn: Connection, rule: Rule, key: str, known: KeptLevel, look: Look, reason: str
) -> _Move:
    """The move of a state whose subject is not there, or is no longer the rule's."""
    after, event = gone(known.level, look.now)
    found = None
    if event == "resolved" and known.subject is not None:
        found = _resolved(conn, rule, known.subject, known.level, look.now, reason)
    return _Move(rule, look.site.id, key, replace(known, level=after), save=True, found=found)


def _resolved(
    conn: Connection, rule: Rule, subject: Subject, before: Level, now: datetime, *reasons: str
) -> Found | None:
    """The end of an episode, where the rule tells it and its beginning was told."""
    if not rule.resolved or before.fired is None:
        return None
    if not reached_people(conn, rule.id, subject.website.id, subject.key, before.fired):
        return None
    began = before.true_since or before.fired
    ends = [action.resolved(began) for action in rule.do if isinstance(action, Notifier)]
    return Found(
        rule=rule,
        subject=subject,
        happened=now,
        why=tuple(reasons),
        episode=f"{_episode(now)}{RESOLVED}",
        actions=tuple(step for step in ends if step is not None),
    )


def _episode(at: datetime) -> str:
    """A name of one firing that stays unique even if another rule takes over the id."""
    return f"{at:%Y%m%dT%H%M%S.%f}"


def _remembered(
    subject: Subject, known: KeptLevel, event: Event | None, after: Level
) -> Subject | None:
    """The subject to keep beside the state: as it was when the rule fired."""
    if not after.lives:
        return None
    return subject if event == "fired" or after.fired is None else known.subject or subject


def _is_worth_saving(kept: KeptLevel | None, after: KeptLevel, now: datetime) -> bool:
    """Whether the state says something that the store does not know yet."""
    level = after.level
    if level.lives and level.fired is None:
        return True  # the time for which it has held
    if kept is None:
        return level.lives or level.counter is not None or level.episode > 0
    before = kept.level
    if kept.condition != after.condition or before.polled is None:
        return True
    if now - before.polled >= FRESH:
        return True
    return replace(level, polled=None, known=None) != replace(before, polled=None, known=None)


# The past


def past_of(
    conn: Connection, figures: Figures, subject: Subject, now: datetime, look: Look
) -> Past:
    """The subject's own figures of earlier polls, from the store.

    After a downtime the last figure before it serves, up to twice as old as asked for.
    """

    # Figures of almost the same length of time are alike.
    slack = max(look.gap, figures.window / 24)

    def past(name: str, ago: int) -> float | None:
        back = timedelta(milliseconds=ago)
        for first, last in _spans(subject.kind, now, back, slack, look.zone):
            figure = figure_between(
                conn, figures.series, subject.website.id, subject.key, name, first, last
            )
            if figure is not None:
                return figure
        return None

    return past


def _spans(
    kind: Kind, now: datetime, back: timedelta, slack: timedelta, zone: ZoneInfo
) -> Iterator[tuple[datetime, datetime]]:
    """The times from which a figure may be taken, the best first.

    Figures over a time begin at midnight, so only those of about the same time of day are alike.
    """
    if not SUBJECTS[kind].over_time:
        yield now - back - max(back, slack), now - back
        return
    for days in range(back.days + 1):
        # The same time on the clock, also across a change of the clocks.
        last = now.astimezone(zone) - back - timedelta(days=days)
        midnight = last.replace(hour=0, minute=0, second=0, microsecond=0)
        yield max(midnight, last.astimezone(UTC) - slack), last


def _keep(conn: Connection, figures: Figures, look: Look) -> None:
    """Add the figures to the history; of pages only those compared, since there are many."""
    if not figures.subjects:
        return
    kind = figures.subjects[0].kind
    named = {name for rule in figures.rules for name, _ago in changes_asked(rule)}
    about = [
        field
        for field in fields(kind)
        if field.numeric and not field.news_of and (not SUBJECTS[kind].many or field.name in named)
    ]
    at = grain(look.now)
    for subject in figures.subjects:
        values = {field.name: _number(field.get(subject)) for field in about}
        there = {name: value for name, value in values.items() if value is not None}
        add_figures(conn, figures.series, look.site.id, subject.key, there, at)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _too_early(conn: Connection, rule: Rule, figures: Figures, look: Look) -> Iterator[Note]:
    """Notes, once, which comparisons have no history yet."""
    if f"history/{rule.id}" in figures.said or not figures.subjects:
        return
    figures.said.add(f"history/{rule.id}")
    for name, ago in sorted(changes_asked(rule)):
        past = [
            past_of(conn, figures, each, look.now, look)(name, ago) for each in figures.subjects
        ]
        if None in past:
            back = timedelta(milliseconds=ago)
            text = f"not enough history yet to compare {name} with {back} ago"
            yield Note(kind="level.no_history", rule=rule.id, website=look.site.id, text=text)
