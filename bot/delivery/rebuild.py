"""Rebuild waiting and failed steps from the rule as it is now: channel, text, URL, secret.

A step keeps its key, so that what it did before is still found.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

import msgspec
from msgspec import Struct, field

from bot.actions import DIGESTS, WRITTEN
from bot.actions.base import Action
from bot.actions.notifier import Notifier
from bot.domain.causes import SLACK
from bot.domain.limits import Limit
from bot.domain.subjects import reread
from bot.rules.model import Rule
from bot.store import Connection
from bot.store.dead_letters import retry
from bot.store.lanes import lane_of_kind
from bot.store.rebuild import StoredStep, put_anew, stored_steps
from bot.store.rules import rule_states

_DIGESTING = frozenset({*DIGESTS.values(), *DIGESTS}) - WRITTEN.keys()
_NOTICE = "notice"


class Rebuilt(Struct, frozen=True):
    """The step as the rule now has it."""

    params: str
    lane: str


@dataclass(frozen=True, slots=True)
class NoLongerAsked:
    """The rule no longer asks for the step; why."""

    reason: str


class CurrentRules(Struct, frozen=True):
    """The rules as they are now, and where posts without a channel go.

    `known` are the ids of all rules there ever were: what others own, such as a budget, is
    left as it is. `ops` is the channel for notices, None if there is none.
    """

    rules: Mapping[str, Rule]
    known: Collection[str]
    channel: str
    ops: str | None = None


def rebuilt(step: StoredStep, current: CurrentRules) -> Rebuilt | NoLongerAsked | None:
    """The step as the rule now has it; None if it stays as it is, also because it can't be read.

    It takes the action that it is equal to; else the one of its kind that no other step of its
    match takes.
    """
    try:
        return _rebuilt(step, current)
    except msgspec.MsgspecError:
        return None


def _rebuilt(step: StoredStep, current: CurrentRules) -> Rebuilt | NoLongerAsked | None:
    if step.action == _NOTICE:
        return None if current.ops is None else _moved(step, current.ops, current.ops)
    if step.unknown or step.follows or step.rule not in {*current.rules, *current.known}:
        return None
    rule = current.rules.get(step.rule)
    if rule is None:
        return NoLongerAsked(f"the rule {step.rule} is gone")
    own = [action for action in rule.do if action.kind == step.action]
    if not own and step.action in _DIGESTING:
        return _redirected(step, rule, current)
    action = _standing_for(step, own)
    if action is None:
        return NoLongerAsked(f"the rule {step.rule} no longer has this {step.action}")
    params, lane = action.stored(), action.lane(reread(step.subject), current.channel)
    here = step.lane in (lane, lane_of_kind(lane, step.action))
    return None if here and params == step.params else Rebuilt(params, lane)


def _standing_for(step: StoredStep, own: list[Action]) -> Action | None:
    for action in own:
        if action.stored() == step.params:
            return action
    free = [action for action in own if action.stored() not in step.siblings]
    if len(free) <= 1:
        return free[0] if free else None
    number = step.key.rpartition("-")[2]
    placed = own[int(number) - 1] if number.isdigit() and 0 < int(number) <= len(own) else None
    return placed if placed in free else None


def _redirected(
    step: StoredStep, rule: Rule, current: CurrentRules
) -> Rebuilt | NoLongerAsked | None:
    """A digest, or the end of an alert: it goes where the rule posts now."""
    kind = DIGESTS.get(step.action, step.action)
    notifiers = [a for a in rule.do if isinstance(a, Notifier) and a.digest == kind]
    channels = {to for each in notifiers if (to := each.posts_to("")) is not None}
    if not channels:
        return NoLongerAsked(f"the rule {step.rule} no longer posts")
    if step.channel in channels or len(channels) > 1:
        return None
    (channel,) = channels
    return _moved(step, channel, channel or current.channel, notifiers[0].service)


def _moved(step: StoredStep, channel: str, place: str, service: str = SLACK) -> Rebuilt | None:
    if step.channel == channel:
        return None
    params = msgspec.json.decode(step.params) | {"channel": channel}
    return Rebuilt(msgspec.json.encode(params).decode(), f"{service}:{place}")


class Retried(Struct, frozen=True):
    """One batch: how many were requeued, why others were not, and the last id looked at.

    False if there was nothing left to look at.
    """

    requeued: int
    refused: Counter[str] = field(default_factory=Counter)
    last: int | None = None

    def __bool__(self) -> bool:
        return self.last is not None


def retry_some(
    conn: Connection,
    now: datetime,
    current: CurrentRules | None,
    *,
    ids: Collection[int] = (),
    rules: Collection[str] = (),
    after: int = 0,
) -> Retried:
    """Requeue the next dead letters with these ids or of these rules, without either all.

    Each is rebuilt from the rule as it is now; without rules they stay as they are. What began an
    alert that is over would be wrong by now, and stays.
    """
    found = stored_steps(conn, "dead", ids=ids, rules=rules, after=after)
    if not found:
        return Retried(0)
    again, anew, refused = list[int](), list[tuple[StoredStep, str, str]](), Counter[str]()
    for step in found:
        if step.over:
            refused["the alert is over"] += 1
            continue
        match rebuilt(step, current) if current else None:
            case NoLongerAsked(reason):
                refused[reason] += 1
                continue
            case Rebuilt(params, lane):
                anew.append((step, params, lane))
            case None:
                pass
            case never:
                assert_never(never)
        again.append(step.id)
    put_anew(conn, anew, now)
    return Retried(retry(conn, now, ids=again), refused, found[-1].id)


def rebuild_some(
    conn: Connection, now: datetime, current: CurrentRules, changed: Collection[str], after: int = 0
) -> int | None:
    """Rebuild the next waiting steps of changed rules; returns the last id, None at the end."""
    found = stored_steps(conn, "pending", rules=changed, after=after)
    rebuilds = ((step, rebuilt(step, current)) for step in found)
    anew = [(step, new.params, new.lane) for step, new in rebuilds if isinstance(new, Rebuilt)]
    put_anew(conn, anew, now)
    return found[-1].id if found else None


def current_rules(
    conn: Connection, rules: Collection[Rule], channel: str, ops: str | None
) -> CurrentRules:
    """The rules as they are now, with what the store knows of earlier ones."""
    return CurrentRules(
        {rule.id: rule for rule in rules}, frozenset(rule_states(conn)), channel, ops
    )


def post_limits(rule: Rule, channel: str) -> dict[str, Limit | None]:
    """The limits of the rule's posts, by lane."""
    return {
        f"{action.service}:{to}": action.limit
        for action in rule.do
        if isinstance(action, Notifier) and action.digest
        if (to := action.posts_to(channel)) is not None
    }
