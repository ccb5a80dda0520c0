"""What each page shows, as frozen values: pages and the JSON API render the same ones.

Instants are in UTC. None is unknown or never; a page shows it as "–" or "never". No value holds
personal data: no visitor, address, query string or variable, and no secret.
"""

from datetime import date, datetime
from typing import Literal

from msgspec import Struct

from bot.domain.insight import Clause, Stop
from bot.domain.subjects import Severity
from bot.messages.weekly import Week

State = Literal["ok", "info", "warn", "crit", "off", "wait", "snoozed", "firing"]
"""How bad something is; each has a shape and a word of its own."""


class Problem(Struct, frozen=True, kw_only=True):
    """Something that a person must fix: what, since when, and the remedy.

    `place` is where the first of its rules is written (file:line).
    """

    key: str
    severity: Literal["warning", "critical"]
    title: str
    remedy: str
    since: datetime | None = None
    kept_until: datetime | None = None
    rule_ids: tuple[str, ...] = ()
    place: str = ""
    reason: str = ""
    link: str = ""
    link_text: str = ""
    lane: str = ""


class Frame(Struct, frozen=True, kw_only=True):
    """What every page shows around its content. `needs_hand` counts the problems of the queue."""

    account: str
    time_zone: str
    version: str
    now: datetime
    rules_loaded_at: datetime | None
    problems: int
    needs_hand: int


class Paging(Struct, frozen=True, kw_only=True):
    """Which page of a list this is: `page` of `pages`, from 1 on; `total` rows on all of them."""

    page: int
    pages: int
    total: int


class Firing(Struct, frozen=True, kw_only=True):
    """An alert that fires now."""

    rule_id: str
    summary: str
    severity: Severity
    website: str
    text: str
    since: datetime
    acknowledged_by: str | None = None
    acknowledged_at: datetime | None = None


class Day(Struct, frozen=True, kw_only=True):
    """The last 24 hours. Lags are seconds from the event to the message."""

    matches: int
    matches_before: int
    messages: int
    digests: int
    waiting: int
    lag_median: float | None
    lag_p95: float | None
    requests_per_second: float | None
    limit: float
    throttled: int


class Website(Struct, frozen=True, kw_only=True):
    """A website that some rule or budget watches.

    `without_detail` counts the recordings that wait for their detail.
    """

    id: str
    name: str
    status: str | None
    recording_rate: int | None
    set_by: str
    read_only: bool
    last_poll_at: datetime | None
    newest_recording_at: datetime | None
    per_hour: tuple[int, ...]
    today: int
    requests_per_hour: float | None
    without_detail: int
    error: str


class Match(Struct, frozen=True, kw_only=True):
    """A match, and what became of it. `lag` is seconds from the event to the message.

    `rating` is what somebody in Slack called its message; null for nothing. `severity` is null
    where the rule is gone.

    `stands_for` is how many matches a count or digest summarises, 0 for a match of one.
    """

    key: str
    rule_id: str
    summary: str
    severity: Severity | None
    at: datetime
    website: str
    recording_id: str | None
    why: str
    state: State
    outcome: str
    outcome_at: datetime | None = None
    lag: float | None = None
    stands_for: int = 0
    rating: Literal["not useful"] | None = None


class BudgetStep(Struct, frozen=True, kw_only=True):
    """A step of a budget: at this share of it, in percent."""

    share: float
    does: str
    passed_at: datetime | None
    expected_on: date | None


class BudgetSite(Struct, frozen=True, kw_only=True):
    """A website of a budget, who set its recording and since when; `before` is its rate before."""

    id: str
    website: str
    status: str | None
    rate: int | None
    by: str
    since: datetime | None
    before: int | None
    read_only: bool
    left_alone: datetime | None


class Budget(Struct, frozen=True, kw_only=True):
    """A budget in its present period. `ends_on` is its last day.

    `pace` is recordings a day at present, `even_pace` what the rest of the budget allows. In four
    of five cases it runs out between `runs_out_from` and `runs_out_to`; null: not in this period.
    """

    id: str
    summary: str
    starts_on: date
    ends_on: date
    used: int
    total: int
    share: float
    expected: float
    per_day: dict[date, int]
    pace: float | None
    even_pace: float | None
    runs_out_on: datetime | None
    runs_out_from: datetime | None
    runs_out_to: datetime | None
    checked_at: datetime
    steps: tuple[BudgetStep, ...]
    websites: tuple[BudgetSite, ...]


class Bot(Struct, frozen=True, kw_only=True):
    """One of the bots that share a store. `other_rules`: not those of the one that leads."""

    host: str
    process: int
    version: str
    started_at: datetime
    leads: bool
    other_rules: bool
    websites: tuple[str, ...]
    queues: int


class Overview(Struct, frozen=True, kw_only=True):
    """The overview. `started_at` is when the bot started; `bots` are empty if it shares nothing.

    `websites` are a page of all: those that can't be polled first, then the busiest today.
    `polled` of all have no failing poll. `waiting_sessions` are not over yet, and `early_rules`
    match without waiting for that.
    """

    frame: Frame
    problems: tuple[Problem, ...]
    firing: tuple[Firing, ...]
    day: Day
    websites: tuple[Website, ...]
    paging: Paging
    budgets: tuple[Budget, ...]
    matches: tuple[Match, ...]
    rules: int
    channels: int
    channels_failing: int
    last_poll_at: datetime | None
    started_at: datetime
    recordings_seen: int
    polled: int
    waiting_sessions: int
    next_settled_at: datetime | None
    early_rules: tuple[str, ...]
    bots: tuple[Bot, ...]


class Useful(Struct, frozen=True, kw_only=True):
    """How many of a rule's messages nobody has called not useful, of how many."""

    useful: int
    of: int


class Snooze(Struct, frozen=True, kw_only=True):
    """Until when a rule is snoozed, by whom and why; these are empty if nobody said."""

    until: datetime
    by: str
    because: str


class RuleRow(Struct, frozen=True, kw_only=True):
    """A rule in the list. `requests_per_hour`: requests that it had a part in.
    `useful` is None if nobody has called a message of it not useful.

    `states` are all that hold; `state` is the worst of them, `state_reason` why. `per_day` ends
    with today. `waiting_sessions` are those that the rule judges when they are over.
    """

    id: str
    summary: str
    severity: Severity
    watch: str
    websites: tuple[str, ...]
    state: State
    state_text: str
    states: tuple[Literal["firing", "problem", "snoozed", "paused", "silent", "disabled"], ...]
    state_until: datetime | None
    state_reason: str
    per_day: tuple[int, ...]
    last_24h: int
    last_match_at: datetime | None
    requests_per_hour: float
    waiting_sessions: int
    next_settled_at: datetime | None
    useful: Useful | None = None
    snooze: Snooze | None = None


class PlannedReport(Struct, frozen=True, kw_only=True):
    """A weekly report of the rule files. `websites` is empty for all."""

    id: str
    summary: str
    place: str
    websites: tuple[str, ...]
    next_at: datetime
    file: str
    line: int


class Rules(Struct, frozen=True, kw_only=True):
    """A page of the rules in a state, problems first; `total` and `counts` are of all rules.

    `waiting_sessions` are not over yet. `reports` are the weekly ones.
    """

    frame: Frame
    total: int
    rules: tuple[RuleRow, ...]
    paging: Paging
    counts: dict[str, int]
    waiting_sessions: int
    next_settled_at: datetime | None
    file_errors: tuple[str, ...]
    reports: tuple[PlannedReport, ...] = ()


class Part(Struct, frozen=True, kw_only=True):
    """A part of a condition: what is asked, and what it costs or when it is known."""

    text: str
    cost: str = ""
    parts: tuple["Part", ...] = ()


class RuleAction(Struct, frozen=True, kw_only=True):
    """An action of a rule in words."""

    action: str
    text: str


class Limit(Struct, frozen=True, kw_only=True):
    """How many messages of a rule a place got since its limit began to count, of how many."""

    place: str
    used: int
    at_most: int
    within: float


class TooFew(Struct, frozen=True, kw_only=True):
    """What a rule about too few sessions counted on a website `within` so many seconds.

    It fires at `at_most` or fewer. `sessions` and `counted_at` are null before the first count.
    It can't fire before `known_from`: until then some sessions were not counted.
    """

    website: str
    sessions: int | None
    at_most: int
    within: float
    counted_at: datetime | None
    known_from: datetime | None
    firing_since: datetime | None


class Rule(Struct, frozen=True, kw_only=True):
    """One rule. `usual` is the median of the same weekday over four weeks."""

    frame: Frame
    row: RuleRow
    runbook: str
    owner: str
    file: str
    line: int
    per_day: dict[date, int]
    usual: float | None
    condition: Part
    excepts: Part | None
    actions: tuple[RuleAction, ...]
    more: tuple[RuleAction, ...]
    waits: bool
    digest_at: datetime | None
    digest_count: int
    safety_used: int | None
    safety_limit: str
    edited_at: tuple[datetime, ...]
    limits: tuple[Limit, ...]
    too_few: tuple[TooFew, ...]
    matches: tuple[Match, ...]
    matches_kept: int


class WeeklyReport(Struct, frozen=True, kw_only=True):
    """A weekly report. `website` is its name or how many there are, `week` null where another
    version wrote it.
    """

    key: str
    report: str
    website: str
    at: datetime
    state: State
    outcome: str
    headline: str
    lines: tuple[str, ...]
    week: Week | None


class Reports(Struct, frozen=True, kw_only=True):
    """When weekly reports are due, and the latest ones, the newest first."""

    frame: Frame
    planned: tuple[PlannedReport, ...]
    reports: tuple[WeeklyReport, ...]


class Budgets(Struct, frozen=True, kw_only=True):
    """All budgets."""

    frame: Frame
    budgets: tuple[Budget, ...]


class Entry(Struct, frozen=True, kw_only=True):
    """A line of the audit log in words. `severity` is that of the rule of a match."""

    seq: int
    at: datetime
    kind: str
    state: State | Literal["person", "message", "bot"]
    subject: str
    text: str
    reason: str
    rule_id: str
    website: str
    recording_id: str | None
    severity: Severity | None = None


class Activity(Struct, frozen=True, kw_only=True):
    """A page of the audit log, newest first. `older` is the number to ask with as `before`."""

    frame: Frame
    entries: tuple[Entry, ...]
    older: int | None
    keep_days: int
    rules: tuple[str, ...]
    websites: tuple[str, ...]


class Held(Struct, frozen=True, kw_only=True):
    """Messages that wait for their time on purpose: why, how many, until when."""

    reason: str
    count: int
    until: datetime


class Lane(Struct, frozen=True, kw_only=True):
    """A queue: one for each place. A failing one never holds up another.

    `held` are those of the waiting ones that are not to go out yet.
    """

    id: str
    place: str
    state: State
    state_text: str
    error: str
    waiting: int
    oldest_at: datetime | None
    next_attempt_at: datetime | None
    held: tuple[Held, ...]
    sent_24h: int


class DeadItem(Struct, frozen=True, kw_only=True):
    """An action that failed for good. `text` is the tag that it would set or remove."""

    number: int
    action: str
    text: str
    recording_id: str | None
    given_up_at: datetime
    attempts: int


class DeadGroup(Struct, frozen=True, kw_only=True):
    """Actions of one kind that failed for good, for one rule and cause."""

    group: str
    rule_id: str
    action: str
    cause: str
    remedy: str
    count: int
    first_at: datetime
    items: tuple[DeadItem, ...]


class Queue(Struct, frozen=True, kw_only=True):
    """What waits, and what failed for good. `held` of the waiting ones wait for their time.

    `lanes` are a page of them: those that need a hand first, then the longest. Of very many causes
    only the first are listed.
    """

    frame: Frame
    problems: tuple[Problem, ...]
    waiting: int
    held: int
    running: int
    lanes: tuple[Lane, ...]
    paging: Paging
    dead: int
    groups_total: int
    groups: tuple[DeadGroup, ...]


class MatchAction(Struct, frozen=True, kw_only=True):
    """An action of a match, and what became of it."""

    action: str
    state: State
    text: str
    at: datetime | None


class RuleOfRecording(Struct, frozen=True, kw_only=True):
    """What a rule made of a recording. `when` and `excepts` are null where they are not kept."""

    rule_id: str
    summary: str
    outcome: Literal["matched", "held back", "not stored"]
    at: datetime
    why: tuple[str, ...]
    actions: tuple[MatchAction, ...]
    reason: str
    when: Clause | None
    excepts: Clause | None


class NearRule(Struct, frozen=True, kw_only=True):
    """A rule that did not match a recording when another one did, `at`.

    `holds` of the `of` parts of its condition were true. `waits`: it could still match then.
    """

    rule_id: str
    summary: str
    at: datetime
    waits: bool
    holds: int
    of: int
    when: Clause
    excepts: Clause | None


class Recording(Struct, frozen=True, kw_only=True):
    """A recording as the store knows it. `final_at` is when its session is over.

    `path` are the pages that the newest match has kept, `pages` how many there were, `facts` a
    few values of the session, `near` the rules that came closest to matching, too. `others` are
    the remaining ones.
    """

    frame: Frame
    id: str
    website_id: str
    website: str
    url: str
    started_at: datetime | None
    last_activity_at: datetime | None
    final: bool
    final_at: datetime | None
    rules: tuple[RuleOfRecording, ...]
    near: tuple[NearRule, ...]
    others: int
    path: tuple[Stop, ...]
    pages: int
    facts: dict[str, str]


class MatchPage(Struct, frozen=True, kw_only=True):
    """One match, or the matches that a count or digest stands for, the newest first.

    `since` and `until` are when the first and the last of them happened; null for a match of one.
    `older` is the number to ask with as `before`.
    """

    frame: Frame
    match: Match
    summary: str
    actions: tuple[MatchAction, ...]
    why: tuple[str, ...]
    when: Clause | None
    excepts: Clause | None
    path: tuple[Stop, ...]
    pages: int
    since: datetime | None
    until: datetime | None
    members: tuple[Match, ...]
    older: int | None
