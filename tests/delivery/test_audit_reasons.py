"""Every silence has a name, and the audit log has a row for all that was decided or done."""

from datetime import timedelta

import msgspec
import pytest
from delivery_world import HOUR, MINUTE, NOW, SITE, Bench, Post, World, Write, match, subject
from structlog.testing import capture_logs

from bot.actions import ACTIONS
from bot.actions.notifier import AtMost
from bot.delivery import Delivery
from bot.domain.limits import Hours, Posting, Reason
from bot.domain.subjects import RecordingSubject, Site
from bot.errors import BadCredentials, GiveUp, TryLater
from bot.messages.text import instant
from bot.polling.record_matches import READ_ONLY, Found, Routing, record_poll
from bot.ports import Ports
from bot.rules.files.load import read
from bot.store.audit import history
from bot.store.dead_letters import dead_letters, retry, steps_of
from bot.store.digests import QUEUE_BOUND
from bot.store.lanes import lane_states
from bot.store.matches import PollOutcome
from bot.store.rules import end_snooze, rules_loaded, snooze

ROUTING = Routing("#usual", "UTC")
NIGHT = Hours(frozenset(range(7)), 20 * 60, 22 * 60, "UTC")
RULES = """
version: 1
rules:
  plain: {watch: recordings, when: {pages: 1}, do: {tag: seen, slack: {}}}
  once: {watch: recordings, when: {pages: 1}, once_per: {visitor: 1d}, do: {tag: seen}}
  many: {watch: recordings, when: {pages: 1}, count: {at_least: 9, within: 1h}, do: {tag: seen}}
  few: {watch: recordings, when: {pages: 1}, count: {at_most: 0, within: 1h}, do: {slack: {}}}
  safe: {watch: recordings, when: {pages: 1}, safety: {at_most: 1 per hour}, do: {tag: seen}}
"""
BY_A_LIMIT_OF_POSTS = {
    Reason.SNOOZED: {},
    Reason.OUTSIDE_HOURS: {"posting": Posting(hours=NIGHT)},
    Reason.OVER_LIMIT: {},
    Reason.TOO_OLD: {"posting": Posting(act_up_to=timedelta())},
    Reason.QUEUE_FULL: {},
}
BY_THE_CALENDAR = {Reason.QUIET, Reason.SCHEDULED}  # tests/delivery/test_quiet_times.py
BY_ITS_RULE = {
    Reason.ONCE_PER: "once",
    Reason.BELOW_COUNT: "many",
    Reason.PAUSED: "safe",
    Reason.COUNTED: "few",
}


def audit(bench: Bench, key: str) -> list[tuple[str, str]]:
    """What `history --recording KEY` shows, the oldest first."""
    entries = bench.store.do(lambda conn: history(conn, subject=key))
    return [(entry.kind, entry.text) for entry in reversed(entries)]


def matched(bench: Bench, rule: str, key: str, site: Site = SITE) -> None:
    rules = {each.id: each for each in read([("r.yaml", RULES.encode())]).rules}
    seen = RecordingSubject(website=site, recording=subject(key).recording)
    found = [Found(rule=rules[rule], subject=seen, happened=NOW, why=("pages 1",))]
    outcome = PollOutcome(source="recordings", website=site.id, at=NOW)
    bench.store.do(lambda conn: record_poll(conn, outcome, found, ROUTING))


def test_every_reason_is_held_by_a_test_here():
    assert {*BY_A_LIMIT_OF_POSTS, *BY_ITS_RULE, *BY_THE_CALENDAR} == set(Reason)


@pytest.mark.parametrize("reason", BY_A_LIMIT_OF_POSTS)
async def test_a_post_held_back_has_one_row_with_its_reason(bench, reason):
    if reason is Reason.SNOOZED:
        bench.store.do(lambda conn: snooze(conn, "rule", NOW + HOUR, NOW))
    if reason is Reason.QUEUE_FULL:
        bench.add(*(match(f"older-{n}", Post(name="older")) for n in range(QUEUE_BOUND)))
    limit = AtMost(times=1, window_ms=3_600_000) if reason is Reason.OVER_LIMIT else None
    bench.clock.advance(MINUTE)
    more = BY_A_LIMIT_OF_POSTS[reason]
    bench.add(*(match(key, Post(name=key, at_most=limit), **more) for key in ("r1", "r2")))
    await bench.drain()
    assert audit(bench, "r2")[:2] == [("match", "because"), ("step.folded", str(reason))]
    assert "r2" not in bench.world.done


@pytest.mark.parametrize("reason", BY_ITS_RULE)
def test_a_match_held_back_has_one_row_with_its_reason(bench, reason):
    for key in ("r1", "r2"):
        matched(bench, BY_ITS_RULE[reason], key)
    assert audit(bench, "r2") == [("match", "pages 1"), ("suppressed", str(reason))]


def test_what_may_not_be_written_to_a_website_is_named(bench):
    matched(bench, "plain", "r1", Site("w2", "other.example", read_only=True))
    assert audit(bench, "r1") == [("match", "pages 1"), ("suppressed", f"{READ_ONLY}: tag")]


async def test_every_attempt_every_outcome_and_every_human_act_has_a_row(bench):
    bench.world.fail("write", TryLater("busy"), GiveUp("gone", "nothing to do"))
    bench.add(match("r1", Write(name="write")))
    await bench.drain_for(MINUTE, timedelta(seconds=10))
    now = bench.clock()
    bench.store.do(lambda conn: retry(conn, now))
    await bench.drain()
    bench.store.do(lambda conn: rules_loaded(conn, {"rule": "1"}, now))
    bench.store.do(lambda conn: snooze(conn, "rule", now + HOUR, now))
    bench.store.do(lambda conn: end_snooze(conn, "rule", now))
    assert audit(bench, "r1") == [
        ("match", "because"),
        ("step.postponed", "busy"),
        ("step.dead", "gone; nothing to do"),
        ("step.retried", "requeued by hand"),
        ("step.done", "did write"),
    ]
    kinds = [entry.kind for entry in bench.store.do(lambda conn: history(conn, kind="rule"))]
    assert kinds == ["rule.snooze_ended", "rule.snoozed"]


@pytest.mark.parametrize(
    ("by", "until"), [("a snooze", NOW + 5 * HOUR), ("active hours", NOW.replace(hour=20))]
)
async def test_a_digest_put_off_has_one_row_with_its_reason_and_its_new_time(bench, by, until):
    bench.store.do(lambda conn: snooze(conn, "rule", NOW + HOUR, NOW))
    posting = Posting(hours=NIGHT) if by == "active hours" else Posting()
    bench.add(match("r1", Post(name="r1"), posting=posting))
    await bench.drain()
    bench.clock.advance(30 * MINUTE)
    if by == "a snooze":
        bench.store.do(lambda conn: snooze(conn, "rule", until, bench.clock()))
    await bench.drain_for(4 * HOUR, MINUTE)
    reason = Reason.SNOOZED if by == "a snooze" else Reason.OUTSIDE_HOURS
    notes = bench.store.do(lambda conn: history(conn, kind="step.put_off"))
    assert [(n.rule, n.subject, n.text) for n in notes] == [
        ("rule", "r1", f"the digest waits until {instant(until)}: {reason}")
    ]
    assert notes[0].step == "digest/rule/w1/r1/slack-1/digest-1"


async def test_a_snooze_that_ends_by_itself_has_one_row_with_what_it_held_back(bench):
    bench.store.do(lambda conn: snooze(conn, "rule", NOW + HOUR, NOW))
    bench.add(*(match(key, Post(name=key)) for key in ("r1", "r2")))
    await bench.drain_for(3 * HOUR, MINUTE)
    notes = bench.store.do(lambda conn: history(conn, kind="rule.snooze_ended"))
    assert [(n.rule, n.text, n.at) for n in notes] == [
        ("rule", "expired at 2026-03-02 13:00:00Z; posts held back: 2", NOW + HOUR)
    ]


async def test_a_snooze_ended_by_hand_does_not_end_by_itself_as_well(bench):
    bench.store.do(lambda conn: snooze(conn, "rule", NOW + HOUR, NOW))
    bench.store.do(lambda conn: end_snooze(conn, "rule", NOW + MINUTE))
    await bench.drain_for(2 * HOUR, MINUTE)
    notes = bench.store.do(lambda conn: history(conn, kind="rule.snooze_ended"))
    assert [note.text for note in notes] == ["ended by hand; posts held back: 0"]


async def test_a_snooze_made_longer_counts_all_that_it_has_held_back(bench):
    bench.store.do(lambda conn: snooze(conn, "rule", NOW + HOUR, NOW))
    bench.add(match("r1", Post(name="r1")))
    await bench.drain_for(30 * MINUTE, MINUTE)
    bench.store.do(lambda conn: snooze(conn, "rule", NOW + 2 * HOUR, bench.clock()))
    bench.add(match("r2", Post(name="r2")))
    await bench.drain_for(3 * HOUR, MINUTE)
    notes = bench.store.do(lambda conn: history(conn, kind="rule.snooze_ended"))
    assert [note.text.split("; ")[1] for note in notes] == ["posts held back: 2"]


async def test_a_snooze_made_shorter_brings_its_digest_forward(bench):
    bench.store.do(lambda conn: snooze(conn, "rule", NOW + 5 * HOUR, NOW))
    bench.add(match("r1", Post(name="r1")))
    await bench.drain()
    bench.store.do(lambda conn: snooze(conn, "rule", NOW + HOUR, NOW))
    fate = bench.store.do(lambda conn: steps_of(conn, "digest/rule/w1/r1/slack-1"))
    assert [step.due for step in fate] == [NOW + HOUR]


async def test_a_snooze_that_ended_while_nobody_was_there_has_its_row_before_the_next_one(bench):
    bench.store.do(lambda conn: snooze(conn, "rule", NOW + HOUR, NOW))
    bench.store.do(lambda conn: snooze(conn, "rule", NOW + 5 * HOUR, NOW + 2 * HOUR))
    notes = bench.store.do(lambda conn: history(conn, kind="rule"))
    assert [note.kind for note in notes] == ["rule.snoozed", "rule.snooze_ended", "rule.snoozed"]


class LockedOut(World):
    """An account that refuses the key while it is `out`."""

    out = True

    async def send(self, request):
        self.tried.append(request.target)
        if self.out:
            raise BadCredentials("401")


async def test_a_refused_key_pauses_the_lane_and_makes_no_dead_letter(bench):
    account = LockedOut()
    ports = Ports(account, bench.slack, bench.ports.webhook, bench.ports.addresses)
    delivery = Delivery(
        bench.store, ports, ACTIONS, clock=bench.clock, chance=lambda: 1.0
    )  # fmt: skip
    for key in ("r1", "r2", "r3"):
        bench.add(match(key, ACTIONS["star"]()))
    for _ in range(6 * 60):
        await delivery.drain()
        bench.clock.advance(MINUTE)
    assert bench.store.do(dead_letters) == []
    [lane] = bench.store.do(lambda conn: lane_states(conn, bench.clock()))
    assert lane.reason == "Mouseflow rejected the API key"
    # One call every few minutes for the lane, not one for each step.
    assert len(account.tried) < 6 * 60 / 4
    account.out = False
    bench.clock.advance(HOUR)
    await delivery.drain()
    for key in ("r1", "r2", "r3"):
        fate = bench.store.do(lambda conn, key=key: steps_of(conn, f"rule/w1/{key}"))
        assert [step.state for step in fate] == ["done"]


async def test_no_reason_that_is_stored_has_a_secret_or_is_long(bench):
    header = "Authorization: Bearer xoxb-1234567890-abcdefghij " * 99
    bench.add(match("r1", Write(name="a")), match("r2", Write(name="b")))
    bench.world.fail("a", GiveUp(header, header))
    bench.world.fail("b", TryLater(header))
    await bench.drain()
    kept = repr(bench.store.do(lambda conn: conn.exec_driver_sql("SELECT * FROM steps").all()))
    kept += repr(bench.store.do(history))
    kept += repr(bench.store.do(lambda conn: lane_states(conn, NOW)))
    assert "xoxb" not in kept
    assert len(kept) < 10_000


def test_a_match_that_cannot_be_written_leaves_the_others(store):
    (rule,) = (rule for rule in read([("r.yaml", RULES.encode())]).rules if rule.id == "plain")
    halves = msgspec.structs.replace(subject("r2").recording, tags=("half \ud83d",))
    found = [
        Found(rule=rule, subject=each, happened=NOW)
        for each in (
            subject("r1"),
            msgspec.structs.replace(subject("r2"), recording=halves),
            subject("r3"),
        )
    ]
    outcome = PollOutcome(source="recordings", website="w1", at=NOW)
    with capture_logs() as logs:
        done = store.do(lambda conn: record_poll(conn, outcome, found, ROUTING))
    assert done.matches == ("plain/w1/r1", "plain/w1/r3")
    (line,) = logs
    assert (line["event"], line["subject"]) == ("match.not_stored", "r2")
