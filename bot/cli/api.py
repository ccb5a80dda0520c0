"""Send one call to the Mouseflow API with the configured credentials and print the answer.

Anything but GET changes something and needs --write.
"""

import asyncio
import json
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote

if TYPE_CHECKING:
    from bot.config import Settings

EXAMPLE = (
    "mouseflow-bot api /websites\n"
    "mouseflow-bot api GET /websites/W/recordings -q limit=10 -q frictionmin=2.5\n"
    "mouseflow-bot api PUT /websites/W --data '{\"recordingRate\": 50}' --write"
)
METHODS = ("GET", "POST", "PUT", "DELETE")


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("words", nargs="+", metavar="[METHOD] PATH", help="such as GET /websites")
    parser.add_argument(
        "-q", "--query", action="append", default=[], type=pair, metavar="KEY=VALUE",
        help="a query parameter; may be repeated",
    )  # fmt: skip
    parser.add_argument("--data", type=json_text, metavar="JSON", help="the body of the call")
    parser.add_argument("--write", action="store_true", help="allow a call that changes something")
    parser.set_defaults(usage_error=parser.error)


def pair(text: str) -> tuple[str, str]:
    """`limit=10` as key and value."""
    key, separator, value = text.partition("=")
    if not (key and separator):
        raise ArgumentTypeError(f"write KEY=VALUE, not {text}")
    return key, value


def json_text(text: str) -> bytes:
    """The text, if it is JSON."""
    try:
        json.loads(text)
    except ValueError as error:
        raise ArgumentTypeError(f"not JSON: {error}") from None
    return text.encode()


def run(args: Namespace) -> int:
    """Send the call and print its answer; 1 if the API rejects it."""
    from bot import logs
    from bot.cli import context, output

    method, path = _method(args)
    if method != "GET" and not args.write:
        args.usage_error(f"{method} changes something in Mouseflow; add --write to send it")
    settings = context.settings(args)
    logs.configure(settings.log.format, settings.log.level)
    target, _, query = path.partition("?")
    pairs = (*parse_qsl(query, keep_blank_values=True), *args.query)
    with output.busy(f"{method} {target}"):
        answer = asyncio.run(_send(settings, method, target, pairs, args.data))
    if answer:
        try:
            print(json.dumps(json.loads(answer), indent=2, ensure_ascii=True))
        except ValueError:
            for line in answer.decode("utf-8", "replace").splitlines():
                output.line(line)
    return 0


def _method(args: Namespace) -> tuple[str, str]:
    words = args.words if len(args.words) > 1 else ["GET", *args.words]
    method, path, *more = words
    parts = path.partition("?")[0].split("/")
    if more:
        args.usage_error(f"unexpected argument {more[0]}")
    if method.upper() not in METHODS:
        args.usage_error(f"{method}: the method is one of {', '.join(METHODS)}")
    if not path.startswith("/") or "" in parts[1:] or {".", ".."} & {*parts}:
        args.usage_error(f"{path}: write the path behind the host, such as /websites")
    return method.upper(), path


async def _send(
    settings: "Settings",
    method: str,
    path: str,
    query: tuple[tuple[str, str], ...],
    body: bytes | None,
) -> bytes:
    from bot.cli.history_context import account
    from mouseflow.request import Request

    safe = quote(path, safe="/%~!$&'()*+,;=:@-._")
    request = Request(method, safe, f"{method} (by hand)", bytes, query, body, method == "GET")
    async with account(settings) as api:
        return await api.send(request)
