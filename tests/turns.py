"""How much an event loop does in one turn, counted: a busy machine changes no count."""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Turns:
    """The turn with most calls of functions: what else waits then, waits that long.

    A turn is the time between two moments at which the event loop looks at sockets and timers.
    """

    def __init__(self) -> None:
        self.longest = Counter[str]()
        self._calls = Counter[str]()

    @property
    def calls(self) -> int:
        """How many calls the longest turn made."""
        return self.longest.total()

    def __repr__(self) -> str:
        return f"{self.calls:,} calls, most of them {self.longest.most_common(12)}"

    def note(self, frame: FrameType, event: str, arg: Any) -> None:
        """Count what `sys.setprofile` tells."""
        if event == "call":
            self._calls[frame.f_code.co_qualname] += 1
        elif event == "c_call":
            self._calls[arg.__qualname__] += 1

    def begin(self) -> None:
        """Begin a turn."""
        self._calls.clear()

    def end(self) -> None:
        """End a turn."""
        if self._calls.total() > self.calls:
            self.longest = self._calls.copy()


@contextmanager
def counted() -> Iterator[Turns]:
    """Count the turns of the running event loop while the block runs."""
    turns = Turns()
    selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
    select = selector.select

    def between(timeout: float | None = None) -> Any:
        sys.setprofile(None)
        turns.end()
        try:
            return select(timeout)
        finally:
            turns.begin()
            sys.setprofile(turns.note)

    selector.select = between
    sys.setprofile(turns.note)
    try:
        yield turns
    finally:
        sys.setprofile(None)
        turns.end()
        selector.select = select
