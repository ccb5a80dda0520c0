"""A bot that dies where it is told: run as a program, it forks one process for each job.

Jobs come as one JSON list a line, what became of them goes out the same way: the signal that
killed each, or 0. Forking from a process that has everything imported makes a death cheap.
"""

import asyncio
import json
import os
import signal
import sys
import traceback
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from pydantic import SecretStr

from bot.actions import ACTIONS
from bot.deliver import Delivery
from bot.mouseflow.client import AsyncMouseflow
from bot.mouseflow.models import Recording
from bot.ports import Addresses, Ports
from bot.slack.poster import SlackPoster
from bot.store import open_store
from bot.store.matches import NewMatch, NewStep, PollOutcome, commit_poll
from bot.subjects import RecordingSubject, Site, written
from bot.webhook import WebhookCaller

AT_ONCE = 4


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    for line in sys.stdin:
        print(json.dumps(ended(json.loads(line))), flush=True)


def ended(jobs: list[dict[str, Any]]) -> list[int]:
    """Run the jobs, a few at a time; what killed each."""
    killed: dict[int, int] = {}
    running: dict[int, int] = {}
    waiting = list(enumerate(jobs))
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            number, job = waiting.pop(0)
            running[forked(job)] = number
        pid, status = os.wait()
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            raise SystemExit(f"job {jobs[running[pid]]} failed")
        killed[running.pop(pid)] = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return [killed[number] for number in range(len(jobs))]


def forked(job: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        asyncio.run(bot(job))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


async def bot(job: dict[str, Any]) -> None:
    """Polls once and delivers what is due, until it dies at `kill_at` or is through."""

    def clock() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=job["ahead"])

    passes = job.get("passes", 0)

    def checkpoint(name: str) -> None:
        nonlocal passes
        if name != job.get("kill_at"):
            return
        passes -= 1
        if passes < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    with open_store(job["store"]) as store:
        checkpoint("poll.before")
        await store.run(lambda conn: polled(conn, job, clock(), checkpoint))
        checkpoint("poll.after")
        mouseflow = AsyncMouseflow(
            job["mouseflow"], job["email"], job["api_key"], requests_per_second=1000, burst=1000
        )
        slack = SlackPoster(SecretStr(job["slack_token"]), base_url=job["slack"])
        webhook = WebhookCaller()
        ports = Ports(mouseflow, slack, webhook, Addresses())
        delivery = Delivery(store, ports, ACTIONS, clock=clock, checkpoint=checkpoint)
        try:
            if job.get("for_ever"):
                await delivery.run_until_stopped(asyncio.Event())
            await delivery.drain()
            for _ in range(job.get("polls", 1) - 1):
                await store.run(lambda conn: polled(conn, job, clock(), checkpoint))
                await delivery.drain()
        finally:
            await mouseflow.aclose()
            await slack.close()
            await webhook.close()


def polled(conn, job, now, checkpoint) -> None:
    """The same recordings match at every poll, as overlapping polls see them again."""
    matches = [match(job, recording, now) for recording in job["recordings"]]
    outcome = PollOutcome(
        source="recordings", website=job["website"], at=now, watermark="{}", matches=matches
    )
    commit_poll(conn, outcome)
    checkpoint("poll.inside")


def match(job: dict[str, Any], recording: str, now: datetime) -> NewMatch:
    site = Site(job["website"], job["website"])
    subject = RecordingSubject(website=site, recording=Recording(id=recording))
    key = f"{job['rule']}/{site.id}/{recording}"
    actions = [ACTIONS[kind].model_validate(params) for kind, params in job["actions"]]
    steps = [
        NewStep(
            key=f"{key}/{action.kind}-{n}",
            rank=action.rank,
            lane=action.lane(subject, ""),
            kind=action.kind,
            params=action.model_dump_json(),
            due=now,
        )
        for n, action in enumerate(actions, 1)
    ]
    return NewMatch(
        rule=job["rule"],
        kind="recordings",
        website=site.id,
        subject_key=recording,
        match_key=key,
        subject=written(subject),
        matched=now,
        steps=steps,
        why=("because",),
        summary=job["rule"],
    )


if __name__ == "__main__":
    main()
