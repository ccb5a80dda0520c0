"""A world of fakes to deliver into: it keeps what took effect, and fails as it is told."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Literal

from bot.actions.base import Action, Done, Later
from bot.actions.notifier import AtMost
from bot.delivery import DEFAULT_TIMING, Delivery, Drained, Timing
from bot.delivery.troubles import Ops
from bot.domain.limits import Posting
from bot.domain.step import Rank
from bot.domain.subjects import RecordingSubject, Site, written
from bot.errors import TryLater
from bot.messages.ops import Notice
from bot.ports import Addresses, CannotLook, Ports, SlackPost, Task
from bot.store import Store
from bot.store.matches import NewMatch, NewStep, PollOutcome, commit_poll
from mouseflow.models import Recording

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(**{u: 1}) for u in ("seconds", "minutes", "hours", "days"))
SITE = Site("w1", "shop.example")


class Clock:
    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        self.now += by


class Write(Action):
    kind: ClassVar[str] = "write"
    name: str = ""

    async def perform(self, task: Task, ports: Ports) -> Done:
        return await ports.mouseflow.send((self, task))


class Share(Write):
    kind: ClassVar[str] = "share"
    rank: ClassVar[Rank] = Rank.SHARE
    expires: timedelta | None = None


class Unshare(Write):
    kind: ClassVar[str] = "unshare"
    rank: ClassVar[Rank] = Rank.SHARE


class Post(Write):
    kind: ClassVar[str] = "slack"
    rank: ClassVar[Rank] = Rank.POST
    channel: str = "#alerts"
    at_most: AtMost | None = None
    overflow: Literal["digest", "drop"] = "digest"

    def lane(self, subject, default_channel):
        return f"slack:{self.channel}"


class Delete(Write):
    kind: ClassVar[str] = "delete"
    rank: ClassVar[Rank] = Rank.DELETE
    irreversible: ClassVar[bool] = True


ACTIONS: dict[str, type[Action]] = {
    each.kind: each for each in (Write, Share, Unshare, Post, Delete)
}


class World:
    """Mouseflow to the actions above. `faults` holds, by name of step, what goes wrong next.

    A fault is an exception to raise before the effect, or a coroutine function to await.
    """

    def __init__(self) -> None:
        self.tried: list[str] = []
        self.done: list[str] = []
        self.tasks: list[Task] = []
        self.faults: dict[str, deque] = {}

    def fail(self, name: str, *faults: object) -> None:
        self.faults.setdefault(name, deque()).extend(faults)

    async def send(self, asked: tuple[Write, Task]) -> Done:
        action, task = asked
        self.tried.append(action.name)
        self.tasks.append(task)
        fault = self._fault(action.name)
        if isinstance(fault, BaseException):
            raise fault
        if fault is not None:
            await fault()
        self.done.append(action.name)
        follow = ()
        if isinstance(action, Share) and action.expires:
            follow = (Later(Unshare(name=f"un{action.name}"), action.expires),)
        return Done(f"did {action.name}", "tok" if action.kind == "share" else None, follow)

    def _fault(self, name: str) -> object:
        waiting = self.faults.get(name) or self.faults.get("*")
        return waiting.popleft() if waiting else None


class SlackWorld:
    """Slack's port: keeps every message; `lost` answers get lost after the post has arrived."""

    def __init__(self, lost: int = 0, blind: bool = False) -> None:
        self.messages: list[SlackPost] = []
        self.lost = lost
        self.blind = blind

    async def post(self, post: SlackPost) -> str:
        self.messages.append(post)
        if self.lost:
            self.lost -= 1
            raise TryLater("the connection was dropped", unknown=True)
        return str(len(self.messages))

    async def find(self, channel: str, key: str, since: datetime, thread: str = "") -> str | None:
        if self.blind:
            raise CannotLook
        keys = [(message.channel, message.key) for message in self.messages]
        return str(keys.index((channel, key))) if (channel, key) in keys else None


class NoWebhook:
    async def call(self, url, body, headers, secret=None) -> None:
        raise AssertionError("nothing here calls out")


def step(action: Write, key: str, due: datetime = NOW) -> NewStep:
    return NewStep(
        key=key,
        rank=action.rank,
        lane=action.lane(subject("x"), ""),
        kind=action.kind,
        params=action.stored(),
        due=due,
    )


def subject(key: str) -> RecordingSubject:
    return RecordingSubject(website=SITE, recording=Recording(id=key, visitor_id="visitor-4711"))


def match(
    key: str,
    *actions: Action,
    at: datetime = NOW,
    rule: str = "rule",
    posting: Posting | None = None,
) -> NewMatch:
    name = f"{rule}/w1/{key}"
    steps = [step(each, f"{name}/{each.kind}-{n}", at) for n, each in enumerate(actions, 1)]
    return NewMatch(
        rule=rule,
        kind="recordings",
        website="w1",
        subject_key=key,
        match_key=name,
        subject=written(subject(key)),
        matched=at,
        steps=steps,
        why=("because",),
        summary="A rule",
        posting=posting or Posting(),
    )


def add(store: Store, *matches: NewMatch, at: datetime = NOW) -> None:
    outcome = PollOutcome(source="recordings", website="w1", at=at, matches=matches)
    store.do(lambda conn: commit_poll(conn, outcome))


class Bench:
    """Everything a delivery needs, on a clock that only moves when it is told."""

    def __init__(self, store: Store, *, slack: SlackWorld | None = None, actions=ACTIONS) -> None:
        self.store = store
        self.clock = Clock()
        self.world = World()
        self.slack = slack or SlackWorld()
        self.actions = actions
        self._timed: Timing | None = None
        self.forbidden = ""
        self.told: list[str] = []
        self.ports = Ports(self.world, self.slack, NoWebhook(), Addresses(channel="#usual"))

    def add(self, *matches: NewMatch) -> None:
        add(self.store, *matches, at=self.clock())

    async def drain(self, timing: Timing = DEFAULT_TIMING) -> Drained:
        if self._timed != timing:
            self._timed, self._delivery = timing, self.delivery(timing)
        return await self._delivery.drain()

    async def drain_for(self, span: timedelta, tick: timedelta) -> None:
        end = self.clock() + span
        while self.clock() < end:
            await self.drain()
            self.clock.advance(tick)

    def delivery(self, timing: Timing, store: Store | None = None) -> Delivery:
        return Delivery(
            store or self.store,
            self.ports,
            self.actions,
            clock=self.clock,
            chance=lambda: 1.0,
            timing=timing,
            allows=lambda _rule, _action: self.forbidden or None,
            ops=Ops("#ops", self._hear),
        )

    def _hear(self, _conn, notice: Notice, _now: datetime) -> None:
        said = (notice.title, *notice.lines, notice.grey)
        self.told.append("\n".join(filter(None, said)))


async def until(condition: Callable[[], object]) -> None:
    """Wait a moment at a time until it is so; the test's own time-out guards it."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - anything can be asked, not only an event
            await asyncio.sleep(0.001)


def names(steps: Sequence) -> list[str]:
    return [each.key.rsplit("/", 1)[-1] for each in steps]
