"""Which call goes next: actions first, then websites round robin, without starvation."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import IntEnum
from heapq import heappop, heappush
from itertools import count

from msgspec import Struct, field

from mouseflow.rate_limit import TokenBucket


class Priority(IntEnum):
    """Which calls go first: what people wait for, then polling, then what may take its time."""

    ACTION = 0
    POLL = 1
    BACKGROUND = 2


MAX_SKIPS: Mapping[Priority, int] = {
    Priority.ACTION: 1,
    Priority.POLL: 4,
    Priority.BACKGROUND: 19,
}
"""How many calls in a row may go to other priorities: a flood of actions leaves polling a fifth
of the calls, and a queue that is never empty leaves the background a twentieth."""


class QueuedCall(Struct, frozen=True):
    """A call in the queue; `website` is "" for the account.

    `number` counts the calls as they arrive, `arrived` is how many calls had gone by then.
    `retried`: the API answered 429, so it goes before all others of its priority.
    """

    priority: Priority
    website: str
    number: int
    arrived: int
    retried: bool = False

    @property
    def order(self) -> tuple[bool, int]:
        """The sort key among the calls of the same website and priority."""
        return (not self.retried, self.number)


class QueueHistory(Struct, frozen=True):
    """What decides who goes next: `gone` calls so far, when each website last had one (`last`),
    and how often in a row each priority was skipped.
    """

    gone: int = 0
    last: Mapping[tuple[Priority, str], int] = field(default_factory=dict)
    skipped: Mapping[Priority, int] = field(default_factory=dict)

    def next_of(self, waiting: Iterable[QueuedCall]) -> QueuedCall:
        """The call that goes next; raises ValueError if none waits.

        The first call of each website and priority is enough.
        """
        calls = list(waiting)
        priority = self._next_priority(frozenset(call.priority for call in calls))
        return min((call for call in calls if call.priority is priority), key=self._rank)

    def after(self, call: QueuedCall, waiting: Iterable[Priority]) -> "QueueHistory":
        """The history once that call has gone. `waiting` are the priorities still queued."""
        skipped = {
            each: 0 if each is call.priority else self.skipped.get(each, 0) + 1
            for each in frozenset(waiting) | {call.priority}
        }
        key = (call.priority, call.website)
        return QueueHistory(self.gone + 1, {**self.last, key: self.gone + 1}, skipped)

    def _next_priority(self, waiting: frozenset[Priority]) -> Priority:
        due = [each for each in waiting if self.skipped.get(each, 0) >= MAX_SKIPS[each]]
        return min(due or waiting)

    def _rank(self, call: QueuedCall) -> tuple[int, int]:
        """Since when it is the first of its website, counted in calls."""
        last = self.last.get((call.priority, call.website), 0)
        return (-1 if call.retried else max(last, call.arrived), call.number)


Entry = tuple[tuple[bool, int], QueuedCall, asyncio.Future[bool]]


class CallQueue:
    """Lets calls go when the token bucket, a free slot and no pause allow it.

    `pause` returns how many seconds all calls must still wait. Times are of `monotonic`.
    """

    def __init__(
        self,
        bucket: TokenBucket,
        slots: int,
        *,
        pause: Callable[[], float],
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._bucket = bucket
        self._free_slots = slots
        self._pause = pause
        self._monotonic = monotonic
        self._sleep = sleep
        self._numbers = count()
        self._history = QueueHistory()
        self._queues: dict[tuple[Priority, str], list[Entry]] = {}
        self._dispatcher: asyncio.Task[None] | None = None
        self._slot_freed = asyncio.Event()

    def use_rate(self, rate: float, burst: int) -> None:
        """Let calls go at another rate from now on."""
        self._bucket = TokenBucket(rate, burst, self._bucket.full)

    def new_call(self, priority: Priority, website: str = "") -> QueuedCall:
        """A call for `acquire`, numbered by when it arrived."""
        return QueuedCall(priority, website, next(self._numbers), self._history.gone)

    async def acquire(self, call: QueuedCall) -> bool:
        """Wait until the call may go; false if the queue was flushed. True needs a `release`."""
        granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        queue = self._queues.setdefault((call.priority, call.website), [])
        heappush(queue, (call.order, call, granted))
        if self._dispatcher is None or self._dispatcher.done():
            self._dispatcher = asyncio.create_task(self._dispatch())
        try:
            return await granted
        except asyncio.CancelledError:
            # The slot may have been granted in the same instant as the cancellation.
            if granted.done() and not granted.cancelled() and granted.result():
                self.release()
            raise

    def release(self) -> None:
        """Give the slot back."""
        self._free_slots += 1
        self._slot_freed.set()

    def flush(self) -> None:
        """Stop the wait of every call in the queue."""
        for queue in self._queues.values():
            for _order, _call, granted in queue:
                if not granted.done():
                    granted.set_result(False)
        self._queues.clear()

    async def _dispatch(self) -> None:
        while self._heads():
            if self._free_slots < 1:
                self._slot_freed.clear()
                await self._slot_freed.wait()
                continue
            delay = max(self._pause(), self._bucket.wait(self._monotonic()))
            if delay > 0:
                await self._sleep(delay)
                continue
            self._grant(self._history.next_of(self._heads()))

    def _grant(self, call: QueuedCall) -> None:
        _order, _call, granted = heappop(self._queues[call.priority, call.website])
        self._history = self._history.after(call, {each.priority for each in self._heads()})
        self._bucket = self._bucket.after_call(self._monotonic())
        self._free_slots -= 1
        granted.set_result(True)

    def _heads(self) -> list[QueuedCall]:
        """The first call of each website and priority that still waits."""
        for key, queue in list(self._queues.items()):
            while queue and queue[0][2].done():
                heappop(queue)
            if not queue:
                del self._queues[key]
        return [queue[0][1] for queue in self._queues.values()]
