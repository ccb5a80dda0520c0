"""What can go wrong at the API, grouped by what the caller does next.

MouseflowError
├── ConfigurationError   fix the address or the credentials
├── BadAnswer            a body that a request's `read` cannot decode
├── IncompleteList       a list could not be read to its end
├── IgnoredFilter        the API ignores a filter that the result depends on
└── CallFailed           a request failed
    ├── Rejected         do not retry: the same request fails again
    │   ├── Denied           401 BadCredentials, 403 Forbidden
    │   ├── Gone             404 NotFound, 410 Removed
    │   └── InvalidRequest   400, 405, 406, 418, other 4xx, redirects
    └── Unavailable      retry later: 408, 425, 429 TooManyRequests, 5xx ServerError,
                         503 Maintenance, Unreachable, TooLarge, UnreadableAnswer

Statuses: the API document, L4447-4457. Arguments that the API could not accept raise
ValueError before anything is sent.
"""

from datetime import timedelta
from typing import Any

from mouseflow.request import Request

MAX_BODY_SHOWN = 500


class MouseflowError(Exception):
    """Everything that this package raises on purpose, except ValueError for bad arguments.

    The text is for people and holds no credential.
    """


class ConfigurationError(MouseflowError):
    """The address or the credentials cannot be right. Nothing was sent."""


class BadAnswer(MouseflowError):
    """The body is not what this endpoint answers. The text quotes nothing of the body."""


class IncompleteList(MouseflowError):
    """A list ended before all of it was read. `missed` counts the rows that are lacking."""

    def __init__(self, reason: str, missed: int) -> None:
        super().__init__(reason)
        self.missed = missed


class IgnoredFilter(MouseflowError):
    """The API ignores a filter that the result depends on: the result would be wrong."""


class CallFailed(MouseflowError):
    """A request failed.

    `path` has no query, because queries hold what people typed. `body` is the start of the
    answer, at most 500 bytes, without control characters; never a header, so never a
    credential. `status` is None if no answer arrived.
    """

    def __init__(
        self,
        reason: str,
        *,
        request: Request[Any] | None = None,
        status: int | None = None,
        body: str = "",
    ) -> None:
        self.reason = f"{request.method} {request.path}: {reason}" if request else reason
        self.method = request.method if request else ""
        self.path = request.path if request else ""
        self.status = status
        self.body = body
        super().__init__(self.reason)


class Rejected(CallFailed):
    """Do not retry: the same request fails again. `hint` says what a person can do."""

    def __init__(self, reason: str, hint: str = "", **call: Any) -> None:
        super().__init__(reason, **call)
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.reason}; {self.hint}" if self.hint else self.reason


class Denied(Rejected):
    """A person must change the credentials or the user's permissions."""


class BadCredentials(Denied):
    """401: the email or the API key is wrong, or belongs to the other region."""


class Forbidden(Denied):
    """403: the user lacks permission; for a write, the website is read-only for the user."""


class Gone(Rejected):
    """The website, recording, page... does not exist for this user."""


class NotFound(Gone):
    """404: not found."""


class Removed(Gone):
    """410: it existed and has been deleted."""


class InvalidRequest(Rejected):
    """400, 405, 406, 418, another 4xx or a redirect: the request itself is wrong."""


class Unavailable(CallFailed):
    """The API did not answer as it should. Retry later.

    `retry_after` is how long the API asked us to wait, None if it did not say.
    `outcome_unknown`: the request may have taken effect all the same. `account_wide`: every
    other request of this account would fail now as well.
    """

    def __init__(
        self,
        reason: str,
        *,
        retry_after: timedelta | None = None,
        outcome_unknown: bool = False,
        account_wide: bool = False,
        **call: Any,
    ) -> None:
        super().__init__(reason, **call)
        self.retry_after = retry_after
        self.outcome_unknown = outcome_unknown
        self.account_wide = account_wide


class TooManyRequests(Unavailable):
    """429: the account reached its rate limit. The API did nothing."""


class ServerError(Unavailable):
    """500 and other 5xx: the request may have taken effect."""


class Maintenance(Unavailable):
    """503: temporarily offline."""


class Unreachable(Unavailable):
    """No answer: the network, DNS, TLS, a timeout, or a dropped connection."""


class TooLarge(Unavailable):
    """An answer of more than 32 MB. Ask for less of it: a smaller `limit`."""


def is_too_large(error: BaseException) -> bool:
    """Whether an answer was too large, also if another error was raised for it (its cause)."""
    return isinstance(error, TooLarge) or isinstance(error.__cause__, TooLarge)


class UnreadableAnswer(Unavailable):
    """A 2xx answer whose body is not what the endpoint answers."""


_REJECTED: dict[int, type[Rejected]] = {
    401: BadCredentials,
    403: Forbidden,
    404: NotFound,
    410: Removed,
}
_UNAVAILABLE: dict[int, type[Unavailable]] = {
    408: Unavailable,
    425: Unavailable,
    429: TooManyRequests,
    503: Maintenance,
}
_MEANING = {
    400: "the request is invalid",
    401: "the email or the API key is wrong",
    403: "this user has no permission",
    404: "not found",
    405: "the method is not allowed",
    406: "a format other than JSON was requested",
    408: "the server timed out waiting for the request",
    410: "it has been removed",
    418: "I'm a teapot",
    425: "too early",
    429: "too many requests",
    500: "internal server error",
    503: "offline for maintenance",
}
# The API did not process the request. A 503 may also come from a proxy, after the fact.
_NOT_PROCESSED = (425, 429)


def status_error(
    request: Request[Any],
    status: int,
    body: bytes,
    retry_after: timedelta | None = None,
    hint: str = "",
) -> Rejected | Unavailable:
    """The error for an answer that is not 2xx.

    `hint` is for people. A write that met a 408 or a 5xx may have taken effect: its
    `outcome_unknown` is true.
    """
    text = printable(body)
    reason = f"{status} {_MEANING.get(status, '')}".rstrip()
    if text:
        reason += f" ({text[:120]})"
    if status in _UNAVAILABLE or status >= 500:
        return _UNAVAILABLE.get(status, ServerError)(
            reason,
            retry_after=retry_after,
            outcome_unknown=request.method != "GET" and status not in _NOT_PROCESSED,
            request=request,
            status=status,
            body=text,
        )
    kind = _REJECTED.get(status, InvalidRequest)
    return kind(reason, hint, request=request, status=status, body=text)


def unreadable(
    request: Request[Any], status: int, body: bytes, problem: BadAnswer
) -> UnreadableAnswer:
    """The error for a 2xx answer with a body that cannot be decoded; a write did take effect."""
    return UnreadableAnswer(
        f"{status} with {problem}",
        outcome_unknown=request.method != "GET",
        request=request,
        status=status,
        body=printable(body),
    )


def printable(body: bytes) -> str:
    """The start of a body for people: one line, no control characters, at most 500 bytes."""
    text = body[:MAX_BODY_SHOWN].decode("utf-8", "replace")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
