"""One look at a website's levels: counters that can be true for a while, end, and come back."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import msgspec

from bot.actions.slack import Resolved, Slack
from bot.levels import Level, advance
from bot.mouseflow import feedback
from bot.poll.matching import Found, Routing, Settled, settle
from bot.poll.recordings import Desk
from bot.rulebook.conditions import All, AnyOf, Condition, Not, Test
from bot.rulebook.decide import applies
from bot.rulebook.evaluate import holds, whole
from bot.rulebook.explain import why
from bot.rulebook.rules import Rule
from bot.sources.feedback import baselines, read
from bot.store import Connection
from bot.store.levels import levels, save_level
from bot.store.matches import PollOutcome
from bot.store.watermarks import watermark
from bot.subjects import CampaignSubject, Site, Subject

T = TypeVar("T", bound=Subject)

PULSES = frozenset({"new_responses"})
"""Fields that speak of the time since the last look: such a rule fires at every look."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at levels brought: subjects seen, and what came of it."""

    subjects: int
    settled: Settled


async def poll_feedback(site: Site, rules: Iterable[Rule], desk: Desk, now: datetime) -> Looked:
    """One look at the website's campaigns. Raises the errors of `bot.mouseflow.errors`."""
    watching = [rule for rule in rules if rule.watch == "feedback" and applies(rule, site)]
    if not watching:
        return Looked(0, Settled())
    campaigns = await desk.mouseflow.send(feedback.list(site.id))
    text = await desk.store.run(partial(watermark, source="feedback", website=site.id))
    before = msgspec.json.decode(text, type=dict[str, int]) if text else {}
    subjects: list[CampaignSubject] = read(site, campaigns, before)
    # A campaign that is left out once keeps its baseline: it may come back.
    after = before | baselines(campaigns)
    outcome = PollOutcome(
        source="feedback",
        website=site.id,
        at=now,
        watermark=msgspec.json.encode(after).decode(),
    )
    settled = await desk.store.run(
        partial(
            settle_levels,
            outcome=outcome,
            rules=watching,
            subjects={subject.key: subject for subject in subjects},
            routing=desk.routing,
        )
    )
    return Looked(len(subjects), settled)


def settle_levels(
    conn: Connection,
    outcome: PollOutcome,
    rules: Sequence[Rule],
    subjects: Mapping[str, Subject],
    routing: Routing,
) -> Settled:
    """Move every rule's level on by one look and write down what fired or ended, at once."""
    found: list[Found] = []
    for rule in rules:
        kept = levels(conn, rule.id, outcome.website)
        for key, subject in subjects.items():
            before = kept[key].level if key in kept else Level()
            after, event = _moved(rule, subject, before, outcome.at)
            if after != before:
                save_level(conn, rule.id, outcome.website, key, after, outcome.at)
            found += event
    return settle(conn, outcome, found, routing)


def _moved(rule: Rule, subject: Subject, before: Level, now: datetime) -> tuple[Level, list[Found]]:
    now_true = holds(whole(rule), subject)
    if pulses(rule):
        if not now_true:
            return before, []
        after = Level(None, now, before.episode + 1)
        return after, [_fired(rule, subject, after, now)]
    ended = not now_true if rule.until is None else holds(rule.until, subject)
    after, event = advance(before, now_true, ended, now, rule.held_for or timedelta())
    if event == "fired":
        return after, [_fired(rule, subject, after, now)]
    if event == "resolved" and rule.resolved:
        return after, [_resolved(rule, subject, before, now)]
    return after, []


def pulses(rule: Rule) -> bool:
    """Does the rule speak of what is new since the last look?"""
    return bool(PULSES & set(_fields(rule.when)))


def _fields(condition: Condition) -> Iterable[str]:
    match condition:
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from _fields(part)
        case Not(part):
            yield from _fields(part)
        case Test(field=name):
            yield name


def _fired(rule: Rule, subject: Subject, level: Level, now: datetime) -> Found:
    return Found(
        rule=rule,
        subject=subject,
        happened=now,
        why=why(rule, subject),
        episode=str(level.episode),
    )


def _resolved(rule: Rule, subject: Subject, before: Level, now: datetime) -> Found:
    began = before.true_since or before.fired or now
    posts = tuple(
        Resolved(channel=action.channel, began=began)
        for action in rule.do
        if isinstance(action, Slack)
    )
    return Found(
        rule=rule,
        subject=subject,
        happened=now,
        episode=f"{before.episode}-resolved",
        actions=posts,
    )
