"""Posts beyond a limit: folded into one digest or withheld, each with its reason."""

from functools import partial

import msgspec
import pytest
from store_samples import HOUR, MINUTE, NOW, POST, SECOND, VISITOR, match, poll, step

from bot.domain.limits import Hours, Posting, Reason
from bot.store import digests
from bot.store.audit import history
from bot.store.dead_letters import steps_of
from bot.store.digests import DigestContent, fold_backlog
from bot.store.matches import commit_poll
from bot.store.outbox import claim, complete, give_up, postpone
from bot.store.rules import end_snooze, snooze, withheld

LANE = "slack:#alerts"
LIMITED = '{"channel":"#alerts","at_most":{"times":2,"window_ms":3600000},"overflow":"digest"}'
DROPPING = '{"channel":"#alerts","at_most":{"times":2,"window_ms":3600000},"overflow":"drop"}'
OFFICE = Hours(frozenset(range(5)), 8 * 60, 18 * 60, "UTC")


def posts(params=LIMITED, count=5, start=0, **changes):
    return [
        match(f"r{n}", [step(f"post-{n}", POST, params=params)], duration=n * 1000, **changes)
        for n in range(start, start + count)
    ]


@pytest.fixture
def add(store):
    return lambda *found: store.do(lambda conn: commit_poll(conn, poll(*found)))


@pytest.fixture
def sent(store):
    """Performs what may go out now; gives the keys of the steps."""

    def sent(now=NOW):
        keys = []
        while claimed := store.do(lambda conn: claim(conn, LANE, now, f"t{len(keys)}")):
            keys.append(claimed.key)
            store.do(lambda conn, c=claimed: complete(conn, c, now))
        return keys

    return sent


@pytest.fixture
def digest(store):
    """The digest that is due, read."""

    def digest(now):
        claimed = store.do(lambda conn: claim(conn, LANE, now, "digest"))
        assert claimed is not None
        assert claimed.action == "digest"
        return msgspec.json.decode(claimed.params, type=DigestContent)

    return digest


def reasons(store):
    kept = ("step.folded", "step.withheld")
    return [(e.kind, e.text) for e in store.do(history) if e.kind in kept]


def test_what_is_over_the_limit_goes_into_one_digest_when_the_window_ends(store, add, sent, digest):
    add(*posts(count=9))
    assert sent() == ["post-0", "post-1"]
    assert sent(NOW + HOUR - SECOND) == []
    content = digest(NOW + HOUR)
    assert content.reasons == {"over the limit": 7}
    assert content.channel == "#alerts"
    assert content.since == NOW
    assert [item.subject.key for item in content.items] == ["r8", "r7", "r6", "r5", "r4"]
    assert reasons(store) == [("step.folded", "over the limit")] * 7


def test_a_digest_goes_out_once(add, sent):
    add(*posts())
    sent()
    assert sent(NOW + HOUR) == ["digest/post-2/digest-1"]
    assert sent(NOW + 9 * HOUR) == []


def test_the_next_window_begins_with_its_first_post(add, sent):
    add(*posts())
    sent()
    sent(NOW + HOUR)
    add(*posts(count=3, start=10))
    assert sent(NOW + 2 * HOUR) == ["post-10", "post-11"]
    assert sent(NOW + 3 * HOUR) == ["digest/post-12/digest-1"]


def test_overflow_drop_withholds_with_a_reason_and_posts_no_digest(store, add, sent):
    add(*posts(DROPPING))
    assert sent() == ["post-0", "post-1"]
    assert sent(NOW + HOUR) == []
    assert reasons(store) == [("step.withheld", "over the limit")] * 3
    assert store.do(lambda conn: withheld(conn, "checkout", NOW, Reason.OVER_LIMIT)) == 3
    assert store.do(lambda conn: withheld(conn, "checkout", NOW, Reason.SNOOZED)) == 0


def test_limits_count_for_each_rule_and_channel_by_itself(add, sent):
    add(*posts(count=2))
    add(*(match(f"x{n}", [step(f"x-{n}", POST, params=LIMITED)], rule="rage") for n in range(3)))
    assert sent() == ["post-0", "post-1", "x-0", "x-1"]


def test_a_retried_post_is_not_counted_twice(store, add, sent):
    add(*posts(count=2))
    first = store.do(lambda conn: claim(conn, LANE, NOW, "t"))
    store.do(lambda conn: postpone(conn, first, NOW, until=None, reason="busy", attempted=None))
    assert sent() == ["post-0", "post-1"]


def test_a_snoozed_rule_posts_one_digest_when_the_snooze_ends(store, add, sent, digest):
    store.do(lambda conn: snooze(conn, "checkout", NOW + 2 * HOUR, NOW))
    add(*posts('{"channel":"#alerts"}', 3))
    assert sent() == []
    content = digest(NOW + 2 * HOUR)
    assert content.reasons == {"snoozed": 3}
    assert content.snoozed == ""


def test_a_digest_keeps_who_snoozed_its_rule_also_once_somebody_else_has(store, add, sent, digest):
    begin = partial(snooze, rule="checkout", until=NOW + 2 * HOUR, at=NOW)
    store.do(partial(begin, by="Kim", because="release"))
    add(*posts('{"channel":"#alerts"}', 3))
    assert sent() == []
    store.do(partial(begin, by="Ann"))
    assert digest(NOW + 2 * HOUR).snoozed == " by Kim: release"


def test_a_snooze_leaves_a_receipt_of_what_it_held_back(store, add, sent):
    store.do(lambda conn: snooze(conn, "checkout", NOW + 2 * HOUR, NOW))
    add(*posts('{"channel":"#alerts"}', 3))
    assert sent() == []
    assert store.do(lambda conn: withheld(conn, "checkout", NOW, Reason.SNOOZED)) == 3
    assert sent(NOW + 2 * HOUR) == ["digest/post-0/digest-1"]
    assert store.do(history)[0].text.endswith("replaces posts held back: 3 snoozed")


def test_a_snooze_ended_by_hand_posts_its_digest_at_once(store, add, sent):
    store.do(lambda conn: snooze(conn, "checkout", NOW + 2 * HOUR, NOW))
    add(*posts('{"channel":"#alerts"}', 3))
    assert sent(NOW + MINUTE) == []
    assert store.do(lambda conn: end_snooze(conn, "checkout", NOW + MINUTE)) is not None
    assert store.do(history)[0].text == "ended by hand; posts held back: 3"
    assert sent(NOW + MINUTE) == ["digest/post-0/digest-1"]


def test_a_snooze_holds_a_digest_back_that_was_waiting(store, add, sent):
    add(*posts())
    sent()
    store.do(lambda conn: snooze(conn, "checkout", NOW + 5 * HOUR, NOW))
    assert sent(NOW + HOUR) == []
    assert sent(NOW + 5 * HOUR) == ["digest/post-2/digest-1"]


def test_outside_active_hours_posts_wait_for_a_digest_in_the_morning(add, sent, digest):
    evening = NOW.replace(hour=20)
    add(*posts(LIMITED, 3, at=evening, posting=Posting(hours=OFFICE)))
    assert sent(evening) == []
    assert sent(evening + 11 * HOUR) == []
    assert digest(evening + 12 * HOUR).reasons == {"outside active hours": 3}


def test_what_is_too_old_goes_into_a_digest_at_once_or_is_dropped(store, add, sent, digest):
    old = {"happened": NOW - 7 * HOUR}
    add(*posts(LIMITED, 2, **old, posting=Posting(act_up_to=6 * HOUR)))
    add(*posts(LIMITED, 1, 8, **old, posting=Posting(act_up_to=6 * HOUR, older="drop")))
    assert digest(NOW).reasons == {"too old to be posted alone": 2}
    assert reasons(store)[0] == ("step.withheld", "too old to be posted alone")


def test_different_reasons_share_one_digest(store, add, sent, digest):
    add(*posts(count=3))
    sent()
    store.do(lambda conn: snooze(conn, "checkout", NOW + MINUTE, NOW))
    add(*posts(count=1, start=7))
    assert sent() == []
    assert digest(NOW + HOUR).reasons == {"over the limit": 1, "snoozed": 1}


def test_a_post_that_may_be_out_already_is_never_held_back(store, add):
    add(*posts(count=1))
    first = store.do(lambda conn: claim(conn, LANE, NOW, "t"))
    store.do(lambda conn: postpone(conn, first, NOW, until=None, reason="?", attempted=NOW))
    store.do(lambda conn: snooze(conn, "checkout", NOW + HOUR, NOW))
    assert store.do(lambda conn: claim(conn, LANE, NOW, "t")).attempted == NOW


def test_notices_of_the_bot_and_webhooks_are_never_held_back(store, add, sent):
    store.do(lambda conn: snooze(conn, "checkout", NOW + HOUR, NOW))
    add(match("r1", [step("n", POST, kind="notice"), step("w", POST, kind="webhook")]))
    assert sent() == ["n", "w"]


def test_a_post_that_cant_be_read_comes_out_to_be_given_up_and_stops_nobody(add, sent):
    add(match("r1", [step("bad", POST, params="[")]), *posts(count=1))
    assert sent() == ["bad", "post-0"]


def test_folding_keeps_nothing_of_the_visitor_once_the_digest_is_out(store, add, sent, tmp_path):
    add(*posts())
    sent()
    sent(NOW + HOUR)
    data = store.do(lambda conn: conn.exec_driver_sql("SELECT params FROM steps").all())
    rest = store.do(lambda conn: conn.exec_driver_sql("SELECT subject, why FROM matches").all())
    assert VISITOR not in str(data)
    assert set(rest) == {(None, "[]")}


def test_a_digest_that_was_given_up_keeps_what_it_shows(store, add, sent, digest):
    add(*posts())
    sent()
    claimed = store.do(lambda conn: claim(conn, LANE, NOW + HOUR, "t"))
    store.do(lambda conn: give_up(conn, claimed, NOW + HOUR, reason="channel_not_found"))
    (fate,) = store.do(lambda conn: steps_of(conn, "digest/post-2"))
    assert fate.state == "dead"
    params = store.do(
        lambda conn: conn.exec_driver_sql("SELECT params FROM steps WHERE state='dead'").scalar()
    )
    assert len(msgspec.json.decode(params, type=DigestContent).items) == 3


def test_a_full_queue_is_folded_into_digests_and_its_oldest_posts_stay(store, add, sent):
    bound = digests.QUEUE_BOUND
    add(*posts('{"channel":"#alerts"}', bound + 450))
    portions = []
    while folded := store.do(lambda conn: fold_backlog(conn, NOW)):
        portions.append(folded[LANE])
    assert portions == [200, 200, 50]
    out = sent()
    assert len(out) == bound + 1
    assert out[:3] == ["post-0", "post-1", "post-2"]
    assert out[-1] == f"digest/post-{bound}/digest-1"


def test_a_full_queue_of_what_cant_be_folded_is_left_alone(store, add):
    over = digests.QUEUE_BOUND + 1
    add(*(match(f"r{n}", [step(f"w{n}", POST, kind="webhook")]) for n in range(over)))
    assert store.do(lambda conn: fold_backlog(conn, NOW)) == {}


def test_one_transaction_folds_so_many_whatever_the_number_of_full_queues(store, add):
    over = digests.QUEUE_BOUND + 150
    for lane in ("slack:#a", "slack:#b", "slack:#c"):
        wanted = [
            step(f"{lane}-{n}", POST, lane=lane, params='{"channel":""}') for n in range(over)
        ]
        add(*(match(f"{lane}-{n}", [each]) for n, each in enumerate(wanted)))
    portions = []
    while folded := store.do(lambda conn: fold_backlog(conn, NOW)):
        portions.append([folded.get(f"slack:#{lane}") for lane in "abc"])
    assert portions == [[150, 50, 0], [None, 100, 100], [None, None, 50]]


def test_one_post_that_cant_be_read_is_left_and_the_others_are_folded(store, add):
    add(*posts('{"channel":"#alerts"}', digests.QUEUE_BOUND + 9))
    broken = "UPDATE steps SET params = 'x' WHERE key = 'post-204'"
    store.do(lambda conn: conn.exec_driver_sql(broken).rowcount)
    assert store.do(lambda conn: fold_backlog(conn, NOW)) == {LANE: 8}
    assert store.do(lambda conn: fold_backlog(conn, NOW)) == {}
