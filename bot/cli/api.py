"""Send one request to the Mouseflow API with the configured credentials, and print its JSON.

Reads only, unless --write is given. The path may have a website's name in place of its id.
"""

import asyncio
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote

from bot.errors import BotError, ConfigError

if TYPE_CHECKING:
    from bot.config import Settings
    from bot.polling.candidates import CountingClient
    from mouseflow import Request

EXAMPLE = (
    "mouseflow-bot api GET /websites\n"
    "mouseflow-bot api GET /websites/myshop.com/recordings --field frictionmin=2.5 --all\n"
    "mouseflow-bot api PUT /websites/myshop.com --write --body rate.json"
)
METHODS = ("GET", "POST", "PUT", "DELETE")
_MOST = 10_000
"""The most rows that anyone has seen in one answer."""
_LISTS = ("recordings", "pages", "urls")


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("method", metavar="METHOD", choices=METHODS, help=", ".join(METHODS))
    parser.add_argument("path", metavar="PATH", type=path, help="such as /websites")
    parser.add_argument(
        "--field", "-f", action="append", default=[], type=field, metavar="NAME=VALUE",
        help="a parameter of the query; may be repeated",
    )  # fmt: skip
    parser.add_argument("--body", metavar="FILE", help="JSON to send; - is standard input")
    parser.add_argument("--write", action="store_true", help="allow POST, PUT and DELETE")
    parser.add_argument(
        "--all", action="store_true", help="read a list to its end, not only the first rows"
    )
    parser.set_defaults(paths=[], usage_error=parser.error)


def path(text: str) -> str:
    """A path of the API, perhaps with a query."""
    parts = unquote(text.partition("?")[0]).split("/")
    if not text.startswith("/") or text.startswith("//") or {".", ".."} & set(parts):
        raise ArgumentTypeError("write a path of the API, such as /websites")
    return text


def field(text: str) -> tuple[str, str]:
    """A name and a value."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ArgumentTypeError("write NAME=VALUE, such as limit=10")
    return name, value


def run(args: Namespace) -> int:
    """Send the request and print the answer; returns the exit code."""
    from bot import logs
    from bot.cli import context, output

    if args.method != "GET" and not args.write:
        args.usage_error(f"{args.method} changes the account: add --write if you mean it")
    if args.body and args.method == "GET":
        args.usage_error("a GET has no body")
    if args.all and args.method != "GET":
        args.usage_error("--all is for lists, which are read with GET")
    settings = context.settings(args)
    logs.configure(settings.log.format, settings.log.level)
    body = _body(args.body)
    verb = "reading" if args.method == "GET" else "writing"
    with output.busy(f"{verb} {args.path}"):
        answer, short = asyncio.run(_send(args, settings, body))
    print(_json(answer))
    if short:
        raise BotError(f"the list is not whole: {short} rows are missing")
    return 0


async def _send(args: Namespace, settings: "Settings", body: bytes | None) -> tuple[bytes, int]:
    """The answer's body, and how many rows of the list are missing although all were asked for."""
    import msgspec

    from bot.cli.history_context import account

    async with account(settings) as client:
        args.path = await _with_id(client, args.path)
        answer = await client.send(_request(args, body))
        found = _parsed(answer)
        key = next((key for key in _LISTS if isinstance(found.get(key), list)), "")
        if not args.all or not key or not isinstance(found.get("count"), int):
            return answer, 0
        rows = {_key(row): row for row in found[key]}
        asked = {"limit": min(found["count"] + 100, _MOST)}
        while len(rows) < found["count"]:
            before = len(rows)
            more = _parsed(await client.send(_request(args, body, asked)))
            rows |= {_key(row): row for row in more.get(key, ())}
            if len(rows) == before:
                break
            asked["offset"] = len(rows)  # undocumented: if it is ignored, nothing new comes
        found[key] = list(rows.values())
        return msgspec.json.encode(found), max(0, found["count"] - len(rows))


async def _with_id(client: "CountingClient", where: str) -> str:
    """The path with the website's id, if it has a name: an id has no dot."""
    from bot.replay.select import website_named
    from mouseflow import websites

    parts = where.split("/")
    name = unquote(parts[2].partition("?")[0]) if parts[1] == "websites" and parts[2:] else ""
    if "." not in name:
        return where
    names = {it.id: it.name or it.id for it in await client.send(websites.list())}
    parts[2] = website_named(names, name) + parts[2].removeprefix(parts[2].partition("?")[0])
    return "/".join(parts)


def _request(
    args: Namespace, body: bytes | None, instead: Mapping[str, int] = MappingProxyType({})
) -> "Request[bytes]":
    from mouseflow import Request

    where, _, written = args.path.partition("?")
    query = [*parse_qsl(written, keep_blank_values=True), *args.field]
    query = [(name, value) for name, value in query if name.casefold() not in instead]
    query += ((name, str(value)) for name, value in instead.items())
    return Request(
        args.method,
        quote(where, safe="/%"),
        f"{args.method} (by hand)",
        lambda answer: answer,
        tuple(query),
        body,
        repeatable=args.method == "GET",
    )


def _body(file: str | None) -> bytes | None:
    import msgspec

    if file is None:
        return None
    try:
        found = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        msgspec.json.decode(found)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not JSON: {error}") from None
    return found


def _key(row: Any) -> str:
    """What tells rows apart."""
    return str(row.get("id") or row.get("displayUrl")) if isinstance(row, dict) else str(row)


def _parsed(answer: bytes) -> dict[str, Any]:
    import msgspec

    try:
        found = msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _json(answer: bytes) -> str:
    """The answer, indented if it is JSON."""
    import msgspec

    try:
        return msgspec.json.format(answer, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return answer.decode("utf-8", "replace")
