"""Bots that share a PostgreSQL database: who is there, and which work is whose.

Each bot has a row that it renews every few seconds, and that every transaction of it asks for. All
transactions that write follow one another, so a bot whose row is gone can't write any more: not
after it was frozen, and not after it was cut off from the database. The others delete the row of
a bot that was silent for too long, and its leases with it. A living bot alone gives up a lease. So
the row of the bot fences all its leases.

Only the server's clock counts.
"""

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any

from sqlalchemy import Connection

from bot import __version__
from bot.domain.pulse import Sign
from bot.errors import StoreLost, StoreTaken
from bot.store.sharing import Lanes, Replica, Turn, fair_part, share
from bot.store.statements import Value, execute

SEEN = 2.0
"""How many seconds the row of a bot that writes is old at most."""

LOST = 15.0
"""After how many seconds of silence the others take over what a bot has."""

GONE = 9.0
"""`LOST` for a bot that has no session: it was killed, or cut off."""

LEASE = 5.0
"""For how many seconds a transaction proves that nobody has: less than GONE - SEEN."""

STEADY = 3.0
"""A bot takes over nothing before it could write itself for so many seconds: the database may have
been away, and the others may not have come to write yet."""

GAP, LONG_GAP = 5.0, 10.0
"""Seconds between two turns after which that begins anew, for GONE and for LOST: a bot that always
waits for longer for the others' transactions still takes over from one that is lost."""

COOL = 7.0
"""For how many seconds a lane rests before another bot has it: the pace of its service is kept."""

FREE = 3
"""After how many turns a bot takes a website that none takes, though it has its part already: the
others may not know it."""

OFFER = 300.0
"""For how many seconds it keeps that one before it offers it to the others again."""

BOTS, _LEASES = "mouseflow_bot_replicas", "mouseflow_bot_leases"
_SITE, _LANE = "website ", "lane "

CREATE = (
    f"CREATE TABLE IF NOT EXISTS {BOTS} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    " session text NOT NULL, host text NOT NULL, process integer NOT NULL, version text NOT NULL,"
    " rules text NOT NULL DEFAULT '', polls boolean NOT NULL DEFAULT false,"
    " started timestamptz NOT NULL DEFAULT now(), seen timestamptz NOT NULL DEFAULT now(),"
    " pulse text NOT NULL DEFAULT '', beat timestamptz NOT NULL DEFAULT now(),"
    " writes bigint NOT NULL DEFAULT 0);"
    f'CREATE TABLE IF NOT EXISTS {_LEASES} (name text COLLATE "C" PRIMARY KEY,'
    f" replica bigint NOT NULL REFERENCES {BOTS} ON DELETE CASCADE)"
)
FORGET = f"DELETE FROM {BOTS}"  # noqa: S608
"""Whoever has the database alone is sure that no other bot works."""

_JOIN = (
    f"INSERT INTO {BOTS} (session, host, process, version)"  # noqa: S608
    " VALUES (:session, :host, :process, :version) RETURNING id, tableoid::bigint"
)
_SILENT = "extract(epoch FROM clock_timestamp() - seen)::float"
_RENEW = f"UPDATE {BOTS} SET seen = clock_timestamp() WHERE id = :me"  # noqa: S608
_COUNT = (
    f"UPDATE {BOTS} SET seen = clock_timestamp(), writes = writes + 1"  # noqa: S608
    " WHERE id = :me RETURNING writes"
)
_WRITTEN = f"SELECT writes FROM {BOTS} WHERE id = :me"  # noqa: S608
_BEAT = f"UPDATE {BOTS} SET pulse = :text, beat = clock_timestamp() WHERE id = :me"  # noqa: S608
_TURN = (
    f"UPDATE {BOTS} SET seen = clock_timestamp(), rules = :rules,"  # noqa: S608
    " polls = polls OR :polls WHERE id = :me"
)
_BURY = (
    f"DELETE FROM {BOTS} WHERE id <> :me AND ({_SILENT} > {LOST} OR {_SILENT} > :gone"  # noqa: S608
    " AND NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE application_name = session))"
    " RETURNING process, host"
)
_LEAVE = f"DELETE FROM {BOTS} WHERE id = :me"  # noqa: S608
_THERE = f"SELECT id, polls, rules = '' FROM {BOTS} ORDER BY id"  # noqa: S608
_SESSIONS = f"SELECT session FROM {BOTS}"  # noqa: S608
_HELD = f"SELECT name, replica FROM {_LEASES} WHERE name LIKE :kind"  # noqa: S608
_TAKE = f"INSERT INTO {_LEASES} (name, replica) VALUES (:name, :me)"  # noqa: S608
_GIVE = f"DELETE FROM {_LEASES} WHERE name = :name AND replica = :me"  # noqa: S608
_PEOPLE = (
    "SELECT id, session, host, process, version, rules, started,"  # noqa: S608
    f" {_SILENT} AS age FROM {BOTS} ORDER BY id"
)


class Membership:
    """One bot among those that share a database; see `Sharing`."""

    shares = True

    def __init__(self, store: str, session: str, host: str, process: int) -> None:
        self.leads = False
        self.bots = 1
        self.mark = ""
        self._store, self._session, self._host, self._process = store, session, host, process
        self._id, self._table = 0, 0
        self._sites: frozenset[str] = frozenset()
        self._lanes: frozenset[str] = frozenset()
        self._leaving: frozenset[str] = frozenset()
        self._place = 0
        self._used: dict[str, float] = {}
        self._free: dict[str, int] = {}  # for how many turns nobody has had a website
        self._spare: dict[str, float] = {}  # when it took those that nobody else took
        self._turned = -math.inf
        self._steady_since = dict.fromkeys((GAP, LONG_GAP), -math.inf)  # by the longest gap

    # What every transaction does.

    @property
    def fence(self) -> str:
        """Asks for the row of this bot; nothing before it has one."""
        if not self._id:
            return ""
        return f"; SELECT {_SILENT}, tableoid::bigint FROM {BOTS} WHERE id = {self._id}"  # noqa: S608

    def check(self, driver: Any, row: tuple[float, int] | None) -> None:
        """Raise StoreLost if the row is gone or another one; renew it if it is old."""
        if row is None:
            raise StoreTaken(
                f"{self._store}: this bot was frozen or had no connection, and the other ones on "
                "the database have taken over its work. It writes and sends nothing more"
            )
        silent, table = row
        if table != self._table:
            raise StoreLost(
                f"{self._store}: the database was restored or replaced while the bot was running. "
                "The bot has stopped writing. Start it again"
            )
        if silent > SEEN:
            driver.execute(_RENEW.replace(":me", str(self._id)))

    def join(self, conn: Connection) -> None:
        """Be one of the bots from now on."""
        values: dict[str, Value] = {
            "session": self._session,
            "host": self._host,
            "process": self._process,
            "version": __version__,
        }
        self._id, self._table = execute(conn, _JOIN, values).fetchone()
        self.mark = _mark(self._session)

    def leave(self, conn: Connection) -> None:
        """Give everything back."""
        execute(conn, _LEAVE, {"me": self._id})

    def count(self, conn: Connection) -> int:
        """Count the transaction that is open among this bot's own; returns how many there were."""
        return int(execute(conn, _COUNT, {"me": self._id}).fetchone()[0])

    def written(self, conn: Connection) -> int:
        """How many of this bot's transactions were counted."""
        return int(execute(conn, _WRITTEN, {"me": self._id}).fetchone()[0])

    def beat(self, conn: Connection, text: str) -> None:
        """Say how this bot is doing."""
        execute(conn, _BEAT, {"me": self._id, "text": text})

    # Which work is whose.

    def polls(self, website: str) -> bool:
        """Whether this bot polls that website now."""
        return website in self._sites

    def delivers(self, lane: str) -> bool:
        """Whether this bot may claim steps of that lane now."""
        return lane in self._lanes and lane not in self._leaving

    def alive(self, conn: Connection) -> Collection[str]:
        """The marks of the bots that are there."""
        return [_mark(each) for (each,) in execute(conn, _SESSIONS, {})]

    def turn(
        self, conn: Connection, websites: Collection[str] | None, busy: Collection[str], rules: str
    ) -> Turn:
        """Take over from bots that are silent, and divide the websites again.

        A website is given back the turn after its polls have ended.
        """
        mine = {"me": self._id}
        execute(conn, _TURN, {**mine, "rules": rules, "polls": websites is not None})
        lost: Sequence[str] = ()
        now = time.monotonic()
        gap = now - self._turned
        steady = {it for it, at in self._steady_since.items() if gap < it and now - at > STEADY}
        if steady:
            dead = {**mine, "gone": GONE if GAP in steady else LOST}
            lost = [f"{process} on {host}" for process, host in execute(conn, _BURY, dead)]
        there = execute(conn, _THERE, {}).fetchall()
        leads = there[0][0] == self._id
        # One that still reads its rules gets no lanes yet: nothing would be delivered there.
        ids = [each for each, _, starts in there if not starts or each == self._id]
        turn = Turn(leads=leads, bots=len(ids), place=ids.index(self._id), lost=lost)
        if websites is None:
            return turn
        polling = [each for each, polls, _ in there if polls]
        held, taken = self._held(conn, _SITE)
        free = frozenset(websites) - held - taken
        self._free = {name: self._free.get(name, 0) + 1 for name in free}
        left = {name for name, turns in self._free.items() if turns > FREE}
        self._spare = {it: at for it, at in self._spare.items() if it in held and now - at < OFFER}
        self._spare |= dict.fromkeys(left, now)
        place = polling.index(self._id)
        part = share(websites, held, taken, place, len(polling), self._spare)
        self._give(conn, _SITE, part.give_back - frozenset(busy) - self._sites)
        self._take(conn, _SITE, part.take)
        return replace(turn, websites=part.keep | part.take)

    def use(self, turn: Turn) -> frozenset[str]:
        """This is the bot's part; returns the websites that are new to it."""
        before, self._turned = self._turned, time.monotonic()
        for gap in self._steady_since:
            if self._turned - before > gap:
                self._steady_since[gap] = self._turned
        self.leads, self.bots, self._place = turn.leads, turn.bots, turn.place
        polled = self._sites
        if turn.websites is not None:
            self._sites = turn.websites
        return self._sites - polled

    def replicas(self, conn: Connection) -> list[Replica]:
        """The bots that share the store, the one that leads first."""
        return there(conn.connection.driver_connection)

    def lanes(self, conn: Connection, due: Sequence[str], busy: Collection[str]) -> Lanes:
        """Take and give back lanes: those that are due are divided, and one rests before it goes.

        Those in use stay as far as possible.
        """
        now = time.monotonic()
        held, taken = self._held(conn, _LANE)
        quota = fair_part(len({*due, *held, *taken}), self._place, self.bots)
        kept = frozenset(sorted(held, key=lambda lane: (lane not in busy, lane))[:quota])
        used = {*busy, *(kept & {*due})}
        self._used |= dict.fromkeys(used, now)
        rested = {lane for lane in held - used if now - self._used.get(lane, 0.0) > COOL}
        free = [lane for lane in due if lane not in held and lane not in taken]
        new = free[: max(quota - len(kept), 0)]
        self._give(conn, _LANE, rested)
        self._take(conn, _LANE, new)
        self._used |= dict.fromkeys(new, now)
        left, leaving = (held - rested) | {*new}, held - kept
        ours = [lane for lane in due if lane in left and lane not in leaving]
        return Lanes(ours, left, leaving)

    def use_lanes(self, lanes: Lanes) -> None:
        """These are the bot's lanes."""
        self._lanes, self._leaving = lanes.held, lanes.leaving
        self._used = {lane: at for lane, at in self._used.items() if lane in lanes.held}

    def _held(self, conn: Connection, kind: str) -> tuple[frozenset[str], frozenset[str]]:
        """What this bot has of that kind, and what others have."""
        rows = execute(conn, _HELD, {"kind": f"{kind}%"}).fetchall()
        held = frozenset(name.removeprefix(kind) for name, bot in rows if bot == self._id)
        return held, frozenset(name.removeprefix(kind) for name, bot in rows if bot != self._id)

    def _take(self, conn: Connection, kind: str, names: Collection[str]) -> None:
        for name in names:
            execute(conn, _TAKE, {"me": self._id, "name": kind + name})

    def _give(self, conn: Connection, kind: str, names: Collection[str]) -> None:
        for name in names:
            execute(conn, _GIVE, {"me": self._id, "name": kind + name})


def _mark(session: str) -> str:
    """The mark of the bot with that session. Row numbers begin again in another database."""
    return session.rpartition(" ")[2]


def sign(driver: Any, host: str) -> Sign | None:
    """How the bot on that host is doing, of several the quietest; else one on another host."""
    asked = (
        f"SELECT extract(epoch FROM clock_timestamp() - beat)::float, pulse, host FROM {BOTS}"  # noqa: S608
        " ORDER BY (host = %s) DESC, beat LIMIT 1"
    )
    for age, pulse, there in driver.execute(asked, (host,)):
        return Sign(max(0.0, age), pulse, "" if there == host else there, shares=True)
    return None


def there(driver: Any) -> list[Replica]:
    """The bots that share the database, the one that leads first."""
    held: dict[int, list[str]] = {}
    for name, bot in driver.execute(f"SELECT name, replica FROM {_LEASES} ORDER BY name"):  # noqa: S608
        held.setdefault(bot, []).append(name)
    rows = driver.execute(_PEOPLE).fetchall()
    found = []
    for key, session, host, process, version, rules, started, age in rows:
        names, first, leading = held.get(key, []), rows[0][0], rows[0][5]
        found.append(
            Replica(
                id=_mark(session), host=host, process=process, version=version, rules=rules,
                started=started.astimezone(UTC), age=max(0.0, age), leads=key == first,
                differs=bool(rules and leading and rules != leading),
                websites=[it.removeprefix(_SITE) for it in names if it.startswith(_SITE)],
                lanes=[it.removeprefix(_LANE) for it in names if it.startswith(_LANE)],
            )
        )  # fmt: skip
    return found
