"""The outbox: claimed under a token, settled by its holder only, never lost, never twice."""

from datetime import timedelta

import pytest
from store_samples import HOUR, MINUTE, NOW, POST, SECOND, SHARE, VISITOR, match, poll, step

from bot.store import open_store
from bot.store.audit import history
from bot.store.dead_letters import dead_groups, dead_letters, queue_figures, retry, steps_of
from bot.store.lanes import lane_states, next_due, pause_lane
from bot.store.matches import POSTS_WAIT_MS, commit_poll
from bot.store.outbox import claim, complete, give_up, postpone, recover
from bot.store.rebuild import clock_set_back
from bot.store.rules import pause_rule, rule_states

SITE, SLACK = "mouseflow:w1", "slack:#alerts"
SETTLING = timedelta(seconds=10)


@pytest.fixture
def outbox(store):
    return Outbox(store)


class Outbox:
    """The outbox's verbs with the tests' usual values."""

    def __init__(self, store):
        self.store = store
        self.tokens = iter(range(1000))

    def add(self, *matches):
        self.store.do(lambda conn: commit_poll(conn, poll(*matches)))

    def claim(self, lane=SITE, now=NOW):
        token = f"token-{next(self.tokens)}"
        return self.store.do(lambda conn: claim(conn, lane, now, token))

    def complete(self, claimed, now=NOW, **more):
        return self.store.do(lambda conn: complete(conn, claimed, now, **more))

    def give_up(self, claimed, reason="no", now=NOW):
        return self.store.do(lambda conn: give_up(conn, claimed, now, reason=reason))

    def postpone(self, claimed, until=None, attempted=None, now=NOW):
        return self.store.do(
            lambda conn: postpone(
                conn, claimed, now, until=until, reason="busy", attempted=attempted
            )
        )

    def fate(self, subject="r1"):
        return self.store.do(lambda conn: steps_of(conn, f"checkout/w1/{subject}"))

    def subjects(self):
        return self.store.do(
            lambda conn: conn.exec_driver_sql("SELECT subject, why FROM matches").all()
        )


def test_a_claim_has_all_that_the_action_needs(outbox):
    outbox.add(match("r1"))
    claimed = outbox.claim()
    assert claimed.key == "checkout/w1/r1/tag-1"
    assert (claimed.rule, claimed.website, claimed.subject_key) == ("checkout", "w1", "r1")
    assert claimed.summary == "Trouble in the checkout"
    assert claimed.why == ("friction of r1",)
    assert VISITOR.encode() in claimed.subject
    assert (claimed.attempts, claimed.attempted, claimed.matched) == (1, None, NOW)


def test_steps_of_two_recordings_are_claimed_side_by_side_those_of_one_are_not(outbox):
    outbox.add(match("r1", [step("a"), step("b")]), match("r2", [step("c")]))
    first, second = outbox.claim(), outbox.claim()
    assert [each.subject_key for each in (first, second)] == ["r1", "r2"]
    assert (first.more, second.more) == (True, False)
    assert outbox.claim() is None
    assert outbox.store.do(next_due) == {}
    outbox.complete(first)
    assert outbox.store.do(next_due) == {SITE: NOW}
    assert outbox.claim().key == "b"


def test_nothing_is_claimed_on_a_lane_that_is_paused(outbox):
    outbox.add(match("r1"))
    outbox.store.do(lambda conn: pause_lane(conn, SITE, NOW + MINUTE, "busy"))
    assert outbox.claim() is None
    assert outbox.claim(now=NOW + MINUTE).more is False


def test_a_step_is_claimed_by_one_only(outbox):
    outbox.add(match("r1"))
    assert outbox.claim() is not None
    assert outbox.claim() is None


def test_a_claim_is_on_the_disk_before_anything_is_done(outbox):
    outbox.add(match("r1"))
    outbox.claim()
    assert outbox.fate()[0].state == "sending"


def test_only_the_token_of_the_attempt_settles(outbox):
    outbox.add(match("r1"))
    frozen = outbox.claim()
    outbox.store.do(lambda conn: recover(conn, NOW, SETTLING))
    second = outbox.claim()
    assert not outbox.complete(frozen)
    assert not outbox.give_up(frozen)
    assert not outbox.postpone(frozen, NOW + HOUR)
    assert outbox.fate()[0].state == "sending"
    assert outbox.complete(second)
    assert not outbox.complete(second)
    assert outbox.fate()[0].state == "done"


def test_a_stale_settlement_writes_no_line_and_adds_no_step(outbox):
    outbox.add(match("r1"))
    claimed = outbox.claim()
    outbox.complete(claimed)
    before = len(outbox.store.do(history))
    outbox.complete(claimed, follow=[step("later")])
    assert len(outbox.store.do(history)) == before
    assert len(outbox.fate()) == 1


def test_steps_of_a_lane_come_in_the_order_in_which_they_were_made(outbox):
    outbox.add(match("r1", [step("a"), step("b")]), match("r2", [step("c")]))
    keys = []
    while claimed := outbox.claim():
        keys.append(claimed.key)
        outbox.complete(claimed)
    assert keys == ["a", "b", "c"]


def test_lanes_do_not_wait_for_each_other(outbox):
    outbox.add(match("r1", [step("a")]), match("r2", [step("post", POST)]))
    assert outbox.claim(SITE).key == "a"
    assert outbox.claim(SLACK).key == "post"


def test_what_is_due_later_waits(outbox):
    outbox.add(match("r1", [step("later", due=NOW + HOUR), step("now")]))
    claimed = outbox.claim()
    assert claimed.key == "now"
    outbox.complete(claimed)
    assert outbox.claim() is None
    assert outbox.store.do(next_due) == {SITE: NOW + HOUR}
    assert outbox.claim(now=NOW + HOUR).key == "later"


def test_a_post_waits_until_its_share_has_brought_the_link(outbox):
    outbox.add(match("r1", [step("share", SHARE), step("post", POST)]))
    assert outbox.claim(SLACK) is None
    outbox.complete(outbox.claim(SITE), result="tok")
    assert outbox.claim(SLACK).results == {"share": "tok"}


def test_a_post_goes_without_the_link_when_the_share_is_given_up(outbox):
    outbox.add(match("r1", [step("share", SHARE), step("post", POST)]))
    outbox.give_up(outbox.claim(SITE))
    assert outbox.claim(SLACK).results == {}


def test_a_post_does_not_wait_for_ever_for_a_share(outbox):
    outbox.add(match("r1", [step("share", SHARE), step("post", POST)]))
    outbox.postpone(outbox.claim(SITE), NOW + HOUR)
    patience = timedelta(milliseconds=POSTS_WAIT_MS)
    assert outbox.claim(SLACK, NOW + patience - SECOND) is None
    assert outbox.claim(SLACK, NOW + patience).key == "post"


def test_taking_a_share_back_later_holds_no_post_up(outbox):
    outbox.add(match("r1", [step("share", SHARE), step("post", POST)]))
    unshare = step("unshare", SHARE, kind="unshare", due=NOW + 24 * HOUR)
    outbox.complete(outbox.claim(SITE), follow=[unshare])
    assert outbox.claim(SLACK).key == "post"


def test_posts_released_by_their_share_keep_their_place(outbox):
    outbox.add(match("r1", [step("share", SHARE), step("first", POST)]))
    outbox.add(match("r2", [step("second", POST)]))
    outbox.complete(outbox.claim(SITE))
    assert outbox.claim(SLACK).key == "first"


def test_follow_ups_are_written_with_the_settlement(outbox):
    outbox.add(match("r1"))
    later = step("unshare", SHARE, due=NOW + 7 * 24 * HOUR)
    outbox.complete(outbox.claim(), follow=[later])
    assert [each.key for each in outbox.fate()] == ["checkout/w1/r1/tag-1", "unshare"]
    assert outbox.claim(now=NOW + 8 * 24 * HOUR).key == "unshare"


def test_a_postponed_step_comes_back_when_it_is_due_and_counts_its_tries(outbox):
    outbox.add(match("r1"))
    outbox.postpone(outbox.claim(), NOW + MINUTE)
    assert outbox.claim() is None
    again = outbox.claim(now=NOW + MINUTE)
    assert (again.attempts, again.first_tried, again.attempted) == (2, NOW, None)


def test_an_unknown_outcome_is_remembered_until_it_is_settled(outbox):
    outbox.add(match("r1"))
    outbox.postpone(outbox.claim(), NOW + MINUTE, attempted=NOW)
    assert outbox.claim(now=NOW + MINUTE).attempted == NOW
    assert outbox.fate()[0].unknown


def test_what_was_being_sent_when_the_process_died_comes_back_as_unknown(tmp_path):
    with open_store(f"sqlite:///{tmp_path}/bot.db") as store:
        outbox = Outbox(store)
        outbox.add(match("r1"))
        outbox.claim()
    with open_store(f"sqlite:///{tmp_path}/bot.db") as store:
        outbox = Outbox(store)
        later = NOW + HOUR
        assert store.do(lambda conn: recover(conn, later, SETTLING)) == 1
        assert store.do(lambda conn: recover(conn, later, SETTLING)) == 0
        assert outbox.claim(now=later).attempted == NOW
        assert store.do(history)[0].kind == "step.interrupted"


def test_an_attempt_by_a_clock_that_was_ahead_began_now_at_the_latest(store):
    outbox = Outbox(store)
    outbox.add(match("r1"))
    outbox.claim(now=NOW + 3 * HOUR)
    store.do(lambda conn: recover(conn, NOW, SETTLING))
    assert outbox.claim(now=NOW).attempted == NOW


def test_an_attempt_that_an_ahead_clock_left_open_began_now_once_that_is_right(store):
    outbox = Outbox(store)
    outbox.add(match("r1"))
    outbox.postpone(outbox.claim(now=NOW + 3 * HOUR), NOW, attempted=NOW + 3 * HOUR)
    store.do(lambda conn: clock_set_back(conn, NOW, HOUR))
    assert outbox.claim(now=NOW).attempted == NOW


def test_a_repeated_attempt_that_died_is_given_time_to_be_seen(outbox):
    outbox.add(match("r1"))
    outbox.postpone(outbox.claim(), NOW, attempted=NOW)
    died = NOW + MINUTE
    outbox.claim(now=died)
    outbox.store.do(lambda conn: recover(conn, died, SETTLING))
    assert outbox.claim(now=died + SECOND) is None
    # It is still looked for from the first attempt on.
    assert outbox.claim(now=died + SETTLING).attempted == NOW


def test_a_paused_lane_waits_and_survives_a_restart(tmp_path):
    until = NOW + 30 * SECOND
    with open_store(f"sqlite:///{tmp_path}/bot.db") as store:
        Outbox(store).add(match("r1"), match("r2", [step("post", POST)]))
        store.do(lambda conn: pause_lane(conn, SLACK, until, "rate limited"))
    with open_store(f"sqlite:///{tmp_path}/bot.db") as store:
        assert store.do(next_due) == {SITE: NOW, SLACK: until}
        (state,) = store.do(lambda conn: lane_states(conn, NOW))
        assert (state.lane, state.paused_until, state.reason) == (SLACK, until, "rate limited")


def test_success_opens_the_lane_again(outbox):
    outbox.add(match("r1", [step("a"), step("b")]))
    claimed = outbox.claim()
    outbox.store.do(lambda conn: pause_lane(conn, SITE, NOW + HOUR, "down"))
    outbox.complete(claimed)
    assert outbox.store.do(lambda conn: lane_states(conn, NOW)) == []
    assert outbox.store.do(next_due) == {SITE: NOW}


def test_the_visitors_data_goes_when_the_last_step_has_ended_and_the_keys_stay(outbox):
    outbox.add(match("r1", [step("a"), step("b")]))
    outbox.complete(outbox.claim())
    assert VISITOR.encode() in outbox.subjects()[0].subject
    outbox.complete(outbox.claim())
    assert outbox.subjects() == [(None, "[]")]
    assert [each.key for each in outbox.fate()] == ["a", "b"]
    outbox.add(match("r1", [step("again")]))
    assert outbox.claim() is None


def test_a_dead_letter_can_be_retried_with_all_it_needs(outbox):
    outbox.add(match("r1"), match("r2"))
    outbox.give_up(outbox.claim(), "channel_not_found")
    (dead,) = outbox.store.do(dead_letters)
    assert (dead.subject_key, dead.fault, dead.state) == ("r1", "channel_not_found", "dead")
    assert outbox.store.do(lambda conn: retry(conn, NOW + HOUR, ids=[dead.id])) == 1
    outbox.complete(outbox.claim())
    again = outbox.claim(now=NOW + HOUR)
    assert (again.subject_key, again.attempts) == ("r1", 1)
    assert VISITOR.encode() in again.subject


def test_a_dead_letter_that_may_have_arrived_is_looked_for_when_it_is_retried(outbox):
    outbox.add(match("r1"))
    outbox.postpone(outbox.claim(), NOW, attempted=NOW)
    outbox.give_up(outbox.claim())
    outbox.store.do(lambda conn: retry(conn, NOW + HOUR))
    assert outbox.claim(now=NOW + HOUR).attempted == NOW


def test_retry_takes_ids_a_rule_or_all(outbox):
    outbox.add(match("r1"), match("r2"), match("r1", rule="rage"))
    while claimed := outbox.claim():
        outbox.give_up(claimed)
    store = outbox.store
    assert store.do(lambda conn: retry(conn, NOW, ids=[])) == 0
    assert store.do(lambda conn: retry(conn, NOW, ids=[999])) == 0
    assert store.do(lambda conn: retry(conn, NOW, rule="rage")) == 1
    assert store.do(lambda conn: retry(conn, NOW)) == 2
    assert store.do(lambda conn: retry(conn, NOW)) == 0
    assert len(store.do(lambda conn: history(conn, kind="step.retried"))) == 3


def test_retrying_a_rule_lets_it_run_again(store):
    store.do(lambda conn: pause_rule(conn, "rage", "too many matches", NOW))
    store.do(lambda conn: retry(conn, NOW, rule="rage"))
    assert store.do(rule_states)["rage"].paused_at is None


def test_the_queue_has_figures(outbox):
    outbox.add(match("r1"), match("r2"), match("r3", [step("later", due=NOW + HOUR)]))
    outbox.give_up(outbox.claim())
    figures = outbox.store.do(lambda conn: queue_figures(conn, NOW + MINUTE))
    assert (figures.pending, figures.due, figures.dead, figures.sending) == (2, 1, 1, 0)
    assert figures.oldest == NOW
    outbox.claim()
    figures = outbox.store.do(lambda conn: queue_figures(conn, NOW + MINUTE))
    assert (figures.pending, figures.due, figures.sending, figures.oldest) == (1, 0, 1, None)


def test_each_attempt_leaves_one_line_with_its_outcome(outbox):
    outbox.add(match("r1"))
    outbox.postpone(outbox.claim(), NOW + MINUTE)
    outbox.give_up(outbox.claim(now=NOW + MINUTE), "gone")
    lines = [(entry.kind, entry.text) for entry in outbox.store.do(history)]
    assert lines == [("step.dead", "gone"), ("step.postponed", "busy"), ("match", "friction of r1")]


def test_dead_letters_with_one_cause_are_one_group(outbox):
    for n, reason in enumerate(["gone", "refused", "gone", "gone"]):
        outbox.add(match(f"r{n}"))
        outbox.give_up(outbox.claim(), reason, NOW + n * MINUTE)
    outbox.add(match("r9", rule="rage"))
    outbox.give_up(outbox.claim(), "gone", NOW + HOUR)
    groups = outbox.store.do(dead_groups)
    assert [(g.rule, g.action, g.reason, g.count) for g in groups] == [
        ("checkout", "tag", "gone", 3),
        ("rage", "tag", "gone", 1),
        ("checkout", "tag", "refused", 1),
    ]
    assert (groups[0].first, groups[0].last) == (NOW, NOW + 3 * MINUTE)


def test_groups_can_be_asked_of_some_letters_or_rules_alone(outbox):
    for rule, key in (("checkout", "r1"), ("checkout", "r2"), ("rage", "r3"), ("slow", "r4")):
        outbox.add(match(key, rule=rule))
        outbox.give_up(outbox.claim(), "gone")
    first = outbox.fate("r1")[0].id
    groups = outbox.store.do(lambda conn: dead_groups(conn, ids=[first], rules=["rage"]))
    assert sorted((g.rule, g.count) for g in groups) == [("checkout", 1), ("rage", 1)]
    outbox.store.do(lambda conn: retry(conn, NOW))
    assert outbox.store.do(dead_groups) == []
