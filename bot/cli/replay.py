"""Evaluate past recordings with the current rules and show the matches.

Without --apply nothing is changed: the bot works on a copy of its store. With --apply the daemon
performs the actions; a recording that matched a rule before is not acted on again. After Ctrl-C,
--resume continues.
"""

import asyncio
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bot.cli.history_context import moment
from bot.errors import BotError

if TYPE_CHECKING:
    from bot.config import Settings
    from bot.replay.run import Folder, Progress
    from bot.rules.model import Rule, RuleSet
    from bot.store import Store

EXAMPLE = (
    "mouseflow-bot replay --since 7d\n"
    "mouseflow-bot replay --since 30d --rule checkout-friction --apply\n"
    "mouseflow-bot replay --resume"
)


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument(
        "--since", type=moment, metavar="WHEN", help="start: 7d, or 2026-11-24T12:00 (UTC)"
    )
    parser.add_argument("--until", type=moment, metavar="WHEN", help="end (default: now)")
    parser.add_argument(
        "--rule", action="append", default=[], metavar="ID", help="only this rule; may be repeated"
    )
    parser.add_argument(
        "--website", action="append", default=[], metavar="W", help="name or id; may be repeated"
    )
    parser.add_argument("--apply", action="store_true", help="perform the actions of new matches")
    parser.add_argument(
        "--resume", action="store_true", help="continue the replay that was interrupted"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(paths=[], usage_error=parser.error)


def run(args: Namespace) -> int:
    """Replay; 1 if something could not be evaluated."""
    from bot import logs
    from bot.cli import context
    from bot.replay.run import Folder
    from bot.store import location_of

    if not args.resume and args.since is None:
        args.usage_error("give a start such as --since 7d, or --resume")
    if args.resume and (args.since or args.until or args.rule or args.website or args.apply):
        args.usage_error(
            "--resume continues with the options given before; remove the other options"
        )
    settings = context.settings(args)
    logs.configure(settings.log.format, settings.log.level)
    rules = context.rules(args, settings)
    folder = Folder(location_of(settings.store.url).beside())
    try:
        progress = _resumed(folder, rules) if args.resume else _requested(args, settings, rules)
        return _run(args, settings, rules, folder, progress)
    finally:
        folder.release()


def _run(
    args: Namespace, settings: "Settings", rules: "RuleSet", folder: "Folder", progress: "Progress"
) -> int:
    from bot.cli.main import INTERRUPTED

    try:
        asyncio.run(_replay(settings, rules, folder, progress, quiet=args.json))
    except (KeyboardInterrupt, BotError) as error:
        if folder.held:  # else it had not started
            _report_interrupted(folder)
            if isinstance(error, KeyboardInterrupt):
                return INTERRUPTED
        raise
    folder.clear()
    _show(args, progress)
    tally = progress.tally
    return 1 if tally.missed or tally.undetailed or tally.held else 0


def _requested(args: Namespace, settings: "Settings", rules: "RuleSet") -> "Progress":
    from bot.cli.history_context import utc
    from bot.errors import ConfigError
    from bot.replay.run import Progress
    from bot.replay.select import chosen_rules

    now = utc()
    until = min(args.until or now, now)
    if args.since >= until:
        raise ConfigError("--since must be before --until, and both in the past")
    if args.apply and args.since < now - settings.store.keep:
        raise ConfigError(
            f"--apply can go back {settings.store.keep.days}d, as long as the store keeps matches "
            "(store.keep); the bot could act on older ones twice"
        )
    ids = tuple(rule.id for rule in chosen_rules(rules.rules, args.rule))
    if not ids:
        raise ConfigError("no rule watches recordings, so there is nothing to replay")
    return Progress(
        since=args.since, until=until, apply=args.apply, rules=ids,
        websites=tuple(args.website), digest=rules.digest, now=now,
    )  # fmt: skip


def _resumed(folder: "Folder", rules: "RuleSet") -> "Progress":
    from bot.errors import ConfigError

    folder.take()
    progress = folder.load()
    if progress is None:
        raise ConfigError("no interrupted replay; start one with --since")
    if progress.digest != rules.digest:
        raise ConfigError(
            "the rule files have changed since the replay started; start a new one with --since"
        )
    return progress


async def _replay(
    settings: "Settings", rules: "RuleSet", folder: "Folder", progress: "Progress", *, quiet: bool
) -> None:
    from zoneinfo import ZoneInfo

    from bot.cli import history_context
    from bot.polling.record_matches import Routing
    from bot.replay.evaluate_days import History
    from bot.replay.run import replay
    from bot.replay.select import Span, chosen_rules, chosen_sites
    from mouseflow import websites

    zone = ZoneInfo(settings.mouseflow.time_zone)
    ours: tuple[Rule, ...] = chosen_rules(rules.rules, progress.rules)
    async with history_context.account(settings) as account:
        # An earlier replay is discarded only after this one has proved possible.
        rows = await account.send(websites.list())
        sites = chosen_sites(rows, ours, progress.websites)
        if not folder.held:
            folder.begin()
            folder.save(progress)
        with (
            _store(settings, folder, progress) as store,
            history_context.progress("replay", quiet=quiet) as advance,
        ):
            history = History(
                mouseflow=account, store=store, zone=zone, settle=settings.poll.settle,
                span=Span(progress.since, progress.until), now=progress.now,
                expand=settings.poll.expand,
            )  # fmt: skip
            slack = settings.slack
            routing = Routing(slack.channel or "", zone.key, slack.ops)
            await replay(
                history, account, sites, ours, rules.rules, routing, progress,
                keep=folder.save, tell=advance,
            )  # fmt: skip


@contextmanager
def _store(settings: "Settings", folder: "Folder", progress: "Progress") -> Iterator["Store"]:
    """The bot's own store, shared with a daemon, or a copy of it to work on."""
    from bot.store import location_of, open_store

    url = settings.store.url
    if progress.apply:
        with open_store(url, exclusive=False) as store:
            yield store
        return
    place = location_of(url)
    if not folder.trial.exists() and place.exists():
        place.copy_to(folder.trial)
    with open_store(f"sqlite:///{folder.trial}", exclusive=False) as store:
        yield store


def _report_interrupted(folder: "Folder") -> None:

    from bot.cli import output

    progress = folder.load()
    done = len(progress.done) if progress else 0
    text = f"interrupted, {done} website days done; `mouseflow-bot replay --resume` continues"
    output.error(text)


def _show(args: Namespace, progress: "Progress") -> None:
    from bot.cli import output
    from bot.replay.record import plain, remarks, table

    if args.json:
        output.document(_as_json(progress, plain(progress.tally, progress.rules)))
        return
    output.line(f"{output.moment(progress.since)} to {output.moment(progress.until)}")
    output.table(table(progress.tally, progress.rules))
    for remark in remarks(progress.tally):
        output.line(remark)
    if progress.apply and not any(progress.tally.total(rule).new for rule in progress.tally.lines):
        output.line("no new matches, nothing to do")
    elif progress.apply:
        output.line("the actions are queued; the daemon (or `mouseflow-bot once`) performs them")
    else:
        output.line("Nothing was changed; --apply performs the actions of new matches.")


def _as_json(progress: "Progress", outcome: dict[str, object]) -> dict[str, Any]:
    return {
        "since": progress.since,
        "until": progress.until,
        "applied": progress.apply,
        **outcome,
    }
