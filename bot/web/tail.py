"""What the audit log says since the start: counted for metrics, and news for open pages."""

from collections import Counter
from dataclasses import dataclass, field

from bot.store import Connection
from bot.store.audit import entries_after


@dataclass(slots=True)
class Tail:
    """Counts entries after `last`. Its size is bounded by the rules and kinds of actions.

    `matches` counts by rule, `actions` by (action, outcome), `rules` all of a rule, `entries` all.
    `urgent` counts what is neither a match nor an action that went as it should.
    """

    last: int
    matches: Counter[str] = field(default_factory=Counter)
    actions: Counter[tuple[str, str]] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    entries: int = 0
    urgent: int = 0

    def read(self, conn: Connection) -> None:
        """Count the entries that are new."""
        while found := entries_after(conn, self.last):
            for number, kind, rule, step in found:
                self.last = number
                self.entries += 1
                self.urgent += kind not in ROUTINE
                if rule:
                    self.rules[rule] += 1
                if kind == "match":
                    self.matches[rule] += 1
                elif kind in OUTCOMES and step:
                    self.actions[action_of(step), OUTCOMES[kind]] += 1


OUTCOMES = {
    "step.done": "done",
    "step.dead": "failed",
    "step.postponed": "retried",
    "step.folded": "digested",
    "step.withheld": "withheld",
    "step.cancelled": "cancelled",
}
"""What became of an attempt, by the kind of the entry."""

ROUTINE = frozenset({"match", "digest", "suppressed", *OUTCOMES} - {"step.dead"})
"""Kinds of which there may be many a second."""


def action_of(step: str) -> str:
    """The kind of action in a step's key: `tag` of `…/tag-1`."""
    return step.rpartition("/")[2].rpartition("-")[0]
