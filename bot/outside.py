"""The ways out: the account's client, Slack and webhooks, built from the settings and closed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from bot.config import Settings
from bot.dry import Diary, DryMouseflow, DrySlack, DryWebhook, Silent
from bot.mouseflow import Priority, Request
from bot.mouseflow.client import AsyncMouseflow
from bot.ports import Addresses, Mouseflow, Ports
from bot.slack.poster import SLACK, SlackPoster, WebhookPoster
from bot.webhook import WebhookCaller

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Urgent:
    """The account's client, with every request in one class of its line."""

    api: AsyncMouseflow
    priority: Priority

    async def send(self, request: Request[T]) -> T:
        return await self.api.send(request, priority=self.priority)


@dataclass(frozen=True, slots=True)
class Outside:
    """Whom the polls ask, and what the actions may touch."""

    asking: Mouseflow
    acting: Ports


@asynccontextmanager
async def outside(settings: Settings) -> AsyncIterator[Outside]:
    """Client, poster and webhook caller for these settings, closed in the end."""
    flow = settings.mouseflow
    api = AsyncMouseflow(
        flow.base_url or flow.region or "",
        flow.email,
        flow.api_key.get_secret_value(),
        requests_per_second=flow.requests_per_second,
        burst=max(4, round(flow.requests_per_second)),
    )
    slack, webhook = _poster(settings), WebhookCaller()
    try:
        acting = Ports(Urgent(api, Priority.ACTION), slack, webhook, _addresses(settings))
        yield Outside(Urgent(api, Priority.POLL), acting)
    finally:
        await api.aclose()
        await webhook.close()
        await slack.close()


def dry(out: Outside, diary: Diary) -> Outside:
    """The same account to ask, and actions that are only written into the diary."""
    acting = Ports(
        DryMouseflow(out.acting.mouseflow, diary),
        DrySlack(diary),
        DryWebhook(diary),
        out.acting.addresses,
    )
    return Outside(out.asking, acting)


def _addresses(settings: Settings) -> Addresses:
    return Addresses(
        app_url=settings.mouseflow.app_url,
        share_url=settings.mouseflow.share_url or "",
        channel=settings.slack.channel or "",
        ops_channel=settings.slack.ops_channel or "",
        zone=settings.mouseflow.time_zone,
    )


def _poster(settings: Settings) -> SlackPoster | WebhookPoster | Silent:
    slack = settings.slack
    if slack.bot_token is not None:
        return SlackPoster(slack.bot_token, base_url=slack.base_url or SLACK)
    if slack.webhook_url is not None:
        return WebhookPoster(slack.webhook_url)
    return Silent()
