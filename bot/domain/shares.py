"""How bots that share one store divide the work among them."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """What a bot keeps of what it has, takes of what is free, and gives back."""

    keep: frozenset[str]
    take: frozenset[str]
    give_back: frozenset[str]


def share(
    names: Collection[str], held: Collection[str], taken: Collection[str], place: int, bots: int
) -> Share:
    """The share of the bot at `place` (0 is the first) among so many bots.

    `names` is all the work, `held` what the bot has of it, `taken` what others have. If every bot
    does what this says, each name has one bot, and no bot has more than one name more than another.
    What a bot has stays with it as far as that allows.
    """
    total, mine = frozenset(names), frozenset(held)
    quota = fair_part(len(total), place, bots)
    keep = frozenset(sorted(mine & total)[:quota])
    free = sorted(total - mine - frozenset(taken))
    return Share(keep, frozenset(free[: quota - len(keep)]), mine - keep)


def fair_part(total: int, place: int, bots: int) -> int:
    """How many of `total` the bot at that place has."""
    return total // bots + (place < total % bots)
