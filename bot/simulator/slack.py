"""The pretend Slack: the Web API methods a notifier needs, and an incoming webhook."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bot.simulator.slack_limits import blocks_problem, metadata_problem
from bot.simulator.workspace import Channel, SlackMessage, SlackWorkspace

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


def slack_refusal(status: int) -> Response:
    """What Slack's edge answers with a status other than 200."""
    error = "ratelimited" if status == 429 else "internal_error"
    return JSONResponse({"ok": False, "error": error}, status)


def _endpoint(
    workspace: SlackWorkspace, method: Method
) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        try:
            arguments = await _arguments(request)
            _authenticate(workspace, request, arguments)
            body = {"ok": True, **method(workspace, arguments)}
        except SlackError as problem:
            body = {"ok": False, "error": problem.error, **problem.more}
        headers = {"x-oauth-scopes": ",".join(sorted(workspace.scopes))}
        return JSONResponse(body, headers=headers)

    return serve


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


def _authenticate(
    workspace: SlackWorkspace, request: Request, arguments: Mapping[str, Any]
) -> None:
    header = request.headers.get("authorization", "")
    token = header.removeprefix("Bearer ") if header else str(arguments.get("token", ""))
    if not token:
        raise SlackError("not_authed")
    if token != workspace.token:
        raise SlackError("invalid_auth")


def _need(workspace: SlackWorkspace, *scopes: str) -> None:
    if not workspace.scopes.intersection(scopes):
        provided = ",".join(sorted(workspace.scopes))
        raise SlackError("missing_scope", needed=scopes[0], provided=provided)


def auth_test(workspace: SlackWorkspace, _: Mapping[str, Any]) -> dict[str, Any]:
    """Who the token belongs to."""
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
    """Posts to a channel named by id or by name."""
    _need(workspace, "chat:write")
    channel = _channel(workspace, arguments)
    if channel.archived:
        raise SlackError("is_archived")
    if not channel.member and (channel.private or "chat:write.public" not in workspace.scopes):
        raise SlackError("not_in_channel")
    message = _message(workspace, channel, arguments)
    workspace.messages.append(message)
    return {"channel": channel.id, "ts": message.ts, "message": _shown(message, metadata=True)}


def update_message(workspace: SlackWorkspace, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Changes a message that was posted."""
    _need(workspace, "chat:write")
    channel = _channel(workspace, arguments)
    old = next(
        (
            message
            for message in workspace.messages
            if message.channel_id == channel.id and message.ts == arguments.get("ts")
        ),
        None,
    )
    if old is None:
        raise SlackError("message_not_found")
    new = _message(workspace, channel, arguments)
    old.text, old.blocks, old.edits = new.text, new.blocks, old.edits + 1
    old.metadata = new.metadata or old.metadata
    return {"channel": channel.id, "ts": old.ts, "text": old.text}


def history(workspace: SlackWorkspace, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A channel's messages, newest first, in pages; wants the channel's id."""
    channel = workspace.channels.get(str(arguments.get("channel", "")))
    if channel is None:  # a name is not accepted here
        raise SlackError("channel_not_found")
    _need(workspace, HISTORY_SCOPES[channel.private])
    if not channel.member:
        raise SlackError("not_in_channel")
    limit = min(int(arguments.get("limit") or 100), 999)
    skip = int(arguments.get("cursor") or 0)
    inclusive = _true(arguments.get("inclusive"))
    oldest, latest = _ts(arguments.get("oldest"), 0.0), _ts(arguments.get("latest"), float("inf"))
    fitting = [
        message
        for message in reversed(workspace.in_channel(channel.id))
        if oldest < float(message.ts) < latest
        or (inclusive and float(message.ts) in (oldest, latest))
    ]
    page = fitting[skip : skip + limit]
    more = len(fitting) > skip + limit
    metadata = _true(arguments.get("include_all_metadata"))
    return {
        "messages": [_shown(message, metadata=metadata) for message in page],
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


METHODS: dict[str, Method] = {
    "auth.test": auth_test,
    "chat.postMessage": post_message,
    "chat.update": update_message,
    "conversations.history": history,
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
        except (ValueError, TypeError):
            return PlainTextResponse("invalid_payload", 400)
        except SlackError as problem:
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
