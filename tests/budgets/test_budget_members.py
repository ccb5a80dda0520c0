"""What is used stays used, and a stop stays a stop, whatever becomes of a budget's websites."""

import pytest
from budget_world import QUARTER, Shop, World, budgets

from bot.errors import RuleErrors
from bot.rules.files.load import read

SHARED = """
credits:
  websites: ["*.com"]
  recordings: 100
  period: month
  steps: {100%: {recording: stop, slack: {channel: "#ops"}}}
  resume: true
"""


@pytest.fixture
async def stopped():
    """big.com has used 80 and small.com 25 of 100: both are stopped."""
    big, small = Shop("big.com", 0.0), Shop("small.com", 0.0)
    big.id, small.id = "one", "two"
    bot = World(SHARED, big, small)
    big.made[bot.now.date()] = 80
    small.made[bot.now.date()] = 25
    await bot.run(every=QUARTER, hours=1)
    assert [shop.status for shop in bot.shops] == ["Stopped", "Stopped"]
    yield bot
    bot.close()


def statuses(bot):
    return [shop.status for shop in bot.shops]


async def test_a_deleted_website_keeps_what_it_used(stopped):
    small = stopped.shops[1]
    stopped.shops = [small]
    await stopped.run(every=QUARTER, hours=2)
    assert stopped.mark().used == 105
    assert small.status == "Stopped"


async def test_a_renamed_website_stays_in_the_budget_until_the_period_ends(stopped):
    big, small = stopped.shops
    big.name = "big.shop"
    await stopped.run(every=QUARTER, hours=2)
    assert stopped.mark().used == 105
    assert (big.status, small.status) == ("Stopped", "Stopped")
    await stopped.run(days=31, until=lambda: stopped.now.month == 2 and stopped.now.day == 2)
    assert (big.status, small.status) == ("Recording", "Recording")
    assert [line.name for line in stopped.mark().websites] == ["small.com"]


async def test_a_website_missing_in_one_list_changes_nothing(stopped):
    both = stopped.shops
    stopped.shops = both[1:]
    stopped.wait(minutes=15)
    await stopped.poll()
    stopped.shops = both
    await stopped.run(every=QUARTER, hours=1)
    assert stopped.mark().used == 105
    assert statuses(stopped) == ["Stopped", "Stopped"]
    assert len(stopped.owned()) == 2
    await stopped.run(days=31, until=lambda: stopped.now.month == 2 and stopped.now.day == 2)
    assert statuses(stopped) == ["Recording", "Recording"]


async def test_a_website_that_lists_lack_is_there_as_long_as_it_answers(stopped):
    stopped.unlisted = {stopped.shops[0]}
    await stopped.run(every=QUARTER, hours=3)
    assert len(stopped.owned()) == 2
    assert stopped.slack.said("gone") == []
    await stopped.run(days=31, until=lambda: stopped.now.month == 2 and stopped.now.day == 2)
    assert statuses(stopped) == ["Recording", "Recording"]
    assert stopped.owned() == {}


@pytest.mark.parametrize("resume", ["true", "false"])
async def test_a_website_that_lists_lack_and_that_cannot_be_asked_is_neither_gone_nor_left(
    stopped, resume
):
    stopped.budgets = budgets(SHARED.replace("resume: true", f"resume: {resume}"))
    await stopped.run(every=QUARTER, hours=1)
    stopped.unlisted = {stopped.shops[0]}
    stopped.account.broken = True
    await stopped.run(every=QUARTER, hours=3)
    assert len(stopped.owned()) == 2
    assert stopped.slack.said("gone") == []
    assert stopped.slack.said("no longer in the budget") == []
    stopped.account.broken = False
    await stopped.run(every=QUARTER, hours=1)
    assert stopped.mark().used == 105
    assert len(stopped.owned()) == 2


async def test_a_renamed_website_is_told_at_once_with_what_to_write(stopped):
    stopped.shops[0].name = "big.shop"
    await stopped.run(every=QUARTER, minutes=30)
    [said] = stopped.slack.said("big.com is now called big.shop")
    assert "counts it until the period ends on Sun 1 Feb" in said
    assert "add big.shop to its websites" in said
    await stopped.run(every=QUARTER, hours=3)
    assert len(stopped.slack.said("big.shop to its websites")) == 1
    stopped.budgets = budgets(SHARED.replace('"*.com"', "big.shop, small.com"))
    await stopped.run(days=31, until=lambda: stopped.now.month == 2 and stopped.now.day == 2)
    assert statuses(stopped) == ["Recording", "Recording"]
    assert [line.name for line in stopped.mark().websites] == ["big.shop", "small.com"]


async def test_a_new_name_that_the_budget_covers_too_is_only_noted(stopped):
    stopped.shops[0].name = "bigger.com"
    await stopped.run(every=QUARTER, hours=1)
    assert stopped.slack.said("now called") == []
    [noted] = stopped.audit("website.renamed")
    assert noted.text == "big.com is now called bigger.com"


async def test_a_website_that_is_gone_is_let_go_with_a_post(stopped):
    stopped.shops = stopped.shops[1:]
    await stopped.run(every=QUARTER, hours=2)
    assert [website for website, _switch in stopped.owned()] == ["two"]
    assert len(stopped.slack.said("big.com is gone from the account")) == 1


async def test_a_budget_raised_and_lowered_again_stops_again(stopped):
    for limit in ("200", "100"):
        stopped.budgets = budgets(SHARED.replace("100\n", f"{limit}\n"))
        await stopped.run(every=QUARTER, hours=1)
        assert set(statuses(stopped)) == {"Recording" if limit == "200" else "Stopped"}
    assert len(stopped.slack.said("passed the 100 % step")) == 2


@pytest.mark.parametrize(
    ("was", "then"),
    [
        ("period: month", "period: day"),
        ("period: month", "period: month\n  starts_on: 16"),
        ('"*.com"', "small.com"),
        ("{recording: stop, ", "{"),
    ],
)
async def test_an_edit_that_is_taken_back_stops_again(stopped, was, then):
    stopped.wait(days=1)
    await stopped.poll()
    stopped.budgets = budgets(SHARED.replace(was, then))
    await stopped.run(every=QUARTER, hours=1)
    assert "Recording" in statuses(stopped)
    stopped.budgets = budgets(SHARED)
    await stopped.run(every=QUARTER, hours=1)
    assert statuses(stopped) == ["Stopped", "Stopped"]
    assert stopped.mark().used == 105


async def test_a_website_taken_out_of_the_budget_is_set_back_and_stays_counted(stopped):
    big, small = stopped.shops
    stopped.budgets = budgets(SHARED.replace('"*.com"', "big.com"))
    await stopped.run(every=QUARTER, hours=1)
    assert (big.status, small.status) == ("Stopped", "Recording")
    assert stopped.mark().used == 105
    small.made[stopped.now.date()] += 50
    await stopped.run(every=QUARTER, hours=1)
    assert stopped.mark().used == 105


async def test_without_resume_a_website_taken_out_is_let_go_with_a_post(stopped):
    kept = SHARED.replace('"*.com"', "big.com").replace("resume: true", "resume: false")
    stopped.budgets = budgets(kept)
    await stopped.run(every=QUARTER, hours=1)
    assert statuses(stopped) == ["Stopped", "Stopped"]
    said = stopped.slack.said("small.com is no longer in the budget; it stays Stopped")
    assert len(said) == 1
    assert [website for website, _switch in stopped.owned()] == ["one"]


async def test_resume_taken_out_while_a_website_is_held_is_told(stopped):
    stopped.budgets = budgets(SHARED.replace("resume: true", "resume: false"))
    await stopped.run(every=QUARTER, hours=1)
    assert len(stopped.slack.said("The bot no longer undoes its changes")) == 1


async def test_a_budget_that_is_gone_lets_its_websites_go_with_a_post(stopped):
    stopped.budgets = budgets(SHARED.replace("credits:", "other:").replace(": 100", ": 900"))
    await stopped.run(every=QUARTER, hours=1)
    assert statuses(stopped) == ["Stopped", "Stopped"]
    assert len(stopped.slack.said("big.com is in no budget now; it stays Stopped")) == 1
    assert stopped.owned() == {}


OTHER = SHARED.replace("credits:", "other:").replace(": 100", ": 900").replace('"*.com"', "no.one")
RENAMED = SHARED.replace("credits:", "plan:\n  was: credits")


async def to_february(bot):
    await bot.run(days=31, until=lambda: bot.now.month == 2 and bot.now.day == 2)


async def test_a_budget_that_is_back_after_an_hour_hands_back_what_it_held(stopped):
    stopped.budgets = budgets(OTHER)
    await stopped.run(every=QUARTER, hours=1)
    assert stopped.owned() == {}
    stopped.budgets = budgets(SHARED)
    await stopped.run(every=QUARTER, hours=1)
    assert statuses(stopped) == ["Stopped", "Stopped"]
    assert len(stopped.slack.said("passed the 100 % step")) == 1
    await to_february(stopped)
    assert statuses(stopped) == ["Recording", "Recording"]


async def test_a_budget_that_is_back_in_the_next_period_hands_back_at_once(stopped):
    await stopped.run(days=31, until=lambda: stopped.now.day == 31)
    stopped.budgets = budgets(OTHER)
    await stopped.run(days=2)
    assert statuses(stopped) == ["Stopped", "Stopped"]
    stopped.budgets = budgets(SHARED)
    await stopped.run(every=QUARTER, hours=1)
    assert statuses(stopped) == ["Recording", "Recording"]


async def test_a_budget_that_is_back_leaves_what_somebody_has_started_meanwhile(stopped):
    stopped.budgets = budgets(OTHER)
    await stopped.run(every=QUARTER, hours=1)
    stopped.shops[0].set(stopped.now, "person", status="Recording")
    stopped.budgets = budgets(SHARED)
    await stopped.run(every=QUARTER, hours=2)
    assert statuses(stopped) == ["Recording", "Stopped"]
    assert len(stopped.slack.said("big.com: somebody turned recording back on")) == 1


async def test_a_budget_that_is_back_after_weeks_has_forgotten(stopped):
    stopped.budgets = budgets(OTHER)
    await stopped.run(days=8)
    stopped.budgets = budgets(SHARED)
    await to_february(stopped)
    assert statuses(stopped) == ["Stopped", "Stopped"]


@pytest.mark.parametrize("first", [None, SHARED.replace("credits:", "plan:")])
async def test_a_renamed_budget_keeps_its_state(stopped, first):
    if first:  # renamed without `was`, which is added later
        stopped.budgets = budgets(first.replace("[", "[no.one]  # ["))
        await stopped.run(every=QUARTER, hours=1)
        assert "was: credits" in stopped.slack.said("big.com is in no budget now")[0]
    stopped.budgets = budgets(RENAMED)
    await stopped.run(every=QUARTER, hours=2)
    assert statuses(stopped) == ["Stopped", "Stopped"]
    assert stopped.mark("credits") is None
    assert stopped.mark("plan").used == 105
    assert {hold.owner for hold in stopped.owned().values()} == {"budget:plan"}
    assert len(stopped.slack.said("passed the 100 % step")) == 1
    await to_february(stopped)
    assert statuses(stopped) == ["Recording", "Recording"]


def test_an_old_id_of_a_budget_belongs_to_one_budget_alone():
    text = "version: 1\nbudgets:\n"
    one = "websites: [a.com], recordings: 5, period: day, pace: true"
    with pytest.raises(RuleErrors) as raised:
        read(
            [("b.yaml", (text + f"  a: {{{one}, was: [b, c]}}\n  b: {{{one}, was: c}}\n").encode())]
        )
    assert "b is still the id of another budget" in str(raised.value)
    assert "several budgets claim c" in str(raised.value)


@pytest.mark.parametrize("status", ["Paused", "NotInstalled"])
async def test_what_mouseflow_sets_back_after_a_pause_is_stopped_again(stopped, status):
    big = stopped.shops[0]
    big.set(stopped.now, "mouseflow", status=status)
    await stopped.run(every=QUARTER, hours=2)
    big.set(stopped.now, "mouseflow", status="Recording")
    await stopped.run(every=QUARTER, hours=1)
    assert big.status == "Stopped"
    assert stopped.slack.said("somebody") == []
    assert len(stopped.slack.said(f"Mouseflow had set it to {status}")) == 1
    big.set(stopped.now, "person", status="Recording")
    await stopped.run(every=QUARTER, hours=1)
    assert big.status == "Recording"
    lines = {line.name: line.left_alone for line in stopped.mark().websites}
    assert lines["small.com"] is None
    assert lines["big.com"] is not None
    assert len(stopped.slack.said("somebody turned recording back on")) == 1
