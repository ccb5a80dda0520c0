"""What `check --online` asks of Mouseflow and Slack; it changes nothing there."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bot.errors import BotError
from bot.subjects import Site

if TYPE_CHECKING:
    from bot.config import Settings
    from bot.mouseflow.client import AsyncMouseflow
    from bot.rulebook.rules import Rule, RuleSet


async def problems(settings: "Settings", book: "RuleSet") -> list[str]:
    """Everything that only the other side can tell to be wrong."""
    return [*await _mouseflow(settings, book), *await _slack(settings, book)]


async def _mouseflow(settings: "Settings", book: "RuleSet") -> list[str]:
    from bot.mouseflow import websites
    from bot.mouseflow.client import AsyncMouseflow

    account = settings.mouseflow
    client = AsyncMouseflow(
        account.base_url or account.region or "",
        account.email,
        account.api_key.get_secret_value(),
        requests_per_second=account.requests_per_second,
        tries=1,
    )
    async with client:
        try:
            rows = await client.send(websites.list())
        except BotError as error:
            return [f"Mouseflow: {error}"]
        sites = [Site(row.id, row.name or row.id, read_only=bool(row.read_only)) for row in rows]
        return [
            *unknown_websites(book.rules, sites),
            *read_only_websites(book.rules, sites),
            *await _ignored_filters(client, book.rules, sites),
        ]


def unknown_websites(rules: "Iterable[Rule]", sites: Sequence[Site]) -> list[str]:
    """Websites that rules name and the account does not have."""
    from dataclasses import replace

    from bot.rulebook.decide import applies

    names = ", ".join(site.name for site in sites) or "none"
    return [
        f"{rule.file}:{rule.line}: rules.{rule.id}.websites: {wanted}: the account has no such "
        f"website; it has {names}"
        for rule in rules
        for wanted in rule.websites
        if not any(applies(replace(rule, websites=(wanted,)), site) for site in sites)
    ]


def read_only_websites(rules: "Iterable[Rule]", sites: Sequence[Site]) -> list[str]:
    """Websites where the API user may only look, and rules that would write there."""
    from bot.actions.base import POST
    from bot.rulebook.decide import applies

    return [
        f"{rule.file}:{rule.line}: rules.{rule.id}: the API user may only read {site.name}; "
        f"{', '.join(sorted({action.kind for action in writes}))} will fail there"
        for rule in rules
        if rule.websites and (writes := [action for action in rule.do if action.rank < POST])
        for site in sites
        if site.read_only and applies(rule, site)
    ]


async def _ignored_filters(
    client: "AsyncMouseflow", rules: "Iterable[Rule]", sites: Sequence[Site]
) -> list[str]:
    """An impossible friction must find nothing; else the server ignores the filter."""
    from bot.poll.facts import friction_is_ignored
    from bot.poll.listing import of_days
    from bot.rulebook.decide import applies
    from bot.rulebook.queries import asks_friction

    asking = [rule for rule in rules if rule.watch == "recordings" and asks_friction(rule)]
    today = datetime.now(UTC).date()
    window = of_days(today - timedelta(days=7), today + timedelta(days=2))
    found = []
    for site in sites:
        if not any(applies(rule, site) for rule in asking):
            continue
        try:
            ignored = await friction_is_ignored(client, site.id, window)
        except BotError as error:
            found.append(f"Mouseflow: {site.name}: {error}")
            continue
        if ignored:
            found.append(
                f"Mouseflow: {site.name}: the API ignores the friction filter; "
                "rules that ask for friction would be held"
            )
    return found


async def _slack(settings: "Settings", book: "RuleSet") -> list[str]:
    """Looks into each channel that rules post to; a webhook can't be tried without a post."""
    if settings.slack.bot_token is None:
        return []
    from bot.config.channels import channels
    from bot.ports import CannotLook
    from bot.slack.poster import SLACK, SlackPoster

    poster = SlackPoster(settings.slack.bot_token, base_url=settings.slack.base_url or SLACK)
    found = []
    try:
        for channel in channels(settings, book.rules):
            try:
                await poster.find(channel, "no such key", datetime.now(UTC))
            except CannotLook as answer:
                found.append(
                    f"Slack: {channel}: {answer}; invite the bot and give it the scopes "
                    "channels:read and channels:history, or its posts are at-least-once"
                )
            except BotError as error:
                found.append(f"Slack: {channel}: {error}")
    finally:
        await poster.close()
    return found
