"""A day without Mouseflow, Slack or the store writes fewer than 20 lines into the log."""

import asyncio
import os
from contextlib import contextmanager
from datetime import timedelta
from threading import Event

import pytest
from msgspec.structs import replace
from postgres_proxy import Proxy
from structlog.testing import capture_logs
from virtual_world import World, seldom, virtually

from bot.delivery import worker
from bot.delivery.dry_run import DryRunLog, DrySlack
from bot.errors import TryLater
from bot.store import open_store

RULES = """
version: 1
rules:
  checkout:
    watch: recordings
    when: {saw_page: /checkout*}
    do: {tag: checkout, slack: {channel: "#checkout-alerts"}}
  funnel: {watch: funnels, when: {conversion: {under: 1%}}, do: {slack: {}}}
  site: {watch: websites, when: {status: Paused}, do: {slack: {}}}
budgets:
  credits: {websites: ["*"], recordings: 100000, period: month, steps: {80%: {slack: {}}}}
"""
WEBSITES, DAY = 5, 24
HOURS = int(os.environ.get("HOURS", "4"))
"""Without PostgreSQL: each failed attempt to connect takes real time."""
SELDOM = replace(
    worker.DEFAULT_TIMING, idle=timedelta(minutes=2), store_retry=timedelta(seconds=20)
)
WORK = ("poll.decided", "poll.backfilled", "deliver.done")


class Slack(DrySlack):
    """Answers 503 while `AWAY` is set."""

    async def post(self, post):
        if AWAY.is_set():
            raise TryLater("Slack answers 503")
        return await super().post(post)


AWAY = Event()


@contextmanager
def no_mouseflow(world):
    world.sim.fail("status", status=503, times=10**6)
    yield
    world.sim.faults.clear()


@contextmanager
def no_slack(world):
    AWAY.set()
    yield
    AWAY.clear()


@contextmanager
def no_store(world):
    """Every write fails, as on a full disk or one that can only be read."""
    driver = world.store._connection.connection.driver_connection
    driver.execute("PRAGMA query_only = 1")
    yield
    driver.execute("PRAGMA query_only = 0")


@pytest.mark.parametrize("outage", [no_mouseflow, no_slack, no_store])
def test_a_day_of_it_writes_few_lines(tmp_path, monkeypatch, outage):
    lasts(DAY, tmp_path, monkeypatch, outage)


def test_hours_without_postgresql_write_few_lines(tmp_path, monkeypatch, postgres_url):
    network = Proxy(postgres_url)

    @contextmanager
    def no_postgresql(_world):
        network.cut()
        yield
        network.heal()

    with open_store(network.url) as store:
        lasts(HOURS, tmp_path, monkeypatch, no_postgresql, store)
    network.close()


def lasts(hours, folder, monkeypatch, outage, store=None):
    """Work before it, during it and after it; all is done once, and little is logged."""
    seldom(monkeypatch)
    world = World(
        folder, RULES, websites=WEBSITES, store=store, BOT_POLL__RECORDINGS="10m",
        BOT_POLL__REPORTS="1h", BOT_POLL__FEEDBACK="1h",
    )  # fmt: skip
    world.slack = Slack(DryRunLog())
    world.store.beat = lambda _pulse: None  # which has a thread of its own
    planted = []

    def visit(number):
        site = f"shop-00{number % WEBSITES}.com"
        planted.append(world.sim.add(site, "checkout-friction", start=-79.5, calm_for=80))

    async def work():
        async with world.daemon(timing=SELDOM):
            visit(0)
            await asyncio.sleep(1200)
            with capture_logs() as logged, outage(world):
                for hour in range(hours):
                    if hour < 3:
                        visit(hour)
                    await asyncio.sleep(3600)
            during.extend(it for it in logged if it["log_level"] != "debug")
            with capture_logs() as logged:
                await asyncio.sleep(7200)
            after.extend(it["event"] for it in logged if it["log_level"] != "debug")

    during, after = [], []
    virtually(work)
    assert len(world.told("#checkout-alerts")) == len(planted) == 4
    assert all(world.sim.effect(it).calls["tag checkout"] == 1 for it in planted)
    events = [line["event"] for line in during]
    assert len(events) < 10, events
    # After it also what was caught up: of each website, and each action.
    assert len([event for event in after if event not in WORK]) < 10, after
