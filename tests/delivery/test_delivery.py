"""Delivery: every step once, in order, whatever fails, with a reason for what does not happen."""

import asyncio
from datetime import timedelta

import pytest
from delivery_world import (
    ACTIONS,
    DAY,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    Bench,
    Delete,
    Post,
    Share,
    SlackWorld,
    Write,
    match,
    until,
)
from structlog.testing import capture_logs

from bot import __version__
from bot.actions import ACTIONS as REAL
from bot.actions.notifier import AtMost
from bot.actions.slack import Slack
from bot.delivery import Drained, Timing
from bot.errors import GiveUp, TryLater
from bot.store.audit import history
from bot.store.dead_letters import dead_letters, queue_figures, retry, steps_of
from bot.store.lanes import lane_states
from bot.store.sharing import Replica

BUSY = "Slack is busy"
ALERTS = "slack:#alerts"


def fate(bench, key="r1"):
    return bench.store.do(lambda conn: steps_of(conn, f"rule/w1/{key}"))


def hourly(times):
    return AtMost(times=times, window_ms=3_600_000)


def states(bench, key="r1"):
    return [each.state for each in fate(bench, key)]


async def test_a_match_is_performed_writes_first_then_share_then_posts(bench):
    bench.add(match("r1", Post(name="post"), Share(name="share"), Write(name="a"), Write(name="b")))
    assert await bench.drain() == Drained(done=4)
    assert bench.world.done == ["a", "b", "share", "post"]
    assert await bench.drain() == Drained()


EVERYTHING = (
    Delete(name="delete"),
    Post(name="post"),
    Share(name="share"),
    Write(name="a"),
    Write(name="b"),
)


async def test_each_stage_of_a_match_begins_when_the_one_before_has_ended(bench):
    bench.add(match("r1", *EVERYTHING))
    bench.world.fail("a", *[TryLater("503", unknown=True)] * 7)
    bench.world.fail("share", TryLater("503"))
    bench.world.fail("post", TryLater("503"))
    await bench.drain_for(10 * MINUTE, SECOND)
    assert bench.world.done == ["b", "a", "share", "post", "delete"]


async def test_a_post_waits_a_bounded_time_and_knows_what_is_missing(bench):
    bench.add(match("r1", *EVERYTHING))
    bench.world.fail("a", *[TryLater("503")] * 999)
    await bench.drain_for(14 * MINUTE, 5 * SECOND)
    assert bench.world.done == ["b"]
    await bench.drain_for(2 * MINUTE, 5 * SECOND)
    assert bench.world.done == ["b", "post"]
    assert [task.missing for task in bench.world.tasks if "slack" in task.key] == [
        ("write", "share")
    ]


async def test_a_post_held_back_by_a_limit_releases_the_delete(bench):
    first = Post(name="first", at_most=hourly(1), overflow="drop")
    bench.add(match("r1", first), match("r2", first, Delete(name="delete")))
    await bench.drain()
    assert bench.world.done == ["first", "delete"]


@pytest.mark.parametrize("fails", ["a", "share", "post"])
async def test_nothing_is_deleted_while_another_step_of_the_match_is_a_dead_letter(bench, fails):
    bench.add(match("r1", *EVERYTHING))
    bench.world.fail(fails, GiveUp("403", "ask for access"))
    await bench.drain_for(MINUTE, SECOND)
    dead = {each.action: each for each in fate(bench) if each.state == "dead"}
    assert "other steps of the match failed" in dead["delete"].fault
    assert "delete" not in bench.world.done
    bench.store.do(lambda conn: retry(conn, bench.clock()))
    await bench.drain_for(3 * MINUTE, SECOND)
    assert bench.world.done[-1] == "delete"
    assert set(bench.world.done) == {"a", "b", "share", "post", "delete"}


async def test_what_is_no_longer_allowed_is_not_done_though_it_waited(bench):
    bench.add(*(match(f"r{n}", Write(name=f"a{n}"), Delete(name="delete")) for n in range(5)))
    bench.world.fail("delete", *[TryLater("503")] * 2)
    await bench.drain()
    bench.forbidden = "rules.allow_delete is off"
    with capture_logs() as logs:
        await bench.drain_for(HOUR, 10 * SECOND)
    assert "delete" not in bench.world.done
    assert [fate(bench, f"r{n}")[-1].state for n in range(5)] == ["withheld"] * 5
    assert len([line for line in logs if line["event"] == "deliver.withheld"]) == 5
    notes = bench.store.do(lambda conn: history(conn, kind="step.withheld"))
    assert {note.text for note in notes} == {"not performed: rules.allow_delete is off"}


async def test_an_action_meets_the_task_it_needs(bench):
    bench.add(match("r1", Share(name="share"), Post(name="post")))
    await bench.drain()
    task = bench.world.tasks[-1]
    assert task.key == "rule/w1/r1/slack-2"
    assert (task.rule, task.summary, task.why) == ("rule", "A rule", ("because",))
    assert (task.matched, task.now, task.attempted) == (NOW, NOW, None)
    assert task.results == {"share": "tok"}
    assert task.subject.recording.visitor_id == "visitor-4711"


async def test_a_share_is_taken_back_when_it_expires_and_not_before(bench):
    bench.add(match("r1", Share(name="share", expires=7 * DAY)))
    await bench.drain()
    bench.clock.advance(7 * DAY - SECOND)
    await bench.drain()
    assert bench.world.done == ["share"]
    bench.clock.advance(SECOND)
    await bench.drain()
    assert bench.world.done == ["share", "unshare"]


async def test_a_busy_slack_is_tried_again_and_the_tag_is_not_repeated(bench):
    bench.world.fail("post", TryLater(BUSY))
    bench.add(match("r1", Write(name="tag"), Post(name="post")))
    assert await bench.drain() == Drained(done=1, postponed=1)
    bench.clock.advance(2 * SECOND)
    assert await bench.drain() == Drained(done=1)
    assert bench.world.done == ["tag", "post"]


async def test_two_channels_of_one_match_fail_and_succeed_on_their_own(bench):
    bench.world.fail("bad", GiveUp("channel_not_found", "invite the bot"))
    bench.add(match("r1", Post(name="bad", channel="#bad"), Post(name="good", channel="#good")))
    assert await bench.drain() == Drained(done=1, dead=1)
    assert bench.world.done == ["good"]


async def test_what_cant_be_mended_by_waiting_becomes_a_dead_letter_at_once(bench):
    bench.world.fail("tag", GiveUp("the recording is gone", "nothing to do"))
    bench.add(match("r1", Write(name="tag")))
    await bench.drain()
    (dead,) = bench.store.do(dead_letters)
    assert (dead.fault, dead.remedy) == ("the recording is gone", "nothing to do")


async def test_order_is_kept_through_a_short_outage(bench):
    bench.world.fail("one", *[TryLater(BUSY)] * 3)
    bench.add(*(match(f"r{n}", Post(name=name)) for n, name in enumerate(["one", "two", "three"])))
    await bench.drain_for(MINUTE, SECOND)
    assert bench.world.done == ["one", "two", "three"]
    assert bench.world.tried == ["one"] * 4 + ["two", "three"]


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_a_step_that_keeps_failing_steps_aside(bench):
    bench.world.fail("one", *[TryLater(BUSY)] * 7)
    bench.add(match("r0", Post(name="one")), match("r1", Post(name="two")))
    await bench.drain_for(2 * HOUR, 10 * SECOND)
    assert bench.world.done == ["two", "one"]


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_an_outage_of_a_day_costs_few_calls_and_loses_nothing(bench):
    bench.world.fail("*", *[TryLater("down")] * 100_000)
    bench.add(*(match(f"r{n}", Post(name=f"p{n}")) for n in range(20)))
    await bench.drain_for(DAY, 6 * MINUTE)
    assert 100 < len(bench.world.tried) < 300
    bench.world.faults.clear()
    await bench.drain_for(HOUR, MINUTE)
    assert sorted(bench.world.done) == sorted(f"p{n}" for n in range(20))


async def test_what_fails_for_three_days_becomes_a_dead_letter(bench):
    bench.world.fail("post", *[TryLater(BUSY)] * 100_000)
    bench.add(match("r1", Post(name="post")))
    await bench.drain_for(3 * DAY + 2 * HOUR, HOUR)
    (dead,) = bench.store.do(dead_letters)
    assert dead.fault == BUSY
    assert "retry it" in dead.remedy


async def test_one_steps_bug_stops_no_other(bench):
    bench.world.fail("bad", *[KeyError("visitor-4711")] * 10)
    bench.add(match("r0", Write(name="bad"), Write(name="good")), match("r1", Write(name="other")))
    assert await bench.drain() == Drained(done=2, postponed=1)
    assert sorted(bench.world.done) == ["good", "other"]


async def test_a_bug_is_given_up_after_a_few_tries_and_its_text_stays_inside(bench):
    bench.world.fail("bad", *[KeyError("visitor-4711")] * 10)
    bench.add(match("r0", Write(name="bad")))
    with capture_logs() as logs:
        await bench.drain_for(HOUR, MINUTE)
    assert len(bench.world.tried) == 5
    (dead,) = bench.store.do(dead_letters)
    assert dead.fault.startswith("internal error: KeyError at delivery_world.py:")
    assert "visitor-4711" not in f"{logs}{bench.store.do(history)}"


async def test_a_step_of_another_version_is_given_up_with_what_to_do(store):
    bench = Bench(store, actions={"write": Write})
    bench.add(match("r1", Share(name="share"), Write(name="fine")))
    assert await bench.drain() == Drained(done=1, dead=1)
    (dead,) = store.do(dead_letters)
    assert "another version" in dead.remedy


async def test_a_rate_limited_channel_waits_alone_for_as_long_as_it_was_told(bench):
    limited = TryLater("rate limited", after=30 * SECOND, lane=True)
    bench.world.fail("one", limited)
    bench.add(
        match("r1", Post(name="one"), Post(name="two"), Post(name="three", channel="#other")),
        match("r2", Write(name="tag")),
    )
    await bench.drain()
    assert bench.world.done == ["tag", "three"]
    bench.clock.advance(29 * SECOND)
    await bench.drain()
    assert len(bench.world.tried) == 3
    bench.clock.advance(SECOND)
    await bench.drain()
    assert bench.world.done == ["tag", "three", "one", "two"]


async def test_the_wait_that_slack_asked_for_survives_a_restart(store):
    first = Bench(store)
    first.world.fail("one", TryLater("rate limited", after=30 * SECOND, lane=True))
    first.add(match("r1", Post(name="one")))
    await first.drain()
    again = Bench(store)
    again.clock.advance(29 * SECOND)
    await again.drain()
    assert again.world.tried == []
    again.clock.advance(SECOND)
    await again.drain()
    assert again.world.done == ["one"]


async def test_a_clock_that_was_ahead_leaves_no_lane_and_no_retry_in_the_future(bench):
    bench.clock.now = NOW + 365 * DAY
    bench.world.fail("one", TryLater("rate limited", after=HOUR, lane=True))
    bench.world.fail("tag", *[TryLater("503")] * 7)
    bench.add(match("r1", Post(name="one"), at=bench.clock()))
    bench.add(match("r2", Write(name="tag"), at=bench.clock()))
    await bench.drain_for(2 * MINUTE, 10 * SECOND)
    bench.clock.now = NOW
    await bench.drain_for(2 * HOUR, MINUTE)
    assert sorted(bench.world.done) == ["one", "tag"]


async def test_an_unknown_outcome_is_told_to_the_next_attempt(bench):
    bench.world.fail("a", TryLater("cut off", unknown=True), TryLater("busy"))
    bench.add(match("r1", Write(name="a")))
    await bench.drain_for(MINUTE, 5 * SECOND)
    assert [task.attempted for task in bench.world.tasks] == [None, NOW, NOW]


async def test_the_search_for_a_lost_post_always_begins_at_the_first_attempt(bench):
    lost = TryLater("cut off", unknown=True)
    bench.world.fail("a", lost, lost, lost)
    bench.add(match("r1", Write(name="a")))
    await bench.drain_for(2 * MINUTE, 5 * SECOND)
    assert [task.attempted for task in bench.world.tasks] == [None, NOW, NOW, NOW]


async def test_a_repeated_attempt_is_given_time_to_be_seen_before_the_next(bench):
    lost = TryLater("cut off", unknown=True)
    bench.world.fail("a", lost, lost)
    bench.add(match("r1", Write(name="a")))
    await bench.drain_for(MINUTE, SECOND)
    times = [task.now - NOW for task in bench.world.tasks]
    assert times[1] - times[0] < 10 * SECOND <= times[2] - times[1]


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_a_slack_that_loses_every_answer_gets_each_post_once(store):
    bench = Bench(store, slack=SlackWorld(lost=20), actions=REAL)
    bench.add(*(match(f"r{n}", Slack(channel="#alerts")) for n in range(20)))
    await bench.drain_for(10 * MINUTE, SECOND)
    assert len(bench.slack.messages) == 20
    assert len({message.key for message in bench.slack.messages}) == 20
    assert store.do(lambda conn: queue_figures(conn, bench.clock())).pending == 0


async def test_where_the_bot_cant_look_a_lost_post_is_repeated_and_the_log_says_so(store):
    bench = Bench(store, slack=SlackWorld(lost=1, blind=True), actions=REAL)
    bench.add(match("r1", Slack(channel="#alerts")))
    await bench.drain_for(MINUTE, SECOND)
    assert len(bench.slack.messages) == 2
    assert "can't be read" in store.do(history)[0].text


async def test_a_digest_says_how_many_which_were_worst_and_why(store):
    bench = Bench(store, actions=REAL)
    limited = Slack(channel="#alerts", at_most=hourly(2))
    bench.add(*(match(f"r{n}", limited) for n in range(30)))
    await bench.drain()
    assert len(bench.slack.messages) == 2
    bench.clock.advance(HOUR)
    await bench.drain()
    digest = bench.slack.messages[-1]
    assert len(bench.slack.messages) == 3
    assert digest.channel == "#alerts"
    assert digest.text.startswith("🔶 28 more: A rule")
    assert "In the last 1 h: 28 over the limit." in str(digest.blocks)
    assert "and 25 more" in str(digest.blocks)  # three alike are one line
    assert "visitor-4711" not in str(digest)


async def test_a_digest_whose_answer_is_lost_is_posted_once(store):
    bench = Bench(store, actions=REAL)
    bench.add(*(match(f"r{n}", Slack(channel="#a", at_most=hourly(1))) for n in range(3)))
    await bench.drain()
    bench.slack.lost = 1
    bench.clock.advance(HOUR)
    await bench.drain_for(MINUTE, SECOND)
    assert len(bench.slack.messages) == 2


async def test_lanes_run_side_by_side(bench):
    both = asyncio.Barrier(2)
    bench.world.fail("a", both.wait)
    bench.world.fail("b", both.wait)
    bench.add(match("r1", Write(name="a")), match("r2", Post(name="b")))
    async with asyncio.timeout(60):
        assert await bench.drain() == Drained(done=2)


async def test_a_channel_gets_one_post_at_a_time(bench):
    running = []

    async def busy():
        running.append(1)
        await asyncio.sleep(0)
        assert len(running) == 1
        running.pop()

    bench.world.fail("*", *[busy] * 10)
    bench.add(*(match(f"r{n}", Post(name=f"a{n}")) for n in range(10)))
    assert await bench.drain() == Drained(done=10)


EAGER = Timing(idle=timedelta(milliseconds=5))
QUICK = Timing(patience=timedelta(milliseconds=5), abandon=timedelta(milliseconds=30))


async def test_a_call_that_takes_too_long_holds_nobody_up_and_is_not_cut_off(bench):
    slow = asyncio.Event()
    bench.world.fail("slow", slow.wait)
    bench.add(match("r1", Write(name="slow")), match("r2", Write(name="next")))
    timing = Timing(patience=timedelta(milliseconds=5))
    draining = asyncio.create_task(bench.drain(timing=timing))
    await until(lambda: states(bench) + states(bench, "r2") == ["sending", "done"])
    assert bench.world.done == ["next"]
    slow.set()
    assert await draining == Drained(done=2)
    assert states(bench) + states(bench, "r2") == ["done", "done"]


async def test_a_call_that_never_ends_is_abandoned_with_an_unknown_outcome(bench):
    bench.world.fail("hangs", asyncio.Event().wait)
    bench.add(match("r1", Write(name="hangs")))
    assert await bench.drain(timing=QUICK) == Drained(postponed=1)
    (step,) = fate(bench)
    assert (step.state, step.unknown, step.fault) == (
        "pending",
        True,
        "no answer, and the request was abandoned",
    )
    bench.clock.advance(MINUTE)
    assert await bench.drain() == Drained(done=1)


async def test_an_outage_is_logged_when_it_changes_not_each_time(bench):
    bench.world.fail("p", *[TryLater("one thing")] * 4, *[TryLater("another")] * 3)
    bench.add(match("r1", Post(name="p")))
    with capture_logs() as logs:
        await bench.drain_for(HOUR, 30 * SECOND)
    postponed = [line["reason"] for line in logs if line["event"] == "deliver.postponed"]
    assert postponed == ["one thing", "another"]
    assert [line["event"] for line in logs][-2:] == ["deliver.done", "deliver.trouble_ended"]


async def test_each_outcome_is_logged_by_name(bench):
    bench.world.fail("bad", GiveUp("gone", "leave it"))
    bench.add(match("r1", Write(name="bad"), Write(name="good")))
    with capture_logs() as logs:
        await bench.drain()
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("deliver.dead_letter", "error"),
        ("deliver.done", "info"),
    ]
    assert logs[0]["step"] == "rule/w1/r1/write-1"


async def test_a_running_delivery_takes_up_what_it_is_woken_for_and_stops_when_told(bench):
    delivery, stop = bench.delivery(Timing(idle=HOUR)), asyncio.Event()
    nap, naps = delivery._nap, []

    def noted():
        seconds = nap()
        naps.append(not delivery._lanes)  # no lanes: it sleeps for an hour from here
        return seconds

    delivery._nap = noted
    running = asyncio.create_task(delivery.run_until_stopped(stop))
    await until(lambda: naps[-1:] == [True])
    naps.clear()
    bench.add(match("r1", Write(name="a")))
    delivery.wake()
    await until(lambda: bench.world.done == ["a"] and naps[-1:] == [True])
    bench.add(match("r2", Post(name="b")))
    delivery.wake()
    await until(lambda: bench.world.done == ["a", "b"])
    stop.set()
    async with asyncio.timeout(60):
        await running


async def test_a_long_lane_does_not_keep_a_new_one_waiting(bench):
    slow, stop = asyncio.Event(), asyncio.Event()
    bench.world.fail("slow", slow.wait)
    delivery = bench.delivery(Timing(idle=HOUR))
    bench.add(match("r1", Write(name="slow")))
    running = asyncio.create_task(delivery.run_until_stopped(stop))
    await until(lambda: bench.world.tried == ["slow"])
    bench.add(match("r2", Post(name="new")))
    delivery.wake()
    await until(lambda: bench.world.done == ["new"])
    slow.set()
    stop.set()
    await running


async def test_what_a_command_wrote_beside_it_is_noticed(bench):
    stop = asyncio.Event()
    running = asyncio.create_task(bench.delivery(EAGER).run_until_stopped(stop))
    bench.add(match("r1", Write(name="a")))
    await until(lambda: bench.world.done == ["a"])
    stop.set()
    await running


async def test_a_stop_finishes_the_call_in_flight_and_leaves_the_rest(bench):
    slow, stop = asyncio.Event(), asyncio.Event()
    bench.world.fail("a", slow.wait)
    bench.add(match("r1", Write(name="a"), Write(name="b")))
    delivery = bench.delivery(EAGER)
    running = asyncio.create_task(delivery.run_until_stopped(stop))
    await until(lambda: bench.world.tried == ["a"])
    stop.set()
    await until(lambda: delivery._stopping)
    slow.set()
    async with asyncio.timeout(60):
        await running
    assert states(bench) == ["done", "pending"]
    assert await bench.drain() == Drained(done=1)


async def test_a_stop_does_not_wait_for_ever_and_what_it_left_is_not_forgotten(bench):
    stop, never = asyncio.Event(), asyncio.Event()
    bench.world.fail("a", never.wait)
    bench.add(match("r1", Write(name="a")))
    timing = Timing(drain=timedelta(milliseconds=5))
    running = asyncio.create_task(bench.delivery(timing).run_until_stopped(stop))
    await until(lambda: bench.world.tried == ["a"])
    stop.set()
    with capture_logs() as logs:
        await running
    assert [line["event"] for line in logs] == ["deliver.left_in_flight"]
    assert states(bench) == ["sending"]
    never.set()
    await until(lambda: states(bench) == ["done"])


async def test_an_empty_store_needs_nothing(bench):
    assert await bench.drain() == Drained()
    assert bench.store.do(lambda conn: lane_states(conn, NOW)) == []


def test_the_usual_timing_outlasts_the_clients_own_time_outs():
    assert Timing().patience >= 90 * SECOND
    assert ACTIONS["slack"].rank == 2


async def test_a_step_of_a_newer_version_is_left_to_a_bot_of_that_version(store):
    def bot(version: str) -> Replica:
        return Replica(
            id=version, host="host", process=7, version=version, rules="", started=NOW, age=0.0,
            leads=False,
        )  # fmt: skip

    old = Bench(store, actions={kind: it for kind, it in ACTIONS.items() if it is not Post})
    old.add(match("r1", Post(name="new")))
    there = [bot(__version__), bot("99.0")]
    store.sharing.replicas = lambda _conn: there
    for _ in range(3):
        assert await old.drain() == Drained(postponed=1)
        old.clock.advance(MINUTE)
    new = Bench(store)
    new.clock = old.clock
    assert await new.drain() == Drained(done=1)
    assert new.world.done == ["new"]
    old.add(match("r2", Post(name="never")))
    there.pop()
    assert await old.drain() == Drained(dead=1)
