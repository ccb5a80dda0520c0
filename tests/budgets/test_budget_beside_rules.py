"""Budgets beside rules that switch websites: what a rule did is known, left so, and said."""

import pytest
from budget_world import Shop, World
from test_budget_switching import MONTHLY, log

from bot.domain.subjects import Site, WebsiteSubject
from bot.polling.record_matches import Found, Routing, record_poll
from bot.rules.files.load import read
from bot.store.matches import PollOutcome

USED_UP = MONTHLY.replace("30000", "20000")


@pytest.fixture
def world():
    made = []

    def make(text=MONTHLY, *shops, **options):
        made.append(World(text, *(shops or [Shop("myshop.com", 1500)]), **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def fires(bot, do, rule="night-off"):
    """A rule of the rule files calls for a switch; it waits in the outbox."""
    text = f"{{{rule}: {{watch: websites, when: {{status: Recording}}, do: {{{do}}}}}}}"
    [made] = read([("r.yaml", f"version: 1\nrules: {text}".encode())]).rules
    shop = bot.shops[0]
    subject = WebsiteSubject(
        website=Site(shop.id, shop.name), status=shop.status, recording_rate=shop.rate
    )
    found = Found(rule=made, subject=subject, happened=bot.now, episode=str(bot.now))
    outcome = PollOutcome(source="websites", website=shop.id, at=bot.now)
    bot.store.do(lambda conn: record_poll(conn, outcome, [found], Routing("#usual", "UTC")))


async def stopped_by_a_rule(bot):
    await bot.run(hours=2)
    bot.wait(minutes=20)
    fires(bot, "recording: stop")
    await bot.delivery.drain()
    assert log(bot.shops[0])[-1] == ("bot", "Stopped")
    bot.wait(minutes=10)
    await bot.poll()


async def test_a_stop_by_a_rule_is_told_as_the_rules(world):
    bot = world()
    await stopped_by_a_rule(bot)
    await bot.run(hours=5)
    assert len(bot.slack.said("myshop.com was stopped by the rule night-off")) == 1
    assert bot.slack.said("not by the bot") == []
    [hold] = bot.owned().values()
    assert (hold.owner, hold.set_to) == ("night-off", "Stopped")
    assert bot.mark().websites[0].owner == "night-off"


async def test_what_a_rule_stopped_stays_stopped_in_the_new_period(world):
    bot = world(MONTHLY.replace("30000", "24000"))
    shop = bot.shops[0]
    await stopped_by_a_rule(bot)
    shop.made[bot.now.date()] = 3000
    await bot.run(days=31, until=lambda: bot.now.month == 2 and bot.now.day == 2)
    assert shop.status == "Stopped"
    assert "already stopped by the rule night-off" in bot.slack.said("100 % step")[0]
    [said] = bot.slack.said("stays stopped in the new period")
    assert "The rule night-off stopped it" in said
    assert bot.slack.said("somebody else") == []


async def test_a_step_that_starts_leaves_what_a_rule_stopped(world):
    bot = world(MONTHLY.replace("80%: {slack", "80%: {recording: start, slack"))
    await stopped_by_a_rule(bot)
    bot.shops[0].made[bot.now.date()] = 26_000
    await bot.run(hours=3)
    assert bot.slack.said("80 % step")
    assert bot.shops[0].status == "Stopped"


async def test_a_start_by_a_rule_after_the_budgets_stop_is_told_as_the_rules(world):
    bot = world()
    shop = bot.shops[0]
    await bot.run(days=31, until=lambda: shop.status == "Stopped")
    await bot.run(hours=1)
    fires(bot, "recording: start")
    await bot.run(hours=3)
    assert shop.status == "Recording"
    [said] = bot.slack.said("the rule night-off turned recording back on")
    assert "leaves this website alone until the next period" in said
    assert bot.slack.said("somebody") == []


async def test_a_rate_set_by_a_rule_is_told_as_the_rules(world):
    bot = world(MONTHLY.replace("95%", "60%"))
    shop = bot.shops[0]
    await bot.run(days=31, until=lambda: shop.rate == 25)
    await bot.run(hours=1)
    fires(bot, "recording_rate: 50")
    await bot.run(hours=3)
    assert len(bot.slack.said("the rule night-off changed the recording rate to 50 %")) == 1
    assert bot.slack.said("somebody") == []


async def test_a_person_who_starts_what_a_rule_stopped_and_stops_it_again_owns_the_stop(world):
    bot = world()
    shop = bot.shops[0]
    await stopped_by_a_rule(bot)
    shop.set(bot.now, "person", status="Recording")
    await bot.run(hours=1)
    assert bot.owned() == {}
    assert "somebody changed it to Recording" in bot.audit("website.released")[0].text
    shop.set(bot.now, "person", status="Stopped")
    await bot.run(hours=2)
    assert len(bot.slack.said("was stopped, not by the bot")) == 1


async def test_a_rule_that_found_it_stopped_has_not_stopped_it(world):
    bot = world()
    shop = bot.shops[0]
    await bot.run(hours=2)
    shop.set(bot.now, "person", status="Stopped")
    fires(bot, "recording: stop")
    await bot.run(hours=2)
    assert len(bot.slack.said("was stopped, not by the bot")) == 1
    assert bot.owned() == {}


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("who", ["the budget", "a rule"])
async def test_a_switch_that_takes_effect_during_a_look_is_taken_for_nobody_elses(
    world, who, before
):
    bot = world(USED_UP if who == "the budget" else MONTHLY)
    shop = bot.shops[0]
    if who == "the budget":
        await bot.poll_budgets()
    else:
        await bot.run(hours=1)
        fires(bot, "recording: stop")
    bot.wait(minutes=15)
    bot.account.meanwhile = (before, bot.delivery.drain)
    await bot.poll_budgets()
    assert shop.status == "Stopped"
    await bot.run(hours=3)
    assert shop.status == "Stopped"
    assert bot.slack.said("somebody") == []
    assert bot.slack.said("not by the bot") == []
    assert bot.owned()[shop.id, "recording"].owner == (
        "budget:credits" if who == "the budget" else "night-off"
    )
