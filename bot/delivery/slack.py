"""Post to Slack and look up posts: slack_sdk's clients, over the bot's own HTTP exchange.

slack_sdk's retries are off: its default sends a message twice when the answer is lost.
What Slack documents as its answer counts as success, and nothing else: any other answer to a
post, such as a proxy's page, leaves the outcome unknown.
"""

import logging
import re
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from email.utils import parsedate_to_datetime
from json import dumps
from typing import Any

import msgspec
from msgspec import Struct
from slack_sdk.web.async_base_client import AsyncBaseClient
from slack_sdk.webhook.async_client import AsyncWebhookClient

from bot.delivery.http import TIMEOUT, Connections, Reply, loopback
from bot.delivery.slack_errors import SlackRefused, failure
from bot.errors import OddAnswer, Refused, TryLater
from bot.ports import CannotLook, NoChannel, NotInChannel, SlackPost
from bot.transport import tls
from bot.written import Secret

SLACK = "https://slack.com/api/"
EVENT = "mouseflow_alert"
_CODE = re.compile(r"[A-Za-z0-9_]{1,60}")
_SCOPES = re.compile(r"[A-Za-z0-9_:.,-]{1,100}")
_MARGIN = timedelta(seconds=60)
_WRONG_CLOCK = timedelta(hours=1)
"""How far ahead the clock may have been by which an attempt began: another host's, or this one's
before it was put right. Slack takes a message a second in a channel: a search reads them all."""
_PAGES = 40
# Pages that fit into an answer of the greatest length: 10 KB a message, 2.6 KB a channel.
_MESSAGES, _CHANNELS = 100, 400
# Slack's answer to a post repeats the message, with 6 bytes for a character such as "\u00e9".
_ANSWER_TO_POST, _ANSWER_TO_READ = 96 * 1024, 1024 * 1024
_UNREADABLE = {
    "missing_scope": "the Slack app lacks the scope {scope}",
    "no_permission": "Slack does not let the bot read there (no_permission)",
}

_NO_CHANNEL = (
    "there is no channel {channel}, or it is archived, or it is private and the bot is not in it"
)


@dataclass(slots=True)
class _Search:
    """How far the history was read, from `oldest` on by Slack's clock, which was so far `behind`.

    With `thread` the answers to that message are read.

    `keyed`: a message showed its key. `keyless` are the bots of messages that showed none.
    """

    oldest: float
    behind: timedelta
    thread: str = ""
    cursor: str = ""
    pages: int = 0
    keyed: bool = False
    keyless: set[str] = field(default_factory=set)

    @property
    def more(self) -> dict[str, str]:
        """What continues the search."""
        cursor = {"cursor": self.cursor} if self.cursor else {}
        return cursor | ({"ts": self.thread} if self.thread else {})


_LIFETIME = timedelta(days=36500)
"""No clock is that far off: such a date is none."""


def clock_ahead(headers: Mapping[str, Any]) -> timedelta | None:
    """How far the other side's clock is ahead by this answer's `Date`; None if it has none."""
    written = next((str(value) for name, value in headers.items() if name.lower() == "date"), "")
    try:
        ahead = parsedate_to_datetime(written) - datetime.now(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
    return ahead if abs(ahead) < _LIFETIME else None


class SlackPoster:
    """Posts with a bot token: implements `bot.ports.Slack`.

    Each message carries its key as metadata, by which `find` finds it again. Close it when
    done. The token is in no repr, log or error.
    """

    def __init__(
        self,
        token: Secret,
        *,
        base_url: str = SLACK,
        timeout: timedelta = TIMEOUT,
        trust_env: bool = True,
    ) -> None:
        trust_env = trust_env and not loopback(base_url)
        self._connections = Connections(timeout=timeout, trust_env=trust_env)
        session: Any = _Session(self._connections, _content)
        self._client = AsyncBaseClient(
            token.get_secret_value(),
            base_url=base_url,
            session=session,
            retry_handlers=[],
            logger=_QUIET,
        )
        self._ids: dict[str, str] = {}
        self._names: set[str] = set()
        self._searches: dict[tuple[str, str], _Search] = {}
        self._bot: str | None = None
        self._ahead = timedelta()

    def use(self, token: Secret) -> None:
        """Post with this token from now on."""
        self._client.token = token.get_secret_value()
        self._bot = None

    async def identity(self) -> tuple[str, str, frozenset[str] | None]:
        """The token's workspace, user and scopes (None if Slack does not say).

        Raises GiveUp for a wrong token.
        """
        answer = await self._client.api_call("auth.test", json={})
        listed = answer.headers.get("x-oauth-scopes") or ""
        scopes = frozenset(each.strip() for each in listed.split(",") if each.strip())
        return str(answer.get("team", "")), str(answer.get("user", "")), scopes or None

    async def post(self, post: SlackPost) -> str:
        """The message's timestamp; raises GiveUp, or TryLater (`unknown`: it may be posted)."""
        if not post.channel:
            raise Refused(
                "there is no channel to post to",
                "set a channel in the rule, or slack.channel",
                code="no_channel",
            )
        body: dict[str, Any] = {
            "channel": post.channel,
            "text": post.text,
            "unfurl_links": False,
            "unfurl_media": False,
        }
        if post.blocks:
            body["blocks"] = list(post.blocks)
        if post.key:
            body["metadata"] = {"event_type": EVENT, "event_payload": {"key": post.key}}
            # Undocumented as an argument, though Slack's errors name it: an extra safeguard.
            body["client_msg_id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, post.key))
        if post.thread:
            body |= {"thread_ts": post.thread, "reply_broadcast": post.broadcast}
        answer = await self._client.api_call("chat.postMessage", json=body)
        stamp = answer.get("ts")
        if not isinstance(stamp, str) or not stamp:
            raise OddAnswer("Slack accepted the message, but its answer has no timestamp")
        self._remember(post.channel, answer.get("channel"))
        return stamp

    async def update(self, post: SlackPost, stamp: str) -> None:
        """Replace that message; raises GiveUp, CannotLook (which channel?) or TryLater."""
        body: dict[str, Any] = {
            "channel": await self._id(post.channel),
            "ts": stamp,
            "text": post.text,
            "blocks": list(post.blocks),
        }
        if post.key:
            body["metadata"] = {"event_type": EVENT, "event_payload": {"key": post.key}}
        await self._client.api_call("chat.update", json=body)

    async def whisper(self, channel: str, user: str, text: str) -> None:
        """Tell that person something in the channel, which nobody else sees."""
        body = {"channel": channel, "user": user, "text": text}
        await self._client.api_call("chat.postEphemeral", json=body)

    async def is_member(self, channel: str, user: str) -> bool:
        """Whether that person is in the channel (an id); raises CannotLook if it can't be read."""
        asked = {"channel": channel, "limit": str(_CHANNELS)}
        for _ in range(_PAGES):
            answer = await self._read("conversations.members", asked)
            members = answer.get("members")
            if isinstance(members, list) and user in members:
                return True
            asked["cursor"] = _next(answer)
            if not asked["cursor"]:
                return False
        raise CannotLook("the channel has too many members to look at")

    async def find(self, channel: str, key: str, since: datetime, thread: str = "") -> str | None:
        """The timestamp of the message with that key, posted after `since` or shortly before.

        None is certain: the whole time since then was read, by Slack's clock, and no message of
        the bot there lacks its key. Raises CannotLook if it can't be certain or may not read
        the channel (NoChannel: there is none of that name for it), TryLater if Slack does not
        answer; the next call then continues where this one stopped.
        """
        place = await self._id(channel)
        search = self._searches.pop((place, key), None) or self._search_from(since, thread)
        while True:
            try:
                found = await self._page(place, key, search)
            except TryLater:
                self._searches = dict([*self._searches.items(), ((place, key), search)][-_PAGES:])
                raise
            if found is not None:
                return found
            if search.cursor:
                continue
            if self._behind() > search.behind + _MARGIN:
                search = self._search_from(since, thread)  # Slack's clock is known only now
                continue
            if search.keyless and not search.keyed:
                await self._prove(search)
            return None

    async def check_channel(self, channel: str) -> None:
        """Check the latest messages: the bot may read them and sees their keys.

        Raises what `find` raises.
        """
        search = _Search(oldest=0.0, behind=timedelta())
        await self._page(await self._id(channel), "", search)
        if search.keyless and not search.keyed:
            await self._prove(search)

    def _search_from(self, since: datetime, thread: str) -> "_Search":
        behind = self._behind()
        oldest = (since - _WRONG_CLOCK - behind).timestamp()
        return _Search(oldest=oldest, behind=behind, thread=thread)

    async def _page(self, place: str, key: str, search: "_Search") -> str | None:
        """Read the search's next page; returns the message's timestamp if it is there."""
        if search.pages >= _PAGES:
            raise CannotLook(f"more than {_PAGES * _MESSAGES} messages since then")
        asked = {
            "channel": place,
            "oldest": f"{search.oldest:.6f}",
            "limit": str(_MESSAGES),
            "include_all_metadata": "true",
        }
        method = "conversations.replies" if search.thread else "conversations.history"
        try:
            answer = await self._read(method, asked | search.more)
        except SlackRefused as refused:
            if refused.code != "thread_not_found":
                raise
            return None  # there is no such thread: nothing answered it
        for message in _objects(answer, "messages"):
            seen = _key(message)
            if seen is not None and seen == key:
                return str(message.get("ts") or "")
            if seen is not None:
                search.keyed = True
            elif isinstance(message.get("bot_id"), str):
                search.keyless.add(message["bot_id"])
        search.cursor = _next(answer)
        search.pages += 1
        if answer.get("has_more") is True and not search.cursor:
            raise CannotLook("Slack's history is cut off")
        return None

    async def _prove(self, search: "_Search") -> None:
        """Raise CannotLook if messages of this bot show no key: then one may be there unseen."""
        if self._bot is None:
            answer = await self._client.api_call("auth.test", json={})
            bot = answer.get("bot_id")
            self._bot = bot if isinstance(bot, str) else ""
        if not self._bot or self._bot in search.keyless:
            raise CannotLook("Slack does not show the metadata of the bot's messages")

    def _behind(self) -> timedelta:
        """How far Slack's clock is behind this machine's."""
        return max(-self._ahead, timedelta())

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    async def _read(self, method: str, asked: dict[str, str]) -> Mapping[str, Any]:
        try:
            answer = await self._client.api_call(method, http_verb="GET", params=asked)
        except SlackRefused as refused:
            code = refused.code
            if code == "channel_not_found":
                raise NoChannel(_NO_CHANNEL.format(channel=asked.get("channel"))) from refused
            if code == "not_in_channel":
                raise NotInChannel("the bot is not in the channel; /invite it there") from refused
            if code in _UNREADABLE:
                scope = refused.needed or "channels:history or channels:read"
                raise CannotLook(_UNREADABLE[code].format(scope=scope)) from refused
            raise
        ahead = clock_ahead(answer.headers)
        self._ahead = self._ahead if ahead is None else ahead
        return _object(answer.data)

    async def _id(self, channel: str) -> str:
        """The channel's id, which the history needs: from an earlier post or from the list."""
        if not channel.startswith("#"):
            return channel
        if channel not in self._ids:
            await self._find_id(channel)
        if channel not in self._ids:
            near = get_close_matches(channel, self._names, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise NoChannel(_NO_CHANNEL.format(channel=channel) + hint)
        return self._ids[channel]

    async def _find_id(self, channel: str) -> None:
        """Find the channel's id; without the scope for private channels, among public ones."""
        try:
            await self._list(channel, "public_channel,private_channel")
        except CannotLook:
            await self._list(channel, "public_channel")
            if channel not in self._ids:
                raise CannotLook(
                    f"there is no public channel {channel}; to see private ones the Slack app "
                    "needs the scope groups:read, and the bot must be in the channel"
                ) from None

    async def _list(self, channel: str, types: str) -> None:
        asked = {"limit": str(_CHANNELS), "exclude_archived": "true", "types": types}
        for _ in range(_PAGES):
            answer = await self._read("conversations.list", asked)
            for known in _objects(answer, "channels"):
                self._names.add(f"#{known.get('name')}")
                if f"#{known.get('name')}" == channel:
                    self._remember(channel, known.get("id"))
                    return
            asked["cursor"] = _next(answer)
            if not asked["cursor"]:
                return

    def _remember(self, channel: str, identity: object) -> None:
        if channel.startswith("#") and isinstance(identity, str) and identity:
            self._ids[channel] = identity


class AppClient:
    """Slack's API with the app's own token, which opens connections of Socket Mode."""

    def __init__(self, token: Secret, base_url: str) -> None:
        from slack_sdk.web.async_client import AsyncWebClient

        self._connections = Connections(trust_env=not loopback(base_url))
        session: Any = _Session(self._connections, _content)
        self.client = AsyncWebClient(
            token.get_secret_value(),
            base_url=base_url,
            ssl=tls(),  # of the WebSocket, which slack_sdk opens
            session=session,
            retry_handlers=[],
            logger=_QUIET,
        )

    async def socket_address(self) -> str:
        """The address of a new connection; raises GiveUp for a wrong token, or TryLater."""
        answer = await self.client.api_call("apps.connections.open", json={})
        url = answer.get("url")
        if not isinstance(url, str) or not url:
            raise OddAnswer("Slack's answer has no address for Socket Mode")
        return url

    def proxy_of(self, socket_address: str) -> str | None:
        """The proxy for that address, None for none, by the rules of all other connections."""
        return self._connections.proxy_of(f"http{socket_address.removeprefix('ws')}")

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()


class WebhookPoster:
    """Posts to an incoming webhook: implements `bot.ports.Slack`, but can't look up posts.

    The webhook decides the channel, and returns no timestamp: delivery is at-least-once.
    """

    def __init__(
        self, url: Secret, *, timeout: timedelta = TIMEOUT, trust_env: bool = True
    ) -> None:
        trust_env = trust_env and not loopback(url.get_secret_value())
        self._connections = Connections(timeout=timeout, trust_env=trust_env)
        session: Any = _Session(self._connections, _accepted)
        self._client = AsyncWebhookClient(
            url.get_secret_value(), session=session, retry_handlers=[], logger=_QUIET
        )

    def use(self, url: Secret) -> None:
        """Post to this webhook from now on."""
        self._client.url = url.get_secret_value()

    async def post(self, post: SlackPost) -> str:
        """Always "": a webhook returns no timestamp."""
        body: dict[str, Any] = {"text": post.text, "unfurl_links": False, "unfurl_media": False}
        if post.blocks:
            body["blocks"] = list(post.blocks)
        await self._client.send_dict(body)
        return ""

    async def update(self, post: SlackPost, stamp: str) -> None:
        """Always raises CannotLook."""
        raise CannotLook("an incoming webhook can't edit a message")

    async def find(self, channel: str, key: str, since: datetime, thread: str = "") -> str | None:
        """Always raises CannotLook."""
        raise CannotLook("an incoming webhook can't read the channel")

    async def check_channel(self, channel: str) -> None:
        """Always raises CannotLook."""
        raise CannotLook("an incoming webhook can't read the channel")

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()


# slack_sdk's debug logs contain whole messages, and a webhook's secret URL.
_QUIET = logging.getLogger("bot.slack.sdk")
_QUIET.setLevel(logging.WARNING)


class _Answer(Struct, frozen=True):
    """A success, as slack_sdk reads it: what it uses of aiohttp's response."""

    status: int
    headers: Mapping[str, str]
    said: Any
    content_type: str = "application/json"

    async def json(self) -> Any:
        return self.said

    async def text(self) -> Any:
        return self.said


class _Session:
    """What slack_sdk uses of aiohttp's session: each request is one exchange of the bot's.

    `read` returns what a successful answer says, and raises the bot's error for any other, so
    slack_sdk sees only successes. Its settings for proxies and TLS are left out.
    """

    closed = False

    def __init__(self, connections: Connections, read: Callable[[Reply], Any]) -> None:
        self._connections = connections
        self._read = read

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        data: str | None = None,
        json: object = None,
        **_transport: object,
    ) -> AsyncIterator[_Answer]:
        reads = method == "GET"
        reply = await self._connections.exchange(
            method,
            "Slack",
            url,
            headers,
            body=None if reads else (data or dumps(json)).encode(),
            query=params,
            most=_ANSWER_TO_READ if reads else _ANSWER_TO_POST,
        )
        yield _Answer(reply.status, reply.headers, self._read(reply))


def _accepted(reply: Reply) -> str:
    """What an incoming webhook says; raises GiveUp or TryLater for any other than "ok"."""
    said = reply.body.decode("utf-8", "replace").strip()
    if reply.status == 200 and said == "ok" and reply.whole:
        return said
    # With 200, a code says no more than a page does: Slack refuses with another status.
    raise failure(reply, "" if reply.status < 300 else _short(said, _CODE))


def _content(reply: Reply) -> dict[str, Any]:
    """The answer to a method; raises GiveUp or TryLater for any other than a success."""
    try:
        data = msgspec.json.decode(reply.body) if reply.whole else None
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise failure(reply)
    if reply.status == 200 and data.get("ok") is True:
        return data
    raise failure(reply, _short(data.get("error"), _CODE), _short(data.get("needed"), _SCOPES))


def _short(value: object, form: re.Pattern[str]) -> str:
    """The value if it has that form: an answer's text may hold anything, even the token."""
    return value if isinstance(value, str) and form.fullmatch(value) else ""


def _objects(answer: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in a list of the answer; raises OddAnswer for a list of anything else."""
    found = answer.get(name)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise OddAnswer(f"Slack's answer has no list of {name}")
    return found


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _key(message: Mapping[str, Any]) -> str | None:
    metadata = _object(message.get("metadata"))
    key = _object(metadata.get("event_payload")).get("key")
    return key if metadata.get("event_type") == EVENT and isinstance(key, str) else None


def _next(answer: Mapping[str, Any]) -> str:
    """Where the next page begins, empty after the last one."""
    metadata = answer.get("response_metadata")
    cursor = _object(metadata).get("next_cursor") or ""
    if not isinstance(metadata, dict | None) or not isinstance(cursor, str):
        raise OddAnswer("Slack's answer does not say where its next page begins")
    return cursor
