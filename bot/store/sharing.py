"""Which part of the work is this bot's: all of it, or a share of it.

A store in a file has one bot, and so has one that is open exclusively: `Alone`. Bots that share a
PostgreSQL database divide the websites and lanes among them: `bot.store.replicas`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A bot that shares the store, for people.

    `id` is its mark. `rules` is the digest of the rules it uses, `differs` says that they are not
    those of the bot that leads. `age` is how many seconds ago it was seen. `websites` are ids.
    """

    id: str
    host: str
    process: int
    version: str
    rules: str
    started: datetime
    age: float
    leads: bool
    differs: bool = False
    websites: Sequence[str] = ()
    lanes: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The process and its host."""
        return f"{self.process} on {self.host}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a bot found when it looked at the others; see `Sharing` and `Sharing.polls`.

    `websites` are those that it polls, `place` is its place among all bots. `lost` are bots whose
    work was taken over.
    """

    leads: bool = True
    bots: int = 1
    place: int = 0
    websites: frozenset[str] | None = None
    lost: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Lanes:
    """The lanes of a bot: those that are due, all that it has, those it begins nothing on."""

    due: Sequence[str]
    held: frozenset[str] = frozenset()
    leaving: frozenset[str] = frozenset()


class Sharing(Protocol):
    """This bot's part of the work.

    `shares`: there may be other bots. `leads`: it does what only one bot may do; that ends only
    when it no longer uses the store. `bots` is how many share the work. `mark` ends the tokens of
    this bot's claims; no other bot ever has it. What a unit of work has found counts once it is
    committed: then `use` it.
    """

    shares: bool
    leads: bool
    bots: int
    mark: str

    def polls(self, website: str) -> bool:
        """Whether this bot polls that website now."""
        ...

    def delivers(self, lane: str) -> bool:
        """Whether this bot may claim steps of that lane now."""
        ...

    def alive(self, conn: Connection) -> Collection[str]:
        """The marks of the bots whose claims stand, this one's too; no other claim does."""
        ...

    def replicas(self, conn: Connection) -> list[Replica]:
        """The bots that share the store, the one that leads first; none if bots can't."""
        ...

    def lanes(self, conn: Connection, due: Sequence[str], busy: Collection[str]) -> Lanes:
        """Take and give back lanes; `busy` are those that the bot works on."""
        ...

    def use_lanes(self, lanes: Lanes) -> None:
        """These are the bot's lanes."""
        ...

    def turn(
        self, conn: Connection, websites: Collection[str] | None, busy: Collection[str], rules: str
    ) -> Turn:
        """Look at the other bots, and take or give back websites.

        `websites` are all of them, None while they are not known; `busy` those whose poll runs.
        `rules` is the digest of the rules that the bot uses.
        """
        ...

    def use(self, turn: Turn) -> frozenset[str]:
        """This is the bot's part; returns the websites that are new to it."""
        ...


class Alone:
    """The only bot on its store: everything is its own."""

    shares = False
    leads = True
    bots = 1
    mark = ""

    def polls(self, website: str) -> bool:
        """It polls every website."""
        return True

    def delivers(self, lane: str) -> bool:
        """It performs every step."""
        return True

    def alive(self, conn: Connection) -> Collection[str]:
        """There is no claim when it starts."""
        return ()

    def replicas(self, conn: Connection) -> list[Replica]:
        """None."""
        return []

    def lanes(self, conn: Connection, due: Sequence[str], busy: Collection[str]) -> Lanes:
        """All of them."""
        return Lanes(due)

    def use_lanes(self, lanes: Lanes) -> None:
        """Nothing changes."""

    def turn(
        self, conn: Connection, websites: Collection[str] | None, busy: Collection[str], rules: str
    ) -> Turn:
        """There is nobody else."""
        return Turn()

    def use(self, turn: Turn) -> frozenset[str]:
        """Nothing changes."""
        return frozenset()


@dataclass(frozen=True, slots=True)
class Share:
    """What a bot keeps of what it has, takes of what is free, and gives back."""

    keep: frozenset[str]
    take: frozenset[str]
    give_back: frozenset[str]


def share(
    names: Collection[str],
    held: Collection[str],
    taken: Collection[str],
    place: int,
    bots: int,
    spare: Collection[str] = (),
) -> Share:
    """The share of the bot at `place` (0 is the first) among so many bots.

    `names` is all the work, `held` what the bot has of it, `taken` what others have. If every bot
    does what this says, each name has one bot, and no bot has more than one name more than another.
    What a bot has stays with it as far as that allows. `spare` is what no other bot takes, perhaps
    because none knows it: the bot has all of that beside its share.
    """
    total, mine, left = frozenset(names), frozenset(held), frozenset(spare)
    quota = fair_part(len(total), place, bots)
    keep = frozenset(sorted((mine & total) - left)[:quota])
    free = total - mine - frozenset(taken)
    take = frozenset(sorted(free - left)[: quota - len(keep)])
    keep |= mine & total & left
    return Share(keep, take | (free & left), mine - keep)


def fair_part(total: int, place: int, bots: int) -> int:
    """How many of `total` the bot at that place has."""
    return total // bots + (place < total % bots)
