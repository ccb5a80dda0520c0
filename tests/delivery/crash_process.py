"""A bot that dies where it is told: run as a program, it forks one process for each job.

Jobs come as one JSON list a line, what became of them goes out the same way: how each ended, as
`subprocess` says it (minus the signal that killed it, or its exit code). Forking from a process
that has everything imported makes a death cheap.
"""

import asyncio
import json
import os
import signal
import sys
import traceback
from importlib import import_module
from typing import Any

import msgspec
import structlog
from crash_sources import SOURCES, clock_ahead

from bot.account import Account
from bot.actions import ACTIONS
from bot.actions.base import Action
from bot.delivery import Delivery
from bot.delivery.notify import Places, problems
from bot.delivery.slack import SlackPoster
from bot.delivery.webhook import WebhookCaller
from bot.domain.calendar import Calendar
from bot.domain.limits import Hours
from bot.ports import Addresses, Ports
from bot.store import in_memory_copy, open_store
from bot.written import Secret
from mouseflow.client import AsyncMouseflow

AT_ONCE = 4


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    # What a bot imports or learns when it needs it is there once for all.
    assert not problems({"any": Secret("json://localhost")})
    for name in ("httpcore", "anyio._backends._asyncio"):
        import_module(name)
    in_memory_copy("sqlite:///none.db").close()
    for line in sys.stdin:
        print(json.dumps(ended(json.loads(line))), flush=True)


def ended(jobs: list[dict[str, Any]]) -> list[int]:
    """Run the jobs, a few at a time; how each ended."""
    codes: dict[int, int] = {}
    running: dict[int, int] = {}
    waiting = list(enumerate(jobs))
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            number, job = waiting.pop(0)
            running[forked(job)] = number
        pid, status = os.wait()
        codes[running.pop(pid)] = os.waitstatus_to_exitcode(status)
    return [codes[number] for number in range(len(jobs))]


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

    clock = clock_ahead(job["ahead"])
    source = SOURCES[job["source"]]
    passes = job.get("passes", 0)

    def checkpoint(name: str) -> None:
        nonlocal passes
        if name != job.get("kill_at"):
            return
        passes -= 1
        if passes < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    with open_store(job["store"]) as store:
        client = AsyncMouseflow(
            job["mouseflow"], job["email"], job["api_key"], requests_per_second=1000, burst=1000,
            random=lambda: 0.0,  # repeats follow at once
        )  # fmt: skip
        mouseflow = Account(client)
        slack = SlackPoster(Secret(job["slack_token"]), base_url=job["slack"])
        webhook = WebhookCaller()
        place = job["url"].replace("http", "json", 1) + job["channel"].lstrip("#")
        ports = Ports(
            mouseflow, slack, webhook, Addresses(), Places({job["channel"]: Secret(place)})
        )
        quiet = tuple(Hours(frozenset(range(7)), *each, "UTC") for each in job["quiet"])
        written = [
            msgspec.convert(params, ACTIONS[kind]) for kind, params in job.get("actions", ())
        ]

        def current(_rule: str, action: Action) -> Action:
            return action.as_in_rule(written)

        delivery = Delivery(
            store, ports, ACTIONS, clock=clock, current=current, checkpoint=checkpoint,
            calendar=Calendar(hours=quiet),
        )  # fmt: skip
        try:
            checkpoint("poll.before")
            await source(job, store, mouseflow, clock(), checkpoint)
            checkpoint("poll.after")
            if job.get("for_ever"):
                await delivery.run_until_stopped(asyncio.Event())
            await delivery.drain()
            for _ in range(job.get("polls", 1) - 1):
                await source(job, store, mouseflow, clock(), checkpoint)
                await delivery.drain()
        finally:
            await client.aclose()
            await slack.close()
            await webhook.close()


if __name__ == "__main__":
    main()
