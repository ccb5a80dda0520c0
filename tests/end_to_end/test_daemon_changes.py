"""What changes while the daemon starts or runs is noticed: rule files, and what Slack allows."""

import asyncio
import os
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs
from virtual_world import World, rules_now, virtually

from bot.errors import TryLater
from bot.ports import CannotLook
from bot.store.recordings import blind_channels

RULES = """
version: 1
rules:
  on-the-phone:
    watch: recordings
    when: {device: phone}
    do: {tag: phone, slack: {channel: "#ux"}}
  stopped:
    watch: websites
    when: {status: Stopped}
    do: {slack: {channel: "#ux"}}
"""
WITHOUT = RULES.replace("watch: recordings\n    when: {device: phone}\n    do: {tag: phone, slack",
                        "watch: websites\n    when: {status: Paused}\n    do: {slack")  # fmt: skip


SLOWLY = {"BOT_MOUSEFLOW__REQUESTS_PER_SECOND": "0.2"}


def tags(world):
    return [it.query for it in world.sim.calls if it.method != "GET"]


def test_a_rule_file_edited_while_the_daemon_starts_is_taken_up(tmp_path):
    world = World(tmp_path, RULES, websites=1)

    async def work():
        seen, start = await rules_now(world.settings, world.store)
        world.rule_file.write_text(RULES.replace("tag: phone", "tag: another"))
        async with world.daemon(seen=seen, start=start):
            world.sim.add("site-000", "phone-bounce", start=10)
            await asyncio.sleep(120)

    virtually(work)
    assert tags(world) == ["tag=another"]


def test_a_rule_removed_while_days_are_caught_up_is_obeyed_no_longer(tmp_path):
    world = World(tmp_path, RULES, websites=1, BOT_POLL__START="6d", **SLOWLY)

    async def work():
        for hour in range(4, 130):
            world.sim.add("site-000", "phone-bounce", start=-hour * 3600)
        async with world.daemon():
            await asyncio.sleep(15)
            world.rule_file.write_text(WITHOUT)
            await asyncio.sleep(60)
            asked = len(world.polls())
            await asyncio.sleep(600)
            assert len(world.polls()) == asked

    virtually(work)
    assert 0 < len(tags(world)) < 126


def test_the_same_faults_are_told_once_however_often_the_files_are_read(tmp_path):
    world = World(tmp_path, RULES, websites=1)
    broken, otherwise = RULES.replace("device", "devce"), RULES.replace("device", "devise")

    async def work():
        async with world.daemon():
            for text, times in ((broken, 3), (otherwise, 1), (RULES, 1), (broken, 2)):
                world.rule_file.write_text(text)
                for _ in range(times):
                    world.reload.set()
                    await asyncio.sleep(10)

    with capture_logs() as log:
        virtually(work)
    begun, changed, ended, again = world.told_whole()
    assert ["devce" in told for told in (begun, changed, again)] == [True, False, True]
    assert "fixed" in ended
    # Files that have not changed are not read again.
    assert [line["event"] for line in log].count("rules.reload_failed") == 3


@pytest.mark.parametrize(
    ("part", "error"),
    [
        ("bot.rules.files.load.yaml._Scanner.fetch_more_tokens", RecursionError),
        ("bot.rules.files.load.decoded", OSError),
        ("bot.rules.files.load.lint", LookupError),
        ("bot.rules.files.load._digest", MemoryError),
        ("bot.rules.tests.rule_answer", LookupError),
        ("bot.rules.tests.run", AssertionError),
        ("bot.watcher.watched_sites", LookupError),
    ],
)
def test_a_bug_while_rules_are_reloaded_leaves_the_previous_rules_active(tmp_path, part, error):
    world = World(tmp_path, RULES, websites=1)
    tested = RULES.replace(
        "  stopped:",
        "    tests: [{name: mine, given: {device: phone}, expect: match}]\n  stopped:",
    )

    async def work():
        async with world.daemon():
            await asyncio.sleep(10)
            with pytest.MonkeyPatch.context() as broken:
                broken.setattr(part, Mock(side_effect=error))
                world.rule_file.write_text(tested.replace("tag: phone", "tag: another"))
                await asyncio.sleep(10)
            world.sim.add("site-000", "phone-bounce", start=10)
            await asyncio.sleep(120)
            assert tags(world) == ["tag=phone"]
            world.rule_file.write_text(tested.replace("tag: phone", "tag: corrected"))
            await asyncio.sleep(60)
            world.sim.add("site-000", "phone-bounce", start=10)
            await asyncio.sleep(120)

    virtually(work)
    assert tags(world) == ["tag=phone", "tag=corrected"]
    told, ended = world.told_whole()
    assert "The previous rules stay active" in told
    assert "the errors in the rule files are fixed" in ended
    assert f"internal error: {error.__name__} at " in told


def test_a_bug_while_files_are_looked_at_ends_nothing(tmp_path):
    world = World(tmp_path, RULES, websites=1)

    async def work():
        async with world.daemon():
            await asyncio.sleep(10)
            with pytest.MonkeyPatch.context() as broken:
                broken.setattr("bot.rule_reader.disk.signature", Mock(side_effect=LookupError))
                world.rule_file.write_text(RULES.replace("tag: phone", "tag: another"))
                await asyncio.sleep(10)
            await asyncio.sleep(10)
            world.sim.add("site-000", "phone-bounce", start=10)
            await asyncio.sleep(120)

    virtually(work)
    assert tags(world) == ["tag=another"]


@pytest.mark.parametrize("begin", [0, 60], ids=["at the start", "later"])
def test_a_bug_with_the_list_of_websites_ends_nothing(tmp_path, begin):
    world = World(tmp_path, RULES, websites=1, BOT_POLL__REPORTS="5m")

    async def work():
        with pytest.MonkeyPatch.context() as broken:
            async with world.daemon():
                await asyncio.sleep(begin)
                broken.setattr("bot.watcher.save_sites", Mock(side_effect=LookupError))
                await asyncio.sleep(600)
                world.sim.add("site-000", "phone-bounce", start=10)
                if not begin:
                    broken.undo()
                await asyncio.sleep(120)
                assert tags(world) == ["tag=phone"]

    with capture_logs() as log:
        virtually(work)
    events = [line["event"] for line in log]
    assert events.count("websites.internal_error") == 1
    assert "daemon.internal_error" not in events


@pytest.mark.parametrize(
    "part", ["bot.cleanup.forget", "bot.daemon.SlackLookup.run", "bot.daemon.Daemon._keep_pause"]
)
def test_a_bug_in_a_side_task_ends_nothing(tmp_path, part):
    world = World(tmp_path, RULES, websites=1)

    async def work():
        with pytest.MonkeyPatch.context() as broken:
            broken.setattr(part, Mock(side_effect=LookupError))
            async with world.daemon():
                await asyncio.sleep(300)
                world.sim.add("site-000", "phone-bounce", start=10)
                await asyncio.sleep(120)

    with capture_logs() as log:
        virtually(work)
    assert tags(world) == ["tag=phone"]
    assert {"daemon.task_failed", "store.cleanup_failed"} & {line["event"] for line in log}


def _sparse(file):
    with file.open("wb") as opened:
        opened.truncate(6_000_000_000)


def _pipe(file):
    file.unlink()
    os.mkfifo(file)


def _link_to_nothing(file):
    file.unlink()
    file.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.write_text(f"%YAML 1.3\n---{RULES}"), "write %YAML 1.2"),
        (lambda file: file.write_text(RULES.replace("phone}", r'"\ud800"}')), "half a character"),
        (lambda file: file.write_text(RULES.replace("stopped:", r'"\ud800":')), "half a character"),
        (lambda file: file.write_bytes(b"\xff\xff"), "not UTF-8"),
        (_sparse, "too big"),
        (_pipe, "it is not a file"),
        (_link_to_nothing, "no such rule file"),
    ],
    ids=["directive", "half-value", "half-key", "bytes", "sparse", "pipe", "dangling"],
)
def test_whatever_a_rule_file_becomes_the_previous_rules_stay_active(tmp_path, spoil, said):
    world = World(tmp_path, RULES, websites=1)

    async def work():
        async with world.daemon():
            await asyncio.sleep(10)
            spoil(world.rule_file)
            await asyncio.sleep(10)
            world.sim.add("site-000", "phone-bounce", start=10)
            await asyncio.sleep(120)
            assert tags(world) == ["tag=phone"]
            world.rule_file.unlink()
            world.rule_file.write_text(RULES.replace("tag: phone", "tag: corrected"))
            await asyncio.sleep(60)
            world.sim.add("site-000", "phone-bounce", start=10)
            await asyncio.sleep(120)

    virtually(work)
    assert tags(world) == ["tag=phone", "tag=corrected"]
    told, ended = world.told_whole()
    assert "The previous rules stay active" in told
    assert "the errors in the rule files are fixed" in ended
    assert said in told


def test_a_poll_without_a_match_is_for_those_who_search_for_a_fault(tmp_path):
    world = World(tmp_path, RULES, websites=1)

    async def work():
        async with world.daemon():
            await asyncio.sleep(60)
            world.sim.add("site-000", "purchase", start=10)
            await asyncio.sleep(7200)
            world.sim.add("site-000", "phone-bounce", start=10)
            await asyncio.sleep(7200)

    with capture_logs() as log:
        virtually(work)
    decided = {(it["log_level"], it["matches"]) for it in log if it["event"] == "poll.decided"}
    assert decided == {("debug", 0), ("info", 1)}


class Doorkeeper:
    """Slack that answers a look into a channel as it is told to."""

    def __init__(self, **answers):
        self.answers = {f"#{name}": answer for name, answer in answers.items()}
        self.looks = []

    async def post(self, post):
        return "1"

    async def check_channel(self, channel):
        self.looks.append(channel)
        if channel in self.answers:
            raise self.answers[channel]


def watched_by(slack, tmp_path):
    world = World(tmp_path, RULES, websites=1)
    world.slack = slack
    return world


def blind(world):
    return world.store.do(blind_channels)


def test_a_channel_that_could_not_be_tried_is_tried_again(tmp_path):
    slack = Doorkeeper(ux=TryLater("Slack is away"))
    world = watched_by(slack, tmp_path)

    async def work():
        async with world.daemon():
            await asyncio.sleep(60)
            assert blind(world) == []
            slack.answers["#ux"] = CannotLook()
            await asyncio.sleep(600)
            assert blind(world) == ["#ux"]
            assert slack.looks.count("#ops") == 1  # what answered is left in peace
            looks = len(slack.looks)
            await asyncio.sleep(3600)
            assert len(slack.looks) == looks

    virtually(work)


def test_a_reload_tries_the_channels_anew(tmp_path):
    slack = Doorkeeper(ux=CannotLook(), new=CannotLook())
    world = watched_by(slack, tmp_path)

    async def work():
        async with world.daemon():
            await asyncio.sleep(60)
            assert blind(world) == ["#ux"]
            del slack.answers["#ux"]  # the bot was invited
            world.reload.set()
            await asyncio.sleep(60)
            assert blind(world) == []
            world.rule_file.write_text(RULES.replace("#ux", "#new"))
            await asyncio.sleep(60)
            assert blind(world) == ["#new"]

    virtually(work)
