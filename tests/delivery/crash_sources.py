"""What puts steps into the outbox in the crash tests: recordings, an alert, a budget, a replay."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from bot.actions import ACTIONS
from bot.budgets.poll import BudgetMemory, poll_budgets
from bot.domain.subjects import (
    CampaignSubject,
    RecordingSubject,
    Site,
    Subject,
    WebsiteSubject,
    written,
)
from bot.polling.candidates import CountingClient
from bot.polling.context import PollContext
from bot.polling.record_matches import Routing
from bot.replay.evaluate_days import History
from bot.replay.run import Folder, Progress, replay
from bot.replay.select import Span
from bot.rules.files.load import read
from bot.rules.model import RuleSet
from bot.store import Store
from bot.store.cancel import cancel
from bot.store.matches import NewMatch, NewStep, PollOutcome, commit_poll
from mouseflow.client import AsyncMouseflow
from mouseflow.models import Recording

Job = dict[str, Any]
Checkpoint = Callable[[str], None]
Source = Callable[[Job, Store, AsyncMouseflow, datetime, Checkpoint], Awaitable[None]]
ZONE = ZoneInfo("UTC")


class Dying:
    """The store of a poll: can die inside its first transaction that writes something."""

    def __init__(self, store: Store, checkpoint: Checkpoint) -> None:
        self._store, self._checkpoint = store, checkpoint
        self.wrote = False

    async def run(self, work):
        def whole(conn):
            raw = conn.connection.driver_connection
            before = raw.total_changes
            done = work(conn)
            if raw.total_changes > before:
                self.wrote = True
                self._checkpoint("poll.inside")
            return done

        return await self._store.run(whole)

    async def read(self, work):
        return await self._store.read(work)


async def matches(job: Job, store: Store, mouseflow: AsyncMouseflow, now, checkpoint) -> None:
    """The same subjects match at every poll, as overlapping polls see them again."""
    outcome = PollOutcome(
        source="recordings",
        website=job["website"],
        at=now,
        watermark="{}",
        matches=[match(job, subject, now) for subject in subjects(job)],
    )
    await Dying(store, checkpoint).run(lambda conn: commit_poll(conn, outcome))


async def alert(job: Job, store: Store, mouseflow: AsyncMouseflow, now, checkpoint) -> None:
    """An alert has fired, with the first action, and is resolved, with the other."""
    [subject], began = subjects(job), now - timedelta(hours=1)
    fired = match(job | {"actions": job["actions"][:1]}, subject, began)
    over = match(job | {"actions": job["actions"][1:], "rule": "rule/over"}, subject, now)
    over = msgspec.structs.replace(over, rule=fired.rule, continues=began)
    outcome = PollOutcome(
        source="reports", website=job["website"], at=now, matches=[fired, over], watermark="{}"
    )
    await Dying(store, checkpoint).run(lambda conn: commit_poll(conn, outcome))


async def budget(job: Job, store: Store, mouseflow: AsyncMouseflow, now, checkpoint) -> None:
    """A look at a budget that is used up."""
    context = PollContext(
        mouseflow=mouseflow,
        store=Dying(store, checkpoint),
        zone=ZONE,
        settle=timedelta(minutes=35),
        start=timedelta(),
        routing=Routing("", ZONE.key),
    )
    of = f"websites: ['{job['website']}'], recordings: 1, period: month"
    rules = ruleset(
        "rules: {unused: {watch: websites, when: {status: Paused}, do: {slack: {}}}}\n"
        f"budgets: {{credits: {{{of}, steps: {{100%: {job['budget']}}}}}}}"
    )
    site = Site(job["website"], job["website"])
    await poll_budgets(rules.budgets, [site], context, BudgetMemory(), now, None)


async def replayed(job: Job, store: Store, mouseflow: AsyncMouseflow, now, checkpoint) -> None:
    """`replay --apply` over two days, gone on with where an earlier one was cut off."""
    rules = ruleset(
        "rules: {past: {watch: recordings, when: {pages: {min: 1}},"
        f" do: {{tag: seen, slack: {{channel: '{job['channel']}'}}}}}}}}"
    )
    folder = Folder(Path(job["store"].removeprefix("sqlite:///")))
    progress = folder.load()
    if progress is None:
        folder.begin()
        progress = Progress(
            since=now - timedelta(days=2), until=now, apply=True, rules=("past",),
            websites=(job["website"],), digest=rules.digest, now=now,
        )  # fmt: skip
    dying = Dying(store, checkpoint)
    history = History(
        mouseflow=CountingClient(mouseflow), store=dying, zone=ZONE,
        settle=timedelta(minutes=1), span=Span(progress.since, progress.until), now=progress.now,
    )  # fmt: skip

    def keep(progress: Progress) -> None:
        if dying.wrote:
            checkpoint("slice.before")
        folder.save(progress)
        if dying.wrote:
            checkpoint("slice.after")

    site = Site(job["website"], job["website"])
    await replay(
        history, history.mouseflow, [site], rules.rules, rules.rules,
        Routing("", ZONE.key), progress, keep=keep, tell=lambda _read, _expected: None,
    )  # fmt: skip


async def cancelled(job: Job, store: Store, mouseflow: AsyncMouseflow, now, checkpoint) -> None:
    """What matched waits, and the command `cancel` takes it back."""
    await matches(job, store, mouseflow, now, lambda _: None)

    def work(conn):
        cancel(conn, now, rules=[job["rule"]])
        checkpoint("cancel.inside")

    checkpoint("cancel.before")
    await store.run(work)
    checkpoint("cancel.after")


SOURCES: dict[str, Source] = {
    "matches": matches,
    "alert": alert,
    "budget": budget,
    "replay": replayed,
    "cancel": cancelled,
}


def ruleset(text: str) -> RuleSet:
    return read([("rules.yaml", f"version: 1\n{text}\n".encode())])


def subjects(job: Job) -> Sequence[Subject]:
    site = Site(job["website"], job["website"])
    if job["about"] == "website":
        return [WebsiteSubject(website=site, status=job["status"], recording_rate=100)]
    if job["about"] == "campaign":
        return [CampaignSubject(website=site, id=campaign) for campaign in job["recordings"]]
    return [
        RecordingSubject(website=site, recording=Recording(id=recording))
        for recording in job["recordings"]
    ]


def match(job: Job, subject: Subject, now: datetime) -> NewMatch:
    key = f"{job['rule']}/{subject.website.id}/{subject.key}"
    actions = [msgspec.convert(params, ACTIONS[kind]) for kind, params in job["actions"]]
    posts = [f"{key}/slack-{n}" for n, action in enumerate(actions, 1) if action.kind == "slack"]
    edited = hashlib.sha256("".join(posts[:1]).encode()).hexdigest()[:32]
    steps = [
        NewStep(
            key=f"{key}/{action.kind}-{n}",
            rank=action.rank,
            lane=action.lane(subject, ""),
            kind=action.kind,
            params=(
                replace(action, post=edited) if action.kind in ("edit", "answer") else action
            ).stored(),
            due=now,
        )
        for n, action in enumerate(actions, 1)
    ]
    return NewMatch(
        rule=job["rule"],
        kind=subject.kind,
        website=subject.website.id,
        subject_key=subject.key,
        match_key=key,
        subject=written(subject),
        matched=now,
        steps=steps,
        why=("because",),
        summary=job["rule"],
    )


def clock_ahead(seconds: float) -> Callable[[], datetime]:
    """The world's clock, which is ahead of ours by so much."""
    return lambda: datetime.now(UTC) + timedelta(seconds=seconds)
