"""What one poll of the budgets works on: the websites, and each budget with what it has used.

First what is kept between polls (marks), then what one poll knows (BudgetContext), then one
budget within it (BudgetStatus).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import cached_property
from typing import assert_never
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from bot.actions.notifier import Notifier
from bot.actions.recording import CHANGED, RecordingSwitch
from bot.actions.recording_rate import RecordingRate
from bot.budgets.texts import owner, percent
from bot.domain import budget as core
from bot.domain import forecast
from bot.domain.budget import BUDGET, Ownership, Period, Step, Switch, WebsiteState
from bot.domain.forecast import Traffic
from bot.domain.subjects import Site
from bot.polling.record_matches import Routing
from bot.rules.model import Budget, BudgetStep
from bot.store import Connection
from bot.store.budgets import Switching, budget_steps_done, used, visitors
from bot.store.recordings import all_watermarks, set_watermark, watermark

SITES, BUDGETS = "budget-websites", "budgets"
"""The sources' names in the table of watermarks."""


class Pending(Struct, frozen=True):
    """A switch that waits in the outbox: the step's key, what it sets, for whom and why.

    `undo`: it undoes what the owner did.
    """

    key: str
    switch: Switch
    to: str
    owner: str
    reason: str
    undo: bool = False


class SiteMark(Struct, frozen=True, omit_defaults=True):
    """A website at the last poll. `former` is its rate before the last change."""

    at: datetime
    status: str | None = None
    rate: int | None = None
    former: int | None = None
    changed: datetime | None = None
    pending: tuple[Pending, ...] = ()


class SiteLine(Struct, frozen=True):
    """A website of a budget as `status` shows it; `owner` set its present state."""

    id: str
    name: str
    status: str | None
    rate: int | None
    owner: str
    read_only: bool


class StepLine(Struct, frozen=True):
    """A step of a budget: its share, what it does, and when it acted in this period."""

    at: float
    does: str
    acted: datetime | None


class BudgetMark(Struct, frozen=True, omit_defaults=True):
    """A budget at the last poll. `ends` is when it will be used up, None if it lasts.

    `expected` is what will be used by the end of the period, at the present rates.
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


def budget_marks(conn: Connection) -> dict[str, BudgetMark]:
    """Every budget that was polled, by id."""
    return {
        name: msgspec.json.decode(text, type=BudgetMark)
        for (source, name), (text, _at) in sorted(all_watermarks(conn).items())
        if source == BUDGETS
    }


def covered(budget: Budget, sites: Sequence[Site]) -> tuple[Site, ...]:
    """The websites that the budget counts, by name, id or glob."""
    return tuple(
        site
        for site in sites
        if any(
            fnmatchcase(name.casefold(), wanted.casefold())
            for wanted in budget.websites
            for name in (site.name, site.id)
        )
    )


def period_of(budget: Budget, now: datetime, zone: ZoneInfo) -> Period:
    """The budget's present period."""
    return core.period(now.astimezone(zone).date(), budget.period, budget.starts_on)


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
    if each.ended is None:
        return False
    match each.switch:
        case "recording":
            return each.result == CHANGED
        case "recording_rate":
            return each.result != each.to
        case _:
            assert_never(each.switch)


@dataclass(slots=True)
class BudgetContext:
    """The websites of one poll, and what is decided about them.

    `before` is each website at the last poll, `marks` what is saved of it now; `switched` is
    what the bot did to its switches in between. `stopped` are the websites that a rule has
    stopped since then. `matches` are the keys of new matches, `used` the highest percentage
    of any budget by website.
    """

    zone: ZoneInfo
    now: datetime
    ops: str | None
    routing: Routing
    budgets: Sequence[Budget]
    sites: dict[str, Site] = field(default_factory=dict)
    before: dict[str, SiteMark | None] = field(default_factory=dict)
    marks: dict[str, SiteMark] = field(default_factory=dict)
    switched: dict[str, Sequence[Switching]] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    states: dict[str, WebsiteState] = field(default_factory=dict)
    owned: dict[tuple[str, Switch], Ownership] = field(default_factory=dict)
    matches: list[str] = field(default_factory=list)
    used: dict[str, float] = field(default_factory=dict)

    def busy(self, website: str, switch: Switch) -> bool:
        """Whether such a switch is still under way, by a budget or a rule."""
        begun = any(each.switch == switch and each.ended is None for each in self.switched[website])
        return begun or any(each.switch == switch for each in self.marks[website].pending)

    def changed_by(self, website: str, switch: Switch) -> str:
        """Who made the switch what it is now, if it was not a budget."""
        rule = last_by_a_rule(self.switched[website], switch, self.states[website])
        return f"the rule {rule.owner}" if rule else "somebody"

    def owned_of(self, website: str) -> list[Ownership]:
        """What the bot owns of the website."""
        return [each for (site, _switch), each in self.owned.items() if site == website]


@dataclass
class BudgetStatus:
    """One budget in one poll, and the websites that it counts. `done` are its steps so far."""

    budget: Budget
    context: BudgetContext
    period: Period
    sites: Sequence[Site]
    used: int
    done: dict[str, datetime]
    mark: BudgetMark | None
    histories: dict[str, dict[datetime, float]]

    @property
    def owner(self) -> str:
        return owner(self.budget)

    @property
    def percent(self) -> float:
        return percent(self.used, self.budget.recordings)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        return tuple(map(step_of, self.budget.steps))

    @cached_property
    def traffic(self) -> dict[str, Traffic]:
        """The expected visitors of each website."""
        context = self.context
        return {
            site: forecast.traffic(history, context.now, context.zone)
            for site, history in self.histories.items()
        }

    def rates(self) -> list[tuple[Traffic, float]]:
        """Each website's traffic with the percentage of it that is recorded now."""
        return [(self.traffic[site.id], self._rate(site)) for site in self.sites]

    def _rate(self, site: Site) -> float:
        state = self.context.states.get(site.id)
        if state is None:
            return 100.0
        if not state.is_recording:
            return 0.0
        return 100.0 if state.rate is None else float(state.rate)

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
        """Where the budget posts, by channel."""
        default = self.context.routing.channel
        found: dict[str, Notifier] = {}
        actions = (action for step in self.budget.steps for action in step.do)
        for post in (action for action in actions if isinstance(action, Notifier)):
            channel = post.posts_to(default)
            if channel is not None:
                found.setdefault(channel, post.plain())
        return found

    @property
    def stops(self) -> bool:
        """Whether some step stops recording."""
        return any(step.recording == "stop" for step in self.steps)

    def needs(self, owned: Ownership) -> bool:
        """Whether this budget still calls for what the bot has set."""
        paced = self.budget.pace is not None
        return core.still_needed(owned, self.steps, self.budget.recordings, self.used, paced)


def budget_status(conn: Connection, context: BudgetContext, budget: Budget) -> BudgetStatus:
    """The budget in this poll."""
    period = period_of(budget, context.now, context.zone)
    sites = covered(budget, list(context.sites.values()))
    ids = [site.id for site in sites]
    since = context.now - forecast.LOOK_BACK
    return BudgetStatus(
        budget=budget,
        context=context,
        period=period,
        sites=sites,
        used=core.total(used(conn, ids, period.first, period.end), period),
        done=budget_steps_done(conn, owner(budget), period.name),
        mark=budget_mark(conn, budget.id),
        histories={site: visitors(conn, site, since) for site in ids},
    )
