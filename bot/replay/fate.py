"""What became of a rule's actions for one recording, or what would, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.rulebook.explain import Explanation
from bot.rulebook.queries import fires_early
from bot.rulebook.rules import Rule
from bot.sources.recordings import last_activity, settled
from bot.store.audit import Entry
from bot.store.matches import KeptMatch
from bot.store.queue import StepState
from bot.store.rule_states import RuleState
from bot.subjects import RecordingSubject

_ENDED = {
    "done": "done",
    "dead": "given up",
    "folded": "in a digest",
    "withheld": "withheld",
}


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the store knows of this rule and this recording.

    `notes` are the audit log's lines about both, newest first. `watching` is since when the
    bot watches the website, None where it does not yet.
    """

    match: KeptMatch | None = None
    steps: Sequence[StepState] = ()
    notes: Sequence[Entry] = ()
    state: RuleState | None = None
    watching: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One action and what became of it; `why` may be empty."""

    action: str
    state: str
    why: str = ""


def past(known: Remembered, now: datetime) -> list[Outcome]:
    """The fate of each step of a match that is in the store."""
    told = {note.step: note.text for note in reversed(known.notes) if note.step}
    found = [_outcome(step, told.get(step.key, ""), now) for step in known.steps]
    reasons = [note.text for note in known.notes if note.kind == "suppressed" and not note.step]
    return found + [Outcome("actions", "held back", reason) for reason in reasons]


def _outcome(step: StepState, told: str, now: datetime) -> Outcome:
    action = step.key.rpartition("/")[2]
    if step.state == "pending":
        late = step.due <= now
        state = "waiting in the queue" if late else f"waiting until {_at(step.due)}"
        tries = f"after {step.attempts} attempts: " if step.attempts and step.fault else ""
        return Outcome(action, state, f"{tries}{step.fault}")
    if step.state == "sending":
        return Outcome(action, "under way")
    state = _ENDED.get(step.state, step.state)
    if step.ended is not None:
        state += f" {_at(step.ended)}"
    why = "; ".join(dict.fromkeys(filter(None, (step.fault, step.remedy)))) or told
    return Outcome(action, state, why)


def future(
    rule: Rule,
    subject: RecordingSubject,
    explanation: Explanation,
    known: Remembered,
    *,
    held: bool,
    settle: timedelta,
    now: datetime,
) -> list[str]:
    """What would happen now, where there is no match in the store."""
    if held:
        return ["the rule is held: the API ignores the friction filter, so it cannot be judged"]
    final = settled(subject.recording, now, settle)
    if not explanation.matches:
        more = "" if final else "; the session is still live and is judged again when it grows"
        return [f"nothing: it does not match{more}"]
    seen = last_activity(subject.recording)
    if known.watching is None:
        return ["it matches, but the bot has not polled this website yet"]
    if seen is not None and seen < known.watching:
        return [
            "it matches, but the session ended before the bot began to watch, "
            f"{_at(known.watching)}; `mouseflow-bot replay --apply` acts on such recordings"
        ]
    if not final and not fires_early(rule):
        until = f" at {_at(seen + settle)}" if seen else ""
        return [f"it would match, but waits until the session is settled{until}"]
    actions = ", ".join(dict.fromkeys(action.kind for action in rule.do)) or "no action"
    return [f"it would match at the next poll: {actions}", *_limits(rule, known, now)]


def _limits(rule: Rule, known: Remembered, now: datetime) -> list[str]:
    """What may still hold the actions back."""
    found = []
    state = known.state
    if state is not None and state.paused_at is not None:
        found.append(f"but the rule is paused since {_at(state.paused_at)}: {state.paused_why}")
    if state is not None and state.snoozed_until is not None and state.snoozed_until > now:
        found.append(f"posts are snoozed until {_at(state.snoozed_until)}")
    if rule.active is not None:
        found.append("posts wait for the rule's active hours")
    if rule.once_per is not None:
        found.append(f"unless another one matched for the same {rule.once_per.field} before")
    if rule.count is not None:
        found.append(
            f"the actions wait until {rule.count.at_least} have been counted by {rule.count.by}"
        )
    return found


def lines(known: Remembered, outcomes: Sequence[Outcome]) -> list[str]:
    """A stored decision in words."""
    if known.match is None:
        return []
    why = next((note.text for note in known.notes if note.kind == "match"), "")
    found = [f"matched {_at(known.match.matched)}{f': {why}' if why else ''}"]
    found += [
        f"  {each.action}: {each.state}{f' ({each.why})' if each.why else ''}" for each in outcomes
    ]
    if not outcomes:
        found.append("  the rule had no actions, or the store has forgotten them")
    return found


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"
