"""Done means seen done: posts say what became of a switch, and what failed is tried again."""

import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from budget_world import QUARTER, Shop, World, budgets

from bot.budgets.texts import forecast
from bot.domain.budget import period
from bot.domain.forecast import HOUR
from bot.errors import Forbidden, GiveUp
from bot.store.dead_letters import dead_letters

BUDGET = """
credits:
  websites: [myshop.com]
  recordings: 100
  period: month
  steps: {100%: {recording: stop, slack: {channel: "#ops"}}}
  resume: true
"""
REFUSED = GiveUp("Mouseflow takes no such change")


@pytest.fixture
def world():
    made = []

    def make(text=BUDGET, *shops):
        made.append(World(text, *(shops or [Shop("myshop.com", 0.0)])))
        return made[-1]

    yield make
    for each in made:
        each.close()


def uses(bot, count):
    [shop] = bot.shops
    shop.made[bot.now.date()] = shop.made.get(bot.now.date(), 0) + count


async def stopped(bot):
    uses(bot, 105)
    await bot.run(every=QUARTER, hours=1)
    assert bot.shops[0].status == "Stopped"
    return bot.shops[0]


def dead(bot):
    return bot.store.do(dead_letters)


async def to_february(bot):
    await bot.run(days=31, until=lambda: (bot.now.month, bot.now.day) == (2, 1))


async def test_a_post_promises_no_start_where_nothing_was_stopped(world):
    shop = Shop("myshop.com", 0.0)
    shop.read_only = True
    bot = world(BUDGET, shop)
    uses(bot, 105)
    await bot.run(every=QUARTER, hours=1)
    [post] = bot.slack.said("100 % step")
    assert "myshop.com: not changed (read-only for the bot)" in post
    assert "Recording starts again" not in post
    assert "The budget is used up" in post


@pytest.mark.parametrize(("kind", "early"), [("day", ", 7 h early"), ("month", ", 17 days early")])
def test_on_its_last_day_a_budget_runs_out_hours_early(kind, early):
    now = datetime(2026, 1, 15, 9, tzinfo=UTC)
    said = forecast(now + 3.5 * HOUR, now, period(now.date(), kind, 1), ZoneInfo("Asia/Dubai"))
    assert said == f"At this rate it runs out on Thu 15 Jan 16:30{early}"


async def test_the_post_goes_out_after_the_switch_and_says_that_it_was_done(world):
    bot = world()
    shop = await stopped(bot)
    [(at, _who, _what)] = shop.log
    [(posted, text)] = [(at, text) for at, _channel, text in bot.slack.posts if "100 %" in text]
    assert posted >= at
    assert "myshop.com: recording stopped. New sessions may still come in" in text


async def test_a_refused_stop_is_told_tried_again_and_told_when_it_works(world):
    bot = world()
    bot.account.refuses = REFUSED
    uses(bot, 105)
    await bot.run(every=QUARTER, hours=5)
    [said] = bot.slack.said("100 % step")
    assert "recording not stopped: Mouseflow takes no such change" in said
    assert "The bot tries again every hour" in said
    assert len(bot.slack.posts) == 1
    assert len(dead(bot)) == 1
    bot.account.refuses = None
    await bot.run(every=QUARTER, hours=2)
    assert bot.shops[0].status == "Stopped"
    assert len(bot.slack.said("myshop.com: recording stopped now")) == 1
    assert dead(bot) == []
    assert [hold.set_to for hold in bot.owned().values()] == ["Stopped"]
    await to_february(bot)
    assert bot.shops[0].status == "Recording"


async def test_a_refused_resume_stays_due_and_is_told(world):
    bot = world()
    shop = await stopped(bot)
    bot.account.refuses = REFUSED
    await to_february(bot)
    await bot.run(every=QUARTER, hours=5)
    assert shop.status == "Stopped"
    assert len(bot.owned()) == 1
    [said] = bot.slack.said("✅ Budget credits: new period")
    assert "myshop.com: recording not started: Mouseflow takes no such change" in said
    bot.account.refuses = None
    await bot.run(every=QUARTER, hours=2)
    assert shop.status == "Recording"
    assert len(bot.slack.said("myshop.com: recording started now")) == 1
    assert bot.owned() == {}


async def test_a_step_without_a_post_tells_of_a_refusal_in_the_ops_channel(world):
    bot = world(BUDGET.replace(', slack: {channel: "#ops"}', ""))
    bot.account.refuses = REFUSED
    uses(bot, 105)
    await bot.run(every=QUARTER, hours=5)
    assert len(bot.slack.said("myshop.com: recording not stopped")) == 1


async def test_while_writes_are_away_the_post_says_not_yet_and_a_second_one_says_done(world):
    bot = world()
    bot.account.broken_writes = True
    uses(bot, 105)
    await bot.run(every=QUARTER, hours=3)
    [said] = bot.slack.said("100 % step")
    assert "recording not stopped yet: the account is away. The bot keeps trying" in said
    bot.account.broken_writes = False
    await bot.run(every=QUARTER, hours=6)
    assert bot.shops[0].status == "Stopped"
    assert len(bot.slack.said("myshop.com: recording stopped now")) == 1


async def test_while_the_key_may_only_read_the_stop_waits_and_the_post_says_so(world):
    bot = world()
    bot.account.refuses = Forbidden("the website is read-only for the API user")
    uses(bot, 105)
    await bot.run(every=QUARTER, hours=3)
    [said] = bot.slack.said("100 % step")
    assert "recording not stopped yet" in said
    assert "read-only for the API user. The bot keeps trying" in said
    bot.account.refuses = None
    await bot.run(every=QUARTER, hours=12)
    assert bot.shops[0].status == "Stopped"
    assert len(bot.slack.said("myshop.com: recording stopped now")) == 1
    assert dead(bot) == []


@pytest.mark.parametrize("edit", ["raised", "left", "gone"])
async def test_a_stop_that_waits_is_taken_back_when_nothing_calls_for_it(world, edit):
    keeps = BUDGET.replace("resume: true", "resume: false")
    bot = world(keeps)
    [shop] = bot.shops
    bot.account.broken_writes = True
    uses(bot, 105)
    await bot.run(every=QUARTER, hours=1)
    texts = {
        "raised": keeps.replace("100\n", "1000\n"),
        "left": keeps.replace("myshop.com", "other.com"),
        "gone": keeps.replace("credits", "other").replace("myshop.com", "other.com"),
    }
    bot.budgets = budgets(texts[edit])
    await bot.run(every=QUARTER, minutes=30)
    bot.account.broken_writes = False
    await bot.run(every=QUARTER, hours=6)
    assert shop.log == []
    bot.budgets = budgets(keeps)
    await bot.run(every=QUARTER, hours=2)
    assert shop.status == "Stopped"


async def test_a_resume_that_waits_is_taken_back_when_the_stop_is_called_for_again(world):
    bot = world()
    shop = await stopped(bot)
    bot.account.broken_writes = True
    bot.budgets = budgets(BUDGET.replace("100\n", "1000\n"))
    await bot.run(every=QUARTER, hours=1)
    bot.budgets = budgets(BUDGET)
    await bot.run(every=QUARTER, minutes=30)
    bot.account.broken_writes = False
    await bot.run(every=QUARTER, hours=6)
    assert [what for _at, _who, what in shop.log] == ["Stopped"]
    assert len(bot.owned()) == 1


async def test_what_a_person_did_while_the_stop_was_refused_is_theirs(world):
    bot = world()
    bot.account.refuses = REFUSED
    uses(bot, 105)
    await bot.run(every=QUARTER, hours=2)
    bot.shops[0].set(bot.now, "person", status="Stopped")
    bot.account.refuses = None
    await to_february(bot)
    assert bot.shops[0].status == "Stopped"
    assert bot.owned() == {}


async def test_a_throttle_that_waited_never_raises_what_a_person_has_lowered_since(world):
    bot = world(BUDGET.replace("recording: stop", "recording_rate: 25"))
    [shop] = bot.shops
    bot.account.broken_writes = True
    uses(bot, 105)
    await bot.run(every=QUARTER, hours=1)
    shop.set(bot.now, "person", rate=10)
    bot.account.broken_writes = False
    await bot.run(every=QUARTER, hours=6)
    assert shop.log[-1][1:] == ("person", "10 %")
    assert bot.owned() == {}


class Stale:
    """An account that gives the next answer about a website as it was before the bot's stop."""

    def __init__(self, account):
        self.account, self.wrong = account, 0

    async def send(self, request):
        read = request.method == "GET" and not request.path.endswith("/recordings")
        if read and self.wrong:
            self.wrong -= 1
            detail = {"id": "id-myshop.com", "status": "Recording", "recordingRate": 100}
            return request.read(json.dumps(detail).encode())
        return await self.account.send(request)


async def test_one_old_answer_about_a_website_is_no_person(world):
    bot = world()
    shop = await stopped(bot)
    bot.account = Stale(bot.account)
    bot.restart()
    bot.account.wrong = 1
    await bot.run(every=QUARTER, hours=1)
    assert bot.account.wrong == 0
    assert bot.slack.said("somebody") == []
    assert len(bot.owned()) == 1
    await to_february(bot)
    assert shop.status == "Recording"


async def test_who_starts_what_they_stopped_themselves_is_told_that_the_budget_is_used_up(world):
    bot = world()
    [shop] = bot.shops
    shop.set(bot.now, "person", status="Stopped")
    uses(bot, 105)
    await bot.run(every=QUARTER, hours=1)
    shop.set(bot.now, "person", status="Recording")
    await bot.run(every=QUARTER, hours=2)
    assert shop.log[-1][1:] == ("person", "Recording")
    [said] = bot.slack.said("somebody turned recording back on")
    assert "105 of 100 recordings (105 %) used" in said


async def test_what_mouseflow_starts_after_a_persons_stop_is_stopped(world):
    bot = world()
    [shop] = bot.shops
    shop.set(bot.now, "person", status="Stopped")
    uses(bot, 105)
    await bot.run(every=QUARTER, hours=1)
    for status in ("Paused", "Recording"):
        shop.set(bot.now, "mouseflow", status=status)
        await bot.run(every=QUARTER, hours=1)
    assert shop.log[-1][1:] == ("bot", "Stopped")


async def test_who_changes_the_rate_decides_about_the_rate_and_the_stop_still_acts(world):
    bot = world(BUDGET.replace("100%:", "50%: {recording_rate: 25}, 100%:"))
    [shop] = bot.shops
    uses(bot, 60)
    await bot.run(every=QUARTER, hours=1)
    shop.set(bot.now, "person", rate=100)
    await bot.run(every=QUARTER, hours=1)
    [said] = bot.slack.said("somebody changed the recording rate to 100 %")
    assert "leaves this recording rate alone until the next period" in said
    uses(bot, 60)
    await bot.run(every=QUARTER, hours=1)
    assert [what for _at, _who, what in shop.log] == ["25 %", "100 %", "Stopped"]


async def test_a_website_that_may_be_changed_again_gets_its_step_after_all(world):
    shop = Shop("myshop.com", 0.0, read_only=True)
    bot = world(BUDGET, shop)
    uses(bot, 105)
    await bot.run(every=QUARTER, hours=1)
    assert "myshop.com: not changed (read-only for the bot)" in bot.slack.said("100 % step")[0]
    shop.read_only = False
    await bot.run(every=QUARTER, hours=1)
    assert shop.status == "Stopped"


async def test_a_website_made_read_only_keeps_what_the_budget_holds(world):
    bot = world()
    shop = await stopped(bot)
    shop.read_only = True
    await to_february(bot)
    assert (shop.status, len(bot.owned())) == ("Stopped", 1)
    shop.read_only = False
    await bot.run(every=QUARTER, hours=1)
    assert shop.status == "Recording"
