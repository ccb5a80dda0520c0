"""Reload: rule files that have changed, and secrets when asked to, while the daemon runs."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

import structlog

from bot.config import Settings
from bot.delivery.slack_channels import SlackLookup
from bot.errors import (
    AccountRemoved,
    BotError,
    ConfigError,
    RuleErrors,
    StoreError,
    internal_error,
)
from bot.logs import scrubber
from bot.rule_reader import RuleReader
from bot.rules.files.disk import Signature
from bot.store import Store
from bot.store.lanes import probe_lanes
from bot.store.rules import broken_configuration
from bot.watcher import Watcher

log = structlog.get_logger(__name__)

CHECK_FILES = timedelta(seconds=3)
"""How often the rule files are checked for changes."""


class Reload:
    """Reads rule files and secrets again.

    `seen` is the signature of the rule files from before they were read. `reread` reads the
    configuration again, and `rotate` uses its secrets. `sync` is called after new rules, and
    `wake` when deliveries can be tried again.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        watcher: Watcher,
        lookup: SlackLookup,
        *,
        reader: RuleReader,
        seen: Signature | None,
        reread: Callable[[], Awaitable[Settings]],
        rotate: Callable[[Settings], list[str]],
        sync: Callable[[], None],
        wake: Callable[[], None],
    ) -> None:
        self.web_token = settings.web.token
        self._used = settings
        self._store = store
        self._watcher = watcher
        self._lookup = lookup
        self._reader = reader
        self._seen = seen
        self._reread = reread
        self._rotate = rotate
        self._sync = sync
        self._wake = wake
        self._postponed = ""
        # Why the configuration could not be read last, and whether the account is gone from it; and
        # what people were last told, when there were so many bots.
        self._broken = "", False
        self._told: tuple[tuple[str, bool], int] | None = None

    async def run(self, asked: asyncio.Event) -> None:
        """Reload the rule files when they change, or when asked to."""
        self._redact(self._used)
        while True:
            await self._tell_of_configuration()
            if await set_within(asked, CHECK_FILES):
                asked.clear()  # signals that come together count once
                await self._use_secrets()
                self._lookup.check_unreadable()
            try:
                await self._watcher.follow_up()
                now = await self._reader.signature()
                if now == self._seen:
                    continue
                self._seen = now
                await self._load()
            except Exception as error:
                # Also a surprise: nothing in a rule file may end the daemon. It retries soon.
                reason, _ = _why(error)
                if reason != self._postponed:
                    log.error("rules.reload_postponed", reason=reason)  # noqa: TRY400 - for people
                self._postponed, self._seen = reason, None
            else:
                self._postponed = ""

    async def _use_secrets(self) -> None:
        """Use the secrets as they are now; what failed is tried again at once."""
        try:
            settings = await self._reread()
            self._redact(self._used, settings)
            rotated = self._rotate(settings)
            if settings.web.token != self.web_token and settings.web.token is not None:
                self.web_token = settings.web.token
                rotated.append("web.token")
        except Exception as error:
            # Also a surprise: the daemon goes on with what it has.
            self._broken = _why(error)
            log.error("secrets.not_loaded", reason=self._broken[0])  # noqa: TRY400 - for people
            return
        self._broken = "", False
        if rotated:
            log.info("secrets.rotated", secrets=rotated)
        if old := _used_since_start(self._used, settings):
            log.warning("secrets.need_restart", secrets=old)
        with suppress(StoreError):  # delivery tries it by itself, only later
            await self._store.run(probe_lanes)
            self._wake()

    async def _tell_of_configuration(self) -> None:
        """Tell people what the configuration has become; as soon as the store can be written."""
        if self._told == (self._broken, self._store.sharing.bots):
            return
        with suppress(StoreError):
            known = None if self._told else await self._store.read(broken_configuration)
            if known is not None and not self._broken[0]:
                self._broken = await self._read_now()  # a start may use it as it was
            told = self._broken, self._store.sharing.bots
            reason, removed = self._broken
            await self._watcher.notices.check_configuration(reason, removed=removed)
            self._told = told

    async def _read_now(self) -> tuple[str, bool]:
        """Why the configuration can't be read now, empty if it can."""
        try:
            await self._reread()
        except Exception as error:
            return _why(error)
        return "", False

    def _redact(self, *settings: Settings) -> None:
        """Redact the secrets of these, whatever the configuration says by now."""
        secrets = {secret for each in settings for secret in each.secrets()}
        scrubber.register(secrets, f"{self._used.account} at work")

    async def _load(self) -> None:
        """Load the files and run their tests; with errors the previous rules stay active."""
        try:
            found = await self._reader.contents()
            rules = await self._reader.read(found.files, found.faults)
            await self._watcher.use_rules(rules, found.files)
            self._sync()
            self._lookup.check_again()
        except (RuleErrors, ConfigError) as error:
            await self._watcher.reject_rules(str(error).splitlines())
        except StoreError:
            raise
        except BotError as error:
            if str(error) != self._postponed:
                await self._watcher.reject_rules([str(error)])
            raise
        except Exception as error:
            log.exception("rules.internal_error")
            failed = f"the rules could not be loaded: {internal_error(error)}"
            await self._watcher.reject_rules([failed])


def _why(error: Exception) -> tuple[str, bool]:
    reason = str(error) if isinstance(error, BotError) else internal_error(error)
    return scrubber.text(reason), isinstance(error, AccountRemoved)


def _used_since_start(used: Settings, now: Settings) -> list[str]:
    """The secrets that have changed and are only read at the start."""
    pairs = {
        "slack.app_token": (used.slack.app_token, now.slack.app_token),
        "slack.bot_token": (used.slack.bot_token is None, now.slack.bot_token is None),
        "slack.webhook_url": (used.slack.webhook_url is None, now.slack.webhook_url is None),
        "web.hook_secret": (used.web.hook_secret, now.web.hook_secret),
        "heartbeat.url": (used.heartbeat.url, now.heartbeat.url),
    }
    return [name for name, (old, new) in pairs.items() if old != new]


async def set_within(event: asyncio.Event, wait: timedelta) -> bool:
    """Whether the event is set before so long has passed."""
    try:
        async with asyncio.timeout(wait.total_seconds()):
            await event.wait()
    except TimeoutError:
        return False
    return True
