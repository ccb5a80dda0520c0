"""Says once that something fails, once that it works again, and stays silent in between.

The log hears of each thing, the ops channel of what lasts, and `status` of what fails now.
"""

from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

import msgspec
import structlog

from bot.errors import BadCredentials, StoreError, TryLater
from bot.messages.text import lasting
from bot.polling.ops_messages import announce
from bot.store import Connection, Store
from bot.store.recordings import set_watermark, watermark
from mouseflow.errors import MouseflowError

log = structlog.get_logger(__name__)

QUIET = timedelta(minutes=5)
"""While one thing fails in several ways by turns, a line about it comes this often at most.

What has failed for so long is told to people, who may take a shorter trouble for none.
"""

MANY = 10
"""While more than these fail, no line tells of each: something larger is out of order."""

MOST_KEPT = 50
"""So many of what fails are kept for `status`; of the others only how many there are."""

SITES = "websites"
"""The name of the look for the account's websites: every start begins with it."""

RECORDINGS = "recordings of "
"""How the names of those looks begin that come most often."""

OUTAGES = "outages"
"""The source under which the store keeps what fails, for no website."""

Trouble = Literal["key", "away", "other"]
"""The key is refused, the API (or the way to it) is out of order, or anything else."""


class Failing(msgspec.Struct, frozen=True, kw_only=True):
    """One look that fails: how and why last time, since when, how often in a row."""

    what: str
    kind: str
    trouble: Trouble
    reason: str
    since: datetime
    times: int


class Kept(msgspec.Struct, frozen=True):
    """What the store keeps: the first of what fails, how many there are, and what was told."""

    failing: tuple[Failing, ...] = ()
    things: int = 0
    told: dict[Trouble, datetime] = {}


@dataclass(frozen=True, slots=True)
class Word:
    """What people are to be told."""

    title: str
    lines: Sequence[str]


@dataclass(slots=True)
class Outages:
    """What fails at present, by name.

    `told` is when a line told of each; `silent` are those that none has told of, because very
    many fail: since the first of `wide`, and as many as the second says. `people` has the
    troubles that people know of, with their beginnings, `over` when each was over last.
    """

    failing: dict[str, Failing] = field(default_factory=dict)
    told: dict[str, datetime] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    wide: tuple[datetime, int] | None = None
    people: dict[Trouble, datetime] = field(default_factory=dict)
    over: dict[Trouble, datetime] = field(default_factory=dict)

    def failed(self, name: str, error: Exception, now: datetime) -> bool:
        """Note a failure; true where it is news: the first one, or another kind of it."""
        kind = kind_of(error)
        known = self.failing.get(name)
        since, times = (known.since, known.times) if known else (now, 0)
        self.failing[name] = Failing(
            what=name, kind=kind, trouble=trouble(error), reason=str(error) or kind,
            since=since, times=times + 1,
        )  # fmt: skip
        if known and (known.kind == kind or now - self.told.get(name, since) < QUIET):
            return False
        if len(self.failing) > MANY:
            if known is None:
                self.silent.add(name)
            self._widely(str(error), now)
            return False
        self.told[name] = now
        log.warning("poll.failing", what=name, reason=str(error))
        return True

    def works(self, name: str, now: datetime) -> bool:
        """Note a success; true where it ends an outage."""
        known = self.failing.pop(name, None)
        if known is None:
            return False
        if name not in self.silent:
            log.info("poll.recovered", what=name, failures=known.times,
                     seconds=_seconds(now - known.since))  # fmt: skip
        self.silent.discard(name)
        if self.wide and len(self.failing) <= MANY // 2:
            since, things = self.wide
            log.info("poll.recovered_widely", things=things, seconds=_seconds(now - since),
                     still=sorted(self.failing))  # fmt: skip
            self.wide = None
            self.silent.clear()
        return True

    def begun(self, name: str, now: datetime) -> Word | None:
        """What people must hear of after that failure, each trouble once.

        A refused key at once, anything else when it lasts.
        """
        kind = self.failing[name].trouble
        if kind in self.people or (kind in self.over and now - self.over[kind] < QUIET):
            return None
        alike = [it for it in self.failing.values() if it.trouble == kind]
        since = min(it.since for it in alike)
        if kind != "key" and now - since < QUIET:
            return None
        self.people[kind] = since
        return Word(_BEGUN[kind].format(since=f"{since:%H:%M} UTC"), _lines(kind, alike))

    def ended(self, name: str, ended: bool, now: datetime) -> Word | None:
        """What people must hear of after a success, which has `ended` an outage or not."""
        if not ended and name != SITES:  # it may not have asked anything
            return None
        # What is looked at more seldom has not been tried again yet.
        like = RECORDINGS if name.startswith(RECORDINGS) else ""
        left = {it.trouble for it in self.failing.values() if it.what.startswith(like)}
        # Each key is good for all calls or for none.
        over = {it: at for it, at in self.people.items() if it == "key" or it not in left}
        if not over:
            return None
        for each in over:
            del self.people[each]
            self.over[each] = now
        since = min(over.values())
        return Word(
            _ENDED["other" if set(over) == {"other"} else "away"],
            (
                f"It had failed since {since:%d %b %Y %H:%M} UTC, for {lasting(now - since)}. What "
                "was missed is caught up; posts about matches older than their rule's act_up_to "
                "come in one digest.",
            ),
        )

    def keep_only(self, names: Set[str]) -> bool:
        """Nothing else is looked at any more; true where something of it failed."""
        gone = self.failing.keys() - names
        for name in gone:
            del self.failing[name]
        self.silent &= names
        return bool(gone)

    def kept(self) -> Kept:
        """What the store is to keep: the longest failing come first."""
        first = sorted(self.failing.values(), key=lambda it: (it.since, it.what))[:MOST_KEPT]
        return Kept(tuple(first), len(self.failing), dict(self.people))

    def _widely(self, reason: str, now: datetime) -> None:
        if self.wide is None:
            log.warning("poll.failing_widely", things=len(self.failing), reason=reason)
        since, things = self.wide or (now, 0)
        self.wide = (since, max(things, len(self.failing)))


_BEGUN: dict[Trouble, str] = {
    "key": "Mouseflow refuses the key: nothing is read",
    "away": "Mouseflow cannot be read since {since}",
    "other": "Some polls fail since {since}",
}
_ENDED = {"away": "Mouseflow is read again", "other": "All polls work again"}
_AFTER: dict[Trouble, str] = {
    "key": "Mend mouseflow.email or mouseflow.api_key, then restart the bot; it tries now and "
    "then by itself. What is missed meanwhile is caught up.",
    "away": "The bot tries again by itself; what is missed meanwhile is caught up.",
    "other": "The bot tries again by itself; `mouseflow-bot status` tells what fails.",
}


def _lines(kind: Trouble, alike: Sequence[Failing]) -> tuple[str, ...]:
    some = alike[:1] if kind == "key" else alike[:3]
    more = [f"and {len(alike) - 3} more"] if kind != "key" and len(alike) > 3 else []
    return (*(f"{it.what}: {it.reason}" for it in some), *more, _AFTER[kind])


def kind_of(error: Exception) -> str:
    """The class name of the error, or of the client's error that caused it."""
    cause = error.__cause__
    return type(cause if isinstance(cause, MouseflowError) else error).__name__


def trouble(error: Exception) -> Trouble:
    """What kind of trouble that is."""
    if isinstance(error, BadCredentials):
        return "key"
    return "away" if isinstance(error, TryLater) else "other"


def written(text: str | None) -> Kept:
    """What was written down; nothing where another version wrote something else."""
    try:
        return msgspec.json.decode(text, type=Kept) if text else Kept()
    except msgspec.MsgspecError:
        return Kept()


class Troubles:
    """The outages of a daemon, as the store keeps them and people hear of them.

    `ops` is the channel to tell, None: nobody; `wake` is called when a post is in the outbox.
    """

    def __init__(
        self,
        store: Store,
        *,
        ops: str | None,
        wake: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._outages = Outages()
        self._store, self._ops, self._wake, self._clock = store, ops, wake, clock

    @property
    def failing(self) -> list[str]:
        """The names of what fails."""
        return list(self._outages.failing)

    @property
    def are_known(self) -> bool:
        """Whether people have been told that nothing is read, and not yet of the end."""
        return not self._outages.people.keys().isdisjoint(("key", "away"))

    async def remember(self) -> None:
        """At the start: what people were told of before is not told again, but its end is."""
        text = await self._store.run(partial(watermark, source=OUTAGES, website=""))
        self._outages.people = dict(written(text).told)
        await self._keep(None)

    async def failed(self, name: str, error: Exception) -> bool:
        """Note that a look failed; true where that is news. People hear of what lasts."""
        now = self._clock()
        known = self._outages.failing.get(name)
        news = self._outages.failed(name, error, now)
        word = self._outages.begun(name, now)
        if word or known is None or known.kind != kind_of(error):
            await self._keep(word)
        return news

    async def works(self, name: str) -> bool:
        """Note that a look went well; true where people are told of an end."""
        now = self._clock()
        ended = self._outages.works(name, now)
        word = self._outages.ended(name, ended, now)
        if ended or word:
            await self._keep(word)
        return word is not None

    async def keep_only(self, names: Set[str]) -> None:
        """Nothing else is looked at any more."""
        if self._outages.keep_only(names):
            await self._keep(None)

    async def _keep(self, word: Word | None) -> None:
        data, now = msgspec.json.encode(self._outages.kept()).decode(), self._clock()

        def work(conn: Connection) -> None:
            set_watermark(conn, OUTAGES, "", data, now)
            if word:
                announce(conn, word.title, word.lines, now, self._ops)

        with suppress(StoreError):  # the next poll meets it, too, and the log says so
            await self._store.run(work)
            if word:
                self._wake()


def _seconds(length: timedelta) -> int:
    return round(length.total_seconds())
