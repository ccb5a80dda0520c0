"""What a poll writes: watermark, recordings and matches in one transaction, each match once."""

import random
import sqlite3
import string
from datetime import timedelta

import pytest
from msgspec.structs import replace
from store_samples import HOUR, MINUTE, NOW, POST, SHARE, VISITOR, match, poll, seen, step
from structlog.testing import capture_logs

from bot.domain.alert_state import Level
from bot.domain.step import DELETED
from bot.domain.subjects import LONGEST_TEXT, RecordingSubject, Site, bounded, reread, written
from bot.errors import StoreError
from bot.store import matches
from bot.store.alert_states import KeptLevel, add_figures, save_level
from bot.store.audit import Note, history
from bot.store.dead_letters import queue_figures, steps_of
from bot.store.matches import commit_poll, matches_of
from bot.store.outbox import claim, complete, postpone
from bot.store.recordings import (
    all_watermarks,
    deleted_since,
    known_recordings,
    live_recordings,
    matched_rules,
    note_deletion,
    set_watermark,
    watermark,
    watermarks_below,
)
from bot.store.retention import forget
from bot.store.rules import Group, tally_one
from mouseflow.decode import LONGEST_ID
from mouseflow.models import Recording


def commit(store, outcome):
    return store.do(lambda conn: commit_poll(conn, outcome))


def test_a_poll_is_written_whole_or_not_at_all(store):
    bad = Note(kind="poll", details={"what": object()})
    with pytest.raises(TypeError):
        commit(store, poll(match("r1"), match("r2"), seen=[seen()], notes=[bad]))
    assert store.do(lambda conn: watermark(conn, "recordings", "w1")) is None
    assert store.do(lambda conn: known_recordings(conn, "w1", NOW)) == {}
    assert store.do(lambda conn: matches_of(conn)) == []
    assert store.do(history) == []


@pytest.mark.parametrize(
    "bad",
    [
        match("r2", [step("same"), step("same")]),
        replace(match("r2"), summary="half an \ud83d"),
        replace(match("r2"), rule="half an \ud83d"),
        replace(match("r2"), subject_key="\udfff"),
        replace(match("r2"), why=("\ud83d",)),
        replace(match("r2"), steps=5),
    ],
    ids=["same step", "summary", "rule", "subject", "why", "steps"],
)
def test_a_match_that_cannot_be_stored_does_not_undo_the_others(store, bad):
    outcome = poll(match("r1"), bad, match("r3"), seen=[seen()], notes=[Note(kind="poll")])
    with capture_logs() as logs:
        assert commit(store, outcome) == ("checkout/w1/r1", "checkout/w1/r3")
    assert [found.subject_key for found in store.do(matches_of)] == ["r3", "r1"]
    assert store.do(lambda conn: queue_figures(conn, NOW)).pending == 2
    assert store.do(lambda conn: watermark(conn, "recordings", "w1")) is not None
    (left_out,) = store.do(lambda conn: history(conn, kind="match.not_stored"))
    assert left_out.text.startswith("can't be stored: internal error: ")
    assert [line["event"] for line in logs] == ["match.not_stored"]


def test_trouble_of_the_store_undoes_the_poll(store, monkeypatch):
    def full(*_):
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorname = "SQLITE_FULL"
        raise error

    monkeypatch.setattr(matches, "add_match", full)
    with pytest.raises(StoreError, match="disk is full"):
        commit(store, poll(match("r1"), seen=[seen()]))
    assert store.do(lambda conn: known_recordings(conn, "w1", NOW)) == {}


def test_long_texts_are_cut(store):
    recording = Recording(id="r1", entry_page="/" + "x" * 10**6, tags=("t" * 10**6, "short"))
    subject = RecordingSubject(website=Site("w1", "shop.example"), recording=recording)
    commit(store, poll(replace(match("r1"), subject=written(subject))))
    record = store.do(lambda conn: claim(conn, "mouseflow:w1", NOW, "t"))
    kept = reread(record.subject).recording
    assert len(record.subject) < 10_000
    assert (kept.id, kept.tags[1], len(kept.entry_page)) == ("r1", "short", LONGEST_TEXT)


def test_a_match_is_made_once_ever(store):
    assert commit(store, poll(match("r1"))) == ("checkout/w1/r1",)
    changed = match("r1", [step("another")], at=NOW + HOUR)
    assert commit(store, poll(changed, match("r2"))) == ("checkout/w1/r2",)
    assert [found.subject_key for found in store.do(matches_of)] == ["r2", "r1"]
    assert store.do(lambda conn: steps_of(conn, "checkout/w1/r1"))[0].key.endswith("/tag-1")


def test_two_rules_can_match_one_recording(store):
    commit(store, poll(match("r1"), match("r1", rule="rage"), match("r2", rule="rage")))
    assert store.do(lambda conn: matched_rules(conn, "w1", ["r1", "r2", "r3"])) == {
        "r1": {"checkout", "rage"},
        "r2": {"rage"},
    }
    assert store.do(lambda conn: matched_rules(conn, "w2", ["r1"])) == {}


def test_matched_rules_takes_any_number_of_recordings(store):
    commit(store, poll(match("r1999")))
    ids = [f"r{n}" for n in range(2000)]
    assert list(store.do(lambda conn: matched_rules(conn, "w1", ids))) == ["r1999"]


def test_steps_queue_in_the_order_writes_share_posts(store):
    mixed = [step("post", POST), step("share", SHARE), step("one"), step("two")]
    commit(store, poll(match("r1", mixed)))
    fate = store.do(lambda conn: steps_of(conn, "checkout/w1/r1"))
    assert [each.key for each in fate] == ["one", "two", "share", "post"]


def test_watermarks_are_found_by_how_their_source_begins(store):
    for source, website in (("of/a/1", ""), ("of/b", ""), ("of", ""), ("Of/c", ""), ("of/d", "w")):
        store.do(lambda conn, key=(source, website): set_watermark(conn, *key, key[0], NOW))
    found = store.do(lambda conn: watermarks_below(conn, "of/"))
    assert found == {"a/1": "of/a/1", "b": "of/b"}


def test_a_poll_without_a_watermark_keeps_the_old_one(store):
    commit(store, poll())
    commit(store, poll(watermark=None))
    assert store.do(all_watermarks) == {("recordings", "w1"): ('{"to":1}', NOW)}


def test_recordings_are_kept_up_to_date(store):
    commit(store, poll(seen=[seen("r1"), seen("r2"), seen("r3")]))
    later = seen("r1", fingerprint="two", settled=True, last_activity=NOW + MINUTE)
    closed = seen("r2", closed=True)
    commit(store, poll(seen=[later, closed], vanished=["r3"]))
    assert store.do(lambda conn: known_recordings(conn, "w1", NOW)) == {"r1": later, "r2": closed}
    assert store.do(lambda conn: live_recordings(conn, "w1")) == {}


def test_live_recordings_are_those_that_must_be_looked_at_again(store):
    commit(store, poll(seen=[seen("live"), seen("done", settled=True), seen("shut", closed=True)]))
    assert list(store.do(lambda conn: live_recordings(conn, "w1"))) == ["live"]
    assert store.do(lambda conn: live_recordings(conn, "w2")) == {}


def test_a_recording_that_comes_back_is_known_again(store):
    commit(store, poll(seen=[seen("r1")]))
    commit(store, poll(vanished=["r1"]))
    commit(store, poll(seen=[seen("r1")]))
    assert list(store.do(lambda conn: live_recordings(conn, "w1"))) == ["r1"]


def test_a_poll_that_read_a_recording_before_the_bot_deleted_it_does_not_bring_it_back(store):
    commit(store, poll(seen=[seen("r1")]))
    store.do(lambda conn: note_deletion(conn, "w1", "r1", 1, NOW))
    commit(store, poll(seen=[replace(seen("r1"), fresh=False)]))
    assert store.do(lambda conn: known_recordings(conn, "w1", NOW)) == {}


def test_known_recordings_begin_where_asked(store):
    commit(
        store, poll(seen=[seen("old", created=NOW - HOUR), seen("new"), seen("odd", created=None)])
    )
    assert set(store.do(lambda conn: known_recordings(conn, "w1", NOW))) == {"new", "odd"}


def test_times_survive_to_the_millisecond(store):
    exact = NOW + timedelta(microseconds=123_456)
    commit(store, poll(seen=[seen("r1", last_activity=exact)]))
    kept = store.do(lambda conn: known_recordings(conn, "w1", NOW))["r1"].last_activity
    assert kept == NOW + timedelta(milliseconds=123)


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_match_without_steps_keeps_nothing_of_the_visitor(store, tmp_path):
    commit(store, poll(match("r1", [])))
    store.close()
    assert VISITOR.encode() not in (tmp_path / "bot.db").read_bytes()


def test_old_things_are_forgotten_and_what_is_open_stays(store):
    old = NOW - 100 * HOUR
    commit(
        store,
        poll(
            match("open", at=old),
            match("ended", [], at=old),
            match("new", []),
            at=old,
            seen=[seen("gone", created=old), seen("kept")],
            notes=[Note(kind="poll")],
        ),
    )
    while store.do(lambda conn: forget(conn, NOW)):
        pass
    assert {found.subject_key for found in store.do(matches_of)} == {"open", "new"}
    assert store.do(lambda conn: queue_figures(conn, NOW)).pending == 1
    assert list(store.do(lambda conn: known_recordings(conn, "w1", old))) == ["kept"]
    assert [entry.subject for entry in store.do(history)] == ["new"]
    assert store.do(lambda conn: watermark(conn, "recordings", "w1")) is not None


def test_what_the_bot_itself_deleted_is_known_by_when_it_was_made(store):
    """Each recording once; not what is older, waits, was gone already or was not deleted."""

    def steps(rule, key, kind="delete"):
        name = f"{rule}/w1/{key}/{kind}-1"
        return match(key, [step(name, lane=f"mouseflow:w1:{name}", kind=kind)], rule=rule)

    hours = dict.fromkeys(
        ["two", "gone", "waits", "tagged", "none", "late", "sending", "unknown"], -1
    )
    hours |= {"old": -25, "one": -2}
    rows = [seen(key, created=NOW + hour * HOUR) for key, hour in hours.items()]
    there = [steps("first", key) for key in hours if key not in ("tagged", "none")]
    commit(store, poll(*there, steps("second", "one"), steps("first", "tagged", "tag"), seen=rows))

    def work(conn):
        def claimed(rule, key, kind="delete"):
            return claim(conn, f"mouseflow:w1:{rule}/w1/{key}/{kind}-1", NOW, "token")

        for rule, key, kind, result, at in (
            ("first", "old", "delete", DELETED, NOW), ("first", "one", "delete", DELETED, NOW),
            ("second", "one", "delete", DELETED, NOW + HOUR),
            ("first", "two", "delete", DELETED, NOW), ("first", "gone", "delete", None, NOW),
            ("first", "tagged", "tag", None, NOW), ("first", "late", "delete", DELETED, NOW + HOUR),
        ):  # fmt: skip
            assert complete(conn, claimed(rule, key, kind), at, result=result)
        claimed("first", "sending")
        failed = {"until": NOW + HOUR, "reason": "timeout", "attempted": NOW}
        assert postpone(conn, claimed("first", "unknown"), NOW, **failed)
        return [deleted_since(conn, key, NOW - 24 * HOUR, NOW) for key in ("w1", "w2")]

    (found, perhaps), elsewhere = store.do(work)
    assert sorted(found) == [NOW - 2 * HOUR, NOW - HOUR]
    assert perhaps == len(["late", "sending", "unknown"])
    assert elsewhere == ([], 0)


def test_forgetting_goes_in_small_portions(store):
    notes = [Note(kind="poll")] * 1200
    commit(store, poll(at=NOW - HOUR, notes=notes))
    portions = []
    while portion := store.do(lambda conn: forget(conn, NOW)):
        portions.append(portion)
    assert portions == [500, 500, 200]


def test_the_longest_ids_are_stored(store):
    """PostgreSQL indexes 2.7 kB, compressed: so these are hard to compress."""
    chance = random.Random(1)

    def name(length):
        return "".join(chr(chance.randrange(0x10000, 0x1FFFF)) for _ in range(length))

    website, subject = name(LONGEST_ID), name(LONGEST_ID)
    rule = "r" + "".join(chance.choices(string.ascii_letters, k=63))
    key = f"{rule}/{website}/{subject}"
    made = replace(
        match("r1", [step(f"{key}/tag-1/unshare-1")], rule=rule),
        website=website, subject_key=subject, match_key=key,
    )  # fmt: skip
    about = Note(kind="poll.bad_value", website=website, subject=subject, rule=rule)
    outcome = replace(poll(made, seen=[seen(subject)], notes=[about]), website=website)
    assert commit(store, outcome) == (key,)
    state = KeptLevel(Level())
    store.do(lambda conn: save_level(conn, rule, website, bounded(name(500)), state, NOW))
    store.do(lambda conn: add_figures(conn, "pages", website, bounded(name(500)), {"x": 1.0}, NOW))
    store.do(lambda conn: tally_one(conn, rule, Group("a", "b"), subject, NOW))
