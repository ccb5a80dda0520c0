"""An alert is one message: its end edits it and answers it, reminders answer it."""

from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from posting_world import posting
from report_world import World

from bot.delivery.rebuild import retry_some
from bot.errors import GiveUp
from bot.store.dead_letters import steps_of
from bot.store.overview import messages_since
from bot.store.rules import snooze

FUNNEL = """
dip:
  summary: Checkout funnel
  watch: funnels
  when: {conversion: {under: 25%}}
  resolved: true
  remind: 4h
  do: {slack: {channel: "#ux"}}
"""


class Alerts(World):
    """Figures that a test sets, and the simulator's Slack where the alerts are posted."""

    def __init__(self, slack, text=FUNNEL) -> None:
        super().__init__("funnels", text)
        self.slack = slack
        slack.store.close()
        slack.store = self.store

    async def converts(self, completed: int, **wait: float) -> None:
        """So many of 1,000 complete the funnel; the bot looks, and posts."""
        self.api.funnels["checkout"] = [1000, completed]
        await self.look(**wait)
        self.slack.now = self.now
        await self.slack.deliver()

    async def ends(self) -> None:
        """The funnel converts well again, as two looks see."""
        await self.converts(274)
        await self.converts(274)

    @property
    def posts(self):
        return self.slack.posts("ux")


@asynccontextmanager
async def alerts(text=FUNNEL):
    async with posting("") as slack:
        yield Alerts(slack, text)


async def no_delivery() -> None:
    """Slack is away, or the process."""


def first_lines(message):
    return [block["text"]["text"] for block in message.blocks if block["type"] == "section"]


async def test_the_end_edits_the_first_message_and_answers_it():
    async with alerts() as world:
        await world.converts(500)
        await world.converts(182)
        [first] = world.posts
        assert first.text.startswith("🔶 Checkout funnel: 18.2 % convert, limit 25 % · myshop.com")
        await world.ends()
        told, answer = world.posts
    assert told is first
    assert (told.edits, told.thread_ts) == (1, None)
    assert told.text.startswith("✅ Resolved after 30 min: Checkout funnel · myshop.com")
    assert [block["type"] for block in told.blocks] == ["section", "actions", "context"]
    assert told.metadata["event_payload"]["key"] != answer.metadata["event_payload"]["key"]
    assert answer.thread_ts == first.ts
    assert answer.text == told.text
    assert [block["type"] for block in answer.blocks] == ["section"]


async def test_a_reminder_answers_the_first_message_and_leaves_it_as_it_is():
    async with alerts() as world:
        await world.converts(182)
        for _ in range(16):
            await world.converts(176)
        first, reminder = world.posts
    assert first.edits == 0
    assert reminder.thread_ts == first.ts
    assert reminder.text.startswith(
        "🔶 Still firing after 4 h: Checkout funnel: 17.6 % convert, limit 25 % · myshop.com"
    )


async def test_a_post_that_went_out_late_is_repeated_no_sooner_than_remind_says():
    async with alerts() as world:
        deliver, world.slack.deliver = world.slack.deliver, no_delivery
        for _ in range(20):  # for 5 h nothing can be posted
            await world.converts(182)
        world.slack.deliver = deliver
        await deliver()
        for _ in range(15):
            await world.converts(176)
        assert [post.text[:22] for post in world.posts] == ["🔶 Checkout funnel: 18."]
        for _ in range(2):
            await world.converts(176)
        first, reminder = world.posts
    assert reminder.text.startswith("🔶 Still firing after ")
    assert reminder.thread_ts == first.ts


async def test_each_episode_has_its_own_message():
    async with alerts() as world:
        for _ in range(2):
            await world.converts(182)
            await world.ends()
        first, answer, second, other = world.posts
    assert (answer.thread_ts, other.thread_ts) == (first.ts, second.ts)
    assert (first.edits, second.edits) == (1, 1)


class Refusing:
    """Slack, as it refuses a message for good."""

    channel = "#ux"

    async def post(self, _message):
        raise GiveUp("msg_too_long", "shorten it")


@pytest.mark.parametrize("is_over", [True, False])
async def test_what_could_not_be_posted_is_not_posted_once_the_alert_is_over(is_over):
    async with alerts() as world:
        poster, world.slack.poster = world.slack.poster, Refusing()
        await world.converts(182)
        world.slack.poster = poster
        if is_over:
            await world.ends()
        again = world.store.do(lambda conn: retry_some(conn, world.now, None))
        await world.slack.deliver()
        texts = [post.text for post in world.posts]
    assert again.refused == ({"the alert is over": 1} if is_over else {})
    assert again.requeued == (0 if is_over else 1)
    assert len(texts) == again.requeued


async def test_a_digest_that_could_not_be_posted_is_posted_once_its_alerts_are_over():
    async with alerts() as world:
        await world.converts(274)
        world.store.do(lambda conn: snooze(conn, "dip", world.now + timedelta(hours=3), world.now))
        await world.converts(182)
        await world.ends()
        poster, world.slack.poster = world.slack.poster, Refusing()
        await world.converts(274, hours=3)
        world.slack.poster = poster
        again = world.store.do(lambda conn: retry_some(conn, world.now, None))
        await world.slack.deliver()
        [digest] = world.posts
    assert (again.requeued, again.refused) == (1, {})
    assert digest.text.startswith("🔶 1 while snoozed: Checkout funnel")


async def test_a_renamed_rule_still_ends_its_alert_in_place():
    async with alerts() as world:
        await world.converts(182)
        world.edit(FUNNEL.replace("dip:", "low:") + "  was: dip\n")
        await world.ends()
        first, answer = world.posts
    assert (first.edits, answer.thread_ts) == (1, first.ts)


async def test_the_end_is_a_post_of_its_own_where_the_first_message_was_deleted():
    async with alerts() as world:
        await world.converts(182)
        world.slack.sim.slack.messages.clear()
        await world.ends()
        [end] = world.posts
    assert end.thread_ts is None
    assert end.text.startswith("✅ Resolved after")
    assert end.blocks[-1]["type"] == "context"


async def test_a_message_that_can_no_longer_be_edited_stays_and_is_answered():
    async with alerts() as world:
        await world.converts(182)
        world.slack.sim.slack.allows_edits = False
        await world.ends()
        first, answer = world.posts
        [edit] = [
            step for step in world.store.do(lambda conn: steps_of(conn, *_end(conn)))
            if step.action == "edit"
        ]  # fmt: skip
    assert (first.edits, answer.thread_ts) == (0, first.ts)
    assert edit.state == "done"


def _end(conn):
    return conn.exec_driver_sql("SELECT key FROM matches WHERE key LIKE '%-resolved'").one()


async def test_an_answer_whose_outcome_is_unknown_is_looked_up_in_its_thread():
    async with alerts() as world:
        await world.converts(182)
        world.slack.sim.fail("close_after", side="slack", path="chat.postMessage")
        await world.ends()
        for _ in range(3):
            world.now += timedelta(minutes=5)
            world.slack.now = world.now
            await world.slack.deliver()
        first, answer = world.posts
    assert (first.edits, answer.thread_ts) == (1, first.ts)


async def test_the_end_is_a_post_of_its_own_where_the_beginning_is_in_a_digest():
    limited = FUNNEL.replace('"#ux"}', '"#ux", at_most: 1 per day}')
    async with alerts(limited) as world:
        for _ in range(2):
            await world.converts(182)
            await world.ends()
        posts = world.posts
    assert [post.thread_ts for post in posts] == [None, posts[0].ts, None]
    assert posts[2].text.startswith("✅ Resolved after")


async def test_an_end_that_a_snooze_holds_back_still_edits_the_first_message():
    async with alerts() as world:
        await world.converts(182)
        world.store.do(lambda conn: snooze(conn, "dip", world.now + timedelta(hours=9), world.now))
        await world.ends()
        [first] = world.posts  # the answer would notify, and in a digest look like one more
        states = {
            step.action: step.state for step in world.store.do(lambda c: steps_of(c, *_end(c)))
        }
        sent = world.store.do(lambda conn: messages_since(conn, world.now - timedelta(days=1)))
    assert sent == (1, 0)  # an edit is no message
    assert first.edits == 1
    assert first.text.startswith("✅ Resolved after 30 min: Checkout funnel")
    assert states == {"resolved": "withheld", "ended": "done"}


async def test_an_end_outside_the_active_hours_is_no_further_message_in_the_morning():
    hours = FUNNEL.replace("remind: 4h", "active: 08:00-18:00")
    async with alerts(hours) as world:
        await world.converts(182)
        await world.converts(274, hours=11)
        await world.converts(274)
        [first] = world.posts
        assert first.text.startswith("✅ Resolved after 11 h")
        await world.converts(274, hours=13)
        assert len(world.posts) == 1


async def test_an_end_that_waits_for_its_channel_edits_and_answers_when_it_is_back():
    async with alerts() as world:
        await world.converts(182)
        world.slack.sim.slack.channel("#ux").archived = True
        await world.ends()
        [first] = world.posts
        assert first.edits == 0
        world.slack.sim.slack.channel("#ux").archived = False
        await world.converts(274, hours=2)
        first, answer = world.posts
    assert (first.edits, answer.thread_ts) == (1, first.ts)


async def test_an_end_that_goes_into_a_digest_has_nothing_to_edit_without_a_first_message():
    async with alerts() as world:
        await world.converts(182)
        world.store.do(lambda conn: conn.exec_driver_sql("DELETE FROM posts"))
        world.store.do(lambda conn: snooze(conn, "dip", world.now + timedelta(hours=9), world.now))
        await world.ends()
        states = {
            step.action: step.state for step in world.store.do(lambda c: steps_of(c, *_end(c)))
        }
    assert states == {"resolved": "folded"}


async def test_the_end_of_an_alert_that_a_digest_tells_of_is_not_one_more_of_them():
    async with alerts() as world:
        await world.converts(274)
        world.store.do(lambda conn: snooze(conn, "dip", world.now + timedelta(hours=3), world.now))
        for _ in range(2):
            await world.converts(182)
            await world.ends()
        await world.converts(182)
        await world.converts(182, hours=3)
        [digest] = world.posts
    assert digest.text.startswith("🔶 3 while snoozed: Checkout funnel")
    assert "\n2 of 3 ended." in first_lines(digest)[0]
    assert "27.4 %" not in str(digest.blocks)


async def test_a_scheduled_digest_of_several_rules_says_how_many_alerts_have_ended():
    scheduled = FUNNEL.replace('channel: "#ux"', 'channel: "#ux", digest: "09:00"')
    lower = (
        scheduled.replace("dip:", "low:").replace("Checkout funnel", "Low").replace("25%", "20%")
    )
    async with alerts(scheduled + lower) as world:
        for completed in (182, 274, 274, 230, 274, 274, 182):
            await world.converts(completed)
        assert world.posts == []
        await world.converts(182, hours=24)
        [digest] = world.posts
        first, second = digest.blocks[1]["text"]["text"].splitlines()
    assert digest.text.startswith("🔶 5 matches of 2 rules")
    assert "3 × " in first
    assert "|Checkout funnel> · 2 of 3 ended" in first
    assert "2 × " in second
    assert "|Low> · 1 of 2 ended" in second
