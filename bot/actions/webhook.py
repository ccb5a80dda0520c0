"""Call an outside URL with a match as signed JSON."""

import hashlib
import hmac
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from datetime import datetime, timedelta
from hashlib import blake2b
from ipaddress import ip_address
from typing import Annotated, Any, ClassVar, Literal, assert_never
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Struct

from bot.actions.base import Action, Done, Problem, Spec
from bot.actions.notifier import Notifier
from bot.domain.limits import Limit
from bot.domain.many import Many
from bot.domain.subjects import Band, Kind, RecordingSubject, Severity, Subject
from bot.errors import Refused
from bot.fields.catalogue import KINDS, text_fields
from bot.fields.field import Field as About
from bot.messages import links
from bot.messages.message import Message
from bot.messages.pages import page_of_trouble
from bot.messages.text import clean
from bot.ports import Addresses, Ports, Task
from bot.written import Check, Length, Written, Wrong, key
from mouseflow.models import Recording
from mouseflow.proxies import is_host

MOST_ITEMS, LONGEST_TEXT = 100, 500
_MS = timedelta(milliseconds=1)
TIMESTAMP = "Mouseflow-Bot-Timestamp"
SIGNATURE = "Mouseflow-Bot-Signature"
KEY = "Idempotency-Key"

REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/\S+")
"""A reference to a secret that is kept elsewhere."""

IN_RULE = "rule"
"""What the store keeps of a secret that the rule file spells out: it is read from the rule again
when the call is made. Too short to be a secret."""

_STORED = re.compile(r"https?://[^/]*/ [0-9a-f]{32}")
"""What the store keeps of a URL, which may be a secret itself: the host and a hash. No URL has a
space."""

NOT_KEPT = "env:SECRET_NOT_IN_THE_STORE"
"""What the kept rule files have instead of a secret that a rule file spells out."""

URL_NOT_KEPT = "/URL_NOT_IN_THE_STORE"
"""What the kept rule files have after the host of a webhook's URL."""


class Website(Struct, frozen=True):
    """The website that the match is about."""

    id: str
    name: str


class Share(Struct, frozen=True):
    """How many recordings have it; the name is null for those whose names are not kept apart."""

    name: str | None
    recordings: int


class Worst(Struct, frozen=True):
    """One of the worst recordings: what a line of a message shows of it."""

    url: str | None
    page: str | None
    friction: dict[str, float | None] | None
    duration: int | None
    at: datetime | None


class Counted(Struct, frozen=True, kw_only=True):
    """What a match of a rule with `count` stands for, as it was when the match was recorded.

    `recordings` came from `since` to `until`; the rule asks for `at_least` `within` a time (ms).
    All have the value `group` in `by`, null if it is personal. `websites`, `pages` and `devices`
    say where they concentrate, the most first; `worst` are the worst few.
    """

    recordings: int
    at_least: int
    within: int
    since: datetime
    until: datetime
    by: str
    group: str | None
    websites: tuple[Share, ...]
    pages: tuple[Share, ...]
    devices: tuple[Share, ...]
    worst: tuple[Worst, ...]


class Body(Struct, frozen=True, kw_only=True):
    """What is sent: version 1. Later versions may add keys; a receiver ignores what it does
    not know. `subject` holds what `docs/reference/messages.md` lists for the kind, without
    personal data.
    """

    version: Literal[1] = 1
    event: Literal["match"] = "match"
    key: str
    rule: str
    summary: str
    kind: Kind
    account: str | None
    website: Website
    matched: datetime
    why: tuple[str, ...]
    subject: dict[str, Any]
    url: str | None
    share_url: str | None
    severity: Severity
    runbook: str | None
    owner: str | None
    count: Counted | None = None


class Webhook(Notifier):
    """Posts the match to a URL; it speaks to a program, so nothing limits it.

    Delivery is at-least-once: a call whose outcome is unknown is repeated, with the same
    `Idempotency-Key` and body.
    """

    kind: ClassVar[str] = "webhook"
    quotes_visitors: ClassVar[bool] = True
    service: ClassVar[str] = "webhook"
    watches: ClassVar[tuple[Kind, ...]] = KINDS
    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)

    def as_stored(self) -> "Webhook":
        """What the store keeps: never the URL or the secret itself."""
        secret = self.secret
        if secret is not None and not REFERENCE.fullmatch(secret):
            secret = IN_RULE
        return Webhook(url=_stored(self.url), secret=secret)

    def as_in_rule(self, current: Iterable[Action]) -> "Webhook":
        """The call with the URL and secret that its rule has; `current` are the rule's actions.

        Raises Refused if none of them calls this URL, or none with a secret where it had one.
        """
        own = [action for action in current if isinstance(action, Webhook)]
        stored = self.as_stored()
        alike = [action for action in own if _stored(action.url) == stored.url]
        if self.secret == IN_RULE:
            alike = [action for action in alike if action.secret]
        same = [action for action in alike if action.as_stored() == stored]
        found = next(iter(same or alike), None)
        if found is None:
            raise Refused(
                "the URL or the secret of the webhook is no longer in its rule",
                "put it back into the rule, or take back what waits: mouseflow-bot cancel",
                code="no_secret",
            )
        if found.url.endswith(URL_NOT_KEPT):
            raise Refused(
                "the URL of the webhook is in a rule file with errors",
                "fix the rule file",
                code="no_secret",
            )
        return found

    def lane(self, subject: Subject, default_channel: str) -> str:
        """Calls to one URL wait for each other; a hash tells the URLs of a host apart."""
        named = f"{self.url} {self.secret_reference}"
        return f"webhook:{self._host} {blake2b(named.encode(), digest_size=4).hexdigest()}"

    async def perform(self, task: Task, ports: Ports) -> Done:
        """Call the URL."""
        content = body(task, ports.addresses)
        await ports.webhook.call(self.url, content, headers(task), self.secret)
        return Done(f"called {self._host}")

    def posts_to(self, default_channel: str) -> str | None:
        """None: a URL is no channel."""
        return None

    def routed(self, channel: str) -> "Webhook":
        """This call: it has no channel."""
        return self

    def plain(self) -> "Webhook":
        """This call: its body is fixed and nothing limits it."""
        return self

    @property
    def own_text(self) -> str | None:
        """None: the body is fixed."""
        return None

    @property
    def schedule(self) -> None:
        """None: a program takes each match when it comes."""
        return None

    @property
    def limit(self) -> Limit | None:
        """None: a program can take every match."""
        return None

    def message(self, task: Task, addresses: Addresses) -> Message | None:
        """None: nobody reads it."""
        return None

    def resolved(self, began: datetime) -> Action | None:
        """None: a webhook is called for matches only."""
        return None

    @property
    def secret_reference(self) -> str | None:
        """The secret, if the rule says where it is kept."""
        kept_elsewhere = self.secret and REFERENCE.fullmatch(self.secret)
        return self.secret if kept_elsewhere else None

    @property
    def secrets(self) -> Mapping[str, str]:
        """The secret that the rule spells out, and the URL if it is more than a host."""
        found = {self.secret: NOT_KEPT} if self.secret and not self.secret_reference else {}
        parts = urlsplit(self.url)
        if parts.path.strip("/") or parts.query:
            found[self.url] = f"{parts.scheme}://{parts.netloc}{URL_NOT_KEPT}"
        return found

    @property
    def _host(self) -> str:
        return urlsplit(self.url).hostname or ""


def _stored(url: str) -> str:
    if _STORED.fullmatch(url):
        return url
    parts, named = urlsplit(url), blake2b(url.encode(), digest_size=16).hexdigest()
    return f"{parts.scheme}://{parts.netloc}/ {named}"


def body(task: Task, addresses: Addresses) -> bytes:
    """The JSON body for this match: the same bytes for every attempt."""
    subject = task.subject
    return msgspec.json.encode(
        Body(
            key=task.key,
            rule=task.rule,
            summary=task.summary or task.rule,
            kind=subject.kind,
            account=addresses.account or None,
            website=Website(subject.website.id, subject.website.name),
            matched=task.matched,
            why=tuple(clean(line) for line in task.why),
            subject=_facts(subject),
            url=links.playback(subject, addresses),
            share_url=links.public(task.results.get("share"), addresses),
            severity=task.severity,
            runbook=task.runbook or None,
            owner=task.owner or None,
            count=_counted(task.many, addresses) if task.many else None,
        )
    )


def _counted(many: Many, addresses: Addresses) -> Counted:
    return Counted(
        recordings=many.total,
        at_least=many.asked,
        within=many.within // _MS,
        since=many.since,
        until=many.until,
        by=many.by,
        group=many.group or None,
        websites=_shares(many.spread.websites),
        pages=_shares(many.spread.pages),
        devices=_shares(many.spread.devices),
        worst=tuple(_worst(each, addresses) for each in many.worst),
    )


def _shares(counts: Mapping[str, int]) -> tuple[Share, ...]:
    return tuple(Share(name or None, n) for name, n in sorted(counts.items(), key=_most_first))


def _most_first(counted: tuple[str, int]) -> tuple[int, str]:
    name, times = counted
    return -times, name


def _worst(subject: Subject, addresses: Addresses) -> Worst:
    row = subject.recording if isinstance(subject, RecordingSubject) else Recording(id="")
    friction = subject.friction if isinstance(subject, RecordingSubject) else None
    return Worst(
        url=links.playback(subject, addresses),
        page=page_of_trouble(subject) or None,
        friction=_band(friction) if friction else None,
        duration=row.duration,
        at=row.last_activity or row.created,
    )


def headers(task: Task) -> Mapping[str, str]:
    """The headers of a call, which the port signs."""
    stamp = str(int(task.now.timestamp()))
    # A key may end in a page's path, and visitors make paths: encoded, it fits into a header.
    key = quote(task.key, safe="/:", errors="replace")
    return {"Content-Type": "application/json", KEY: key, TIMESTAMP: stamp}


def signature(secret: bytes, stamp: str, content: bytes) -> str:
    """`sha256=` and the HMAC of `<timestamp>.<body>`; the timestamp is against replays."""
    signed = hmac.new(secret, stamp.encode() + b"." + content, hashlib.sha256)
    return f"sha256={signed.hexdigest()}"


def _facts(subject: Subject) -> dict[str, Any]:
    """What messages may tell of the subject, without personal data."""
    return {
        name: plain(field, field.in_text(subject))
        for name, field in text_fields(subject.kind).items()
        if not field.personal
    }


def plain(field: About, value: Any) -> Any:
    """The field's value as JSON has it: durations in ms, times as instants, friction as a band."""
    match field.type:
        case "items":
            return [_item(field, item) for item in (value or ())[:MOST_ITEMS]]
        case "variables" | "texts":
            return [clean(text, LONGEST_TEXT) for text in value[:MOST_ITEMS]]
        case "text":
            return None if value is None else clean(value, LONGEST_TEXT)
        case "number":
            return _band(value) if isinstance(value, Band) else value
        case "percent":
            return None if value is None else round(float(value), 4)
        case "duration" | "flag" | "moment":
            return value
        case _:
            assert_never(field.type)


def _item(field: About, item: Any) -> dict[str, Any]:
    told = (part for part in field.parts if part.in_texts)
    return {part.text_name: plain(part, part.in_text(item)) for part in told}


def _band(band: Band) -> dict[str, float | None]:
    ends = {"at_least": band.low, "below": band.high}
    return {name: end if math.isfinite(end) else None for name, end in ends.items()}


def _url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or re.search(r"[\s\x00-\x1f]", url):
        raise Wrong("write an address that begins with https:// or http://")
    if not is_host(host):
        raise Wrong("no host can have that name")
    if parts.username or parts.password:
        raise Wrong("an address may not hold a password; use secret")
    return url


def _secret(secret: str) -> str:
    if secret.startswith(("env:", "file:")) and not REFERENCE.fullmatch(secret):
        raise Wrong("write env:NAME of an environment variable, or file:/path/to/the/secret")
    if len(secret) < 8:
        raise Wrong("a secret has at least 8 characters")
    return secret


Url = Annotated[str, Check(_url, schema={"type": "string", "pattern": "^https?://"})]
Secret = Annotated[str, Check(_secret, schema={"type": "string", "minLength": 8})]


class WebhookWritten(Written):
    """A call as written in a rule file."""

    url: Url = field(repr=False, metadata={"description": "where to send the match"})
    secret: Secret | None = key(
        "signs the body; better env:NAME or file:/path", default=None, repr=False
    )


WebhookValue = WebhookWritten | Annotated[list[WebhookWritten], Length(1, 10)]


def _steps(written: Any) -> tuple[Action, ...]:
    calls = [written] if isinstance(written, WebhookWritten) else written
    return tuple(Webhook(url=call.url, secret=call.secret) for call in calls)


def _problems(written: Any, kind: Kind) -> tuple[Problem, ...]:
    """Warnings about addresses that visitors' data would reach unencrypted."""
    if isinstance(written, WebhookWritten):
        calls: list[tuple[tuple[str | int, ...], WebhookWritten]] = [((), written)]
    else:
        calls = [((number,), call) for number, call in enumerate(written)]
    message = "visitors' data goes out unencrypted over http; write https"
    return tuple(
        Problem((*path, "url"), 1, 1, message, "webhook-http")
        for path, call in calls
        if call.url.lower().startswith("http:") and not _is_here(urlsplit(call.url).hostname or "")
    )


def _is_here(host: str) -> bool:
    """Whether the host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


WEBHOOK = Spec(
    key="webhook",
    written=WebhookValue,
    subjects=KINDS,
    models=(Webhook,),
    steps=_steps,
    about="posts the match as JSON to a URL, signed with HMAC-SHA256 if a secret is given",
    example="webhook: {url: https://example.com/hook, secret: env:HOOK_SECRET}",
    problems=_problems,
)
