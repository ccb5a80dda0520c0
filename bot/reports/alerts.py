"""What one poll changes about the alert state of a rule and a subject, as transitions to record."""

import dataclasses
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, assert_never, cast

from msgspec import Struct
from msgspec.structs import replace

from bot.actions.notifier import Notifier, ToPeople
from bot.domain.alert_state import (
    REMINDED,
    RESOLVED,
    UNKNOWN_NOW,
    USUAL_NOW,
    Counter,
    Effect,
    Event,
    Level,
    advance,
    gone,
)
from bot.domain.subjects import Subject, WebsiteSubject
from bot.fields.catalogue import field, fields
from bot.messages.text import lasting as lasting_words
from bot.polling.record_matches import Found
from bot.reports.fetch import Figures, asks_budget
from bot.reports.history import Stored
from bot.reports.site_poll import SitePoll
from bot.rules.evaluate import Past, answer
from bot.rules.explain import why
from bot.rules.model import Rule, condition_id
from bot.rules.needs import asks_for_news, changes_asked, lasting, news
from bot.rules.units import seen
from bot.rules.value_tests import Answer
from bot.store import Connection
from bot.store.alert_states import KeptLevel, levels
from bot.store.matches import last_told, reached_people
from bot.store.presses import acknowledged

FRESH = timedelta(days=1)
"""How often to store an unchanged state again, since old ones are deleted."""

PROMPT = timedelta(minutes=1)
"""A post that goes out within this time after the poll counts from the poll."""

NOT_THERE = "it is not there any more"
DISABLED = "the rule was disabled"
NOT_COVERED = "the rule no longer covers it"
WITHOUT_BUDGET = "no budget counts it now"
OTHER_CONDITION = "the rule's condition was changed"


class Transition(Struct, frozen=True):
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


def transitions(
    conn: Connection, rule: Rule, figures: Figures, site_poll: SitePoll, *, held: str
) -> Iterator[Transition]:
    """What this answer changes about all of the rule's states on the website.

    `held` is why nothing that the rule finds is told now, empty if it is.
    """
    kept = levels(conn, rule.id, site_poll.site.id)
    for subject in figures.subjects:
        known = kept.pop(subject.key, None)
        yield _transition(conn, rule, subject, known, figures, site_poll, held=held)
    if figures.whole:
        for key, known in kept.items():
            if known.level.lives:
                yield lacking(conn, rule, key, known, site_poll, NOT_THERE)


def _transition(
    conn: Connection,
    rule: Rule,
    subject: Subject,
    kept: KeptLevel | None,
    figures: Figures,
    site_poll: SitePoll,
    *,
    held: str,
) -> Transition:
    """The rule's state for the subject after this poll."""
    paused = bool(held)
    known = kept or KeptLevel(Level())
    condition = condition_id(rule)
    changed, before = for_condition(known, condition)
    earlier = figures.earlier.get(subject.key)
    counter, subject = _counted(rule, subject, before.counter, earlier, site_poll.now)
    effect = _effect(rule, subject, known)
    before = replace(before, counter=counter, effect="none" if changed else effect)
    judged = _without_effect(rule, subject, known) if before.effect == "in_force" else subject
    past = Stored(conn, figures, subject, site_poll.now, site_poll)
    holds = answer(lasting(rule.condition, rule.watch), judged, past)
    if changed and holds is None and known.level.lives:
        return Transition(rule, site_poll.site.id, subject.key, known, save=False)
    ended = _ended(rule, holds, judged, before, past)
    if holds is not True and _without_budget(rule, subject):
        ended = True
    after, event = advance(
        before,
        holds,
        ended,
        site_poll.now,
        rule.held_for or timedelta(),
        gap=site_poll.gap,
        paused=paused,
        remind=is_time_to_remind(conn, rule, subject, before, site_poll),
    )
    told, fires = after, event == "fired"
    if fires or (not paused and _is_news(rule, subject, counter, past)):
        event, told = (
            "fired",
            replace(after, counter=counter.told() if counter else None),
        )
    found = _found(conn, rule, subject, known, event, past, site_poll)
    state = KeptLevel(told, _remembered(subject, known, event, told), condition)
    transition = transition_to(rule, subject.key, kept, state, event, found, site_poll, held=held)
    transition = (
        with_end_of_another(conn, transition, subject, known, site_poll) if changed else transition
    )
    untold = replace(state, level=replace(after, told=after.told and not fires))
    return replace(transition, untold=untold, undone=_undone(rule, known, before))


def is_time_to_remind(
    conn: Connection, rule: Rule, subject: Subject, before: Level, site_poll: SitePoll
) -> bool:
    """Whether people are to be reminded of an alert that still holds.

    Where the rule's posts wait in quiet times, people know since the end of that time. A post
    that went out late counts from then, and nobody is reminded of one that still waits. What
    a clock that was ahead has written down counts for nothing.
    """
    last = before.reminded or before.fired
    if rule.remind is None or before.fired is None or last is None:
        return False
    posts = all(isinstance(each, ToPeople) for each in rule.do if isinstance(each, Notifier))
    if posts and rule.severity != "critical":
        if site_poll.quiet.quiet_until(site_poll.now):
            return False
        last = site_poll.quiet.quiet_until(last) or last
    if site_poll.now - last < rule.remind:
        return False
    told = last_told(conn, rule.id, subject.website.id, subject.key, before.fired)
    if told is None or told == "waits":
        return told is None
    return told > site_poll.now or site_poll.now - told >= rule.remind - PROMPT


def transition_to(
    rule: Rule,
    subject_key: str,
    kept: KeptLevel | None,
    state: KeptLevel,
    event: Event | None,
    found: Found | None,
    site_poll: SitePoll,
    *,
    held: str,
) -> Transition:
    """The transition to a state. `held` is why a firing is not told now, empty if it is."""
    fires = event == "fired"
    if found is not None and fires:
        found = replace(found, held=held)
    level = replace(state.level, told=state.level.told and not fires)
    return Transition(
        rule,
        site_poll.site.id,
        subject_key,
        state,
        save=_is_worth_saving(kept, state, site_poll.now),
        found=found,
        untold=replace(state, level=level),
    )


def for_condition(known: KeptLevel, condition: str) -> tuple[bool, Level]:
    """Whether the rule's condition was edited since, and the state with which to continue."""
    before = known.level
    if known.condition in ("", condition):
        return False, before
    counter = before.counter and before.counter.told()
    return True, Level(episode=before.episode, counter=counter)


def with_end_of_another(
    conn: Connection,
    transition: Transition,
    subject: Subject,
    known: KeptLevel,
    site_poll: SitePoll,
) -> Transition:
    """The transition, which also resolves the alert about the previous condition.

    Unless it posts an alert about the new condition now.
    """
    told = transition.found is not None and not transition.found.held
    if told or not known.level.told:
        return transition
    found = resolved_by(conn, transition.rule, subject, known.level, site_poll.now, OTHER_CONDITION)
    return replace(transition, found=found or transition.found)


def _ended(
    rule: Rule, holds: bool | None, judged: Subject, before: Level, past: Stored
) -> bool | None:
    """Whether an alert is over. A change is not while its figure is not back, until the time with
    which the rule compares began after the alert."""
    if rule.until is not None:
        return answer(rule.until, judged, past)
    if holds is False and before.fired is not None:
        compared = max((ago for _, ago in changes_asked(rule)), default=0)
        lasted, span = past.now - before.fired, timedelta(milliseconds=compared)
        stays = _stays(rule, judged, before.fired, past)
        if stays is None:  # as long as that can still become known
            return True if lasted >= 2 * span else None
        return lasted >= span or not stays
    return None if holds is None else not holds


def _stays(rule: Rule, judged: Subject, fired: datetime, past: Stored) -> Answer:
    """Whether the figures differ as much as before from the past with which the alert began."""
    then = dataclasses.replace(past, now=fired)
    return answer(lasting(rule.condition, rule.watch), judged, then)


def _without_budget(rule: Rule, subject: Subject) -> bool:
    """Whether the rule asks how much of a budget is used, and no budget counts the website."""
    uncounted = isinstance(subject, WebsiteSubject) and subject.budget_used is None
    return uncounted and asks_budget(rule)


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
    count = cast("int | None", field(rule.watch, about.news_of).get(subject))
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
    about = field(rule.watch, name)
    has = about.get(subject)
    if isinstance(has, str) and isinstance(value, str):
        return about.normal(has) == about.normal(value)
    return bool(has == value)


def _effect(rule: Rule, subject: Subject, known: KeptLevel) -> Effect:
    """What has become of the fields that the rule set when it fired."""
    effect = known.level.effect
    sets = _sets(rule, known.subject) if known.level.fired else {}
    if not sets or any(field(rule.watch, name).get(subject) is None for name in sets):
        return effect
    as_set = all(_is(rule, subject, name, value) for name, value in sets.items())
    if effect == "none" and as_set:
        return "in_force"
    return "undone" if effect == "in_force" and not as_set else effect


def _without_effect(rule: Rule, subject: Subject, known: KeptLevel) -> Subject:
    """The subject as it would be if the rule had set nothing: its own switch ends no alert."""
    for name in _sets(rule, known.subject):
        about = field(rule.watch, name)
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
    event: Event | None,
    past: Stored,
    site_poll: SitePoll,
) -> Found | None:
    if event is None:
        return None
    if event != "resolved":
        reasons = why(rule, subject, past)
    elif _without_budget(rule, subject):
        reasons = (WITHOUT_BUDGET,)
    else:
        reasons = tuple(_usual_now(rule, subject, known.level, past))
    return found_by(conn, rule, subject, known.level, event, reasons, site_poll)


def found_by(
    conn: Connection,
    rule: Rule,
    subject: Subject,
    before: Level,
    event: Event,
    reasons: tuple[str, ...],
    site_poll: SitePoll,
) -> Found | None:
    """The message about the event, if there is one."""
    match event:
        case "fired":
            return Found(
                rule=rule,
                subject=subject,
                happened=site_poll.now,
                why=reasons,
                episode=episode_name(site_poll.now),
            )
        case "reminded":
            return reminder(conn, rule, subject, before, site_poll.now, reasons)
        case "resolved":
            return resolved_by(conn, rule, subject, before, site_poll.now, *reasons)
        case _:
            assert_never(event)


def reminder(
    conn: Connection,
    rule: Rule,
    subject: Subject,
    before: Level,
    now: datetime,
    reasons: tuple[str, ...],
) -> Found | None:
    """The rule's posts once more, with how long the episode has lasted, unless acknowledged."""
    fired = before.fired
    if fired is not None and acknowledged(conn, rule.id, subject.website.id, subject.key, fired):
        return None
    lasted = lasting_words(now - (before.true_since or fired or now))
    return Found(
        rule=rule,
        subject=subject,
        happened=now,
        why=reasons,
        episode=f"{episode_name(now)}{REMINDED}",
        actions=tuple(action for action in rule.do if isinstance(action, Notifier)),
        summary=f"Still firing after {lasted}: {rule.summary or rule.id}",
        continues=fired,
    )


def _usual_now(rule: Rule, subject: Subject, before: Level, past: Stored) -> Iterator[str]:
    """Figures that have not come back, or are not known to be: the past has caught up."""
    asked = dict(sorted(changes_asked(rule)))
    if not asked or before.fired is None or rule.until is not None:
        return
    stays = _stays(rule, subject, before.fired, past)
    if stays is False:
        return
    then = dataclasses.replace(past, now=before.fired)
    for name, ago in asked.items():
        about = field(rule.watch, name)
        was = then(name, ago)
        if stays is None:
            now = seen(about, about.get(subject))
            yield f"{name} {now} can't be compared with before{UNKNOWN_NOW}"
            continue
        before_it = "" if was is None else f"; it was {seen(about, was)}"
        yield f"{name} {seen(about, about.get(subject))}{USUAL_NOW}{before_it}"


def lacking(
    conn: Connection, rule: Rule, key: str, known: KeptLevel, site_poll: SitePoll, reason: str
) -> Transition:
    """The transition of a state whose subject is not there, or is no longer the rule's."""
    after, event = gone(known.level, site_poll.now)
    found = None
    if event == "resolved" and known.subject is not None:
        found = resolved_by(conn, rule, known.subject, known.level, site_poll.now, reason)
    return Transition(
        rule, site_poll.site.id, key, replace(known, level=after), save=True, found=found
    )


def resolved_by(
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
        episode=f"{episode_name(now)}{RESOLVED}",
        actions=tuple(step for step in ends if step is not None),
        continues=before.fired,
    )


def episode_name(at: datetime) -> str:
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
