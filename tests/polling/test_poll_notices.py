"""What people must be told is in the outbox as soon as it is so."""

from zoneinfo import ZoneInfo

import msgspec
import pytest
from poll_world import Account

from bot.notices import Notices
from bot.polling.context import PollContext
from bot.polling.record_matches import Routing
from bot.store.audit import history
from bot.store.rules import rule_states

CAREFUL = """
careful:
  watch: recordings
  when: {friction: {min: 2.5}}
  do: {tag: careful}
  safety: {at_most: 2 per hour}
"""


def notices(shop: Account) -> list[dict]:
    rows = shop.store.do(
        lambda conn: conn.exec_driver_sql(
            "SELECT params FROM steps WHERE action = 'notice' AND state = 'pending'"
        ).all()
    )
    return [msgspec.json.decode(params) for (params,) in rows]


@pytest.fixture
def account(tmp_path):
    opened = []

    def make(**options):
        opened.append(Account(tmp_path, CAREFUL, **options))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


async def flooded(shop: Account) -> None:
    for start in range(-400, -200, 40):
        shop.sim.add("myshop.com", "checkout-friction", start=start)
    await shop.poll()


async def test_a_rule_paused_by_its_safety_is_told_though_the_bot_dies_right_after(account):
    shop = account(ops="#ops")
    await flooded(shop)
    shop.restart()
    assert shop.store.do(rule_states)["careful"].paused_at is not None
    [told] = notices(shop)
    assert told["channel"] == "#ops"
    assert told["title"] == "Rule careful is paused: more than 2 matches within 1 h"
    assert told["page"] == "rules/careful"
    assert [entry.text for entry in shop.store.do(lambda conn: history(conn, kind="notice"))] == [
        "Rule careful is paused: more than 2 matches within 1 h"
    ]
    await flooded(shop)
    assert len(notices(shop)) == 1


async def test_without_anybody_to_tell_the_pause_is_in_the_audit_log_alone(account):
    shop = account()
    await flooded(shop)
    assert notices(shop) == []
    assert shop.store.do(lambda conn: history(conn, kind="rule.paused"))
    assert shop.store.do(lambda conn: history(conn, kind="notice"))


async def test_errors_after_an_account_was_gone_end_its_message_with_all_of_its_name(account):
    shop = account(ops="#ops")
    context = PollContext(shop.sender, shop.store, ZoneInfo(shop.zone), shop.settle, shop.start,
                Routing("#mouseflow", shop.zone))  # fmt: skip
    tell = Notices(context, ops="#ops", wake=lambda: None, clock=lambda: shop.now)
    gone = "[accounts.shop] is gone from the configuration"
    await tell.check_configuration(gone, removed=True)
    shop.wait(minutes=5)
    await tell.check_configuration("bot.toml: line 3: no such key")
    said = [entry.text for entry in shop.store.do(history)]
    assert f"ended after 5 min; 🔵 Turned into another trouble after 5 min: {gone}" in said
