"""Compare the rule files with the running rules over the last days: what would change.

Evaluates past recordings with the rules in the files and compares the matches with those in
the store. Changes nothing.
"""

import asyncio
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.cli.history_context import moment
from bot.errors import ConfigError
from bot.messages.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from bot.config import Settings
    from bot.domain.subjects import Site
    from bot.replay.record import Line, WrittenMatch
    from bot.replay.rule_diff import Calls, Change, Pair, Work
    from bot.replay.run import Progress
    from bot.replay.select import Span
    from bot.rules.model import RuleSet
    from bot.store import Connection
    from bot.store.dead_letters import StepState

EXAMPLE = (
    "mouseflow-bot plan\nmouseflow-bot plan --rule checkout-friction\n"
    "mouseflow-bot plan --since 7d --json"
)
MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class Running:
    """What the store knows of the running rules: each match with its actions."""

    digests: dict[str, str]
    starts: "dict[str, datetime]"
    matches: "dict[Pair, Work]"

    def among(self, recordings: "set[str]") -> "Running":
        """What runs, with the matches of these recordings only."""
        found = {pair: work for pair, work in self.matches.items() if pair[1] in recordings}
        return Running(self.digests, self.starts, found)

    @property
    def work(self) -> "Work":
        """The actions of all matches together."""
        from bot.replay.rule_diff import Work

        works = self.matches.values()
        return Work(sum(it.writes for it in works), sum(it.posts for it in works))


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument(
        "--since", type=moment, metavar="WHEN", help="start, such as 7d (default: 3d)"
    )
    parser.add_argument(
        "--rule", action="append", default=[], metavar="ID", help="only this rule; may be repeated"
    )
    parser.add_argument(
        "--website", action="append", default=[], metavar="W", help="name or id; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.set_defaults(paths=[])


def run(args: Namespace) -> int:
    """Evaluate, compare and show; 1 if something could not be evaluated."""
    from tempfile import TemporaryDirectory

    from bot import logs
    from bot.cli import context

    settings = context.settings(args)
    logs.configure(settings.log.format, settings.log.level)
    rules = context.rules(args, settings)
    with TemporaryDirectory(prefix="mouseflow-bot-") as folder:
        return asyncio.run(_plan(args, settings, rules, folder))


async def _plan(args: Namespace, settings: "Settings", rules: "RuleSet", folder: str) -> int:
    from datetime import timedelta
    from pathlib import Path
    from zoneinfo import ZoneInfo

    import msgspec

    from bot.cli import history_context
    from bot.new_rules import fingerprint
    from bot.polling.record_matches import Routing
    from bot.replay import rule_diff
    from bot.replay.evaluate_days import History
    from bot.replay.record import Posts, Tally, count, remarks, summed
    from bot.replay.run import Progress, replay
    from bot.replay.select import Span, chosen_rules, chosen_sites
    from bot.store import open_store
    from mouseflow import websites

    now, zone = history_context.utc(), ZoneInfo(settings.mouseflow.time_zone)
    span = Span(args.since or now - timedelta(days=3), now)
    if span.since >= now:
        raise ConfigError("--since must be in the past")
    ours = chosen_rules(rules.rules, args.rule)
    progress = Progress(
        since=span.since, until=now, apply=False, rules=tuple(rule.id for rule in ours),
        websites=tuple(args.website), digest=rules.digest, now=now,
    )  # fmt: skip
    seen: set[str] = set()
    named = {name for rule in ours for name in (rule.id, *rule.was)} if args.rule else None

    trial = f"sqlite:///{Path(folder) / 'trial.db'}"
    with open_store(trial) as store:
        async with history_context.account(settings) as account:
            history = History(
                mouseflow=account, store=store, zone=zone, settle=settings.poll.settle,
                span=span, now=now, expand=settings.poll.expand,
            )  # fmt: skip
            rows = await account.send(websites.list())
            sites = chosen_sites(rows, ours, args.website)
            routing = Routing(settings.slack.channel or "", zone.key)
            running = _running(settings, sites, span, named)
            after: set[Pair] = set()
            earlier, tally, posts = 0, Tally(), Posts()

            def wrote(some: "Sequence[WrittenMatch]") -> None:
                """Count only what the running bot could have matched, as the table does."""
                nonlocal earlier
                for each in some:
                    rule, subject = each.found.rule.id, each.found.subject
                    start = running.starts.get(subject.website.id)
                    if rule_diff.watched(rule, subject.key, each.at, start, running.matches):
                        after.add((rule, subject.key))
                        count(tally, posts, each.at.astimezone(zone).date(), [each], routing)
                    else:
                        earlier += 1

            with history_context.progress("plan", quiet=args.json) as advance:
                await replay(
                    history, account, sites, ours, rules.rules, routing, progress,
                    keep=lambda _progress: None, tell=advance, live=True,
                    seen=seen.update, wrote=wrote,
                )  # fmt: skip
    running = running.among(seen)
    digests = {rule.id: fingerprint(rule) for rule in rules.rules}
    known = rule_diff.states(ours, digests, running.digests)
    changes = rule_diff.compare(ours, known, running.matches, after)
    line = summed(tally.total(rule) for rule in progress.rules)
    cost = rule_diff.calls(
        ours, sites, settings.poll.recordings, settings.mouseflow.requests_per_second,
        progress.tally.details, line.writes, span,
    )  # fmt: skip
    whole = progress.tally
    told = remarks(msgspec.structs.replace(whole, lines=tally.lines))
    _show(args, span, changes, running, line, cost, progress, earlier, told)
    return 1 if whole.missed or whole.undetailed or whole.held else 0


def _running(
    settings: "Settings",
    sites: "tuple[Site, ...]",
    span: "Span",
    named: set[str] | None,
) -> Running:
    """The running rules' matches since the start; empty without a store.

    `named` are the rules to compare, None for all.
    """
    from bot.store import location_of, open_store

    if not location_of(settings.store.url).exists():
        return Running({}, {}, {})
    with open_store(settings.store.url, read_only=True) as store:
        return store.do(lambda conn: _known(conn, sites, span, named))


def _known(
    conn: "Connection",
    sites: "tuple[Site, ...]",
    span: "Span",
    named: set[str] | None,
) -> Running:
    import msgspec

    from bot.polling.watermark import SOURCE, Watermark
    from bot.store.dead_letters import steps_of
    from bot.store.matches import matches_of
    from bot.store.recordings import watermark
    from bot.store.rules import rule_states

    marks = {site.id: watermark(conn, SOURCE, site.id) for site in sites}
    starts = {
        key: msgspec.json.decode(text, type=Watermark).since for key, text in marks.items() if text
    }
    old = [
        match
        for match in matches_of(conn, limit=MOST)
        if match.kind == "recordings"
        and match.matched >= span.since
        and (named is None or match.rule in named)
    ]
    digests = {rule: state.digest for rule, state in rule_states(conn).items() if state.digest}
    works = {(it.rule, it.subject_key): _work(steps_of(conn, it.key)) for it in old}
    return Running(digests, starts, works)


def _work(steps: "Sequence[StepState]") -> "Work":
    from bot.actions import ACTIONS
    from bot.replay.rule_diff import Work

    models = [(ACTIONS[it.action], it.state) for it in steps]
    alone = [model for model, state in models if state not in ("folded", "withheld")]
    return Work(
        writes=sum(not model.posts for model, _ in models),
        posts=sum(bool(model.digest) for model in alone),
    )


def _show(
    args: Namespace, span: "Span", changes: "list[Change]", running: Running, line: "Line",
    cost: "Calls", progress: "Progress", earlier: int, remarks: "Sequence[str]",
) -> None:  # fmt: skip
    from dataclasses import asdict

    from bot.cli import output
    from bot.replay import rule_diff
    from bot.replay.record import plain

    if args.json:
        output.document(
            {
                "since": span.since, "until": span.until,
                "rules": [asdict(change) for change in changes],
                "calls_a_day": asdict(cost), "running": asdict(running.work),
                "before_the_bot_watched": earlier,
                "outcome": plain(progress.tally, progress.rules),
            }
        )  # fmt: skip
        return
    output.line(f"{output.moment(span.since)} to {output.moment(span.until)}")
    told = "no rules have run yet, so everything is new"
    output.line(rule_diff.differing(changes) if running.digests else told)
    output.table(rule_diff.rows(changes))
    if earlier:
        matches = counted(earlier, "match", "matches")
        output.line(
            f"{matches} from before the bot's first poll left out, so all figures are too low; "
            "`mouseflow-bot replay` with the same --since counts them too"
        )
    for text in (*rule_diff.costs(running.work, line, cost, span), *remarks):
        output.line(text)
    output.line("Nothing was changed.")
