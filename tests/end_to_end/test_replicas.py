"""Bots as processes of their own that share one PostgreSQL database."""

import asyncio
import json
import signal
from collections import Counter
from datetime import timedelta
from functools import partial
from itertools import pairwise

import httpx
import pytest
from daemon_world import Daemon
from postgres_proxy import Proxy
from postgres_server import connected

from bot import daemon
from bot.config.load import load
from bot.config.settings import allowed
from bot.rule_reader import ProcessReader
from bot.store import location_of, replicas
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

RULE = """
version: 1
rules:
  checkout:
    watch: recordings
    when: {saw_page: /checkout*}
    do:
      tag: friction
      slack: {channel: "#checkout-alerts"}
"""
SITES = [f"shop-{number}.com" for number in range(4)]
IDS = [f"8fc2ace2-75bc-8ba4-b424-c8916670b99{number}" for number in range(4)]


@pytest.fixture
def sim():
    sites = [website(key, name, plan=Plan(per_day=0)) for key, name in zip(IDS, SITES, strict=True)]
    with Simulator(seed=3, sites=sites) as simulator:
        yield simulator


@pytest.fixture
def bots(tmp_path, sim, postgres_url):
    made = []
    for name in ("first", "second", "third"):
        (tmp_path / name).mkdir()
        made.append(Daemon(tmp_path / name, sim, RULE, BOT_STORE__URL=postgres_url))
    yield made
    for bot in made:
        if bot.process is not None:
            bot.tell(signal.SIGCONT)
            bot.kill()


def divided(url: str, bots: int) -> bool:
    """Whether so many bots have an equal share of the websites."""
    there = location_of(url).replicas()
    return [len(each.websites) for each in there] == [len(SITES) // bots] * bots


def visit(sim, name: str) -> str:
    """A new visit that the rule matches."""
    return sim.add(name, "checkout-friction", start=-79.5, calm_for=80)


def posts(sim) -> Counter[str]:
    """How often each post is there."""
    return Counter(str(it.metadata) for it in sim.slack.in_channel("#checkout-alerts"))


def asked(sim) -> list:
    """The requests to Mouseflow."""
    return [call for call in sim.calls if call.side == "mouseflow"]


FEEDBACK_RULE = f"""{RULE}
  answers:
    watch: feedback
    when: {{new_responses: {{min: 1}}}}
    do: {{slack: {{}}}}
"""


def polled(sim, since: int = 0) -> set[str]:
    """The websites whose recordings were asked for since that request."""
    return polled_of("recordings", sim, since)


def polled_of(kind: str, sim, since: int = 0) -> set[str]:
    """The same of another list."""
    lists = [call.path for call in asked(sim)[since:] if call.path.endswith(f"/{kind}")]
    return {key for key in IDS for path in lists if key in path}


def once_each(sim, number: int) -> bool:
    found = posts(sim)
    assert not found or max(found.values()) == 1
    assert len(found) <= number
    return len(found) == number


def test_two_bots_divide_the_work_and_one_takes_over_from_one_that_was_killed(
    sim, bots, postgres_url
):
    first, second, _ = bots
    first.start()
    second.start()
    sim.wait_until(lambda: divided(postgres_url, 2))
    for name in SITES:
        visit(sim, name)
    sim.wait_until(lambda: once_each(sim, len(SITES)))
    assert all(bot.events("poll.decided") for bot in (first, second))
    [leading] = [it.process for it in location_of(postgres_url).replicas() if it.leads]
    leader, other = (first, second) if first.process.pid == leading else (second, first)
    for name in SITES:
        visit(sim, name)
    leader.kill()
    sim.wait_until(lambda: divided(postgres_url, 1))
    for name in SITES:
        visit(sim, name)
    sim.wait_until(lambda: once_each(sim, 3 * len(SITES)))
    assert other.stop() == 0
    assert location_of(postgres_url).replicas() == []


def test_a_hook_reaches_the_websites_of_the_other_bots(tmp_path, sim, postgres_url):
    more = {"BOT_POLL__FEEDBACK": "1h", "BOT_POLL__RECORDINGS": "1h", "BOT_POLL__REPORTS": "1h"}
    more |= {"BOT_WEB__LISTEN": "127.0.0.1:0", "BOT_WEB__TOKEN": "token"}
    more |= {"BOT_WEB__HOOK_SECRET": "secret", "BOT_STORE__URL": postgres_url}
    bots = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        bots.append(Daemon(tmp_path / name, sim, FEEDBACK_RULE, **more))
    try:
        for bot in bots:
            bot.start()
        sim.wait_until(lambda: divided(postgres_url, 2))
        sim.wait_until(lambda: polled_of("feedback", sim) == set(IDS))
        sim.wait_until(lambda: polled(sim) == set(IDS))
        [page] = [it["url"] for it in bots[0].events("web.started")]
        before = len(asked(sim))
        bearer = {"authorization": "Bearer token"}
        answer = httpx.post(f"{page}/hooks/poll", headers=bearer, timeout=60).json()
        assert answer["polls"] > 0
        sim.wait_until(lambda: polled(sim, before) == set(IDS))
        sim.wait_until(lambda: polled_of("feedback", sim, before) == set(IDS))
        for key, name in zip(IDS, SITES, strict=True):  # whichever bot polls it
            before = len(asked(sim))
            hook = f"{page}/hooks/feedback/secret"
            answer = httpx.post(hook, json={"site": name}, timeout=60).json()
            assert answer["websites"] == [key]
            sim.wait_until(lambda: polled_of("feedback", sim, before) == {key})  # noqa: B023
        assert [bot.stop() for bot in bots] == [0, 0]
    finally:
        for bot in bots:
            if bot.process is not None:
                bot.kill()


class SlowReader(ProcessReader):
    """Reads nothing until it may."""

    may = asyncio.Event()

    async def contents(self):
        await self.may.wait()
        return await super().contents()


async def test_a_bot_that_reads_its_rules_for_long_is_not_taken_for_dead(
    sim, bots, postgres_url, monkeypatch
):
    monkeypatch.setattr(replicas, "SEEN", 0.0)
    monkeypatch.setattr(replicas, "LEASE", 0.0)
    monkeypatch.setattr(daemon, "PRESENT", timedelta(milliseconds=10))
    settings, stop = load(None, bots[0].environment), asyncio.Event()
    reader = SlowReader([bots[0].folder / "rules"], allowed(settings))
    SlowReader.may = asyncio.Event()
    running = asyncio.create_task(
        daemon.run(settings, stop=stop, reload=asyncio.Event(), reader=reader)
    )

    async def until(sql):
        with connected(postgres_url) as admin:
            while not admin.execute(sql).fetchone():  # noqa: ASYNC110 - nothing else tells
                await asyncio.sleep(0.02)

    there = "SELECT 1 FROM mouseflow_bot_replicas WHERE"
    await until(f"{there} rules = '' AND seen > started + interval '0.1 s'")
    SlowReader.may.set()
    await until(f"{there} rules <> ''")
    stop.set()
    await running


def test_a_frozen_bot_is_replaced_and_does_nothing_when_it_wakes_up(sim, bots, postgres_url):
    first, second, _ = bots
    first.start()
    second.start()
    sim.wait_until(lambda: divided(postgres_url, 2))
    frozen = location_of(postgres_url).replicas()[0].process
    still, awake = (first, second) if first.process.pid == frozen else (second, first)
    for name in SITES:
        visit(sim, name)
    still.tell(signal.SIGSTOP)
    sim.wait_until(lambda: divided(postgres_url, 1))
    sim.wait_until(lambda: once_each(sim, len(SITES)))
    assert awake.events("replica.lost")
    still.tell(signal.SIGCONT)
    sim.wait_until(lambda: still.events("replica.taken_over"))
    sim.wait_until(lambda: divided(postgres_url, 2))
    for name in SITES:
        visit(sim, name)
    sim.wait_until(lambda: once_each(sim, 2 * len(SITES)))
    assert still.stop() == 0
    assert awake.stop() == 0


def test_a_rolling_restart_loses_and_doubles_nothing(sim, bots, postgres_url):
    for bot in bots:
        bot.start()
    sim.wait_until(lambda: len(location_of(postgres_url).replicas()) == 3)
    for number, bot in enumerate(bots, 1):
        for name in SITES:
            visit(sim, name)
        assert bot.stop() == 0
        bot.start()
        sim.wait_until(partial(once_each, sim, number * len(SITES)))
    assert not any(bot.events("replica.lost") for bot in bots)


def test_status_lists_the_bots_and_each_says_of_itself_how_it_is(sim, bots, postgres_url):
    first, second, _ = bots
    first.start()
    second.rule_file.write_text(RULE.replace("/checkout*", "/cart*"))
    second.start()
    sim.wait_until(lambda: divided(postgres_url, 2))
    shown = first.run("status").stdout
    assert shown.startswith("2 bots on this store\n")
    assert "\ndaemon: alive\n" in shown
    listed = [line for line in shown.splitlines() if " websites: shop-" in line]
    assert ["  leads  " in line for line in listed] == [True, False]
    assert ["other rules" in line for line in listed] == [False, True]
    told = json.loads(first.run("status", "--json").stdout)["replicas"]
    assert [each["leads"] for each in told] == [True, False]
    assert sorted(site["name"] for each in told for site in each["websites"]) == sorted(SITES)
    assert second.run("healthcheck").stdout == "alive\n"
    with connected(postgres_url) as admin:
        admin.execute("UPDATE mouseflow_bot_replicas SET host = 'elsewhere'")
    check = second.run("healthcheck")
    assert (check.returncode, check.stderr) == (
        1, "unhealthy: no bot on this host shares the store (one on elsewhere does)\n",
    )  # fmt: skip


def test_a_bot_that_is_cut_off_is_replaced_and_joins_again(sim, bots, postgres_url):
    first, second, _ = bots
    network = Proxy(postgres_url)
    try:
        first.environment["BOT_STORE__URL"] = network.url
        first.start()
        second.start()
        sim.wait_until(lambda: divided(postgres_url, 2))
        network.cut()
        for name in SITES:
            visit(sim, name)
        sim.wait_until(lambda: divided(postgres_url, 1))
        sim.wait_until(lambda: once_each(sim, len(SITES)))
        network.heal()
        sim.wait_until(lambda: first.events("replica.taken_over"))
        sim.wait_until(lambda: divided(postgres_url, 2))
        for name in SITES:
            visit(sim, name)
        sim.wait_until(lambda: once_each(sim, 2 * len(SITES)))
    finally:
        network.close()


def test_a_pause_that_mouseflow_asks_of_one_bot_holds_for_all(sim, bots, postgres_url):
    first, second, _ = bots
    first.start()
    second.start()
    sim.wait_until(lambda: divided(postgres_url, 2) and polled(sim) >= {*IDS})
    sim.fail("status", status=429, retry_after=15, times=1)
    sim.wait_until(lambda: any(call.status == 429 for call in asked(sim)))
    refused = next(at for at, call in enumerate(asked(sim)) if call.status == 429)
    sim.wait_until(lambda: polled(sim, refused + 1) >= {*IDS})
    at = [call.at for call in asked(sim)[refused:]]
    # What was on its way, and what a bot sent before it heard, is over soon.
    assert max(later - before for before, later in pairwise(at)) > 7_500


def test_one_bot_takes_the_presses_and_another_one_when_it_is_gone(sim, bots, postgres_url):
    for bot in bots:
        bot.environment["BOT_SLACK__APP_TOKEN"] = sim.slack.app_token
    first, *others = bots
    first.start()
    sim.wait_until(lambda: sim.socket_mode.connected)
    for bot in others:
        bot.start()
    sim.wait_until(lambda: all(bot.events("daemon.started") for bot in others))
    assert sim.socket_mode.connected == 1
    first.kill()
    sim.wait_until(lambda: not sim.socket_mode.connected)
    sim.wait_until(lambda: sim.socket_mode.connected)
    visit(sim, SITES[0])
    sim.wait_until(lambda: once_each(sim, 1))
    post = sim.slack.in_channel("#checkout-alerts")[0]
    sim.socket_mode.press(post, "Snooze rule for 1 h")
    sim.wait_until(lambda: any(bot.events("slack.pressed") for bot in others))
    assert sim.socket_mode.connected == 1
    assert sum(len(bot.events("slack.pressed")) for bot in others) == 1


def test_bots_together_keep_the_pace_of_a_channel_also_where_its_lane_goes_over(
    sim, bots, postgres_url
):
    first, second, _ = bots
    first.start()
    second.start()
    sim.wait_until(lambda: divided(postgres_url, 2))
    for name in 4 * SITES:
        visit(sim, name)
    sim.wait_until(lambda: len(posts(sim)) > 4)
    lane = "slack:#checkout-alerts"
    holder = next(it for it in location_of(postgres_url).replicas() if lane in it.lanes)
    (first if first.process.pid == holder.process else second).stop()
    sim.wait_until(lambda: once_each(sim, 4 * len(SITES)))
    slack = [call for call in sim.calls if call.side == "slack"]
    assert not [call for call in slack if call.status == 429]
