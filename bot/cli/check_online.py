"""What `check --online` asks of Mouseflow and Slack; it changes nothing there."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bot.cli.context import refusal
from bot.cli.main import hint
from bot.domain.subjects import Site
from bot.errors import BotError

if TYPE_CHECKING:
    from bot.account import Account
    from bot.config import Settings
    from bot.delivery.slack import SlackPoster
    from bot.rules.model import Rule, RuleSet

SHOWN = 10
"""Names of websites that one line lists at most."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What must be mended, and what the bot can live with."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


async def findings(settings: "Settings", book: "RuleSet") -> Findings:
    """Everything that only the other side can tell."""
    found = Findings(await _mouseflow(settings, book))
    await _slack(settings, book, found)
    return found


async def _mouseflow(settings: "Settings", book: "RuleSet") -> list[str]:
    from bot.account import Account, open_client
    from mouseflow import websites

    async with open_client(settings.mouseflow, tries=1) as client:
        account = Account(client)
        try:
            rows = await account.send(websites.list())
        except BotError as error:
            return [refusal(error, settings)]
        sites = [Site(row.id, row.name or row.id, read_only=bool(row.read_only)) for row in rows]
        return [
            *unknown_websites(book.rules, sites),
            *read_only_websites(book.rules, sites),
            *await _ignored_filters(account, book.rules, sites),
        ]


def unknown_websites(rules: "Iterable[Rule]", sites: Sequence[Site]) -> list[str]:
    """Websites that rules name and the account does not have."""
    from dataclasses import replace

    from bot.rules.plan_steps import applies

    names = sorted(site.name for site in sites)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    listed = f"{', '.join(names[:SHOWN])}{more}" if names else "none"
    return [
        f"{rule.file}:{rule.line}:{rule.column}: rules.{rule.id}.websites: {wanted}: the account "
        f"has no such website{hint(wanted, names)}; it has {listed}".replace("?;", "?")
        for rule in rules
        for wanted in rule.websites
        if not any(applies(replace(rule, websites=(wanted,)), site) for site in sites)
    ]


def read_only_websites(rules: "Iterable[Rule]", sites: Sequence[Site]) -> list[str]:
    """Websites where the API user may only look, and rules that would write there."""
    from bot.domain.step import Rank
    from bot.rules.plan_steps import applies

    return [
        f"{rule.file}:{rule.line}:{rule.column}: rules.{rule.id}: the API user may only read "
        f"{site.name}; {_left_out({action.kind for action in writes})} left out there"
        for rule in rules
        if rule.websites and (writes := [action for action in rule.do if action.rank < Rank.POST])
        for site in sites
        if site.read_only and applies(rule, site)
    ]


def _left_out(kinds: set[str]) -> str:
    from bot.rules.syntax.location import listed

    return f"{listed(sorted(kinds), 'and')} {'is' if len(kinds) == 1 else 'are'}"


async def _ignored_filters(
    account: "Account", rules: "Iterable[Rule]", sites: Sequence[Site]
) -> list[str]:
    """An impossible friction must find nothing; else the server ignores the filter."""
    from bot.polling.list_reader import of_days
    from bot.polling.server_facts import friction_is_ignored
    from bot.rules.needs import asks_friction
    from bot.rules.plan_steps import applies

    asking = [rule for rule in rules if rule.watch == "recordings" and asks_friction(rule)]
    today = datetime.now(UTC).date()
    window = of_days(today - timedelta(days=7), today + timedelta(days=2))
    found = []
    for site in sites:
        if not any(applies(rule, site) for rule in asking):
            continue
        try:
            ignored = await friction_is_ignored(account, site.id, window)
        except BotError as error:
            found.append(f"Mouseflow: {site.name}: whether it filters by friction: {error}")
            continue
        if ignored:
            found.append(
                f"Mouseflow: {site.name}: the API ignores the friction filter; "
                "rules that ask for friction would be held"
            )
    return found


async def _slack(settings: "Settings", book: "RuleSet", found: Findings) -> None:
    """The token, then each channel; an incoming webhook can't be tried without a post."""
    if settings.slack.bot_token is None:
        return
    from bot.config.settings import posting
    from bot.delivery.slack import SLACK, SlackPoster

    poster = SlackPoster(settings.slack.bot_token, base_url=settings.slack.base_url or SLACK)
    try:
        try:
            scopes = await poster.scopes()
        except BotError as error:
            found.problems.append(f"slack.bot_token: {error}")
            return
        if scopes is not None and "chat:write" not in scopes:
            found.problems.append(
                "Slack: the app lacks the scope chat:write, without which it can't post; give it "
                "that scope and install it again"
            )
        for channel, users in posting(settings, book.rules).items():
            await _channel(poster, channel, users, scopes, found)
    finally:
        await poster.close()


async def _channel(
    poster: "SlackPoster",
    channel: str,
    users: Sequence[str],
    scopes: frozenset[str] | None,
    found: Findings,
) -> None:
    """A channel that is not there, or where the bot can't post, or can't look a post up."""
    from bot.ports import CannotLook, NoChannel, NotInChannel

    posting = f"({', '.join(users)} would post there)"
    try:
        await poster.find(channel, "no such key", datetime.now(UTC))
    except NoChannel as answer:
        found.problems.append(f"Slack: {answer} {posting}")
    except CannotLook as answer:
        if isinstance(answer, NotInChannel) and "chat:write.public" not in (scopes or ()):
            found.problems.append(f"Slack: {channel}: {answer} {posting}")
            return
        found.warnings.append(
            f"Slack: {channel}: {answer}; until then a post whose outcome is unknown is repeated "
            f"(at-least-once) {posting}"
        )
    except BotError as error:
        found.problems.append(f"Slack: {channel}: {error} {posting}")
