"""What people press takes effect once, is written down, and shows on the message."""

from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from posting_world import ZONE, posting, visit
from test_alert_threads import Alerts

from bot.cli.status import gather, show_rules
from bot.delivery.rebuild import CurrentRules, retry_some
from bot.delivery.troubles import Ops, expire_and_tell
from bot.domain.press import Press
from bot.errors import Gone, TryLater
from bot.polling.ops_messages import announce
from bot.store.audit import history
from bot.store.cancel import cancel
from bot.store.dead_letters import retry, steps_of, waiting_steps
from bot.store.presses import TOO_OLD, apply, precision, receive, waiting
from bot.store.rules import rule_states, rules_loaded, snoozed_until
from bot.store.troubles import expire

RULE = """
friction:
  summary: Frustrated visitor
  watch: recordings
  when: {friction: {min: 2.5}}
  do: {slack: {}}
"""


class Presser:
    """People press buttons on messages in the simulator's Slack, without a connection to it."""

    def __init__(self, world) -> None:
        self.world = world
        self.pressed = 0

    def press(self, message, button, user="U1", name="Kim", **changes) -> str:
        """The button of that message, which must be there; returns what Kim is told."""
        values = {
            value
            for block in message.blocks if block["type"] == "actions"
            for element in block["elements"]
            for value in [element.get("value"), *[it["value"] for it in element.get("options", ())]]
            if value
        }  # fmt: skip
        [value] = [value for value in values if value.startswith(f"{button}:")]
        return self.send(value, user, name, **changes)

    def send(self, value, user="U1", name="Kim", identity=None, late=timedelta(), **more) -> str:
        self.pressed += 1
        button, _, post = value.partition(":")
        press = Press(
            id=identity or f"p{self.pressed}", button=button, post=post, user=user, name=name,
            channel="C1", at=self.world.now,
        )  # fmt: skip
        now = self.world.now + late
        self.world.store.do(lambda conn: receive(conn, press))
        kept = [it for it in self.world.store.do(waiting) if it.id == press.id]
        assert kept or identity
        done = (kept or [press])[0]
        return self.world.store.do(lambda conn: apply(conn, done, now, ZONE, **more))


def lines(message):
    """The lines of people, and the labels of the buttons."""
    said = [
        element["text"]
        for block in message.blocks if block["type"] == "context"
        for element in block["elements"]
    ]  # fmt: skip
    labels = [
        label
        for block in message.blocks if block["type"] == "actions"
        for element in block["elements"]
        for label in [element.get("text", {}).get("text"),
                      *[it["text"]["text"] for it in element.get("options", ())]]
        if label
    ]  # fmt: skip
    return [line for line in said if "<@" in line], labels


@asynccontextmanager
async def one_message(rule=RULE):
    async with posting(rule, buttons=True) as world:
        world.match(visit("r1", "/CART", friction=5, visitor_name="Anna"))
        await world.deliver()
        yield world, Presser(world), world.posts()[0]


async def test_a_message_about_a_recording_offers_what_can_be_done():
    async with one_message() as (_, _, post):
        row = next(block for block in post.blocks if block["type"] == "actions")
    assert lines(post) == ([], [
        "Watch recording", "Not useful", "Mark watched", "Star recording",
        "Snooze rule for 1 h", "Snooze rule until tomorrow 09:00",
    ])  # fmt: skip
    assert row["block_id"].startswith("do.")
    assert [element["action_id"] for element in row["elements"]] == ["open", "not_useful", "more"]


async def test_without_a_connection_only_links_are_offered():
    async with posting(RULE) as world:
        world.match(visit("r1", "/CART"))
        await world.deliver()
        assert lines(world.posts()[0]) == ([], ["Watch recording"])


@pytest.mark.parametrize(("late", "minutes"), [(40, 20), (61, None)])
async def test_a_snooze_ends_as_it_was_meant_however_late_the_bot_learns_of_it(late, minutes):
    async with one_message() as (world, people, post):
        told = people.press(post, "snooze_1h", late=timedelta(minutes=late))
        until = world.store.do(lambda conn: snoozed_until(conn, "friction"))
        left = until and until - world.now - timedelta(minutes=late)
        assert left == (minutes and timedelta(minutes=minutes))
        assert bool(told) == (minutes is None)


@pytest.mark.parametrize(
    ("button", "until", "said"),
    [
        ("snooze_1h", "2026-03-10 10:00", "<!date^1773136800^{time}|11:00 CET>"),
        ("snooze_tomorrow", "2026-03-11 08:00", "<!date^1773216000^{date_short_pretty} {time}|"),
    ],
)
async def test_a_snooze_holds_the_rules_posts_back_and_can_be_ended(button, until, said):
    async with one_message() as (world, people, post):
        people.press(post, button)
        await world.deliver()
        [line], labels = lines(post)
        assert line.startswith("🔕 <@U1> snoozed rule friction until <!date^")
        assert said in line
        assert labels[-1] == "End snooze"
        ends = world.store.do(lambda conn: snoozed_until(conn, "friction"))
        assert f"{ends:%Y-%m-%d %H:%M}" == until
        world.match(visit("r2", "/CART"))
        await world.deliver()
        assert len(world.posts()) == 1
        people.press(post, "unsnooze", user="U2", name="Ann")
        await world.deliver()
        told = {it.kind: it.text for it in world.store.do(lambda conn: history(conn, kind="rule"))}
        assert told["rule.snoozed"].endswith(" by Kim in Slack")
        assert told["rule.snooze_ended"].startswith("ended by Ann in Slack; posts held back: ")
        assert world.posts()[1].text.startswith("🔶 1 while snoozed: Frustrated visitor")
        told = world.posts()[1].blocks[0]["text"]["text"].splitlines()
        assert told[-1] == "Snoozed by Kim in Slack."
    assert (
        lines(post)[0][-1].splitlines()[1].startswith("🔕 <@U2> ended the snooze of rule friction")
    )
    assert lines(post)[1][-2:] == ["Snooze rule for 1 h", "Snooze rule until tomorrow 09:00"]


async def test_watched_and_star_are_done_at_mouseflow_and_said():
    async with one_message() as (world, people, post):
        people.press(post, "star")
        people.press(post, "watched", user="W9", name="Ann")
        steps = [
            step
            for (key,) in world.store.do(_press_matches)
            for step in world.store.do(lambda conn, key=key: steps_of(conn, key))
        ]
    assert sorted(step.action for step in steps) == ["edit", "edit", "star", "watched"]
    assert {step.lane for step in steps} == {"slack:#ux", "mouseflow:site-1"}


class Account:
    """A Mouseflow that does what it is asked to, or fails with `error`."""

    def __init__(self, error=None) -> None:
        self.error = error

    async def send(self, request):
        if self.error:
            raise self.error
        return request.read(b"")


@pytest.mark.parametrize(
    ("button", "asked", "done", "failed"),
    [
        ("star", "⭐ <@U1> asked to star this at", "⭐ <@U1> starred this at", "Not starred"),
        ("watched", "✔️ <@U1> asked to mark this as watched at",
         "✔️ <@U1> marked this as watched at", "Not marked as watched"),
    ],
)  # fmt: skip
async def test_a_message_says_what_mouseflow_has_done_and_not_what_was_pressed(
    button, asked, done, failed
):
    async with one_message() as (world, people, post):
        world.account = Account(TryLater("503 from Mouseflow", lane=True))
        people.press(post, button)
        await world.deliver()
        assert lines(post)[0][0].startswith(asked)
        world.account = Account()
        world.wait(hours=1, minutes=2)
        await world.deliver()
        [line], _ = lines(post)
        assert line.startswith(asked)
        assert line.endswith(f". {failed.removeprefix('Not ').capitalize()} after 1 h 2 min.")

        world.match(visit("r2", "/CART"))
        await world.deliver()
        second = world.posts()[1]
        people.press(second, button)
        await world.deliver()
        assert [line.partition(" <!date")[0] for line in lines(second)[0]] == [done]

        world.match(visit("r3", "/CART"))
        await world.deliver()
        third = world.posts()[2]
        world.account = Account(Gone("404 from Mouseflow"))
        people.press(third, button)
        people.press(third, "not_useful", user="U2")
        await world.deliver()
        why = f"{failed}: the recording is gone"
        [line] = lines(third)[0]
        assert line.splitlines()[0].endswith(f"|11:02 CET>. {why}."), line
        answer = world.posts()[3]
        assert (answer.thread_ts, answer.text) == (third.ts, f"🔶 {why} · Kim asked for it.")

        world.account = Account()
        world.wait(seconds=30)
        world.store.do(lambda conn: retry(conn, world.now))
        await world.deliver()
        assert lines(third)[0][0].splitlines()[0].partition(" <!date")[0] == done
        assert "marked this as not useful" in lines(third)[0][0]
        assert len(world.posts()) == 4


async def test_what_was_pressed_and_is_taken_back_or_given_up_is_told():
    async with one_message() as (world, people, post):
        people.press(post, "star")
        [waits] = [it for it in world.store.do(waiting_steps) if it.action == "star"]
        world.store.do(lambda conn: cancel(conn, world.now, ids=[waits.id]))
        people.press(post, "watched")
        world.account = Account(TryLater("503 from Mouseflow", lane=True))
        for _ in range(5):
            await world.deliver()
            world.wait(days=1)
        world.store.do(lambda conn: expire(conn, world.now))
        world.account = Account()
        await world.deliver()
        said = lines(post)[0][0].splitlines()
        answers = [it.text for it in world.posts() if it.thread_ts]
    assert [line.partition(">. ")[2] for line in said] == [
        "Not starred: cancelled by hand.",
        "Not marked as watched: 503 from Mouseflow.",
    ]
    assert [it[:12] for it in answers] == ["🔶 Not starre", "🔶 Not marked"]


def _press_matches(conn):
    return conn.exec_driver_sql("SELECT key FROM matches WHERE kind = 'press'").all()


async def test_somebody_without_a_name_has_that_of_an_earlier_press():
    async with one_message() as (world, people, post):
        people.press(post, "watched", user="U1", name="Kim")
        people.press(post, "snooze_1h", user="U1", name="")
        people.press(post, "star", user="U2", name="")
        told = [it.text for it in world.store.do(lambda conn: history(conn, kind="press"))]
        assert world.store.do(rule_states)["friction"].snoozed_by == "Kim in Slack"
    assert [it.partition(" pressed")[0] for it in told] == ["Somebody", "Kim", "Kim"]


async def test_a_press_that_is_told_twice_or_made_twice_takes_effect_once():
    async with one_message() as (world, people, post):
        value = f"not_useful:{post.metadata['event_payload']['key']}"
        for _ in range(2):
            people.send(value, identity="same")
        people.send(value, user="U2")
        await world.deliver()
        [line], labels = lines(post)
        entries = world.store.do(lambda conn: history(conn, kind="press"))
        told = [(it.text, it.details) for it in entries]
        useful = world.store.do(precision)["friction"]
    assert line == "👎 <@U1> marked this as not useful. friction is 0 % useful (0 of 1)."
    assert "Not useful" not in labels
    assert told == [("Kim pressed Not useful: it was done before", {"user": "U2"}),
                    ("Kim pressed Not useful: done", {"user": "U1"})]  # fmt: skip
    assert (useful.useful, useful.of) == (0, 1)
    assert post.edits == 1


async def test_status_shows_how_useful_a_rule_is(capsys):
    async with one_message() as (world, people, post):
        world.match(visit("r2", "/CART"))
        await world.deliver()
        people.press(post, "not_useful")
        world.store.do(lambda conn: rules_loaded(conn, {"friction": "1"}, world.now))
        show_rules(world.store.do(lambda conn: gather(conn, world.now, "alive")))
    assert "50 % useful (1 of 2)" in capsys.readouterr().out


async def test_only_three_people_are_named():
    async with one_message() as (world, people, post):
        for n in range(3):
            people.press(post, "snooze_1h", user=f"U{n}")
            await world.deliver()
            people.press(post, "unsnooze", user=f"U{n}")
            await world.deliver()
        [said], _ = lines(post)
    assert len(said.splitlines()) == 4
    assert said.endswith("\nand 3 before")


async def test_buttons_of_a_forgotten_message_say_so():
    async with one_message() as (_, people, _):
        assert people.send("star:0000") == TOO_OLD


async def test_a_message_with_a_rules_own_text_keeps_nothing_and_tells_the_person():
    own = RULE.replace("slack: {}", 'slack: {text: "Look at {{ visitor_name }}"}')
    async with one_message(own) as (world, people, post):
        assert people.press(post, "star") == "Star recording: asked for."
        assert "Anna" not in str(world.store.do(
            lambda conn: conn.exec_driver_sql("SELECT * FROM posts").all()
        ))  # fmt: skip


async def test_a_message_that_another_version_kept_does_not_cost_the_press():
    async with one_message() as (world, people, post):
        world.store.do(lambda conn: conn.exec_driver_sql("UPDATE posts SET shows = '[1]'"))
        assert people.press(post, "star") == "Star recording: asked for."


async def test_a_hostile_name_is_harmless():
    async with one_message() as (world, people, post):
        people.press(post, "not_useful", user="!channel", name="<!channel> *x*")
        await world.deliver()
        text = str(post.blocks)
    assert "<!channel>" not in text
    assert "&lt;!channel&gt; ∗x∗ marked this" in text


FUNNEL = """
dip:
  summary: Checkout funnel
  watch: funnels
  when: {conversion: {under: 25%}}
  resolved: true
  remind: 4h
  do: {slack: {channel: "#ux"}}
"""


async def test_an_acknowledged_alert_reminds_nobody_until_somebody_wants_it_again():
    async with posting("", buttons=True) as slack:
        world = Alerts(slack, FUNNEL)
        await world.converts(182)
        [post] = world.posts
        people = Presser(slack)
        people.press(post, "ack")
        for _ in range(17):
            await world.converts(182)
        assert world.posts == [post]
        [line], labels = lines(post)
        assert line.startswith("👀 <@U1> acknowledged this at <!date^")
        assert "Remind again" in labels
        people.press(post, "unack")
        for _ in range(17):
            await world.converts(182)
        assert len(world.posts) == 2
        await world.ends()
        assert post.text.startswith("✅ Resolved after")
        [said], labels = lines(post)
        assert len(said.splitlines()) == 2
        assert labels == ["Open in Mouseflow", "Not useful"]


async def test_a_reminder_whose_alert_has_no_message_can_be_acknowledged_too():
    async with posting("", buttons=True) as slack:
        world = Alerts(slack, FUNNEL)
        await world.converts(182)
        # As after an upgrade: what was posted before is not kept.
        world.store.do(lambda conn: conn.exec_driver_sql("DELETE FROM posts"))
        for _ in range(17):
            await world.converts(182)
        _, reminder = world.posts
        Presser(slack).press(reminder, "ack")
        for _ in range(34):
            await world.converts(182)
        assert len(world.posts) == 2


# About the bot itself

SAFE = RULE + "  safety: {at_most: 1 per hour}\n"


def told_of_trouble(world):
    """People are told of what failed for good."""

    def announced(conn, notice, now):
        announce(conn, notice.title, notice.lines, now, "#ops", page="queue", offer=notice.offer)

    world.store.do(lambda conn: expire_and_tell(conn, world.now, Ops("#ops", announced)))


@asynccontextmanager
async def one_dead_letter(**addresses):
    async with posting(RULE, **({"buttons": True} | addresses)) as world:
        world.match(visit("r1", "/CART"))
        dead = "UPDATE steps SET state = 'dead', fault = 'msg_too_long', ended = due"
        world.store.do(lambda conn: conn.exec_driver_sql(dead))
        world.wait(minutes=2)
        told_of_trouble(world)
        await world.deliver()
        [post] = world.posts("ops")
        yield world, Presser(world), post


async def test_dead_letters_are_retried_from_their_message_once():
    async with one_dead_letter() as (world, people, post):
        assert "1 action failed for good" in post.text
        assert lines(post) == ([], ["Retry 1 action"])
        people.press(post, "retry", user="U7")
        people.send(post.blocks[1]["elements"][0]["value"])  # pressed twice before the edit
        await world.deliver()
        assert len(world.posts("ux")) == 1
        assert lines(post)[1] == []
        assert "🔁 <@U7> retried them at" in lines(post)[0][0]
        assert audited(world) == [
            "Kim pressed Retry them: it was done before", "Kim pressed Retry them: done",
        ]  # fmt: skip
        retried = world.store.do(lambda conn: history(conn, kind="step.retried"))
    assert [entry.rule for entry in retried] == ["friction"]


async def test_dead_letters_that_somebody_has_retried_elsewhere_stay_as_they_are():
    async with one_dead_letter() as (world, people, post):
        world.store.do(lambda conn: retry(conn, world.now))
        await world.deliver()
        people.press(post, "retry")
        await world.deliver()
        assert len(world.posts("ux")) == 1
        assert len(world.store.do(lambda conn: history(conn, kind="step.retried"))) == 1


async def test_who_retries_what_its_rule_no_longer_asks_for_is_told():
    async with one_dead_letter() as (_, people, post):
        book = CurrentRules({}, {"friction"}, "#ux", "#ops")

        def requeue(conn, ids, now):
            retry_some(conn, now, book, ids=ids)

        assert people.press(post, "retry", requeue=requeue) == (
            "Not retried: 1 of 1. Their rules no longer ask for them."
        )


async def test_a_rule_that_its_safety_paused_runs_again_from_its_message():
    async with posting(SAFE, buttons=True) as world:
        world.match(visit("r1", "/CART"), visit("r2", "/CART"))
        await world.deliver()
        [post] = world.posts("ops")
        [button] = [it for it in post.blocks[1]["elements"] if it["action_id"] == "resume"]
        assert button["confirm"]["deny"]["text"] == "Leave paused"
        Presser(world).press(post, "resume")
        await world.deliver()
        assert world.store.do(rule_states)["friction"].paused_at is None
        assert "let rule friction run again at" in lines(post)[0][0]
        [note] = world.store.do(lambda conn: history(conn, kind="rule.resumed"))
    assert note.text == "by Kim in Slack"


async def test_without_a_connection_messages_about_the_bot_have_no_button():
    async with one_dead_letter(buttons=False) as (_, _, post):
        assert lines(post) == ([], [])


def audited(world):
    return [entry.text for entry in world.store.do(lambda conn: history(conn, kind="press"))]
