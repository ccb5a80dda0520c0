"""Trouble to order: which of the next calls fail, and how."""

import threading
from dataclasses import dataclass, replace
from typing import Literal

Side = Literal["mouseflow", "slack"]
Kind = Literal["status", "html", "half", "close", "close_after", "delay", "delay_after"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to the next `times` calls that fit.

    `status` answers with that status, `html` with a page of HTML, `half` cuts the true
    answer's body in half, `close` drops the connection before anything happens,
    `close_after` once the call has taken effect, `delay` waits before the call takes effect,
    `delay_after` before it is answered. `seconds` is waited with every kind.
    `retry_after` (seconds) goes with a status. `method`, `path` and `body` (parts of them)
    restrict which calls fit; `skip` lets so many fitting calls pass first.
    """

    kind: Kind
    times: int = 1
    side: Side = "mouseflow"
    status: int = 500
    retry_after: float | None = None
    seconds: float = 0.0
    method: str = ""
    path: str = ""
    body: str = ""
    skip: int = 0

    def fits(self, side: Side, method: str, path: str, body: bytes = b"") -> bool:
        """Whether a call is one that this fault is meant for."""
        return (
            side == self.side
            and (not self.method or method == self.method.upper())
            and self.path in path
            and self.body.encode() in body
        )


class Faults:
    """The faults still to come, in the order they were ordered. Safe between threads."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Orders a fault."""
        with self._lock:
            self._pending.append(fault)

    def clear(self) -> None:
        """Takes back all faults."""
        with self._lock:
            self._pending.clear()

    @property
    def pending(self) -> tuple[Fault, ...]:
        """What has not happened yet."""
        with self._lock:
            return tuple(self._pending)

    def take(self, side: Side, method: str, path: str, body: bytes = b"") -> Fault | None:
        """The fault for this call, used up once; None if the call is to succeed."""
        with self._lock:
            for n, fault in enumerate(self._pending):
                if not fault.fits(side, method, path, body):
                    continue
                if fault.skip:
                    self._pending[n] = replace(fault, skip=fault.skip - 1)
                    continue
                self._pending[n : n + 1] = (
                    [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                )
                return fault
        return None
