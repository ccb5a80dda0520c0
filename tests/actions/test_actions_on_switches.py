"""Switching websites and campaigns: only what the bot may, verified, and with a way back."""

import json

import pytest
from action_world import World, again, task

from bot.actions.enabled import Enabled
from bot.actions.recording import RecordingSwitch
from bot.actions.recording_rate import RecordingRate
from bot.errors import GiveUp, TryLater

WEBSITE = "/websites/{website-id}"
STOP, START = RecordingSwitch(to="stop"), RecordingSwitch(to="start")


async def test_stopping_and_starting_is_verified_and_reported():
    world = World()
    stopped = await STOP.perform(task("websites"), world.ports)
    assert (world.account.website["status"], stopped.result) == ("Stopped", "changed")
    started = await START.perform(task("websites"), world.ports)
    assert (world.account.website["status"], started.result) == ("Recording", "changed")


@pytest.mark.parametrize("status", ["Paused", "NotInstalled", "SomethingNew"])
@pytest.mark.parametrize("action", [STOP, START])
async def test_mouseflows_own_states_are_left_alone(status, action):
    world = World()
    world.account.website["status"] = status
    done = await action.perform(task("websites"), world.ports)
    assert world.account.writes == []
    assert (done.result, status in done.note) == ("unchanged", True)


async def test_a_website_that_a_person_stopped_is_not_claimed():
    world = World()
    world.account.website["status"] = "Stopped"
    done = await STOP.perform(task("websites", subject={"status": "Stopped"}), world.ports)
    assert (done.result, world.account.writes) == ("unchanged", [])


async def test_a_switch_whose_answer_was_lost_counts_as_ours_and_is_not_repeated():
    world = World()
    world.account.lost[f"PUT {WEBSITE}"] = 1
    with pytest.raises(TryLater):
        await STOP.perform(task("websites"), world.ports)
    done = await STOP.perform(again(task("websites")), world.ports)
    assert (done.result, len(world.account.writes)) == ("changed", 1)


async def test_a_switch_that_somebody_else_threw_in_the_meantime_is_not_claimed():
    world = World()
    world.account.website["status"] = "Stopped"
    done = await STOP.perform(task("websites"), world.ports)
    assert (done.result, world.account.writes) == ("unchanged", [])


@pytest.mark.parametrize(
    ("action", "kind"),
    [(STOP, "websites"), (RecordingRate(rate=25), "websites"), (Enabled(on=False), "feedback")],
)
async def test_a_switch_that_does_not_stick_is_not_reported_as_done(action, kind):
    world = World()
    world.account.deaf = True
    with pytest.raises(TryLater) as raised:
        await action.perform(task(kind), world.ports)
    assert raised.value.unknown


async def test_the_rate_before_is_kept_for_whoever_puts_it_back():
    world = World()
    done = await RecordingRate(rate=25).perform(task("websites"), world.ports)
    assert (world.account.website["recordingRate"], done.result) == (25, "100")
    again_done = await RecordingRate(rate=25).perform(again(task("websites")), world.ports)
    assert (again_done.result, len(world.account.writes)) == ("100", 1)


async def test_only_the_one_key_of_a_website_is_sent():
    world = World()
    bodies = []
    send = world.account.send

    async def watching(request):
        bodies.append(request.body)
        return await send(request)

    world.account.send = watching
    await RecordingRate(rate=25).perform(task("websites"), world.ports)
    assert [json.loads(body) for body in bodies if body] == [{"recordingRate": 25}]


async def test_a_campaign_is_switched_with_everything_else_as_it_was():
    world = World()
    before = dict(world.account.campaign)
    done = await Enabled(on=False).perform(task("feedback"), world.ports)
    assert world.account.campaign == before | {"enabled": False}
    backup = json.loads(done.note.partition("before: ")[2])
    assert backup["unheardOf"] == {"kept": [1, 2]}
    assert "report" not in backup
    assert "s3cret" not in done.note


async def test_a_campaign_that_is_so_already_is_not_written():
    world = World()
    done = await Enabled(on=True).perform(task("feedback"), world.ports)
    assert (done.note, world.account.writes) == ("was on already", [])


async def test_a_website_that_is_gone_is_named_as_such():
    world = World()
    world.account.status[f"GET {WEBSITE}"] = 404
    with pytest.raises(GiveUp, match="the website is gone"):
        await STOP.perform(task("websites"), world.ports)
