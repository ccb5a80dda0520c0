"""What the demo's report tells, gathered from the store and the simulator."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bot.cli.demo_progress import short
from bot.cli.demo_report import Action, Outcome, Posted, RuleOutcome, grouped
from bot.cli.slack_text import as_text
from bot.store.audit import history
from bot.store.matches import matches_of
from bot.store.queue import dead_letters, steps_of
from bot.store.recordings import known_recordings
from bot.store.watermarks import website_names

if TYPE_CHECKING:
    from datetime import datetime

    from bot.rulebook.rules import Rule, RuleSet
    from bot.simulator.server import Simulator
    from bot.store import Connection
    from bot.store.queue import StepState

_MOST = 100_000


def gathered(
    conn: "Connection",
    simulator: "Simulator",
    book: "RuleSet",
    log: str,
    *,
    seconds: float,
    since: "datetime",
) -> Outcome:
    """The outcome so far. `since` is how far back the bot looked, `log` its log as JSON lines."""
    names = website_names(conn)
    known = [known_recordings(conn, site, since) for site in simulator.world.sites]
    return Outcome(
        seconds=seconds,
        websites=sum(1 for seen in known if seen),
        recordings=sum(map(len, known)),
        rules=[_rule_facts(conn, rule, names) for rule in book.rules],
        posts=[
            Posted(message.channel, as_text(message.text, message.blocks))
            for message in simulator.slack.messages
        ],
        calls=grouped((call.side, call.method, call.path) for call in simulator.calls),
        faults=[
            *(f"{step.rule}: {step.action}: {step.fault}" for step in dead_letters(conn)),
            *troubles(log),
        ],
    )


def troubles(log: str) -> list[str]:
    """What the log warns of; what became of single steps is told elsewhere."""
    found = []
    for line in log.splitlines():
        entry = json.loads(line)
        event = entry.get("event", "")
        if entry.get("level") in {"warning", "error"} and not event.startswith("deliver."):
            about = [str(entry[key]) for key in ("website", "what", "reason") if entry.get(key)]
            found.append(": ".join([event, *about]))
    return found


def _rule_facts(conn: "Connection", rule: "Rule", names: Mapping[str, str]) -> RuleOutcome:
    matches = matches_of(conn, rule=rule.id, limit=_MOST)
    steps = [step for match in matches for step in steps_of(conn, match.key)]
    reasons = history(conn, rule=rule.id, kind="match", limit=2)
    return RuleOutcome(
        rule=rule.id,
        summary=rule.summary,
        file=rule.file,
        matches=len(matches),
        actions=_actions(steps),
        examples=[(short(entry.subject, names), entry.text) for entry in reasons],
    )


def _actions(steps: "Sequence[StepState]") -> list[Action]:
    states = Counter((step.action, step.state) for step in steps)
    return [
        Action(
            kind=kind,
            done=states[kind, "done"],
            waiting=states[kind, "pending"] + states[kind, "sending"],
            failed=states[kind, "dead"],
            withheld=states[kind, "folded"] + states[kind, "withheld"],
        )
        for kind in dict.fromkeys(step.action for step in steps)
    ]
