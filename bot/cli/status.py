"""Show what the daemon knows: websites, rules, queue, dead letters, polling plan and budgets.

Reads the daemon's store and changes nothing.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from bot.cli.polling_plan import (
    PollingPlan,
    active_rules,
    gather_plan,
    known_sites,
    plan_json,
    plan_rules,
    show_plan,
)
from bot.messages.text import counted, on_behalf

if TYPE_CHECKING:
    from bot.cli.budget import BudgetView
    from bot.config import Settings
    from bot.polling.outages import Failing
    from bot.rules.model import RuleSet
    from bot.store import Connection
    from bot.store.audit import Entry
    from bot.store.dead_letters import DeadGroup, QueueFigures, StepState
    from bot.store.lanes import LaneState
    from bot.store.presses import Precision
    from bot.store.recordings import OnHold
    from bot.store.rules import BrokenConfiguration, RejectedRules, RuleState
    from bot.store.sharing import Replica
    from bot.store.troubles import Trouble

EXAMPLE = "mouseflow-bot status\nmouseflow-bot status --json"

ODD: Mapping[str, str] = {
    "poll.bad_value": "with values that can't be read",
    "poll.unreadable": "that can't be read",
}
"""Kinds of entries of the audit log about recordings that could not be read as documented."""

ALIVE = "alive"
_MANY, _OLDEST = 40, 5
_MOST_LISTED = 10
"""Dead letters and failing polls that are listed one by one."""


@dataclass(frozen=True, slots=True)
class Watermark:
    """When a source of a website was polled last.

    `without_detail` counts the recordings that wait for their detail.
    """

    source: str
    website: str
    read: datetime
    without_detail: int = 0


@dataclass(frozen=True, slots=True)
class RuleLine:
    """A rule that the daemon has run. `snoozed_until` is None if the snooze has ended.

    `ended` counts its alerts that have ended, `snoozed` the posts that the snooze has held back so
    far; `snoozed_by` and `snoozed_because` say who began it and why, where somebody said so.
    `useful` is how many of its messages people have not called useless, None if they have called
    none so. `sessions` are live ones that the rule decides only once they are settled, the first
    of them at `settles`.
    """

    rule: str
    matches: int
    matches_today: int
    paused_at: datetime | None
    paused_why: str
    snoozed_until: datetime | None
    snoozed: int
    snoozed_by: str = ""
    snoozed_because: str = ""
    ended: int = 0
    sessions: int = 0
    settles: datetime | None = None
    useful: "Precision | None" = None


@dataclass(frozen=True, slots=True)
class Status:
    """All that `status` shows. `daemon` is "alive", or what is wrong with it.

    `failing` are polls whose last try failed, `failing_total` how many there are; `troubles` hold
    up deliveries. `rules_gone` have run and are in no active file, `rules_disabled` are there and
    do nothing. `waiting` are the next steps of the queue, `causes` are all dead letters grouped,
    `dead` the latest of them. `odd` counts, by kind, the recordings of the last 24 h with values
    or rows that could not be read.
    """

    now: datetime
    daemon: str
    failing: "Sequence[Failing]"
    failing_total: int
    rejected_rules: "RejectedRules | None"
    broken_configuration: "BrokenConfiguration | None"
    at_least_once: Sequence[str]
    on_hold: "Sequence[OnHold]"
    watermarks: "Sequence[Watermark]"
    rules: "Sequence[RuleLine]"
    queue: "QueueFigures"
    waiting: "Sequence[StepState]"
    lanes: "Sequence[LaneState]"
    troubles: "Sequence[Trouble]"
    causes: "Sequence[DeadGroup]"
    dead: "Sequence[StepState]"
    odd: "Mapping[str, int]" = field(default_factory=dict)
    rules_gone: "Sequence[RuleLine]" = ()
    rules_disabled: Sequence[str] = ()


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.set_defaults(paths=[])


def run(args: Namespace) -> int:
    """Show the status; dead letters do not change the exit code."""
    from bot.cli import context, output
    from bot.errors import BotError

    accounts = context.meant(args, offline=True)
    if len(accounts) == 1:
        (settings,) = accounts.values()
        found = _look(args, settings)
        if args.json:
            output.document(found.as_json())
        else:
            found.show()
        return 0
    documents: dict[str, dict[str, Any]] = {}
    code = 0
    for name, settings in accounts.items():
        output.about(name)
        if not args.json:
            if documents:
                output.line()
            output.line(f"account {name}")
        try:
            found = _look(args, settings)
        except BotError as error:  # such as no store yet: the others have theirs
            code = 1
            documents[name] = {"error": str(error)}
            if not args.json:
                output.line(str(error))
        else:
            documents[name] = found.as_json()
            if not args.json:
                found.show()
    if args.json:
        output.document({"accounts": documents})
    return code


@dataclass(frozen=True, slots=True)
class _Look:
    """What the status of one account shows."""

    status: Status
    plan: PollingPlan
    budgets: "Sequence[BudgetView]"
    names: "Mapping[str, str]"
    replicas: "Sequence[Replica]"

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        from bot.cli import budget, output

        value = asdict(self.status) | {
            "replicas": [asdict(each) for each in self.replicas],
            "polling": plan_json(self.plan),
            "budgets": [budget.as_json(each) for each in self.budgets],
        }
        return output.as_plain(value, self.names)

    def show(self) -> None:
        """All of it, for people."""
        from bot.cli import budget

        show_replicas(self.replicas, self.names, self.status.now)
        show(self.status)
        show_plan(self.plan)
        budget.summary(self.budgets)


def _look(args: Namespace, configured: "Settings") -> _Look:
    """The status of one account; raises StoreError."""
    import time

    from bot.cli import budget
    from bot.cli.context import existing_store
    from bot.cli.healthcheck import sign_of, unhealthy
    from bot.store import location_of
    from bot.store.recordings import website_names

    rules = plan_rules(args, configured)
    url = configured.store.url
    daemon = unhealthy(url, 60, time.time()) or ALIVE
    replicas = location_of(url).replicas()
    with existing_store(configured, read_only=True) as store:
        runs = sign_of(url) is not None
        active = store.do(lambda conn: active_rules(conn, rules, configured))
        status = store.do(
            lambda conn: gather(
                conn, datetime.now(UTC), daemon,
                runs=runs, active=active, settle=configured.poll.settle,
            )
        )  # fmt: skip
        return _Look(
            status,
            store.do(lambda conn: gather_plan(conn, rules, configured, status.now)),
            store.do(budget.gather),
            store.do(website_names),
            replicas,
        )


def gather(
    conn: "Connection", now: datetime, daemon: str, *,
    runs: bool = True, active: "RuleSet | None" = None, settle: timedelta = timedelta(),
) -> Status:  # fmt: skip
    """The status at that moment; `daemon` is how it is doing if it `runs`.

    Without `active` rules every rule that has ever run counts as active.
    """
    from bot.polling import outages
    from bot.polling.watermark import SOURCE, STOPPED, without_detail
    from bot.store.budgets import LEFT
    from bot.store.dead_letters import dead_groups, dead_letters, queue_figures, waiting_steps
    from bot.store.lanes import lane_states
    from bot.store.presses import precision
    from bot.store.recordings import (
        ASKED,
        COUNTING,
        LOOKED,
        ON_HOLD,
        OWN_RULES,
        all_watermarks,
        blind_channels,
        on_hold,
        watermark,
        website_names,
    )
    from bot.store.rules import (
        MatchCounts,
        broken_configuration,
        match_counts,
        rejected_rules,
        rule_states,
    )
    from bot.store.troubles import troubles

    names, wait = website_names(conn), without_detail(conn)
    # Failures of a daemon that has ended say nothing about now.
    kept = outages.written(watermark(conn, outages.OUTAGES, "") if runs else None)
    day = now - timedelta(days=1)
    counts = match_counts(conn, day)
    ids = None if active is None else {rule.id for rule in active.rules}
    disabled = [rule.id for rule in active.disabled] if active else []
    waits, useful = waiting_rules(conn, active, settle), precision(conn)
    rules = [
        RuleLine(
            rule=rule,
            matches=counts.get(rule, MatchCounts()).kept,
            matches_today=counts.get(rule, MatchCounts()).lately,
            ended=counts.get(rule, MatchCounts()).ended,
            sessions=waits.get(rule, (0, None))[0],
            settles=waits.get(rule, (0, None))[1],
            paused_at=state.paused_at,
            paused_why=state.paused_why,
            snoozed_until=_if_later(state.snoozed_until, now),
            snoozed=_snoozed(conn, state, now),
            snoozed_by=state.snoozed_by if _if_later(state.snoozed_until, now) else "",
            snoozed_because=state.snoozed_because if _if_later(state.snoozed_until, now) else "",
            useful=useful.get(rule),
        )
        for rule, state in sorted(rule_states(conn).items())
    ]
    return Status(
        now=now,
        daemon=daemon,
        failing=kept.failing,
        failing_total=kept.things,
        rejected_rules=rejected_rules(conn),
        broken_configuration=broken_configuration(conn) if runs else None,
        at_least_once=blind_channels(conn),
        on_hold=[replace(it, website=names.get(it.website, it.website)) for it in on_hold(conn)],
        watermarks=sorted(
            (
                Watermark(
                    source=source.removeprefix(LOOKED),
                    website=names.get(website, website),
                    read=at,
                    without_detail=wait.get(website, 0) if source == SOURCE else 0,
                )
                for (source, website), (_, at) in all_watermarks(conn).items()
                if website
                and source not in ("budgets", LEFT, STOPPED, OWN_RULES, outages.OUTAGES)
                and not source.startswith((ON_HOLD, COUNTING, ASKED))
            ),
            key=lambda mark: (mark.website, mark.source),
        ),
        rules=[line for line in rules if ids is None or line.rule in ids],
        rules_gone=[
            line for line in rules if ids is not None and line.rule not in {*ids, *disabled}
        ],
        rules_disabled=disabled,
        queue=queue_figures(conn, now),
        waiting=waiting_steps(conn, _MOST_LISTED),
        lanes=lane_states(conn, now),
        troubles=troubles(conn),
        causes=dead_groups(conn),
        dead=dead_letters(conn),
        odd={kind: len(found) for kind in ODD if (found := odd_recordings(conn, kind, day))},
    )


def odd_recordings(conn: "Connection", kind: str, since: datetime) -> "Sequence[Entry]":
    """The audit log's entries about recordings that could not be read, in part or at all."""
    from bot.store.audit import history

    return history(conn, kind=kind, since=since, limit=100_000)


def waiting_rules(
    conn: "Connection", active: "RuleSet | None", settle: timedelta
) -> "dict[str, tuple[int, datetime | None]]":
    """For each rule that waits until sessions are settled: how many do, and when the first is."""
    from bot.rules.model import applies
    from bot.rules.needs import fires_early
    from bot.store.recordings import live_sessions

    live, sites = live_sessions(conn), known_sites(conn)
    found: dict[str, tuple[int, datetime | None]] = {}
    for rule in active.rules if active else ():
        if fires_early(rule):
            continue
        there = [live[site.id] for site in sites if site.id in live and applies(rule, site)]
        if there:
            found[rule.id] = sum(n for n, _ in there), min(at for _, at in there) + settle
    return found


def _if_later(at: datetime | None, now: datetime) -> datetime | None:
    return at if at is not None and at > now else None


def _snoozed(conn: "Connection", state: "RuleState", now: datetime) -> int:
    from bot.domain.limits import Reason
    from bot.store.rules import withheld

    if state.snoozed_at is None or _if_later(state.snoozed_until, now) is None:
        return 0
    return withheld(conn, state.rule, state.snoozed_at, Reason.SNOOZED)


def show_replicas(replicas: "Sequence[Replica]", names: Mapping[str, str], now: datetime) -> None:
    """Print the bots that share the store, and what each does."""
    if not replicas:
        return
    from bot.cli import output

    output.line(f"{counted(len(replicas), 'bot')} on this store")
    output.table(
        (
            it.name,
            "leads" if it.leads else "",
            f"{it.version}, since {output.ago(it.started, now).removesuffix(' ago')}",
            f"{counted(len(it.websites), 'website')}: "
            + ", ".join(sorted(names.get(key, key) for key in it.websites)[:3])
            + "…" * (len(it.websites) > 3),
            "other rules than the one that leads" if it.differs else "",
        )
        for it in replicas
    )


def show(status: Status) -> None:
    """Print the status."""
    from bot.cli import output

    now = status.now
    output.line(f"daemon: {status.daemon.removeprefix('the daemon is ')}")
    show_configuration(status)
    show_failing(status)
    show_troubles(status)
    output.line()
    output.line("last polls" if status.watermarks else "nothing polled yet")
    _show_watermarks(status.watermarks, now)
    _show_without_detail(status.watermarks)
    for kind, count in status.odd.items():
        shows = f"`mouseflow-bot history --kind {kind}`"
        output.line(f"  {counted(count, 'recording')} {ODD[kind]} in the last 24 h: {shows}")
    output.line()
    show_rules(status)
    if status.on_hold:
        output.line("rules on hold")
        output.table(
            (it.website, f"{it.kind} with {it.filter}", it.reason) for it in status.on_hold
        )
    if status.at_least_once:
        output.line()
        output.line(
            f"at-least-once: {', '.join(status.at_least_once)}: the bot can't look up its posts "
            "there, so a post may appear twice if its outcome is unknown"
        )
    queue = status.queue
    late = f", oldest {output.ago(queue.oldest, now)}" if queue.oldest else ""
    output.line()
    due = f"{queue.due:,} due{late}"
    output.line(f"queue: {queue.pending:,} waiting ({due}), {queue.sending:,} running")
    output.table(
        (lane.lane, f"on hold until {output.moment(lane.paused_until)}", lane.reason)
        if lane.paused_until
        else (lane.lane, counted(lane.failures, "failure"), lane.reason)
        for lane in status.lanes
    )
    if status.waiting:
        output.line("waiting, by number")
        output.table(
            (str(it.id), it.rule, it.action, it.subject_key, _due(it, now)) for it in status.waiting
        )
    output.line()
    show_dead_letters(status)


def _due(step: "StepState", now: datetime) -> str:
    from bot.cli import output

    if step.waits:
        return "after the earlier actions of its match"
    why = f": {step.fault}" if step.fault else ""
    return f"due {output.ago(step.due, now)}{why}"


def show_failing(status: Status) -> None:
    """Print the polls whose last try failed."""
    from bot.cli import output
    from bot.messages.text import without_answer

    if not status.failing:
        return
    output.line(f"failing: {counted(status.failing_total, 'poll')}")
    causes: dict[str, list[Failing]] = {}
    for it in status.failing:
        # The reason of an outage names the request, so it differs from website to website.
        cause = it.reason if it.trouble == "other" else f"{it.trouble} {it.kind}"
        causes.setdefault(cause, []).append(it)
    some = list(causes.values())[:_MOST_LISTED]
    for alike in some:
        since = min(it.since for it in alike)
        output.line(f"  {_polls([it.what for it in alike])}")
        output.line(f"    since {output.moment(since)} ({output.ago(since, status.now)})")
        output.line(f"    {without_answer(alike[0].reason)}")
    left = status.failing_total - sum(map(len, some))
    if left:
        output.line(f"  and {left} more")


def _polls(names: Sequence[str]) -> str:
    """`recordings of a.com`, or of many with one cause: `14 polls (recordings of a.com, …)`."""
    from bot.rules.needs import some

    return names[0] if len(names) == 1 else f"{len(names)} polls ({some(names, 2)})"


def show_troubles(status: Status) -> None:
    """Print what holds deliveries up, and what to do about it."""
    from bot.cli import output
    from bot.messages.ops import what

    for it in status.troubles:
        waits = counted(it.waiting, "action")
        output.line(f"{what(it.cause, it.place)}: {waits} waiting")
        since = f"since {output.moment(it.since)} ({output.ago(it.since, status.now)})"
        output.table(((since, it.reason, it.remedy),))


def show_configuration(status: Status) -> None:
    """Print why the configuration could not be read again."""
    from bot.cli import output

    if broken := status.broken_configuration:
        since = output.ago(broken.since, status.now)
        if broken.removed:
            output.line(f"{broken.reason}, noticed {since}: it runs until the bot restarts")
            return
        whose = f" of the bot {broken.bot}" if broken.bot else ""
        output.line(
            f"configuration{whose} not reloaded {since}: it has errors; the previous one is used"
        )
        output.table((line,) for line in broken.reason.splitlines())


def show_rules(status: Status) -> None:
    """Print the rules that have run, and whether newer rule files were rejected."""
    from bot.cli import output

    output.line(counted(len(status.rules), "rule"))
    output.table(
        (
            line.rule,
            counted(line.matches, "match", "matches"),
            f"{line.matches_today} in the last 24 h"
            + f", {line.ended} ended" * bool(line.ended)
            + (f", {line.useful.text}" if line.useful else ""),
            _rule_state(line, status.now),
        )
        for line in status.rules
    )
    if status.rules_disabled:
        output.line(f"disabled: {', '.join(status.rules_disabled)}")
    if status.rules_gone:
        output.line("no longer in the files")
        output.table(
            (line.rule, counted(line.matches, "match", "matches")) for line in status.rules_gone
        )
    if rejected := status.rejected_rules:
        what, active = "new rules", "the previous rules stay active"
        if rejected.incomplete:
            what, active = "some rule files", "the rules of the others are active"
        since = output.ago(rejected.at, status.now)
        output.line(f"{what} not loaded {since}: they have errors; {active}")
        output.table((fault,) for fault in rejected.faults)


def _rule_state(line: RuleLine, now: datetime) -> str:
    from bot.cli import output

    if line.paused_at:
        return f"paused {output.ago(line.paused_at, now)}: {line.paused_why}"
    if line.snoozed_until:
        held = counted(line.snoozed, "post")
        who = on_behalf(line.snoozed_by, line.snoozed_because)
        return f"snoozed{who}, ends {output.ago(line.snoozed_until, now)}, {held} held back"
    if line.sessions and line.settles:
        when = "now" if line.settles <= now else output.ago(line.settles, now)
        return (
            f"waits until sessions are settled: {counted(line.sessions, 'live session')}, "
            f"the first {when}"
        )
    return ""


def _show_watermarks(watermarks: Sequence[Watermark], now: datetime) -> None:
    """Print each website; if they are many, the oldest polls of each source."""
    from bot.cli import output

    if len(watermarks) <= _MANY:
        output.table((mark.website, mark.source, output.ago(mark.read, now)) for mark in watermarks)
        return
    sources = sorted({mark.source for mark in watermarks})
    for source in sources:
        marks = sorted((m for m in watermarks if m.source == source), key=lambda mark: mark.read)
        late = ", ".join(f"{mark.website} {output.ago(mark.read, now)}" for mark in marks[:_OLDEST])
        output.line(f"  {source} of {counted(len(marks), 'website')}, oldest: {late}")


def _show_without_detail(watermarks: Sequence[Watermark]) -> None:
    """Print how many recordings wait for their detail, the websites with the most first."""
    from bot.cli import output
    from bot.rules.needs import some

    waits = [it for it in watermarks if it.without_detail]
    if not waits:
        return
    waits.sort(key=lambda it: -it.without_detail)
    total = sum(it.without_detail for it in waits)
    places = some((f"{it.website} {it.without_detail:,}" for it in waits), 3)
    wait = "wait for their" if total > 1 else "waits for its"
    output.line(f"  {counted(total, 'recording')} {wait} detail, up to a day: {places}")


def show_dead_letters(status: Status) -> None:
    """Print the dead letters by cause, and the latest of them with their numbers."""
    from bot.cli import output
    from bot.cli import output as dead_letters

    output.line(counted(status.queue.dead, "dead letter"))
    if not status.dead:
        return
    dead_letters.show(status.causes, status.now, remedies=True)
    latest = status.dead[:_MOST_LISTED]
    output.line("by number" if len(latest) == status.queue.dead else "the latest, by number")
    output.table(
        (str(step.id), step.rule, step.action, step.subject_key, _reason(step)) for step in latest
    )
    output.line("requeue all with `mouseflow-bot retry`, some with their numbers or their rule")


def _reason(step: "StepState") -> str:
    return f"{step.fault}; {step.remedy}" if step.remedy else step.fault
