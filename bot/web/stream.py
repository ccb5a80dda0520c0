"""Server-sent events: the parts of a page that changed, and how many entries are new.

One task looks for all open streams. A page is read and rendered once however many show it, and
an event is encoded once; nothing is read again, and nothing sent, while nothing is new.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from bot.errors import StoreError
from bot.store import Connection
from bot.web.facts import Facts, Reader, StoreBusy
from bot.web.read.world import World, world
from bot.web.tail import Tail

log = structlog.get_logger(__name__)

MOST = 20
"""Streams at once; further pages are told to reload."""

EVERY = 5.0
"""Seconds between two looks at what is new."""

RETRY = 3_000
"""Milliseconds after which a browser connects again."""

OTHERS = 6
"""After so many looks the store is read though the bot wrote no entry: a command may have."""

IDLE, MOST_IDLE = 12, 120
"""A page is read again after so many looks without news: when polls were is no news.

The first number if that is cheap (`SHARE`), the second in any case.
"""

SHARE = 0.02
"""Part of the bot's own processor time that pages without news may cost."""

KEEP_ALIVE = 11
"""After so many looks without an event a comment keeps the connection open: proxies wait 60 s."""

COST = 0.0025
"""Seconds of processor time that pages may cost from one look to the next."""

MOST_REST = 6
"""Pages that cost more rest for so many looks at most, while there are only new matches."""

BACKLOG = 8
"""Events that wait for a slow browser. With more its stream ends, and it connects again."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A page: `read` returns None if there is no such thing, `parts` their HTML by id.

    `rule`: only news of this rule change the page, and what is no match or action.
    """

    read: Callable[[World], Any]
    parts: Callable[[Any], Mapping[str, str]]
    rule: str = ""


@dataclass(slots=True, eq=False)
class Follower:
    """An open stream. `told` is how many entries of the audit log it knows, None for nothing."""

    told: int | None = None
    quiet: int = 0
    ended: bool = False
    _waiting: list[bytes] = field(default_factory=list)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, event: bytes) -> None:
        """Send it as soon as the browser has read what came before."""
        self.quiet = 0
        self._waiting.append(event)
        self.ended = self.ended or len(self._waiting) > BACKLOG
        self._woken.set()

    def end(self) -> None:
        """End the stream."""
        self.ended = True
        self._woken.set()

    async def events(self) -> AsyncIterator[bytes]:
        """What is sent, until the stream ends."""
        yield f"retry: {RETRY}\n\n".encode()
        while True:
            await self._woken.wait()
            self._woken.clear()
            waiting, self._waiting = self._waiting, []
            if waiting:
                yield b"".join(waiting)
            if self.ended:
                return


@dataclass(slots=True, eq=False)
class _Topic:
    """The streams that show the same; without `shown` they count new entries.

    `cost` is the processor time that the page took last, `spent` what the bot had used by then.
    """

    shown: Shown | None
    followers: list[Follower] = field(default_factory=list)
    looks: Mapping[str, str] = field(default_factory=dict)
    news: tuple[int, int] = (0, 0)
    idle: int = 0
    cost: float = 0.0
    spent: float = 0.0

    def news_in(self, tail: Tail) -> tuple[int, int]:
        """How much of what the page shows was written, and how much that may not wait."""
        rule = self.shown.rule if self.shown else ""
        return (tail.rules[rule] if rule else tail.entries), tail.urgent

    def end(self) -> None:
        for each in self.followers:
            each.end()


class Hub:
    """The open streams, and the task that looks for them.

    `closing` ends them all, so that a stop need not wait for browsers. `cpu` is the processor time
    of the present thread, `spent` that of the process.
    """

    def __init__(
        self,
        facts: Facts,
        reader: Reader,
        tail: Tail,
        cpu: Callable[[], float] = time.thread_time,
        spent: Callable[[], float] = time.process_time,
    ) -> None:
        self._facts, self._reader, self._tail = facts, reader, tail
        self.cpu, self.spent = cpu, spent
        self._recorded, self._looks = -1, 0
        self._topics: dict[str, _Topic] = {}
        self._task: asyncio.Task[None] | None = None
        self._rest = 0
        self.closing = asyncio.Event()

    @property
    def open(self) -> int:
        """How many streams are open."""
        return sum(len(topic.followers) for topic in self._topics.values())

    async def check(self, shown: Shown | None) -> None:
        """Raise HTTPException if there is no such rule, or no place.

        Nothing is read of a page: many browsers may open it at the same moment, and the next look
        reads it for all of them.
        """
        if self.open >= MOST:
            raise HTTPException(503, "all streams are taken", {"retry-after": "15"})
        if shown is None:
            await self._reader.read(self._tail.read)
        elif shown.rule and all(it.id != shown.rule for it in self._facts.rules().written):
            raise HTTPException(404)

    async def events(self, key: str, shown: Shown | None) -> AsyncIterator[bytes]:
        """The events of a new stream. Streams with the same key show the same."""
        with self._joined(key, shown) as follower:
            async for events in follower.events():
                yield events

    @contextmanager
    def _joined(self, key: str, shown: Shown | None) -> Iterator[Follower]:
        topic = self._topics.setdefault(key, _Topic(shown))
        follower = Follower(self._tail.entries if shown is None else None)
        topic.followers.append(follower)
        if self.closing.is_set() or self.open > MOST:  # several have begun at once
            follower.end()
        elif self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look_again_and_again())
        try:
            yield follower
        finally:
            topic.followers.remove(follower)
            if not topic.followers and self._topics.get(key) is topic:
                del self._topics[key]

    async def close(self) -> None:
        """End all streams, and wait until nothing is read for them any more."""
        self.closing.set()
        if self._task is not None:
            await self._task

    async def _look_again_and_again(self) -> None:
        try:
            while self._topics and await self._pause():
                try:
                    await self._look()
                except StoreError:
                    continue  # the page itself says so when it is loaded again
        except Exception as error:
            log.exception("web.internal_error", path="/api", exc_info=error)
        finally:
            for topic in self._topics.values():
                topic.end()

    async def _pause(self) -> bool:
        """Wait for the next look; false if the streams end."""
        try:
            async with asyncio.timeout(EVERY):
                await self.closing.wait()
        except TimeoutError:
            return True
        return False

    async def _look(self) -> None:
        await self._read_tail()
        self._rest = max(0, self._rest - 1)
        due = {}
        for topic in [*self._topics.values()]:
            topic.idle += 1
            if topic.shown is None:
                self._count(topic.followers)
            elif self._is_due(topic):
                due[topic] = topic.shown
        if due:
            self._rest = min(MOST_REST, ceil(await self._show(due) / COST))
        for topic in self._topics.values():
            for each in topic.followers:
                each.quiet += 1
                if each.quiet >= KEEP_ALIVE:
                    each.send(b": keep-alive\n\n")

    async def _read_tail(self) -> None:
        """Read what is new in the audit log, unless nobody can have written to it."""
        store = self._facts.store
        recorded, self._looks = store.recorded, self._looks + 1
        if recorded != self._recorded or store.sharing.shares or self._looks % OTHERS == 0:
            await self._reader.read(self._tail.read)
            self._recorded = recorded

    def _is_due(self, topic: _Topic) -> bool:
        """Whether the page is read again: it is new, old, or there is news of it.

        Matches and their actions wait until pages have rested; troubles and people don't.
        """
        if topic.idle >= MOST_IDLE or any(each.told is None for each in topic.followers):
            return True
        written, urgent = topic.news_in(self._tail)
        if urgent != topic.news[1] or (not self._rest and written != topic.news[0]):
            return True
        cost = sum(each.cost for each in self._topics.values())
        return topic.idle >= IDLE and cost <= SHARE * (self.spent() - topic.spent)

    def _count(self, followers: Sequence[Follower]) -> None:
        """Tell how many entries are new."""
        entries, events = self._tail.entries, dict[int, bytes]()
        for each in followers:
            if new := entries - (each.told or 0):
                if new not in events:
                    events[new] = _event("entry", {"seq": self._tail.last, "entries": new})
                each.told = entries
                each.send(events[new])

    async def _show(self, due: Mapping[_Topic, Shown]) -> float:
        """Send what has changed; returns how much processor time that took."""
        news = {topic: topic.news_in(self._tail) for topic in due}
        cost, views = await self._read(due)
        began = self.cpu()
        for topic, view in views.items():
            topic.idle, topic.news, topic.spent = 0, news[topic], self.spent()
            try:
                parts = None if view is None else due[topic].parts(view)
            except Exception as error:
                log.exception("web.internal_error", path="/api", exc_info=error)
                parts = None
            if parts is None:  # the rule is gone, as a new stream is told
                topic.end()
            else:
                _send_changes(topic, parts)
        cost += self.cpu() - began
        for topic in views:
            topic.cost = cost / len(views)
        return cost

    async def _read(self, due: Mapping[_Topic, Shown]) -> tuple[float, Mapping[_Topic, Any]]:
        """What the pages show, all from one state of the store, and how long that took.

        Pages that take too long together are read each by itself. One that can't be read ends its
        own streams, not those of others; one that takes too long is missing, and due again.
        """

        def work(conn: Connection) -> tuple[float, Mapping[_Topic, Any]]:
            began = self.cpu()
            views = dict(zip(due, self._views(conn, [*due.values()]), strict=True))
            return self.cpu() - began, views

        try:
            return await self._reader.read(work)
        except StoreBusy:
            if len(due) == 1:
                return 0.0, {}
        except StoreError:
            raise
        except Exception as error:
            if len(due) == 1:
                log.exception("web.internal_error", path="/api", exc_info=error)
                return 0.0, dict.fromkeys(due)
        cost, views = 0.0, dict[_Topic, Any]()
        for topic, shown in due.items():
            if not self.closing.is_set():
                more, view = await self._read({topic: shown})
                cost, views = cost + more, {**views, **view}
        return cost, views

    def _views(self, conn: Connection, shown: Sequence[Shown]) -> list[Any]:
        seen = world(conn, self._facts)
        return [each.read(seen) for each in shown]


def _send_changes(topic: _Topic, parts: Mapping[str, str]) -> None:
    """Send each part that looks different from before; to new streams all of them.

    The page may have changed between its load and the beginning of the stream.
    """
    looks = {part: _COUNTS_ON.sub(">", html) for part, html in parts.items()}
    new = any(each.told is None for each in topic.followers)
    changed = [part for part, look in looks.items() if topic.looks.get(part) != look]
    events = {
        part: _event("part", {"id": part, "html": parts[part]})
        for part in (looks if new else changed)
    }
    whole, news = b"".join(events.values()), b"".join(events[part] for part in changed)
    for each in topic.followers:
        if event := whole if each.told is None else news:
            each.send(event)
        each.told = 0
    topic.looks = looks


_COUNTS_ON = re.compile(r" data-rel>[^<]*")
"""Relative times, which the script counts on by itself."""


def _event(name: str, data: dict[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))


async def stream(request: Request, hub: Hub, key: str, shown: Shown | None) -> Response:
    """The stream of one page; without `shown` it counts new entries of the audit log."""
    await hub.check(shown)
    headers = {"x-accel-buffering": "no"}
    kind = "text/event-stream"
    if request.method == "HEAD":  # it has no body, so its stream would never end
        return Response(b"", 200, headers, media_type=kind)
    return StreamingResponse(hub.events(key, shown), 200, headers, media_type=kind)
