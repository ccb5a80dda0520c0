"""Ports for a dry run: they ask the real account, and only write down what they would change."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar, cast

import msgspec

from bot.errors import GiveUp
from bot.mouseflow import Request
from bot.mouseflow.models import WebsiteDetail
from bot.ports import Mouseflow, SlackPost

T = TypeVar("T")


@dataclass(slots=True)
class Diary:
    """What would have been done: calls that change something, and posts."""

    writes: list[str] = field(default_factory=list)
    posts: list[SlackPost] = field(default_factory=list)
    hooks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DryMouseflow:
    """Reads for real; a write is put into the diary and answered as if it had been done."""

    real: Mouseflow
    diary: Diary
    changed: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def send(self, request: Request[T]) -> T:
        if request.method == "GET":
            return _as_changed(await self.real.send(request), self.changed.get(request.path, {}))
        self.diary.writes.append(f"{request.method} {request.target}")
        if request.method == "PUT" and request.body:
            self.changed.setdefault(request.path, {}).update(msgspec.json.decode(request.body))
        return request.read(b'"dry-run"')


_FIELDS = {"recordingStatus": "status", "recordingRate": "recording_rate"}


def _as_changed(answer: T, changes: dict[str, Any]) -> T:
    """The answer as it would be after the writes: actions read again what they have written."""
    if isinstance(answer, WebsiteDetail):
        known = {_FIELDS[name]: value for name, value in changes.items() if name in _FIELDS}
        return msgspec.structs.replace(answer, **known)
    return cast(T, answer | changes) if isinstance(answer, dict) else answer


@dataclass(frozen=True, slots=True)
class DrySlack:
    """Posts into the diary."""

    diary: Diary

    async def post(self, post: SlackPost) -> str:
        self.diary.posts.append(post)
        return "dry-run"

    async def find(self, channel: str, key: str, since: datetime) -> str | None:
        return None

    async def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True)
class DryWebhook:
    """Calls nobody; the diary has the address without its query, which may hold a secret."""

    diary: Diary

    async def call(
        self, url: str, body: bytes, headers: Mapping[str, str], secret: str | None = None
    ) -> None:
        self.diary.hooks.append(url.partition("?")[0])

    async def close(self) -> None:
        """Nothing is open."""


class Silent:
    """Slack where none is configured: no rule may post then, so this is never reached."""

    async def post(self, post: SlackPost) -> str:
        raise GiveUp("Slack is not configured", "set slack.bot_token or slack.webhook_url")

    async def find(self, channel: str, key: str, since: datetime) -> str | None:
        return None

    async def close(self) -> None:
        """Nothing is open."""
