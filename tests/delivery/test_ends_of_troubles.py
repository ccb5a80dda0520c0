"""The end of a trouble answers the message of its beginning, which then says so too."""

from datetime import timedelta

import pytest
from posting_world import posting, visit

from bot.delivery.troubles import Ops, expire_and_tell
from bot.domain.causes import Cause
from bot.errors import BadCredentials, TryLater
from bot.polling.ops_messages import amend, announce
from bot.polling.outages import Troubles
from bot.store.lanes import LaneFault, lane_works, pause_lane
from bot.store.troubles import troubles

DOWN = TryLater("GET /websites: 503 Service Unavailable")


async def say(world, title, lines, **more):
    world.store.do(lambda conn: announce(conn, title, lines, world.now, "#ops", **more))
    await world.deliver()


async def test_the_end_of_an_outage_edits_its_message_and_answers_it():
    async with posting("") as world:
        outages = Troubles(world.store, ops="#ops", wake=lambda: None, clock=lambda: world.now)
        await outages.failed("websites", DOWN)
        world.wait(minutes=6)
        await outages.failed("websites", DOWN)
        await world.deliver()
        (begun,) = world.posts("ops")
        assert begun.text.startswith("🛑 Mouseflow can't be reached since")
        world.wait(minutes=3)
        await outages.works("websites")
        await world.deliver()
        first, answer = world.posts("ops")
        assert (first.ts, first.edits, answer.thread_ts) == (begun.ts, 1, begun.ts)
        assert first.text.startswith("✅ Mouseflow is reachable again after 9 min")
        assert answer.text == first.text
        # The next outage is one of its own.
        world.wait(hours=1)
        await outages.failed("websites", DOWN)
        world.wait(minutes=6)
        await outages.failed("websites", DOWN)
        await world.deliver()
        *_, third = world.posts("ops")
        assert (third.thread_ts, third.text[:1]) == (None, "🛑")
        assert len(world.posts("ops")) == 3


KEY = BadCredentials("Mouseflow rejected the API key")


def outages_of(world):
    return Troubles(world.store, ops="#ops", wake=lambda: None, clock=lambda: world.now)


async def lasts(world, outages, error, minutes=6):
    await outages.failed("websites", error)
    world.wait(minutes=minutes)
    await outages.failed("websites", error)
    await world.deliver()


async def test_an_outage_that_turns_into_a_rejected_key_says_so_and_has_one_end():
    async with posting("") as world:
        outages = outages_of(world)
        await lasts(world, outages, DOWN)
        await outages.failed("websites", KEY)
        await world.deliver()
        away, key = world.posts("ops")
        assert away.text.startswith("🔵 Turned into another trouble after 6 min: Mouseflow can't")
        assert key.text.startswith("🛑 Mouseflow rejected the API key")
        outages = outages_of(world)
        await outages.remember()  # after a restart
        await outages.failed("websites", KEY)
        world.wait(minutes=3)
        await outages.works("websites")
        await world.deliver()
        away, key, end = world.posts("ops")
        assert away.text.startswith("🔵 Turned into another trouble")
        assert key.text.startswith("✅ Mouseflow is reachable again after 9 min")
        assert end.thread_ts == key.ts


async def test_a_rejected_key_that_turns_into_an_outage_is_told_when_that_lasts():
    async with posting("") as world:
        outages = outages_of(world)
        await lasts(world, outages, KEY)
        await outages.failed("websites", DOWN)
        await world.deliver()
        assert len(world.posts("ops")) == 1
        await lasts(world, outages, DOWN)
        key, away = world.posts("ops")
        assert key.text.startswith("🔵 Turned into another trouble")
        assert "Mouseflow can't be reached" in away.text
        for error in (KEY, DOWN, KEY, DOWN):  # each is told once
            await lasts(world, outages, error)
        assert len(world.posts("ops")) == 2
        await outages.works("websites")
        await world.deliver()
        assert [it.text[:1] for it in world.posts("ops")] == ["🔵", "✅", "✅"]


async def test_a_rejected_key_that_is_over_while_mouseflow_is_away_ends_nothing():
    async with posting("") as world:
        outages = outages_of(world)
        await lasts(world, outages, KEY)
        await outages.failed("recordings of a", DOWN)
        await outages.failed("recordings of b", DOWN)
        await lasts(world, outages, DOWN)
        assert not await outages.works("websites")
        await outages.works("recordings of a")
        await world.deliver()
        assert len(world.posts("ops")) == 2
        await outages.works("recordings of b")
        await world.deliver()
        assert [it.text[:1] for it in world.posts("ops")] == ["🔵", "✅", "✅"]


RULE = """
one:
  watch: recordings
  when: {pages: {min: 1}}
  do: {slack: {}}
"""


def tell(conn, notice, now):
    announce(
        conn, notice.title, notice.lines, now, "#ops", about=notice.about, ends=notice.ends,
    )  # fmt: skip


def change(conn, notice, now):
    amend(conn, notice.title, notice.lines, now, "Europe/Copenhagen", notice.about)


async def test_a_lane_that_works_again_says_so_on_the_message_of_its_trouble():
    async with posting(RULE) as world:
        world.match(visit("r1", "/cart"))

        def fails(conn):
            fault = LaneFault(Cause.CHANNEL_ARCHIVED, "unarchive it", world.now)
            pause_lane(conn, "slack:#ux", world.now + timedelta(hours=9), "is_archived", fault)

        ops = Ops("#ops", tell)
        world.store.do(fails)
        world.store.do(lambda conn: expire_and_tell(conn, world.now, ops))
        await world.deliver()
        world.wait(hours=2)
        world.store.do(lambda conn: lane_works(conn, "slack:#ux"))
        world.store.do(lambda conn: expire_and_tell(conn, world.now, ops))
        await world.deliver()
        first, answer = world.posts("ops")
        assert first.text.startswith("✅ Slack channel #ux works again after 2 h")
        assert answer.thread_ts == first.ts


async def test_a_trouble_that_turns_into_another_says_so_on_its_first_message():
    async with posting(RULE) as world:
        world.match(visit("r1", "/cart"))
        ops = Ops("#ops", tell, change)

        async def fails(cause, remedy, reason):
            def work(conn):
                fault = LaneFault(cause, remedy, world.now)
                pause_lane(conn, "slack:#ux", world.now + timedelta(hours=9), reason, fault)

            world.store.do(work)
            world.store.do(lambda conn: expire_and_tell(conn, world.now, ops))
            await world.deliver()

        await fails(Cause.CHANNEL_ARCHIVED, "unarchive it", "is_archived")
        world.wait(hours=2)
        await fails(Cause.CHANNEL_LEFT, "invite the bot", "not_in_channel")
        first, second = world.posts("ops")
        assert first.text.startswith(
            "🔵 Turned into another trouble after 2 h: Slack channel #ux is"
        )
        assert "The bot is not in Slack channel #ux" in first.text
        assert (first.edits, second.thread_ts) == (1, None)
        assert second.text.startswith("🔶 The bot is not in Slack channel #ux")
        # The end answers the message of what it ends.
        world.wait(hours=1)
        world.store.do(lambda conn: lane_works(conn, "slack:#ux"))
        world.store.do(lambda conn: expire_and_tell(conn, world.now, ops))
        await world.deliver()
        first, second, answer = world.posts("ops")
        assert (answer.thread_ts, first.edits, second.edits) == (second.ts, 1, 1)
        # The next one of the first kind is a message of its own.
        world.wait(hours=1)
        world.match(visit("r2", "/cart"))
        await fails(Cause.CHANNEL_ARCHIVED, "unarchive it", "is_archived")
        assert world.posts("ops")[-1].text.startswith("🔶 Slack channel #ux is archived")
        assert world.posts("ops")[0].edits == 1


async def test_an_end_whose_beginning_nobody_saw_is_a_message_of_its_own():
    async with posting("") as world:
        await say(world, "✅ All is well again", ("x",), about="lane #ux", ends=True)
        world.wait(minutes=1)
        await say(world, "✅ All is well again, again", ("x",), about="lane #ux", ends=True)
        first, second = world.posts("ops")
        assert (first.thread_ts, second.thread_ts, first.edits) == (None, None, 0)


async def test_an_end_whose_beginning_was_deleted_is_a_message_of_its_own():
    async with posting("") as world:
        await say(world, "🔶 Something fails", ("why",), about="it")
        world.sim.slack.messages.clear()
        world.wait(minutes=1)
        await say(world, "✅ It works again", ("so",), about="it", ends=True)
        (end,) = world.posts("ops")
        assert (end.text.startswith("✅ It works again"), end.thread_ts) == (True, None)


async def test_ends_of_two_websites_answer_their_own_messages():
    async with posting("") as world:
        for about in ("one", "other"):
            await say(world, f"🔶 {about} fails", ("why",), about=about)
        world.wait(minutes=1)
        await say(world, "✅ one works", ("so",), about="one", ends=True)
        one, other, end = world.posts("ops")
        assert (end.thread_ts, one.edits, other.edits) == (one.ts, 1, 0)


async def test_a_trouble_that_turns_into_another_before_people_saw_it_is_not_posted():
    async with posting(RULE) as world:
        world.match(visit("r1", "/cart"))
        ops = Ops("#ops", tell, change)
        for cause in (Cause.CHANNEL_ARCHIVED, Cause.CHANNEL_LEFT):

            def work(conn, cause=cause):
                fault = LaneFault(cause, "do something", world.now)
                pause_lane(conn, "slack:#ux", world.now + timedelta(hours=9), "reason", fault)
                expire_and_tell(conn, world.now, ops)

            world.wait(hours=2)
            world.store.do(work)
        await world.deliver()
        [post] = world.posts("ops")
        assert post.text.startswith("🔶 The bot is not in Slack channel #ux")


@pytest.mark.parametrize("reaches", [False, True], ids=["no ops channel", "an ops channel"])
async def test_a_trouble_counts_as_told_only_if_a_channel_is_there_for_it(reaches):
    async with posting(RULE) as world:
        world.match(visit("r1", "/cart"))
        ops = Ops("#ops" if reaches else None, tell, change)

        def work(conn):
            fault = LaneFault(Cause.CHANNEL_ARCHIVED, "do something", world.now)
            pause_lane(conn, "slack:#ux", world.now + timedelta(hours=9), "reason", fault)
            expire_and_tell(conn, world.now, ops)
            return [it.told for it in troubles(conn)]

        world.wait(hours=2)
        assert world.store.do(work) == [reaches]
