"""One call to the API as a value: what to send, how to read the answer, may it be repeated."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

T = TypeVar("T")
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """A call that any sender can make: `await client.send(request)` gives a `T`.

    `path` is percent-encoded. `route` is its template ("GET /websites/{website-id}"), the
    only form fit for logs and metrics. `read` turns the body of a 2xx answer into a `T` and
    raises `BadAnswer` where it can't. `repeatable` tells that the request may be sent again
    while the outcome of the first attempt is unknown, because twice has the effect of once.
    """

    method: str
    path: str
    route: str
    read: Callable[[bytes], T] = field(repr=False)
    query: Pairs = ()
    body: bytes | None = field(default=None, repr=False)
    repeatable: bool = True

    @property
    def target(self) -> str:
        """Path and query as they stand in the request line."""
        if not self.query:
            return self.path
        pairs = (f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in self.query)
        return f"{self.path}?{'&'.join(pairs)}"

    @property
    def website(self) -> str:
        """The id in the path, percent-encoded; "" where the request is about the account."""
        return self.path.split("/")[2] if "/websites/{website-id}" in self.route else ""


def place(template: str, **names: str) -> str:
    """The template with each `{name}` replaced by its value, percent-encoded.

    `-` in the template's names is `_` in the arguments. Raises ValueError for a value that
    would make another path of it.
    """
    path = template
    for name, value in names.items():
        label = name.replace("_", "-")
        if value in ("", ".", ".."):
            raise ValueError(f"{label} may not be {value!r}")
        path = path.replace(f"{{{label}}}", quote(value, safe=""))
    return path


def number(name: str, value: int | None) -> Pairs:
    """A whole number as a query, nothing for None; raises ValueError for a negative one."""
    if value is None:
        return ()
    if value < 0:
        raise ValueError(f"{name} may not be negative")
    return ((name, str(value)),)


def json_body(value: Any) -> bytes:
    """The value as JSON, in the order given."""
    return msgspec.json.encode(value)


def given(**values: Any) -> dict[str, Any]:
    """The arguments that are not None, under the API's camelCase names.

    An update sends only the keys that change (the API document, L636): what is not named
    stays as it is, and what was read is never sent back.
    """
    return {camel(name): value for name, value in values.items() if value is not None}


def camel(name: str) -> str:
    """`recording_rate` as the API writes it: `recordingRate`."""
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
