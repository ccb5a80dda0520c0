"""Validates configuration and rules, and tells every problem of all files at once.

With paths it checks those rule files instead of the configured ones, and needs no
configuration. Warnings carry the id that silences them, and are no reason to fail.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.errors import BotError, ConfigError, Fault, RuleErrors

if TYPE_CHECKING:
    from bot.cli.check_online import Findings
    from bot.config import Settings
    from bot.rules.model import RuleSet

EXAMPLE = (
    "mouseflow-bot check\nmouseflow-bot check rules/checkout.yaml\nmouseflow-bot check --online"
)


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="rule files or folders")
    parser.add_argument(
        "--online", action="store_true", help="also ask Mouseflow and Slack (changes nothing)"
    )
    parser.add_argument("--json", action="store_true", help="the problems as JSON")


def run(args: Namespace) -> int:
    """Check all there is to check; 1 if anything must be mended."""
    from bot.cli import context

    problems: list[str | Fault] = []
    settings: Settings | None = None
    book: RuleSet | None = None
    beside: tuple[Fault, ...] = ()
    if context.configured(args) or not args.paths:
        try:
            settings = context.settings(args, offline=not args.online)
            _usable(settings.store.url)
        except ConfigError as error:
            problems += str(error).splitlines()
    try:
        book = context.rules(args, settings, offline=not args.online)
    except RuleErrors as error:
        problems += error.faults
        beside = error.warnings
    except ConfigError as error:
        # Where the configuration can't be read, nobody knows where its rules are.
        problems += str(error).splitlines() if settings or args.paths else []
    notes: list[str | Fault] = [*beside]
    notes += not_given(settings, book) if settings is not None else []
    if args.online and settings is not None and book is not None:
        found = _online(settings, book)
        problems += found.problems
        notes += found.warnings
    _tell(args, problems, book, notes)
    return 1 if problems else 0


def not_given(settings: "Settings", book: "RuleSet | None") -> list[str]:
    """Secrets that are not here. They may be where the daemon runs, so it is no problem yet."""
    found = []
    if not settings.mouseflow.api_key.get_secret_value():
        found.append(
            "mouseflow.api_key: not given here; all that asks Mouseflow needs it: "
            "set BOT_MOUSEFLOW__API_KEY"
        )
    posting = book is not None and any(a.kind == "slack" for rule in book.rules for a in rule.do)
    if posting and not settings.slack.configured:
        found.append(
            "slack.bot_token: not given here; rules that post need it: set BOT_SLACK__BOT_TOKEN"
        )
    return found + (_secrets_not_here(book) if book is not None else [])


def _secrets_not_here(book: "RuleSet") -> list[str]:
    """Webhooks that cannot be signed with what this environment has."""
    from bot.actions.notifier import Notifier

    named = [
        (rule, action.kind, action.secret_reference)
        for rule in book.rules
        for action in rule.do
        if isinstance(action, Notifier) and action.secret_reference
    ]
    if not named:
        return []
    from bot.delivery.webhook import secret_from

    return [
        f"{rule.file}:{rule.line}:{rule.column}: rules.{rule.id}.do.{kind}: the secret {secret} "
        "is not here; without it the call is not made"
        for rule, kind, secret in named
        if secret_from(secret) is None
    ]


def _usable(url: str) -> None:
    """Raises ConfigError for a store that this version can't serve."""
    from bot.store.database import database_path

    database_path(url)


def _online(settings: "Settings", book: "RuleSet") -> "Findings":
    import asyncio

    from bot.cli.check_online import Findings, findings

    try:
        return asyncio.run(findings(settings, book))
    except BotError as error:
        return Findings([str(error)])


def _tell(
    args: Namespace,
    problems: "list[str | Fault]",
    book: "RuleSet | None",
    notes: "list[str | Fault]",
) -> None:
    from bot.cli import output

    warnings: list[str | Fault] = [*(book.warnings if book else ()), *notes]
    if args.json:
        output.document(
            {
                "problems": [_plain(problem) for problem in problems],
                "warnings": [_plain(warning) for warning in warnings],
            }
        )
        return
    for problem in problems:
        output.line(str(problem))
    for warning in warnings:
        output.line(f"warning: {warning}")
    if book is not None and not problems:
        files = {rule.file for rule in book.rules} | {budget.file for budget in book.budgets}
        budgets = f" and {output.counted(len(book.budgets), 'budget')}" if book.budgets else ""
        output.line(
            f"ok: {output.counted(len(book.rules), 'rule')}{budgets} "
            f"in {output.counted(len(files), 'file')}"
        )


def _plain(problem: "str | Fault") -> dict[str, Any]:
    if isinstance(problem, Fault):
        names = ("file", "line", "column", "path", "message", "lint")
        return {name: getattr(problem, name) for name in names}
    return {"message": problem}
