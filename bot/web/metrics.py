"""Figures for Prometheus: counted in this process since its start, or read from the store now.

Labels hold only what the configuration and the API document name: rules, websites, routes. Their
number is bounded by both.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from bot.actions import ACTIONS
from bot.actions import slack as slack_actions
from bot.budgets.state import SITES, SiteMark, budget_marks
from bot.config.settings import PollSection
from bot.messages.text import told_apart
from bot.polling.watermark import without_detail
from bot.store import Connection
from bot.store.audit import history
from bot.store.dead_letters import QueueFigures, queue_figures
from bot.store.presses import Precision, precision
from bot.store.recordings import all_watermarks, website_names
from bot.store.rules import rejected_rules
from bot.web.meter import BUCKETS, Meter
from bot.web.tail import OUTCOMES, Tail
from mouseflow import __version__

M = TypeVar("M", bound=Metric)

PREFIX = "mouseflow_bot_"

SLACK = frozenset(
    kind
    for kind, action in ACTIONS.items()
    if action.__module__ == slack_actions.__name__ and kind not in slack_actions.EDITS
)
"""The actions that post to Slack; an edit posts nothing."""

KINDS = ("recordings", "feedback", "reports", "budgets")
"""The kinds of polls."""


def intervals_of(poll: PollSection) -> Mapping[str, timedelta]:
    """How often polls of each kind are configured."""
    return {kind: getattr(poll, "reports" if kind == "budgets" else kind) for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store says now. `names` are those of websites by id, `budgets` are shares used,
    `recording` says of each website by name whether it records; one whose status nobody asks for
    is left out. `without_detail` counts the recordings of each website that wait for their
    detail."""

    now: datetime
    queue: QueueFigures
    names: Mapping[str, str] = field(default_factory=dict)
    budgets: Mapping[str, float] = field(default_factory=dict)
    recording: Mapping[str, bool] = field(default_factory=dict)
    without_detail: Mapping[str, int] = field(default_factory=dict)
    useful: Mapping[str, Precision] = field(default_factory=dict)
    rules_well: bool = True
    rules_loaded: datetime | None = None


def read_stored(conn: Connection, now: datetime) -> Stored:
    """Read it."""
    names = told_apart(website_names(conn))
    marks = {
        names.get(website, website): msgspec.json.decode(text, type=SiteMark)
        for (source, website), (text, _at) in all_watermarks(conn).items()
        if source == SITES
    }
    loaded = history(conn, kind="rules.loaded", limit=1)
    return Stored(
        now=now,
        queue=queue_figures(conn, now),
        names=names,
        budgets={
            name: mark.used / mark.recordings
            for name, mark in budget_marks(conn).items()
            if not mark.removed and mark.recordings
        },
        recording={name: mark.status == "Recording" for name, mark in marks.items() if mark.status},
        without_detail={names[website]: n for website, n in without_detail(conn).items()},
        useful=precision(conn),
        rules_well=rejected_rules(conn) is None,
        rules_loaded=loaded[0].at if loaded else None,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Metrics(Collector):
    """All figures at one moment."""

    meter: Meter
    tail: Tail
    stored: Stored
    rules: Iterable[str]
    recordings_seen: int
    intervals: Mapping[str, timedelta]

    def collect(self) -> Iterator[Metric]:
        """Every metric, with a zero for each label that can come."""
        build = InfoMetricFamily(f"{PREFIX}build", "The version that runs.")
        build.add_metric([], {"version": __version__})
        yield build
        yield from self._polls()
        yield from self._requests()
        yield _counter("recordings_seen", "New recordings in the lists.", self.recordings_seen)
        matches = _family(CounterMetricFamily, "rule_matches", "Matches of a rule.", "rule")
        for rule in sorted(self.rules):
            matches.add_metric([rule], self.tail.matches[rule])
        yield matches
        yield from self._actions()
        yield from self._stored()

    def _polls(self) -> Iterator[Metric]:
        runs = _family(CounterMetricFamily, "poll_runs", "Polls.", "kind", "outcome")
        took = _family(SummaryMetricFamily, "poll_duration_seconds", "How long polls took.", "kind")
        last = _family(
            GaugeMetricFamily,
            "poll_last_success_timestamp_seconds",
            "When this poll went well last; if it did not yet, since when the bot makes it.",
            "kind", "website",
        )  # fmt: skip
        every = _family(GaugeMetricFamily, "poll_interval_seconds", "Time between polls.", "kind")
        for kind in KINDS:
            counts = {well: self.meter.polls[kind, well] for well in (True, False)}
            runs.add_metric([kind, "success"], counts[True])
            runs.add_metric([kind, "failure"], counts[False])
            took.add_metric([kind], sum(counts.values()), self.meter.poll_seconds.get(kind, 0.0))
            every.add_metric([kind], self.intervals[kind].total_seconds())
        for (kind, website), at in sorted(self.meter.last_success.items()):
            last.add_metric([kind, self.stored.names.get(website, website)], at)
        yield from (runs, took, last, every)

    def _requests(self) -> Iterator[Metric]:
        meter = self.meter
        sent = _family(
            CounterMetricFamily, "api_requests", "Requests to Mouseflow, each attempt.",
            "method", "route", "status",
        )  # fmt: skip
        for labels, count in sorted(meter.requests.items()):
            sent.add_metric(list(labels), count)
        took = _family(
            HistogramMetricFamily,
            "api_request_duration_seconds",
            "From sending to the end of the answer.",
            "route",
        )
        for route, counts in sorted(meter.durations.items()):
            buckets, total = list[tuple[str, float]](), 0
            for top, count in zip(BUCKETS, counts, strict=True):
                total += count
                buckets.append(("+Inf" if top == BUCKETS[-1] else str(top), total))
            took.add_metric([route], buckets, meter.seconds[route])
        again = _family(CounterMetricFamily, "api_retries", "Repeated attempts.", "reason")
        for reason in sorted({"TooManyRequests", "Unreachable", *meter.retries}):
            again.add_metric([reason], meter.retries[reason])
        yield from (sent, took, again)

    def _actions(self) -> Iterator[Metric]:
        done = _family(
            CounterMetricFamily, "actions", "What became of attempts.", "action", "outcome"
        )
        posts = _family(CounterMetricFamily, "slack_posts", "The same for Slack.", "outcome")
        outcomes = sorted(OUTCOMES.values())
        for action in sorted(ACTIONS):
            for outcome in outcomes:
                done.add_metric([action, outcome], self.tail.actions[action, outcome])
        for outcome in outcomes:
            count = sum(self.tail.actions[action, outcome] for action in SLACK)
            posts.add_metric([outcome], count)
        yield from (done, posts)

    def _stored(self) -> Iterator[Metric]:
        stored, queue = self.stored, self.stored.queue
        oldest = (stored.now - queue.oldest).total_seconds() if queue.oldest else 0.0
        yield _gauge("outbox_pending", "Actions that wait.", queue.pending + queue.sending)
        yield _gauge("outbox_oldest_age_seconds", "How late the oldest due action is.", oldest)
        yield _gauge("dead_letters", "Actions that failed for good.", queue.dead)
        used = _family(GaugeMetricFamily, "budget_used_ratio", "Used share, 1 is all.", "budget")
        for budget, share in sorted(stored.budgets.items()):
            used.add_metric([budget], share)
        yield used
        records = _family(
            GaugeMetricFamily, "recording_enabled", "Whether the website records.", "website"
        )
        for website, on in sorted(stored.recording.items()):
            records.add_metric([website], int(on))
        yield records
        waits = _family(
            GaugeMetricFamily,
            "recordings_without_detail",
            "Recordings that wait for their detail.",
            "website",
        )
        for website, count in sorted(stored.without_detail.items()):
            waits.add_metric([website], count)
        yield waits
        useful = _family(
            GaugeMetricFamily,
            "rule_useful_ratio",
            "Share of a rule's messages that nobody has called not useful, 1 is all.",
            "rule",
        )
        for rule in sorted(self.rules):
            if told := stored.useful.get(rule):
                useful.add_metric([rule], told.useful / told.of)
        yield useful
        well = int(stored.rules_well)
        yield _gauge("config_last_reload_successful", "1 if the rule files have no error.", well)
        if stored.rules_loaded:
            at = stored.rules_loaded.timestamp()
            about = "When rules were loaded last."
            yield _gauge("config_last_reload_timestamp_seconds", about, at)


def _family(kind: type[M], name: str, about: str, *labels: str) -> M:
    made: M = kind(f"{PREFIX}{name}", about, labels=labels)  # type: ignore[call-arg]
    return made


def _counter(name: str, about: str, value: float) -> Metric:
    return CounterMetricFamily(f"{PREFIX}{name}", about, value=value)


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}{name}", about, value=value)


@dataclass(frozen=True, slots=True, eq=False)
class OfAccounts(Collector):
    """The figures of several accounts, each with its account; None where an account has none."""

    accounts: Mapping[str, Metrics | None]

    def collect(self) -> Iterator[Metric]:
        """Each metric once, with the samples of all accounts."""
        about = "1 if the account runs and its store can be read."
        up = _family(GaugeMetricFamily, "account_up", about, "account")
        for name, figures in self.accounts.items():
            up.add_metric([name], int(figures is not None))
        yield up
        merged: dict[str, Metric] = {}
        for name, figures in self.accounts.items():
            for metric in figures.collect() if figures is not None else ():
                whole = merged.setdefault(
                    metric.name, Metric(metric.name, metric.documentation, metric.type)
                )
                whole.samples += (
                    sample._replace(labels={"account": name, **sample.labels})
                    for sample in metric.samples
                )
        yield from merged.values()


async def exposition(metrics: Collector, accept: str) -> tuple[bytes, str]:
    """The metrics in the format that the client asks for, and its content type.

    Written in a thread: ten thousand lines take a third of a second.
    """
    registry = CollectorRegistry()
    registry.register(metrics)
    encode, content_type = choose_encoder(accept)
    return await asyncio.to_thread(encode, registry), content_type
