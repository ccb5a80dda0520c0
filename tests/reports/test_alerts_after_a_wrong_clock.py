"""An alert keeps its times after a clock that was ahead for a while and is right again."""

from datetime import timedelta
from itertools import pairwise

import pytest
from report_world import World
from test_alerts_in_doubt import ENDS, FIRES, FUNNEL, given, held
from test_known_and_true import FEEDBACK, told

pytestmark = pytest.mark.parametrize("hours", [0.5, 5, 30, 24 * 500])


def posts(found):
    """All posts of several looks."""
    return [each for one in found for each in one]


async def test_for_counts_from_the_right_clock(hours):
    world = World("funnels", held(1))
    await given(world, 50)
    world.now += timedelta(hours=hours)
    assert posts(await given(world, 10, 10)) == []
    world.now -= timedelta(hours=hours)
    assert posts(await given(world, *[10] * 6)) == FIRES
    assert posts(await given(world, 50, 50)) == ENDS


async def test_an_alert_that_fired_by_a_clock_ahead_ends_and_fires_again(hours):
    world = World("funnels", FUNNEL)
    await given(world, 50)
    world.now += timedelta(hours=hours)
    assert posts(await given(world, 10)) == FIRES
    world.now -= timedelta(hours=hours)
    assert posts(await given(world, 10, 10)) == []
    assert posts(await given(world, 50, 50)) == ENDS
    assert posts(await given(world, 10)) == FIRES
    assert posts(await given(world, "gone", "gone")) == ENDS


async def test_reminders_count_from_the_right_clock(hours):
    world = World("funnels", FUNNEL + "  remind: 2h\n")
    world.now += timedelta(hours=hours)
    assert posts(await given(world, 10)) == FIRES
    world.now -= timedelta(hours=hours)
    found = await given(world, *[10] * 40)
    assert len(posts(found)) == 4  # in ten hours, the first of them without a reminder before
    apart = [n for n, each in enumerate(found) if each]
    assert all(two - one == 8 for one, two in pairwise(apart))


async def test_responses_count_by_the_right_clock(hours):
    world = World("feedback", FEEDBACK)
    assert await told(world, [10, 10]) == [0, 0]
    world.now += timedelta(hours=hours)
    assert await told(world, [10, 16, 5]) == [0, 1, 0]
    world.now -= timedelta(hours=hours)
    assert await told(world, [5] * 6 + [11]) == [0] * 6 + [1]
