"""A budget's story as people read it: the audit log and the ops channel, without a gap.

The daemon is a process of its own. Its clock is the machine's; the test sets the account's time
zone, so that the day ends when the story needs it to.
"""

import json
import re
import zoneinfo
from datetime import UTC, datetime, time, timedelta
from itertools import groupby

import pytest
from daemon_world import Daemon
from test_budget_process import LATE, NOON, zone

from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

BUDGET = """
version: 1
budgets:
  credits:
    websites: ["*.com"]
    recordings: {limit}
    period: day
    steps: {{"100%": {{recording: stop, slack: {{channel: "#ops"}}}}}}
    resume: true
"""
SHOP, BLOG = "8fc2ace2-75bc-8ba4-b424-c8916670b990", "1d0c2f5e-0000-4000-8000-000000000001"
TOLD = (
    "budget.edited", "budget.period", "budget.step", "notice", "rules.loaded", "website.held",
    "website.listed", "website.note", "website.person", "website.released", "website.renamed",
)  # fmt: skip
"""The kinds of audit entries that tell of budgets and their websites."""

DIARY = """\
rules.loaded: the bot started: 0 rules and 1 budget active
budget.step: Budget credits: 100 % used (4 of 4), passed the 100 % step; Recording starts again \
on {tomorrow}, when the next period begins
website.held: shop.com: recording set to Stopped: 100 % step at 4 of 4 recordings (100 %)
website.held: blog.com: recording set to Stopped: 100 % step at 4 of 4 recordings (100 %)
website.renamed: blog.com is now called blog.shop
website.listed: blog.shop is missing in the list of websites, but it answers: no change
website.listed: blog.shop is in the list of websites again
rules.loaded: 0 rules and 1 budget active
budget.edited: Budget credits: 10 recordings per day (was 4 per day)
budget.step: ✅ Budget credits: 40 % used (4 of 10)
website.released: shop.com: recording: Recording again, undone at 4 of 10 recordings (40 %)
website.released: blog.shop: recording: Recording again, undone at 4 of 10 recordings (40 %)
rules.loaded: 0 rules and 1 budget active
budget.edited: Budget credits: 4 recordings per day (was 10 per day)
budget.step: Budget credits: 100 % used (4 of 4), passed the 100 % step; Recording starts again \
on {tomorrow}, when the next period begins
website.held: shop.com: recording set to Stopped: 100 % step at 4 of 4 recordings (100 %)
website.held: blog.shop: recording set to Stopped: 100 % step at 4 of 4 recordings (100 %)
website.person: shop.com: somebody turned recording back on
rules.loaded: the bot started: 0 rules and 1 budget active
rules.loaded: the bot started: 0 rules and 1 budget active
budget.period: Budget credits: new day until {after}, counts shop.com; the last one used 4 of 4 \
recordings
budget.step: ✅ Budget credits: new period, 0 % used (0 of 4)
website.released: blog.shop: recording: Recording again, undone at 0 of 4 recordings (0 %)
"""
OPS = """\
🛑 *Budget credits: 100 % used (4 of 4), passed the 100 % step · recording stopped on 2 websites*
shop.com, blog.com: recording stopped. New sessions may still come in for up to an hour.
Recording starts again on {tomorrow}, when the next period begins.

🔶 *blog.com is now called blog.shop*
Budget credits counts it until the period ends on {tomorrow}
To keep it in the budget, add blog.shop to its websites

✅ *Budget credits: 40 % used (4 of 10) · recording again on 2 websites*
shop.com, blog.shop: recording started. It may not reach all visitors for up to an hour.

🛑 *Budget credits: 100 % used (4 of 4), passed the 100 % step · recording stopped on 2 websites*
shop.com, blog.shop: recording stopped. New sessions may still come in for up to an hour.
Recording starts again on {tomorrow}, when the next period begins.

🔵 *shop.com: somebody turned recording back on*
The budget had set it to Stopped: 100 % step at 4 of 4 recordings (100 %).
The bot leaves this website alone until the next period and won't undo its own change.

✅ *Budget credits: new period, 0 % used (0 of 4) · recording again on blog.shop*
blog.shop: recording started. It may not reach all visitors for up to an hour.
"""


class Lists(dict):
    """The account's websites by id; lists of all of them leave out `lacks`."""

    lacks = ""

    def values(self):
        return [site for key, site in self.items() if key != self.lacks]


@pytest.fixture
def zones(tmp_path):
    before = zoneinfo.TZPATH
    folder = tmp_path / "zones"
    zoneinfo.reset_tzpath(to=[folder, *before])
    yield folder
    zoneinfo.reset_tzpath(to=before)


class Story:
    """The account, the daemon beside it, and what both have done so far."""

    def __init__(self, sim, bot):
        self.sim, self.bot = sim, bot

    def limit(self, recordings):
        """Edit the budget."""
        self.bot.rule_file.write_text(BUDGET.format(limit=recordings))

    def visitors(self, website, count):
        for _ in range(count):
            self.sim.add(website, "phone-bounce", start=-1)

    def both(self, status):
        return all(self.sim.world.sites[each].status == status for each in (SHOP, BLOG))

    def posts(self):
        return self.sim.slack.in_channel("#ops")

    def said(self, words):
        return [post for post in self.posts() if words in post.text]

    def polled(self, times):
        """The budgets are polled so often from now on."""
        path, begun = f"/websites/{SHOP}", self.sim.world.now()

        def enough():
            calls = [each for each in list(self.sim.calls) if each.at > begun]
            return [each.path for each in calls].count(path) >= times

        self.sim.wait_until(enough)

    def channel(self):
        """What the ops channel shows, oldest first."""
        shown = "\n".join(f"{post.blocks[0]['text']['text']}\n" for post in self.posts())
        return re.sub(r"<[^|>]+\|([^>]+)>", r"\1", shown)

    def diary(self):
        """What the audit log tells, oldest first."""
        found = json.loads(self.bot.run("history", "--json", "--limit", "1000").stdout)
        entries = found["data"] if isinstance(found, dict) else found
        told = [each for each in reversed(entries) if each["kind"] in TOLD]
        return "".join(f"{each['kind']}: {each['text']}\n" for each in told)


def by_kind(diary):
    """The entries, those of one kind in a row sorted: websites are switched side by side."""
    lines = groupby(diary.splitlines(), lambda line: line.partition(":")[0])
    return [entry for _, entries in lines for entry in sorted(entries)]


def written(day):
    return f"{day:%a} {day.day} {day:%b}"


async def test_a_budgets_story_reads_like_a_diary(zones, tmp_path):
    zone(zones, NOON, datetime.combine(datetime.now(UTC).date(), time(12)))
    sites = [website(SHOP, "shop.com", plan=Plan(per_day=0)),
             website(BLOG, "blog.com", plan=Plan(per_day=0))]  # fmt: skip
    with Simulator(seed=3, sites=sites, quirks=Quirks(time_zone=NOON)) as sim:
        lists = sim.world.sites = Lists(sim.world.sites)
        bot = Daemon(
            tmp_path, sim, BUDGET.format(limit=4), BOT_POLL__REPORTS="500ms",
            BOT_MOUSEFLOW__TIME_ZONE=NOON, PYTHONTZPATH=str(zones),
        )  # fmt: skip
        story = Story(sim, bot)
        today = datetime.now(zoneinfo.ZoneInfo(NOON)).date()
        bot.start()
        try:
            sim.wait_until(lambda: bot.events("daemon.started"))
            story.visitors(SHOP, 3)
            story.visitors(BLOG, 1)
            sim.wait_until(lambda: story.both("Stopped") and story.said("100 % step"))
            story.polled(3)

            sites[1].settings["name"] = "blog.shop"
            sim.wait_until(lambda: story.said("is now called"))
            lists.lacks = BLOG
            sim.wait_until(lambda: "is missing in the list" in story.diary())
            lists.lacks = ""
            sim.wait_until(lambda: "in the list of websites again" in story.diary())

            story.limit(10)
            sim.wait_until(lambda: story.both("Recording") and story.said("✅ Budget credits: "))
            story.polled(3)
            story.limit(4)
            sim.wait_until(lambda: story.both("Stopped") and len(story.said("100 % step")) == 2)
            story.polled(3)
            sim.intervene(SHOP, status="Recording")
            sim.wait_until(lambda: story.said("turned recording back on"))

            bot.kill()
            bot.start()
            story.polled(4)
            bot.kill()
            left = timedelta(seconds=6)
            zone(zones, LATE, datetime.combine(today + timedelta(days=1), time()) - left)
            sim.behave(time_zone=LATE)
            bot.environment["BOT_MOUSEFLOW__TIME_ZONE"] = LATE
            bot.start()
            sim.wait_until(
                lambda: story.both("Recording") and len(story.said("✅ Budget credits: ")) == 2
            )
            story.polled(3)
            assert bot.stop() == 0
        finally:
            if bot.process is not None:
                bot.kill()
        tomorrow, after = (written(today + timedelta(days=days)) for days in (1, 2))
        assert by_kind(story.diary()) == by_kind(DIARY.format(tomorrow=tomorrow, after=after))
        assert story.channel() == OPS.format(tomorrow=tomorrow)
