"""Polls do not count anew what they know of the window, and still miss nothing."""

from datetime import timedelta

import pytest
from poll_world import Account

from bot.store.recordings import SeenRecording, save_recordings
from mouseflow.simulator.scenarios import session
from mouseflow.simulator.sessions import Visitor

RULE = "any: {watch: recordings, when: {device: [phone, desktop]}, do: {star: true}}"


@pytest.fixture
def account(tmp_path):
    made = Account(tmp_path, RULE)
    yield made
    made.close()


def listen(account: Account) -> list[str]:
    """The statements that the store runs from now on."""
    statements: list[str] = []
    account.store.do(
        lambda conn: conn.connection.driver_connection.set_trace_callback(statements.append)
    )
    return statements


def counts(statements: list[str]) -> int:
    return sum("count(*)" in statement for statement in statements)


async def settled(account: Account, sessions: int) -> None:
    for ago in range(sessions):
        account.sim.add("myshop.com", "purchase", start=-3600 - 60 * ago)
    account.start = timedelta(hours=3)
    await account.poll()
    account.wait(minutes=1)
    await account.poll()


async def test_a_poll_with_nothing_new_does_not_count_what_is_known(account):
    await settled(account, 60)
    statements = listen(account)
    for _ in range(3):
        account.wait(minutes=1)
        await account.poll()
    assert counts(statements) == 0
    for _ in range(2):
        account.sim.add("myshop.com", "purchase", start=-1)
        account.wait(minutes=1)
        await account.poll()
    assert counts(statements) == 0


async def test_a_poll_with_nothing_new_writes_its_watermark_and_locks_nothing_to_read(
    account,
):
    await settled(account, 60)
    statements = listen(account)
    account.wait(minutes=1)
    await account.poll()
    assert [it for it in statements if it.startswith("BEGIN")] == [
        "BEGIN", "BEGIN", "BEGIN IMMEDIATE",
    ]  # fmt: skip
    written = [it.split()[2] for it in statements if it.startswith(("INSERT", "UPDATE", "DELETE"))]
    assert written == ["watermarks", "lineage"]  # the count of writes beside it


async def test_what_is_counted_later_is_missed_as_before(account):
    await settled(account, 60)
    hidden = [account.sim.add("myshop.com", "purchase", start=-7000 + n) for n in range(70)]
    account.wait(minutes=1)
    polled = await account.poll()
    assert polled.unread == 0
    assert {recording for _rule, recording in account.matched()} >= set(hidden)


async def test_what_somebody_else_writes_into_the_store_is_counted(account):
    await settled(account, 60)
    made = account.now - timedelta(hours=2)
    elsewhere = SeenRecording(id="elsewhere", fingerprint="", settled=True, created=made)
    account.store.do(lambda conn: save_recordings(conn, account.site.id, [elsewhere], account.now))
    account.sim.add("myshop.com", "purchase", start=-7000)
    statements = listen(account)
    account.wait(minutes=1)
    await account.poll()
    assert counts(statements) >= 1
    account.wait(minutes=1)
    assert (await account.poll()).unread == 0


async def test_each_new_window_is_counted_once(account):
    await settled(account, 60)
    statements = listen(account)
    account.wait(days=1)
    for _ in range(4):
        account.wait(minutes=1)
        await account.poll()
    # One reaches back to the last poll, one is a day shorter; the whole window is compared once.
    assert counts(statements) == 3


async def test_a_recording_that_vanishes_is_noticed(account):
    await settled(account, 60)
    account.sim.delete(next(iter(account.matched()))[1])
    statements = listen(account)
    for _ in range(3):
        account.wait(minutes=1)
        assert (await account.poll()).unread == 0
    assert 1 <= counts(statements) <= 4


async def test_no_query_of_a_poll_reads_every_recording_of_the_website(account):
    await settled(account, 60)
    statements = listen(account)
    account.sim.add("myshop.com", "purchase", start=-1)
    account.wait(minutes=1)
    await account.poll()
    account.wait(days=1)
    await account.poll()
    asked = {it for it in statements if it.startswith("SELECT") and "FROM recordings" in it}
    assert counts(list(asked)) == 1

    def plans(conn):
        explain = conn.connection.driver_connection.execute
        return [explain(f"EXPLAIN QUERY PLAN {it}").fetchone()[-1] for it in asked]

    for plan in account.store.do(plans):
        assert plan.startswith("SEARCH"), plan
        assert not plan.endswith("(website=?)") or "recordings_live" in plan
        assert "recordings_created" not in plan or "COVERING" in plan


NARROW = """
narrow:
  watch: recordings
  when: {device: phone, country: de, entry_page: /landing*}
  do: {star: true}
"""


async def test_a_narrow_rule_costs_one_call_a_poll_whatever_else_is_recorded(tmp_path):
    account = Account(tmp_path, NARROW, start=timedelta())
    await account.poll()
    for n in range(30):
        account.sim.add("myshop.com", "purchase", start=n)
    visitor = Visitor(device="Phone", country="de")
    one = account.sim.add("myshop.com", session([("/landing", 5)], visitor=visitor), start=40)
    before, polls = len(account.calls), 45
    for _ in range(polls):
        account.wait(minutes=1)
        await account.poll()
    assert account.matched() == {("narrow", one)}
    assert len(account.calls) - before == polls
    account.close()
