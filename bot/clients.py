"""The clients of Mouseflow, Slack and other places: opened, given other secrets, closed."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from bot.account import Account, open_client
from bot.config import Settings
from bot.config.settings import page_of_account
from bot.delivery.dry_run import (
    DryMouseflow,
    DryNotify,
    DryRunLog,
    DrySlack,
    DryWebhook,
    NoSlack,
)
from bot.delivery.notify import Places, problems
from bot.delivery.slack import SLACK, SlackPoster, WebhookPoster
from bot.delivery.webhook import WebhookCaller
from bot.errors import ConfigError
from bot.ports import Addresses, Mouseflow, Ports
from bot.written import Secret
from mouseflow import AsyncMouseflow, Priority, Sent

LAST_CALLS = timedelta(seconds=3)
"""How long a stop waits for polls in flight, after delivery has ended."""


def nothing_rotated(_: Settings) -> list[str]:
    """Keep the secrets."""
    return []


@dataclass(frozen=True, slots=True)
class Clients:
    """`reading` is the account for polls, `acting` are the ports for actions.

    `client` is what both send with; its pause after a 429 is kept in the store. `rotate` uses
    the secrets of other settings from now on, and returns the names of those that changed.
    """

    reading: Mouseflow
    acting: Ports
    client: AsyncMouseflow | None = None
    rotate: Callable[[Settings], list[str]] = nothing_rotated


@asynccontextmanager
async def open_clients(
    settings: Settings, observe: Callable[[Sent], None] | None = None
) -> AsyncIterator[Clients]:
    """The clients for these settings, closed at the end.

    `observe` is called with each attempt of a request to Mouseflow. Raises ConfigError for a place
    of `[notify]` that can't be used.
    """
    if faults := problems(settings.notify):
        raise ConfigError("\n".join(faults))
    client = open_client(settings.mouseflow, observe=observe)
    slack, webhook = _poster(settings), WebhookCaller()
    places = Places(settings.notify)
    try:
        account = Account(client, Priority.ACTION)
        acting = Ports(account, slack, webhook, _addresses(settings), places)
        rotate = partial(_rotate, client, slack, places, _Secrets.of(settings))
        yield Clients(Account(client, Priority.POLL), acting, client, rotate)
    finally:
        await client.aclose(within=LAST_CALLS.total_seconds())
        await webhook.close()
        await slack.close()


@dataclass(slots=True)
class _Secrets:
    """The secrets in use."""

    account: tuple[str, str] = field(repr=False)
    slack: Secret | None

    @classmethod
    def of(cls, settings: Settings) -> "_Secrets":
        flow, slack = settings.mouseflow, settings.slack
        account = (flow.email, flow.api_key.get_secret_value())
        return cls(account, slack.bot_token or slack.webhook_url)


def _rotate(
    client: AsyncMouseflow,
    slack: SlackPoster | WebhookPoster | NoSlack,
    places: Places,
    used: _Secrets,
    settings: Settings,
) -> list[str]:
    new, changed = _Secrets.of(settings), list[str]()
    if new.account != used.account:
        client.use_credentials(*new.account)
        changed.append("mouseflow.api_key")
    same_kind = isinstance(slack, SlackPoster) == (settings.slack.bot_token is not None)
    if (
        new.slack is not None
        and new.slack != used.slack
        and same_kind
        and not isinstance(slack, NoSlack)
    ):
        slack.use(new.slack)
        changed.append("slack.bot_token" if settings.slack.bot_token else "slack.webhook_url")
    used.account, used.slack = new.account, new.slack
    return changed + [f"notify.{name}" for name in places.use(settings.notify)]


def dry_clients(clients: Clients, dry_run_log: DryRunLog) -> Clients:
    """Clients whose polls ask the account; actions only go into the log."""
    acting = Ports(
        DryMouseflow(clients.acting.mouseflow, dry_run_log),
        DrySlack(dry_run_log),
        DryWebhook(dry_run_log),
        clients.acting.addresses,
        DryNotify(dry_run_log),
    )
    return Clients(clients.reading, acting, clients.client)


def _addresses(settings: Settings) -> Addresses:
    return Addresses(
        app_url=settings.mouseflow.app_url,
        share_url=settings.mouseflow.share_url or "",
        channel=settings.slack.channel or "",
        ops_channel=settings.slack.ops_channel or "",
        zone=settings.mouseflow.time_zone,
        buttons=settings.slack.app_token is not None,
        page=page_of_account(settings),
        account=settings.account if len(settings.accounts) > 1 else "",
    )


def _poster(settings: Settings) -> SlackPoster | WebhookPoster | NoSlack:
    slack = settings.slack
    if slack.bot_token is not None:
        return SlackPoster(slack.bot_token, base_url=slack.base_url or SLACK)
    if slack.webhook_url is not None:
        return WebhookPoster(slack.webhook_url)
    return NoSlack()
