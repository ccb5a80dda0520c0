"""What the store remembers of rules, counts, levels and budgets, and the audit log."""

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from store_samples import HOUR, MINUTE, NOW, VISITOR, match, poll

from bot.domain.alert_state import Counter, Level
from bot.domain.budget import Ownership
from bot.domain.subjects import FunnelSubject, Site
from bot.store import in_memory_copy
from bot.store.alert_states import (
    KeptLevel,
    add_figures,
    figure_between,
    figures_between,
    levels,
    note_share,
    recorded_share,
    save_level,
)
from bot.store.audit import Note, history, record
from bot.store.budgets import (
    budget_steps_done,
    disown,
    keep_highest,
    mark_budget_step,
    own,
    owned,
    used,
)
from bot.store.matches import commit_poll
from bot.store.recordings import (
    MOST_CAMPAIGNS,
    ask_polls,
    asked_polls,
    save_read_time,
    set_websites,
    websites_named,
)
from bot.store.rules import (
    Group,
    MatchCounts,
    end_snooze,
    match_counts,
    matches_since,
    once_mark,
    once_near,
    pause_rule,
    resume_rule,
    rule_states,
    rules_loaded,
    snooze,
    snoozed_until,
    tallied,
    tally,
    tally_clear,
    tally_one,
)

DAY = timedelta(days=1)


def test_a_rule_paused_by_its_safety_stays_paused_until_resumed(store):
    assert store.do(lambda conn: pause_rule(conn, "rage", "201 matches in an hour", NOW))
    assert not store.do(lambda conn: pause_rule(conn, "rage", "again", NOW + HOUR))
    state = store.do(rule_states)["rage"]
    assert (state.paused_at, state.paused_why) == (NOW, "201 matches in an hour")
    assert store.do(lambda conn: resume_rule(conn, "rage", NOW, "by hand"))
    assert not store.do(lambda conn: resume_rule(conn, "rage", NOW, "by hand"))
    assert store.do(rule_states)["rage"].paused_at is None


def test_an_edited_rule_runs_again_and_an_unchanged_one_stays_paused(store):
    digests = {"rage": "1", "slow": "1"}
    assert store.do(lambda conn: rules_loaded(conn, digests, NOW)) == frozenset()
    for rule in digests:
        store.do(lambda conn, rule=rule: pause_rule(conn, rule, "too many", NOW))
    changed = store.do(lambda conn: rules_loaded(conn, {"rage": "2", "slow": "1"}, NOW))
    assert changed == {"rage"}
    states = store.do(rule_states)
    assert states["rage"].paused_at is None
    assert states["slow"].paused_at == NOW


def test_bots_see_what_they_are_asked_to_poll_for_a_minute(store):
    asks = [("feedback", "w1"), ("", "")]
    store.do(lambda conn: ask_polls(conn, asks, "r1 one", NOW))
    assert store.do(asked_polls) == dict.fromkeys(asks, "r1 one")
    store.do(lambda conn: ask_polls(conn, [("feedback", "w1")], "r2 two", NOW + MINUTE))
    assert store.do(asked_polls) == {("feedback", "w1"): "r2 two", ("", ""): "r1 one"}
    later = NOW + MINUTE + timedelta(seconds=1)
    store.do(lambda conn: ask_polls(conn, [("feedback", "w2")], "r2 three", later))
    assert store.do(asked_polls) == {("feedback", "w1"): "r2 two", ("feedback", "w2"): "r2 three"}


def test_a_website_is_known_by_its_id_name_and_campaigns(store):
    def work(conn):
        set_websites(conn, {"w1": "Shop.example", "w2": "shop.example", "w3": "x.example"}, {}, NOW)
        save_read_time(conn, "feedback", "w3", {f"c{n:04}" for n in range(MOST_CAMPAIGNS + 5)}, NOW)
        save_read_time(conn, "funnels", "w1", {"f1"}, NOW)
        asked = ("shop.example", "W3", "C0001", "c1004", "f1", "none")
        return [websites_named(conn, [name]) for name in asked]

    assert store.do(work) == [["w1", "w2"], ["w3"], ["w3"], [], [], []]


def test_a_snooze_has_an_end_and_can_end_early(store):
    store.do(lambda conn: snooze(conn, "rage", NOW + HOUR, NOW))
    assert store.do(lambda conn: snoozed_until(conn, "rage")) == NOW + HOUR
    assert store.do(lambda conn: end_snooze(conn, "rage", NOW + MINUTE)) == 0
    assert store.do(lambda conn: snoozed_until(conn, "rage")) == NOW + MINUTE
    assert store.do(lambda conn: end_snooze(conn, "rage", NOW + MINUTE)) is None
    assert store.do(lambda conn: snoozed_until(conn, "other")) is None


def test_human_acts_are_in_the_audit_log(store):
    store.do(lambda conn: snooze(conn, "rage", NOW + HOUR, NOW))
    store.do(lambda conn: end_snooze(conn, "rage", NOW))
    assert [entry.kind for entry in store.do(history)] == ["rule.snooze_ended", "rule.snoozed"]


def test_matches_of_a_rule_are_counted_for_its_safety(store):
    times = (NOW - 2 * HOUR, NOW - MINUTE, NOW)
    found = [match(f"r{n}", [], at=at) for n, at in enumerate(times)]
    store.do(lambda conn: commit_poll(conn, poll(*found)))
    assert store.do(lambda conn: matches_since(conn, "checkout", NOW - HOUR)) == 2
    assert store.do(lambda conn: matches_since(conn, "other", NOW - HOUR)) == 0


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_counting_matches_reads_no_row_but_alerts_and_those_of_the_last_day(store):
    times = (NOW - 2 * HOUR, NOW - MINUTE, NOW)
    found = [match(f"r{n}", [], at=at) for n, at in enumerate(times)]
    store.do(lambda conn: commit_poll(conn, poll(*found)))
    asked: list[str] = []

    def traced(conn):
        driver = conn.connection.driver_connection
        driver.set_trace_callback(asked.append)
        counts = match_counts(conn, NOW - HOUR)
        driver.set_trace_callback(None)
        plans = [driver.execute(f"EXPLAIN QUERY PLAN {it}").fetchone()[-1] for it in asked]
        return counts, plans

    counts, plans = store.do(traced)
    assert counts == {"checkout": MatchCounts(kept=3, lately=2)}
    assert plans == [
        "SCAN matches USING COVERING INDEX matches_rule",
        "SCAN matches USING INDEX matches_alerts",
        "SEARCH matches USING INDEX matches_age (matched>?)",
    ]


def test_once_per_remembers_when_a_rule_matched_for_which_field_and_value(store):
    anna = Group("visitor", "anna")
    store.do(lambda conn: once_mark(conn, "rage", anna, NOW, DAY))

    def near(rule, group, at=NOW):
        return store.do(lambda conn: once_near(conn, rule, group, at, HOUR))

    assert near("rage", anna)
    assert not near("rage", Group("visitor", "bert"))
    assert not near("rage", Group("ip", "anna"))
    assert not near("slow", anna)
    assert not near("rage", anna, NOW + HOUR)
    assert not near("rage", anna, NOW - HOUR)
    store.do(lambda conn: once_mark(conn, "rage", anna, NOW - HOUR, DAY))
    assert near("rage", anna, NOW - HOUR - MINUTE)  # a backfill may find older matches later
    assert near("rage", anna)


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_values_of_visitors_are_kept_as_hashes_only(store, tmp_path):
    store.do(lambda conn: once_mark(conn, "rage", Group("visitor", VISITOR), NOW, DAY))
    store.do(lambda conn: tally(conn, "rage", Group("visitor", VISITOR), "r1", NOW, HOUR))
    store.close()
    assert VISITOR.encode() not in (tmp_path / "bot.db").read_bytes()


def test_a_subject_is_counted_once_within_the_window(store):
    def count(subject, at, value="de"):
        return store.do(
            lambda conn: len(tally(conn, "many", Group("country", value), subject, at, 10 * MINUTE))
        )

    assert count("r1", NOW) == 1
    assert count("r1", NOW) == 1
    assert count("r2", NOW + 5 * MINUTE) == 2
    assert count("r3", NOW + 5 * MINUTE, "fr") == 1
    assert count("r4", NOW + 12 * MINUTE) == 2
    store.do(lambda conn: tally_clear(conn, "many", Group("country", "de"), NOW + HOUR))
    assert count("r5", NOW + 12 * MINUTE) == 1
    assert count("r7", NOW + 4 * MINUTE) == 2  # it happened earlier, and is known later
    assert count("r6", NOW + 12 * MINUTE, "fr") == 2


def test_levels_survive(store):
    subject = FunnelSubject(website=Site("w1", "myshop.com"), id="f1")
    counter = Counter(3, 7, 5, NOW)
    level = Level(NOW, NOW + HOUR, 3, NOW, NOW, NOW, False, "in_force", counter)
    for key, kept in (
        ("f1", KeptLevel(Level(NOW))),
        ("f1", KeptLevel(level, subject, "c1")),
        ("f2", KeptLevel(Level(polled=NOW))),
    ):
        store.do(lambda conn, key=key, kept=kept: save_level(conn, "dip", "w1", key, kept, NOW))
    kept = store.do(lambda conn: levels(conn, "dip", "w1"))
    assert kept == {"f1": KeptLevel(level, subject, "c1"), "f2": KeptLevel(Level(polled=NOW))}
    assert store.do(lambda conn: levels(conn, "dip", "w2")) == {}


def test_the_last_figure_of_a_time_is_found(store):
    for hours, value in ((2, 3.0), (0, 1.0), (1, 2.0)):
        at = NOW + hours * HOUR
        values = {"conversion": value, "entered": 10}
        store.do(lambda conn, at=at, v=values: add_figures(conn, "funnels", "w1", "f1", v, at))
    found = [
        store.do(
            lambda conn, first=first, last=last: figure_between(
                conn, "funnels", "w1", "f1", "conversion", NOW + first * HOUR, NOW + last * HOUR
            )
        )
        for first, last in ((0, 1), (0, 5), (3, 5))
    ]
    assert found == [(NOW + HOUR, 2.0), (NOW + 2 * HOUR, 3.0), None]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 50)), max_size=20))
def test_the_ledger_keeps_the_highest_count_of_each_day(counts):
    with in_memory_copy("sqlite:////nowhere/at/all.db") as store:
        for day, count in counts:
            seen = {date(2026, 3, day): count}
            store.do(lambda conn, seen=seen: keep_highest(conn, "w1", seen, NOW))
        first, last = date(2026, 3, 1), date(2026, 3, 3)
        found = store.do(lambda conn: used(conn, ["w1", "w2"], first, last))
    highest: dict[date, int] = {}
    for day, count in counts:
        highest[date(2026, 3, day)] = max(count, highest.get(date(2026, 3, day), 0))
    assert found == ({"w1": highest} if counts else {})


def test_the_ledger_gives_only_the_days_asked(store):
    counts = {date(2026, 2, 28): 1, date(2026, 3, 1): 2, date(2026, 3, 2): 3}
    store.do(lambda conn: keep_highest(conn, "w1", counts, NOW))
    found = store.do(lambda conn: used(conn, ["w1"], date(2026, 3, 1), date(2026, 3, 1)))
    assert found == {"w1": {date(2026, 3, 1): 2}}


def test_a_budget_step_acts_once_a_period(store):
    mark = lambda period: store.do(  # noqa: E731
        lambda conn: mark_budget_step(conn, "credits", period, "80%", NOW)
    )
    assert mark("2026-03")
    assert not mark("2026-03")
    assert mark("2026-04")
    done = store.do(lambda conn: budget_steps_done(conn, "credits", "2026-03"))
    assert done == {"80%": NOW}


def test_the_bot_knows_which_websites_it_stopped_itself(store):
    held = Ownership("w1", "recording", "budget:credits", NOW, "100 % used", "Stopped")
    store.do(lambda conn: own(conn, held))
    rate = Ownership("w1", "recording_rate", "budget:credits", NOW, "95 % used", "25", 100)
    store.do(lambda conn: own(conn, rate))
    assert store.do(owned) == {("w1", "recording"): held, ("w1", "recording_rate"): rate}
    later, why = NOW + HOUR, "a person started it"
    assert store.do(lambda conn: disown(conn, "w1", "recording", later, why))
    assert not store.do(lambda conn: disown(conn, "w1", "recording", later, "again"))
    assert store.do(lambda conn: disown(conn, "w1", "recording_rate", later, why))
    assert store.do(owned) == {}
    told = [(entry.kind, entry.rule, entry.text) for entry in store.do(history)]
    assert told == [
        ("website.released", "budget:credits", "recording_rate: a person started it"),
        ("website.released", "budget:credits", "recording: a person started it"),
        ("website.held", "budget:credits", "recording_rate set to 25: 95 % used"),
        ("website.held", "budget:credits", "recording set to Stopped: 100 % used"),
    ]


def test_history_is_filtered_by_all_that_is_asked(store):
    notes = [
        Note(kind="step.done", rule="rage", website="w1", subject="r1", step="k", details={"n": 1}),
        Note(kind="step.dead", rule="rage", website="w2", subject="r2"),
        Note(kind="steps", rule="slow", website="w1", subject="r1"),
    ]
    for minute, note in enumerate(notes):
        at = NOW + minute * MINUTE
        store.do(lambda conn, at=at, note=note: record(conn, at, [note]))

    def found(**asked):
        return [entry.kind for entry in store.do(lambda conn: history(conn, **asked))]

    assert found() == ["steps", "step.dead", "step.done"]
    assert found(rule="rage") == ["step.dead", "step.done"]
    assert found(rule="rage", website="w1") == ["step.done"]
    assert found(subject="r1") == ["steps", "step.done"]
    assert found(kind="step") == ["step.dead", "step.done"]
    assert found(kind="step.dead") == ["step.dead"]
    assert found(since=NOW + MINUTE) == ["steps", "step.dead"]
    assert found(until=NOW + MINUTE) == ["step.done"]
    assert found(limit=1) == ["steps"]
    newest = store.do(lambda conn: history(conn, limit=1))[0]
    assert found(before=newest.id) == ["step.dead", "step.done"]
    assert store.do(lambda conn: history(conn, kind="step.done"))[0].details == {"n": 1}


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_no_filter_of_the_history_has_to_sort_or_read_every_line(store):
    """At a million lines, walking an index is what keeps it quick."""
    asked = [
        {"rule": "x"},
        {"subject": "x"},
        {"website": "x"},
        {"kind": "step.done"},
        {"kind": "step"},
        {"since": NOW},
        {},
    ]
    for filters in asked:
        plan = store.do(lambda conn, f=filters: _plan(conn, f))
        assert "TEMP B-TREE" not in plan, (filters, plan)
        assert "USING" in plan or not {"rule", "subject", "website"} & filters.keys(), plan


def _plan(conn, filters) -> str:
    seen: list[str] = []

    def explain(_conn, _cursor, statement, parameters, *_):
        rows = conn.connection.driver_connection.execute(
            f"EXPLAIN QUERY PLAN {statement}", parameters
        )
        seen.extend(row[3] for row in rows)

    event.listen(conn, "before_cursor_execute", explain)
    history(conn, **filters)
    event.remove(conn, "before_cursor_execute", explain)
    return "; ".join(seen)


def test_the_last_figures_of_all_subjects_in_a_time(store):
    for minutes, value in ((0, 1), (15, 2), (60, 3)):
        for subject in ("f1", "f2"):
            at, values = NOW + minutes * MINUTE, {"entered": value, "completed": 0}
            store.do(lambda conn, s=subject, a=at, v=values: add_figures(conn, "f", "w1", s, v, a))
    store.do(lambda conn: add_figures(conn, "f", "w2", "f1", {"entered": 9}, NOW))
    store.do(lambda conn: add_figures(conn, "other", "w1", "f1", {"entered": 9}, NOW))
    found = store.do(lambda conn: figures_between(conn, "f", "w1", NOW, NOW + 15 * MINUTE))
    names = ("entered", 2), ("completed", 0)
    figures = {it: value for it, (_, value) in found.items()}
    assert figures == {(subject, name): value for subject in ("f1", "f2") for name, value in names}


def test_what_was_recorded_is_two_rows_for_each_time_of_one_share(store):
    looks = [("Recording", 50)] * 4 + [("Recording", None), ("Stopped", None), ("Paused", 50)]
    for minutes, (status, rate) in enumerate([*looks, ("Stopped", None), ("Recording", None)]):
        at = NOW + minutes * MINUTE
        store.do(lambda conn, s=status, r=rate, a=at: note_share(conn, "w1", s, r, a))
    store.do(lambda conn: note_share(conn, "w1", "Stopped", None, NOW))  # an older answer
    store.do(lambda conn: note_share(conn, "w2", "Stopped", None, NOW))
    seen = store.do(lambda conn: recorded_share(conn, "w1")).looks
    assert [((at - NOW) // MINUTE, share) for at, share in seen] == [
        (0, 50), (4, 50), (5, 0), (7, 0), (8, 50),
    ]  # fmt: skip


def test_subjects_are_counted_once_since_a_time(store):
    group = Group("website", "w1")
    for subject, minutes in (("r1", 0), ("r2", 10), ("r2", 20), ("r3", 30)):
        at = NOW + minutes * MINUTE
        store.do(lambda conn, s=subject, a=at: tally_one(conn, "few", group, s, a))
    store.do(lambda conn: tally_one(conn, "few", Group("website", "w2"), "r9", NOW + HOUR))
    since = lambda minutes: store.do(  # noqa: E731
        lambda conn: tallied(conn, "few", group, NOW + minutes * MINUTE)
    )
    assert [since(0), since(10), since(11), since(31)] == [3, 2, 1, 0]
    store.do(lambda conn: tally_clear(conn, "few", group, NOW + 10 * MINUTE))
    assert since(0) == 1
