"""What `check --online` asks Mouseflow and Slack; it changes nothing there."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bot.cli.context import api_error
from bot.cli.main import suggest
from bot.domain.subjects import Site
from bot.errors import BotError

if TYPE_CHECKING:
    from bot.account import Account
    from bot.config import Settings
    from bot.delivery.slack import SlackPoster
    from bot.rules.model import Rule, RuleSet

SHOWN = 10
"""Most names of websites on one line."""


@dataclass(frozen=True, slots=True)
class Findings:
    """Problems, and warnings about what works worse than it could."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


async def findings(settings: "Settings", book: "RuleSet") -> Findings:
    """Everything that only Mouseflow and Slack know."""
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
            return [api_error(error, settings)]
        sites = [Site(row.id, row.name or row.id, read_only=bool(row.read_only)) for row in rows]
        return [
            *unknown_websites(book.rules, sites),
            *read_only_websites(book.rules, sites),
            *await _ignored_filters(account, book.rules, sites),
            *await _wrong_zone(account, settings.mouseflow.time_zone, sites),
        ]


def unknown_websites(rules: "Iterable[Rule]", sites: Sequence[Site]) -> list[str]:
    """Problems: websites that rules name and the account does not have."""
    from dataclasses import replace

    from bot.rules.model import applies

    names = sorted(site.name for site in sites)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    listed = f"{', '.join(names[:SHOWN])}{more}" if names else "none"
    return [
        f"{rule.file}:{rule.line}:{rule.column}: rules.{rule.id}.websites: {wanted}: the account "
        f"has no such website{suggest(wanted, names)}; it has {listed}".replace("?; it", "? It")
        for rule in rules
        for wanted in rule.websites
        if not any(applies(replace(rule, websites=(wanted,)), site) for site in sites)
    ]


def read_only_websites(rules: "Iterable[Rule]", sites: Sequence[Site]) -> list[str]:
    """Problems: rules that change websites which are read-only for this API user."""
    from bot.rules.model import applies

    return [
        f"{rule.file}:{rule.line}:{rule.column}: rules.{rule.id}: {site.name} is read-only for "
        f"this API user; the bot skips {_listed({action.kind for action in writes})} there"
        for rule in rules
        if rule.websites and (writes := [action for action in rule.do if not action.posts])
        for site in sites
        if site.read_only and applies(rule, site)
    ]


def _listed(kinds: set[str]) -> str:
    from bot.rules.syntax.location import listed

    return listed(sorted(kinds), "and")


async def _wrong_zone(account: "Account", zone: str, sites: Sequence[Site]) -> list[str]:
    """A problem if the account counts time otherwise than in `time_zone`, as its rows tell."""
    from zoneinfo import ZoneInfo

    from bot.polling.list_reader import of_days, read
    from bot.polling.session import other_zone

    today = datetime.now(UTC).date()
    window = of_days(today - timedelta(days=30), today + timedelta(days=2))
    for site in sites:
        try:
            rows = (await read(account, site.id, window, 10, brief=True)).rows
        except BotError:
            continue  # the checks of filters report it
        if rows:
            counted = other_zone(rows, ZoneInfo(zone))
            return (
                [f"mouseflow.time_zone: the account counts in {counted}, `time_zone` says {zone}"]
                if counted
                else []
            )
    return []


async def _ignored_filters(
    account: "Account", rules: "Iterable[Rule]", sites: Sequence[Site]
) -> list[str]:
    """Problems: filters that rules need and that the API ignores or rejects."""
    from bot.polling.filter_checks import FILTERS, WORDS, is_ignored
    from bot.polling.list_reader import of_days, read
    from bot.polling.site_rules import SiteRules

    known = tuple(rules)
    today = datetime.now(UTC).date()
    window = of_days(today - timedelta(days=7), today + timedelta(days=2))
    found = []
    for site in sites:
        asking = SiteRules(known, site).asking
        for name in (it for it in FILTERS if asking[it]):
            about = WORDS[name]
            try:
                total = (await read(account, site.id, window, 1)).count
                ignored = total > 0 and await is_ignored(name, account, site.id, window, total)
            except BotError as error:
                found.append(f"Mouseflow: {site.name}: cannot check the {about} filter: {error}")
                continue
            if ignored:
                found.append(
                    f"Mouseflow: {site.name}: the API ignores the {about} filter; "
                    f"the bot would not run rules with {about} there"
                )
    return found


async def _slack(settings: "Settings", book: "RuleSet", found: Findings) -> None:
    """Check the token, then each channel; an incoming webhook cannot be tried without a post."""
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
                "Slack: the app lacks the scope chat:write and cannot post; add the scope and "
                "reinstall the app"
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
    """Check that the channel exists, and that the bot can post and find posts there."""
    from bot.ports import CannotLook, NoChannel, NotInChannel

    posting = f"(used by {', '.join(users)})"
    try:
        await poster.find(channel, "no such key", datetime.now(UTC))
    except NoChannel as answer:
        found.problems.append(f"Slack: {answer} {posting}")
    except CannotLook as answer:
        if isinstance(answer, NotInChannel) and "chat:write.public" not in (scopes or ()):
            found.problems.append(f"Slack: {channel}: {answer} {posting}")
            return
        found.warnings.append(
            f"Slack: {channel}: {answer}; until then a post may appear twice if its outcome "
            f"is unknown (at-least-once) {posting}"
        )
    except BotError as error:
        found.problems.append(f"Slack: {channel}: {error} {posting}")
