"""A fault of an account or a channel holds its lane, is told once, and ends by itself."""

from datetime import timedelta

import pytest
from delivery_world import DAY, HOUR, MINUTE, SECOND, Delete, Post, Write, match
from structlog.testing import capture_logs

from bot.delivery import Drained
from bot.delivery.causes import cause_of
from bot.delivery.slack_errors import REMEDIES
from bot.delivery.worker import Timing
from bot.domain.causes import Cause, Stops, stops, trouble_key
from bot.errors import (
    BadCredentials,
    Forbidden,
    GiveUp,
    OddAnswer,
    RateLimited,
    Refused,
    TryLater,
    Unreachable,
)
from bot.messages import ops as messages
from bot.store import troubles as kept
from bot.store.cancel import cancel
from bot.store.dead_letters import dead_letters, queue_figures, retry
from bot.store.troubles import MOST_DEAD, failing_lanes

FOREVER = 100_000


def caused(by: Exception) -> GiveUp:
    """The error as an action words it, with the one behind it."""
    error = GiveUp("in the action's words", "do something")
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    ("error", "lane", "cause"),
    [
        (caused(BadCredentials("401")), "mouseflow:w1", Cause.KEY_REJECTED),
        (caused(Forbidden("403")), "mouseflow:w1", Cause.WRITES_REFUSED),
        (TryLater("503"), "mouseflow:w1", Cause.MOUSEFLOW_DOWN),
        (RateLimited("429"), "mouseflow:w1", Cause.BUSY),
        (GiveUp("the recording is gone"), "mouseflow:w1", Cause.STEP),
        (KeyError("x"), "mouseflow:w1", Cause.BUG),
        (Refused("no", code="token_revoked"), "slack:#a", Cause.TOKEN_REJECTED),
        (Refused("no", code="missing_scope"), "slack:#a", Cause.SCOPE_MISSING),
        (Refused("no", code="is_archived"), "slack:#a", Cause.CHANNEL_ARCHIVED),
        (Refused("no", code="not_in_channel"), "slack:#a", Cause.CHANNEL_LEFT),
        (Refused("no", code="no_service"), "slack:#a", Cause.SLACK_WEBHOOK_GONE),
        (Refused("no", code="msg_too_long"), "slack:#a", Cause.STEP),
        (Refused("no", code="never_heard_of"), "slack:#a", Cause.STEP),
        (Refused("no", code="407"), "slack:#a", Cause.WORKSPACE_REFUSES),
        (OddAnswer("a web page"), "slack:#a", Cause.SLACK_DOWN),
        (Refused("no", code="410"), "webhook:host", Cause.RECEIVER_REFUSES),
        (Refused("no", code="302"), "webhook:host", Cause.RECEIVER_REFUSES),
        (Refused("no", code="422"), "webhook:host", Cause.STEP),
        (Refused("no", code="no_secret"), "webhook:host", Cause.SECRET_MISSING),
        (Unreachable("nobody answers"), "webhook:host", Cause.RECEIVER_DOWN),
    ],
)
def test_each_failure_has_one_cause(error, lane, cause):
    assert cause_of(error, lane) is cause


def test_each_cause_has_words_and_a_key():
    for cause in Cause:
        assert messages.what(cause, "#place")
        assert trouble_key(cause, "slack:#a").startswith(cause)
    assert {stops(cause) for cause in Cause} == set(Stops)


def test_each_code_with_a_remedy_is_of_the_message_or_of_a_larger_cause():
    of_the_message = {code for code in REMEDIES
                      if cause_of(Refused("no", code=code), "slack:#a") is Cause.STEP}  # fmt: skip
    assert of_the_message == {
        "invalid_blocks",
        "invalid_blocks_format",
        "msg_too_long",
        "no_text",
        "metadata_too_large",
    }


ARCHIVED = Refused("Slack rejected the request: is_archived", "unarchive it", code="is_archived")


async def test_an_archived_channel_holds_its_lane_and_is_told_twice(bench):
    bench.add(*(match(f"r{n}", Post(name=f"p{n}")) for n in range(3)))
    bench.add(match("other", Post(name="other", channel="#fine")))
    bench.world.fail("p0", *[ARCHIVED] * FOREVER)
    await bench.drain_for(2 * HOUR, MINUTE)
    assert bench.world.done == ["other"]
    assert len(bench.world.tried) < 40
    (told,) = bench.told
    assert told.startswith("🔶 Slack channel #alerts is archived: 3 actions wait\n")
    assert "Unarchive it. What waits goes out by itself" in told
    assert "rule rule" in told
    bench.world.faults.clear()
    await bench.drain_for(10 * MINUTE, MINUTE)
    assert sorted(bench.world.done) == ["other", "p0", "p1", "p2"]
    assert len(bench.told) == 2
    assert bench.told[1].startswith("✅ Slack channel #alerts works again after 2 h")
    assert "3 actions waited" in bench.told[1]
    assert bench.store.do(dead_letters) == []


async def test_a_revoked_token_is_one_trouble_of_all_channels_told_when_it_is_over(bench):
    revoked = Refused("Slack rejected the request: token_revoked", "fix it", code="token_revoked")
    bench.add(*(match(f"r{n}", Post(name=f"p{n}", channel=f"#c{n}")) for n in range(6)))
    bench.world.fail("*", *[revoked] * FOREVER)
    with capture_logs() as logs:
        await bench.drain_for(DAY, 30 * MINUTE)
    assert bench.told == []  # Slack can't say that Slack fails
    (trouble,) = bench.store.do(kept.troubles)
    assert (trouble.cause, trouble.waiting, trouble.told) == (Cause.TOKEN_REJECTED, 6, False)
    assert len(logs) < 20
    bench.world.faults.clear()
    await bench.drain_for(6 * MINUTE, 30 * SECOND)
    assert len(bench.world.done) == 6
    (told,) = bench.told
    assert told.startswith("✅ Slack accepts messages again after 1 d")
    assert "Slack rejected the bot token" in told
    assert bench.store.do(kept.troubles) == []


async def test_when_one_lane_works_again_the_others_of_the_service_are_tried_at_once(bench):
    revoked = Refused("token_revoked", "fix it", code="token_revoked")
    bench.add(*(match(f"r{n}", Post(name=f"p{n}", channel=f"#c{n}")) for n in range(9)))
    bench.world.fail("*", *[revoked] * FOREVER)
    await bench.drain_for(HOUR, MINUTE)
    bench.world.faults.clear()
    while not bench.world.done:
        bench.clock.advance(SECOND)
        await bench.drain()
    await bench.drain()
    assert len(bench.world.done) == 9


async def test_what_may_pass_by_itself_is_told_when_it_lasts(bench):
    bench.add(*(match(f"r{n}", Write(name=f"w{n}")) for n in range(300)))
    down = [TryLater(f"POST /websites/w1/recordings/r{n}/tag: 503 offline") for n in range(FOREVER)]
    bench.world.fail("*", *down)
    with capture_logs() as logs:
        await bench.drain_for(4 * MINUTE, SECOND)
        assert bench.told == []
        await bench.drain_for(DAY, HOUR)
    (told,) = bench.told
    assert told.startswith("🛑 Mouseflow does not accept actions: 300 actions wait\n503 offline.")
    assert len(logs) < 20
    bench.world.faults.clear()
    await bench.drain_for(HOUR, 5 * MINUTE)
    assert len(bench.world.done) == 300
    assert "300 actions waited" in bench.told[1]
    assert len(bench.told) == 2


async def test_a_trouble_survives_a_restart(bench):
    bench.add(match("r1", Post(name="p")))
    bench.world.fail("p", ARCHIVED, ARCHIVED)
    await bench.drain()
    assert len(bench.told) == 1
    bench._timed = None  # the next drain is that of a new process
    await bench.drain_for(HOUR, MINUTE)
    assert len(bench.told) == 2


async def test_a_refused_kind_of_action_does_not_hold_the_others(bench):
    refused = caused(Forbidden("403"))
    bench.add(match("r1", Write(name="w1"), Delete(name="d1")), match("r2", Delete(name="d2")))
    bench.world.fail("d1", *[refused] * FOREVER)
    bench.world.fail("d2", *[refused] * FOREVER)
    await bench.drain()
    bench.add(match("r3", Write(name="w3")), match("r4", Delete(name="d4")))
    await bench.drain_for(HOUR, MINUTE)
    assert bench.world.done == ["w1", "w3"]
    assert "d4" not in bench.world.tried
    (told,) = bench.told
    assert told.startswith("🔶 Mouseflow refuses delete on w1: ")
    bench.world.faults.clear()
    await bench.drain_for(10 * MINUTE, MINUTE)
    assert sorted(bench.world.done) == ["d1", "d2", "d4", "w1", "w3"]


async def test_dead_letters_are_told_by_cause_and_not_one_by_one(bench):
    gone = GiveUp("the recording is gone", "nothing is left to do")
    bench.add(*(match(f"r{n}", Write(name=f"w{n}")) for n in range(7)))
    bench.world.fail("*", *[gone] * 7)
    assert await bench.drain() == Drained(dead=7)
    await bench.drain_for(5 * MINUTE, 30 * SECOND)
    (told,) = bench.told
    assert told.startswith("🔶 7 actions failed for good: the recording is gone")
    assert "mouseflow-bot retry rule" in told
    bench.add(match("again", Write(name="again")))
    bench.world.fail("*", gone)
    await bench.drain_for(23 * HOUR, 30 * MINUTE)
    assert len(bench.told) == 1
    await bench.drain_for(2 * HOUR, 30 * MINUTE)
    assert bench.told[1].startswith("🔶 1 action failed for good")
    bench.store.do(lambda conn: retry(conn, bench.clock()))
    await bench.drain()
    assert len(bench.world.done) == 8


async def test_a_receiver_that_is_gone_for_eight_days_leaves_a_bounded_queue(bench):
    down = Unreachable("the connection to host failed")
    bench.world.fail("*", *[down] * FOREVER)
    for day in range(8 * 4):
        bench.add(*(match(f"h{day}-{n}", Hook(name="x"), at=bench.clock()) for n in range(20)))
        await bench.drain_for(6 * HOUR, 2 * HOUR)
        if day > 14:
            figures = bench.store.do(lambda conn: queue_figures(conn, bench.clock()))
            assert figures.pending <= 20 * 13
            oldest = bench.clock() - timedelta(days=3, hours=1)
            assert figures.oldest is None or figures.oldest >= oldest
    assert len(bench.told) <= 8
    (lane,) = bench.store.do(lambda conn: failing_lanes(conn, bench.clock()))
    assert lane.cause is Cause.RECEIVER_DOWN


async def test_what_waits_for_its_next_attempt_counts(bench):
    bench.world.fail("*", *[TryLater("503")] * FOREVER)
    bench.add(*(match(f"h{n}", Hook(name="x"), at=bench.clock()) for n in range(3)))
    for _ in range(60):
        await bench.drain_for(MINUTE, MINUTE)
        (lane,) = bench.store.do(lambda conn: failing_lanes(conn, bench.clock()))
        assert lane.waiting == 3


async def test_what_expires_for_hours_is_logged_once_an_hour(bench):
    bench.world.fail("*", *[Unreachable("the connection to host failed")] * FOREVER)
    delivery = bench.delivery(Timing())
    for n in range(16):
        bench.add(match(f"h{n}", Hook(name="x"), at=bench.clock()))
        await delivery.drain()
        bench.clock.advance(15 * MINUTE)
    bench.clock.advance(67 * HOUR)
    with capture_logs() as logs:
        for _ in range(30):
            await delivery.drain()
            bench.clock.advance(15 * MINUTE)
    cut = [each for each in logs if each["event"] == "deliver.queue_cut"]
    assert 3 <= len(cut) <= 8
    assert sum(each["expired"] for each in cut) == 16


class Hook(Write):
    def lane(self, subject, default_channel):
        return "webhook:host"


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(kept, "MOST_WAITING", 50)
    monkeypatch.setattr(kept, "MOST_DEAD", 20)


async def test_beyond_a_bound_the_newest_are_counted_and_told(bench, small):
    assert MOST_DEAD >= 1000
    bench.world.fail("*", *[TryLater("503")] * FOREVER)
    bench.add(*(match(f"r{n}", Write(name=f"w{n}")) for n in range(80)))
    await bench.drain_for(20 * MINUTE, MINUTE)
    assert bench.store.do(lambda conn: queue_figures(conn, bench.clock())).pending == 50
    bench.world.faults.clear()
    await bench.drain_for(20 * MINUTE, MINUTE)
    assert {*bench.world.done} == {f"w{n}" for n in range(50)}
    assert "30 more were not kept: the queue was full" in bench.told[-1]


async def test_the_oldest_dead_letters_beyond_a_bound_are_erased(bench, small):
    bench.world.fail("*", *[GiveUp("gone")] * FOREVER)
    bench.add(*(match(f"r{n}", Write(name=f"w{n}")) for n in range(30)))
    await bench.drain_for(5 * MINUTE, MINUTE)
    assert len(bench.store.do(dead_letters)) == 20
    data = bench.store.do(
        lambda conn: conn.exec_driver_sql("SELECT count(subject) FROM matches").scalar()
    )
    assert data == 20


async def test_a_channel_for_which_nothing_waits_any_more_is_not_called_mended(bench):
    bench.add(match("r1", Post(name="p1")))
    bench.world.fail("p1", *[ARCHIVED] * FOREVER)
    await bench.drain_for(HOUR, MINUTE)
    bench.store.do(lambda conn: cancel(conn, bench.clock(), rules=["rule"]))
    await bench.drain_for(10 * MINUTE, MINUTE)
    _, told = bench.told
    assert told.startswith("🔵 Nothing waits any more: Slack channel #alerts is archived\n")
    assert "The bot has not seen it work again." in told
    bench.add(match("r2", Post(name="p2"), at=bench.clock()))
    bench.world.fail("p2", *[ARCHIVED] * FOREVER)
    await bench.drain_for(10 * MINUTE, MINUTE)
    assert bench.told[2].startswith("🔶 Slack channel #alerts is archived")


async def test_what_waited_too_long_leaves_no_channel_mended(bench):
    bench.add(match("r1", Post(name="p1")))
    bench.world.fail("p1", *[ARCHIVED] * FOREVER)
    await bench.drain_for(4 * DAY, HOUR)
    _, *rest = bench.told
    assert sorted(text.partition(":")[0] for text in rest) == [
        "🔵 Nothing waits any more",
        "🔶 1 action failed for good",
    ]


LEFT = Refused("Slack rejected: not_in_channel", "invite it", code="not_in_channel")


async def test_a_fault_that_turns_into_another_is_not_over(bench):
    bench.add(match("r1", Post(name="p1")))
    bench.world.fail("p1", *[ARCHIVED] * 4, *[TryLater("503")] * 4, *[LEFT] * FOREVER)
    await bench.drain_for(2 * HOUR, MINUTE)
    bench.world.faults.clear()
    await bench.drain_for(10 * MINUTE, MINUTE)
    assert [text.partition(" ")[0] for text in bench.told] == ["🔶", "🔶", "✅"]
    assert "is not in Slack channel #alerts" in bench.told[1]
    assert "The bot is not in Slack channel #alerts" in bench.told[2]
    assert bench.store.do(kept.troubles) == []


async def test_what_can_not_be_told_meanwhile_ends_nothing(bench):
    bench.add(match("r1", Post(name="p1")))
    bench.world.fail("p1", *[ARCHIVED] * 4, *[TryLater("503")] * 4)
    await bench.drain_for(2 * HOUR, MINUTE)
    ends = [text.partition("\n")[0] for text in bench.told[1:]]
    assert bench.told[0].startswith("🔶 Slack channel #alerts is archived")
    assert any("Slack channel #alerts works again" in text for text in ends)
    assert all("again after" in text for text in ends)
    assert bench.store.do(kept.troubles) == []
