"""A start with rule files that have errors: what can run runs, and people are told."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from daemon_world import RULE, Daemon
from structlog.testing import capture_logs
from virtual_world import START, World, virtually

from bot.cli.status import gather
from bot.daemon import run
from bot.errors import BotError, ConfigError, RuleErrors, TryLater
from bot.rule_reader import ProcessReader, RuleReader
from bot.rules.files.actions import Allowed
from bot.store.rules import kept_rule_files
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

PHONE = """
version: 1
rules:
  on-the-phone:
    watch: recordings
    when: {device: phone}
    do: {tag: phone}
"""
BROKEN = PHONE.replace("device", "devce")
UNTRUE = PHONE + "    tests: [{given: {device: desktop}, expect: match}]\n"


def world_with(tmp_path, *, rules=None, **settings):
    folder = tmp_path / "rules"
    folder.mkdir()
    for name, text in (rules or {"phone.yaml": PHONE}).items():
        (folder / name).write_text(text)
    return folder, World(tmp_path, "", websites=1, BOT_RULES__PATHS=str(folder), **settings)


async def acts(world):
    """The tags that a new recording gets in two minutes with the daemon at work."""
    before = len(list(world.sim.calls))
    async with world.daemon():
        world.sim.add("site-000", "phone-bounce", start=10)
        await asyncio.sleep(120)
    return sorted(it.query for it in list(world.sim.calls)[before:] if it.method != "GET")


def rejected(world):
    return world.store.do(lambda conn: gather(conn, START, "alive")).rejected_rules


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BROKEN, "devce"),
        (UNTRUE, "the test 'test 1' fails: expected a match, found none"),
        ("version: 1\nrules: [\n", "is not closed"),
        (None, "no rule files"),
    ],
    ids=["word", "rule-test", "syntax", "gone"],
)
def test_a_start_with_a_broken_file_runs_the_rules_of_before(tmp_path, text, said):
    folder, world = world_with(tmp_path)

    async def work():
        assert await acts(world) == ["tag=phone"]
        (folder / "phone.yaml").unlink()
        if text is not None:
            (folder / "phone.yaml").write_text(text)
        assert await acts(world) == ["tag=phone"]
        assert said in rejected(world).faults[0]
        assert not rejected(world).incomplete
        assert await acts(world) == ["tag=phone"]
        assert len(world.told_whole()) == 1  # not at every start
        (folder / "phone.yaml").write_text(PHONE.replace("tag: phone", "tag: fixed"))
        assert await acts(world) == ["tag=fixed"]
        assert rejected(world) is None

    with capture_logs() as log:
        virtually(work)
    begun, ended = world.told_whole()
    assert "The previous rules stay active" in begun
    assert said in begun
    assert "the errors in the rule files are fixed" in ended
    assert [it["log_level"] for it in log if it["event"] == "rules.reload_failed"] == ["error"] * 2


def test_a_file_that_is_fixed_while_the_rules_of_before_run_is_taken_up(tmp_path):
    folder, world = world_with(tmp_path)

    async def work():
        await acts(world)
        (folder / "phone.yaml").write_text(BROKEN)
        async with world.daemon():
            await asyncio.sleep(30)
            (folder / "phone.yaml").write_text(PHONE.replace("tag: phone", "tag: fixed"))
            await asyncio.sleep(30)
        (folder / "phone.yaml").write_text(BROKEN)
        assert await acts(world) == ["tag=fixed"]

    virtually(work)
    assert ["not loaded" in told for told in world.told_whole()] == [True, False, True]


def test_the_very_first_start_runs_every_file_without_an_error(tmp_path):
    rules = {
        "a.yaml": PHONE.replace("on-the-phone", "a").replace("tag: phone", "tag: a"),
        "b.yaml": BROKEN.replace("on-the-phone", "b"),
        "c.yaml": UNTRUE.replace("on-the-phone", "c"),
        "d.yaml": PHONE.replace("on-the-phone", "a"),  # this id again
        "e.yaml": PHONE.replace("on-the-phone", "e").replace("tag: phone", "tag: e"),
    }
    folder, world = world_with(tmp_path, rules=rules)

    async def work():
        assert await acts(world) == ["tag=a", "tag=e"]
        assert rejected(world).incomplete
        assert [fault.split(":")[0][-6:] for fault in rejected(world).faults] == [
            "b.yaml", "c.yaml", "d.yaml",
        ]  # fmt: skip
        (folder / "a.yaml").unlink()
        assert await acts(world) == ["tag=a", "tag=e"]  # as after a reload

    virtually(work)
    told = world.told_whole()[0]
    assert "The others are active" in told
    assert "b.yaml:6:12" in told


def test_rules_of_before_that_the_configuration_forbids_now_give_way_to_the_good_files(tmp_path):
    delete = PHONE.replace("on-the-phone", "old").replace("tag: phone", "delete: true")
    _, world = world_with(
        tmp_path, rules={"a.yaml": PHONE, "old.yaml": delete}, BOT_RULES__ALLOW_DELETE="true"
    )

    async def work():
        async with world.daemon():
            await asyncio.sleep(10)
        rules = replace(world.settings.rules, allow_delete=False)
        world.settings = replace(world.settings, rules=rules)
        assert await acts(world) == ["tag=phone"]

    virtually(work)


def test_a_start_fails_with_every_error_only_if_nothing_can_run(tmp_path):
    folder, world = world_with(tmp_path, rules={"a.yaml": BROKEN, "b.yaml": UNTRUE})

    async def work():
        with pytest.raises(RuleErrors) as errors:
            await acts(world)
        assert len(errors.value.faults) == 3  # the id is there twice
        for file in folder.iterdir():
            file.unlink()
        with pytest.raises(ConfigError, match="no rule files"):
            await acts(world)

    virtually(work)


def test_a_webhooks_secret_in_a_rule_file_is_not_kept(tmp_path):
    secret = "s3cret-of-the-hook"
    hook = f"tag: phone, webhook: {{url: 'https://a.example/x', secret: {secret}}}"
    folder, world = world_with(tmp_path, rules={"a.yaml": PHONE.replace("tag: phone", hook)})

    async def work():
        async with world.daemon():
            await asyncio.sleep(10)
        (folder / "a.yaml").write_text(BROKEN)
        async with world.daemon():
            await asyncio.sleep(10)

    virtually(work)
    dump = world.store.do(lambda conn: "\n".join(conn.connection.driver_connection.iterdump()))
    assert "rules_in_force" in dump
    kept = world.store.do(lambda conn: kept_rule_files(conn))
    assert secret.encode() not in kept[0][1]
    assert b"env:SECRET_NOT_IN_THE_STORE" in kept[0][1]
    assert b"https://a.example/URL_NOT_IN_THE_STORE" in kept[0][1]
    assert "a.example/x" not in dump


class Receiver:
    """Fails until it works; keeps which URLs were called."""

    def __init__(self):
        self.works = False
        self.called = []

    async def call(self, url, body, headers, secret=None):
        if not self.works:
            raise TryLater("down")
        self.called.append(url)


def test_a_webhooks_url_is_not_stored_and_an_edited_one_gets_what_waited(tmp_path):
    hook = "tag: phone, webhook: {url: 'https://a.example/old-t0ken'}"
    rules = PHONE.replace("tag: phone", hook)
    folder, world = world_with(tmp_path, rules={"a.yaml": rules})
    world.webhook = receiver = Receiver()

    async def work():
        async with world.daemon():
            world.sim.add("site-000", "phone-bounce", start=10)
            await asyncio.sleep(120)
        receiver.works = True
        (folder / "a.yaml").write_text(BROKEN)
        async with world.daemon():  # nobody knows the URL: the call waits
            await asyncio.sleep(1200)
        assert receiver.called == []
        (folder / "a.yaml").write_text(rules.replace("old", "new"))
        async with world.daemon():
            await asyncio.sleep(600)

    virtually(work)
    assert receiver.called == ["https://a.example/new-t0ken"]
    dump = world.store.do(lambda conn: "\n".join(conn.connection.driver_connection.iterdump()))
    assert "t0ken" not in dump


def test_a_webhook_call_that_waits_goes_out_though_its_rule_was_disabled(tmp_path):
    hook = "tag: phone, webhook: {url: 'https://a.example/t0ken'}"
    rules = PHONE.replace("tag: phone", hook)
    folder, world = world_with(tmp_path, rules={"a.yaml": rules})
    world.webhook = receiver = Receiver()

    async def work():
        async with world.daemon():
            world.sim.add("site-000", "phone-bounce", start=10)
            await asyncio.sleep(120)
        receiver.works = True
        (folder / "a.yaml").write_text(rules.replace("watch:", "disabled: true\n    watch:", 1))
        async with world.daemon():
            await asyncio.sleep(1200)

    virtually(work)
    assert receiver.called == ["https://a.example/t0ken"]


class Stuck(ProcessReader):
    """A disk that never answers."""

    async def contents(self):
        await asyncio.get_running_loop().create_future()


async def test_a_daemon_that_still_reads_its_rules_stops_at_once(tmp_path):
    _, world = world_with(tmp_path, BOT_STORE__URL=f"sqlite:///{tmp_path}/bot.db")
    stop = asyncio.Event()
    running = asyncio.create_task(
        run(world.settings, stop=stop, reload=asyncio.Event(), reader=Stuck([], Allowed()))
    )
    await asyncio.sleep(0)
    stop.set()
    await asyncio.wait_for(running, 10)


class Unable(RuleReader):
    """Reads nothing for a while."""

    async def read(self, files, unread=(), *, whole=True):
        if datetime.now(UTC) < START + timedelta(minutes=10):
            raise BotError("no process can start")
        return await super().read(files, unread)


def test_files_that_can_not_be_read_now_are_read_later_and_told_once(tmp_path):
    folder, world = world_with(tmp_path)

    async def work():
        reader = Unable([folder], Allowed())
        async with world.daemon(reader=reader):
            (folder / "phone.yaml").write_text(PHONE.replace("tag: phone", "tag: later"))
            await asyncio.sleep(500)
            assert len(world.told_whole()) == 1
            await asyncio.sleep(300)
        assert await acts(world) == ["tag=later"]

    with capture_logs() as log:
        virtually(work)
    begun, ended = world.told_whole()
    assert "no process can start" in begun
    assert "fixed" in ended
    events = [line["event"] for line in log]
    assert [events.count(f"rules.reload_{how}") for how in ("postponed", "failed")] == [1, 1]


async def test_once_uses_the_rules_of_before_and_fails(tmp_path):
    site = website("site-1", "myshop.com", plan=Plan(per_day=0))
    with Simulator(seed=3, sites=[site]) as sim:
        bot = Daemon(tmp_path, sim)
        assert bot.run("once").returncode == 0
        bot.rule_file.write_text(RULE.replace("friction: {min", "frction: {min"))
        who = sim.add("myshop.com", "checkout-friction", start=-300)
        done = bot.run("once")
        assert done.returncode == 1
        assert "the rule files have errors; this run used the previous rules:" in done.stdout
        assert "unknown field; did you mean friction?" in done.stdout
        assert "star" in sim.effect(who).calls
        found = json.loads(bot.run("once", "--json").stdout)
        assert len(found["rule_errors"]) == 1


def test_a_rule_about_stars_hears_of_one_that_is_set_right_after_it_came(tmp_path):
    """People try out a rule as soon as it is loaded, not after the next poll."""
    folder, world = world_with(tmp_path, BOT_POLL__RECORDINGS="15m")
    starred = PHONE.replace("on-the-phone", "starred").replace("device: phone", "starred: true")

    def star(who):
        site, visitor, _ = world.sim.world.inspect(who)
        world.sim.world.marks(site, visitor).starred.add(world.sim.email)

    async def work():
        async with world.daemon():
            before, after = (world.sim.add("site-000", "phone-bounce", start=n) for n in (10, 20))
            await asyncio.sleep(7200)
            star(before)
            (folder / "starred.yaml").write_text(starred.replace("tag: phone", "tag: starred"))
            world.reload.set()
            await asyncio.sleep(60)
            star(after)
            await asyncio.sleep(1800)
            tagged = [it.path.split("/")[4] for it in world.sim.calls if it.query == "tag=starred"]
            assert tagged == [after]

    virtually(work)
