"""What actions do to a recording, also when it is done twice, half, or the recording is gone."""

from contextlib import suppress
from datetime import timedelta

import pytest
from action_world import World, again, reread, task, unshared

from bot.actions.base import Done
from bot.actions.delete import Delete
from bot.actions.share import Share, Unshare
from bot.actions.star import Star
from bot.actions.tag import Tag, Untag
from bot.actions.variables import Variables
from bot.actions.watched import Watched
from bot.domain.step import DELETED
from bot.errors import Forbidden, GiveUp, Gone, TryLater

ONE = "/websites/{website-id}/recordings/{recording-id}"
WEEK = timedelta(days=7)
EVERY = (
    Tag(tag="a"),
    Untag(tag="a"),
    Star(),
    Star(on=False),
    Watched(),
    Watched(on=False),
    Variables(values={"k": "v"}),
    Share(expires=WEEK),
    Unshare(),
)


@pytest.mark.parametrize("action", [*EVERY, Delete()], ids=repr)
async def test_a_repeated_action_leaves_the_recording_as_the_first_did(action):
    once, twice = World(), World()
    await action.perform(unshared(), once.ports)
    await action.perform(unshared(), twice.ports)
    await reread(action).perform(again(unshared()), twice.ports)
    assert twice.account.recording == once.account.recording


@pytest.mark.parametrize("action", EVERY, ids=repr)
async def test_an_action_whose_answer_was_lost_takes_effect_once(action):
    world, plain = World(), World()
    for route in ("/tag", "/star", "/watched", "/variables", "/share"):
        for method in ("POST", "PUT", "DELETE"):
            world.account.lost[f"{method} {ONE}{route}"] = 1
    try:
        await action.perform(unshared(), world.ports)
    except TryLater:
        await action.perform(again(unshared()), world.ports)
    await action.perform(unshared(), plain.ports)
    assert world.account.recording == plain.account.recording
    assert world.account.shares == plain.account.shares


ENDS = (Untag(tag="a"), Star(on=False), Watched(on=False), Unshare(), Unshare(token="t"), Delete())
"""Actions whose aim is reached when the recording is gone."""


@pytest.mark.parametrize("action", ENDS, ids=repr)
@pytest.mark.parametrize("attempted", [False, True])
async def test_what_should_end_has_ended_with_the_recording(action, attempted):
    world = World()
    world.account.recording = None
    given = again(unshared()) if attempted else unshared()
    assert (await action.perform(given, world.ports)).note == (
        "nothing to do: the recording is gone"
    )


@pytest.mark.parametrize("action", [action for action in EVERY if action not in ENDS], ids=repr)
async def test_a_recording_that_is_gone_is_given_up(action):
    world = World()
    world.account.recording = None
    with pytest.raises(GiveUp, match="the recording is gone") as raised:
        await action.perform(unshared(), world.ports)
    assert isinstance(raised.value.__cause__, Gone)


@pytest.mark.parametrize("action", EVERY[:-1], ids=repr)
async def test_a_write_that_took_effect_without_an_answer_is_not_repeated(action):
    world = World()
    for route in ("/tag", "/star", "/watched", "/variables", "/share"):
        for method in ("POST", "PUT", "DELETE"):
            world.account.lost[f"{method} {ONE}{route}"] = 99
    with suppress(TryLater):
        await action.perform(unshared(), world.ports)
    writes = list(world.account.writes)
    await action.perform(again(unshared()), world.ports)
    assert world.account.writes == writes


@pytest.mark.parametrize("action", EVERY[:-1], ids=repr)
async def test_a_read_only_website_is_named_with_what_to_do(action):
    world = World()
    for route in ("/tag", "/star", "/watched", "/variables", "/share"):
        for method in ("POST", "PUT", "DELETE"):
            world.account.status[f"{method} {ONE}{route}"] = 403
    with pytest.raises(GiveUp, match=r"myshop\.com is read-only") as raised:
        await action.perform(unshared(), world.ports)
    assert "write access" in raised.value.remedy
    assert isinstance(raised.value.__cause__, Forbidden)


@pytest.mark.parametrize("action", EVERY, ids=repr)
async def test_a_refused_password_makes_every_step_wait_and_loses_none(action):
    world = World()
    for method in ("GET", "POST", "PUT", "DELETE"):
        for route in ("", "/tag", "/star", "/watched", "/variables", "/share"):
            world.account.status[f"{method} {ONE}{route}"] = 401
    with pytest.raises(TryLater) as raised:
        await action.perform(unshared(), world.ports)
    assert raised.value.lane


async def test_tagging_tags_and_says_so():
    world = World()
    done = await Tag(tag="friction").perform(unshared(), world.ports)
    assert world.account.recording["tags"] == ["friction"]
    assert done.note == "tagged friction"


async def test_a_tag_that_was_there_costs_no_call():
    world = World()
    await Tag(tag="click-rage").perform(task(), world.ports)
    assert world.account.calls == []


async def test_a_tag_whose_answer_was_lost_is_seen_and_not_put_on_again():
    world = World()
    world.account.lost[f"POST {ONE}/tag"] = 1
    with pytest.raises(TryLater):
        await Tag(tag="friction").perform(unshared(), world.ports)
    await Tag(tag="friction").perform(again(unshared()), world.ports)
    assert len(world.account.writes) == 1


async def test_taking_off_a_tag_that_is_absent_is_done_even_if_the_api_says_404():
    world = World()
    world.account.status[f"DELETE {ONE}/tag"] = 404
    done = await Untag(tag="a").perform(unshared(), world.ports)
    assert done.note == "had no tag a"


async def test_stars_and_watched_marks_come_and_go():
    world = World()
    await Star().perform(unshared(), world.ports)
    await Watched().perform(unshared(), world.ports)
    assert (world.account.recording["starred"], world.account.recording["watched"]) == (True, True)
    await Star(on=False).perform(unshared(), world.ports)
    await Watched(on=False).perform(unshared(), world.ports)
    assert (world.account.recording["starred"], world.account.recording["watched"]) == (
        False,
        False,
    )


@pytest.mark.parametrize("replaces", [False, True])
async def test_variables_that_are_not_named_stay_whatever_the_api_does(replaces):
    world = World()
    world.account.replaces_variables = replaces
    world.account.recording["variables"] = ["cart-value=120", "old=1"]
    await Variables(values={"seen": "yes", "old": ""}).perform(unshared(), world.ports)
    assert set(world.account.recording["variables"]) == {"cart-value=120", "seen=yes"}


async def test_variables_that_do_not_stick_are_tried_again():
    world = World()
    world.account.deaf = True
    with pytest.raises(TryLater, match="does not show them yet"):
        await Variables(values={"seen": "yes"}).perform(unshared(), world.ports)


async def test_a_share_ends_after_its_time_and_keeps_its_token_secret():
    world = World()
    done = await Share(expires=WEEK).perform(unshared(), world.ports)
    (later,) = done.follow
    assert (done.result, later.after) == ("T1", WEEK)
    assert "T1" not in f"{done.note} {later.action!r} {done!r}"
    await reread(later.action).perform(unshared(), world.ports)
    assert "token" not in world.account.recording


async def test_a_share_that_somebody_else_made_is_used_and_never_ended():
    world = World()
    world.account.recording["token"] = "theirs"
    done = await Share(expires=WEEK).perform(unshared(), world.ports)
    assert (done.result, done.follow, world.account.writes) == ("theirs", (), [])


async def test_a_share_whose_answer_was_lost_is_found_and_still_expires():
    world = World()
    world.account.lost[f"POST {ONE}/share"] = 1
    with pytest.raises(TryLater):
        await Share(expires=WEEK).perform(unshared(), world.ports)
    done = await Share(expires=WEEK).perform(again(unshared()), world.ports)
    assert (done.result, world.account.shares) == ("T1", 1)
    assert [later.action for later in done.follow] == [Unshare(token="T1")]


async def test_a_share_that_was_there_when_the_rule_matched_stays_theirs_after_a_lost_answer():
    world = World()
    world.account.recording["token"] = "T0KEN"
    done = await Share(expires=WEEK).perform(again(task()), world.ports)
    assert (done.result, done.follow) == ("T0KEN", ())


async def test_only_the_share_that_the_bot_made_is_ended():
    world = World()
    world.account.recording["token"] = "newer"
    done = await Unshare(token="T1").perform(unshared(), world.ports)
    assert world.account.recording["token"] == "newer"
    assert "somebody has shared it again" in done.note


async def test_a_pages_heatmap_is_shared_and_its_token_read_from_the_page():
    world = World()
    done = await Share(expires=WEEK).perform(task("pages"), world.ports)
    assert (done.result, world.account.page["token"]) == ("T1", "T1")
    await done.follow[0].action.perform(task("pages"), world.ports)
    assert "token" not in world.account.page


async def test_deleting_twice_is_deleting_once():
    world = World()
    gone = "nothing to do: the recording is gone"
    assert await Delete().perform(task(), world.ports) == Done("deleted", DELETED)
    assert await Delete().perform(task(), world.ports) == Done(gone)
    # The attempt of unknown outcome deleted it.
    assert await Delete().perform(again(task()), world.ports) == Done(gone, DELETED)
