"""Whatever rule file is put beside a good one, the good one acts and `check` names the other."""

import asyncio
import re
import shutil
import signal

import pytest
from daemon_world import Daemon
from hostile_files import NAMES, make
from virtual_world import World, virtually

from bot.cli.main import main
from bot.rule_reader import RuleReader, rules_at_start
from bot.rules.files.actions import Allowed
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

GOOD = """
version: 1
rules:
  good:
    watch: recordings
    when: {device: phone}
    do: {tag: good}
"""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "good.yaml").write_text(GOOD)
    return folder


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_the_table_is_long_enough():
    assert len(NAMES) >= 60


@pytest.mark.parametrize("name", NAMES)
def test_check_names_the_file_with_a_place(name, folder, capsys):
    make(name, folder)
    assert main(["check", str(folder)]) == 1
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert re.match(rf"{re.escape(str(folder / name))}:\d+:\d+: ", lines[0]), lines[0]
    assert "Traceback" not in said.out + said.err
    assert "internal error" not in said.out + said.err
    assert not [line for line in lines if "good.yaml" in line]
    assert main(["test", str(folder)]) == 1


@pytest.mark.parametrize("name", NAMES)
async def test_the_very_first_start_runs_the_good_file(name, folder):
    make(name, folder)

    async def nothing():
        return ()

    start = await rules_at_start(RuleReader([folder], Allowed()), nothing)
    assert [rule.id for rule in start.rules.rules] == ["good"]
    assert start.errors[0].startswith(str(folder / name))


def test_the_good_rules_act_throughout(folder, tmp_path):
    world = World(tmp_path, "", websites=1, BOT_RULES__PATHS=str(folder))
    acted = {}

    async def work():
        async with world.daemon():
            for name in NAMES:
                make(name, folder)
                await asyncio.sleep(10)
                before = len(tags(world))
                world.sim.add("site-000", "phone-bounce", start=10)
                await asyncio.sleep(120)
                acted[name] = tags(world)[before:]
                remove(folder / name)
                await asyncio.sleep(10)

    virtually(work)
    assert acted == {name: ["tag=good"] for name in NAMES}
    begun, ended = world.told()[::2], world.told()[1::2]
    assert [name for name, told in zip(NAMES, begun, strict=True) if name not in told] == []
    assert all("fixed" in told for told in ended)


async def test_a_real_daemon_starts_and_runs_beside_them(tmp_path):
    site = website("site-1", "myshop.com", plan=Plan(per_day=0))
    with Simulator(seed=3, sites=[site]) as sim:
        bot = Daemon(tmp_path, sim)
        for name in ("sparse.yaml", "pipe.yaml", "half-character-tag.yaml", "directive.yaml"):
            make(name, bot.rule_file.parent)
        bot.start()
        sim.wait_until(lambda: bot.events("daemon.started"))
        for name in ("endless.yaml", "quotes.yaml", "binary.yaml"):
            make(name, bot.rule_file.parent)
        bot.tell(signal.SIGHUP)
        sim.wait_until(lambda: len(bot.events("rules.reload_failed")) == 2)
        who = sim.add("myshop.com", "checkout-friction", start=-300)
        sim.wait_until(lambda: "star" in sim.effect(who).calls)
        for command in ("check", "test", "status", "once"):
            done = bot.run(command)
            assert done.returncode == (0 if command == "status" else 1)
            assert "Traceback" not in done.stdout + done.stderr
        assert bot.stop() == 0


def tags(world):
    return [it.query for it in list(world.sim.calls) if it.method != "GET"]
