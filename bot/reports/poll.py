"""One poll of a website's reports, and the alert states (firing or resolved) that follow.

Rules that ask the same question share its answer. One transaction records what came of a poll:
baselines, the state of every rule for every subject, matches, and figures.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec

from bot.actions.notifier import Notifier
from bot.domain.alert_state import Level, advance
from bot.domain.subjects import Kind, Site, Subject, WebsiteSubject, reread
from bot.fields.catalogue import SUBJECTS, fields
from bot.polling.record_matches import Found, Recorded, Routing, record_poll
from bot.polling.recordings import PollContext
from bot.reports.fetch import Figures, LevelMemory, asks_budget, fetch
from bot.rules.evaluate import Past, answer, field_of
from bot.rules.explain import why
from bot.rules.model import Rule, applies, leaves
from bot.rules.needs import changes_asked
from bot.store import Connection
from bot.store.alert_states import (
    KeptLevel,
    add_figures,
    figure_at,
    forget_figures,
    grain,
    levels,
    save_level,
)
from bot.store.audit import Note
from bot.store.matches import PollOutcome

KEPT = timedelta(days=35)
"""How long to keep figures at least; longer if a rule compares with an older past."""

FRESH = timedelta(days=1)
"""How often to store an unchanged state again, since old ones are deleted."""

_NOW = Level()


@dataclass(frozen=True, slots=True)
class ReportsPolled:
    """What a poll of reports read and recorded.

    `ignored` names the filters that the API ignores; `unread` counts rows that could not be
    read, `failed` is why some rules were not evaluated.
    """

    subjects: int
    recorded: Recorded
    ignored: tuple[str, ...] = ()
    unread: int = 0
    failed: Exception | None = None


async def poll(
    kind: Kind,
    site: Site,
    rules: Iterable[Rule],
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
    outcome = PollOutcome(
        source=kind, website=site.id, at=now, watermark=fetched.watermark, notes=fetched.notes
    )
    recorded = await context.store.run(
        partial(record_levels, outcome=outcome, figures=fetched.answered, routing=context.routing)
    )
    return ReportsPolled(
        sum(len(each.subjects) for each in fetched.answered),
        recorded,
        fetched.ignored,
        sum(each.unread for each in fetched.answered),
        fetched.failed,
    )


def website_gone(
    conn: Connection, site: Site, rules: Iterable[Rule], routing: Routing, now: datetime
) -> Recorded:
    """Resolve what fired on a website that the account no longer has, of every kind."""
    outcome = PollOutcome(source="websites", website=site.id, at=now)
    found = [
        each
        for rule in rules
        if rule.watch != "recordings" and applies(rule, site)
        for each in _gone(conn, rule, levels(conn, rule.id, site.id), outcome)
    ]
    return record_poll(conn, outcome, found, routing)


def record_levels(
    conn: Connection, outcome: PollOutcome, figures: Sequence[Figures], routing: Routing
) -> Recorded:
    """Advance every rule's state by one poll and record what fired or ended."""
    found: list[Found] = []
    notes: list[Note] = []
    for each in figures:
        for rule in each.rules:
            found += _evaluated(conn, rule, each, outcome)
            notes += _too_early(conn, rule, each, outcome)
        _keep(conn, each, outcome)
    return record_poll(conn, replace(outcome, notes=(*outcome.notes, *notes)), found, routing)


def _evaluated(
    conn: Connection, rule: Rule, figures: Figures, outcome: PollOutcome
) -> Iterator[Found]:
    kept = levels(conn, rule.id, outcome.website)
    now = outcome.at
    for subject in figures.subjects:
        known = kept.pop(subject.key, None)
        before = known.level if known else _NOW
        past = past_of(conn, figures.series, subject, now)
        after, found = _moved(rule, subject, before, now, past)
        if after != before or (known and known.at and now - known.at >= FRESH):
            save_level(
                conn, rule.id, outcome.website, subject.key, after, now, _plain(subject, after)
            )
        yield from found
    if figures.whole:
        yield from _gone(conn, rule, kept, outcome)


def _moved(
    rule: Rule, subject: Subject, before: Level, now: datetime, past: Past
) -> tuple[Level, list[Found]]:
    now_true = answer(rule.condition, subject, past)
    if pulses(rule):
        if now_true is not True:
            return before, []
        after = Level(None, now, before.episode + 1)
        return after, [_fired(rule, subject, now, past)]
    lost = now_true is not True and _without_budget(rule, subject)
    ended = now_true is False if rule.until is None else answer(rule.until, subject, past) is True
    ended = ended or lost
    if now_true is None and before.fired and not ended:
        return before, []  # no history to compare with: what fired is neither over nor new
    after, event = advance(before, now_true is True, ended, now, rule.held_for or timedelta())
    if event == "fired":
        return after, [_fired(rule, subject, now, past)]
    if event == "resolved" and rule.resolved:
        end = _resolved(rule, subject, before, now)
        return after, [replace(end, why=("no budget counts it now",)) if lost else end]
    return after, []


def _without_budget(rule: Rule, subject: Subject) -> bool:
    """Whether the rule asks how much of a budget is used, and no budget counts the website."""
    uncounted = isinstance(subject, WebsiteSubject) and subject.budget_used is None
    return uncounted and asks_budget(rule)


def _gone(
    conn: Connection, rule: Rule, kept: dict[str, KeptLevel], outcome: PollOutcome
) -> Iterator[Found]:
    """Resolve what fired for subjects that a complete list no longer has."""
    for key, known in kept.items():
        before = known.level
        if before.fired is None and before.true_since is None:
            continue
        after = replace(before, true_since=None, fired=None)
        save_level(conn, rule.id, outcome.website, key, after, outcome.at)
        if before.fired and rule.resolved and known.figures and not pulses(rule):
            subject = reread(msgspec.json.encode(known.figures))
            yield replace(
                _resolved(rule, subject, before, outcome.at), why=("it is not there any more",)
            )


def _plain(subject: Subject, level: Level) -> dict[str, Any] | None:
    """The subject as plain values while its state is true, in case it disappears."""
    if level.true_since is None and level.fired is None:
        return None
    plain: dict[str, Any] = msgspec.to_builtins(subject)
    return plain


def past_of(conn: Connection, series: str, subject: Subject, now: datetime) -> Past:
    """The subject's own figures of earlier polls, from the store."""

    def past(name: str, ago: int) -> float | None:
        back = timedelta(milliseconds=ago)
        # After a downtime the figure may be a little older than figures.
        slack = max(back / 4, timedelta(hours=1))
        return figure_at(
            conn, series, subject.website.id, subject.key, name, now - back, slack
        )  # fmt: skip

    return past


def _keep(conn: Connection, figures: Figures, outcome: PollOutcome) -> None:
    """Add the figures to the history; of pages only those compared, since there are many."""
    if not figures.subjects:
        return
    kind = figures.subjects[0].kind
    compared = {pair for rule in figures.rules for pair in changes_asked(rule)}
    named = {name for name, _ago in compared}
    about = [
        field
        for field in fields(kind)
        if field.numeric and not field.pulse and (not SUBJECTS[kind].many or field.name in named)
    ]
    at = grain(outcome.at)
    for subject in figures.subjects:
        values = {field.name: _number(field.get(subject)) for field in about}
        there = {name: value for name, value in values.items() if value is not None}
        add_figures(conn, figures.series, outcome.website, subject.key, there, at)
    longest = max((ago for _name, ago in compared), default=0)
    forget_figures(conn, at - max(KEPT, timedelta(milliseconds=longest) * 1.5))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _too_early(
    conn: Connection, rule: Rule, figures: Figures, outcome: PollOutcome
) -> Iterator[Note]:
    """Notes, once, which comparisons have no history yet."""
    if f"history/{rule.id}" in figures.said or not figures.subjects:
        return
    figures.said.add(f"history/{rule.id}")
    for name, ago in sorted(changes_asked(rule)):
        past = [
            past_of(conn, figures.series, each, outcome.at)(name, ago) for each in figures.subjects
        ]
        if None in past:
            back = timedelta(milliseconds=ago)
            text = f"not enough history yet to compare {name} with {back} ago"
            yield Note(kind="level.no_history", rule=rule.id, website=outcome.website, text=text)


def pulses(rule: Rule) -> bool:
    """Whether the rule asks for what is new since the last poll: then it fires at every poll."""
    return any(field_of(leaf, rule.watch).pulse for leaf in leaves(rule.when))


def _fired(rule: Rule, subject: Subject, now: datetime, past: Past) -> Found:
    return Found(
        rule=rule,
        subject=subject,
        happened=now,
        why=why(rule, subject, past),
        episode=_episode(now),
    )


def _episode(at: datetime) -> str:
    """A name of one firing that stays unique even if another rule takes over the id."""
    return f"{at:%Y%m%dT%H%M%S.%f}"


def _resolved(rule: Rule, subject: Subject, before: Level, now: datetime) -> Found:
    began = before.true_since or before.fired or now
    ends = [action.resolved(began) for action in rule.do if isinstance(action, Notifier)]
    return Found(
        rule=rule,
        subject=subject,
        happened=now,
        episode=f"{_episode(now)}-resolved",
        actions=tuple(step for step in ends if step is not None),
    )
