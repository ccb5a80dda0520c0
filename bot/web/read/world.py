"""What all pages share: the frame, problems with their remedies, matches in words."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar, assert_never

from bot.domain.causes import Cause, Stops, stops, trouble_key
from bot.domain.step import Rank, StepStatus
from bot.logs import scrubber
from bot.messages.ops import SAID, what
from bot.messages.text import clean, counted, lasting, number, sentence, told_apart, without_answer
from bot.polling import outages
from bot.polling.watermark import SOURCE
from bot.rules.model import Rule
from bot.store import Connection
from bot.store.audit import history
from bot.store.dead_letters import queue_figures
from bot.store.matches_now import MatchNow, StepNow
from bot.store.overview import lanes_now
from bot.store.recordings import missing_websites, on_hold, watermark, website_names
from bot.store.rules import (
    BrokenConfiguration,
    RejectedRules,
    RuleState,
    broken_configuration,
    rejected_rules,
    rule_states,
)
from bot.store.troubles import PATIENCE, Trouble, troubles, waiting_rules
from bot.web.facts import Facts
from bot.web.pages import address
from bot.web.views import Frame, Match, MatchAction, Paging, Problem, State
from mouseflow import __version__

T = TypeVar("T")

DAY = timedelta(days=1)

ROWS = 50
"""How many websites, rules or lanes are on a page."""

INSTANT = timedelta(milliseconds=1)
"""What is added to now, so that an interval up to it includes what happens now."""


@dataclass(frozen=True, slots=True)
class World:
    """One consistent state of the store, and what the daemon has in memory, at one moment.

    `names` are the websites' by id, `shown` the same for people: no two are alike.
    """

    conn: Connection
    facts: Facts
    now: datetime
    names: Mapping[str, str]
    shown: Mapping[str, str]
    states: Mapping[str, RuleState]
    rejected: RejectedRules | None
    troubles: tuple[Trouble, ...]
    problems: tuple[Problem, ...]
    frame: Frame

    @property
    def rules(self) -> Mapping[str, Rule]:
        """The active rules by id."""
        return {rule.id: rule for rule in self.facts.rules().rules}

    def name(self, website: str) -> str:
        """The website's name; "" for none, "a website" for one that is not known any more."""
        return clean(self.shown.get(website, "a website")) if website else ""


def world(conn: Connection, facts: Facts) -> World:
    """Read what all pages share."""
    now = facts.clock()
    names = missing_websites(conn) | website_names(conn)
    shown = told_apart(names)
    states, rejected, lasting_troubles = rule_states(conn), rejected_rules(conn), troubles(conn)
    queue = queue_figures(conn, now)
    found = (
        *_store_problems(facts, now),
        *_poll_problems(conn),
        *_rule_problems(facts, broken_configuration(conn), rejected, states),
        *_lane_problems(conn, lasting_troubles, shown, facts, now),
        *_dead_problem(queue.dead),
        *_held_problems(conn, shown),
    )
    severe = sorted(found, key=lambda problem: problem.severity != "critical")
    loaded = history(conn, kind="rules.loaded", limit=1)
    flow = facts.settings.mouseflow
    frame = Frame(
        account=facts.settings.account
        or (f"Mouseflow {flow.region.upper()}" if flow.region else "Mouseflow"),
        time_zone=flow.time_zone,
        version=__version__,
        now=now,
        rules_loaded_at=loaded[0].at if loaded else None,
        problems=len(severe),
        needs_hand=len(lasting_troubles) + bool(queue.dead),
    )
    return World(
        conn, facts, now, names, shown, states, rejected, tuple(lasting_troubles), tuple(severe),
        frame,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Span:
    """Which page of a list is asked for, from 1 on, and how many rows a page has at most."""

    page: int = 1
    limit: int = ROWS

    def of(self, rows: Sequence[T]) -> tuple[Sequence[T], Paging]:
        """The rows of the page; those of the last one if there are not so many."""
        pages = max(1, -(-len(rows) // self.limit))
        page = min(self.page, pages)
        end = page * self.limit
        return rows[end - self.limit : end], Paging(page=page, pages=pages, total=len(rows))


def plain(text: str) -> str:
    """Text of the bot for a page: one line, without a secret, an id or a raw answer."""
    return clean(without_answer(scrubber.text(text)), 500)


def _store_problems(facts: Facts, now: datetime) -> list[Problem]:
    fault = facts.pulse().fault(now.timestamp())
    if fault is None:
        return []
    return [
        Problem(
            key="daemon",
            severity="critical",
            title="The bot makes no progress",
            remedy="Restart it if this lasts. A store that can’t be written needs space or rights.",
            reason=plain(fault),
        )
    ]


def _poll_problems(conn: Connection) -> list[Problem]:
    kept = outages.written(watermark(conn, outages.OUTAGES, ""))
    found: dict[outages.Trouble, list[outages.Failing]] = {}
    for each in kept.failing:
        found.setdefault(each.trouble, []).append(each)
    problems = []
    for trouble, polls in found.items():
        since = min(each.since for each in polls)
        match trouble:
            case "key":
                title = "Mouseflow rejected the API key: nothing is polled"
                remedy = "Check mouseflow.email and mouseflow.api_key, then reload with SIGHUP."
            case "away":
                title = f"Mouseflow does not answer: {counted(len(polls), 'poll')} failing"
                remedy = "The bot retries by itself and catches up. See Mouseflow’s status page."
            case "store":
                title = "The store can’t be written"
                remedy = "Free some space, or give the bot write permission in its folder."
            case "other":
                title = f"{counted(len(polls), 'poll')} failing: {plain(polls[0].what)}"
                remedy = "The bot retries by itself; `mouseflow-bot status` lists them all."
            case _:
                assert_never(trouble)
        problems.append(
            Problem(
                key=f"poll {trouble}",
                severity="critical" if trouble in ("key", "store") else "warning",
                title=title,
                remedy=remedy,
                since=since,
                reason=plain(polls[0].reason),
            )
        )
    return problems


def _rule_problems(
    facts: Facts,
    configuration: BrokenConfiguration | None,
    rejected: RejectedRules | None,
    states: Mapping[str, RuleState],
) -> list[Problem]:
    found = []
    if configuration is not None:
        title, _, rest = configuration.title.partition(". ")
        found.append(
            Problem(
                key="configuration",
                severity="warning",
                title=title,
                remedy=f"{rest} {configuration.remedy}",
                since=configuration.since,
                reason=plain(configuration.reason.partition("\n")[0]),
            )
        )
    if rejected is not None:
        title, _, rest = rejected.title.partition(". ")
        keeps = rest or "The bot keeps running."
        found.append(
            Problem(
                key="rules rejected",
                severity="warning",
                title=title,
                remedy=f"{keeps} `mouseflow-bot check` lists every error.",
                since=rejected.at,
                reason=plain(rejected.faults[0]) if rejected.faults else "",
                link=address("rules"),
                link_text="See the rules",
            )
        )
    active = {rule.id for rule in facts.rules().rules}
    for rule, state in sorted(states.items()):
        if state.paused_at is not None and rule in active:
            found.append(
                Problem(
                    key=f"paused {rule}",
                    severity="warning",
                    title=f"Rule {rule} is paused by its safety limit",
                    remedy="See whether its matches are right. Then edit the rule, or resume it.",
                    since=state.paused_at,
                    rule_ids=(rule,),
                    reason=plain(state.paused_why),
                    link=address("rules", rule),
                    link_text="See the rule",
                )
            )
    return found


def _lane_problems(
    conn: Connection,
    found: Sequence[Trouble],
    names: Mapping[str, str],
    facts: Facts,
    now: datetime,
) -> list[Problem]:
    waiting = Counter[str]()
    for lane in lanes_now(conn, now) if found else ():
        if lane.cause:
            waiting[trouble_key(Cause(lane.cause), lane.lane)] += lane.waiting
    active = {rule.id: rule for rule in facts.rules().rules}
    rules = waiting_rules(conn) if found else {}
    problems = []
    for each in found:
        place = names.get(each.place, each.place)
        dropped = f" {number(each.dropped)} more were not kept: the queue was full." * bool(
            each.dropped
        )
        remedy = sentence(plain(each.remedy))
        ids = tuple(sorted(rules.get(each.key, frozenset()) & active.keys()))[:5]
        waits = counted(waiting[each.key] or each.waiting, "action waits", "actions wait")
        problems.append(
            Problem(
                key=each.key,
                severity="critical" if stops(each.cause) is Stops.SERVICE else "warning",
                title=f"{plain(what(each.cause, place))}: {waits}",
                remedy=f"{remedy} What waits goes out by itself.{dropped}".lstrip(),
                since=each.since,
                kept_until=each.since + PATIENCE,
                rule_ids=ids,
                place=place_of(active[ids[0]]) if ids else "",
                reason="" if each.cause in SAID else plain(each.reason),
                link=address("queue"),
                link_text="See what waits",
                lane=each.key,
            )
        )
    return problems


def place_of(rule: Rule) -> str:
    """Where the rule is written: its file with the folder, and the line."""
    return f"{'/'.join(rule.file.split('/')[-2:])}:{rule.line}"


def _dead_problem(dead: int) -> list[Problem]:
    if not dead:
        return []
    return [
        Problem(
            key="dead letters",
            severity="warning",
            title=f"{counted(dead, 'action')} failed for good",
            remedy="Fix the cause, then retry them.",
            link=address("queue") + "#dead",
            link_text="See the causes",
        )
    ]


def _held_problems(conn: Connection, names: Mapping[str, str]) -> list[Problem]:
    return [
        Problem(
            key=f"held {held.website} {held.kind} {held.filter}",
            severity="warning",
            title=f"Rules with {plain(held.filter)} are on hold on {names.get(held.website, '?')}",
            remedy="The API ignores or refuses it. The rules catch up when it works again.",
            reason=plain(held.reason),
        )
        for held in on_hold(conn)
    ]


def match_of(found: MatchNow, world: World) -> Match:
    """A match in words, with what became of it."""
    state, outcome, at, lag = outcome_of(found, world)
    about = world.rules.get(found.rule)
    return Match(
        key=found.key,
        rule_id=found.rule,
        summary=clean((about and about.summary) or found.summary or found.rule),
        severity=about.severity if about else None,
        at=found.matched,
        website=world.name(found.website),
        recording_id=found.subject_key if found.kind == SOURCE else None,
        why=clean("; ".join(found.why), 300),
        state=state,
        outcome=outcome,
        outcome_at=at,
        lag=lag,
        stands_for=found.stands_for,
        rating="not useful" if found.useless else None,
    )


def outcome_of(found: MatchNow, world: World) -> tuple[State, str, datetime | None, float | None]:
    """What became of the match as a whole: the worst of its steps; of equal ones, its post."""
    if not found.steps:
        return "off", _without_steps(found, world), None, None
    step = min(found.steps, key=lambda it: (_WORST_FIRST.index(it.state), it.rank != Rank.POST))
    match step.state:
        case StepStatus.DEAD:
            return "crit", f"Failed: {plain(step.fault)}", step.ended, None
        case StepStatus.PENDING | StepStatus.SENDING:
            why = next((it.fault for it in found.steps if it.state.is_open and it.fault), "")
            if why:
                return "warn", f"Waits: {plain(why)}", None, None
            return "wait", "Waits", None, None
        case StepStatus.WITHHELD:
            return "off", f"Held back: {plain(step.fault)}", step.ended, None
        case StepStatus.FOLDED:
            return "off", "In a digest", step.digest_due, None
        case StepStatus.DONE:
            if step.rank != Rank.POST or step.ended is None:
                ended = max((it.ended for it in found.steps if it.ended), default=None)
                return "ok", "Done", ended, None
            lag = max(0.0, (step.ended - found.happened).total_seconds())
            return "ok", f"Posted after {lasting(timedelta(seconds=round(lag)))}", step.ended, lag
        case _:
            assert_never(step.state)


def _without_steps(found: MatchNow, world: World) -> str:
    """Why nothing is done about a match."""
    if found.counted:
        return "Counted with others"
    rule = world.rules.get(found.rule)
    return "Counted: not enough yet" if rule and rule.count else "No action"


def actions_of(found: MatchNow, done: Mapping[str, str]) -> tuple[MatchAction, ...]:
    """Every step of the match in words; `done` is what finished ones say they did, by their key."""
    return tuple(_action(step, done.get(step.key, "")) for step in found.steps)


def _action(step: StepNow, done: str) -> MatchAction:
    state, text = _STATES[step.state]
    if step.state is StepStatus.DONE:
        text = done or text
    fault = plain(step.fault)
    why = f": {fault}" if fault and step.state is not StepStatus.DONE else ""
    return MatchAction(
        action=step.action.replace("_", " "), state=state, text=f"{text}{why}", at=step.ended
    )


_STATES: Mapping[StepStatus, tuple[State, str]] = {
    StepStatus.DEAD: ("crit", "failed for good"),
    StepStatus.PENDING: ("wait", "waits"),
    StepStatus.SENDING: ("wait", "running"),
    StepStatus.WITHHELD: ("off", "held back"),
    StepStatus.FOLDED: ("off", "in a digest"),
    StepStatus.DONE: ("ok", "done"),
}
_WORST_FIRST = tuple(_STATES)

if missing := [status for status in StepStatus if status not in _STATES]:
    raise TypeError(f"states of steps without words: {missing}")
