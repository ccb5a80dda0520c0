"""How polls are spread over their interval, and how often each website really has one.

Pure. Where the account's rate allows fewer polls than are due, all websites are seen later,
each in its turn; people are told how much later.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from statistics import median

import msgspec

from bot.wording.units import lasting

SLOW = 1.25
"""Polls at intervals this many times as long as wished are worth a word."""

SLIGHT = 1.1
"""Only when it is no worse than this the trouble is over."""

WORTH = timedelta(seconds=10)
"""Later by less than this is nothing that anybody would notice."""


def spread(taken: Iterable[float], new: int) -> list[float]:
    """Where in the interval (from 0 to 1) that many new polls go, beside those at `taken`.

    Evenly where there is none yet, else each into the middle of the widest gap.
    """
    there = sorted(taken)
    if not there:
        return [(number + 1) / new % 1 for number in range(new)]
    found: list[float] = []
    for _ in range(new):
        gaps = [((there[at] - there[at - 1]) % 1 or 1.0, there[at]) for at in range(len(there))]
        width, end = max(gaps)
        found.append((end - width / 2) % 1)
        there = sorted([*there, found[-1]])
    return found


@dataclass(frozen=True, slots=True)
class Rounds:
    """When the latest polls of each website began, in seconds of a steady clock.

    `since` counts the beginnings since `seen` was called last.
    """

    begun: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    since: int = 0

    def began(self, website: str, at: float) -> "Rounds":
        """A poll of that website begins."""
        latest = (*self.begun.get(website, ())[-2:], at)
        return Rounds({**self.begun, website: latest}, self.since + 1)

    def over(self, websites: int) -> bool:
        """Whether a whole round of so many websites has begun since it was looked at last."""
        return self.since >= websites

    def seen(self, websites: Iterable[str]) -> "Rounds":
        """It was looked at; these are the websites that are still polled."""
        left = frozenset(websites)
        return Rounds({key: at for key, at in self.begun.items() if key in left})

    def every(self) -> timedelta:
        """How long it is from one poll of a website to the next; zero while that is not known.

        The shorter one of two such times: a single pause of the whole account, after a 429 or
        an outage, says nothing about the rate.
        """
        gaps = [
            min(second - first, third - second)
            for first, second, third in (at for at in self.begun.values() if len(at) == 3)
        ]
        return timedelta(seconds=median(gaps)) if gaps else timedelta()


@dataclass(frozen=True, slots=True)
class Round:
    """How often recordings are seen: `every`, where `wished` was asked for.

    `websites` have their turn with at most `rate` calls a second. `slow`: people should know.
    """

    websites: int
    rate: float
    wished: timedelta
    every: timedelta
    slow: bool

    @property
    def least(self) -> timedelta:
        """What a round takes with one call for each website and nothing else."""
        return timedelta(seconds=self.websites / self.rate)

    def differs(self, other: "Round | None") -> bool:
        """Whether it is worth being written down in place of the other one."""
        if other is None or replace(self, every=other.every) != other:
            return True
        return self.slow and abs(self.every - other.every) > max(WORTH, other.every / 5)


def written(text: str | None) -> Round | None:
    """The round as it was written down; None where another version wrote something else."""
    try:
        return msgspec.json.decode(text, type=Round) if text else None
    except msgspec.MsgspecError:
        return None


def measured(
    websites: int, rate: float, wished: timedelta, seen: timedelta, *, was_slow: bool
) -> Round:
    """What is to be told of the rounds; `seen` is what `Rounds.every` says.

    What can't be faster is known before the first round has been measured.
    """
    every = max(wished, seen, timedelta(seconds=websites / rate))
    limit = SLIGHT * wished if was_slow else max(SLOW * wished, wished + WORTH)
    return Round(websites, rate, wished, every, every > limit)


def words(it: Round) -> Sequence[str]:
    """A slow round for people: what it means, and what to do."""
    often = f"recordings are seen every {lasting(it.every)}, not every {lasting(it.wished)}"
    at_rate = f"{it.websites} websites at {it.rate:g} requests a second"
    if it.least > SLIGHT * it.wished:
        what = f"{at_rate} take {it.every.total_seconds():.0f} s a round: {often}"
        return (what, "Raise mouseflow.requests_per_second or poll.recordings; nothing is left out")
    return (
        f"{at_rate} need more calls than that, or the API answers slowly: {often}",
        "`mouseflow-bot status` shows what the rules cost; nothing is left out",
    )
