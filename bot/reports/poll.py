"""One look at a website's levels: counters that can be true for a while, end, and come back.

Rules that ask the same question share its answer. What came of a look is written in one
transaction: baselines, how every rule stands with every subject, matches, and figures.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec

from bot.actions.notifier import Notifier
from bot.domain.alert_state import Level, advance
from bot.domain.subjects import Kind, Site, Subject, reread
from bot.fields.catalogue import SUBJECTS, fields
from bot.polling.record_matches import Found, Routing, Settled, settle
from bot.polling.recordings import Desk
from bot.reports.fetch import Asked, LevelMemory, asked
from bot.rules.evaluate import Past, answer, field_of
from bot.rules.explain import why
from bot.rules.model import Rule, leaves
from bot.rules.needs import changes_asked
from bot.rules.plan_steps import applies
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
"""How long figures are kept at least; longer where a rule compares with an older past."""

FRESH = timedelta(days=1)
"""How often a level is written down again though nothing changed: what is old is forgotten."""

_NOW = Level()


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at levels brought: subjects seen, and what came of it.

    `ignored` names the filters that the API does not heed, found out by this look; `unread`
    tells how many rows could not be read, `failed` why some rules were not judged.
    """

    subjects: int
    settled: Settled
    ignored: tuple[str, ...] = ()
    unread: int = 0
    failed: Exception | None = None


async def look(
    kind: Kind,
    site: Site,
    rules: Iterable[Rule],
    desk: Desk,
    memory: LevelMemory,
    now: datetime,
) -> Looked:
    """One look at the website's subjects of one kind.

    Raises GiveUp or TryLater where no question could be answered.
    """
    watching = [rule for rule in rules if rule.watch == kind and applies(rule, site)]
    if not watching:
        return Looked(0, Settled())
    seen = await asked(kind, site, watching, desk, memory, now)
    outcome = PollOutcome(
        source=kind, website=site.id, at=now, watermark=seen.watermark, notes=seen.notes
    )
    settled = await desk.store.run(
        partial(settle_levels, outcome=outcome, asked=seen.answered, routing=desk.routing)
    )
    return Looked(
        sum(len(each.subjects) for each in seen.answered),
        settled,
        seen.ignored,
        sum(each.unread for each in seen.answered),
        seen.failed,
    )


def website_gone(
    conn: Connection, site: Site, rules: Iterable[Rule], routing: Routing, now: datetime
) -> Settled:
    """The account no longer has the website: what was true there, of whatever kind, is over."""
    outcome = PollOutcome(source="websites", website=site.id, at=now)
    found = [
        each
        for rule in rules
        if rule.watch != "recordings" and applies(rule, site)
        for each in _gone(conn, rule, levels(conn, rule.id, site.id), outcome)
    ]
    return settle(conn, outcome, found, routing)


def settle_levels(
    conn: Connection, outcome: PollOutcome, asked: Sequence[Asked], routing: Routing
) -> Settled:
    """Move every rule's level on by one look and write down what fired or ended, at once."""
    found: list[Found] = []
    notes: list[Note] = []
    for each in asked:
        for rule in each.rules:
            found += _judged(conn, rule, each, outcome)
            notes += _too_early(conn, rule, each, outcome)
        _keep(conn, each, outcome)
    return settle(conn, replace(outcome, notes=(*outcome.notes, *notes)), found, routing)


def _judged(conn: Connection, rule: Rule, asked: Asked, outcome: PollOutcome) -> Iterator[Found]:
    kept = levels(conn, rule.id, outcome.website)
    now = outcome.at
    for subject in asked.subjects:
        known = kept.pop(subject.key, None)
        before = known.level if known else _NOW
        past = past_of(conn, asked.series, subject, now)
        after, found = _moved(rule, subject, before, now, past)
        if after != before or (known and known.at and now - known.at >= FRESH):
            save_level(
                conn, rule.id, outcome.website, subject.key, after, now, _plain(subject, after)
            )
        yield from found
    if asked.whole:
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
    ended = now_true is False if rule.until is None else answer(rule.until, subject, past) is True
    if now_true is None and before.fired and not ended:
        return before, []  # no history to compare with: what fired is neither over nor new
    after, event = advance(before, now_true is True, ended, now, rule.held_for or timedelta())
    if event == "fired":
        return after, [_fired(rule, subject, now, past)]
    if event == "resolved" and rule.resolved:
        return after, [_resolved(rule, subject, before, now)]
    return after, []


def _gone(
    conn: Connection, rule: Rule, kept: dict[str, KeptLevel], outcome: PollOutcome
) -> Iterator[Found]:
    """Subjects that a whole list no longer has: what was true of them is over."""
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
    """The subject of a level that is true, to tell of it should it disappear."""
    if level.true_since is None and level.fired is None:
        return None
    plain: dict[str, Any] = msgspec.to_builtins(subject)
    return plain


def past_of(conn: Connection, series: str, subject: Subject, now: datetime) -> Past:
    """The subject's own figures of earlier looks, as the store has them."""

    def past(name: str, ago: int) -> float | None:
        back = timedelta(milliseconds=ago)
        # After a downtime the figure may be a little older than asked.
        slack = max(back / 4, timedelta(hours=1))
        return figure_at(
            conn, series, subject.website.id, subject.key, name, now - back, slack
        )  # fmt: skip

    return past


def _keep(conn: Connection, asked: Asked, outcome: PollOutcome) -> None:
    """Add the figures to the history; of pages, of which there are many, those compared alone."""
    if not asked.subjects:
        return
    kind = asked.subjects[0].kind
    compared = {pair for rule in asked.rules for pair in changes_asked(rule)}
    named = {name for name, _ago in compared}
    about = [
        field
        for field in fields(kind)
        if field.numeric and not field.pulse and (not SUBJECTS[kind].many or field.name in named)
    ]
    at = grain(outcome.at)
    for subject in asked.subjects:
        values = {field.name: _number(field.get(subject)) for field in about}
        there = {name: value for name, value in values.items() if value is not None}
        add_figures(conn, asked.series, outcome.website, subject.key, there, at)
    longest = max((ago for _name, ago in compared), default=0)
    forget_figures(conn, at - max(KEPT, timedelta(milliseconds=longest) * 1.5))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _too_early(conn: Connection, rule: Rule, asked: Asked, outcome: PollOutcome) -> Iterator[Note]:
    """Says once which comparisons have no history yet, so that silence is explained."""
    if f"history/{rule.id}" in asked.said or not asked.subjects:
        return
    asked.said.add(f"history/{rule.id}")
    for name, ago in sorted(changes_asked(rule)):
        past = [past_of(conn, asked.series, each, outcome.at)(name, ago) for each in asked.subjects]
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
    """Names one firing of a level for ever, also where another rule takes over its id."""
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
