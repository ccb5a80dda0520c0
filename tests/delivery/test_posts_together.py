"""One recording that several rules match within a minute is one message in the channel."""

import pytest
from posting_world import PLAY, posting, visit

from bot.store.audit import history

TWO = """
friction:
  summary: Frustrated visitor
  watch: recordings
  when: {friction: {min: 2.5}}
  do: {slack: {}}
boots:
  summary: Visitor of the boots launch
  watch: recordings
  when: {saw_page: /boots}
  do: {slack: {}}
"""
WHY = {"friction": "friction at least 2.5", "boots": "saw /boots"}


def notes(world, kind="step.done"):
    return [entry.text for entry in world.store.do(lambda conn: history(conn, kind=kind))]


async def test_the_second_rule_is_added_to_the_message_of_the_first():
    async with posting(TWO) as world:
        world.match(visit("r1", "/boots", "/CART", friction=5), why=WHY)
        await world.deliver()
        [post] = world.posts()
        assert notes(world) == ["added to the message of friction in #ux", "posted to #ux"]
    assert post.edits == 1
    assert post.text.startswith("🔶 Frustrated visitor · myshop.com · Friction 2.5+.")
    body, path, also, buttons, grey = post.blocks
    assert f"*<{PLAY.format('r1')}|Frustrated visitor>* · myshop.com\n" in body["text"]["text"]
    assert path["type"] == "context"
    assert also["text"]["text"] == "🔶 Also *Visitor of the boots launch*: saw */boots*."
    assert [button["text"]["text"] for button in buttons["elements"]] == ["Watch recording"]
    assert grey["elements"][0]["text"].endswith(" · Rules friction, boots")


async def test_a_later_poll_within_the_minute_counts_too_and_one_after_it_does_not():
    third = TWO.partition("boots:")[0].replace("friction:\n", "third:\n")
    async with posting(TWO + third) as world:
        world.match(visit("r1", "/CART"), rule="friction")
        await world.deliver()
        world.wait(seconds=59)
        world.match(visit("r1", "/CART"), rule="boots")
        await world.deliver()
        assert [post.edits for post in world.posts()] == [1]
        world.wait(seconds=2)
        world.match(visit("r1", "/CART"), rule="third")
        await world.deliver()
    assert [post.edits for post in world.posts()] == [1, 0]


async def test_other_recordings_channels_and_own_texts_have_messages_of_their_own():
    rules = (
        TWO.partition("boots:")[0]
        + """
elsewhere:
  watch: recordings
  when: {saw_page: /boots}
  do: {slack: {channel: "#incidents"}}
own:
  watch: recordings
  when: {saw_page: /boots}
  do: {slack: {text: "Look at {{ visitor_name }}"}}
"""
    )
    async with posting(rules) as world:
        world.match(visit("r1", "/boots", visitor_name="Anna"), visit("r2", "/boots"))
        await world.deliver()
        kept = world.store.do(
            lambda conn: conn.exec_driver_sql("SELECT shows FROM posts").scalars().all()
        )
    assert len(world.posts()) == 4
    assert len(world.posts("incidents")) == 2
    assert [post.edits for post in world.sim.slack.messages] == [0] * 6
    assert "Anna" not in "".join(kept)


async def test_limits_count_for_each_rule():
    async with posting(TWO.replace("slack: {}", "slack: {at_most: 1 per hour}")) as world:
        world.match(visit("r1", "/boots"))
        world.match(visit("r2", "/boots"))
        await world.deliver()
        assert len(world.posts()) == 1
        world.wait(hours=1)
        await world.deliver()
    assert [post.text.partition(" · ")[0] for post in world.posts()[1:]] == [
        "🔶 1 more: Frustrated visitor", "🔶 1 more: Visitor of the boots launch",
    ]  # fmt: skip


async def test_where_the_first_message_is_gone_the_second_is_posted():
    async with posting(TWO) as world:
        world.match(visit("r1", "/boots"), rule="friction")
        await world.deliver()
        world.sim.slack.messages.clear()
        world.match(visit("r1", "/boots"), rule="boots")
        await world.deliver()
        [post] = world.posts()
    assert post.text.startswith("🔶 Visitor of the boots launch")


async def test_where_another_version_kept_the_first_message_the_second_is_posted():
    async with posting(TWO) as world:
        world.match(visit("r1", "/boots"), rule="friction")
        await world.deliver()
        world.store.do(lambda conn: conn.exec_driver_sql("UPDATE posts SET shows = '[1]'"))
        world.match(visit("r1", "/boots"), rule="boots")
        await world.deliver()
        assert len(world.posts()) == 2


@pytest.mark.parametrize("kind", ["close", "close_after"])
async def test_an_edit_whose_outcome_is_unknown_is_made_again(kind):
    async with posting(TWO) as world:
        world.match(visit("r1", "/boots"))
        world.sim.fail(kind, side="slack", path="chat.update")
        await world.deliver()
        for _ in range(3):
            world.wait(minutes=2)
            await world.deliver()
        [post] = world.posts()
    assert post.blocks[-1]["elements"][0]["text"].endswith("Rules friction, boots")
    assert len([block for block in post.blocks if "Also" in str(block)]) == 1


@pytest.mark.parametrize("point", ["call.before", "call.after", "save.before", "save.inside"])
async def test_a_bot_that_dies_while_it_adds_a_rule_adds_it_once(point):
    class Killed(BaseException):
        pass

    passed = 0

    def die(name):
        nonlocal passed
        passed += name == point
        if passed == 2 and name == point:
            raise Killed

    async with posting(TWO) as world:
        world.match(visit("r1", "/boots"))
        with pytest.raises(Killed):
            await world.deliver(checkpoint=die)
        world.wait(minutes=5)
        await world.deliver()
        world.wait(minutes=5)
        await world.deliver()
        [post] = world.posts()
    assert len([block for block in post.blocks if "Also" in str(block)]) == 1


LATER_CRITICAL = TWO.replace(
    "  summary: Visitor of the", "  severity: critical\n  summary: Visitor of the"
)


@pytest.mark.parametrize("lost", [False, True])
async def test_a_more_severe_rule_notifies_in_the_thread_and_leads_the_message(lost):
    async with posting(LATER_CRITICAL) as world:
        world.match(visit("r1", "/boots"), rule="friction", why=WHY)
        await world.deliver()
        if lost:
            world.sim.fail("close_after", side="slack", path="chat.postMessage")
        world.match(visit("r1", "/boots"), rule="boots", why=WHY)
        for _ in range(4):
            await world.deliver()
            world.wait(minutes=1)
        first, answer = world.posts()
        assert notes(world)[-1] == "posted to #ux"
    assert (answer.thread_ts, answer.broadcast, answer.edits) == (first.ts, True, 0)
    assert answer.text.startswith("🛑 Visitor of the boots launch · myshop.com · Saw /boots.")
    assert PLAY.format("r1") in str(answer.blocks)
    assert first.edits == 1
    assert first.text.startswith("🛑 Visitor of the boots launch")
    assert "🔶 Also *Frustrated visitor*" in str(first.blocks)


async def test_a_rule_of_the_same_or_a_lower_severity_only_edits():
    async with posting(LATER_CRITICAL) as world:
        world.match(visit("r1", "/boots"), rule="boots", why=WHY)
        await world.deliver()
        world.match(visit("r1", "/boots"), rule="friction", why=WHY)
        await world.deliver()
        [post] = world.posts()
    assert (post.edits, post.thread_ts) == (1, None)


async def test_where_the_first_message_is_gone_a_more_severe_rule_posts_once():
    async with posting(LATER_CRITICAL) as world:
        world.match(visit("r1", "/boots"), rule="friction")
        await world.deliver()
        world.sim.slack.messages.clear()
        world.match(visit("r1", "/boots"), rule="boots")
        await world.deliver()
        [post] = world.posts()
    assert (post.thread_ts, post.edits) == (None, 0)
    assert post.text.startswith("🛑 Visitor of the boots launch")
