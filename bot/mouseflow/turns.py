"""One line for all calls of an account: by priority, then first come, first served."""

import asyncio
from collections.abc import Awaitable, Callable
from heapq import heappop, heappush
from itertools import count

from bot.mouseflow.pacing import Budget, Priority


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
        self._order = count()
        self._waiting: list[tuple[Priority, int, asyncio.Future[bool]]] = []
        self._server: asyncio.Task[None] | None = None
        self._freed = asyncio.Event()

    async def take(self, priority: Priority) -> bool:
        """Waits for a turn; False if the line was sent home. A turn must be given back."""
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (priority, next(self._order), turn))
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
        for _priority, _order, turn in self._waiting:
            if not turn.done():
                turn.set_result(False)
        self._waiting.clear()

    async def _serve(self) -> None:
        while self._somebody_waits():
            if self._free < 1:
                self._freed.clear()
                await self._freed.wait()
                continue
            delay = max(self._pause(), self._budget.wait(self._monotonic()))
            if delay > 0:
                await self._sleep(delay)
                continue
            _priority, _order, turn = heappop(self._waiting)
            self._budget = self._budget.spent(self._monotonic())
            self._free -= 1
            turn.set_result(True)

    def _somebody_waits(self) -> bool:
        while self._waiting and self._waiting[0][2].done():
            heappop(self._waiting)
        return bool(self._waiting)
