"""Check configuration and rules, and list every problem of all files.

With paths it checks those rule files instead of the configured ones and needs no
configuration. A warning names the id that silences it and does not change the exit code.
"""

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.errors import BotError, ConfigError, Fault, RuleErrors
from bot.messages.text import counted

if TYPE_CHECKING:
    from bot.cli.check_online import Findings
    from bot.config import Settings
    from bot.rules.model import RuleSet
    from bot.rules.needs import IntervalCost

EXAMPLE = (
    "mouseflow-bot check\nmouseflow-bot check rules/checkout.yaml\n"
    "mouseflow-bot check --online --cost"
)


_MOST_NOTES = 10


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="rule files or folders")
    parser.add_argument(
        "--online",
        action="store_true",
        help="also check with Mouseflow and Slack (changes nothing)",
    )
    parser.add_argument(
        "--cost", action="store_true", help="also say what other intervals of polls would cost"
    )
    parser.add_argument("--json", action="store_true", help="print problems and warnings as JSON")


@dataclass(frozen=True, slots=True)
class _Checked:
    """What was found for one account, or without a configuration."""

    settings: "Settings | None"
    rules: "RuleSet | None"
    problems: "Sequence[str | Fault]"
    warnings: "Sequence[str | Fault]"
    notes: Sequence[Fault]
    disabled: Sequence[str]
    asked: Sequence[str]


def run(args: Namespace) -> int:
    """Check everything; 1 if there is a problem."""
    import os

    from bot.cli import context
    from bot.config.load import network_problems

    problems: list[str | Fault] = []
    accounts: Mapping[str, Settings] = {}
    if context.configured(args) or not args.paths:
        try:
            accounts = context.meant(args, offline=not args.online)
            if not args.online:  # else these are errors already
                every = (network_problems(each, os.environ) for each in accounts.values())
                problems += dict.fromkeys(chain.from_iterable(every))
        except ConfigError as error:
            problems += str(error).splitlines()
        if not any("store.url: " in str(problem) for problem in problems):
            problems += _store_problems(args, accounts)
    if len(accounts) < 2:
        found = _check(args, next(iter(accounts.values()), None), problems)
        if args.json:
            from bot.cli import output

            output.document(_document(found))
        else:
            _show(args, found)
        return 1 if found.problems else 0
    return _check_several(args, accounts, problems)


def _check_several(
    args: Namespace, accounts: "Mapping[str, Settings]", problems: "Sequence[str | Fault]"
) -> int:
    """Check each account; an error in a rule file that several of them use is listed once."""
    from bot.cli import output

    found = {name: _check(args, settings, ()) for name, settings in accounts.items()}
    if args.json:
        output.document({
            "problems": [_json_of(problem) for problem in problems],
            "accounts": {name: _document(each) for name, each in found.items()},
        })  # fmt: skip
    else:
        told: set[str | Fault] = set()
        for problem in problems:
            output.line(str(problem))
        for name, each in found.items():
            output.line(f"account {name}")
            new = (*each.problems, *each.warnings)
            _show(args, each, told=frozenset(told))
            told.update(it for it in new if isinstance(it, Fault))
    return 1 if problems or any(each.problems for each in found.values()) else 0


def _check(
    args: Namespace, settings: "Settings | None", known: "Sequence[str | Fault]"
) -> _Checked:
    """Check the rules, and all that needs settings without an error. `known` are problems."""
    from bot.cli import context
    from bot.rules.model import RuleSet

    problems: list[str | Fault] = [*known, *_problems_of_places(settings)]
    rules: RuleSet | None = None
    read: RuleSet | RuleErrors = RuleSet()
    warnings: list[str | Fault] = []
    if settings or args.paths or context.named_rules(args):
        try:
            read = rules = context.rules(args, settings, offline=not args.online, tested=True)
        except RuleErrors as error:
            read = error
            problems += error.faults
        except ConfigError as error:
            problems += str(error).splitlines()
        warnings += read.warnings
    else:
        warnings.append("no rule files were checked: the configuration does not say where they are")
    warnings += missing_secrets(settings, rules) if settings is not None else []
    warnings += _webhook_channels(settings) if settings is not None else []
    warnings += _left_behind(settings) if settings is not None else []
    checked: list[str] = []
    if args.online and settings is not None:
        found = _online(settings, rules or RuleSet())
        problems += found.problems
        warnings += found.warnings
        checked = found.checked
    if args.online and settings is None:
        warnings.append(
            "Mouseflow and Slack were not asked, because of the errors above; correct them and run "
            "this again"
        )
    elif args.online and rules is None:
        warnings.append(
            "the rules have errors: their filters, names, websites and channels were not checked "
            "with Mouseflow and Slack; correct them and run this again"
        )
    disabled = [it if isinstance(it, str) else it.id for it in read.disabled]
    return _Checked(settings, rules, problems, warnings, read.notes, disabled, checked)


def _left_behind(settings: "Settings") -> list[str]:
    """A warning about a store that no account has, though it was used before there were several."""
    from bot.domain.accounts import common_url
    from bot.store import location_of

    url = common_url(settings.store.url, settings.account) if settings.account else ""
    if not url or not location_of(url).exists() or location_of(settings.store.url).exists():
        return []
    name = location_of(url).name
    return [
        f"store.url: {name} is no account's store; if it is that of {settings.account}, set "
        f"accounts.{settings.account}.store.url"
    ]


def _problems_of_places(settings: "Settings | None") -> list[str]:
    if settings is None or not settings.notify:
        return []
    from bot.delivery.notify import problems

    return problems(settings.notify)


def _webhook_channels(settings: "Settings") -> list[str]:
    """Warnings about channels of the configuration that an incoming webhook ignores."""
    if settings.slack.webhook_url is None:
        return []
    named = {"channel": settings.slack.channel, "ops_channel": settings.slack.ops_channel}
    named |= {f"channels.{severity}": name for severity, name in settings.slack.channels.items()}
    return [
        f"slack.{key}: the incoming webhook (slack.webhook_url) posts to its own channel, not to "
        f"{channel}; set slack.bot_token to choose channels"
        for key, channel in named.items()
        if channel
    ]


def missing_secrets(settings: "Settings", rules: "RuleSet | None") -> list[str]:
    """Warnings about secrets that are not set here, and about settings without effect.

    Secrets may be set where the daemon runs.
    """
    from bot.config.accounts import variable_of
    from bot.config.settings import slack_posts
    from bot.domain.accounts import ACCOUNTS

    found = []
    if not settings.mouseflow.api_key.get_secret_value():
        key = ("mouseflow", "api_key")
        name = variable_of((ACCOUNTS, settings.account, *key) if settings.account else key)
        found.append(
            f"mouseflow.api_key: no API key set; commands that contact Mouseflow need one ({name})"
        )
    posting = rules is not None and any(slack_posts(rules.rules))
    if posting and not settings.slack.configured:
        found.append(
            "slack.bot_token: no Slack token set; rules that post to Slack need one "
            "(BOT_SLACK__BOT_TOKEN)"
        )
    if settings.notify:
        from bot.delivery.notify import unset

        found += [
            f"notify.{name}: the address is not set here; without it nothing is sent there"
            for name in unset(settings.notify)
        ]
    return found + (_missing_webhook_secrets(rules) if rules is not None else [])


def _missing_webhook_secrets(rules: "RuleSet") -> list[str]:
    """Warnings about webhooks whose secret is not set here."""
    from bot.actions.notifier import Notifier

    named = [
        (rule, action.kind, action.secret_reference)
        for rule in rules.rules
        for action in rule.do
        if isinstance(action, Notifier) and action.secret_reference
    ]
    if not named:
        return []
    from bot.delivery.webhook import secret_from

    return [
        f"{rule.file}:{rule.line}:{rule.column}: rules.{rule.id}.do.{kind}: the secret {secret} "
        "is not set here; without it the bot does not call the webhook"
        for rule, kind, secret in named
        if secret_from(secret) is None
    ]


def _store_problems(args: Namespace, accounts: "Mapping[str, Settings]") -> list[str]:
    """What is wrong with `store.url`, also if other settings have errors."""
    from bot.cli.healthcheck import store_url
    from bot.store import location_of

    found: list[str] = []
    try:
        for url in [each.store.url for each in accounts.values()] or [store_url(args)]:
            location_of(url)
    except ConfigError as error:
        found += str(error).splitlines()
    except (OSError, ValueError):
        pass  # a secret that can't be read is an error of the settings
    return found


def _online(settings: "Settings", rules: "RuleSet") -> "Findings":
    import asyncio

    from bot import logs
    from bot.cli import output
    from bot.cli.check_online import Findings, findings

    logs.configure(settings.log.format, "error")  # what it finds is in its findings
    try:
        with output.busy("asking Mouseflow and Slack"):
            return asyncio.run(findings(settings, rules))
    except BotError as error:
        return Findings([str(error)])


def _document(found: _Checked) -> dict[str, Any]:
    from bot.cli.polling_plan import interval_json

    return {
        "problems": [_json_of(problem) for problem in found.problems],
        "warnings": [_json_of(warning) for warning in found.warnings],
        "notes": [_json_of(note) for note in found.notes],
        "checked": found.asked,
        "polling": [interval_json(it) for it in _intervals(found.rules, found.settings)],
        "disabled": found.disabled,
    }


def _show(args: Namespace, found: _Checked, told: "Set[str | Fault]" = frozenset()) -> None:
    """Print it, without what was `told` for another account."""
    from bot.cli import output
    from bot.rules.needs import interval_lines
    from bot.rules.syntax.location import listed

    rules, settings = found.rules, found.settings
    for problem in found.problems:
        if problem not in told:
            output.line(str(problem))
    for warning in found.warnings:
        if warning not in told:
            output.line(f"warning: {warning}")
    if found.problems and all(problem in told for problem in found.problems):
        output.line("not ok: it has errors that are listed above")
    for asked in found.asked:
        output.line(f"checked {asked}")
    _show_notes(found.notes, settings)
    if rules is not None and not found.problems:
        if args.cost and settings is not None:
            for text in interval_lines(_intervals(rules, settings), settings.poll.recordings):
                output.line(text)
        files = {rule.file for rule in rules.written}
        files |= {it.file for it in rules.budgets} | {it.file for it in rules.reports}
        counts = [counted(len(rules.rules), "rule")]
        counts += [counted(len(rules.budgets), "budget")] if rules.budgets else []
        counts += [counted(len(rules.reports), "weekly report")] if rules.reports else []
        output.line(f"ok: {listed(counts, 'and')} in {counted(len(files), 'file')}")
    if found.disabled:
        output.line(f"disabled: {', '.join(found.disabled)}")


def _intervals(rules: "RuleSet | None", settings: "Settings | None") -> "Sequence[IntervalCost]":
    """What intervals of polls cost for a website that all rules watch."""
    from bot.rules.needs import interval_costs, most_calls

    if rules is None or settings is None:
        return ()
    rate = settings.mouseflow.requests_per_second
    return interval_costs(most_calls(rules.rules), settings.poll.recordings, rate)


def _show_notes(notes: "Sequence[Fault]", settings: "Settings | None") -> None:
    from dataclasses import replace

    from bot.cli import output
    from bot.messages.text import lasting

    settle = f"{lasting(settings.poll.settle)} without activity" if settings else "[poll] settle"
    for note in notes[:_MOST_NOTES]:
        more = f" ({settle})" if note.lint == "waits" else ""
        output.line(f"note: {replace(note, message=f'{note.message}{more}')}")
    if len(notes) > _MOST_NOTES:
        output.line(f"note: {len(notes) - _MOST_NOTES} more notes (--json lists them)")


def _json_of(problem: "str | Fault") -> dict[str, Any]:
    if isinstance(problem, Fault):
        names = ("file", "line", "column", "path", "message", "lint")
        return {name: getattr(problem, name) for name in names}
    place = _PLACED.match(problem)
    if place is None:
        return {"message": problem}
    file, line, column, path, message = place.groups()
    where = {"file": file, "line": int(line), "column": int(column), "path": path or ""}
    return where | {"message": message, "lint": None}


_PLACED = re.compile(r"(.+?):(\d+):(\d+): (?:([\w.-]+): )?(.*)", re.DOTALL)
"""`FILE:LINE:COLUMN: PATH: what is wrong`"""
