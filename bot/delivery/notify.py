"""Send to the places of `[notify]` with Apprise, which knows mail, Teams, PagerDuty and many more.

Apprise is synchronous and answers only yes or no, so each message is sent in a thread of its own
with a time limit, and what the place answered is read from Apprise's log. That log names addresses
and recipients: nothing of it is passed on but a status.
"""

import asyncio
import logging
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import lru_cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from bot.actions.webhook import REFERENCE
from bot.delivery.webhook import secret_from
from bot.errors import GiveUp, RateLimited, Refused, TryLater
from bot.ports import PlainMessage, may_act
from bot.written import Secret

LIMIT = timedelta(seconds=30)
"""How long an attempt may take; Apprise itself waits up to 5.5 s between messages to a place."""
EXTRA = "pip install 'mouseflow-bot[notify]'"
LOG = "apprise"
_STATUS = re.compile(r"error=([1-5][0-9]{2})")
_PASSING = {408, 425}


class Places:
    """Implements `bot.ports.Notify`. Errors hold the place's name, never its address.

    A message counts as sent when the service, or the mail server, has accepted it.
    """

    def __init__(self, addresses: Mapping[str, Secret], *, limit: timedelta = LIMIT) -> None:
        self._addresses = addresses
        self._limit = limit
        self._running: set[str] = set()

    def use(self, addresses: Mapping[str, Secret]) -> list[str]:
        """Send to these from now on; returns the names of places that changed."""
        names = [*dict.fromkeys((*self._addresses, *addresses))]
        changed = [each for each in names if self._addresses.get(each) != addresses.get(each)]
        self._addresses = addresses
        return changed

    async def send(self, place: str, message: PlainMessage) -> str:
        """The kind of service that accepted it; raises Refused, or TryLater."""
        address = self._addresses.get(place)
        if address is None:
            reason = f"there is no place {place} under [notify]"
            raise Refused(reason, "add it to the configuration, then restart", code="no_place")
        url = _resolved(address)
        if url is None:
            raise Refused(
                f"the address of {place} is not set",
                f"set {address.get_secret_value()}",
                code="no_place",
            )
        if place in self._running:
            raise TryLater(f"{place} has not yet answered the message before", lane=True)
        await may_act()
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[str] = loop.create_future()

        def attempt() -> None:
            settle: Callable[[Any], None] = outcome.set_exception
            told: object
            try:
                told = _sent(place, url, message)
                settle = outcome.set_result
            except (GiveUp, TryLater) as error:
                told = error
            except Exception as error:
                told = TryLater(f"{place} failed ({type(error).__name__})", unknown=True)
            finally:  # before the outcome is known: the next message may follow at once
                self._running.discard(place)
            _tell(loop, settle, outcome, told)

        # A daemon thread: one that hangs must not keep the process from ending.
        thread = threading.Thread(target=attempt, name=f"notify-{place}", daemon=True)
        self._running.add(place)
        thread.start()
        try:
            async with asyncio.timeout(self._limit.total_seconds()):
                return await outcome
        except TimeoutError:
            raise TryLater(f"{place} did not answer in time", unknown=True) from None


def _tell(
    loop: asyncio.AbstractEventLoop,
    settle: Callable[[Any], None],
    outcome: asyncio.Future[str],
    value: object,
) -> None:
    """Settle it in the loop, unless nobody waits for it any more."""

    def told() -> None:
        if not outcome.done():
            settle(value)

    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(told)


def problems(addresses: Mapping[str, Secret]) -> list[str]:
    """What is wrong with the places: no Apprise, or an address that it does not understand.

    An address that is kept elsewhere and not set here is no problem.
    """
    if not addresses:
        return []
    if find_spec("apprise") is None:
        return [f"notify: needs Apprise, which is not installed; install it with {EXTRA}"]
    known = ((name, _resolved(address)) for name, address in addresses.items())
    return [
        f"notify.{name}: Apprise does not understand this address; "
        "its documentation shows the form of each service's"
        for name, url in known
        if url is not None and _server(url) is None
    ]


def unset(addresses: Mapping[str, Secret]) -> list[str]:
    """The places whose address is kept elsewhere, and is not set here."""
    return [name for name, address in addresses.items() if _resolved(address) is None]


def _resolved(address: Secret) -> str | None:
    """The address, read from where it is kept; None if there is none."""
    written = address.get_secret_value()
    return secret_from(written) if REFERENCE.fullmatch(written) else written


def _sent(place: str, url: str, message: PlainMessage) -> str:
    """Send it; returns the kind of service. Runs in a thread."""
    try:
        server = _server(url)
    except ImportError:
        raise Refused("Apprise is not installed", EXTRA, code="no_place") from None
    if server is None:
        raise Refused(
            f"Apprise does not understand the address of {place}",
            "fix it under [notify] in the configuration",
            code="no_place",
        )
    apprise = _apprise()
    service = str(server.service_name)
    with _heard() as said:
        accepted = server.notify(
            title=message.title,
            body=message.body,
            notify_type=apprise.NotifyType(message.tone),
            body_format=apprise.NotifyFormat.TEXT,
            overflow=apprise.OverflowMode.TRUNCATE,
        )
    if accepted:
        return service
    raise _failure(f"{place} ({service})", said)


def _failure(place: str, said: list[int]) -> GiveUp | TryLater:
    """The error for a message that was not accepted; `said` are the statuses that were answered."""
    status = said[-1] if said else None
    if status is None or len(said) > 1:  # perhaps some of several recipients have it
        return TryLater(f"{place} did not accept the message", unknown=True)
    reason = f"{place} answered {status}"
    if status == 429:
        return RateLimited(reason, lane=True)
    if status in _PASSING or status >= 500:
        return TryLater(reason, unknown=True)
    return Refused(reason, "check its address under [notify]", code=str(status))


def _server(url: str) -> Any:
    """Apprise's object for the address; None if it does not understand it."""
    apprise = _apprise()
    asset = apprise.AppriseAsset(
        app_id="mouseflow-bot",
        app_desc="mouseflow-bot",
        async_mode=False,
        http_redirects=False,
        storage_mode="memory",
    )
    with _heard():
        return apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)


@lru_cache(maxsize=1)
def _apprise() -> ModuleType:
    """Apprise with its plugins, some of which warn of what is deprecated in Python.

    Its log names addresses and recipients, so it goes nowhere. Its warnings are made at any level
    of the bot's own log: they have the answers.
    """
    logging.getLogger(LOG).propagate = False
    logging.getLogger(LOG).setLevel(logging.WARNING)
    if bundle := os.environ.get("SSL_CERT_FILE"):  # which its HTTP library does not read
        os.environ.setdefault("REQUESTS_CA_BUNDLE", bundle)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import apprise

        apprise.Apprise.instantiate("json://localhost")
    return apprise


class _Statuses(logging.Handler):
    """Keeps the statuses that Apprise logs in one thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[int] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the status, and nothing else."""
        if record.thread == self._thread and (status := _STATUS.search(record.getMessage())):
            self.found.append(int(status[1]))


@contextmanager
def _heard() -> Iterator[list[int]]:
    """The statuses that Apprise logs meanwhile."""
    logger, heard = logging.getLogger(LOG), _Statuses()
    logger.addHandler(heard)
    try:
        yield heard.found
    finally:
        logger.removeHandler(heard)
