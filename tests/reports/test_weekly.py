"""The weekly report: what it tells of a website, and that it comes once."""

from datetime import UTC, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import msgspec
import pytest
from msgspec.structs import replace
from posting_world import SITE, ZONE, posting
from structlog.testing import capture_logs
from weekly_world import RULES, Weeks

from bot.domain.alert_state import Level
from bot.domain.subjects import Site
from bot.errors import RuleErrors, TryLater
from bot.messages.template_check import SAMPLES
from bot.messages.weekly import BudgetWeek, RuleWeek, Trend, Week, weekly
from bot.polling.record_matches import Found, record_poll
from bot.polling.watermark import SOURCE, Watermark
from bot.ports import Addresses
from bot.rules.files.load import read
from bot.store.alert_states import KeptLevel, save_level
from bot.store.matches import PollOutcome
from bot.store.recordings import set_watermark
from bot.store.rules import rules_loaded
from bot.weekly import post_reports

MONDAY = datetime(2026, 3, 16, 8, tzinfo=UTC)  # 09:00 in Copenhagen
MIDNIGHT = datetime(2026, 12, 11, 23, tzinfo=UTC)  # 12 December there
DAY = timedelta(days=1)


async def two_weeks(world):
    world.matches("old-landing", MONDAY - 40 * DAY, "/landing")
    await world.tick(MONDAY - 40 * DAY)
    world.matches("checkout-friction", MONDAY - 10 * DAY, "/CART", count=8)
    world.matches("checkout-friction", MONDAY - 3 * DAY, "/CHECKOUT/PAY", count=6)
    world.matches("search-dead-end", MONDAY - 2 * DAY, "/search", count=3)


async def test_it_tells_what_the_rules_found_against_the_week_before():
    async with posting("", page="https://bot.example") as slack:
        world = Weeks(slack)
        await two_weeks(world)
        await world.tick(MONDAY - 7 * DAY)
        world.api.calls = 0
        text = (await world.tick(MONDAY))[-1]
        post = slack.posts()[-1]
        assert world.api.calls == 5
    assert text.startswith("📊 Week 11: 9 matches, 12 % more than the week before · myshop.com")
    lines = post.blocks[0]["text"]["text"].splitlines()[1:]
    assert lines == [
        "Friction 2.5+ in 4.2 % of 1,000 sessions, 2.1 % of 2,000 the week before.",
        "Where rules matched most: 6 on */checkout/pay*, 3 on */search*.",
        "Worth a look: old-landing has matched nothing for 4 weeks.",
    ]
    assert post.blocks[1]["text"]["text"].splitlines() == [
        "• 6 × <https://bot.example/rules/checkout-friction|Frustrated visitor in the checkout>"
        " · 25 % fewer than the week before",
        "• 3 × <https://bot.example/rules/search-dead-end|Search without a click>",
    ]


async def told_in(world):
    """The headline of the latest report, and its lines."""
    head, *lines = world.slack.posts()[-1].blocks[0]["text"]["text"].splitlines()
    return head.partition("|")[2] or head, lines


@pytest.mark.parametrize(("days", "compared"), [(8, False), (13, False), (14, True), (40, True)])
async def test_it_compares_no_week_in_which_a_website_was_not_yet_watched(days, compared):
    async with posting("") as slack:
        world = Weeks(slack)
        await two_weeks(world)
        began = MONDAY - days * DAY
        mark = msgspec.json.encode(Watermark.after(began, began, {}, {})).decode()
        slack.store.do(partial(set_watermark, source=SOURCE, website=SITE.id, data=mark, at=began))
        await world.tick(MONDAY - 7 * DAY)
        await world.tick(MONDAY)
        head, lines = await told_in(world)
    assert ("12 % more than the week before" in head) == compared
    assert ("No comparison with the week before: myshop.com is new." in lines) != compared


@pytest.mark.parametrize(("days", "compared"), [(13, False), (14, True)])
async def test_it_compares_no_week_in_which_a_rule_was_not_yet_there(days, compared):
    async with posting("") as slack:
        world = Weeks(slack)
        await two_weeks(world)
        loaded = partial(rules_loaded, digests=dict.fromkeys(["search-dead-end"], "1"))
        slack.store.do(partial(loaded, at=MONDAY - days * DAY))
        slack.store.do(partial(loaded, digests={"search-dead-end": "2"}, at=MONDAY - DAY))
        world.matches("search-dead-end", MONDAY - 8 * DAY, "/search", count=1)
        await world.tick(MONDAY - 7 * DAY)
        await world.tick(MONDAY)
        head, lines = await told_in(world)
        rules = slack.posts()[-1].blocks[1]["text"]["text"].splitlines()
    assert ("than the week before" in head or "as many as" in head) == compared
    said = "No comparison with the week before: Search without a click is new."
    assert (said in lines) != compared
    assert rules[0].endswith("25 % fewer than the week before")
    assert ("the week before" in rules[1]) == compared


async def test_it_comes_once_a_week_also_across_restarts_and_not_before_its_time():
    async with posting("") as slack:
        world = Weeks(slack)
        assert await world.tick(MONDAY - 3 * DAY) == []  # it begins with its next time
        assert await world.tick(MONDAY - timedelta(seconds=1)) == []
        assert len(await world.tick(MONDAY)) == 1
        again = Weeks(slack)  # another process with the same store
        assert len(await again.tick(MONDAY + timedelta(minutes=1))) == 1
        assert len(await again.tick(MONDAY + 7 * DAY)) == 2


@pytest.mark.parametrize("days", [9, 500])
async def test_it_comes_after_a_clock_that_was_weeks_ahead(days):
    async with posting("") as slack:
        world = Weeks(slack)
        await world.tick(MONDAY - 4 * DAY)
        await world.tick(MONDAY + days * DAY)
        before = len(slack.posts())
        await world.tick(MONDAY - 3 * DAY)
        assert len(slack.posts()) == before
        await world.tick(MONDAY)
        assert len(slack.posts()) == before + 1
        await world.tick(MONDAY + DAY)
        assert len(slack.posts()) == before + 1


async def test_after_a_downtime_it_comes_late_or_not_at_all():
    async with posting("") as slack:
        world = Weeks(slack)
        await world.tick(MONDAY - DAY)
        assert len(await world.tick(MONDAY + DAY)) == 1
        assert len(await world.tick(MONDAY + 10 * DAY)) == 1
        assert len(await world.tick(MONDAY + 14 * DAY)) == 2


async def test_it_comes_without_the_trend_where_mouseflow_does_not_answer():
    async with posting("") as slack:
        world = Weeks(slack)
        await two_weeks(world)
        world.api.fails = TryLater("busy")
        text = (await world.tick(MONDAY))[-1]
    assert text.startswith("📊 Week 11: 9 matches")


async def test_a_quiet_week_says_so_and_a_rule_set_without_reports_costs_nothing():
    async with posting("") as slack:
        world = Weeks(slack)
        await world.tick(MONDAY - DAY)
        assert (await world.tick(MONDAY))[-1].startswith("📊 Week 11: no matches · myshop.com")
        without = Weeks(slack, RULES.replace("reports:", "x-reports:"))
        assert len(await without.tick(MONDAY + 7 * DAY)) == 1
        assert without.api.calls == 0


def test_every_line_of_it():
    week = Week(
        since=MONDAY - 7 * DAY,
        until=MONDAY,
        rules=(
            RuleWeek(rule="gift-finder", summary="Gift finder", matches=55, before=55,
                     useful=5, rated=13),
            RuleWeek(rule="new", summary="New rule", matches=1, before=0),
        ),
        fired=6,
        ended=5,
        lasted=timedelta(hours=2, minutes=10),
        firing=("Checkout funnel",),
        budgets=(
            BudgetWeek(name="Plan credits", used=14_217, of=50_000, ends=MIDNIGHT),
            BudgetWeek(name="Outlet", used=1_078, of=1_000, ends=MONDAY),
        ),
        trend=Trend(friction=2.5, sessions=200, high=5, sessions_before=0, high_before=0),
    )  # fmt: skip
    message = weekly(SAMPLES["websites"], Addresses(zone="Europe/Copenhagen"), week)
    assert message.headline == "Week 11: 56 matches, 2 % more than the week before"
    assert ["".join(part.text for part in line) for line in message.why] == [
        "6 alerts fired, 5 ended (median 2 h 10 min). Firing now: Checkout funnel.",
        "Friction 2.5+ in 2.5 % of 200 sessions.",
        "Plan credits: 28 % used (14,217 of 50,000), runs out 12 Dec.",
        "Outlet: 107 % used (1,078 of 1,000).",
        "Worth a look: gift-finder, 8 of 13 messages were not useful. Make it stricter, or "
        "disable it.",
    ]
    assert "".join(part.text for part in message.context[0]) == (
        "9 Mar 09:00 CET to 16 Mar 09:00 CET"
    )
    assert ["".join(part.text for part in line) for line in message.items] == [
        "55 × Gift finder · as many as the week before · 38 % useful",
        "1 × New rule",
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("mon 09:00", "mon-fri 09:00", "write one weekday and a time, such as mon 09:00"),
        ('{slack: {channel: "#ux"}}', "{recording: stop}",
         'a report is one post of the bot; write {slack: {channel: "#ux"}}'),
        ('{slack: {channel: "#ux"}}', "{tag: x}",
         'a report is one post of the bot; write {slack: {channel: "#ux"}}'),
        ('channel: "#ux"', 'channel: "#ux", text: Hello',
         'a report is one post of the bot; write {slack: {channel: "#ux"}}'),
    ],
)  # fmt: skip
def test_a_report_that_can_not_be_posted_is_an_error(old, new, said):
    with pytest.raises(RuleErrors, match=r"r\.yaml") as found:
        read([("r.yaml", RULES.replace(old, new, 1).encode())])
    (error,) = str(found.value).splitlines()
    assert error.endswith(said)


async def test_sessions_that_a_rule_about_too_few_has_counted_are_no_matches():
    few = "watch: recordings\n    count: {at_most: 0, within: 1h}\n    when: {tags: search}"
    rules = RULES.replace("watch: recordings\n    when: {tags: search}", few)
    async with posting("") as slack:
        world = Weeks(slack, rules.replace('{channel: "#ops", digest: "sun 23:59"}', "{}"))
        await two_weeks(world)
        await world.tick(MONDAY - 7 * DAY)
        text = (await world.tick(MONDAY))[-1]
    assert text.startswith("📊 Week 11: 6 matches")


@pytest.mark.parametrize("sunday", [(3, 29), (10, 25)])
async def test_each_match_is_in_one_report_also_across_a_change_of_the_clocks(sunday):
    after = datetime(2026, *sunday, 9, tzinfo=ZoneInfo(ZONE)) + DAY
    last, due = (each.astimezone(UTC) for each in (after - 7 * DAY, after))
    half = timedelta(minutes=30)
    async with posting("") as slack:
        world = Weeks(slack)
        await world.tick(last - 7 * DAY)
        world.matches("search-dead-end", last - half, "/search")
        assert ": 1 match" in (await world.tick(last))[-1]
        world.matches("search-dead-end", last + half, "/search")
        assert ": 1 match, as many as" in (await world.tick(due))[-1]


async def test_pages_are_those_of_the_reported_week_by_the_minute():
    async with posting("") as slack:
        world = Weeks(slack)
        await world.tick(MONDAY - 8 * DAY)
        for at in (MONDAY - 7 * DAY - timedelta(hours=1), MONDAY - timedelta(hours=1)):
            world.matches("search-dead-end", at, "/search")
        await world.tick(MONDAY)
        assert "1 on */search*" in str(slack.posts()[-1].blocks)


async def test_alerts_that_were_held_back_have_not_fired():
    async with posting("") as slack:
        world = Weeks(slack)
        await world.tick(MONDAY - 7 * DAY)
        (rule,) = [each for each in world.rules.rules if each.id == "checkout-funnel"]
        funnel = msgspec.structs.replace(SAMPLES["funnels"].subject, website=SITE)
        slack.now = MONDAY - DAY
        for name, held in (("a", "paused"), ("b", "while another alert fires"), ("c", "")):
            found = Found(rule=rule, subject=funnel, happened=slack.now, episode=name, held=held)
            outcome = PollOutcome(source="funnels", website=SITE.id, at=slack.now)
            work = partial(
                record_poll, outcome=outcome, found=[found], routing=world.context.routing
            )
            slack.store.do(work)
        level = KeptLevel(Level(true_since=slack.now, fired=slack.now, polled=slack.now), funnel)
        save = partial(save_level, rule=rule.id, website=SITE.id, subject=funnel.key, kept=level)
        slack.store.do(lambda conn: save(conn, at=slack.now))
        await world.tick(MONDAY)
        assert "1 alert fired" in str(slack.posts()[-1].blocks)


ODD = Site("odd", "odd.example")


async def test_a_report_about_several_websites_is_one_message():
    async with posting("", page="https://bot.example") as slack:
        world = Weeks(slack)
        await two_weeks(world)
        for now in (MONDAY - 7 * DAY, MONDAY):
            slack.now = now
            await post_reports(world.rules, [ODD, SITE], world.context, now)
            await slack.deliver()
        post = slack.posts()[-1]
        assert len(slack.posts()) == 2  # the first week is of the one that was there
        head, *lines = post.blocks[0]["text"]["text"].splitlines()
        again = await post_reports(world.rules, [ODD, SITE], world.context, MONDAY + DAY)
    assert again == 0
    assert head.endswith("|Week 11: 9 matches, 12 % more than the week before>* · 2 websites")
    assert lines == [
        "Friction 2.5+ in 4.2 % of 2,000 sessions, 2.1 % of 4,000 the week before.",
        "By website: 9 on myshop.com, 0 on odd.example.",
        "Where rules matched most: 6 on */checkout/pay*, 3 on */search*.",
        "Worth a look: old-landing has matched nothing for 4 weeks.",
    ]
    assert post.blocks[1]["text"]["text"].count("•") == 2


async def test_the_trend_is_of_the_websites_for_which_it_is_known():
    async with posting("") as slack:
        world = Weeks(slack)
        world.api.send = Surprises(world.api.send, TryLater("busy")).send
        for now in (MONDAY - 7 * DAY, MONDAY):
            slack.now = now
            await post_reports(world.rules, [ODD, SITE], world.context, now)
            await slack.deliver()
        text = str(slack.posts()[-1].blocks)
    assert (
        "Friction 2.5+ in 4.2 % of 1,000 sessions on 1 of 2 websites, "
        "2.1 % of 2,000 the week before." in text
    )


class Surprises:
    """An API that fails for one website, as long as `left` says."""

    def __init__(self, send, failure=None):
        self.send_well, self.left = send, True
        self.failure = failure or ValueError("a surprise")

    async def send(self, request):
        if self.left and "/odd/" in request.path:
            raise self.failure
        return await self.send_well(request)


async def passes(slack, world, until, step=timedelta(minutes=1)):
    """The daemon looks again and again; what the ops channel has got."""
    while slack.now < until:
        slack.now += step
        await post_reports(world.rules, [ODD, SITE], world.context, slack.now)
    await slack.deliver()
    return [post.text.partition(" · ")[0] for post in slack.posts("ops")]


@pytest.fixture
async def surprised():
    async with posting("") as slack:
        world = Weeks(slack)
        await post_reports(world.rules, [ODD, SITE], world.context, MONDAY - DAY)
        surprises = Surprises(world.api.send)
        world.api.send = surprises.send
        slack.now = MONDAY - timedelta(minutes=1)
        yield slack, world, surprises


async def test_a_report_that_fails_is_told_once_and_posted_when_it_works(surprised):
    slack, world, surprises = surprised
    with capture_logs() as logs:
        (told,) = await passes(slack, world, MONDAY + timedelta(hours=3))
    assert len([each for each in logs if each["event"] == "report.failed"]) == 1
    assert told.startswith(
        "🔶 The report weekly failed for odd.example: internal error: ValueError"
    )
    assert "a surprise" not in told
    assert [post.text.split(" · ")[1] for post in slack.posts()] == ["myshop.com"]
    said = "Without odd.example: its figures could not be read. The bot retries for 2 days."
    assert said in str(slack.posts()[0].blocks)
    surprises.left = False
    told = await passes(slack, world, MONDAY + timedelta(hours=7))
    assert told[1:] == ["✅ The report weekly is posted for odd.example"]
    assert [post.text.split(" · ")[1] for post in slack.posts()] == ["myshop.com", "odd.example"]
    assert "Without" not in str(slack.posts()[1].blocks)


async def test_a_report_that_fails_for_two_days_is_left_out_and_told(surprised):
    slack, world, _ = surprised
    hour = timedelta(hours=1)
    told = await passes(slack, world, MONDAY + 3 * DAY, hour)
    assert told[1:] == ["🔵 The report weekly is left out for odd.example"]
    slack.now = MONDAY + 7 * DAY - hour
    told = await passes(slack, world, MONDAY + 8 * DAY, hour)
    assert len(told) == 3
    assert told[2].startswith("🔶 The report weekly failed")
    assert all("Without odd.example: " in str(post.blocks) for post in slack.posts())
    assert len(slack.posts()) == 2


async def test_a_report_that_nobody_wants_any_more_is_not_told_of(surprised):
    slack, world, surprises = surprised
    await passes(slack, world, MONDAY)
    surprises.left = False
    await post_reports(world.rules, [SITE], world.context, slack.now)
    assert len(await passes(slack, world, MONDAY + timedelta(hours=1))) == 1


async def test_a_report_that_no_longer_covers_a_website_is_told_of_anew(surprised):
    slack, world, _ = surprised
    assert len(await passes(slack, world, MONDAY)) == 1
    (report,) = world.rules.reports
    every = world.rules
    world.rules = replace(every, reports=(replace(report, websites=(SITE.name,)),))
    slack.now = MONDAY + 6 * DAY
    await passes(slack, world, slack.now + timedelta(minutes=1))
    world.rules = every
    slack.now = MONDAY + 7 * DAY - timedelta(hours=2)
    told = await passes(slack, world, MONDAY + 7 * DAY + timedelta(hours=1))
    assert [each.partition(" for ")[0] for each in told] == ["🔶 The report weekly failed"] * 2
