"""Whose call goes next: actions first, websites in turn, and nobody for ever behind others.

Pure: those who wait go in, the next one comes out. Three rules, each with its bound:

- Actions go before polling, polling before the background; but a class that was passed over
  `PASSED` times in a row while it waited gets the next turn, the first such class first.
- Within a class websites take turns: one that has had its turn, or comes anew, goes behind
  those that wait. So a call waits for one call of every website before it in line at most,
  for each call of its own website that came before it.
- What the API refused with a 429 goes before all others of its class, for its turn was none.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bot.mouseflow.pacing import Priority

PASSED: Mapping[Priority, int] = {Priority.ACTION: 1, Priority.POLL: 4, Priority.BACKGROUND: 19}
"""How many turns in a row may go to other classes: a flood of actions leaves polling a fifth of
the calls, and a line that is never empty leaves the background a twentieth."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that waits in line; `website` is "" for the account.

    `number` tells who came first, `came` after how many turns that was.
    """

    priority: Priority
    website: str
    number: int
    came: int
    refused: bool = False

    @property
    def place(self) -> tuple[bool, int]:
        """Its place among the calls of its own website and class."""
        return (not self.refused, self.number)


@dataclass(frozen=True, slots=True)
class Turned:
    """What is remembered of the turns so far: how many, whose was when, who was passed over."""

    turns: int = 0
    last: Mapping[tuple[Priority, str], int] = field(default_factory=dict)
    passed: Mapping[Priority, int] = field(default_factory=dict)

    def next_of(self, waiting: Iterable[Call]) -> Call:
        """Whose turn it is; raises ValueError where nobody waits.

        It is enough to hand in the first call of each website in each class.
        """
        calls = list(waiting)
        wanted = self._class(frozenset(call.priority for call in calls))
        return min((call for call in calls if call.priority is wanted), key=self._rank)

    def after(self, call: Call, waiting: Iterable[Priority]) -> "Turned":
        """What is remembered once that call has gone. `waiting` are the classes still in line."""
        passed = {
            each: 0 if each is call.priority else self.passed.get(each, 0) + 1
            for each in frozenset(waiting) | {call.priority}
        }
        lane = (call.priority, call.website)
        return Turned(self.turns + 1, {**self.last, lane: self.turns + 1}, passed)

    def _class(self, there: frozenset[Priority]) -> Priority:
        due = [each for each in there if self.passed.get(each, 0) >= PASSED[each]]
        return min(due or there)

    def _rank(self, call: Call) -> tuple[int, int]:
        """Since when it is the first of its website, in turns."""
        last = self.last.get((call.priority, call.website), 0)
        return (-1 if call.refused else max(last, call.came), call.number)
