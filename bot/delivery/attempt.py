"""One attempt at a step: restore it from the store, and decide what its outcome is."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from bot.actions.base import SETTLING, Action, Done
from bot.delivery.causes import cause_of
from bot.domain.backoff import next_try
from bot.domain.causes import Cause, Stops, stops
from bot.domain.many import Many
from bot.domain.subjects import Severity, Subject, reread
from bot.errors import GiveUp, NotDoneYet, TryLater, internal_error
from bot.logs import scrubber
from bot.ports import Task
from bot.store.matches import NewStep
from bot.store.outbox import Claim

LONGEST_REASON = 1000
"""How many characters of a reason or remedy are stored."""

HOLD_TRIES = 5
"""How many times a failing step is tried at the head of its lane, to keep the order."""


class Performed(Struct, frozen=True):
    """The action has taken effect; `follow` are the steps that come after."""

    done: Done
    follow: tuple[NewStep, ...] = ()


class Retry(Struct, frozen=True):
    """Retried: at `until`, or (None) at the head of its lane.

    `attempted` is the first attempt whose outcome is unknown. `pause` is the error that pauses
    the lane, and `settling` how long it is paused at least. `remedy` is for people. `absent`: a
    look after a restore found nothing, so the step goes the usual way now.
    """

    until: datetime | None
    reason: str
    attempted: datetime | None
    cause: Cause
    pause: TryLater | GiveUp | None = None
    settling: timedelta = timedelta()
    remedy: str = ""
    absent: bool = False


class DeadLetter(Struct, frozen=True):
    """Given up; a person must act."""

    reason: str
    remedy: str
    cause: Cause = Cause.STEP


class Withheld(Struct, frozen=True):
    """Not performed: it is no longer allowed."""

    reason: str


Outcome = Performed | Retry | DeadLetter | Withheld

WAIT = timedelta(minutes=1)
"""When to look again whether the other steps of a match have ended."""


def restore(
    claimed: Claim, actions: Mapping[str, type[Action]], now: datetime
) -> tuple[Action, Task]:
    """The step as an action and its task; raises GiveUp if this version can't read it."""
    try:
        action = actions[claimed.action].restored(claimed.params)
        return action, _task(claimed, reread(claimed.subject), now)
    except (KeyError, msgspec.MsgspecError) as error:
        raise GiveUp(
            f"this version can't read the stored step ({claimed.action})",
            "another version probably wrote it: go back to that version and retry it there",
        ) from error


def obstacle(
    claimed: Claim, action: Action, allows: Callable[[str, Action], str | None], now: datetime
) -> Retry | DeadLetter | Withheld | None:
    """Why the action must not be performed now; None if it may be.

    Only what can't be undone is checked: it must still be allowed (`allows` returns why a
    rule's action is not), and every earlier step of the match must have succeeded.
    """
    if not action.irreversible:
        return None
    if reason := allows(claimed.rule, action):
        return Withheld(f"not performed: {reason}")
    failed = [step.action for step in claimed.unfinished if step.dead]
    if failed:
        named = ", ".join(dict.fromkeys(failed))
        reason = f"other steps of the match failed: {named}"
        return DeadLetter(reason, "retry those, then this one", Cause.EARLIER)
    if claimed.unfinished:
        reason = "waits for the other steps of the match"
        return Retry(now + WAIT, reason, claimed.attempted, Cause.EARLIER)
    return None


def follow_up_steps(
    claimed: Claim, subject: Subject, done: Done, default_channel: str, now: datetime
) -> tuple[NewStep, ...]:
    """The steps that the action asked for, each with its own key."""
    return tuple(
        NewStep(
            key=f"{claimed.key}/{later.action.kind}-{number}",
            rank=later.action.rank,
            lane=later.action.lane(subject, default_channel),
            kind=later.action.kind,
            params=later.action.stored(),
            due=now + later.after,
        )
        for number, later in enumerate(done.follow, 1)
    )


def outcome_of(
    claimed: Claim, error: Exception, now: datetime, chance: Callable[[], float]
) -> Retry | DeadLetter:
    """The outcome of an attempt that raised `error`.

    A step alone that can't succeed is a dead letter. What concerns its lane holds the lane, and
    the step retries at its head. A failing step first keeps its place too, so that the order
    survives a short outage; after a few tries the lane continues without it.
    """
    reason, cause = error_text(error), cause_of(error, claimed.lane)
    if isinstance(error, NotDoneYet):
        return Retry(now, reason, None, Cause.STEP, absent=True)
    if isinstance(error, GiveUp):
        remedy = scrubber.text(error.remedy)[:LONGEST_REASON]
        if stops(cause) is Stops.STEP:
            return DeadLetter(reason, remedy, cause)
        return Retry(None, reason, claimed.attempted, cause, error, remedy=remedy)
    began = min(claimed.began, now)  # the clock may have been put right since
    until = next_try(error, claimed.attempts, now, chance, first_tried=claimed.first_tried)
    if until is None:
        remedy = f"tried {claimed.attempts} times; fix the cause, then retry it"
        return DeadLetter(reason, remedy, cause)
    if not isinstance(error, TryLater):
        # After a bug it is unknown whether the request went out.
        return Retry(until, reason, claimed.attempted or began, cause)
    held = error.lane or claimed.attempts < HOLD_TRIES
    attempted = claimed.attempted or (began if error.unknown else None)
    # A second unknown outcome: what was sent may take a while to show up.
    settling = SETTLING if error.unknown and claimed.attempted else timedelta()
    return Retry(None if held else until, reason, attempted, cause, error, settling)


def error_text(error: Exception) -> str:
    """The reason for people, without secrets: it is stored."""
    if isinstance(error, GiveUp | TryLater):
        return scrubber.text(error.reason)[:LONGEST_REASON]
    return internal_error(error)


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
        restored=claimed.restored,
        results=claimed.results,
        missing=tuple(dict.fromkeys(step.action for step in claimed.unfinished)),
        many=msgspec.json.decode(claimed.many, type=Many) if claimed.many else None,
        post=claimed.post,
        severity=msgspec.convert(claimed.severity, Severity),
        runbook=claimed.runbook,
        owner=claimed.owner,
    )
