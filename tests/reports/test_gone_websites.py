"""A website that the account no longer has is over, once two lists in a row lack it."""

import sys
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

sys.path.append(str(Path(__file__).parents[1] / "polling"))

from msgspec.structs import replace
from poll_world import Account, rules
from structlog.testing import capture_logs

from bot.polling.context import PollContext
from bot.polling.record_matches import Routing
from bot.store.alert_states import states_of_rules
from bot.store.audit import history
from bot.store.dead_letters import steps_of
from bot.store.matches import matches_of
from bot.store.recordings import WEBSITES, forget_watermark
from bot.watcher import Watcher
from mouseflow.decode import Rows, Unreadable
from mouseflow.simulator.site import Campaign, website
from mouseflow.simulator.traffic import Plan

RULES = """
not-recording:
  watch: websites
  when: {status: Stopped}
  resolved: true
  do: {slack: {channel: "#ops"}}
"""
CAMPAIGN = """
asked-for:
  watch: feedback
  when: {enabled: true}
  resolved: true
  do: {slack: {channel: "#ux"}}
"""


class Watched:
    """Two websites under watch, one of which can be taken away, and processes that come and go."""

    def __init__(self, path, text=RULES):
        sites = [website(f"site-{n}", name, plan=Plan(per_day=0))
                 for n, name in ((1, "myshop.com"), (2, "other.com"))]  # fmt: skip
        self.text = text
        self.account = Account(path, text, sites=sites)
        self.start()

    def start(self, text=""):
        shop = self.account
        context = PollContext(
            shop.sender,
            shop.store,
            ZoneInfo(shop.zone),
            timedelta(minutes=35),
            shop.start,
            Routing("#mouseflow", shop.zone),
        )
        found = rules(text or self.text)
        self.watcher = Watcher(context, found, ops=None, wake=lambda: None, clock=lambda: shop.now)

    def restart(self, text=""):
        self.account.restart()
        self.start(text)

    async def fire(self):
        """The website's level begins."""
        await self.watcher.find_sites()
        self.account.sim.intervene("myshop.com", status="Stopped")
        self.account.wait(minutes=15)
        assert await self.watcher.poll_feedback(self.account.site)
        assert await self.watcher.poll_reports(self.account.site)
        assert len(self.matches()) == 1

    def take_away(self):
        self.taken = self.account.sim.world.sites.pop(self.account.site.id)

    def give_back(self):
        self.account.sim.world.sites[self.taken.id] = self.taken

    async def list(self, times=1):
        for _ in range(times):
            self.account.wait(minutes=15)
            await self.watcher.find_sites()

    def matches(self):
        return self.account.store.do(matches_of)

    def ended(self):
        """The posts that tell of an end, as (rule, channel's lane)."""

        def work(conn):
            steps = [step for match in matches_of(conn) for step in steps_of(conn, match.key)]
            return [(step.rule, step.lane) for step in steps if step.action == "resolved"]

        return self.account.store.do(work)


@pytest.fixture
def watched(tmp_path):
    made = []

    def make(text=RULES):
        made.append(Watched(tmp_path, text))
        return made[-1]

    yield make
    made[0].account.close()


async def test_a_website_that_is_gone_for_good_ends_its_episode(watched):
    bot = watched()
    await bot.fire()
    bot.take_away()
    await bot.list()
    assert not bot.ended()
    bot.give_back()
    await bot.list()
    bot.take_away()
    await bot.list()
    assert not bot.ended()
    with capture_logs() as lines:
        await bot.list()
    assert [rule for rule, _lane in bot.ended()] == ["not-recording"]
    assert [(line["event"], line["website"]) for line in lines] == [("websites.gone", "myshop.com")]


async def test_one_that_went_while_the_bot_was_down_ends_as_well(watched):
    bot = watched()
    await bot.fire()
    bot.take_away()
    bot.restart()
    await bot.list()
    assert not bot.ended()
    await bot.list()
    assert [rule for rule, _lane in bot.ended()] == ["not-recording"]


async def test_lists_count_across_restarts_as_with_once_from_cron(watched):
    bot = watched()
    await bot.fire()
    bot.take_away()
    for _ in range(2):
        assert not bot.ended()
        bot.restart()
        await bot.list()
    assert [rule for rule, _lane in bot.ended()] == ["not-recording"]


class Spoilt:
    """An account in whose list of websites one row can't be read: by its id, or without one."""

    def __init__(self, bot, name, *, has_id):
        self.api, self.name, self.has_id = bot.account.sender, name, has_id

    async def send(self, request):
        found = await self.api.send(request)
        if request.path != "/websites":
            return found
        read = Rows(row for row in found if row.name != self.name)
        read.unreadable = tuple(
            Unreadable(row.id if self.has_id else None, 0, "spoilt")
            for row in found
            if row.name == self.name
        )
        return read


@pytest.mark.parametrize("has_id", [True, False])
@pytest.mark.parametrize("restarted", [False, True])
async def test_a_website_whose_row_can_not_be_read_is_not_gone(watched, has_id, restarted):
    bot = watched()
    await bot.fire()
    if restarted:
        bot.restart()
    whole = bot.watcher.context
    bot.watcher.context = replace(whole, mouseflow=Spoilt(bot, "myshop.com", has_id=has_id))
    await bot.list(times=4)
    assert not bot.ended()
    assert bot.account.site.id in bot.watcher.watched
    bot.watcher.context = whole
    bot.take_away()
    await bot.list()
    assert not bot.ended()
    await bot.list()
    assert [rule for rule, _lane in bot.ended()] == ["not-recording"]


async def test_a_row_without_an_id_makes_no_website_gone_that_a_list_before_lacked(watched):
    bot = watched()
    await bot.fire()
    bot.take_away()
    await bot.list()
    whole = bot.watcher.context
    bot.watcher.context = replace(whole, mouseflow=Spoilt(bot, "other.com", has_id=False))
    await bot.list(times=3)
    assert not bot.ended()
    bot.watcher.context = whole
    await bot.list()
    assert [rule for rule, _lane in bot.ended()] == ["not-recording"]


async def test_it_is_said_once(watched):
    bot = watched()
    await bot.fire()
    bot.take_away()
    await bot.list(times=2)
    bot.restart()
    with capture_logs() as lines:
        await bot.list(times=4)
    assert len(bot.ended()) == 1
    assert not [line for line in lines if line["event"] == "websites.gone"]


async def test_a_campaign_goes_with_its_website(watched):
    bot = watched(CAMPAIGN)
    site = bot.account.sim.world.sites["site-1"]
    site.campaigns["c1"] = Campaign("c1", {"name": "Survey", "enabled": True})
    await bot.fire()
    bot.take_away()
    bot.restart()
    await bot.list(times=2)
    assert [rule for rule, _lane in bot.ended()] == ["asked-for"]


async def test_it_ends_as_well_where_an_edit_has_left_the_website_out(watched):
    bot = watched()
    await bot.fire()
    bot.take_away()
    bot.restart(RULES.replace("watch: websites", "watch: websites\n  websites: [other.com]"))
    with capture_logs() as lines:
        await bot.list(times=4)
    assert [rule for rule, _lane in bot.ended()] == ["not-recording"]
    assert len([line for line in lines if line["event"] == "websites.gone"]) == 1


async def test_an_old_store_that_knows_levels_alone_ends_them(watched):
    bot = watched()
    await bot.fire()
    bot.take_away()
    bot.account.store.do(lambda conn: forget_watermark(conn, WEBSITES, ""))
    bot.restart()
    with capture_logs() as lines:
        await bot.list(times=2)
    assert [rule for rule, _lane in bot.ended()] == ["not-recording"]
    assert lines[0]["website"] == "myshop.com"


TOO_FEW = """
asked-for:
  watch: recordings
  when: {saw_page: /checkout}
  count: {at_most: 4, within: 2h}
  resolved: true
  do: {slack: {channel: "#ux"}}
"""


async def test_what_a_rule_was_about_before_it_was_about_too_few_sessions_is_over(watched):
    bot = watched(CAMPAIGN)
    site = bot.account.sim.world.site("myshop.com")
    site.campaigns["c1"] = Campaign("c1", {"name": "Survey", "enabled": True})
    await bot.fire()
    await bot.watcher.use_rules(rules(TOO_FEW))
    await bot.list()
    assert not bot.ended()
    await bot.list(3)
    assert bot.ended() == [("asked-for", "slack:#ux")]
    assert not bot.account.store.do(states_of_rules)


NEW_RESPONSES = """
asked:
  watch: feedback
  websites: [myshop.com]
  when: {new_responses: {min: 1}}
  do: {slack: {channel: "#ux"}}
"""


@pytest.mark.parametrize("meanwhile", [RULES, NEW_RESPONSES.replace("asked", "other")])
@pytest.mark.parametrize("restarted", [False, True])
async def test_a_feedback_rule_that_is_put_back_reports_nothing_of_the_time_between(
    watched, meanwhile, restarted
):
    shops = watched(NEW_RESPONSES)
    site = shops.account.sim.world.site("myshop.com")
    site.campaigns["c1"] = Campaign("c1", {"name": "NPS", "status": "enabled"})

    async def look(days=0):
        shops.account.wait(days=days, minutes=5)
        await shops.watcher.find_sites()
        assert await shops.watcher.poll_feedback(shops.account.site)

    def found():
        return [match for match in shops.matches() if match.rule == "asked"]

    await look()
    if restarted:
        shops.restart(meanwhile)
    await shops.watcher.use_rules(rules(meanwhile))
    await look(days=1)
    shops.account.sim.respond("myshop.com", "c1", 40)
    await look(days=6)
    await shops.watcher.use_rules(rules(NEW_RESPONSES))
    await look()
    await look()
    assert found() == []
    shops.account.sim.respond("myshop.com", "c1")
    await look()
    assert len(found()) == 1


RENAMED = RULES.replace("watch: websites", "watch: websites\n  websites: [myshop.com]")


def told(bot):
    """What the ops channel hears, as the audit log has it."""
    entries = bot.account.store.do(lambda conn: history(conn, kind="notice"))
    return [(entry.text, entry.details["lines"][0]) for entry in entries]


def call(bot, name):
    bot.account.sim.world.sites[bot.account.site.id].settings["name"] = name


async def test_a_website_with_another_name_ends_its_episode_and_ops_hears_of_it_once(watched):
    bot = watched(RENAMED)
    await bot.fire()
    call(bot, "myshop.dk")
    await bot.list()
    assert not bot.ended()
    for _ in range(4):
        await bot.list()
    assert [rule for rule, _lane in bot.ended()] == ["not-recording"]
    assert told(bot) == [
        (
            "Website myshop.com is now called myshop.dk",
            "These rules name myshop.com and no longer watch it: not-recording.",
        )
    ]


async def test_a_new_name_that_the_rule_covers_changes_nothing(watched):
    bot = watched()
    await bot.fire()
    call(bot, "myshop.dk")
    await bot.list(times=4)
    assert not bot.ended()
    assert told(bot) == []


async def test_an_edit_that_leaves_a_website_out_ends_its_episode(watched):
    bot = watched()
    await bot.fire()
    bot.restart(RULES.replace("watch: websites", "watch: websites\n  websites: [other.com]"))
    await bot.list(times=4)
    assert [rule for rule, _lane in bot.ended()] == ["not-recording"]
    bot.restart()
    await bot.list()
    bot.account.wait(minutes=15)
    await bot.watcher.poll_reports(bot.account.site)
    assert len(bot.matches()) == 3


async def test_the_alert_of_a_rule_that_watches_recordings_now_is_over(watched):
    bot = watched()
    await bot.fire()
    text = "not-recording: {watch: recordings, when: {pages: {min: 1}}, do: {star: true}}"
    bot.restart(text)
    await bot.list(times=2)
    assert bot.account.store.do(states_of_rules) == []


TWO = """
not-recording:
  watch: feedback
  websites: [myshop.com]
  when: {enabled: true}
  resolved: true
  do: {slack: {channel: "#ops"}}
"""


async def test_every_alert_on_a_website_with_another_name_ends(watched):
    bot = watched(TWO)
    campaigns = bot.account.sim.world.sites["site-1"].campaigns
    for name in ("c1", "c2"):
        campaigns[name] = Campaign(name, {"name": name, "enabled": True})
    await bot.list()
    await bot.watcher.poll_feedback(bot.account.site)
    campaigns["c1"].settings["enabled"] = False
    await bot.watcher.poll_feedback(bot.account.site)
    call(bot, "myshop.dk")
    await bot.list(times=3)
    assert len(bot.ended()) == 2
