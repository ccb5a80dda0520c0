"""A website that the account no longer has is over, once two lists in a row lack it."""

import sys
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

sys.path.append(str(Path(__file__).parents[1] / "poll"))

from poll_world import Account, rules

from bot.poll.matching import Routing
from bot.poll.recordings import Desk
from bot.store.matches import matches_of
from bot.store.queue import steps_of
from bot.watching import Watcher

RULES = """
not-recording:
  watch: websites
  when: {status: Stopped}
  resolved: true
  do: {slack: {channel: "#ops"}}
"""


async def test_a_website_that_is_gone_for_good_ends_its_episode(tmp_path):
    shop = Account(tmp_path, RULES)
    desk = Desk(shop.sender, shop.store, ZoneInfo(shop.zone), timedelta(minutes=35), shop.start,
                Routing("#mouseflow", shop.zone))  # fmt: skip
    watcher = Watcher(desk, rules(RULES), ops=None, wake=lambda: None, clock=lambda: shop.now)
    await watcher.find_sites()
    shop.sim.intervene("myshop.com", status="Stopped")
    shop.wait(minutes=15)
    assert await watcher.poll_reports(shop.site)
    (fired,) = shop.store.do(matches_of)
    gone = shop.sim.world.sites.pop(shop.site.id)

    await watcher.find_sites()
    assert len(shop.store.do(matches_of)) == 1
    shop.sim.world.sites[gone.id] = gone
    await watcher.find_sites()
    del shop.sim.world.sites[gone.id]
    await watcher.find_sites()
    assert len(shop.store.do(matches_of)) == 1

    await watcher.find_sites()
    ended = [match for match in shop.store.do(matches_of) if match.key != fired.key]
    assert len(ended) == 1
    steps = shop.store.do(lambda conn: steps_of(conn, ended[0].key))
    assert [step.action for step in steps] == ["resolved"]
    shop.close()
