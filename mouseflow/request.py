"""One API call as a value: what to send, how to read the answer, whether it may be repeated."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from mouseflow.arguments import identifier, whole

T = TypeVar("T")
Pairs = tuple[tuple[str, str], ...]
InPieces = Callable[[bytes], Generator[None, None, T]]
"""Reads a long answer a piece at a time, so that an event loop can do other work in between."""


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """A call that any client can send: `await client.send(request)` returns a `T`.

    `path` is percent-encoded. `route` is its template ("GET /websites/{website-id}"), the
    only form fit for logs and metrics. `read` decodes the body of a 2xx answer into a `T` and
    raises `BadAnswer` if it cannot; `in_pieces` does the same in short pieces. `repeatable`:
    sending it twice has the effect of sending it once, so it may be retried while the outcome
    of the first attempt is unknown.
    """

    method: str
    path: str
    route: str
    read: Callable[[bytes], T] = field(repr=False)
    query: Pairs = ()
    body: bytes | None = field(default=None, repr=False)
    repeatable: bool = True
    in_pieces: InPieces[T] | None = field(default=None, repr=False)

    @property
    def target(self) -> str:
        """Path and query, as in the request line."""
        if not self.query:
            return self.path
        pairs = (f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in self.query)
        return f"{self.path}?{'&'.join(pairs)}"

    @property
    def website(self) -> str:
        """The website's id in the path, percent-encoded; "" for a request about the account."""
        return self.path.split("/")[2] if "/websites/{website-id}" in self.route else ""


def build(
    method: str,
    template: str,
    read: Callable[[bytes], T],
    *,
    query: Pairs = (),
    body: Any = None,
    repeatable: bool = True,
    in_pieces: InPieces[T] | None = None,
    **ids: str,
) -> Request[T]:
    """The request to that path template, with `ids` for its names and `body` as JSON.

    `-` in the template's names is `_` in the arguments. Raises ValueError for an id that
    would lead to another path.
    """
    encoded = None if body is None else msgspec.json.encode(body)
    route = f"{method} {template}"
    return Request(
        method, path(template, **ids), route, read, query, encoded, repeatable, in_pieces
    )  # fmt: skip


def path(template: str, **ids: str) -> str:
    """The template with each `{name}` replaced by its id, percent-encoded."""
    filled = template
    for name, value in ids.items():
        label = name.replace("_", "-")
        filled = filled.replace(f"{{{label}}}", quote(identifier(label, value), safe=""))
    return filled


def integer_pair(name: str, value: int | None) -> Pairs:
    """The query pair of a whole number, nothing for None; raises ValueError if negative."""
    return () if value is None else ((name, str(whole(name, value))),)


def changes(checks: Mapping[str, Callable[[str, Any], Any]], **values: Any) -> dict[str, Any]:
    """The arguments that are not None, checked, under the API's camelCase names.

    An update sends only the keys that change (the API document, L636): the API leaves the
    other settings as they are.
    """
    return {
        camel_case(name): checks[name](name, value)
        for name, value in values.items()
        if value is not None
    }


def camel_case(name: str) -> str:
    """`recording_rate` as the API writes it: `recordingRate`."""
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
