"""Three bots share a store: wherever two of them die, the last one does the rest, once."""

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack

import pytest
from crash_matrix import EACH_STEP, STEP_POINTS
from crash_sources import Job, match, subjects
from postgres_server import connected

from bot.account import Account
from bot.actions import ACTIONS
from bot.actions.base import SETTLING
from bot.delivery import Delivery
from bot.delivery.slack import SlackPoster
from bot.ports import Ports
from bot.store import Store, open_store, outbox
from bot.store.dead_letters import queue_figures
from bot.store.matches import PollOutcome, commit_poll
from bot.written import Secret
from mouseflow.client import AsyncMouseflow
from mouseflow.simulator.server import Simulator

SITE = "myshop.com"
EACH = (0, 2, 3)
"""The steps to die in: the tag, the share and the post; between tag and share is a star."""
DEATHS = [(point, step) for point in STEP_POINTS for step in EACH if point in EACH_STEP]
DEATHS += [("claim.before", lane) for lane in range(2)]


class Died(BaseException):
    """The process is gone."""


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as opened:
        yield opened


class Bots:
    """Those that are left of the bots on one database."""

    def __init__(self, url: str, sim: Simulator, ports: Ports, stores: list[Store]) -> None:
        self.url, self.sim, self.ports, self.stores = url, sim, ports, stores

    def look(self) -> None:
        """What the daemon does every second."""
        for store in self.stores:
            store.sharing._steady_since = dict.fromkeys(store.sharing._steady_since, -9.0)

            def work(conn, store=store):
                found = store.sharing.turn(conn, (), (), "")
                alive = store.sharing.alive(conn)
                outbox.recover(conn, self.sim.clock.now(), SETTLING, alive)
                return found

            store.sharing.use(store.do(work))

    async def deliver(self, checkpoint: Callable[[str], None]) -> bool:
        """Each performs what is due; false if one dies, of which the database hears no more."""
        for store in self.stores:
            delivery = Delivery(
                store, self.ports, ACTIONS, clock=self.sim.clock.now, checkpoint=checkpoint
            )
            try:
                await delivery.drain()
            except Died:
                self.stores.remove(store)
                with connected(self.url) as admin:
                    admin.execute(
                        "UPDATE mouseflow_bot_replicas SET seen = now() - interval '1 minute'"
                        " WHERE session LIKE '%%' || %s",
                        (store.sharing.mark,),
                    )
                return False
        return True

    def left(self) -> int:
        """How many steps have not ended."""
        queue = self.stores[0].do(lambda conn: queue_figures(conn, self.sim.clock.now()))
        return queue.pending + queue.sending


@pytest.mark.parametrize(("point", "passes"), DEATHS)
async def test_wherever_bots_die_the_others_do_the_rest_once(
    point: str, passes: int, sim: Simulator, postgres_url: str
):
    recording = sim.add(SITE, "checkout-friction", start=-3600)
    channel = f"#{sim.slack.add_channel(f'{point}-{passes}'.replace('.', '-')).name}"
    site, now = sim.world.site(SITE).id, sim.clock.now()
    actions = [
        ("tag", {"tag": "seen"}),
        ("star", {}),
        ("share", {}),
        ("slack", {"channel": channel}),
    ]
    job: Job = {
        "rule": "rule", "website": site, "about": "recording", "recordings": [recording],
        "actions": actions,
    }  # fmt: skip
    found = [match(job, subject, now) for subject in subjects(job)]
    client = AsyncMouseflow(
        sim.mouseflow_url, sim.email, sim.api_key, requests_per_second=1000, burst=1000
    )
    slack = SlackPoster(Secret(sim.slack.token), base_url=sim.slack_url)
    async with AsyncExitStack() as open_ones:
        open_ones.push_async_callback(client.aclose)
        open_ones.push_async_callback(slack.close)
        stores = [open_ones.enter_context(open_store(postgres_url, shared=True)) for _ in "123"]
        bots = Bots(postgres_url, sim, Ports(Account(client), slack, None), stores)
        outcome = PollOutcome(source="recordings", website=site, at=now, matches=found)
        stores[0].do(lambda conn: commit_poll(conn, outcome))
        deaths, left = 0, passes

        def die(name: str) -> None:
            nonlocal deaths, left
            if name == point and deaths < 2:
                left -= 1
                if left < 0:
                    deaths, left = deaths + 1, 0
                    raise Died

        for _ in range(20):
            bots.look()
            if await bots.deliver(die) and not bots.left():
                break
            sim.advance(60)
        assert deaths
        assert bots.left() == 0
    effect = sim.effect(recording)
    assert "seen" in effect.tags
    assert effect.starred
    assert effect.token
    assert effect.calls["share"] == 1
    assert len(sim.slack.in_channel(channel)) == 1
