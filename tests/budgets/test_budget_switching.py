"""What a budget does to websites: its steps, setting back, and state aside for people."""

from datetime import date, timedelta

import pytest
from budget_world import NoWebhook, Shop, World, budgets

from bot.actions import ACTIONS
from bot.delivery import Delivery
from bot.delivery.dry_run import DryMouseflow, DryRunLog, DrySlack
from bot.domain.budget import BUDGET
from bot.ports import Addresses, Ports
from bot.store.budgets import used

MONTHLY = """
credits:
  websites: [myshop.com]
  recordings: 30000
  period: month
  steps:
    80%: {slack: {channel: "#ops"}}
    95%: {recording_rate: 25, slack: {channel: "#ops"}}
    100%: {recording: stop, slack: {channel: "#ops"}}
  resume: true
"""


@pytest.fixture
def world():
    made = []

    def make(text=MONTHLY, *shops, **options):
        made.append(World(text, *(shops or [Shop("myshop.com", 1500)]), **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def january(shop):
    return sum(shop.true_count(day) for day in shop.made if (day.year, day.month) == (2026, 1))


def log(shop):
    return [(who, what) for _at, who, what in shop.log]


async def test_a_month_posts_throttles_stops_and_the_next_one_goes_on(world):
    bot = world()
    shop = bot.shops[0]
    await bot.run(days=16)
    assert log(shop) == [("bot", "25 %"), ("bot", "Stopped")]
    assert [len(bot.slack.said(f"{at} % step")) for at in (80, 95, 100)] == [1, 1, 1]
    used = january(shop)
    assert 0.98 * 30_000 <= used <= 30_000 * 1.01
    await bot.run(days=3)
    assert log(shop)[2:] == [("bot", "100 %"), ("bot", "Recording")]
    assert len(bot.slack.said("✅ Budget credits: ")) == 1
    assert bot.owned() == {}


async def test_messages_say_used_forecast_and_what_was_done(world):
    bot = world()
    await bot.run(days=31, until=lambda: bot.now.month == 2)
    first, second, third = (bot.slack.said(f"{at} % step")[0] for at in (80, 95, 100))
    assert "🔵 Budget credits: 80 % used (24,0" in first
    assert "of 30,000)" in first
    assert "At this rate it runs out on" in first
    assert "Nothing was changed. At 95 % the bot records 25 % of sessions, at 100 %" in first
    assert "🔶 Budget credits: 95 % used (" in second
    assert "passed the 95 % step · recording 25 % of sessions on myshop.com" in second
    assert "recording rate 100 % → 25 %" in second
    assert "🛑 Budget credits: 100 % used (" in third
    assert "passed the 100 % step · recording stopped on myshop.com" in third
    assert (
        "myshop.com: recording stopped. New sessions may still come in for up to an hour" in third
    )
    assert "Recording starts again on Sun 1 Feb, when the next period begins" in third


async def test_the_forecast_comes_true(world):
    bot = world()
    await bot.run(days=2)
    ends = bot.mark().ends
    bot.budgets = ()
    while january(bot.shops[0]) < 30_000:
        bot.wait(minutes=15)
    assert abs(ends - bot.now) < timedelta(hours=6)


async def test_a_person_who_starts_again_is_respected_and_told_about(world):
    bot = world()
    shop = bot.shops[0]
    await bot.run(days=31, until=lambda: shop.status == "Stopped")
    bot.wait(hours=1)
    shop.set(bot.now, "person", status="Recording")
    await bot.run(days=1)
    assert log(shop)[-1] == ("person", "Recording")
    assert len(bot.slack.said("somebody turned recording back on")) == 1


async def test_what_a_person_stopped_stays_stopped_in_the_new_period(world):
    bot = world()
    shop = bot.shops[0]
    await bot.run(days=31, until=lambda: shop.rate == 25)
    shop.set(bot.now, "person", status="Stopped")
    shop.made[bot.now.date()] += 3000  # from elsewhere: the stop step is reached as well
    await bot.run(days=15, until=lambda: bot.now.month == 2 and bot.now.day == 2)
    assert shop.status == "Stopped"
    assert ("bot", "Stopped") not in log(shop)
    assert ("bot", "Recording") not in log(shop)
    assert len(bot.slack.said("was stopped, not by the bot")) == 1
    assert len(bot.slack.said("stays stopped in the new period")) == 1


async def test_started_and_stopped_by_a_person_after_the_bots_stop_it_stays_stopped(world):
    bot = world()
    shop = bot.shops[0]
    await bot.run(days=31, until=lambda: shop.status == "Stopped")
    await bot.run(hours=1)
    shop.set(bot.now, "person", status="Recording")
    await bot.run(hours=1)
    shop.set(bot.now, "person", status="Stopped")
    await bot.run(days=20, until=lambda: bot.now.month == 2 and bot.now.day == 2)
    assert log(shop)[-2:] == [("person", "Stopped"), ("bot", "100 %")]
    assert len(bot.slack.said("stays stopped in the new period")) == 1


@pytest.mark.parametrize("status", ["Paused", "NotInstalled"])
async def test_mouseflows_own_states_are_never_touched(world, status):
    bot = world()
    shop = bot.shops[0]
    await bot.run(days=31, until=lambda: shop.rate == 25)
    shop.set(bot.now, "mouseflow", status=status)
    shop.made[bot.now.date()] += 3000
    await bot.run(days=20, until=lambda: bot.now.month == 2 and bot.now.day == 2)
    assert log(shop) == [("bot", "25 %"), ("mouseflow", status)]  # the account asserts it too
    shop.set(bot.now, "mouseflow", status="Recording")
    await bot.run(hours=1)
    assert log(shop)[-1] == ("bot", "100 %")


async def test_read_only_websites_are_counted_and_never_written(world):
    text = MONTHLY.replace("[myshop.com]", '["*"]')
    bot = world(text, Shop("myshop.com", 1000), Shop("partner.com", 500, read_only=True))
    await bot.run(days=16)
    assert [what for _who, what in log(bot.shops[0])] == ["25 %", "Stopped"]
    assert bot.shops[1].log == []
    assert "partner.com: not changed (read-only for the bot)" in bot.slack.said("100 % step")[0]


async def test_deleted_recordings_stay_used(world):
    bot = world()
    shop = bot.shops[0]
    await bot.run(days=1)
    used = bot.mark().used
    for day in shop.made:
        shop.deleted[day] = shop.true_count(day) // 2
    await bot.run(hours=1)
    assert bot.mark().used >= used


async def test_an_outage_over_the_end_of_the_period_is_made_up_for(world):
    bot = world(MONTHLY.replace("30000", "44000"))
    shop = bot.shops[0]
    await bot.run(days=15, every=timedelta(hours=2))
    bot.account.broken = True
    await bot.run(days=2, every=timedelta(hours=2))
    bot.account.broken = False
    while bot.now.month == 1:
        await bot.run(hours=2)
    await bot.run(hours=2)
    counted = bot.store.do(lambda conn: _ledger(conn, shop, 1))
    assert counted == january(shop)


def _ledger(conn, shop, month):
    found = used(conn, [shop.id], date(2026, month, 1), date(2026, month, 31))
    return sum(found[shop.id].values())


async def test_a_raised_budget_sets_back_what_it_stopped(world):
    bot = world()
    shop = bot.shops[0]
    await bot.run(days=31, until=lambda: shop.status == "Stopped")
    await bot.run(hours=1)
    bot.budgets = type(bot)(MONTHLY.replace("30000", "60000")).budgets
    await bot.run(hours=1)
    assert shop.status == "Recording"
    assert shop.rate == 100


async def test_steps_act_once_also_across_restarts_and_lost_switches_are_tried_again(world):
    bot = world()
    shop = bot.shops[0]
    await bot.run(days=31, until=lambda: bot.mark() and bot.mark().used > 28_000)
    bot.account.broken_writes = True
    await bot.run(hours=10)
    assert shop.log == []
    bot.account.broken_writes = False
    for _ in range(6):
        bot.restart()
        await bot.run(hours=3)
    assert log(shop) == [("bot", "25 %")]
    assert len(bot.slack.said("95 % step")) == 1


async def test_where_the_chart_is_missing_days_are_counted_one_by_one(world):
    bot = world(chart=False)
    await bot.run(days=3)
    shop = bot.shops[0]
    assert bot.mark().used == january(shop)


async def test_a_look_makes_a_handful_of_calls(world):
    bot = world()
    await bot.run(days=2)
    bot.account.calls.clear()
    bot.wait(minutes=15)
    await bot.poll_budgets()
    assert len(bot.account.calls) == 2  # the counts of all days, and the switch


async def test_where_the_api_ignores_dates_nothing_is_counted_or_switched(world):
    bot = world(dates=False)
    bot.wait(days=40)
    looked = await bot.poll()
    assert [site.name for site in looked.ignored] == ["myshop.com"]
    assert bot.shops[0].log == []
    assert bot.mark().used == 0


async def test_every_change_is_in_the_audit_log_with_its_figure(world):
    bot = world()
    await bot.run(days=18)
    held = [entry.text for entry in bot.audit("website.held")]
    released = [entry.text for entry in bot.audit("website.released")]
    assert len(held) == 2
    assert len(released) == 2
    assert all("of 30,000 recordings (" in text for text in (*held, *released))


async def test_two_budgets_share_a_website_the_looser_does_not_undo_the_tighter(world):
    text = """
credits:
  websites: [myshop.com]
  recordings: 34000
  period: month
  steps: {100%: {recording: stop}}
  resume: true
daily:
  websites: [myshop.com]
  recordings: 1000
  period: day
  steps: {100%: {recording: stop}}
  resume: true
"""
    bot = world(text)
    shop = bot.shops[0]
    await bot.run(days=31, until=lambda: bot.now.month == 2)
    mornings = [at for at, _who, what in shop.log if what == "Recording"]
    assert len(mornings) >= 8  # the day's budget starts again every morning
    assert january(shop) <= 34_000 * 1.02


async def test_a_budget_that_is_gone_leaves_the_website_as_it_is_and_says_so(world):
    bot = world()
    shop = bot.shops[0]
    await bot.run(days=31, until=lambda: shop.status == "Stopped")
    await bot.run(hours=1)
    bot.budgets = type(bot)(MONTHLY.replace("credits:", "other:").replace("30000", "90000")).budgets
    await bot.run(hours=1)
    assert shop.status == "Stopped"
    assert bot.owned() == {}
    assert "no longer in the rule files" in bot.audit("website.released")[0].text
    assert bot.stopped_by() == f"{BUDGET}credits"


async def test_who_starts_and_stops_what_a_gone_budget_left_stopped_has_stopped_it(world):
    bot = world()
    shop = bot.shops[0]
    await bot.run(days=31, until=lambda: shop.status == "Stopped")
    await bot.run(hours=1)
    bot.budgets = type(bot)(MONTHLY.replace("credits:", "other:").replace("30000", "90000")).budgets
    await bot.run(hours=1)
    shop.set(bot.now, "person", status="Recording")
    await bot.run(hours=1)
    shop.set(bot.now, "person", status="Stopped")
    await bot.run(hours=1)
    assert bot.stopped_by() is None


async def test_a_website_that_left_its_budget_stopped_was_stopped_by_the_budget(world):
    shops = Shop("myshop.com", 1500), Shop("b.com", 10)
    both = MONTHLY.replace("[myshop.com]", "[myshop.com, b.com]").replace(
        "resume: true", "resume: false"
    )
    bot = world(both, *shops)
    await bot.run(days=31, until=lambda: bot.shops[0].status == "Stopped")
    await bot.run(hours=1)
    bot.budgets = type(bot)(both.replace("[myshop.com, b.com]", "[b.com]"), *shops).budgets
    await bot.run(hours=1)
    assert bot.shops[0].status == "Stopped"
    assert (bot.shops[0].id, "recording") not in bot.owned()
    assert bot.stopped_by() == f"{BUDGET}credits"


async def test_a_dry_run_shows_what_would_be_switched_and_switches_nothing(world):
    bot = world(MONTHLY.replace("30000", "20000"))
    dry_run_log = DryRunLog()
    ports = Ports(
        DryMouseflow(bot.account, dry_run_log),
        DrySlack(dry_run_log),
        NoWebhook(),
        Addresses(channel="#usual"),
    )
    bot.delivery = Delivery(bot.store, ports, ACTIONS, clock=lambda: bot.now)
    await bot.poll_budgets()
    drained = await bot.delivery.drain()
    assert (drained.done, drained.postponed, drained.dead) == (5, 0, 0)
    assert dry_run_log.writes == ["PUT /websites/id-myshop.com"] * 2
    assert bot.shops[0].log == []


async def test_what_a_person_stopped_before_the_bot_could_is_not_the_bots(world):
    bot = world(MONTHLY.replace("30000", "20000"))
    shop = bot.shops[0]
    await bot.poll_budgets()
    shop.set(bot.now, "person", status="Stopped")
    await bot.delivery.drain()
    await bot.run(days=18)
    assert shop.status == "Stopped"
    assert ("bot", "Recording") not in log(shop)


async def test_after_two_throttles_the_rate_goes_back_to_what_it_was_at_first(world):
    text = MONTHLY.replace('80%: {slack: {channel: "#ops"}}', "80%: {recording_rate: 60}")
    bot = world(text, Shop("myshop.com", 1500, rate=90))
    await bot.run(days=18)
    rates = [what for _who, what in log(bot.shops[0]) if what.endswith("%")]
    assert rates == ["60 %", "25 %", "90 %"]


@pytest.mark.parametrize("later", [0, 2], ids=["in the new period", "in the period after it"])
async def test_what_a_person_started_is_left_alone_when_the_period_is_edited(world, later):
    bot = world(MONTHLY.replace("30000", "24000"))
    shop = bot.shops[0]
    await bot.run(days=16, until=lambda: shop.status == "Stopped")
    await bot.run(hours=1)
    shop.set(bot.now, "person", status="Recording")
    await bot.run(hours=1)
    text = MONTHLY.replace("30000", "500").replace("period: month", "period: day")
    bot.budgets = budgets(text)
    await bot.run(hours=4, days=later)
    assert (log(shop)[-1] == ("person", "Recording")) is not later


async def test_what_a_person_started_again_is_not_stopped_twice_in_a_period(world):
    bot = world(MONTHLY.replace("30000", "24000"))
    shop = bot.shops[0]
    await bot.run(days=16, until=lambda: shop.status == "Stopped")
    await bot.run(hours=1)
    shop.set(bot.now, "person", status="Recording")
    bot.restart()
    await bot.run(days=4)
    assert log(shop)[-1] == ("person", "Recording")
