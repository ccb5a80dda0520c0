"""What `check --online` asks Mouseflow and Slack; it changes nothing there."""

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bot.cli.context import api_error
from bot.cli.main import suggest
from bot.domain.subjects import Site
from bot.errors import BotError
from bot.messages.text import lasting

if TYPE_CHECKING:
    from bot.account import Account
    from bot.config import Settings
    from bot.delivery.slack import SlackPoster
    from bot.rules.model import Rule, RuleSet
    from mouseflow.decode import Rows
    from mouseflow.models import Website
    from mouseflow.request import Request

MOST_ASKED = 20
"""Websites whose tags and variables are requested."""

SHOWN = 10
"""Most names of websites on one line."""

CLOCK_OFF = timedelta(minutes=1)
"""A clock that is further off is a problem: the answer itself may take some seconds."""

SITES_READ, ROWS_READ = 5, 20
"""The websites and recordings that are read to learn the account's time zone."""


@dataclass(frozen=True, slots=True)
class Findings:
    """Problems, warnings about what works worse than it could, and what was found in order."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)


async def findings(settings: "Settings", book: "RuleSet") -> Findings:
    """Everything that only Mouseflow and Slack know."""
    found = await _mouseflow(settings, book)
    await _slack(settings, book, found)
    return found


async def _mouseflow(settings: "Settings", book: "RuleSet") -> Findings:
    from bot.account import Account, open_client, translated
    from bot.delivery.slack import clock_ahead
    from mouseflow import websites
    from mouseflow.transport import base_url

    async with open_client(settings.mouseflow, tries=1) as client:
        account = Account(client)
        try:
            with translated():
                answer = await client.with_raw(websites.list())
        except BotError as error:
            return Findings([api_error(error, settings)])
        rows, off = answer.value, clock_ahead(answer.headers)
        sites = [Site(row.id, row.name or row.id, read_only=bool(row.read_only)) for row in rows]
        flow = settings.mouseflow
        checked = [
            f"Mouseflow: {base_url(flow.base_url or str(flow.region))} as {flow.email}",
            f"websites: {_some([_described(row) for row in rows]) or 'none'}",
        ]
        filters, working = await _ignored_filters(account, book.rules, sites)
        zone, known = await _time_zone(account, flow.time_zone, sites)
        clock = [_clock(off)] if off is not None and abs(off) > CLOCK_OFF else []
        if off is not None and not clock:
            checked.append("clock: within a minute of Mouseflow's")
        checked += [f"{name} filter: works on {_some(on)}" for name, on in working.items()]
        checked += [f"time zone: {known}"] if known else []
        problems = [
            *clock,
            *unknown_websites(book.rules, sites),
            *read_only_websites(book.rules, sites),
            *filters,
            *zone,
        ]
        return Findings(problems, await _unused_names(account, book.rules, sites), checked)


def _clock(ahead: timedelta) -> str:
    side = "behind" if ahead > timedelta() else "ahead of"
    off = lasting(timedelta(minutes=round(abs(ahead) / timedelta(minutes=1))))
    return f"clock: this machine's is {off} {side} Mouseflow's; set it, as by NTP"


def _described(row: "Website") -> str:
    """`myshop.com (Recording, read-only)`."""
    traits = [row.status or "unknown status", *(["read-only"] if row.read_only else [])]
    return f"{row.name or row.id} ({', '.join(traits)})"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def unknown_websites(rules: "Iterable[Rule]", sites: Sequence[Site]) -> list[str]:
    """Problems: websites that rules name and the account does not have."""
    from msgspec.structs import replace

    from bot.rules.model import applies

    names = sorted(site.name for site in sites)
    listed = _some(names) or "none"
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


async def _ignored_filters(
    account: "Account", rules: "Iterable[Rule]", sites: Sequence[Site]
) -> tuple[list[str], dict[str, list[str]]]:
    """Problems: filters that rules need and the API ignores or rejects; and where filters work."""
    from bot.polling.filter_checks import FILTERS, WORDS, is_ignored
    from bot.polling.list_reader import of_days, read
    from bot.polling.site_rules import SiteRules

    known = tuple(rules)
    today = datetime.now(UTC).date()
    window = of_days(today - timedelta(days=7), today + timedelta(days=2))
    found: list[str] = []
    working: dict[str, list[str]] = {}
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
            elif total:
                working.setdefault(about, []).append(site.name)
    return found, working


async def _time_zone(
    account: "Account", configured: str, sites: Sequence[Site]
) -> tuple[list[str], str]:
    """Problem: the newest recordings have another offset than the configured zone; or it fits."""
    from zoneinfo import ZoneInfo

    from bot.polling.list_reader import of_days, read
    from bot.polling.session import account_offset

    today = datetime.now(UTC).date()
    window = of_days(today - timedelta(days=30), today + timedelta(days=2))
    for site in sites[:SITES_READ]:
        try:
            listing = await read(account, site.id, window, ROWS_READ)
        except BotError:
            continue  # another check names what is wrong with the website
        offset = account_offset(listing.rows, ZoneInfo(configured))
        if offset is None:
            continue
        if offset.fits:
            return [], f"{configured}, as recordings of {site.name} show ({offset.shown})"
        wrong = (
            f"mouseflow.time_zone: {configured} is wrong: recordings of {site.name} are in "
            f"{offset.shown}; set it to the account's time zone"
        )
        return [wrong], ""
    return [], ""


async def _unused_names(
    account: "Account", rules: "Iterable[Rule]", sites: Sequence[Site]
) -> list[str]:
    """Warnings: tags and variables in conditions that no session of the websites has had."""
    from bot.polling.server_facts import named_tags, own_tags
    from bot.rules.model import Test, leaves
    from mouseflow import recordings

    recent = [rule for rule in rules if rule.watch == "recordings"]
    own = own_tags(recent)
    tags = [(rule, named_tags([rule]) - own) for rule in recent]
    keys = [
        (rule, {it.key for it in leaves(rule.condition) if isinstance(it, Test) and it.key})
        for rule in recent
    ]
    try:
        return [
            *await _unused("tag", tags, account, recordings.tags, sites),
            *await _unused("variable", keys, account, recordings.variables, sites),
        ]
    except BotError as error:
        return [f"Mouseflow: cannot check the names of tags and variables: {error}"]


async def _unused(
    what: str,
    named: "Iterable[tuple[Rule, Set[str]]]",
    account: "Account",
    ask: "Callable[[str], Request[Rows[str]]]",
    sites: Sequence[Site],
) -> list[str]:
    from bot.rules.model import applies

    naming = [(rule, names) for rule, names in named if names]
    asked = [site for site in sites if any(applies(rule, site) for rule, _ in naming)]
    used: dict[str, Rows[str]] = {}
    for site in asked[:MOST_ASKED]:
        used[site.id] = await account.send(ask(site.id))
    found = []
    for rule, names in naming:
        known = {name for site in asked if applies(rule, site) for name in used.get(site.id, ())}
        folded = {name.casefold() for name in known}
        found += [
            f"{rule.file}:{rule.line}:{rule.column}: rules.{rule.id}: no session has had the "
            f"{what} {name} so far{suggest(name, known)}"
            for name in sorted(names)
            if name.casefold() not in folded
        ]
    return found


async def _slack(settings: "Settings", book: "RuleSet", found: Findings) -> None:
    """Check the token, then each channel; an incoming webhook cannot be tried without a post."""
    if settings.slack.bot_token is None:
        if settings.slack.webhook_url is not None:
            found.checked.append(
                "Slack: an incoming webhook, which can't be tried without a post; buttons, edits "
                "and threads of alerts, and the search for lost posts need slack.bot_token"
            )
        return
    from bot.config.settings import posting
    from bot.delivery.slack import SLACK, SlackPoster

    poster = SlackPoster(settings.slack.bot_token, base_url=settings.slack.base_url or SLACK)
    try:
        try:
            workspace, user, scopes = await poster.identity()
        except BotError as error:
            found.problems.append(f"slack.bot_token: {error}")
            await _buttons(settings, None, found)
            return
        if scopes is not None and "chat:write" not in scopes:
            found.problems.append(
                "Slack: the app lacks the scope chat:write and cannot post; add the scope and "
                "reinstall the app"
            )
        known = ", ".join(sorted(scopes)) if scopes else "unknown, since Slack does not list them"
        found.checked.append(f"Slack: workspace {workspace} as {user}; scopes: {known}")
        good = [
            channel
            for channel, users in posting(settings, book.rules).items()
            if await _channel(poster, channel, users, scopes, found)
        ]
        if good:
            found.checked.append(f"channels: {_some(good)}: the bot can post and look up posts")
        await _buttons(settings, scopes, found)
    finally:
        await poster.close()


async def _buttons(settings: "Settings", scopes: frozenset[str] | None, found: Findings) -> None:
    """Check the token with which presses of buttons come, and the scopes that they need."""
    from bot.delivery.slack import SLACK, AppClient

    if settings.slack.app_token is None:
        found.checked.append("buttons: none, since slack.app_token is not set")
        return
    client = AppClient(settings.slack.app_token, settings.slack.base_url or SLACK)
    try:
        await client.socket_address()
    except BotError as error:
        found.problems.append(
            f"slack.app_token: {error}; without it buttons do nothing. It needs the scope "
            "connections:write, and the app Socket Mode"
        )
    else:
        found.checked.append("buttons: Slack opens a connection of Socket Mode")
    finally:
        await client.close()
    missing = sorted({"channels:read", "groups:read"} - (scopes or set()))
    if scopes is not None and missing and not settings.slack.users:
        found.warnings.append(
            f"Slack: the app lacks the scope {' and '.join(missing)}: the bot can't see who is in "
            "a channel, so nobody there may press a button; add the scope, or set slack.users"
        )


async def _channel(
    poster: "SlackPoster",
    channel: str,
    users: Sequence[str],
    scopes: frozenset[str] | None,
    found: Findings,
) -> bool:
    """Whether the channel exists, and the bot can post and find posts there."""
    from bot.ports import CannotLook, NoChannel, NotInChannel

    posting = f"(used by {', '.join(users)})"
    try:
        await poster.check_channel(channel)
    except NoChannel as answer:
        found.problems.append(f"Slack: {answer} {posting}")
    except CannotLook as answer:
        if isinstance(answer, NotInChannel) and "chat:write.public" not in (scopes or ()):
            found.problems.append(f"Slack: {channel}: {answer} {posting}")
            return False
        found.warnings.append(
            f"Slack: {channel}: {answer}; until then a post may appear twice if its outcome "
            f"is unknown (at-least-once) {posting}"
        )
    except BotError as error:
        found.problems.append(f"Slack: {channel}: {error} {posting}")
    else:
        return True
    return False
