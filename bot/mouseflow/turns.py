"""One line for all calls of an account, in the order that `bot.mouseflow.fairness` gives."""

import asyncio
from collections.abc import Awaitable, Callable
from heapq import heappop, heappush
from itertools import count

from bot.mouseflow.fairness import Call, Turned
from bot.mouseflow.pacing import Budget, Priority

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
