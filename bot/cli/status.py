"""Shows what the daemon knows, read from its store without disturbing it.

Websites and how far each was read, what polls ask and cost, rules, the queue, lanes on hold,
dead letters.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.polling.outages import Failing
    from bot.store import Connection
    from bot.store.dead_letters import DeadGroup, QueueFigures, StepState
    from bot.store.lanes import LaneState
    from bot.store.rules import RuleState

EXAMPLE = "mouseflow-bot status\nmouseflow-bot status --json"

ALIVE = "alive"
_MANY, _LATEST = 40, 5
_LETTERS = 10
"""Dead letters that are shown one by one, with the numbers that `retry` takes."""


@dataclass(frozen=True, slots=True)
class Watermark:
    """How far a source was read for a website, and when."""

    source: str
    website: str
    read: datetime


@dataclass(frozen=True, slots=True)
class RuleLine:
    """A rule the daemon has run. `snoozed_until` is None where that is over.

    `snoozed` is how many posts the snooze has held back so far.
    """

    rule: str
    matches: int
    matches_today: int
    paused_at: datetime | None
    paused_why: str
    snoozed_until: datetime | None
    snoozed: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A changed rule set that was not taken up: the rules before it are still in force."""

    at: datetime
    faults: Sequence[str]


@dataclass(frozen=True, slots=True)
class Status:
    """All that `status` shows. `daemon` is "alive", or what is wrong with it.

    `failing` are the looks whose last try failed, `things` how many there are of them.
    `causes` are all dead letters grouped, `dead` the latest of them.
    """

    now: datetime
    daemon: str
    failing: "Sequence[Failing]"
    things: int
    refused: "Refused | None"
    at_least_once: Sequence[str]
    watermarks: "Sequence[Watermark]"
    rules: "Sequence[RuleLine]"
    queue: "QueueFigures"
    lanes: "Sequence[LaneState]"
    causes: "Sequence[DeadGroup]"
    dead: "Sequence[StepState]"


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(paths=[])


def run(args: Namespace) -> int:
    """Show it. Dead letters are shown, not a problem of this command."""
    import time
    from zoneinfo import ZoneInfo

    import msgspec

    from bot.cli import budget, output, polling_plan
    from bot.cli.context import lock_file, settings, stored
    from bot.cli.healthcheck import unhealthy

    configured = settings(args, offline=True)
    rules = polling_plan.rules(args, configured)
    url = configured.store.url
    daemon = unhealthy(lock_file(url), 60, time.time()) or ALIVE
    with stored(configured, read_only=True) as store:
        status = store.do(lambda conn: gathered(conn, datetime.now(UTC), daemon))
        budgets = store.do(budget.gathered)
        plan = store.do(lambda conn: polling_plan.gathered(conn, rules, configured, status.now))
    if args.json:
        output.document(
            asdict(status)
            | {"failing": [msgspec.to_builtins(each) for each in status.failing]}
            | {"polling": polling_plan.plain(plan)}
            | {"budgets": [budget.plain(each) for each in budgets]}
        )
        return 0
    shown(status)
    polling_plan.shown(plan)
    budget.summary(budgets, ZoneInfo(configured.mouseflow.time_zone))
    return 0


def gathered(conn: "Connection", now: datetime, daemon: str) -> Status:
    """The status at that moment, in one look."""
    from bot.polling import outages
    from bot.store.dead_letters import dead_groups, dead_letters, queue_figures
    from bot.store.lanes import lane_states
    from bot.store.recordings import all_watermarks, blind_channels, watermark, website_names
    from bot.store.rules import matches_since, rule_states

    names = website_names(conn)
    # What a daemon that has ended could not read says nothing about now.
    kept = outages.written(watermark(conn, outages.OUTAGES, "") if daemon == ALIVE else None)
    beginning, day = datetime.fromtimestamp(0, UTC), now - timedelta(days=1)
    return Status(
        now=now,
        daemon=daemon,
        failing=kept.failing,
        things=kept.things,
        refused=_refused(conn),
        at_least_once=blind_channels(conn),
        watermarks=sorted(
            (
                Watermark(source, names.get(website, website), at)
                for (source, website), (_, at) in all_watermarks(conn).items()
                if website and source != "budgets"
            ),
            key=lambda mark: (mark.website, mark.source),
        ),
        rules=[
            RuleLine(
                rule=rule,
                matches=matches_since(conn, rule, beginning),
                matches_today=matches_since(conn, rule, day),
                paused_at=state.paused_at,
                paused_why=state.paused_why,
                snoozed_until=_if_later(state.snoozed_until, now),
                snoozed=_snoozed(conn, state, now),
            )
            for rule, state in sorted(rule_states(conn).items())
        ],
        queue=queue_figures(conn, now),
        lanes=lane_states(conn, now),
        causes=dead_groups(conn),
        dead=dead_letters(conn),
    )


def _if_later(at: datetime | None, now: datetime) -> datetime | None:
    return at if at is not None and at > now else None


def _snoozed(conn: "Connection", state: "RuleState", now: datetime) -> int:
    from bot.domain.limits import Reason
    from bot.store.rules import withheld

    if state.snoozed_at is None or _if_later(state.snoozed_until, now) is None:
        return 0
    return withheld(conn, state.rule, state.snoozed_at, Reason.SNOOZED)


def _refused(conn: "Connection") -> Refused | None:
    """The latest rule set, if it was refused."""
    from bot.store.audit import history

    latest = history(conn, kind="rules", limit=1)
    if not latest or latest[0].kind != "rules.reload_failed":
        return None
    faults = latest[0].details.get("faults")
    return Refused(latest[0].at, faults if isinstance(faults, list) else [latest[0].text])


def shown(status: Status) -> None:
    """The status as text."""
    from bot.cli import output

    now = status.now
    output.line(f"daemon: {status.daemon}")
    _failing(status)
    output.line()
    output.line("read so far" if status.watermarks else "nothing was read yet")
    _read_so_far(status.watermarks, now)
    output.line()
    output.line(output.counted(len(status.rules), "rule"))
    output.table(
        (
            line.rule,
            output.counted(line.matches, "match", "matches"),
            f"{line.matches_today} in a day",
            _state(line, now),
        )
        for line in status.rules
    )
    if status.refused:
        output.line(
            f"changed rule files were refused {output.ago(status.refused.at, now)}; "
            "the rules before them are in force"
        )
        output.table((fault,) for fault in status.refused.faults)
    if status.at_least_once:
        output.line()
        output.line(
            f"posts to {', '.join(status.at_least_once)} are at-least-once: the bot may not read "
            "there, so a post whose outcome is unknown is repeated"
        )
    queue = status.queue
    late = f", the oldest due {output.ago(queue.oldest, now)}" if queue.oldest else ""
    output.line()
    output.line(
        f"queue: {queue.pending} waiting ({queue.due} due{late}), {queue.sending} under way"
    )
    output.table(
        (lane.lane, f"on hold until {output.moment(lane.paused_until)}", lane.reason)
        if lane.paused_until
        else (lane.lane, output.counted(lane.failures, "failure"), lane.reason)
        for lane in status.lanes
    )
    output.line()
    _dead_letters(status)


def _failing(status: Status) -> None:
    from bot.cli import output

    if not status.failing:
        return
    output.line(f"{output.counted(status.things, 'poll')} failed at the last try")
    some = status.failing[:_LETTERS]
    output.table(
        (
            it.what,
            f"since {output.moment(it.since)} ({output.ago(it.since, status.now)})",
            it.reason,
        )
        for it in some
    )
    if status.things > len(some):
        output.line(f"  and {status.things - len(some)} more")


def _read_so_far(watermarks: Sequence[Watermark], now: datetime) -> None:
    """Each website; where they are many, what was read longest ago of each source."""
    from bot.cli import output

    if len(watermarks) <= _MANY:
        output.table((mark.website, mark.source, output.ago(mark.read, now)) for mark in watermarks)
        return
    sources = sorted({mark.source for mark in watermarks})
    for source in sources:
        marks = sorted((m for m in watermarks if m.source == source), key=lambda mark: mark.read)
        late = ", ".join(f"{mark.website} {output.ago(mark.read, now)}" for mark in marks[:_LATEST])
        output.line(f"  {source} of {output.counted(len(marks), 'website')}, longest ago {late}")


def _state(line: RuleLine, now: datetime) -> str:
    from bot.cli import output

    if line.paused_at:
        return f"paused {output.ago(line.paused_at, now)}: {line.paused_why}"
    if line.snoozed_until:
        held = output.counted(line.snoozed, "post")
        return f"snoozed, ends {output.ago(line.snoozed_until, now)}, {held} held back"
    return ""


def _dead_letters(status: Status) -> None:
    """By cause; then one by one, as many as can be read."""
    from bot.cli import dead_letters as causes
    from bot.cli import output

    output.line(output.counted(status.queue.dead, "dead letter"))
    if not status.dead:
        return
    causes.shown(status.causes, status.now, remedies=True)
    latest = status.dead[:_LETTERS]
    output.line("by number" if len(latest) == status.queue.dead else "the latest, by number")
    output.table(
        (str(step.id), step.rule, step.action, step.subject_key, _why(step)) for step in latest
    )
    output.line("`mouseflow-bot retry` requeues them, also by number or rule")


def _why(step: "StepState") -> str:
    return f"{step.fault}; {step.remedy}" if step.remedy else step.fault
