"""What can go wrong at the API, cut by what the caller does next: mend, drop, or try later.

GiveUp
├── Denied        401, 403: the credentials or the user's rights must change
├── Gone          404, 410: what was asked for is not there
└── Refused       400, 405, 406, 418, other 4xx and redirects: the request itself is wrong
TryLater
└── Unavailable   408, 425, 429, 5xx, network, time-outs, answers that can't be read

Statuses: the API document, L4447-4457. Each class for one status is a leaf of its family.
"""

from datetime import timedelta
from typing import Protocol, TypeVar

from bot.errors import BotError, GiveUp, TryLater

SHOWN_BYTES = 500


class BadAnswer(ValueError):
    """The body is not what this endpoint answers. The text holds nothing of the body."""


class CallFailed(BotError):
    """What every failed call knows.

    `path` has no query, since queries carry what people typed. `body` is the start of the
    answer, at most 500 bytes, without control characters; never a header, so never a
    credential. `status` is None where no answer came.
    """

    method: str = ""
    path: str = ""
    status: int | None = None
    body: str = ""


class Denied(GiveUp, CallFailed):
    """The account does not let us; a person must change the key or the user's rights."""


class BadCredentials(Denied):
    """401: the email or the API key is wrong, or belongs to the other region."""


class Forbidden(Denied):
    """403: the user may not do this; for a write, the website is read-only for the user."""


class Gone(GiveUp, CallFailed):
    """What was asked for is not there, and asking again won't bring it back."""


class NotFound(Gone):
    """404: no such website, recording, page... for this user."""


class Removed(Gone):
    """410: it was there and has been deleted."""


class Refused(GiveUp, CallFailed):
    """The request itself is wrong; sending it again would be refused again."""


class BadRequest(Refused):
    """400: the API finds the request invalid."""


class WrongMethod(Refused):
    """405: this path does not take this method."""


class NotJson(Refused):
    """406: a format other than JSON was asked for."""


class Teapot(Refused):
    """418: documented without a meaning; some firewalls answer it to a blocked client."""


class Unavailable(TryLater, CallFailed):
    """The API did not answer as it should; later it may. `after` is what it asked us to wait."""


class TooManyRequests(Unavailable):
    """429: the account's rate limit is used up. Nothing was done."""


class ServerError(Unavailable):
    """500 and other 5xx: the request may have taken effect or not."""


class Maintenance(Unavailable):
    """503: temporarily offline."""


class Unreachable(Unavailable):
    """No answer: the network, the name, TLS, a time-out, or a connection that was cut."""


class UnreadableAnswer(Unavailable):
    """An answer with status 2xx whose body is not what the endpoint answers."""


class Asked(Protocol):
    """What an error says of the request it belongs to."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def route(self) -> str: ...


_GIVE_UP: dict[int, type[Denied | Gone | Refused]] = {
    400: BadRequest,
    401: BadCredentials,
    403: Forbidden,
    404: NotFound,
    405: WrongMethod,
    406: NotJson,
    410: Removed,
    418: Teapot,
}
_TRY_LATER: dict[int, type[Unavailable]] = {429: TooManyRequests, 503: Maintenance}
_MEANING = {
    400: "the request is invalid",
    401: "the email or the API key is wrong",
    403: "this user has no permission",
    404: "not found",
    405: "the method is not allowed",
    406: "a format other than JSON was asked for",
    408: "the server gave up waiting for the request",
    410: "it has been removed",
    418: "I'm a teapot",
    425: "too early",
    429: "too many requests",
    500: "the server had a problem",
    503: "offline for maintenance",
}
# The API did not take the request. A 503 may also come from a machine in between, afterwards.
_NOT_DONE = (425, 429)


def failure(
    asked: Asked, status: int, body: bytes, after: timedelta | None = None, hint: str = ""
) -> Denied | Gone | Refused | Unavailable:
    """The error for an answer that is not 2xx.

    `hint` is added for people. A write that met a 408 or a 5xx may have taken effect: its
    `unknown` is true.
    """
    text = shown(body)
    reason = f"{asked.method} {asked.path}: {status} {_MEANING.get(status, '')}".rstrip()
    if text:
        reason += f" ({text[:120]})"
    if status in (408, 425, 429) or status >= 500:
        later = _TRY_LATER.get(status, ServerError if status >= 500 else Unavailable)
        unknown = asked.method != "GET" and status not in _NOT_DONE
        return _told(later(reason, after=after, unknown=unknown), asked, status, text)
    return _told(_GIVE_UP.get(status, Refused)(reason, hint), asked, status, text)


def unreachable(asked: Asked, reason: str, *, unknown: bool) -> Unreachable:
    """The error for a call without an answer; `unknown` if it may have taken effect."""
    error = Unreachable(f"{asked.method} {asked.path}: {reason}", unknown=unknown)
    return _told(error, asked, None, "")


def unreadable(asked: Asked, status: int, body: bytes, problem: BadAnswer) -> UnreadableAnswer:
    """The error for a 2xx answer with a body that can't be read; a write did take effect."""
    reason = f"{asked.method} {asked.path}: {status} with {problem}"
    error = UnreadableAnswer(reason, unknown=asked.method != "GET")
    return _told(error, asked, status, shown(body))


F = TypeVar("F", bound=CallFailed)


def _told(error: F, asked: Asked, status: int | None, body: str) -> F:
    error.method, error.path, error.status, error.body = asked.method, asked.path, status, body
    return error


def shown(body: bytes) -> str:
    """The start of a body for people: one line, no control characters, at most 500 bytes."""
    text = body[:SHOWN_BYTES].decode("utf-8", "replace")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
