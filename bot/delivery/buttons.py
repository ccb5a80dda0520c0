"""Presses of buttons, over Slack's Socket Mode: kept, confirmed within 3 seconds, then done.

Imported only where `slack.app_token` is set: slack_sdk's client takes time and memory.
"""

import asyncio
import hashlib
import logging
import random
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any, get_args

import structlog
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse

from bot.delivery.slack import AppClient, SlackPoster
from bot.domain.press import Button, Press
from bot.errors import BotError, GiveUp, StoreError, TryLater
from bot.messages.presses import LABELS
from bot.ports import CannotLook
from bot.store import Store
from bot.store.presses import (
    Requeue,
    apply,
    is_posted,
    receive,
    refuse,
    requeue_as_stored,
    waiting,
)
from bot.written import Secret

log = structlog.get_logger(__name__)

CONFIRM = timedelta(seconds=2.5)
"""How long keeping a press may take: without an answer within 3 s Slack shows an error."""
CONNECT = timedelta(seconds=20)
CLOSE = timedelta(seconds=2)
"""How long the end of a connection may take."""
CHECK = timedelta(seconds=1)
LONGEST_WAIT = timedelta(minutes=1)
AGAIN = timedelta(seconds=10)
"""How soon a press that waits for Slack is looked at again."""
OF_OTHERS = timedelta(seconds=1)
"""How often a bot looks for presses that other bots on its store have kept."""
AFTER_REFUSAL = timedelta(minutes=5)
"""How soon the bot tries again where Slack refuses the token."""
HELD = timedelta(seconds=30)
"""How long a connection may be gone before a new client takes its place: slack_sdk's own tries
can be stuck with an address that is no longer good."""

_NOT_NAMED = "Not everybody may press “{button}”. Ask somebody who runs the bot."
_NO_MEMBER = "Only people in this channel may press “{button}”. Ask one of them."
_CANNOT_SEE = "The bot can't see who is in this channel, so it does nothing."
_BUG = "Nothing was done: this is a bug in the bot, and its log has the details."

# Its logs hold payloads.
_QUIET = logging.getLogger("bot.slack.socket")
_QUIET.setLevel(logging.CRITICAL)


class Buttons:
    """Keeps presses and does them. `users` may press, or (none) the members of the channel.

    `wake` is called when there is something to deliver; `requeue` puts dead letters back.
    """

    def __init__(
        self,
        poster: SlackPoster,
        store: Store,
        *,
        users: Collection[str],
        zone: str,
        clock: Callable[[], datetime],
        wake: Callable[[], None],
        requeue: Requeue = requeue_as_stored,
    ) -> None:
        self._poster = poster
        self._store = store
        self._users = frozenset(users)
        self._zone = zone
        self._clock = clock
        self._wake = wake
        self._requeue = requeue
        self._received = asyncio.Event()
        self._waits = ""

    async def receive_presses(self, connection: "PressConnection") -> None:
        """Keep and do what is pressed over that connection; runs until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.keep_presses(connection))
            tasks.create_task(self.do_presses())

    async def keep_presses(self, connection: "PressConnection") -> None:
        """Keep what is pressed over that connection; runs until it is cancelled."""
        connection.receivers.append(self)
        try:
            await asyncio.Event().wait()
        finally:
            connection.receivers.remove(self)

    async def has(self, press: Press) -> bool:
        """Whether the message that was pressed is known here; raises StoreError."""
        return await self._store.run(partial(is_posted, key=press.post))

    async def keep(self, press: Press) -> None:
        """Keep the press, to do it soon; raises StoreError."""
        try:
            await self._store.run(partial(receive, press=press))
        finally:
            self._received.set()  # it may be kept all the same, a little later

    async def do_presses(self) -> None:
        """Deal with the presses that are kept, also those of an earlier run or of another bot.

        Runs until it is cancelled.
        """
        others = OF_OTHERS if self._store.sharing.shares else None
        while True:
            self._received.clear()
            again = others if await self._all_dealt_with() else AGAIN
            with suppress(TimeoutError):
                async with asyncio.timeout(again.total_seconds() if again else None):
                    await self._received.wait()

    async def _all_dealt_with(self) -> bool:
        """Deal with each press that is kept; false if some must wait."""
        reason, done = "", True
        try:
            for press in await self._store.run(waiting):
                try:
                    await self._dealt_with(press)
                except TryLater as error:
                    reason, done = error.reason, False
        except StoreError as error:
            reason, done = str(error), False
        if reason and reason != self._waits:
            log.warning("slack.press_waits", reason=reason)
        self._waits = reason
        return done

    async def _dealt_with(self, press: Press) -> None:
        """Do it, or say why not; raises TryLater if Slack does not say yet who may press.

        A press that a bug prevents is refused: it must not hold up the others.
        """
        now = self._clock()
        try:
            why = await self._refused(press)
            if not why:
                work = partial(apply, press=press, now=now, zone=self._zone, requeue=self._requeue)
                told = await self._store.run(work)
                self._wake()
        except (TryLater, StoreError):
            raise
        except Exception:
            log.exception("slack.press_failed", button=press.button)
            why = _BUG
        if why:
            told = why
            await self._store.run(partial(refuse, press=press, why=why, now=now))
        log.info("slack.pressed", button=press.button, user=press.user, told=told)
        if told:
            try:
                await self._poster.whisper(press.channel, press.user, told)
            except BotError as error:
                log.warning("slack.whisper_failed", reason=str(error))

    async def _refused(self, press: Press) -> str:
        """Why this person may not press; empty if they may."""
        label = LABELS[press.button]
        if self._users:
            return "" if press.user in self._users else _NOT_NAMED.format(button=label)
        try:
            is_member = await self._poster.is_member(press.channel, press.user)
            return "" if is_member else _NO_MEMBER.format(button=label)
        except (CannotLook, GiveUp) as error:
            return f"{_CANNOT_SEE} ({error})"


class PressConnection:
    """A connection over which presses come, to one account or to several of one Slack app.

    `accounts` is how many there are; those that run now are among the `receivers`.
    """

    def __init__(
        self, token: Secret, base_url: str, clock: Callable[[], datetime], accounts: int = 1
    ) -> None:
        self._token = token
        self._base_url = base_url
        self._clock = clock
        self._accounts = accounts
        self._reason = ""
        self.receivers: list[Buttons] = []

    async def stay_connected(self) -> None:
        """Connect, again and again; runs until it is cancelled."""
        failed = 0
        while True:
            try:
                await self._connected()
                failed = 0
            except GiveUp as error:
                self._say(error.reason)
                await asyncio.sleep(AFTER_REFUSAL.total_seconds())
            except (BotError, TimeoutError, OSError) as error:
                self._say(str(error) or type(error).__name__)
                failed += 1
                longest = min(2.0**failed, LONGEST_WAIT.total_seconds())
                await asyncio.sleep(longest * (0.5 + random.random() / 2))

    async def _connected(self) -> None:
        """Connect, and return when the connection has been gone for too long."""
        web = AppClient(self._token, self._base_url)
        client = SocketModeClient(
            self._token.get_secret_value(), web_client=web.client, logger=_QUIET
        )
        client.socket_mode_request_listeners.append(self._heard)
        try:
            # A wrong token makes `connect` retry forever: ask for the address first.
            client.wss_uri = address = await web.socket_address()
            client.proxy = web.proxy_of(address)  # slack_sdk's own choice knows no NO_PROXY
            async with asyncio.timeout(CONNECT.total_seconds()):
                await client.connect()  # type: ignore[no-untyped-call]
            log.info("slack.buttons_connected")
            self._reason = ""
            gone = timedelta()
            while gone < HELD:
                await asyncio.sleep(CHECK.total_seconds())
                gone = timedelta() if await client.is_connected() else gone + CHECK
            self._say("the connection was lost")
        finally:
            await _closed(client)
            await web.close()

    def _say(self, reason: str) -> None:
        if reason != self._reason:
            self._reason = reason
            log.warning("slack.buttons_disconnected", reason=reason)

    async def _heard(self, client: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        """Keep what was pressed, then confirm it: what is not kept is not confirmed."""
        press = pressed(request.payload, self._clock()) if request.type == "interactive" else None
        if press is not None:
            try:
                async with asyncio.timeout(CONFIRM.total_seconds()):
                    await self._keep(press)
            except (BotError, TimeoutError) as error:
                reason = str(error) or "the store did not answer in time"
                log.error("slack.press_not_kept", reason=reason)  # noqa: TRY400 - for people
                return
        response = SocketModeResponse(envelope_id=request.envelope_id)
        await client.send_socket_mode_response(response)

    async def _keep(self, press: Press) -> None:
        """Let the account keep it whose message was pressed; raises BotError."""
        if self._accounts == 1 and self.receivers:
            return await self.receivers[0].keep(press)
        unknown: StoreError | None = None
        for receiver in self.receivers:
            try:
                if await receiver.has(press):
                    return await receiver.keep(press)
            except StoreError as error:
                unknown = error
        if unknown is not None:
            raise unknown
        if len(self.receivers) < self._accounts:
            raise BotError("it is perhaps for an account that does not run now")
        return await self.receivers[0].keep(press)  # which says that it is too old


async def _closed(client: SocketModeClient) -> None:
    """Close the connection, also if the other side does not answer: a stop waits for this."""
    try:
        async with asyncio.timeout(CLOSE.total_seconds()):
            await client.close()  # type: ignore[no-untyped-call]
    except TimeoutError:
        for task in (client.current_session_monitor, client.message_receiver):
            if task is not None:
                task.cancel()
        client.message_processor.cancel()
        await client.aiohttp_client_session.close()


def pressed(payload: Mapping[str, Any], now: datetime) -> Press | None:
    """What was pressed; None for a link, and for anything that is no button of the bot."""
    try:
        (action,) = payload["actions"]
        value = str((action.get("selected_option") or action).get("value") or "")
        button, _, post = value.partition(":")
        user, channel = payload["user"], str(payload["channel"]["id"])
        known = next((each for each in get_args(Button) if each == button), None)
        stamp = str(payload["message"]["ts"])
        own = user.get("team_id") in (None, payload["team"]["id"])
        if known is None or known not in LABELS or not post or not own:
            return None
        said = "/".join((channel, stamp, button, str(user["id"]), str(action["action_ts"])))
        return Press(
            id=hashlib.sha256(said.encode()).hexdigest()[:32],
            button=known,
            post=post[:64],
            user=str(user["id"])[:40],
            name=str(user.get("name") or user.get("username") or "")[:80],
            channel=channel,
            at=now,
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
