"""One attempt at a step: read it back from the store, and judge what came of it."""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from pydantic import ValidationError

from bot.actions.base import SETTLING, Action, Done
from bot.domain.backoff import next_try
from bot.domain.subjects import Subject, reread
from bot.errors import GiveUp, TryLater
from bot.ports import Task
from bot.store.matches import NewStep
from bot.store.outbox import Claim

HOLD_TRIES = 5
"""So often a failing step is tried at the head of its lane, to keep the order."""


@dataclass(frozen=True, slots=True)
class Performed:
    """The action has taken effect; `follow` are the steps that come after."""

    done: Done
    follow: tuple[NewStep, ...] = ()


@dataclass(frozen=True, slots=True)
class Again:
    """To be tried again: at `until`, or (None) at the head of its lane.

    `attempted` is the first attempt whose outcome is unknown. `pause` is what pauses the
    lane, and `settling` how long that lasts at least.
    """

    until: datetime | None
    reason: str
    attempted: datetime | None
    pause: TryLater | None = None
    settling: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Dead:
    """Given up; a person must act."""

    reason: str
    remedy: str


Outcome = Performed | Again | Dead


def read_back(
    claimed: Claim, actions: Mapping[str, type[Action]], now: datetime
) -> tuple[Action, Task]:
    """The step as an action and its task; raises GiveUp for one that this version can't read."""
    try:
        action = actions[claimed.action].model_validate_json(claimed.params)
        return action, _task(claimed, reread(claimed.subject), now)
    except (KeyError, ValidationError, msgspec.MsgspecError) as error:
        raise GiveUp(
            f"this version can't read the stored step ({claimed.action})",
            "was it written by another version? go back to that one and retry it there",
        ) from error


def following(
    claimed: Claim, subject: Subject, done: Done, default_channel: str, now: datetime
) -> tuple[NewStep, ...]:
    """The steps that an action asked for when it was done, each with a key of its own."""
    return tuple(
        NewStep(
            key=f"{claimed.key}/{later.action.kind}-{number}",
            rank=later.action.rank,
            lane=later.action.lane(subject, default_channel),
            kind=later.action.kind,
            params=later.action.model_dump_json(),
            due=now + later.after,
        )
        for number, later in enumerate(done.follow, 1)
    )


def judged(
    claimed: Claim, error: Exception, now: datetime, chance: Callable[[], float]
) -> Again | Dead:
    """What becomes of a step whose attempt raised `error`.

    A failing step first keeps its place and its lane waits, so that order is kept through a
    short outage; after a few tries it steps aside and only costs itself time.
    """
    reason = told(error)
    if isinstance(error, GiveUp):
        return Dead(reason, error.remedy)
    until = next_try(error, claimed.attempts, now, chance, first_tried=claimed.first_tried)
    if until is None:
        return Dead(reason, f"tried {claimed.attempts} times; mend the cause and retry it")
    if not isinstance(error, TryLater):
        # A bug says nothing about whether the call went out.
        return Again(until, reason, claimed.attempted or claimed.began)
    held = error.lane or claimed.attempts < HOLD_TRIES
    attempted = claimed.attempted or (claimed.began if error.unknown else None)
    # A second attempt with an unknown outcome: what it sent may take a while to be seen.
    settling = SETTLING if error.unknown and claimed.attempted else timedelta()
    return Again(None if held else until, reason, attempted, error, settling)


def told(error: Exception) -> str:
    """The reason for people. Of a bug only its kind and place: its text may hold anything."""
    if isinstance(error, GiveUp | TryLater):
        return error.reason
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    return f"a fault in the bot: {type(error).__name__} at {place}"


def _task(claimed: Claim, subject: Subject, now: datetime) -> Task:
    return Task(
        key=claimed.key,
        rule=claimed.rule,
        summary=claimed.summary,
        subject=subject,
        matched=claimed.matched,
        now=now,
        why=claimed.why,
        attempted=claimed.attempted,
        results=claimed.results,
    )
