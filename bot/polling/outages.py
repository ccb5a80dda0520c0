"""Outages: logged once when something fails and once when it works again.

The log names each failing poll, the ops channel gets what lasts, `status` shows what fails now.
"""

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

import msgspec
import structlog
from msgspec import Struct

from bot.errors import BadCredentials, StoreError, TryLater
from bot.messages.ops import instant, turned
from bot.messages.text import counted, lasting, without_answer
from bot.polling.ops_messages import amend, announce
from bot.polling.record_matches import NOTHING, Caught
from bot.store import Connection, Store
from bot.store.recordings import forget_watermark, set_watermark, watermark, watermarks_of
from mouseflow.errors import MouseflowError

log = structlog.get_logger(__name__)

QUIET = timedelta(minutes=5)
"""An outage that lasts this long is announced to people.

If one poll fails in several ways in turn, it is logged this often at most.
"""

MANY = 4
"""If more polls than this fail, the log does not name each: the cause is a larger one."""

MOST_KEPT = 50
"""Failing polls to keep for `status`; of the others only their number."""

SITES = "websites"
"""The name of the poll for the account's websites: every start begins with it."""

RECORDINGS = "recordings of "
"""How the names of the most frequent polls begin."""

OUTAGES = "outages"
"""The source under which the store keeps failing polls, for no website."""

Trouble = Literal["key", "away", "store", "other"]
"""The API key is rejected, the API is down, the store can't be written, or anything else."""


OF_ACCOUNT: Set[Trouble] = frozenset({"away", "key"})
"""No poll works while one of these lasts, and one may turn into the other."""


class Failing(msgspec.Struct, frozen=True, kw_only=True):
    """A failing poll: how and why it failed last, since when, how often in a row."""

    what: str
    kind: str
    trouble: Trouble
    reason: str
    since: datetime
    times: int


class Kept(msgspec.Struct, frozen=True):
    """What the store keeps: the first failing polls, how many there are, what was announced.

    `turned` of what was announced has become another trouble, and its message says so.
    Of a bot that another one leads, `caught` is what the polls brought that work again.
    """

    failing: tuple[Failing, ...] = ()
    things: int = 0
    announced: dict[Trouble, datetime] = {}
    caught: dict[str, Caught] = {}
    turned: tuple[Trouble, ...] = ()


class Announcement(Struct, frozen=True):
    """A message for the ops channel: of a trouble that begins, or of the end of some (`ends`).

    Each of these has a message of its beginning, which it answers. `instead` are those that have
    turned into this one, with their beginnings.
    """

    title: str
    lines: Sequence[str]
    about: tuple[Trouble, ...]
    ends: bool = False
    instead: Sequence[tuple[Trouble, datetime]] = ()
    grey: str = ""


@dataclass(slots=True)
class Outages:
    """The polls that fail now, by name.

    `logged` is when each was logged; `unlogged` are those that were not, because very many fail:
    `widespread` is since when, and how many. `announced` has the troubles that people know of,
    with their beginnings; `ended` is when each ended last. `turned` of them became another one, and
    `lately` is the account's trouble that a poll met last, and since when. `caught` is what the
    first poll after an outage has brought, by name, until the end of the outage is announced.
    """

    failing: dict[str, Failing] = field(default_factory=dict)
    logged: dict[str, datetime] = field(default_factory=dict)
    unlogged: set[str] = field(default_factory=set)
    widespread: tuple[datetime, int] | None = None
    announced: dict[Trouble, datetime] = field(default_factory=dict)
    ended: dict[Trouble, datetime] = field(default_factory=dict)
    turned: set[Trouble] = field(default_factory=set)
    lately: tuple[Trouble, datetime] | None = None
    caught: dict[str, Caught] = field(default_factory=dict)

    def failed(self, name: str, error: Exception, now: datetime) -> bool:
        """Note a failure; true if it was logged: the first one, or one of another kind."""
        kind = kind_of(error)
        known = self.failing.get(name)
        since, times = (known.since, known.times) if known else (now, 0)
        self.failing[name] = Failing(
            what=name, kind=kind, trouble=trouble(error), reason=str(error) or kind,
            since=since, times=times + 1,
        )  # fmt: skip
        self.met(self.failing[name], now)
        if known and (known.kind == kind or now - self.logged.get(name, since) < QUIET):
            return False
        if len(self.failing) > MANY:
            if known is None:
                self.unlogged.add(name)
            self._widely(str(error), now)
            return False
        self.logged[name] = now
        log.warning("poll.outage", what=name, reason=str(error))
        return True

    def met(self, failing: Failing, now: datetime) -> None:
        """Note what the account's trouble is now."""
        kind = failing.trouble
        if kind in OF_ACCOUNT and (self.lately is None or self.lately[0] != kind):
            self.lately = kind, now

    def works(self, name: str, now: datetime, caught: Caught = NOTHING) -> bool:
        """Note a success and what it brought; true if it ends an outage."""
        self.lately = None
        known = self.failing.pop(name, None)
        if known is not None or self.announced:
            before = self.caught.get(name, NOTHING)
            self.caught[name] = Caught(
                before.recordings + caught.recordings, before.matches + caught.matches
            )
        if known is None:
            return False
        if name not in self.unlogged and not self.widespread:
            log.info("poll.recovered", what=name, failures=known.times,
                     seconds=_seconds(now - known.since))  # fmt: skip
        self.unlogged.discard(name)
        if self.widespread and len(self.failing) <= MANY // 2:
            since, things = self.widespread
            log.info("poll.recovered_widespread", things=things, seconds=_seconds(now - since),
                     still=sorted(self.failing))  # fmt: skip
            self.widespread = None
            self.unlogged.clear()
        return True

    def to_announce(self, name: str, now: datetime) -> Announcement | None:
        """What to announce after that failure, each trouble once.

        A rejected key at once, anything else when it lasts. A trouble of the account that turns
        into the other one is over with that, also if it comes back: each is told once.
        """
        kind = self.failing[name].trouble
        if kind == "store":
            return None  # the daemon tells people itself, without the store
        if kind in self.announced or (kind in self.ended and now - self.ended[kind] < QUIET):
            return None
        alike = [it for it in self.failing.values() if it.trouble == kind]
        since = min(it.since for it in alike)
        if kind != "key" and now - since < QUIET:
            return None
        before = self.announced.keys() & OF_ACCOUNT if kind in OF_ACCOUNT else ()
        if before and kind != "key" and (not self.lately or now - self.lately[1] < QUIET):
            return None
        self.announced[kind] = since
        self.turned.update(before)
        return Announcement(
            _BEGUN[kind].format(since=instant(since)),
            _lines(kind, alike),
            (kind,),
            instead=[(it, began) for it, began in self.announced.items() if it in before],
        )

    def recovery(self, name: str, recovered: bool, now: datetime) -> Announcement | None:
        """What to announce after a success, which ended an outage if `recovered`."""
        if not recovered and name != SITES:  # it may not have asked anything
            return None
        # Less frequent polls have not been retried yet.
        like = RECORDINGS if name.startswith(RECORDINGS) else ""
        left = {it.trouble for it in self.failing.values() if it.what.startswith(like)}
        # A key is valid for all calls or for none.
        over = {it: at for it, at in self.announced.items() if it == "key" or it not in left}
        if not over:
            if not self.failing and not self.announced:
                self.caught.clear()
            return None
        for each in over:
            del self.announced[each]
            self.ended[each] = now
        since = min(over.values())
        answered = [it for it in over if it not in self.turned]
        self.turned -= over.keys()
        if not answered:  # what they turned into is not over
            return None
        caught = _caught_up(self.caught)
        self.caught.clear()
        ended = _ENDED["other" if set(over) == {"other"} else "away"]
        return Announcement(
            f"{ended} after {lasting(now - since)}",
            (caught,),
            tuple(sorted(answered, key=lambda it: over[it])),
            ends=True,
            grey=f"{instant(since)} to {instant(now)}",
        )

    def keep_only(self, names: Set[str]) -> bool:
        """Forget all other polls, which are no longer made; true if one of them failed."""
        gone = self.failing.keys() - names
        for name in gone:
            del self.failing[name]
        self.unlogged &= names
        return bool(gone)

    def kept(self) -> Kept:
        """What to store: those that have failed longest come first."""
        first = sorted(self.failing.values(), key=lambda it: (it.since, it.what))[:MOST_KEPT]
        announced, turned = dict(self.announced), tuple(sorted(self.turned))
        return Kept(tuple(first), len(self.failing), announced, turned=turned)

    def _widely(self, reason: str, now: datetime) -> None:
        if self.widespread is None:
            log.warning("poll.outage_widespread", things=len(self.failing), reason=reason)
        since, things = self.widespread or (now, 0)
        self.widespread = (since, max(things, len(self.failing)))


def _caught_up(by_poll: Mapping[str, Caught]) -> str:
    """What was caught up: `214 recordings of 2 websites, 3 matches`."""
    sites = [it for name, it in by_poll.items() if name.startswith(RECORDINGS) and it.recordings]
    recordings = sum(it.recordings for it in sites)
    matches = sum(it.matches for it in by_poll.values())
    if not recordings and not matches:
        return "Caught up: nothing new came meanwhile."
    told = [counted(recordings, "recording")] if recordings else []
    if len(sites) > 1:
        told[0] += f" of {len(sites)} websites"
    older = "What is too old to be posted alone comes in digests."
    return f"Caught up: {', '.join((*told, counted(matches, 'match', 'matches')))}. {older}"


_BEGUN: dict[Trouble, str] = {
    "key": "🛑 Mouseflow rejected the API key: nothing is being polled since {since}",
    "away": "🛑 Mouseflow can't be reached since {since}",
    "store": "🛑 The store can't be written since {since}",
    "other": "🔶 Some polls have been failing since {since}",
}
_NAMES: dict[Trouble, str] = {
    "key": "Mouseflow rejected the API key",
    "away": "Mouseflow can't be reached",
}
_ENDED = {"away": "✅ Mouseflow is reachable again", "other": "✅ All polls work again"}
_AFTER: dict[Trouble, str] = {
    "key": "Fix mouseflow.email or mouseflow.api_key, then reload with SIGHUP or restart. Until "
    "then the bot retries now and then. It will catch up on what it misses.",
    "away": "The bot keeps retrying. It will catch up on what it misses.",
    "store": "The bot keeps retrying. It will catch up on what it misses.",
    "other": "The bot keeps retrying. `mouseflow-bot status` shows which polls fail.",
}


def _lines(kind: Trouble, alike: Sequence[Failing]) -> tuple[str, ...]:
    """One line for each reason: which polls, and which status was answered."""
    polls: dict[str, list[str]] = {}
    for each in alike:
        polls.setdefault(without_answer(each.reason), []).append(each.what)
    shown = [
        f"{names[0] if len(names) == 1 else counted(len(names), 'poll')}: {reason}"
        for reason, names in list(polls.items())[:3]
    ]
    if kind == "key":  # the headline says it
        return (_AFTER[kind],)
    more = [f"and {len(polls) - 3} more"] if len(polls) > 3 else []
    return (*shown, *more, _AFTER[kind])


def kind_of(error: Exception) -> str:
    """The class name of the error, or of the client's error that caused it."""
    cause = error.__cause__
    return type(cause if isinstance(cause, MouseflowError) else error).__name__


def trouble(error: Exception) -> Trouble:
    """What kind of trouble the error is."""
    if isinstance(error, BadCredentials):
        return "key"
    if isinstance(error, StoreError):
        return "store"
    return "away" if isinstance(error, TryLater) else "other"


def written(text: str | None) -> Kept:
    """What was stored; nothing if another version stored something else."""
    try:
        return msgspec.json.decode(text, type=Kept) if text else Kept()
    except msgspec.MsgspecError:
        return Kept()


def account_fails(conn: Connection) -> bool:
    """Whether polls fail because Mouseflow is down or rejects the API key."""
    kept = written(watermark(conn, OUTAGES, ""))
    return any(each.trouble != "other" for each in kept.failing)


def long_failing(conn: Connection, now: datetime, longer: timedelta) -> str | None:
    """A poll that has failed for longer, and why; None if there is none."""
    failing = written(watermark(conn, OUTAGES, "")).failing
    first = min(failing, key=lambda it: it.since, default=None)
    return f"{first.what} fails: {first.reason}" if first and now - first.since > longer else None


def of_others(conn: Connection, alive: Collection[str]) -> tuple[Kept, ...]:
    """The outages of the bots that this one leads; those of bots that are gone are deleted."""
    found = []
    for mark, text in watermarks_of(conn, OUTAGES).items():
        if mark in alive:
            found.append(written(text))
        elif mark:
            forget_watermark(conn, OUTAGES, mark)
    return tuple(found)


class Troubles:
    """The outages of a daemon: stored for `status`, announced in the ops channel.

    `ops` is that channel, None for none; `wake` is called when a post is in the outbox. Messages
    show times in `zone`. Of the bots that share a store, the one that leads announces those of all,
    once it knows what was told.
    """

    def __init__(
        self,
        store: Store,
        *,
        ops: str | None,
        wake: Callable[[], None],
        clock: Callable[[], datetime],
        zone: str = "UTC",
    ) -> None:
        self._outages = Outages()
        self._zone = zone
        self._store, self._ops, self._wake, self._clock = store, ops, wake, clock
        self._heard: frozenset[str] = frozenset()
        self._announces = not store.sharing.shares

    @property
    def failing(self) -> list[str]:
        """The names of what fails."""
        return list(self._outages.failing)

    @property
    def are_announced(self) -> bool:
        """Whether an outage of everything is announced, and its end is not yet."""
        return not self._outages.announced.keys().isdisjoint(("key", "away"))

    async def remember(self) -> None:
        """At the start: what was announced before is not announced again, but its end is.

        A bot that leads from now on begins so, too.
        """
        text = await self._store.run(partial(watermark, source=OUTAGES, website=""))
        kept = written(text)
        self._outages.announced, self._outages.turned = dict(kept.announced), set(kept.turned)
        if not self._outages.announced:
            self._outages.caught.clear()
        self._announces = True
        await self._keep(None)

    async def failed(self, name: str, error: Exception) -> bool:
        """Note that a poll failed; true if that was logged. Announces what lasts."""
        now = self._clock()
        known = self._outages.failing.get(name)
        news = self._outages.failed(name, error, now)
        if known is None and not self._announces:  # the one that leads has counted it
            self._outages.caught.pop(name, None)
        message = self._outages.to_announce(name, now) if self._announces else None
        if message or known is None or known.kind != kind_of(error):
            await self._keep(message)
        return news

    async def works(self, name: str, caught: Caught = NOTHING) -> bool:
        """Note that a poll succeeded, and what it brought; true if the end of an outage is
        announced.
        """
        now = self._clock()
        ended = self._outages.works(name, now, caught)
        message = self._outages.recovery(name, ended, now) if self._announces else None
        if ended or message:
            await self._keep(message)
        return message is not None

    async def hear(self, others: Sequence[Kept]) -> None:
        """Note which polls of the bots that this one leads fail, and which work again.

        One that is no longer theirs is forgotten: the bot that polls it now will see.
        """
        now, failing = self._clock(), {it.what: it for kept in others for it in kept.failing}
        new = {what: it for what, it in failing.items() if self._outages.failing.get(what) != it}
        self._outages.failing |= new
        for each in new.values():
            self._outages.met(each, now)
        caught = {what: it for kept in others for what, it in kept.caught.items()}
        ended, self._heard = self._heard - failing.keys(), frozenset(failing)
        for what in ended & caught.keys():
            await self.works(what, caught[what])
        gone = self._outages.keep_only(self._outages.failing.keys() - (ended - caught.keys()))
        # One of each kind: the others fail in the same way.
        messages = [
            self._outages.to_announce(what, now)
            for what in {it.trouble: what for what, it in failing.items()}.values()
        ]
        for message in filter(None, messages):
            await self._keep(message)
        if new or gone:
            await self._keep(None)

    async def keep_only(self, names: Set[str]) -> None:
        """Forget all other polls, which are no longer made."""
        if self._outages.keep_only(names | self._heard):
            await self._keep(None)

    async def _keep(self, message: Announcement | None) -> None:
        kept, now, sharing = self._outages.kept(), self._clock(), self._store.sharing
        if not self._announces:  # the one that leads asks for the websites, too
            own = tuple(it for it in kept.failing if it.what != SITES)
            kept = Kept(own, len(own), caught=dict(self._outages.caught))
        data, mark = msgspec.json.encode(kept).decode(), "" if self._announces else sharing.mark

        def work(conn: Connection) -> None:
            set_watermark(conn, OUTAGES, mark, data, now)
            if self._announces and sharing.shares:  # what it said as one of the others
                forget_watermark(conn, OUTAGES, sharing.mark)
            if message:
                for each, since in message.instead:
                    said = turned(_NAMES[each], _NAMES[message.about[0]], since, now)
                    about = f"{OUTAGES} {each}"
                    amend(conn, said.title, said.lines, now, self._zone, about)
                for each in message.about:
                    announce(
                        conn, message.title, message.lines, now, self._ops,
                        about=f"{OUTAGES} {each}", ends=message.ends, grey=message.grey,
                    )  # fmt: skip

        with suppress(StoreError):  # the next poll meets it, too, and the log says so
            await self._store.run(work)
            if message:
                self._wake()


def _seconds(length: timedelta) -> int:
    return round(length.total_seconds())
