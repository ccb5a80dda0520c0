"""A recording rule that comes after hours without any begins when it comes."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from poll_world import Account, rules

from bot.polling.record_matches import Routing
from bot.polling.recordings import PollContext
from bot.watcher import Watcher

NONE_ABOUT_RECORDINGS = """
stopped:
  watch: websites
  when: {status: Stopped}
  do: {slack: {}}
"""


def short(name: str) -> str:
    return f"""
{name}:
  watch: recordings
  when: {{duration: {{under: 1h}}}}
  do: {{tag: {name}}}
"""


@pytest.fixture
def shop(tmp_path):
    made = Account(tmp_path, short("first"), start=timedelta())
    yield made
    made.close()


async def watched(shop: Account, watcher: Watcher, *, minutes: int) -> None:
    for _ in range(minutes):
        shop.wait(minutes=1)
        assert await watcher.poll_recordings(shop.site)


async def test_sessions_that_were_live_when_the_last_rule_went_are_left_to_no_later_rule(shop):
    context = PollContext(shop.sender, shop.store, ZoneInfo(shop.zone), shop.settle, shop.start,
                Routing("#mouseflow", shop.zone))  # fmt: skip
    watcher = Watcher(
        context, rules(short("first")), ops=None, wake=lambda: None, clock=lambda: shop.now
    )
    await watcher.find_sites()
    await watched(shop, watcher, minutes=1)
    shop.sim.add("myshop.com", "checkout-friction", start=1)
    await watched(shop, watcher, minutes=3)
    await watcher.use_rules(rules(NONE_ABOUT_RECORDINGS))
    await watched(shop, watcher, minutes=2)
    shop.wait(hours=5)
    await watcher.use_rules(rules(short("later")))
    await watched(shop, watcher, minutes=1)
    new = shop.sim.add("myshop.com", "checkout-friction", start=1)
    await watched(shop, watcher, minutes=50)
    assert shop.matched() == {("later", new)}
