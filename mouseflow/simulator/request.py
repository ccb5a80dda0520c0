"""One authenticated call as the endpoints see it, and the answers they return."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

import msgspec
from starlette.responses import Response

from mouseflow.simulator import filters
from mouseflow.simulator.site import Site
from mouseflow.simulator.timeline import Visit
from mouseflow.simulator.world import ApiError, World

_JSON = {"content-type": "application/json; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class ApiCall:
    """A call: the user, the ids in the path, the query parameters (lower-case names), the body."""

    world: World
    user: str
    path: Mapping[str, str]
    parameters: Mapping[str, str]
    body: bytes

    @property
    def site(self) -> Site:
        """The website in the path; raises ApiError 404."""
        found = self.world.sites.get(self.path["website"])
        if found is None:
            raise ApiError(404, "No such website.")
        return found

    @property
    def visit(self) -> Visit:
        """The recording in the path; raises ApiError 404 or 410."""
        return self.world.visit(self.site, self.path["recording"])

    @property
    def query(self) -> filters.Query:
        """The filters of the call, without those that this server ignores; raises BadFilter."""
        return self._query(self._used_parameters())

    @property
    def page_query(self) -> filters.Query:
        """The filters of a page list: those of whole sessions have no effect (L4301, L4374)."""
        used = self._used_parameters()
        without = filters.SESSION_ONLY | (
            frozenset() if self.world.quirks.page_list_friction else filters.FRICTION
        )
        return self._query({key: value for key, value in used.items() if key not in without})

    @property
    def window(self) -> filters.Window:
        """The date range of the call; raises BadFilter."""
        return filters.parse_window(self._used_parameters())

    def limit(self, default: int | None = 50) -> int | None:
        """The maximum number of items (L855); raises BadFilter."""
        found = filters.integer(self.parameters, "limit")
        if found is not None and found < 0:
            raise filters.BadFilter("limit must not be negative.")
        return default if found is None else found

    def required(self, name: str) -> str:
        """A mandatory parameter; raises ApiError 400."""
        value = self.parameters.get(name, "")
        if not value:
            raise ApiError(400, f"{name} is required.")
        return value

    def json(self) -> dict[str, Any]:
        """The body, which must be a JSON object; raises ApiError 400."""
        try:
            found = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ApiError(400, "The body is not JSON.") from None
        if not isinstance(found, dict):
            raise ApiError(400, "The body must be a JSON object.")
        return found

    def _query(self, parameters: Mapping[str, str]) -> filters.Query:
        strict = self.world.quirks.unlisted_values == "refuse"
        return filters.parse_query(parameters, strict=strict)

    def _used_parameters(self) -> dict[str, str]:
        ignored = self.world.quirks.ignored_filters
        return {key: value for key, value in self.parameters.items() if key not in ignored}


Endpoint = Callable[[ApiCall], Response]
Row = tuple[str, str, Endpoint]


def answer(value: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(value), status, _JSON)


def done(call: ApiCall) -> Response:
    """The answer of a write; undocumented, so it is a quirk."""
    kind = call.world.quirks.write_answer
    match kind:
        case "empty":
            return Response(b"", 200)
        case "text":
            return Response("OK", media_type="text/plain")
        case "html":
            return Response("<html><body>OK</body></html>", media_type="text/html")
        case _:
            assert_never(kind)


def limited(items: list[Any], limit: int | None) -> list[Any]:
    """The first `limit` items, or all of them."""
    return items if limit is None else items[:limit]
