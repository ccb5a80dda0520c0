"""Posts go out once, say what happened when that can't be known, and never lose a match."""

import json
from datetime import timedelta

import msgspec
import pytest
from action_world import NOW, Channel, World, again, reread, task
from msgspec.structs import replace

from bot.actions.notifier import AtMost, DigestItem
from bot.actions.slack import Digest, Notice, Resolved, Slack
from bot.domain.step import Rank
from bot.domain.subjects import written
from bot.errors import TryLater
from bot.messages.message import plain

SLACK = Slack(channel="#checkout")


async def test_a_match_is_posted_once_with_the_timestamp_as_its_result():
    world = World()
    done = await SLACK.perform(task(), world.ports)
    (post,) = world.slack.posts
    assert (post.channel, done.result, world.slack.looks) == ("#checkout", "1.0", 0)


async def test_without_a_channel_the_default_one_is_used():
    world = World()
    await Slack().perform(task(), world.ports)
    await Notice(title="News").perform(task(), world.ports)
    assert [post.channel for post in world.slack.posts] == ["#mouseflow", "#ops"]


async def test_a_notice_of_one_of_several_accounts_keeps_its_icon():
    world = World()
    world.addresses = replace(world.addresses, account="shop")
    ended = Notice(title="✅ All polls work again").message(task(), world.addresses)
    assert plain(ended)[0] == "✅ shop: All polls work again"


async def test_without_any_channel_it_is_the_posters_to_say_whether_that_will_do():
    world = World()
    world.addresses = replace(world.addresses, channel="")
    done = await Slack().perform(task(), world.ports)
    assert (world.slack.posts[0].channel, done.note) == ("", "posted by the webhook")


async def test_a_webhook_that_posts_elsewhere_is_not_said_to_have_posted_there():
    class Hook(Channel):
        async def post(self, post):
            await super().post(post)
            return ""

    world = World()
    world.slack = Hook()
    done = await Slack(channel="#elsewhere").perform(task(), world.ports)
    assert done.note == "posted by the webhook"


async def test_the_key_that_slack_shows_to_everybody_tells_nothing():
    world = World()
    secret = task(key="rule/w1/visitor-4711/slack-1")
    await SLACK.perform(secret, world.ports)
    await SLACK.perform(secret, world.ports)
    keys = {post.key for post in world.slack.posts}
    assert len(keys) == 1
    assert "4711" not in keys.pop()


async def test_a_post_whose_answer_was_lost_is_found_and_not_repeated():
    world = World()
    world.slack.lost = 1
    with pytest.raises(TryLater):
        await SLACK.perform(task(), world.ports)
    done = await SLACK.perform(again(task(), seconds=1), world.ports)
    assert (len(world.slack.posts), done.result) == (1, "1.0")


async def test_a_post_that_never_arrived_is_repeated_only_after_it_had_time_to_arrive():
    world = World()
    with pytest.raises(TryLater) as raised:
        await SLACK.perform(again(task(), seconds=3), world.ports)
    assert (raised.value.unknown, world.slack.posts) == (True, [])
    done = await SLACK.perform(again(task(), seconds=3 + raised.value.after.seconds), world.ports)
    assert len(world.slack.posts) == 1
    assert "had not arrived" in done.note


async def test_where_the_channel_cannot_be_read_the_post_is_repeated_and_the_note_says_so():
    world = World()
    world.slack.blind = True
    done = await SLACK.perform(again(task()), world.ports)
    assert len(world.slack.posts) == 1
    assert "may have posted it too" in done.note


async def test_while_slack_is_away_the_outcome_stays_unknown_and_the_first_attempt_counts():
    world = World()
    world.slack.error = TryLater("Slack is rate limiting", lane=True)
    with pytest.raises(TryLater) as raised:
        await SLACK.perform(again(task()), world.ports)
    error = raised.value
    assert (error.unknown, error.lane, error.after is not None) == (True, True, True)


async def test_a_text_that_meets_data_it_did_not_foresee_does_not_cost_the_post():
    world = World()
    text = "{{ duration / pages }}"
    lacking = task(recording={"pages": None, "page_views": None})
    done = await Slack(channel="#a", text=text).perform(lacking, world.ports)
    assert "|A sample>* · myshop.com" in world.slack.posts[0].blocks[0]["text"]["text"]
    assert "the rule's text can't be filled in" in done.note


async def test_a_text_of_the_rule_is_posted_with_a_button_unless_it_has_its_own_link():
    world = World()
    await Slack(channel="#a", text="*Look* at {{ entry_page }}").perform(task(), world.ports)
    await Slack(channel="#a", text="<{{ url }}|Look>").perform(task(), world.ports)
    kinds = [[block["type"] for block in post.blocks] for post in world.slack.posts]
    assert kinds == [["section", "actions", "context"], ["section", "context"]]
    assert world.slack.posts[0].blocks[0]["text"]["text"] == "*Look* at /cart"


def test_posts_to_one_channel_share_a_lane():
    subject = task().subject
    assert SLACK.lane(subject, "#mouseflow") == "slack:#checkout"
    assert Slack().lane(subject, "#mouseflow") == "slack:#mouseflow"


def test_a_limit_survives_the_store_in_the_form_that_the_store_counts_by():
    action = Slack(channel="#a", at_most=AtMost(times=10, window_ms=3_600_000))
    assert json.loads(action.stored())["at_most"] == {
        "times": 10,
        "window_ms": 3_600_000,
    }
    assert reread(action) == action


def test_news_of_the_bot_itself_is_no_post_that_a_rules_limit_holds_back():
    assert {Slack.rank, Digest.rank, Resolved.rank} == {Rank.POST}
    assert Notice.rank > Rank.POST


async def test_a_digest_shows_the_worst_with_links_and_counts_the_rest():
    world = World()
    subject = msgspec.json.decode(written(task().subject))
    digest = Digest(
        channel="#a",
        total=40,
        reasons={"over the rule's at_most": 38, "snoozed": 2},
        since=NOW - timedelta(hours=1),
        items=[DigestItem(subject=subject, matched=NOW)] * 3,
    )
    await reread(digest).perform(task(), world.ports)
    shown = json.dumps(world.slack.posts[0].blocks, ensure_ascii=False)
    assert "40 more: A sample" in shown
    assert "38 over the rule's at_most, 2 snoozed" in shown
    assert shown.count("/websites/w1/recordings/r1/play|/checkout/pay>") == 1
    assert "3 like this" in shown
    assert "and 37 more" in shown


async def test_the_end_of_a_level_says_how_long_it_lasted():
    world = World()
    began = task("websites").matched - timedelta(minutes=90)
    await reread(Resolved(channel="#a", began=began)).perform(task("websites"), world.ports)
    shown = json.dumps(world.slack.posts[0].blocks)
    assert "Resolved after 1 h 30 min: A sample" in shown
