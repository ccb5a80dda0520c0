"""One line for all calls of an account, in the order that `mouseflow.fairness` gives."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from mouseflow.rate_limit import Budget, Priority

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


Ticket = tuple[tuple[bool, int], Call, asyncio.Future[bool]]


class Turns:
    """Lets calls go when the budget, a free slot and no pause allow it.

    `pause` tells how many seconds everybody must still wait. Times are of `monotonic`.
    """

    def __init__(
        self,
        budget: Budget,
        slots: int,
        *,
        pause: Callable[[], float],
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._budget = budget
        self._free = slots
        self._pause = pause
        self._monotonic = monotonic
        self._sleep = sleep
        self._numbers = count()
        self._turned = Turned()
        self._lanes: dict[tuple[Priority, str], list[Ticket]] = {}
        self._server: asyncio.Task[None] | None = None
        self._freed = asyncio.Event()

    def call(self, priority: Priority, website: str = "") -> Call:
        """A call that will wait in line, numbered by when it came."""
        return Call(priority, website, next(self._numbers), self._turned.turns)

    async def take(self, call: Call) -> bool:
        """Waits for a turn; False if the line was sent home. A turn must be given back."""
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        lane = self._lanes.setdefault((call.priority, call.website), [])
        heappush(lane, (call.place, call, turn))
        if self._server is None or self._server.done():
            self._server = asyncio.create_task(self._serve())
        try:
            return await turn
        except asyncio.CancelledError:
            # The turn may have come in the same instant as the cancellation.
            if turn.done() and not turn.cancelled() and turn.result():
                self.give_back()
            raise

    def give_back(self) -> None:
        """Ends a turn: the slot is free again."""
        self._free += 1
        self._freed.set()

    def send_home(self) -> None:
        """Ends the wait of everybody who is in line now."""
        for lane in self._lanes.values():
            for _place, _call, turn in lane:
                if not turn.done():
                    turn.set_result(False)
        self._lanes.clear()

    async def _serve(self) -> None:
        while self._first_of_each():
            if self._free < 1:
                self._freed.clear()
                await self._freed.wait()
                continue
            delay = max(self._pause(), self._budget.wait(self._monotonic()))
            if delay > 0:
                await self._sleep(delay)
                continue
            self._let_go(self._turned.next_of(self._first_of_each()))

    def _let_go(self, call: Call) -> None:
        _place, _call, turn = heappop(self._lanes[call.priority, call.website])
        classes = {each.priority for each in self._first_of_each()}
        self._turned = self._turned.after(call, classes)
        self._budget = self._budget.spent(self._monotonic())
        self._free -= 1
        turn.set_result(True)

    def _first_of_each(self) -> list[Call]:
        """The first of each website and class that still waits."""
        for key, lane in list(self._lanes.items()):
            while lane and lane[0][2].done():
                heappop(lane)
            if not lane:
                del self._lanes[key]
        return [lane[0][1] for lane in self._lanes.values()]
