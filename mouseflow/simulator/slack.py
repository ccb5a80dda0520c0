"""The simulated Slack: the Web API methods a notifier needs, and an incoming webhook."""

import json
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from mouseflow.rate_limit import TokenBucket
from mouseflow.simulator.clock import Clock

# Longest text by block or element, in characters.
HEADER, SECTION, FIELD, BUTTON, URL, VALUE, ALT = 150, 3000, 2000, 75, 3000, 2000, 2000
BLOCKS, FIELDS, ACTIONS, CONTEXT, ID = 50, 10, 25, 10, 255
METADATA = 16_000  # bytes of JSON


def blocks_problem(blocks: Any) -> str:
    """Why Slack answers `invalid_blocks`, "" for valid blocks."""
    if not isinstance(blocks, list):
        return "blocks must be a list"
    if len(blocks) > BLOCKS:
        return f"no more than {BLOCKS} items allowed"
    seen: set[str] = set()
    for n, block in enumerate(blocks):
        problem = _block_problem(block)
        if problem:
            return f"{problem} [json-pointer:/blocks/{n}]"
        name = block.get("block_id")
        if name is not None and (name in seen or len(str(name)) > ID):
            return f"invalid block_id [json-pointer:/blocks/{n}]"
        seen.add(name or "")
        seen.discard("")
    return ""


def metadata_problem(metadata: Any) -> str:
    """Slack's error for message metadata, "" for valid metadata."""
    if metadata is None:
        return ""
    if not isinstance(metadata, dict) or not isinstance(metadata.get("event_type"), str):
        return "invalid_metadata_format"
    if not metadata["event_type"] or not isinstance(metadata.get("event_payload"), dict):
        return "invalid_metadata_format"
    return "metadata_too_large" if len(json.dumps(metadata)) > METADATA else ""


def _block_problem(block: Any) -> str:
    if not isinstance(block, dict):
        return "must be an object"
    kind = block.get("type")
    if kind == "header":
        return _text_problem(block.get("text"), HEADER, plain=True)
    if kind == "section":
        return _section_problem(block)
    if kind == "context":
        return _elements_problem(block, CONTEXT, _context_problem)
    if kind == "actions":
        return _elements_problem(block, ACTIONS, _button_problem)
    if kind in ("divider", "rich_text", "image", "markdown"):
        return ""
    return f"unsupported type: {kind}"


def _section_problem(block: dict[str, Any]) -> str:
    fields = block.get("fields", [])
    if "text" not in block and not fields:
        return "missing required field: text"
    if not isinstance(fields, list) or len(fields) > FIELDS:
        return f"no more than {FIELDS} fields allowed"
    problems = [_text_problem(field, FIELD) for field in fields]
    if "text" in block:
        problems.append(_text_problem(block["text"], SECTION))
    if "accessory" in block:
        problems.append(_button_problem(block["accessory"]))
    return next(filter(None, problems), "")


def _elements_problem(block: dict[str, Any], most: int, problem: Any) -> str:
    elements = block.get("elements")
    if not isinstance(elements, list) or not 0 < len(elements) <= most:
        return f"between 1 and {most} elements allowed"
    return next(filter(None, map(problem, elements)), "")


def _context_problem(element: Any) -> str:
    if isinstance(element, dict) and element.get("type") == "image":
        return "" if len(str(element.get("alt_text", ""))) <= ALT else "alt_text is too long"
    return _text_problem(element, SECTION)


def _button_problem(element: Any) -> str:
    if not isinstance(element, dict) or "type" not in element:
        return "missing required field: type"
    if element["type"] != "button":
        return ""
    if len(str(element.get("url", ""))) > URL:
        return f"must be less than {URL + 1} characters: url"
    if len(str(element.get("value", ""))) > VALUE:
        return f"must be less than {VALUE + 1} characters: value"
    return _text_problem(element.get("text"), BUTTON, plain=True)


def _text_problem(text: Any, most: int, *, plain: bool = False) -> str:
    allowed = ("plain_text",) if plain else ("plain_text", "mrkdwn")
    if not isinstance(text, dict) or text.get("type") not in allowed:
        return f"text must be an object of type {' or '.join(allowed)}"
    content = text.get("text")
    if not isinstance(content, str) or not content:
        return "must be more than 0 characters: text"
    return f"must be less than {most + 1} characters: text" if len(content) > most else ""


SCOPES = frozenset(
    {
        "chat:write", "chat:write.public", "channels:read", "channels:history",
        "groups:read", "groups:history",
    }
)  # fmt: skip


@dataclass(slots=True)
class Channel:
    """A channel of the workspace."""

    id: str
    name: str
    member: bool = True
    private: bool = False
    archived: bool = False
    users: set[str] = field(default_factory=lambda: {"U1", "U2"})


@dataclass(slots=True)
class SlackMessage:
    """A message that was posted. `ts` is its id within the channel; `edits` counts updates.

    An answer has the `thread_ts` of its first message; `broadcast`: the channel shows it too.
    """

    channel: str
    channel_id: str
    text: str
    blocks: list[dict[str, Any]]
    metadata: dict[str, Any] | None
    ts: str
    via: str = "bot"
    thread_ts: str | None = None
    broadcast: bool = False
    edits: int = 0


@dataclass
class SlackWorkspace:
    """The simulated workspace. Tests change its fields to cause errors.

    `rate`: so many messages a second each channel takes, with bursts of `burst`; to more it answers
    429 with `Retry-After`. `tickets` open one connection of Socket Mode each; `whispers` are the
    messages that only one person sees: channel id, user, text.
    """

    clock: Clock
    token: str = "xoxb-simulator-token"  # noqa: S105 - no real token
    app_token: str = "xapp-simulator-token"  # noqa: S105 - no real token
    socket_url: str = ""
    tickets: set[str] = field(default_factory=set)
    whispers: list[tuple[str, str, str]] = field(default_factory=list)
    webhook_path: str = "/services/T00000000/B00000000/simulatorwebhook"
    webhook_channel: str = "mouseflow"
    scopes: frozenset[str] = SCOPES
    allows_edits: bool = True
    rate: float | None = None
    burst: int = 1
    channels: dict[str, Channel] = field(default_factory=dict)
    messages: list[SlackMessage] = field(default_factory=list)
    _last: int = 0
    _buckets: dict[str, TokenBucket] = field(default_factory=dict)

    def add_channel(self, name: str, **traits: Any) -> Channel:
        """Add a channel, named without the number sign."""
        number = len(self.channels) + 1
        channel = Channel(f"C{number:010d}", name.lstrip("#"), **traits)
        self.channels[channel.id] = channel
        return channel

    def channel(self, text: str) -> Channel | None:
        """The channel with that id or name."""
        name = text.lstrip("#")
        return self.channels.get(text) or next(
            (channel for channel in self.channels.values() if channel.name == name), None
        )

    def next_ts(self) -> str:
        """A timestamp later than all before."""
        micros = max(int(self.clock.now().timestamp() * 1_000_000), self._last + 1)
        self._last = micros
        return f"{micros // 1_000_000}.{micros % 1_000_000:06d}"

    def take(self, channel: str) -> None:
        """Count a message to that channel id; raises SlackError if they come too fast."""
        if self.rate is not None:
            bucket = self._buckets.get(channel, TokenBucket(self.rate, self.burst))
            now = self.clock.now().timestamp()
            if (wait := bucket.wait(now)) > 0:
                raise SlackError("ratelimited", retry_after=f"{math.ceil(wait)}")
            self._buckets[channel] = bucket.after_call(now)

    def message(self, channel: str, ts: str) -> SlackMessage | None:
        """The message of that channel id and timestamp."""
        return next((it for it in self.messages if (it.channel_id, it.ts) == (channel, ts)), None)

    def in_channel(self, name: str) -> list[SlackMessage]:
        """The messages of a channel, oldest first."""
        wanted = name.lstrip("#")
        return [m for m in self.messages if wanted in (m.channel, m.channel_id)]


HISTORY_SCOPES = ("channels:history", "groups:history")
READ_SCOPES = ("channels:read", "groups:read")


class SlackError(Exception):
    """An answer with `ok: false`."""

    def __init__(self, error: str, **more: str) -> None:
        self.error = error
        self.more = more
        super().__init__(error)


Method = Callable[[SlackWorkspace, Mapping[str, Any]], dict[str, Any]]


def slack_app(workspace: SlackWorkspace) -> Starlette:
    """The Web API below /api/ and the incoming webhook."""
    routes = [
        Route(f"/api/{name}", _endpoint(workspace, method), methods=["GET", "POST"])
        for name, method in METHODS.items()
    ]
    routes.append(Route("/api/{method}", _unknown, methods=["GET", "POST"]))
    routes.append(Route("/services/{path:path}", _webhook(workspace), methods=["POST"]))
    return Starlette(routes=routes)


def slack_failure(status: int) -> Response:
    """Slack's answer with a status other than 200."""
    error = "ratelimited" if status == 429 else "internal_error"
    return JSONResponse({"ok": False, "error": error}, status)


def _endpoint(
    workspace: SlackWorkspace, method: Method
) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        try:
            arguments = await _arguments(request)
            app = method is open_connection
            token = workspace.app_token if app else workspace.token
            _authenticate(token, request, arguments)
            body = {"ok": True, **method(workspace, arguments)}
        except SlackError as problem:
            if problem.error == "ratelimited":
                return _too_fast(problem)
            body = {"ok": False, "error": problem.error, **problem.more}
        headers = {"x-oauth-scopes": ",".join(sorted(workspace.scopes))}
        return JSONResponse(body, headers=headers)

    return serve


def _too_fast(problem: SlackError) -> Response:
    response = slack_failure(429)
    response.headers["retry-after"] = problem.more["retry_after"]
    return response


async def _unknown(_: Request) -> Response:
    return JSONResponse({"ok": False, "error": "unknown_method"})


async def _arguments(request: Request) -> dict[str, Any]:
    body = await request.body()
    arguments: dict[str, Any] = dict(request.query_params)
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            found = json.loads(body) if body else {}
        except ValueError:
            raise SlackError("invalid_json") from None
        if not isinstance(found, dict):
            raise SlackError("json_not_object")
        return arguments | found
    arguments |= dict(parse_qsl(body.decode(), keep_blank_values=True))
    for key in ("blocks", "metadata"):
        if isinstance(arguments.get(key), str):
            try:
                arguments[key] = json.loads(arguments[key])
            except ValueError:
                raise SlackError(f"invalid_{key}_format") from None
    return arguments


def _authenticate(right: str, request: Request, arguments: Mapping[str, Any]) -> None:
    header = request.headers.get("authorization", "")
    token = header.removeprefix("Bearer ") if header else str(arguments.get("token", ""))
    if not token:
        raise SlackError("not_authed")
    if token != right:
        raise SlackError("invalid_auth")


def _need(workspace: SlackWorkspace, *scopes: str) -> None:
    if not workspace.scopes.intersection(scopes):
        provided = ",".join(sorted(workspace.scopes))
        raise SlackError("missing_scope", needed=scopes[0], provided=provided)


def auth_test(workspace: SlackWorkspace, _: Mapping[str, Any]) -> dict[str, Any]:
    """The identity of the token."""
    return {
        "url": "https://simulator.slack.com/",
        "team": "Simulator",
        "user": "mouseflow-bot",
        "team_id": "T00000000",
        "user_id": "U00000000",
        "bot_id": "B00000000",
        "is_enterprise_install": False,
    }


def post_message(workspace: SlackWorkspace, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Post to a channel, by id or by name."""
    _need(workspace, "chat:write")
    channel = _channel(workspace, arguments)
    if channel.archived:
        raise SlackError("is_archived")
    if not channel.member and (channel.private or "chat:write.public" not in workspace.scopes):
        raise SlackError("not_in_channel")
    message = _message(workspace, channel, arguments)
    if message.thread_ts and workspace.message(channel.id, message.thread_ts) is None:
        raise SlackError("thread_not_found")
    workspace.take(channel.id)
    workspace.messages.append(message)
    return {"channel": channel.id, "ts": message.ts, "message": _shown(message, metadata=True)}


def update_message(workspace: SlackWorkspace, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Edit a posted message; needs the channel's id."""
    _need(workspace, "chat:write")
    channel = workspace.channels.get(str(arguments.get("channel", "")))
    if channel is None:  # a name is not accepted here
        raise SlackError("channel_not_found")
    old = workspace.message(channel.id, str(arguments.get("ts")))
    if old is None:
        raise SlackError("message_not_found")
    if not workspace.allows_edits:
        raise SlackError("edit_window_closed")
    new = _message(workspace, channel, arguments)
    old.text, old.blocks, old.edits = new.text, new.blocks, old.edits + 1
    old.metadata = new.metadata or old.metadata
    return {"channel": channel.id, "ts": old.ts, "text": old.text}


def history(workspace: SlackWorkspace, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A channel's messages without answers in threads, newest first; needs the channel's id."""
    channel = _readable(workspace, arguments)
    found = [
        message
        for message in reversed(workspace.in_channel(channel.id))
        if message.thread_ts is None or message.broadcast
    ]
    return _page(found, arguments)


def replies(workspace: SlackWorkspace, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A message and its answers, oldest first; needs the channel's id."""
    channel, ts = _readable(workspace, arguments), str(arguments.get("ts"))
    if workspace.message(channel.id, ts) is None:
        raise SlackError("thread_not_found")
    found = [each for each in workspace.in_channel(channel.id) if ts in (each.ts, each.thread_ts)]
    return _page(found, arguments)


def _readable(workspace: SlackWorkspace, arguments: Mapping[str, Any]) -> Channel:
    channel = workspace.channels.get(str(arguments.get("channel", "")))
    if channel is None:  # a name is not accepted here
        raise SlackError("channel_not_found")
    _need(workspace, HISTORY_SCOPES[channel.private])
    if not channel.member:
        raise SlackError("not_in_channel")
    return channel


def _page(messages: list[SlackMessage], arguments: Mapping[str, Any]) -> dict[str, Any]:
    limit = min(int(arguments.get("limit") or 100), 999)
    skip = int(arguments.get("cursor") or 0)
    inclusive = _true(arguments.get("inclusive"))
    oldest, latest = _ts(arguments.get("oldest"), 0.0), _ts(arguments.get("latest"), float("inf"))
    fitting = [
        message
        for message in messages
        if oldest < float(message.ts) < latest
        or (inclusive and float(message.ts) in (oldest, latest))
    ]
    more = len(fitting) > skip + limit
    metadata = _true(arguments.get("include_all_metadata"))
    return {
        "messages": [_shown(each, metadata=metadata) for each in fitting[skip : skip + limit]],
        "has_more": more,
        "response_metadata": {"next_cursor": str(skip + limit) if more else ""},
    }


def list_channels(workspace: SlackWorkspace, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The channels the bot can see, in pages."""
    _need(workspace, *READ_SCOPES)
    kinds = str(arguments.get("types") or "public_channel")
    skip_archived = _true(arguments.get("exclude_archived"))
    shown = [
        channel
        for channel in workspace.channels.values()
        if ("private_channel" if channel.private else "public_channel") in kinds
        and not (skip_archived and channel.archived)
        and (channel.member or not channel.private)
    ]
    skip, limit = int(arguments.get("cursor") or 0), int(arguments.get("limit") or 100)
    more = len(shown) > skip + limit
    return {
        "channels": [_described(channel) for channel in shown[skip : skip + limit]],
        "response_metadata": {"next_cursor": str(skip + limit) if more else ""},
    }


def channel_info(workspace: SlackWorkspace, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """One channel, by id."""
    channel = workspace.channels.get(str(arguments.get("channel", "")))
    if channel is None or (channel.private and not channel.member):
        raise SlackError("channel_not_found")
    _need(workspace, READ_SCOPES[channel.private])
    return {"channel": _described(channel)}


def channel_members(workspace: SlackWorkspace, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Who is in a channel, by its id."""
    channel = workspace.channels.get(str(arguments.get("channel", "")))
    if channel is None:
        raise SlackError("channel_not_found")
    _need(workspace, READ_SCOPES[channel.private])
    return {"members": sorted(channel.users), "response_metadata": {"next_cursor": ""}}


def post_ephemeral(workspace: SlackWorkspace, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Tell one person something."""
    _need(workspace, "chat:write")
    channel = _channel(workspace, arguments)
    told = (channel.id, str(arguments.get("user")), str(arguments.get("text")))
    workspace.whispers.append(told)
    return {"message_ts": workspace.next_ts()}


def open_connection(workspace: SlackWorkspace, _: Mapping[str, Any]) -> dict[str, Any]:
    """The address of one connection of Socket Mode; needs the app's token."""
    ticket = f"{len(workspace.tickets) + 1}-{workspace.next_ts()}"
    workspace.tickets.add(ticket)
    return {"url": f"{workspace.socket_url}?ticket={ticket}"}


METHODS: dict[str, Method] = {
    "auth.test": auth_test,
    "chat.postMessage": post_message,
    "chat.update": update_message,
    "chat.postEphemeral": post_ephemeral,
    "apps.connections.open": open_connection,
    "conversations.members": channel_members,
    "conversations.history": history,
    "conversations.replies": replies,
    "conversations.list": list_channels,
    "conversations.info": channel_info,
}


def _channel(workspace: SlackWorkspace, arguments: Mapping[str, Any]) -> Channel:
    found = workspace.channel(str(arguments.get("channel", "")))
    if found is None or (found.private and not found.member):
        raise SlackError("channel_not_found")
    return found


def _message(
    workspace: SlackWorkspace, channel: Channel, arguments: Mapping[str, Any]
) -> SlackMessage:
    text, blocks = arguments.get("text") or "", arguments.get("blocks") or []
    if not isinstance(text, str) or not (text or blocks):
        raise SlackError("no_text")
    if len(text) > 40_000:
        raise SlackError("msg_too_long")
    problem = blocks_problem(blocks)
    if problem:
        raise SlackError("invalid_blocks", errors=problem)
    metadata = arguments.get("metadata")
    wrong = metadata_problem(metadata)
    if wrong:
        raise SlackError(wrong)
    return SlackMessage(
        channel=channel.name, channel_id=channel.id, text=text, blocks=list(blocks),
        metadata=metadata, ts=workspace.next_ts(), thread_ts=arguments.get("thread_ts"),
        broadcast=_true(arguments.get("reply_broadcast")),
    )  # fmt: skip


def _shown(message: SlackMessage, *, metadata: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "type": "message",
        "user": "U00000000",
        "bot_id": "B00000000",
        "text": message.text,
        "ts": message.ts,
        "blocks": message.blocks,
    }
    if message.thread_ts:
        shown["thread_ts"] = message.thread_ts
    if message.metadata and metadata:
        shown["metadata"] = message.metadata
    return shown


def _described(channel: Channel) -> dict[str, Any]:
    return {
        "id": channel.id,
        "name": channel.name,
        "is_channel": True,
        "is_private": channel.private,
        "is_archived": channel.archived,
        "is_member": channel.member,
    }


def _webhook(workspace: SlackWorkspace) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        if request.url.path != workspace.webhook_path:
            return PlainTextResponse("no_service", 404)
        channel = workspace.channel(workspace.webhook_channel)
        if channel is None:
            return PlainTextResponse("channel_not_found", 404)
        if channel.archived:
            return PlainTextResponse("channel_is_archived", 410)
        try:
            arguments = json.loads(await request.body())
            message = _message(workspace, channel, {**arguments, "metadata": None})
            workspace.take(channel.id)
        except (ValueError, TypeError):
            return PlainTextResponse("invalid_payload", 400)
        except SlackError as problem:
            if problem.error == "ratelimited":
                return _too_fast(problem)
            return PlainTextResponse(problem.error, 400)
        message.via = "webhook"
        workspace.messages.append(message)
        return PlainTextResponse("ok")

    return serve


def _true(value: Any) -> bool:
    return value in (True, 1, "1", "true", "True")


def _ts(value: Any, default: float) -> float:
    try:
        return float(value) if value not in (None, "") else default
    except ValueError:
        raise SlackError("invalid_ts_latest") from None
