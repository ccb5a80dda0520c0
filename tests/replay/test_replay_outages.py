"""What a replay promises where only the details of recordings can't be had."""

import msgspec
import pytest
from replay_world import World

from bot.errors import TryLater
from bot.replay.run import Progress
from mouseflow.simulator.quirks import Quirks

PATHS = """
paths:
  watch: recordings
  when: {saw_page: /checkout*}
  do: {tag: paths}
"""


@pytest.fixture(params=[True, False], ids=["page views in lists", "details alone"])
def shop(tmp_path, request):
    made = World(tmp_path, PATHS, quirks=Quirks(expand=request.param))
    yield made
    made.close()


async def test_an_outage_of_details_alone_ends_it_and_no_day_is_kept_without_them(shop):
    shop.sim.fail("status", status=503, times=9999, path="/recordings/")
    with pytest.raises(TryLater):
        await shop.replay()
    shop.sim.faults.clear()
    kept = msgspec.json.decode(shop.kept[-1], type=Progress) if shop.kept else None
    done = await shop.replay(progress=kept)
    assert done.tally.undetailed == 0
    assert shop.matched() == await shop.truth(await shop.ids())


async def test_one_detail_that_always_fails_stops_no_day(shop):
    truth = await shop.truth(await shop.ids())
    bad = min(key for _rule, key in truth)
    shop.sim.fail("status", status=500, times=9999, path=f"/recordings/{bad}")
    await shop.replay()
    assert shop.matched() >= truth - {("paths", bad)}
