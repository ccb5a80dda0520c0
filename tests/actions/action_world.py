"""A pretend Mouseflow, Slack and webhook receiver for the actions, and tasks to give them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import msgspec
from msgspec.structs import replace

from bot.account import meaning
from bot.actions.base import Action
from bot.errors import TryLater
from bot.messages.template_check import SAMPLES
from bot.ports import Addresses, CannotLook, Ports, SlackPost, Task
from mouseflow.errors import status_error
from mouseflow.request import Request

NOW = datetime(2026, 3, 2, 12, 3, tzinfo=UTC)


def task(kind: str = "recordings", **changes: Any) -> Task:
    """A task about a sample; `recording=...` and `subject=...` change fields within it."""
    made = SAMPLES[kind]
    subject = made.subject
    if "recording" in changes:
        changed = msgspec.structs.replace(subject.recording, **changes.pop("recording"))
        subject = msgspec.structs.replace(subject, recording=changed)
    if "subject" in changes:
        subject = msgspec.structs.replace(subject, **changes.pop("subject"))
    return replace(made, subject=subject, **({"now": NOW} | changes))


def unshared(**changes: Any) -> Task:
    """A recording without tags, star or share."""
    return task(recording={"token": None, "tags": (), "variables": ()}, **changes)


def reread(action: Action) -> Action:
    """The action as it comes back from the store."""
    return type(action).restored(action.stored())


@dataclass
class Account:
    """A pretend Mouseflow account with one recording, website, campaign and page.

    `trouble` holds, by route, errors to raise before the effect, or after it (`lost`).
    """

    recording: dict[str, Any] | None = field(
        default_factory=lambda: {"id": "r1", "tags": [], "variables": [], "starred": False}
    )
    website: dict[str, Any] = field(
        default_factory=lambda: {"id": "w1", "status": "Recording", "recordingRate": 100}
    )
    campaign: dict[str, Any] = field(
        default_factory=lambda: {
            "campaignId": "c1",
            "name": "How was it?",
            "enabled": True,
            "notification": "https://example.com/hook?key=s3cret",
            "unheardOf": {"kept": [1, 2]},
            "report": {"responses": 3},
        }
    )
    page: dict[str, Any] = field(default_factory=lambda: {"uri": "https://myshop.com/checkout/pay"})
    calls: list[str] = field(default_factory=list)
    status: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    replaces_variables: bool = False
    deaf: bool = False
    shares: int = 0

    async def send(self, request: Request[Any]) -> Any:
        self.calls.append(f"{request.method} {unquote(request.target)}")
        if request.route in self.status:
            raise meaning(status_error(request, self.status[request.route], b""))
        answer = self._answer(request)
        if answer is None:
            raise meaning(status_error(request, 404, b""))
        if self.lost.get(request.route):
            self.lost[request.route] -= 1
            raise TryLater("the answer was lost", unknown=True)
        return request.read(answer)

    @property
    def writes(self) -> list[str]:
        return [call for call in self.calls if not call.startswith("GET")]

    def _answer(self, request: Request[Any]) -> bytes | None:
        method, _, route = request.route.partition(" ")
        sent = json.loads(request.body) if request.body else {}
        query = dict(request.query)
        if route.startswith("/websites/{website-id}/recordings/"):
            if self.recording is None:
                return None
            return self._on_recording(method, route.rpartition("/")[2], query, sent)
        if "/feedback/" in route:
            if method == "PUT" and not self.deaf:  # it may well take a part for the whole
                self.campaign = {"report": self.campaign["report"], **sent}
            return self._on("GET", self.campaign, {})
        if "pagelist" in route:
            return json.dumps(self.page).encode()
        if "heatmaps" in route:
            return self._shared(method, self.page, answers=False)
        if "recordingStatus" in sent:
            sent = {"status": sent["recordingStatus"]}
        return self._on(method, self.website, sent)

    def _on(self, method: str, thing: dict[str, Any], sent: Mapping[str, Any]) -> bytes:
        if method == "PUT" and not self.deaf:
            thing.update(sent)
        return b"" if method == "PUT" else json.dumps(thing).encode()

    def _on_recording(
        self, method: str, last: str, query: Mapping[str, str], sent: Mapping[str, str]
    ) -> bytes:
        assert self.recording is not None
        adds = method == "POST"
        if last == "{recording-id}":
            found = json.dumps(self.recording).encode()
            self.recording = None if method == "DELETE" else self.recording
            return found
        if last == "tag":
            tags = set(self.recording["tags"]) - {query["tag"]}
            self.recording["tags"] = sorted(tags | ({query["tag"]} if adds else set()))
        elif last == "variables" and not self.deaf:
            self._edit(sent)
        elif last == "share":
            return self._shared(method, self.recording, answers=True)
        else:
            self.recording["starred" if last == "star" else "watched"] = adds
        return b""

    def _edit(self, sent: Mapping[str, str]) -> None:
        assert self.recording is not None
        pairs = (pair.split("=", 1) for pair in self.recording["variables"])
        before = {} if self.replaces_variables else dict(pairs)
        after = {key: value for key, value in {**before, **sent}.items() if value}
        self.recording["variables"] = [f"{key}={value}" for key, value in after.items()]

    def _shared(self, method: str, thing: dict[str, Any], *, answers: bool) -> bytes:
        if method == "DELETE":
            thing.pop("token", None)
            return b""
        self.shares += 1
        thing["token"] = f"T{self.shares}"
        return json.dumps(thing["token"]).encode() if answers else b""


@dataclass
class Channel:
    """A pretend Slack: what was posted, and what goes wrong."""

    posts: list[SlackPost] = field(default_factory=list)
    error: Exception | None = None
    lost: int = 0
    blind: bool = False
    looks: int = 0

    async def post(self, post: SlackPost) -> str:
        if self.error:
            raise self.error
        self.posts.append(post)
        if self.lost:
            self.lost -= 1
            raise TryLater("the answer was lost", unknown=True)
        return f"{len(self.posts)}.0"

    async def find(self, channel: str, key: str, since: datetime, thread: str = "") -> str | None:
        self.looks += 1
        if self.blind:
            raise CannotLook("no scope")
        if self.error:
            raise self.error
        for place, post in enumerate(self.posts, 1):
            if (post.channel, post.key) == (channel, key):
                return f"{place}.0"
        return None


@dataclass
class Receiver:
    """A pretend webhook receiver."""

    calls: list[tuple[str, bytes, Mapping[str, str], str | None]] = field(default_factory=list)

    async def call(
        self, url: str, body: bytes, headers: Mapping[str, str], secret: str | None = None
    ) -> None:
        self.calls.append((url, body, headers, secret))


@dataclass
class World:
    """The three together."""

    account: Account = field(default_factory=Account)
    slack: Channel = field(default_factory=Channel)
    webhook: Receiver = field(default_factory=Receiver)
    addresses: Addresses = field(
        default_factory=lambda: Addresses(channel="#mouseflow", ops_channel="#ops")
    )

    @property
    def ports(self) -> Ports:
        return Ports(self.account, self.slack, self.webhook, self.addresses)


def again(made: Task, seconds: float = 60) -> Task:
    """The same task, a while after an attempt whose outcome is unknown."""
    return replace(made, attempted=made.now, now=made.now + timedelta(seconds=seconds))
