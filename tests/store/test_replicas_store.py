"""Bots that share one database: whose work is whose, and who may no longer write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from postgres_proxy import Proxy
from postgres_server import connected, end_sessions
from store_samples import NOW, match, poll, step

from bot.cli.healthcheck import health
from bot.errors import StoreHeld, StoreLost, StoreTaken
from bot.store import location_of, open_store, postgres, replicas
from bot.store.audit import Note, history, record
from bot.store.lanes import next_due
from bot.store.matches import commit_poll
from bot.store.sharing import Alone, fair_part, share

SITES = [f"w{number}" for number in range(7)]


def note(conn) -> None:
    record(conn, NOW, [Note(kind="test", text="something")])


def turn(store, websites=SITES, busy=()) -> frozenset[str]:
    """A turn as the daemon takes it; the websites that are new."""
    found = store.do(lambda conn: store.sharing.turn(conn, websites, busy, "digest"))
    return store.sharing.use(found)


def steady(store, websites=SITES) -> None:
    """A turn of a bot that could write all the time, so that it may judge the others."""
    turn(store, websites)
    store.sharing._steady_since = dict.fromkeys(store.sharing._steady_since, -9.0)


def polled(store) -> set[str]:
    return {site for site in SITES if store.sharing.polls(site)}


def silence(url: str, store, seconds: int = 60) -> None:
    """As if that bot had been silent for so long."""
    with connected(url) as admin:
        admin.execute(
            "UPDATE mouseflow_bot_replicas SET seen = now() - make_interval(secs => %s)"
            " WHERE session LIKE '%%' || %s",
            (seconds, store.sharing.mark),
        )


@pytest.fixture
def bots(postgres_url):
    with (
        open_store(postgres_url, shared=True) as one,
        open_store(postgres_url, shared=True) as two,
        open_store(postgres_url, shared=True) as three,
    ):
        yield one, two, three


# The shares.


@given(
    names=st.sets(st.integers(0, 40).map(str), max_size=30),
    bots=st.integers(1, 6),
    rounds=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40).map(str)), max_size=20),
)
def test_every_name_gets_one_bot_and_no_bot_much_more_than_another(names, bots, rounds):
    held: list[set[str]] = [set() for _ in range(bots)]
    for place, name in rounds:  # any beginning in which nothing is held twice
        if not any(name in each for each in held):
            held[place % bots].add(name)
    for _ in range(3):
        for place in range(bots):
            others = set().union(*(held[:place] + held[place + 1 :]), set())
            part = share(names, held[place], others, place, bots)
            assert not part.take & others
            assert part.keep <= held[place]
            held[place] = set(part.keep | part.take)
    assert sorted(name for each in held for name in each) == sorted(names)
    assert [len(each) for each in held] == [fair_part(len(names), at, bots) for at in range(bots)]
    before = [set(each) for each in held]
    for place in range(bots):
        others = set().union(*(held[:place] + held[place + 1 :]), set())
        part = share(names, held[place], others, place, bots)
        held[place] = set(part.keep | part.take)
    assert held == before


@given(
    known=st.lists(st.sets(st.integers(0, 12).map(str)), min_size=1, max_size=5),
    silent=st.integers(0, 12).map(str),
)
def test_every_name_that_some_bot_knows_has_one_bot_though_their_lists_differ(known, silent):
    held: list[set[str]] = [set() for _ in known]
    held[0] |= {silent} & known[0]
    for turn in range(3):
        for place, names in enumerate(known):
            others = set().union(*(held[:place] + held[place + 1 :]), set())
            spare = names - others if turn else ()
            part = share(names, held[place], others, place, len(known), spare)
            assert not part.take & others
            held[place] = set(part.keep | part.take)
    assert sorted(name for each in held for name in each) == sorted(set().union(*known))
    assert all(part <= names for part, names in zip(held, known, strict=True))


def test_a_website_that_one_bot_alone_knows_is_polled_and_offered_again_later(bots, monkeypatch):
    one, two, three = bots
    three.close()
    for _ in range(8):
        turn(one, SITES[:2])
        turn(two, SITES)
    for _ in range(6):  # and it stays there
        turn(one, SITES[:2])
        turn(two, SITES)
        assert polled(one) | polled(two) == set(SITES)
        assert len(polled(one)) == 1
    monkeypatch.setattr(replicas, "OFFER", -1.0)
    for _ in range(6):
        turn(one)
        turn(two)
    assert [len(polled(one)), len(polled(two))] == [4, 3]


def test_websites_are_divided_and_one_that_leaves_frees_its_own(bots, postgres_url):
    one, two, three = bots
    assert turn(one) == set(SITES)
    assert (one.sharing.leads, one.sharing.bots) == (True, 1)
    for _ in range(4):
        for bot in bots:
            turn(bot)
    parts = [polled(bot) for bot in bots]
    assert [len(part) for part in parts] == [3, 2, 2]
    assert set().union(*parts) == set(SITES)
    assert [bot.sharing.leads for bot in bots] == [True, False, False]
    one.close()
    for _ in range(2):
        turn(two)
        turn(three)
    assert two.sharing.leads
    assert [len(polled(two)), len(polled(three))] == [4, 3]
    assert parts[1] <= polled(two)
    assert [each.leads for each in location_of(postgres_url).replicas()] == [True, False]


def test_a_bot_that_knows_no_website_yet_gets_none_and_takes_none_away(bots):
    one, two, _ = bots
    turn(one)
    turn(two, None)
    turn(one)
    assert polled(one) == set(SITES)
    assert not polled(two)


def test_a_bot_that_still_reads_its_rules_leaves_the_lanes_to_the_others(bots):
    one, two, _ = bots
    turn(two)
    assert (two.sharing.leads, two.sharing.bots) == (False, 1)
    due_on(two, "slack:a", "slack:b")
    assert len(lanes(two)) == 2
    turn(one)
    turn(two)
    assert (one.sharing.leads, two.sharing.bots) == (True, 2)


def test_a_website_stays_with_its_bot_until_its_poll_has_ended(bots):
    one, two, _ = bots
    turn(one)
    turn(two)
    turn(one, busy=SITES)
    kept = polled(one)
    assert len(kept) == 4
    turn(one, busy=SITES)
    assert not turn(two)
    turn(one)
    assert turn(two) == set(SITES) - kept


# The fence.


def test_a_silent_bot_loses_everything_and_writes_nothing_more(bots, postgres_url):
    one, two, three = bots
    for _ in range(3):
        turn(one)
        steady(two)
    silence(postgres_url, one)
    silence(postgres_url, three)
    found = two.do(lambda conn: two.sharing.turn(conn, SITES, (), ""))
    assert len(found.lost) == 2
    assert two.sharing.use(found)
    assert polled(two) == set(SITES)
    assert two.sharing.leads
    for _ in range(2):
        with pytest.raises(StoreTaken, match="have taken over its work"):
            one.do(note)
    assert two.do(history) == []
    with open_store(postgres_url, shared=True) as again:
        again.do(note)
        turn(again)
        assert not again.sharing.leads


def test_a_bot_that_could_not_write_itself_judges_nobody(bots, postgres_url):
    one, two, _ = bots
    turn(one)
    steady(two)
    silence(postgres_url, one)
    two.sharing._turned -= 20.0  # the database was away
    for _ in range(2):
        found = two.do(lambda conn: two.sharing.turn(conn, SITES, (), ""))
        assert not found.lost
        two.sharing.use(found)
    one.do(note)


def test_a_bot_that_always_waits_for_the_lock_gives_up_one_that_is_lost(bots, postgres_url):
    one, two, three = bots
    end_sessions(postgres_url)
    two.do(note)
    steady(two)
    silence(postgres_url, one)
    silence(postgres_url, three, seconds=12)  # it has no session, but may only wait, too
    for lost in (1, 0):
        two.sharing._turned -= 6.0
        found = two.do(lambda conn: two.sharing.turn(conn, SITES, (), ""))
        assert len(found.lost) == lost
        two.sharing.use(found)


def test_a_bot_without_a_session_is_given_up_sooner(bots, postgres_url):
    one, two, three = bots
    steady(one)
    end_sessions(postgres_url)
    two.do(note)  # it has a session again, and three has not
    silence(postgres_url, two, seconds=10)
    silence(postgres_url, three, seconds=10)
    with connected(postgres_url) as admin:
        there = {it.id for it in location_of(postgres_url).replicas()}
        one.do(lambda conn: one.sharing.turn(conn, SITES, (), ""))
        (lost,) = there - {it.id for it in location_of(postgres_url).replicas()}
        assert lost == three.sharing.mark
        assert admin.execute("SELECT count(*) FROM mouseflow_bot_replicas").fetchone() == (2,)


async def test_a_bot_that_writes_is_not_silent(bots, postgres_url):
    one, two, _ = bots
    steady(two)
    silence(postgres_url, one, seconds=14)
    await one.run(lambda _conn: None)
    found = two.do(lambda conn: two.sharing.turn(conn, SITES, (), ""))
    assert not found.lost
    assert max(each.age for each in location_of(postgres_url).replicas()) < 10


async def test_what_was_confirmed_is_asked_again_before_others_may_take_over(bots, postgres_url):
    one, two, _ = bots
    steady(two)
    await one.confirm()
    one._confirmed -= 6.0  # seconds that pass; the others wait for 9 at least
    silence(postgres_url, one)
    turn(two)
    with pytest.raises(StoreTaken):
        await one.confirm()


def test_the_others_wait_longer_for_a_frozen_bot_than_the_server_does(bots):
    def shown(conn) -> list[int]:
        names = ("idle_in_transaction_session_timeout", "lock_timeout")
        texts = [conn.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names]
        return [int(each.removesuffix("s")) for each in texts]

    ends, wait = bots[0].do(shown)
    assert ends < wait < replicas.LOST


def test_a_broken_connection_alone_takes_nothing_away(bots, postgres_url):
    one, two, _ = bots
    turn(one)
    end_sessions(postgres_url)
    one.do(note)
    turn(one)
    turn(two)
    assert len(one.do(history)) == 1


@pytest.mark.parametrize("forwards", [False, True])
def test_a_lost_answer_to_a_commit_is_looked_up_among_ones_own(postgres_url, forwards):
    network = Proxy(postgres_url)
    try:
        with (
            open_store(network.url, shared=True) as one,
            open_store(postgres_url, shared=True) as other,
        ):
            one.do(note)
            network.forwards_lost, network.lose = forwards, b"COMMIT"
            for _ in range(5):
                other.do(note)
            if forwards:
                one.do(note)
            else:
                with pytest.raises(Exception, match="PostgreSQL does not answer"):
                    one.do(note)
            assert len(other.do(history)) == 6 + forwards
    finally:
        network.close()


# Beside those that don't share.


def test_one_that_wants_the_store_alone_waits_for_all_and_keeps_all_out(postgres_url):
    with open_store(postgres_url, shared=True), pytest.raises(StoreHeld):
        open_store(postgres_url)
    with open_store(postgres_url) as alone:
        assert isinstance(alone.sharing, Alone)
        with pytest.raises(StoreHeld):
            open_store(postgres_url, shared=True)


def test_who_had_the_store_alone_leaves_no_claim_to_those_before(postgres_url):
    with open_store(postgres_url, shared=True) as cut_off:
        end_sessions(postgres_url)
        open_store(postgres_url).close()
        with pytest.raises(StoreTaken):
            cut_off.do(note)


def test_a_newer_version_converts_the_store_once_the_older_bots_have_stopped(
    postgres_url, monkeypatch
):
    converted = []
    with open_store(postgres_url, shared=True):
        monkeypatch.setattr(postgres, "SCHEMA_VERSION", postgres.SCHEMA_VERSION + 1)
        monkeypatch.setattr(postgres, "run_revisions", lambda _conn, found: converted.append(found))
        with pytest.raises(StoreHeld, match="1 of an older mouseflow-bot"):
            open_store(postgres_url, shared=True)
        assert not converted
    try:
        with open_store(postgres_url, shared=True):
            assert converted == [postgres.SCHEMA_VERSION - 1]
    finally:
        with connected(postgres_url) as admin:
            admin.execute("UPDATE mouseflow_bot SET format = format - 1")


def test_a_bot_that_waits_for_older_ones_elsewhere_is_healthy(postgres_url, monkeypatch):
    with open_store(postgres_url, shared=True) as old:
        with connected(postgres_url) as admin:
            admin.execute("UPDATE mouseflow_bot_replicas SET host = 'elsewhere'")
        said = health(postgres_url, 60, NOW.timestamp(), own=True)
        assert said == ("no bot on this host shares the store (one on elsewhere does)", "")
        monkeypatch.setattr(postgres, "SCHEMA_VERSION", postgres.SCHEMA_VERSION + 1)
        with pytest.raises(StoreHeld):
            open_store(postgres_url, shared=True)
        assert health(postgres_url, 60, NOW.timestamp(), own=True) == (None, "elsewhere")
        with connected(postgres_url) as admin:  # as while it converts the store for long
            admin.execute("DELETE FROM mouseflow_bot_replicas")
            admin.execute("UPDATE mouseflow_bot SET beat = now() - interval '1 hour'")
        assert health(postgres_url, 60, NOW.timestamp(), own=True) == (None, "")
        with pytest.raises(StoreTaken):
            old.do(note)


def test_a_database_that_was_restored_is_no_longer_theirs(bots, postgres_url):
    one, _, _ = bots
    with connected(postgres_url) as admin:
        admin.execute(
            "CREATE TABLE copied (LIKE mouseflow_bot_replicas INCLUDING ALL);"
            "INSERT INTO copied OVERRIDING SYSTEM VALUE SELECT * FROM mouseflow_bot_replicas;"
            "ALTER TABLE mouseflow_bot_replicas RENAME TO before;"
            "ALTER TABLE copied RENAME TO mouseflow_bot_replicas"
        )
    try:
        with pytest.raises(StoreLost, match="restored or replaced") as lost:
            one.do(note)
        assert not isinstance(lost.value, StoreTaken)
    finally:
        with connected(postgres_url) as admin:
            admin.execute(
                "DROP TABLE mouseflow_bot_replicas;"
                "ALTER TABLE before RENAME TO mouseflow_bot_replicas"
            )


def test_a_file_has_one_bot_and_no_table_of_them(tmp_path):
    url = f"sqlite:///{tmp_path}/bot.db"
    with open_store(url, shared=True) as store:
        assert isinstance(store.sharing, Alone)
        assert store.sharing.polls("w1")
    assert location_of(url).replicas() == []


# Lanes.


def lanes(store, busy=()) -> list[str]:
    def look(conn):
        due = [lane for lane, at in next_due(conn).items() if at <= NOW]
        return store.sharing.lanes(conn, due, busy)

    found = store.do(look)
    store.sharing.use_lanes(found)
    return list(found.due)


def test_a_lane_has_one_bot_and_those_that_are_due_are_divided(bots):
    one, two, three = bots
    for bot in bots:
        turn(bot)
    one.do(lambda conn: commit_poll(conn, poll(match("a"))))
    first = lanes(one)
    assert first
    assert not any(set(first) & set(lanes(bot)) for bot in (two, three))
    assert all(one.sharing.delivers(lane) for lane in first)
    assert not any(two.sharing.delivers(lane) for lane in first)
    one.close()
    turn(two)
    assert set(first) & {*lanes(two), *lanes(three)}


def due_on(store, *names: str) -> None:
    """A match with an action on each of the lanes."""
    todo = [step(f"k-{name}", lane=name) for name in names]
    store.do(lambda conn: commit_poll(conn, poll(match("r1", todo))))


def test_a_bot_that_comes_gets_its_part_of_the_lanes_once_they_have_rested(
    postgres_url, monkeypatch
):
    with open_store(postgres_url, shared=True) as one:
        turn(one, None)
        due_on(one, "slack:a", "slack:b", "slack:c", "slack:d")
        every = lanes(one)
        assert len(every) == 4
        with open_store(postgres_url, shared=True) as two:
            turn(two, None)
            turn(one, None)
            kept = lanes(one, busy=every)
            assert len(kept) == 2
            leaving = set(every) - set(kept)
            assert not any(one.sharing.delivers(lane) for lane in leaving)
            assert lanes(two) == []  # they are in use
            lanes(one, busy=kept)
            assert lanes(two) == []  # they have not rested
            monkeypatch.setattr(replicas, "COOL", -1.0)
            assert lanes(one, busy=kept) == kept
            assert set(lanes(two)) == leaving
