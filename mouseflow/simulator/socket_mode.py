"""The simulated Slack's Socket Mode: a websocket over which presses of buttons come.

A press is made of the message as it is in the channel, so a test can only press what is there.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import struct
import uuid
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from mouseflow.simulator.slack import SlackMessage, SlackWorkspace

_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA


class SocketMode:
    """Open connections, and the envelopes that were confirmed, in order.

    `opened` counts the connections so far. `refuses`: new connections are turned away, as a
    proxy would. `silent`: pings and the end of a connection get no answer.
    """

    def __init__(self, workspace: SlackWorkspace) -> None:
        self._workspace = workspace
        self._links: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.confirmed: list[str] = []
        self.refuses = self.silent = False
        self.opened = 0

    @property
    def connected(self) -> int:
        """How many connections are open."""
        return len(self._links)

    @contextlib.asynccontextmanager
    async def serving(self, host: str) -> AsyncIterator[None]:
        """Listen until the block ends."""
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._serve, host, 0)
        port = server.sockets[0].getsockname()[1]
        self._workspace.socket_url = f"ws://{host}:{port}/link"
        try:
            yield
        finally:
            server.close()
            self._cut()
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def press(
        self,
        message: SlackMessage,
        button: str,
        user: str = "U1",
        name: str = "kim",
        *,
        team: str = "T00000000",
    ) -> dict[str, Any]:
        """Press a button, or an entry of a menu, by its text; returns the envelope."""
        element, option = _found(message, button)
        action = {
            "type": element["type"],
            "action_id": element["action_id"],
            "block_id": element["block_id"],
            "action_ts": self._workspace.next_ts(),
        }
        action |= {"selected_option": option} if option else {"value": element.get("value")}
        envelope = {
            "envelope_id": str(uuid.uuid4()),
            "type": "interactive",
            "accepts_response_payload": False,
            "payload": {
                "type": "block_actions",
                "user": {"id": user, "username": name, "name": name, "team_id": team},
                "team": {"id": "T00000000", "domain": "simulator"},
                "container": {
                    "type": "message",
                    "message_ts": message.ts,
                    "channel_id": message.channel_id,
                    "is_ephemeral": False,
                },
                "channel": {"id": message.channel_id, "name": message.channel},
                "message": {"ts": message.ts, "blocks": message.blocks},
                "response_url": "http://127.0.0.1:9/none",
                "actions": [action],
            },
        }
        self.send(envelope)
        return envelope

    def send(self, envelope: dict[str, Any]) -> None:
        """Send an envelope over the newest connection; again if it was sent before."""
        self._soon(lambda: self._links[-1].write(_frame(_TEXT, json.dumps(envelope).encode())))

    def disconnect(self) -> None:
        """Ask the other side to reconnect, as Slack does now and then."""
        self.send({"type": "disconnect", "reason": "refresh_requested"})

    def cut(self) -> None:
        """Drop every connection."""
        self._soon(self._cut)

    def _cut(self) -> None:
        for link in self._links:
            link.transport.abort()

    def _soon(self, work: Any) -> None:
        if self._loop is None:
            raise RuntimeError("the simulator does not run")
        self._loop.call_soon_threadsafe(work)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._talk(reader, writer)
        finally:
            if writer in self._links:
                self._links.remove(writer)
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (h.partition(":") for h in head)
        }
        ticket = dict(parse_qsl(urlsplit(head[0].split(" ")[1]).query)).get("ticket", "")
        if self.refuses or ticket not in self._workspace.tickets:
            writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            return
        self._workspace.tickets.remove(ticket)
        key = (headers["sec-websocket-key"] + _MAGIC).encode()
        accept = base64.b64encode(hashlib.sha1(key, usedforsecurity=False).digest()).decode()
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
            + f"sec-websocket-accept: {accept}\r\n\r\n".encode()
        )
        hello = {"type": "hello", "num_connections": 1, "debug_info": {"host": "simulator"}}
        writer.write(_frame(_TEXT, json.dumps(hello).encode()))
        self._links.append(writer)
        self.opened += 1
        while True:
            opcode, data = await _read_frame(reader)
            if opcode == _TEXT:
                self.confirmed.append(json.loads(data).get("envelope_id", ""))
            elif opcode == _PING and not self.silent:
                writer.write(_frame(_PONG, data))
            elif opcode == _CLOSE and not self.silent:
                writer.write(_frame(_CLOSE, data))
                await writer.drain()
                return


def _found(message: SlackMessage, button: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    for block in message.blocks:
        for element in block.get("elements", ()) if block["type"] == "actions" else ():
            here = element | {"block_id": block.get("block_id", "")}
            if element.get("text", {}).get("text") == button:
                return here, None
            for option in element.get("options", ()):
                if option["text"]["text"] == button:
                    return here, option
    raise LookupError(f"the message has no button {button}")


def _frame(opcode: int, data: bytes) -> bytes:
    size = len(data)
    if size < 126:
        return bytes((0x80 | opcode, size)) + data
    if size < 65_536:
        return bytes((0x80 | opcode, 126)) + struct.pack("!H", size) + data
    return bytes((0x80 | opcode, 127)) + struct.pack("!Q", size) + data


async def _read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """One frame; clients mask theirs."""
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
    elif size == 127:
        (size,) = struct.unpack("!Q", await reader.readexactly(8))
    mask = await reader.readexactly(4) if second & 0x80 else bytes(4)
    data = await reader.readexactly(size)
    return first & 0x0F, bytes(byte ^ mask[n % 4] for n, byte in enumerate(data))
