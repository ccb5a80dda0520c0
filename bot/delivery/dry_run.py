"""Ports for a dry run: they read the real account, and log changes instead of making them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar, cast
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Struct

from bot.errors import Refused
from bot.ports import Mouseflow, PlainMessage, SlackPost
from mouseflow import Request
from mouseflow.models import Recording, WebsiteDetail

T = TypeVar("T")


@dataclass(slots=True)
class DryRunLog:
    """What would have been done: requests that change something, posts, the last edit of each
    message, webhook hosts, and messages to other places.
    """

    requests: list[Request[Any]] = field(default_factory=list)
    posts: list[SlackPost] = field(default_factory=list)
    edits: dict[str, SlackPost] = field(default_factory=dict)
    hooks: list[str] = field(default_factory=list)
    letters: list[tuple[str, PlainMessage]] = field(default_factory=list)

    @property
    def writes(self) -> list[str]:
        """The requests as they would have been sent: method, path and query."""
        return [f"{request.method} {request.target}" for request in self.requests]


_RECORDING = "/websites/{website-id}/recordings/{recording-id}"
_HEATMAP = "/websites/{website-id}/heatmaps/share"
_Words = Callable[[str, str, Mapping[str, str], Mapping[str, Any]], str]
_WORDS: Mapping[str, _Words] = {
    f"POST {_RECORDING}/tag": lambda it, at, query, _: f"tag {it} on {at} with {query['tag']}",
    f"DELETE {_RECORDING}/tag": lambda it, at, query, _: (
        f"take the tag {query['tag']} off {it} on {at}"
    ),
    f"POST {_RECORDING}/star": lambda it, at, *_: f"star {it} on {at}",
    f"DELETE {_RECORDING}/star": lambda it, at, *_: f"take the star off {it} on {at}",
    f"POST {_RECORDING}/watched": lambda it, at, *_: f"mark {it} on {at} as watched",
    f"DELETE {_RECORDING}/watched": lambda it, at, *_: f"mark {it} on {at} as not watched",
    # Values may be a visitor's; the keys say enough.
    f"PUT {_RECORDING}/variables": lambda it, at, _, body: f"set {', '.join(body)} of {it} on {at}",
    f"POST {_RECORDING}/share": lambda it, at, *_: f"share {it} on {at}",
    f"DELETE {_RECORDING}/share": lambda it, at, *_: f"end the share of {it} on {at}",
    f"DELETE {_RECORDING}": lambda it, at, *_: f"delete {it} on {at}, for good",
    f"POST {_HEATMAP}": lambda _, at, query, __: f"share the heatmap of {query['url']} on {at}",
    f"DELETE {_HEATMAP}": lambda _, at, query, __: (
        f"end the share of the heatmap of {query['url']} on {at}"
    ),
    "PUT /websites/{website-id}": lambda _, at, __, body: " and ".join(
        f"set {key} of {at} to {value}" for key, value in body.items()
    ),
    "PUT /websites/{website-id}/feedback/{feedback-id}": lambda it, at, _, body: (
        f"switch campaign {it} on {at} {'on' if body.get('enabled') else 'off'}"
    ),
}


def in_words(request: Request[Any], names: Mapping[str, str]) -> str:
    """What the request does: `tag 4a1b2c on myshop.com with friction`; `names`: websites by id."""
    words = _WORDS.get(request.route)
    if words is None:
        return f"send {request.method} {request.target}"
    parts = [unquote(part) for part in request.path.split("/")]
    body = msgspec.json.decode(request.body) if request.body else {}
    subject = parts[4] if len(parts) > 4 else ""
    return words(subject, names.get(parts[2], parts[2]), dict(request.query), body)


class DryMouseflow(Struct, frozen=True):
    """Reads for real; a write only goes into the log, and is answered as if it had been done."""

    real: Mouseflow
    dry_run_log: DryRunLog
    changed: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)

    async def send(self, request: Request[T]) -> T:
        if request.method == "GET":
            return _as_changed(await self.real.send(request), self.changed.get(request.path, {}))
        self.dry_run_log.requests.append(request)
        if request.method == "PUT" and request.body:
            read_at = request.path.removesuffix(
                "/variables"
            )  # a recording's detail has its variables
            self.changed.setdefault(read_at, {}).update(msgspec.json.decode(request.body))
        return request.read(b'"dry-run"')


_FIELDS = {"recordingStatus": "status", "recordingRate": "recording_rate"}


def _as_changed(answer: T, changes: dict[str, Any]) -> T:
    """The answer as it would be after the writes: actions read back what they wrote."""
    if isinstance(answer, WebsiteDetail):
        known = {_FIELDS[name]: value for name, value in changes.items() if name in _FIELDS}
        return msgspec.structs.replace(answer, **known)
    if isinstance(answer, Recording):
        kept = tuple(pair for pair in answer.variables if pair.partition("=")[0] not in changes)
        written = tuple(f"{key}={value}" for key, value in changes.items() if value)
        return msgspec.structs.replace(answer, variables=kept + written)
    return cast(T, answer | changes) if isinstance(answer, dict) else answer


class DrySlack(Struct, frozen=True):
    """Posts into the log."""

    dry_run_log: DryRunLog

    async def post(self, post: SlackPost) -> str:
        self.dry_run_log.posts.append(post)
        return "dry-run"

    async def update(self, post: SlackPost, stamp: str) -> None:
        self.dry_run_log.edits[post.key] = post

    async def find(self, channel: str, key: str, since: datetime, thread: str = "") -> str | None:
        return None

    async def check_channel(self, channel: str) -> None:
        """Nothing is posted, so nothing is looked up."""

    async def close(self) -> None:
        """Nothing is open."""


class DryWebhook(Struct, frozen=True):
    """Calls nobody; logs scheme and host only, since path and query may hold a secret."""

    dry_run_log: DryRunLog

    async def call(
        self, url: str, body: bytes, headers: Mapping[str, str], secret: str | None = None
    ) -> None:
        parts = urlsplit(url)
        self.dry_run_log.hooks.append(f"{parts.scheme}://{parts.hostname}")

    async def close(self) -> None:
        """Nothing is open."""


class DryNotify(Struct, frozen=True):
    """Sends into the log."""

    dry_run_log: DryRunLog

    async def send(self, place: str, message: PlainMessage) -> str:
        self.dry_run_log.letters.append((place, message))
        return "dry-run"


class NoSlack:
    """Slack if none is configured: no rule may post then, so this is never reached."""

    async def post(self, post: SlackPost) -> str:
        remedy = "set slack.bot_token or slack.webhook_url"
        raise Refused("Slack is not configured", remedy, code="no_slack")

    async def update(self, post: SlackPost, stamp: str) -> None:
        """Nothing was posted, so nothing is edited."""

    async def find(self, channel: str, key: str, since: datetime, thread: str = "") -> str | None:
        return None

    async def check_channel(self, channel: str) -> None:
        """Nothing is posted, so nothing is looked up."""

    async def close(self) -> None:
        """Nothing is open."""
