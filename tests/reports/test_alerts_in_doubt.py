"""Alerts where several things come together: no data, restarts, edits and rows listed twice."""

import pytest
from report_world import World

FUNNEL = """
dip:
  watch: funnels
  when: {conversion: {under: 20%}}
  resolved: true
  do: {slack: {channel: "#ux"}}
"""


def held(hours):
    return FUNNEL + f"  for: {hours}h\n"


async def given(world, *completed, of=100):
    """What each of these looks brings; None: nobody has entered, "gone": not in the list."""
    found = []
    for each in completed:
        world.api.funnels.clear()
        if each != "gone":
            world.api.funnels["f"] = [of, each] if each is not None else [0, 0]
        found.append(await world.looked())
    return found


FIRES, ENDS, NOTHING = ["dip: slack"], ["dip: resolved"], []


@pytest.mark.parametrize("missing", [None, "gone"])
async def test_no_data_at_a_restart_ends_and_repeats_nothing(missing):
    world = World("funnels", FUNNEL)
    assert await given(world, 10) == [FIRES]
    world.restart()
    first = await given(world, missing)
    assert first == [NOTHING]
    world.restart()
    assert await given(world, 10, 10, 10) == [NOTHING] * 3
    world.restart()
    assert await given(world, 50) == [NOTHING]
    world.restart()
    assert await given(world, 50) == [ENDS]


async def test_an_end_needs_two_looks_that_know_also_across_no_data_and_a_restart():
    world = World("funnels", FUNNEL)
    assert await given(world, 10, 50, None) == [FIRES, NOTHING, NOTHING]
    world.restart()
    assert await given(world, None, 10) == [NOTHING, NOTHING]
    assert await given(world, 50, 10, 50, 50) == [NOTHING, NOTHING, NOTHING, ENDS]


async def test_for_pauses_without_data_across_a_restart():
    world = World("funnels", held(1))
    assert await given(world, 10, 10, 10) == [NOTHING] * 3
    world.restart()
    assert await given(world, None, None) == [NOTHING] * 2
    world.restart()
    assert await given(world, 10, 10, 10, 10) == [NOTHING, NOTHING, FIRES, NOTHING]


async def test_a_shorter_for_holds_at_once_and_a_longer_one_too():
    world = World("funnels", held(3))
    assert await given(world, *[10] * 9) == [NOTHING] * 9
    world.edit(held(1))
    assert await given(world, 10) == [FIRES]
    world.edit(held(6))
    assert await given(world, 10, 10) == [NOTHING] * 2
    assert await given(world, 50, 50) == [NOTHING, ENDS]
    assert await given(world, *[10] * 24) == [NOTHING] * 24
    assert await given(world, 10) == [FIRES]


async def test_for_that_is_added_to_an_alert_repeats_nothing():
    world = World("funnels", FUNNEL)
    assert await given(world, 10) == [FIRES]
    world.edit(held(1))
    assert await given(world, *[10] * 8) == [NOTHING] * 8
    assert await given(world, 50, 50) == [NOTHING, ENDS]


async def test_resolved_that_is_added_or_taken_out_holds_for_the_alert_there_is():
    world = World("funnels", FUNNEL.replace("  resolved: true\n", ""))
    assert await given(world, 10) == [FIRES]
    world.edit(FUNNEL)
    assert await given(world, 50, 50) == [NOTHING, ENDS]
    assert await given(world, 10) == [FIRES]
    world.edit(FUNNEL.replace("  resolved: true\n", ""))
    assert await given(world, 50, 50) == [NOTHING, NOTHING]
    world.edit(FUNNEL)
    assert await given(world, 50, 10) == [NOTHING, FIRES]


async def test_a_condition_that_is_edited_while_there_is_no_data_waits_for_it():
    world = World("funnels", FUNNEL)
    assert await given(world, 10) == [FIRES]
    world.edit(FUNNEL.replace("20%", "15%"))
    assert await given(world, None, None, "gone") == [NOTHING] * 3
    assert await given(world, 10) == [FIRES]


async def test_a_condition_that_is_edited_while_there_is_no_data_may_end_the_alert():
    world = World("funnels", FUNNEL)
    assert await given(world, 10) == [FIRES]
    world.edit(FUNNEL.replace("20%", "5%"))
    assert await given(world, None, None) == [NOTHING] * 2
    found = await given(world, 10, 10)
    assert [each for one in found for each in one] == ENDS


async def test_an_edit_that_is_taken_back_before_any_look_changes_nothing():
    world = World("funnels", FUNNEL)
    assert await given(world, 10) == [FIRES]
    world.edit(FUNNEL.replace("20%", "5%"))
    world.edit(FUNNEL)
    assert await given(world, 10, 10) == [NOTHING] * 2
    assert await given(world, 50, 50) == [NOTHING, ENDS]


async def test_a_rename_with_an_edit_of_for_keeps_the_time_that_it_held():
    world = World("funnels", held(2))
    assert await given(world, *[10] * 5) == [NOTHING] * 5
    world.edit(held(1).replace("dip:", "fall:") + "  was: dip\n")
    assert await given(world, 10) == [["fall: slack"]]


@pytest.mark.parametrize("first", [10, 60])
async def test_two_funnels_of_one_key_are_one_in_whatever_order_they_come(first):
    world = World("funnels", FUNNEL)
    other = 70 - first
    found = []
    for n in range(12):
        mine, theirs = (first, other) if n % 2 else (other, first)
        world.api.funnels["f"] = [100, mine]
        steps = [
            {"name": "a", "url": "/0", "count": 100},
            {"name": "b", "url": "/1", "count": theirs},
        ]
        world.api.repeated = [{"funnelId": "f", "name": "f", "steps": steps}]
        found += await world.looked()
        if n == 5:
            world.restart()
    assert found == []


async def test_a_row_that_is_listed_twice_now_and_then_neither_fires_nor_ends():
    world = World("funnels", FUNNEL)
    assert await given(world, 10) == [FIRES]
    found = []
    for n in range(8):
        world.api.funnels["f"] = [100, 10]
        steps = [{"name": "a", "url": "/0", "count": 0}, {"name": "b", "url": "/1", "count": 0}]
        world.api.repeated = [{"funnelId": "f", "name": "f", "steps": steps}] if n % 2 else []
        found += await world.looked()
    assert found == []
