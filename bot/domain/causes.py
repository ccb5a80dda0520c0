"""Why an attempt failed: a closed set of causes, and what else each of them stops."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, assert_never


class Cause(StrEnum):
    """Why an attempt failed. The store keeps these words."""

    STEP = "step"
    BUG = "bug"
    BUSY = "busy"
    EARLIER = "earlier steps"
    KEY_REJECTED = "mouseflow key rejected"
    WRITES_REFUSED = "mouseflow writes refused"
    MOUSEFLOW_DOWN = "mouseflow down"
    TOKEN_REJECTED = "slack token rejected"  # noqa: S105 - words
    SCOPE_MISSING = "slack scope missing"
    WORKSPACE_REFUSES = "slack workspace refuses"
    SLACK_WEBHOOK_GONE = "slack webhook gone"
    SLACK_NOT_SET = "slack not configured"
    SLACK_DOWN = "slack down"
    CHANNEL_MISSING = "channel missing"
    CHANNEL_ARCHIVED = "channel archived"
    CHANNEL_LEFT = "bot not in channel"
    CHANNEL_CLOSED = "channel read-only"
    RECEIVER_REFUSES = "webhook refused"
    RECEIVER_DOWN = "webhook receiver down"
    SECRET_MISSING = "webhook secret missing"  # noqa: S105 - words
    PLACE_REFUSES = "notify refused"
    PLACE_DOWN = "notify place down"
    PLACE_NOT_SET = "notify place not configured"


class Stops(StrEnum):
    """What a cause stops: one step, one kind of action in a lane, a lane, all of a service."""

    STEP = "step"
    KIND = "kind"
    LANE = "lane"
    SERVICE = "service"


def stops(cause: Cause) -> Stops:
    """What else would fail for the same cause."""
    match cause:
        case Cause.STEP | Cause.BUG | Cause.EARLIER:
            return Stops.STEP
        case Cause.WRITES_REFUSED:
            return Stops.KIND
        case (
            Cause.BUSY
            | Cause.CHANNEL_MISSING
            | Cause.CHANNEL_ARCHIVED
            | Cause.CHANNEL_LEFT
            | Cause.CHANNEL_CLOSED
            | Cause.RECEIVER_REFUSES
            | Cause.RECEIVER_DOWN
            | Cause.SECRET_MISSING
            | Cause.PLACE_REFUSES
            | Cause.PLACE_DOWN
            | Cause.PLACE_NOT_SET
        ):
            return Stops.LANE
        case (
            Cause.KEY_REJECTED
            | Cause.MOUSEFLOW_DOWN
            | Cause.TOKEN_REJECTED
            | Cause.SCOPE_MISSING
            | Cause.WORKSPACE_REFUSES
            | Cause.SLACK_WEBHOOK_GONE
            | Cause.SLACK_NOT_SET
            | Cause.SLACK_DOWN
        ):
            return Stops.SERVICE
        case _:
            assert_never(cause)


PASSING = frozenset({Cause.MOUSEFLOW_DOWN, Cause.SLACK_DOWN, Cause.RECEIVER_DOWN, Cause.PLACE_DOWN})
"""Causes that often pass by themselves: people are told only of those that last."""


MOUSEFLOW, SLACK = "mouseflow", "slack"


class Service(NamedTuple):
    """What a lane may speak to: its name for people, and its causes of failures.

    `down`: an attempt may succeed later. `refuses`: it refuses every request.
    """

    title: str
    down: Cause
    refuses: Cause


SERVICES: Mapping[str, Service] = MappingProxyType(
    {
        MOUSEFLOW: Service("Mouseflow", Cause.MOUSEFLOW_DOWN, Cause.WRITES_REFUSED),
        SLACK: Service("Slack", Cause.SLACK_DOWN, Cause.WORKSPACE_REFUSES),
        "webhook": Service("Webhook", Cause.RECEIVER_DOWN, Cause.RECEIVER_REFUSES),
        "notify": Service("Notify", Cause.PLACE_DOWN, Cause.PLACE_REFUSES),
    }
)
"""Each service by the beginning of its lanes' names."""


def _named(cause: Cause) -> str:
    return cause.partition(" ")[0]


if unknown := [it for it in Cause if stops(it) is Stops.SERVICE and _named(it) not in SERVICES]:
    raise TypeError(f"causes that stop a service must begin with its name: {unknown}")


def service(lane: str) -> str:
    """The service that a lane speaks to, a key of `SERVICES`."""
    return lane.partition(":")[0]


def place(lane: str) -> str:
    """What a lane speaks to: a website's id, a channel or a host; without what only tells apart."""
    return lane.partition(":")[2].partition(" ")[0]


def is_about(key: str, cause: Cause, lane: str) -> bool:
    """Whether the trouble of that key is about the lane, whatever the lane fails for now."""
    if stops(cause) is Stops.SERVICE:
        return _named(cause) == service(lane)
    return key == trouble_key(cause, lane)


def trouble_key(cause: Cause, lane: str) -> str:
    """What names a trouble: its cause, and the lane unless the whole service fails."""
    return str(cause) if stops(cause) is Stops.SERVICE else f"{cause} {lane}"
