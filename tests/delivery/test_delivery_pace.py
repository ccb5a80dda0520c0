"""Posts go out as fast as Slack takes them, and no faster."""

import asyncio
from bisect import bisect_left
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from delivery_world import ACTIONS, NoWebhook, Post, Write, add, match
from virtual_world import Prompt, gaps, virtually

from bot.actions.base import Done
from bot.delivery import SLACK_PACE, Delivery
from bot.errors import RateLimited
from bot.ports import Addresses, Ports, Task
from bot.store import in_memory_copy
from bot.store.dead_letters import queue_figures
from bot.store.matches import NewMatch
from mouseflow.simulator.clock import Clock
from mouseflow.simulator.in_process import InProcess
from mouseflow.simulator.slack import SlackWorkspace, slack_app


class Workspace:
    """The simulated Slack in this process: when each call came, and how it was answered."""

    def __init__(self, *, burst: int, channels: int = 1) -> None:
        self.slack = SlackWorkspace(Clock(), rate=1.0, burst=burst)
        self.posts: list[tuple[float, int]] = []
        self.writes: list[float] = []
        for number in range(channels):
            self.slack.add_channel(f"c{number}")
        self._client = httpx.AsyncClient(
            transport=InProcess(slack_app(self.slack)), base_url="http://127.0.0.1"
        )

    async def send(self, asked: tuple[Write, Task]) -> Done:
        action, task = asked
        at = asyncio.get_running_loop().time()
        if not isinstance(action, Post):
            self.writes.append(at)
            return Done("written")
        answer = await self._client.post(
            "/api/chat.postMessage",
            json={"channel": action.channel, "text": task.key},
            headers={"Authorization": f"Bearer {self.slack.token}"},
        )
        self.posts.append((at, answer.status_code))
        if answer.status_code == 429:
            after = timedelta(seconds=int(answer.headers["retry-after"]))
            raise RateLimited("too fast", after=after, lane=True)
        return Done("posted")

    def refused(self) -> int:
        return [status for _, status in self.posts].count(429)

    def deliver(self, *matches: NewMatch) -> float:
        """Deliver what these matches want; the seconds that it took on a virtual clock."""

        async def work() -> None:
            loop, store = asyncio.get_running_loop(), Prompt(in_memory_copy("sqlite:///none.db"))
            add(store, *matches)
            delivery = Delivery(
                store,
                Ports(self, None, NoWebhook(), Addresses(channel="#c0")),
                ACTIONS,
                clock=lambda: datetime.now(UTC),
                paces=SLACK_PACE,
            )
            stop = asyncio.Event()
            running = asyncio.create_task(delivery.run_until_stopped(stop))
            while store.do(lambda conn: queue_figures(conn, datetime.now(UTC))).pending:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            took.append(loop.time())
            stop.set()
            await running
            store.close()

        took: list[float] = []
        virtually(work)
        return took[0]


def test_a_channel_gets_a_burst_and_then_a_message_a_second():
    workspace = Workspace(burst=5)
    took = workspace.deliver(*(match(f"m{n}", Post(channel="#c0")) for n in range(60)))
    assert workspace.refused() == 0
    assert took == pytest.approx(55, abs=1)
    assert [at for at, _ in workspace.posts[:5]] == [0.0] * 5
    assert {round(gap, 3) for gap in gaps([at for at, _ in workspace.posts[5:]])} == {1.0}


def test_where_slack_allows_no_burst_the_bot_soon_makes_none():
    workspace = Workspace(burst=1)
    took = workspace.deliver(*(match(f"m{n}", Post(channel="#c0")) for n in range(60)))
    assert workspace.refused() == 1
    assert took == pytest.approx(60, abs=2)
    assert len(workspace.slack.messages) == 60


def test_many_channels_keep_to_the_workspaces_limit_and_delay_no_writes():
    workspace = Workspace(burst=5, channels=20)
    matches = [
        match(f"m{n}-{channel}", Post(channel=f"#c{channel}"))
        for n in range(12)
        for channel in range(20)
    ]
    workspace.deliver(*matches, *(match(f"w{n}", Write()) for n in range(40)))
    assert workspace.refused() == 0
    sent = [at for at, _ in workspace.posts]
    assert len(sent) == 240
    assert max(bisect_left(sent, at + 10) - n for n, at in enumerate(sent)) <= 60 + 50 + 1
    assert max(workspace.writes) < 1
