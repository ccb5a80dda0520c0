"""What one poll of the budgets works on: the websites, and each budget with what it has used.

First what is kept between polls (marks), then what one poll knows (BudgetContext), then one
budget within it (BudgetStatus).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Literal, assert_never
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bot.actions.notifier import Notifier
from bot.actions.recording import CHANGED, RecordingSwitch
from bot.actions.recording_rate import RecordingRate
from bot.budgets.members import Counted, Membership
from bot.budgets.texts import owner, percent
from bot.domain import budget as core
from bot.domain import forecast
from bot.domain.budget import BUDGET, DayCount, Ownership, Period, Step, Switch, WebsiteState
from bot.domain.forecast import Traffic
from bot.domain.subjects import Site
from bot.polling.record_matches import Routing
from bot.rules.model import Budget, BudgetStep, names_site
from bot.store import Connection
from bot.store.budgets import POLLED, Switching, budget_steps_done, used, visitors
from bot.store.recordings import all_watermarks, forget_watermark, set_watermark, watermark
from bot.store.renames import rename_budget

SITES, BUDGETS = POLLED, "budgets"
"""The sources' names in the table of watermarks."""


class Pending(Struct, frozen=True):
    """A switch that waits in the outbox: the step's key, what it sets, for whom and why.

    `undo`: it undoes what the owner did. `steps` are the budget's steps in `period` that have
    acted once it has taken effect. `posted`: a post will say what becomes of it.
    """

    key: str
    switch: Switch
    to: str
    owner: str
    reason: str
    undo: bool = False
    period: str = ""
    steps: tuple[str, ...] = ()
    posted: bool = False
    at: datetime | None = None


class Refused(Struct, frozen=True):
    """A switch that could not be set: since when, when it was tried last, and that step's key."""

    since: datetime
    at: datetime
    key: str


class EndedSwitch(Struct, frozen=True):
    """What became of a switch. `done`: the website is as it should be.

    `refused` is why it could not be set, `since` when that began; `late`: it took so long that
    the post went out without its outcome.
    """

    pending: Pending
    done: bool
    refused: str | None
    since: datetime | None
    late: bool


class SiteMark(Struct, frozen=True, omit_defaults=True):
    """A website at the last poll. `former` is its rate before the last change.

    `absent`: since when the account's list lacks it, though a budget counts it. `days` are the
    counts of the last days, `doubted` those that have jumped and wait for a second answer. Both
    include what the bot itself `deleted`. `refused` are the switches that could not be set.
    """

    at: datetime
    status: str | None = None
    rate: int | None = None
    former: int | None = None
    changed: datetime | None = None
    pending: tuple[Pending, ...] = ()
    absent: datetime | None = None
    days: dict[date, DayCount] = {}
    doubted: dict[date, int] = {}
    deleted: dict[date, int] = {}
    refused: dict[Switch, Refused] = {}


class SiteLine(Struct, frozen=True):
    """A website of a budget as `status` shows it; `owner` set its present state.

    `left_alone`: since when the bot leaves it alone, because somebody else changed it.
    """

    id: str
    name: str
    status: str | None
    rate: int | None
    owner: str
    read_only: bool
    left_alone: datetime | None = None


class StepLine(Struct, frozen=True):
    """A step of a budget: its share, what it does, and when it acted in this period."""

    at: float
    does: str
    acted: datetime | None


class BudgetMark(Struct, frozen=True, omit_defaults=True):
    """A budget at the last poll. `ends` is when it will be used up, None if it lasts.

    `expected` is what will be used by the end of the period, at the present rates. `running`
    are the websites that it counts in each period that is not over. `removed`: since when it is
    in no rule file, and `held` what it held then.
    """

    at: datetime
    period: str
    first: str
    end: str
    recordings: int
    used: int
    expected: float = 0.0
    ends: datetime | None = None
    paced: datetime | None = None
    websites: tuple[SiteLine, ...] = ()
    steps: tuple[StepLine, ...] = ()
    resume: bool = False
    pace: bool = False
    running: tuple[Membership, ...] = ()
    removed: datetime | None = None
    held: tuple[Ownership, ...] = ()


def site_mark(conn: Connection, website: str) -> SiteMark | None:
    """The website at the last poll; None before the first one."""
    text = watermark(conn, SITES, website)
    return msgspec.json.decode(text, type=SiteMark) if text else None


def set_site_mark(conn: Connection, website: str, mark: SiteMark) -> None:
    """Save the website for the next poll."""
    set_watermark(conn, SITES, website, msgspec.json.encode(mark).decode(), mark.at)


def budget_mark(conn: Connection, budget: str) -> BudgetMark | None:
    """The budget at the last poll; None before the first one."""
    text = watermark(conn, BUDGETS, budget)
    return msgspec.json.decode(text, type=BudgetMark) if text else None


def set_budget_mark(conn: Connection, budget: str, mark: BudgetMark) -> None:
    """Save the budget for the next poll, and for `status`."""
    set_watermark(conn, BUDGETS, budget, msgspec.json.encode(mark).decode(), mark.at)


def waiting_switches(conn: Connection, budget: str) -> list[str]:
    """The keys of the steps that the budget has put into the outbox and that may still wait."""
    marks = (
        msgspec.json.decode(text, type=SiteMark)
        for (source, _website), (text, _at) in all_watermarks(conn).items()
        if source == SITES
    )
    owner = f"{BUDGET}{budget}"
    return [each.key for mark in marks for each in mark.pending if each.owner == owner]


def rename(conn: Connection, old: str, new: str, at: datetime) -> None:
    """Move the state of the budget `old` to `new`; what that one has stays."""
    mark = budget_mark(conn, old)
    if mark is None:
        return
    was, now = f"{BUDGET}{old}", f"{BUDGET}{new}"
    held = tuple(replace(each, owner=now) for each in mark.held)
    there = budget_mark(conn, new) or mark
    periods = {each.period for each in there.running}
    running = (*there.running, *(each for each in mark.running if each.period not in periods))
    moved = replace(there, removed=mark.removed, held=held, running=running)
    set_budget_mark(conn, new, moved)
    forget_watermark(conn, BUDGETS, old)
    for (source, website), (text, _at) in all_watermarks(conn).items():
        site = msgspec.json.decode(text, type=SiteMark) if source == SITES else None
        if site and site.pending:
            pending = (replace(p, owner=now) if p.owner == was else p for p in site.pending)
            set_site_mark(conn, website, replace(site, pending=tuple(pending)))
    rename_budget(conn, was, now, at)


def budget_marks(conn: Connection) -> dict[str, BudgetMark]:
    """Every budget that was polled, by id."""
    return {
        name: msgspec.json.decode(text, type=BudgetMark)
        for (source, name), (text, _at) in sorted(all_watermarks(conn).items())
        if source == BUDGETS
    }


def share_used(
    conn: Connection, budgets: Sequence[Budget], site: Site, today: date
) -> float | Literal["unknown"] | None:
    """The highest percentage that a budget which counts the website has used.

    None if no budget counts it. Unknown from the start of a period, or an edit, until the
    budgets are polled again.
    """
    shares: list[float] = []
    for budget in budgets:
        mark = budget_mark(conn, budget.id)
        counted = mark is not None and any(each.id == site.id for each in mark.websites)
        if not counted and not names_site(budget.websites, site):
            continue
        periods = {period_of(budget, day).name for day in (today, today + timedelta(days=1))}
        if mark is None or not counted or mark.period not in periods:
            return "unknown"
        shares.append(percent(mark.used, budget.recordings))
    return max(shares, default=None)


def period_of(budget: Budget, today: date) -> Period:
    """The budget's present period."""
    return core.period(today, budget.period, budget.starts_on)


def step_of(written: BudgetStep) -> Step:
    """The switches of a step, for `bot.domain.budget`."""
    recording = [each.to for each in written.do if isinstance(each, RecordingSwitch)]
    rates = [each.rate for each in written.do if isinstance(each, RecordingRate)]
    return Step(written.at, recording[0] if recording else None, rates[0] if rates else None)


STATUS = {"stop": "Stopped", "start": "Recording"}
"""The status of a website after a switch."""


def last_by_a_rule(
    switching: Sequence[Switching], switch: Switch, state: WebsiteState
) -> Switching | None:
    """The rule's change that made the switch what it is now; None if it was not a rule."""
    done = [each for each in switching if each.switch == switch and _took_effect(each)]
    if not done or done[-1].owner.startswith(BUDGET):
        return None
    last = done[-1]
    return last if state.shows(switch, STATUS.get(last.to, last.to)) else None


def _took_effect(each: Switching) -> bool:
    return each.ended is not None and has_effect(each.switch, each.to, each.result)


def has_effect(switch: Switch, to: str, result: str | None) -> bool:
    """Whether a step that was performed with this result changed the switch."""
    match switch:
        case "recording":
            return result == CHANGED
        case "recording_rate":
            return result is not None and result != to
        case _:
            assert_never(switch)


@dataclass(slots=True)
class BudgetContext:
    """The websites of one poll, and what is decided about them.

    `before` is each website at the last poll, `marks` what is saved of it now; `switched` is
    what the bot did to its switches in between. `stopped` are the websites that a rule has
    stopped since then. `matches` are the keys of new matches. `counted` is what each budget
    counts, by its id; `gone` are the websites that two lists in a row lack, `paused` those that
    Mouseflow itself had set to a status (such as Paused) and then started. `doubted` are the
    websites whose counts have jumped, `ended` what became of switches that were under way.
    `traffic` are the visitors that each website may expect.
    """

    zone: ZoneInfo
    now: datetime
    today: date
    ops: str | None
    routing: Routing
    budgets: Sequence[Budget]
    counted: Mapping[str, Counted]
    gone: frozenset[str] = frozenset()
    sites: dict[str, Site] = field(default_factory=dict)
    before: dict[str, SiteMark | None] = field(default_factory=dict)
    marks: dict[str, SiteMark] = field(default_factory=dict)
    switched: dict[str, Sequence[Switching]] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    paused: dict[str, str] = field(default_factory=dict)
    doubted: set[str] = field(default_factory=set)
    ended: dict[str, tuple[EndedSwitch, ...]] = field(default_factory=dict)
    states: dict[str, WebsiteState] = field(default_factory=dict)
    owned: dict[tuple[str, Switch], Ownership] = field(default_factory=dict)
    traffic: dict[str, Traffic] = field(default_factory=dict)
    matches: list[str] = field(default_factory=list)

    def busy(self, website: str, switch: Switch) -> bool:
        """Whether such a switch is still under way, by a budget or a rule."""
        begun = any(each.switch == switch and each.ended is None for each in self.switched[website])
        return begun or any(each.switch == switch for each in self.marks[website].pending)

    def changed_by(self, website: str, switch: Switch) -> str:
        """Who made the switch what it is now, if it was not a budget."""
        rule = last_by_a_rule(self.switched[website], switch, self.states[website])
        return f"the rule {rule.owner}" if rule else "somebody"

    def was_set_by_mouseflow(self, website: str) -> str | None:
        """The status that Mouseflow itself had set at the last poll; None for another one."""
        mark = self.before.get(website)
        was = WebsiteState(website, mark.status if mark else None, None)
        return None if was.is_recording or was.is_stopped else was.status

    def name(self, website: str) -> str:
        """The website's name, also where the account's list lacks it."""
        if website in self.sites:
            return self.sites[website].name
        absent = (each for counted in self.counted.values() for each in counted.absent)
        return next((each.name for each in absent if each.id == website), website)

    def owned_of(self, website: str) -> list[Ownership]:
        """What the bot owns of the website."""
        return [each for (site, _switch), each in self.owned.items() if site == website]


@dataclass
class BudgetStatus:
    """One budget in one poll, and the websites that it counts. `done` are its steps so far.

    `sites` are those of `counted` that the account's list has.
    """

    budget: Budget
    context: BudgetContext
    period: Period
    counted: Counted
    used: int
    done: dict[str, datetime]
    mark: BudgetMark | None

    @property
    def owner(self) -> str:
        return owner(self.budget)

    @property
    def sites(self) -> Sequence[Site]:
        return self.counted.sites

    @property
    def percent(self) -> float:
        return percent(self.used, self.budget.recordings)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        return tuple(map(step_of, self.budget.steps))

    def rates(self) -> list[tuple[Traffic, float]]:
        """Each website's traffic with the percentage of it that is recorded now."""
        return [(self.context.traffic[site.id], self._rate(site)) for site in self.sites]

    def _rate(self, site: Site) -> float:
        state = self.context.states.get(site.id)
        if state is None:
            return 100.0
        if not state.is_recording:
            return 0.0
        return 100.0 if state.rate is None else float(state.rate)

    @property
    def within(self) -> tuple[datetime, datetime]:
        """When the period began, and when it is over."""
        return self.period.begins(self.context.zone), self.end

    @property
    def end(self) -> datetime:
        """When the period is over."""
        return self.period.ends(self.context.zone)

    @cached_property
    def ends(self) -> datetime | None:
        """When the budget will be used up at the present rates; None if it lasts."""
        left = self.budget.recordings - self.used
        return forecast.runs_out(self.rates(), left, self.context.now, self.end)

    @cached_property
    def expected(self) -> float:
        """What will be used by the end of the period, at the present rates."""
        return self.used + forecast.coming(self.rates(), self.context.now, self.end)

    @cached_property
    def per_hour(self) -> float:
        """Recordings expected in the next hour."""
        now = self.context.now
        return forecast.coming(self.rates(), now, now + timedelta(hours=1))

    @cached_property
    def posts(self) -> Mapping[str, Notifier]:
        """Where the budget posts, by channel or place."""
        default = self.context.routing.channel
        found: dict[str, Notifier] = {}
        actions = (action for step in self.budget.steps for action in step.do)
        for post in (action for action in actions if isinstance(action, Notifier)):
            channel = post.posts_to(default)
            if channel is not None:
                found.setdefault(channel, post.plain())
        return found

    @property
    def running(self) -> tuple[Membership, ...]:
        """The websites that it counted until now, by period."""
        return self.mark.running if self.mark else ()

    @property
    def stops(self) -> bool:
        """Whether some step stops recording."""
        return any(step.recording == "stop" for step in self.steps)

    @property
    def needs_stop(self) -> bool:
        """Whether this budget calls for a stop that was made."""
        return core.needs_stop(self.steps, self.budget.recordings, self.used)

    def limit(self, website: str, owned: Ownership | None = None) -> int | None:
        """The lowest rate that the steps which acted on the website still call for.

        `owned` is the rate that the bot has set: its step may have another name since an edit.
        """
        recordings = self.budget.recordings
        mine = owned.set_to if owned and owned.owner == self.owner else None
        rates = [
            step.rate
            for step in self.steps
            if step.rate is not None
            and (step.site_name(recordings, website) in self.done or str(step.rate) == mine)
            and core.in_force(step, recordings, self.used)
        ]
        return min(rates, default=None)


def budget_status(conn: Connection, context: BudgetContext, budget: Budget) -> BudgetStatus:
    """The budget in this poll."""
    period = period_of(budget, context.today)
    counted = context.counted[budget.id]
    every = (*counted.ids, *(each.id for each in counted.left))
    ledger = used(conn, every, period.first, period.end)
    left = tuple(
        each if each.kept is not None
        else replace(each, kept=core.total({each.id: ledger.get(each.id, {})}, period))
        for each in counted.left
    )  # fmt: skip
    sums = {website: ledger[website] for website in counted.ids if website in ledger}
    for site in (site.id for site in counted.sites if site.id not in context.traffic):
        context.traffic[site] = learned(conn, site, context.now, context.zone)
    return BudgetStatus(
        budget=budget,
        context=context,
        period=period,
        counted=replace(counted, left=left),
        used=core.total(sums, period) + sum(each.kept or 0 for each in left),
        done=budget_steps_done(
            conn,
            owner(budget),
            period.name,
            (period.begins(context.zone), period.ends(context.zone)),
        ),
        mark=budget_mark(conn, budget.id),
    )


def learned(conn: Connection, website: str, now: datetime, zone: ZoneInfo) -> Traffic:
    """The visitors that the website may expect, learned from its history in the store."""
    since = forecast.full_hour(now) - forecast.LOOK_BACK
    return forecast.traffic(visitors(conn, website, since), now, zone)
