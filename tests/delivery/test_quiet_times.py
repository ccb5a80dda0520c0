"""Quiet times and scheduled digests: what waits, until when, and as what it goes out."""

from datetime import UTC, datetime

import pytest
from posting_world import ZONE, posting, visit
from report_world import World
from test_alert_threads import Alerts

from bot.actions import ACTIONS, AFTER_QUIET
from bot.config.load import load
from bot.domain.calendar import Calendar, days_of, schedule
from bot.domain.limits import Hours
from bot.errors import ConfigError, TryLater
from bot.rules.files.load import read
from bot.store.audit import history
from bot.store.rules import snooze

EVERY_DAY = frozenset(range(7))
NIGHT = Calendar(ZONE, (Hours(EVERY_DAY, 20 * 60, 7 * 60, ZONE),))
RULES = """
friction:
  summary: Frustrated visitor
  watch: recordings
  when: {friction: {min: 2.5}}
  do: {slack: {}}
search:
  summary: Search without a click
  severity: info
  watch: recordings
  when: {tags: search}
  do: {slack: {}}
broken:
  summary: Error on the payment page
  severity: critical
  watch: recordings
  when: {tags: error}
  do: {slack: {}}
"""


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("calendar", "now", "until"),
    [
        (NIGHT, "2026-03-02T18:59", None),
        (NIGHT, "2026-03-02T19:00", "2026-03-03T06:00"),
        (NIGHT, "2026-03-03T05:59", "2026-03-03T06:00"),
        (NIGHT, "2026-03-03T06:00", None),
        # The night before the clocks go forward is an hour shorter, in autumn one longer.
        (NIGHT, "2026-03-28T20:00", "2026-03-29T05:00"),
        (NIGHT, "2026-10-24T20:00", "2026-10-25T06:00"),
        # Saturday, Sunday and the nights beside them are one quiet time.
        (Calendar("UTC", (Hours(EVERY_DAY, 20 * 60, 7 * 60, "UTC"),
                          Hours(frozenset({5, 6}), 0, 1440, "UTC"))),
         "2026-03-06T21:00", "2026-03-09T07:00"),
        (Calendar(ZONE, dates=(days_of("12-24..01-01"),)),
         "2026-12-23T23:00", "2027-01-01T23:00"),
        (Calendar(ZONE, dates=(days_of("12-24..01-01"),)), "2026-12-23T22:59", None),
        (Calendar("UTC", dates=(days_of("2026-05-01"),)), "2026-05-01T12:00",
         "2026-05-02T00:00"),
        (Calendar("UTC", dates=(days_of("2026-05-01"),)), "2027-05-01T12:00", None),
    ],
)  # fmt: skip
def test_quiet_times_follow_the_clocks_of_the_account(calendar, now, until):
    assert calendar.quiet_until(at(now)) == (until and at(until))


@pytest.mark.parametrize(
    ("text", "now", "following"),
    [
        ("mon-fri 09:00", "2026-03-06T08:00", "2026-03-09T08:00"),
        ("mon-fri 09:00", "2026-03-06T07:59", "2026-03-06T08:00"),
        ("sun 09:00", "2026-03-28T09:00", "2026-03-29T07:00"),
        ("9:00", "2026-03-28T09:00", "2026-03-29T07:00"),
    ],
)
def test_a_schedule_follows_the_clocks_of_the_account(text, now, following):
    assert schedule(text).following(at(now), ZONE) == at(following)
    assert schedule(text).latest(at(following), ZONE) == at(following)


class Killed(BaseException):
    """The process dies here."""


class Quiet:
    """Matches in a night, and what the channel has got."""

    def __init__(self, world) -> None:
        self.world = world
        world.now = at("2026-03-10T20:00")

    async def deliver(self, **wait):
        self.world.wait(**wait)
        await self.world.deliver(calendar=NIGHT)
        return [post.text for post in self.world.posts()]

    def match(self, key, rule="friction", **values):
        self.world.match(visit(key, "/CART", at=self.world.now, **values), rule=rule)


async def test_a_few_posts_wait_and_go_out_as_they_are_even_if_old_by_then():
    async with posting(RULES) as world:
        night = Quiet(world)
        night.match("r1", friction=5)
        assert await night.deliver() == []
        assert world.store.do(lambda conn: history(conn, kind="step.put_off"))[0].text == (
            "the post waits until 2026-03-11 06:00:00Z: quiet time"
        )
        assert await night.deliver(hours=9, minutes=59) == []
        [text] = await night.deliver(minutes=1)
        assert text.startswith("🔶 Frustrated visitor · myshop.com")
        assert await night.deliver(hours=1) == [text]


async def test_a_critical_rule_does_not_wait():
    async with posting(RULES) as world:
        night = Quiet(world)
        night.match("r1", "broken")
        [text] = await night.deliver()
        assert text.startswith("🛑 Error on the payment page")


async def test_many_posts_of_several_rules_are_one_message_of_the_channel():
    async with posting(RULES) as world:
        night = Quiet(world)
        for n in range(4):
            night.match(f"r{n}", friction=n + 1)
            await night.deliver(minutes=1)
        night.match("s1", "search")
        assert await night.deliver() == []
        world.now = at("2026-03-11T06:00")
        [text] = await night.deliver()
        [post] = world.posts()
        assert nothing_waits(world)
    assert text.startswith("🔶 5 matches of 2 rules while it was quiet")
    assert "All on /cart, all on phones" in text
    lines = post.blocks[1]["text"]["text"].splitlines()
    assert lines[0].startswith("• 🔶 4 × <https://app.mouseflow.com/websites/site-1/recordings/r3/")
    assert "|Frustrated visitor> · All on /cart" in lines[0]
    assert "🔵 <" in lines[1]
    assert "|Search without a click> · a reason · " in lines[1]


def nothing_waits(world):
    states = world.store.do(
        lambda conn: conn.exec_driver_sql(
            "SELECT DISTINCT steps.state FROM steps JOIN matches ON matches.id = match_id"
            " WHERE matches.subject IS NOT NULL OR steps.state = 'pending'"
        ).fetchall()
    )
    return states == []


async def test_the_digest_is_posted_once_though_the_bot_dies_in_between():
    async with posting(RULES) as world:
        night = Quiet(world)
        for n in range(5):
            night.match(f"r{n}")
        await night.deliver()
        world.now = at("2026-03-11T06:00")

        def dies(point: str) -> None:
            if point == "call.after":
                raise Killed

        with pytest.raises(Killed):
            await world.deliver(calendar=NIGHT, checkpoint=dies)
        assert len(await night.deliver(minutes=10)) == 1


async def test_a_flood_in_the_night_is_one_message_too():
    async with posting(RULES) as world:
        night = Quiet(world)
        for n in range(300):
            night.match(f"r{n}")
        assert await night.deliver() == []
        world.now = at("2026-03-11T06:00")
        [text] = await night.deliver()
    assert text.startswith("🔶 300 while it was quiet: Frustrated visitor · ")


async def test_what_a_snooze_holds_back_stays_its_own_digest():
    async with posting(RULES.replace("slack: {}", "slack: {at_most: 1 per hour}", 1)) as world:
        night = Quiet(world)
        world.now = at("2026-03-10T12:00")
        for n in range(3):
            night.match(f"r{n}")
        assert len(await night.deliver()) == 1
        world.now = at("2026-03-10T20:00")
        assert len(await night.deliver()) == 1
        world.now = at("2026-03-11T06:00")
        assert (await night.deliver())[1].startswith("🔶 2 more: Frustrated visitor")


HOOK = """
dip:
  watch: funnels
  when: {conversion: {under: 25%}}
  remind: 4h
  do: {webhook: {url: "https://hooks.example/x"}}
"""


class Nights(Alerts):
    """An alert in a night with quiet hours."""

    def __init__(self, slack) -> None:
        super().__init__(slack)
        self.quiet = NIGHT
        self.now = at("2026-03-10T20:00")

    async def converts(self, completed: int, **wait: float) -> None:
        self.api.funnels["checkout"] = [1000, completed]
        await self.look(**wait)
        self.slack.now = self.now
        await self.slack.deliver(calendar=NIGHT)

    async def morning(self) -> list[str]:
        self.slack.now = at("2026-03-11T06:00")
        for _ in range(2):
            await self.slack.deliver(calendar=NIGHT)
        return [post.text for post in self.posts]


async def test_an_alert_that_began_and_ended_in_the_night_is_one_line():
    async with posting("") as slack:
        world = Nights(slack)
        await world.converts(182)
        for _ in range(17):
            await world.converts(176)
        await world.ends()
        assert world.posts == []
        [text] = await world.morning()
        [post] = world.posts
    assert text.startswith("🔶 1 while it was quiet: Checkout funnel")
    line = post.blocks[1]["text"]["text"]
    assert "Checkout funnel" in line
    assert "over after 4 h 45 min · conversion 18.2 %, under 25 % · " in line


async def test_an_alert_that_is_over_is_told_before_one_that_fires_again():
    async with posting("") as slack:
        world = Nights(slack)
        await world.converts(182)
        await world.ends()
        await world.converts(182)
        await world.ends()
        await world.converts(176)
        over, fires = await world.morning()
    assert over.startswith("🔶 2 while it was quiet: Checkout funnel")
    assert fires.startswith("🔶 Checkout funnel: 17.6 % convert")


async def test_an_alert_that_lasts_is_told_once_in_the_morning_without_its_reminders():
    async with posting("") as slack:
        world = Nights(slack)
        await world.converts(182)
        for _ in range(34):
            await world.converts(176)
        [text] = await world.morning()
    assert text.startswith("🔶 Checkout funnel: 18.2 % convert, limit 25 %")


async def test_the_end_of_an_alert_told_before_answers_its_message_in_the_morning():
    async with posting("") as slack:
        world = Nights(slack)
        world.now = at("2026-03-10T17:00")
        await world.converts(182)
        world.now = at("2026-03-10T20:00")
        await world.ends()
        assert len(world.posts) == 1
        first, answer = await world.morning()
        told, reply = world.posts
    assert (told.edits, reply.thread_ts) == (1, told.ts)
    assert first == answer


@pytest.mark.parametrize(("begins", "told"), [("17:00", ["17:15", "06:00"]), ("21:00", ["06:00"])])
async def test_reminders_of_a_quiet_time_come_once_and_keep_their_distance(begins, told):
    async with posting("") as slack:
        world = Nights(slack)
        world.now = at(f"2026-03-10T{begins}")
        await world.converts(182)
        while world.now < at("2026-03-11T10:15"):
            await world.converts(176)
        posts = {f"{datetime.fromtimestamp(float(it.ts), UTC):%H:%M}": it for it in world.posts}
    assert list(posts) == [*told, "10:00"]
    if begins == "17:00":
        assert posts["06:00"].text.startswith("🔶 Still firing after 12 h 45 min: ")


async def test_webhooks_are_reminded_of_in_a_quiet_time():
    world = World("funnels", HOOK)
    world.quiet = NIGHT
    world.now = at("2026-03-10T20:00")
    world.api.funnels["checkout"] = [1000, 182]
    assert await world.looks(17) == ["dip: webhook", "dip: webhook"]


SCHEDULED = """
friction:
  summary: Frustrated visitor
  watch: recordings
  when: {friction: {min: 2.5}}
  do: {slack: {digest: "mon-fri 09:00"}}
"""


async def test_a_scheduled_digest_posts_all_matches_at_its_time_and_nothing_before():
    async with posting(SCHEDULED) as world:
        world.now = at("2026-03-06T09:00")  # a Friday
        for n in range(3):
            world.match(visit(f"r{n}", "/CART", at=world.now, friction=5))
            await world.deliver(calendar=Calendar(ZONE))
            world.wait(hours=10)
        assert world.posts() == []
        folded = world.store.do(lambda conn: history(conn, kind="step.folded"))
        assert {each.text for each in folded} == {"for the scheduled digest"}
        world.now = at("2026-03-09T08:00")
        await world.deliver(calendar=Calendar(ZONE))
        [post] = world.posts()
        assert post.text.startswith("🔶 3 matches: Frustrated visitor")
        world.now = at("2026-03-10T08:00")
        await world.deliver(calendar=Calendar(ZONE))
        assert len(world.posts()) == 1


async def test_scheduled_digests_of_one_channel_are_one_message():
    both = SCHEDULED + SCHEDULED.replace("friction:", "search:", 1).replace(
        "Frustrated visitor", "Search without a click"
    )
    third = SCHEDULED.replace("friction:", "broken:", 1).replace("#", "")
    other = third.replace("{slack: {", '{slack: {channel: "#incidents", ')
    async with posting(both + other) as world:
        world.now = at("2026-03-06T09:00")  # a Friday
        for n in range(3):
            world.match(visit(f"r{n}", "/CART", at=world.now, friction=5), rule="friction")
        world.match(visit("s", "/search", at=world.now), rule="search")
        world.match(visit("b", "/pay", at=world.now), rule="broken")
        await world.deliver(calendar=Calendar(ZONE))
        world.now = at("2026-03-09T08:00")
        await world.deliver(calendar=Calendar(ZONE))
        [post] = world.posts()
        [alone] = world.posts("incidents")
        world.match(visit("s2", "/search", at=world.now), rule="search")
        await world.deliver(calendar=Calendar(ZONE))
        world.wait(days=1)
        await world.deliver(calendar=Calendar(ZONE))
        later = world.posts()[1:]
    assert alone.text.startswith("🔶 1 match: Frustrated visitor")
    assert post.text.startswith("🔶 4 matches of 2 rules · myshop.com · 3 on /cart, 1 on /search")
    items = str(post.blocks[1])
    assert "3 × <" in items
    assert "|Frustrated visitor>" in items
    assert "|Search without a click>" in items
    assert [each.text.partition(" · ")[0] for each in later] == [
        "🔶 1 match: Search without a click"
    ]


async def test_a_scheduled_digest_that_is_due_outside_active_hours_comes_whole_when_they_begin():
    rules = SCHEDULED.replace("  do:", "  active: 12:00-03:00\n  do:")
    async with posting(rules) as world:
        for n, now in enumerate(("2026-03-09T01:30", "2026-03-09T07:00", "2026-03-09T09:00")):
            world.now = at(now)  # within the hours, after them, and when the digest was due
            world.match(visit(f"r{n}", "/CART", at=world.now, friction=5))
            await world.deliver(calendar=Calendar(ZONE))
        world.now = at("2026-03-09T10:59")
        await world.deliver(calendar=Calendar(ZONE))
        assert world.posts() == []
        world.now = at("2026-03-09T11:00")
        await world.deliver(calendar=Calendar(ZONE))
        [post] = world.posts()
        assert post.text.startswith("🔶 3 matches: Frustrated visitor")


@pytest.mark.parametrize(
    ("slack", "said"),
    [
        ("digest: at nine", "write days and a time, such as mon-fri 09:00"),
        ("digest: funday 09:00", "write weekdays such as mon, mon-fri or sat,sun"),
        ('digest: "09:00", at_most: 3 per day',
         "at_most has no effect beside digest; leave out one of both"),
    ],
)  # fmt: skip
def test_a_schedule_that_can_not_be_kept_is_an_error(slack, said):
    text = SCHEDULED.replace('digest: "mon-fri 09:00"', slack)
    body = "\n".join(f"  {line}" for line in text.strip().splitlines())
    with pytest.raises(Exception, match=said):
        read([("r.yaml", f"version: 1\nrules:\n{body}\n".encode())])


def configured(tmp_path, text):
    account = 'mouseflow = {region = "eu", email = "bot@example.com", api_key = "a-key"}\n'
    (tmp_path / "config.toml").write_text(account + text)
    return load(tmp_path / "config.toml", {})


def test_the_configuration_has_quiet_times(tmp_path):
    text = 'quiet = {hours = "20:00-07:00; sat,sun", dates = [2026-12-24, "05-01"]}\n'
    calendar = configured(tmp_path, text).quiet.calendar("UTC")
    assert calendar.quiet_until(at("2026-03-06T21:00")) == at("2026-03-09T07:00")
    assert calendar.quiet_until(at("2026-12-24T12:00")) == at("2026-12-25T07:00")
    assert calendar.quiet_until(at("2030-05-01T12:00")) == at("2030-05-02T07:00")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('hours = ["mon-sun"]', "leaves no time for posts"),
        ('hours = ["night"]', "write weekdays such as mon, mon-fri or sat,sun"),
        ('dates = ["easter"]', "write days such as 2026-12-24"),
    ],
)
def test_quiet_times_that_can_not_be_kept_are_errors(tmp_path, text, said):
    with pytest.raises(ConfigError, match=said):
        configured(tmp_path, f"quiet = {{{text}}}\n")


def test_quiet_days_are_checked():
    for text in ("12-32", "christmas", "2026-02-02..2026-02-01", "2026-02-02..02-03"):
        with pytest.raises(ValueError, match="write days such as"):
            days_of(text)


def test_each_kind_of_digest_has_one_for_a_quiet_time():
    assert dict(AFTER_QUIET) == {"digest": "after_quiet", "notify_digest": "notify_after_quiet"}
    assert {*AFTER_QUIET.values()} <= ACTIONS.keys()


async def test_a_post_that_can_not_be_read_does_not_let_the_others_flood_the_morning():
    async with posting(RULES) as world:
        night = Quiet(world)
        for n in range(6):
            night.match(f"r{n}")
        assert await night.deliver() == []
        world.store.do(
            lambda conn: conn.exec_driver_sql(
                "UPDATE matches SET subject = 'no JSON' WHERE subject_key = 'r3'"
            )
        )
        world.now = at("2026-03-11T06:00")
        assert [text.partition(" ·")[0] for text in await night.deliver()] == [
            "🔶 5 while it was quiet: Frustrated visitor"
        ]


async def test_what_is_snoozed_when_a_quiet_time_ends_stays_silent():
    async with posting(RULES) as world:
        night = Quiet(world)
        for n in range(5):
            night.match(f"r{n}")
        night.match("s1", "search")
        assert await night.deliver() == []
        noon = at("2026-03-11T11:00")
        world.store.do(lambda conn: snooze(conn, "friction", noon, world.now))
        world.now = at("2026-03-11T06:00")
        [text] = await night.deliver()
        assert text.startswith("🔵 Search without a click")
        world.now = noon
        assert (await night.deliver())[1].startswith("🔶 5 while snoozed: Frustrated visitor")


async def test_what_waits_for_its_active_hours_goes_out_then_and_not_when_the_quiet_time_ends():
    rules = RULES.replace("do: {slack: {}}", "active: 09:00-23:00\n  do: {slack: {}}", 1)
    async with posting(rules) as world:
        night = Quiet(world)
        for n in range(5):
            night.match(f"r{n}")
        assert await night.deliver() == []
        world.now = at("2026-03-11T06:00")
        assert await night.deliver() == []
        world.now = at("2026-03-11T08:00")
        [text] = await night.deliver()
    assert text.startswith("🔶 5 more: Frustrated visitor")


async def test_a_quiet_time_does_not_count_as_time_in_which_a_post_failed():
    async with posting(RULES) as world:
        night, post = Quiet(world), world.poster.post
        world.now = at("2026-03-10T18:59:50")
        night.match("r1")

        async def fails(_):
            raise TryLater("no connection")

        world.poster.post = fails
        await night.deliver()
        world.now = at("2026-03-10T20:00")
        await world.deliver(calendar=NIGHT)
        world.now = at("2026-03-10T21:00")
        await world.deliver(calendar=NIGHT)
        world.now = at("2026-03-15T06:00")
        await world.deliver(calendar=NIGHT)
        world.poster.post = post
        assert len(await night.deliver(minutes=10)) == 1


async def test_what_waited_is_not_too_old_after_an_attempt_that_failed():
    old = "after_downtime: {act_up_to: 1h, older: drop}\n  do: {slack: {}}"
    async with posting(RULES.replace("do: {slack: {}}", old, 1)) as world:
        night, post = Quiet(world), world.poster.post
        night.match("r1")
        assert await night.deliver() == []

        async def fails(_):
            raise TryLater("no connection")

        world.poster.post = fails
        world.now = at("2026-03-11T06:00")
        assert await night.deliver() == []
        world.poster.post = post
        assert len(await night.deliver(minutes=10)) == 1
