"""Whether the API's filters work, and what is known while one does not.

Friction and visitor type decide matches, and only filters tell them. A filter that is refused,
fails or is ignored suspends the rules that need it, and no others.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal, TypeVar, assert_never

from msgspec import Struct, field
from msgspec.structs import replace

from bot.errors import BadCredentials, GiveUp, TryLater
from bot.polling.list_reader import LEAST, narrowed, read
from bot.polling.server_facts import friction_is_ignored, search_is_ignored
from bot.ports import Mouseflow
from mouseflow.filters import SessionFilters
from mouseflow.request import Request

T = TypeVar("T")

Filter = Literal["frictionmin", "visitortype", "search"]

FILTERS: tuple[Filter, ...] = ("frictionmin", "visitortype", "search")

WORDS: Mapping[Filter, str] = {
    "frictionmin": "friction", "visitortype": "visitor_type", "search": "search",
}  # fmt: skip
"""The field of rules that each filter serves."""

Cause = Literal["ignored", "refused", "failing"]
"""The API does as if the filter were not there, rejects it, or fails for now."""

TRY_AGAIN, TRY_SOON = timedelta(hours=1), timedelta(minutes=5)
"""How often to check a filter that works, and one that is ignored or refused."""

LASTING = timedelta(minutes=5)
"""A filter that fails for so long is announced."""


class Suspension(Struct, frozen=True):
    """A filter that does not work: why, since when, and when it was checked last."""

    cause: Cause
    reason: str
    since: datetime
    tried: datetime

    def is_due(self, now: datetime) -> bool:
        """Whether to check it again now. One that fails may work at the next poll."""
        return self.cause == "failing" or now - self.tried >= TRY_SOON

    def lasts(self, now: datetime) -> bool:
        """Whether people should know of it."""
        return self.cause != "failing" or now - self.since >= LASTING


class FilterChecks(Struct, frozen=True):
    """The filters that do not work, and when each of the others was last proved to work."""

    suspended: Mapping[Filter, Suspension] = field(default_factory=dict)
    proved: Mapping[Filter, datetime] = field(default_factory=dict)

    def is_due(self, name: Filter, now: datetime) -> bool:
        """Whether to check the filter now."""
        if (suspension := self.suspended.get(name)) is not None:
            return suspension.is_due(now)
        proved = self.proved.get(name)
        return proved is None or now - proved >= TRY_AGAIN

    def last_proved(self, before: Mapping[str, datetime]) -> dict[str, datetime]:
        """When each filter was last proved to work, as far as that is known now or was before."""
        return {**before, **{str(name): at for name, at in self.proved.items()}}

    def works(self, name: Filter, now: datetime) -> "FilterChecks":
        """Note that the filter was just proved to work: it is no longer suspended."""
        rest = {key: it for key, it in self.suspended.items() if key != name}
        return FilterChecks(rest, {**self.proved, name: now})

    def failed(self, name: Filter, error: GiveUp | TryLater, now: datetime) -> "FilterChecks":
        """Suspend the filter: a query with it failed, though the list could be read.

        Raises the error if it is about the account, not about the filter.
        """
        if concerns_all(error):
            raise error
        cause: Cause = "refused" if isinstance(error, GiveUp) else "failing"
        return self._suspend(name, cause, error.reason, now)

    def ignored(self, name: Filter, now: datetime) -> "FilterChecks":
        """Suspend the filter: the API ignored it."""
        return self._suspend(name, "ignored", _IGNORED[name], now)

    def _suspend(self, name: Filter, cause: Cause, reason: str, now: datetime) -> "FilterChecks":
        known = self.suspended.get(name)
        suspension = Suspension(cause, reason, known.since if known else now, now)
        return replace(self, suspended={**self.suspended, name: suspension})


def failure(name: Filter, cause: Cause) -> str:
    """What is wrong with the filter, in words."""
    match cause:
        case "ignored":
            return f"the API ignores the {WORDS[name]} filter"
        case "refused":
            return f"the API rejects the {WORDS[name]} filter"
        case "failing":
            return f"requests with the {WORDS[name]} filter fail"
        case _:
            assert_never(cause)


_IGNORED: Mapping[Filter, str] = {
    "frictionmin": "an impossible friction matches recordings",
    "search": "a text that no session has finds recordings",
    "visitortype": "returning and first-time visitors are not all visitors, each counted once",
}


def concerns_all(error: GiveUp | TryLater) -> bool:
    """Whether the error is about the account or its rate limit, not about one query."""
    return isinstance(error, BadCredentials) or (isinstance(error, TryLater) and error.lane)


class SecondTry(Struct, frozen=True):
    """Sends what fails a second time, at once.

    Of several servers one may reject a filter that the others know. Without this, a filter that
    fails every second time would hardly ever decide anything: one poll asks several questions.
    """

    real: Mouseflow

    async def send(self, request: Request[T]) -> T:
        """Send the request; raises what the second try raises."""
        try:
            return await self.real.send(request)
        except (GiveUp, TryLater) as error:
            if concerns_all(error):
                raise
            return await self.real.send(request)


async def check_filter(
    checks: FilterChecks,
    name: Filter,
    mouseflow: Mouseflow,
    website: str,
    window: SessionFilters,
    total: int,
    now: datetime,
) -> FilterChecks:
    """Ask for what only a working filter answers right.

    `total` is how many recordings the window has: an empty one proves nothing.
    """
    if not total:
        return checks
    if name not in checks.suspended:
        mouseflow = SecondTry(mouseflow)
    try:
        ignored = await is_ignored(name, mouseflow, website, window, total)
    except (GiveUp, TryLater) as error:
        return checks.failed(name, error, now)
    return checks.ignored(name, now) if ignored else checks.works(name, now)


async def is_ignored(
    name: Filter, mouseflow: Mouseflow, website: str, window: SessionFilters, total: int
) -> bool:
    """Whether the API answers as if the filter were not there. Raises the errors of the calls."""
    match name:
        case "frictionmin":
            return await friction_is_ignored(mouseflow, website, window)
        case "visitortype":
            return await _visitor_type_is_ignored(mouseflow, website, window, total)
        case "search":
            return await search_is_ignored(mouseflow, website, window)
        case _:
            assert_never(name)


async def _visitor_type_is_ignored(
    mouseflow: Mouseflow, website: str, window: SessionFilters, total: int
) -> bool:
    """Whether some recording is of both types, or they are not as many as all."""
    came_back, first = [
        await read(mouseflow, website, narrowed(window, visitor=it), LEAST, brief=True)
        for it in ("returning", "first")
    ]
    if came_back.ids & first.ids:
        return True
    both = came_back.count + first.count
    if both == total:
        return False
    # Recordings may have come or been deleted since the total was read.
    present = (await read(mouseflow, website, window, limit=1)).count
    return not min(total, present) <= both <= max(total, present)
