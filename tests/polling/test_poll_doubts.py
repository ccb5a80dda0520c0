"""What polls promise when clocks, details and counts can't be trusted."""

from datetime import timedelta
from sqlite3 import IntegrityError

import msgspec
import pytest
from poll_world import rules
from test_poll_recordings import ALL_OF_THEM

from bot.account import meaning
from bot.store.audit import history
from bot.store.rules import rule_states
from mouseflow.errors import TooLarge
from mouseflow.models import Recording, RecordingPage
from mouseflow.recordings import tag
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.scenarios import session


@pytest.mark.parametrize("ahead", [timedelta(hours=12), timedelta(days=3)], ids=str)
async def test_a_look_by_a_clock_that_was_ahead_deafens_nobody(account, ahead):
    shop = account(start=timedelta())
    await shop.poll()
    right = shop.now
    shop.now = right + ahead
    shop.sim.clock.advance(-ahead)
    await shop.poll()
    shop.sim.clock.advance(ahead)
    shop.now = right + timedelta(minutes=2)
    who = shop.sim.add("myshop.com", "checkout-friction", start=10)
    for _ in range(60):
        shop.wait(minutes=1)
        await shop.poll()
    assert shop.matched() == {("checkout-friction", who)}


@pytest.mark.parametrize("status", [400, 403, 418, 500])
async def test_one_recording_whose_detail_is_refused_stops_no_other(account, status):
    shop = account()
    refused = shop.sim.add("myshop.com", "checkout-friction", start=-400)
    shop.sim.fail("status", status=status, times=10_000, path=f"/recordings/{refused}")
    other = shop.sim.add("myshop.com", "checkout-friction", start=-300)
    await shop.poll()
    assert shop.matched() == {("checkout-friction", other)}


LEFT = """
left:
  watch: recordings
  when: {exit_page: /cart}
  do: {star: true}
"""


async def visit(shop) -> str:
    """A session that has just ended, and a poll that decides it if its detail can be read."""
    who = shop.sim.add("myshop.com", session([("/", 20), ("/cart", 20)]), start=1)
    shop.wait(minutes=40)
    await shop.poll()
    return who


def given_up(shop) -> list[str]:
    return [it.subject for it in shop.store.do(lambda conn: history(conn, kind="poll.undetailed"))]


async def test_one_detail_is_not_given_up_while_all_are_away(account):
    shop = account(LEFT, expand=False)
    await shop.poll()
    early = await visit(shop)
    shop.sim.fail("status", status=503, times=10_000, path="/recordings/")
    waits = await visit(shop)
    for _ in range(4):
        shop.wait(minutes=2)
        await shop.poll()
    shop.sim.faults.clear()
    shop.sim.fail("status", status=503, times=10_000, path=f"/recordings/{waits}")
    later = await visit(shop)
    assert shop.matched() == {("left", early), ("left", later)}
    shop.sim.faults.clear()
    shop.sim.fail("status", status=503, times=10_000, path="/recordings/")
    for _ in range(60):
        shop.wait(minutes=2)
        await shop.poll()
    shop.sim.faults.clear()
    for _ in range(6):
        shop.wait(minutes=2)
        await shop.poll()
    assert given_up(shop) == []
    assert ("left", waits) in shop.matched()


async def test_one_detail_is_given_up_after_an_hour_in_which_it_alone_failed(account):
    shop = account(LEFT, expand=False)
    await shop.poll()
    early = await visit(shop)
    broken = shop.sim.add("myshop.com", session([("/", 20), ("/cart", 20)]), start=1)
    shop.sim.fail("status", status=503, times=10_000, path=f"/recordings/{broken}")
    for _ in range(45):
        shop.wait(minutes=2)
        await shop.poll()
    assert given_up(shop) == []
    before = sum(path.endswith(early) for path in shop.calls)
    for _ in range(40):
        shop.wait(minutes=2)
        await shop.poll()
    assert given_up(shop) == [broken]
    assert sum(path.endswith(early) for path in shop.calls) == before + 2  # others can be read
    assert shop.matched() == {("left", early)}


async def test_a_detail_that_fails_a_moment_before_all_can_be_read_is_tried_again(account):
    shop = account(LEFT, expand=False)
    await shop.poll()
    early = await visit(shop)
    shop.sim.fail("status", status=503, times=10_000, path="/recordings/")
    waits = await visit(shop)
    for _ in range(34):
        shop.wait(minutes=2)
        await shop.poll()
    shop.sim.faults.clear()
    shop.sim.fail("status", status=503, times=1, path=f"/recordings/{waits}")
    for _ in range(12):
        shop.wait(minutes=2)
        await shop.poll()
    assert given_up(shop) == []
    assert {("left", early), ("left", waits)} == shop.matched()


async def test_a_safety_counts_the_matches_of_its_own_rule_alone(account):
    shop = account("""
often:
  watch: recordings
  when: {friction: {min: 2.5}}
  do: {tag: often}
careful:
  watch: recordings
  when: {friction: {min: 2.5}, device: tablet}
  do: {tag: careful}
  safety: {at_most: 2 per hour}
""")
    for start in range(-400, -200, 20):
        shop.sim.add("myshop.com", "checkout-friction", start=start)
    await shop.poll()
    states = shop.store.do(rule_states)
    assert not any(state.paused_at for state in states.values())


async def test_what_is_not_known_makes_no_exception_come_true(account):
    shop = account("""
calm:
  watch: recordings
  when: {friction: {min: 2.5}}
  except: {saw_page: /checkout*}
  do: {tag: calm}
""")
    shop.sim.add("myshop.com", "checkout-friction", start=-3000)
    shop.sim.fail("status", status=500, times=10_000, path="/recordings/")
    for _ in range(70):
        await shop.poll()
        shop.wait(minutes=1)
    assert shop.matched() == set()
    assert shop.live.without_detail  # perhaps no detail can be read
    shop.wait(days=1)
    await shop.poll()
    assert shop.matched() == set()
    assert not shop.live.without_detail


async def test_a_filter_that_is_heeded_again_lets_the_held_rules_go_on(account):
    shop = account()
    shop.sim.add("myshop.com", "purchase", start=-3000)
    shop.sim.behave(ignored_filters=frozenset({"frictionmin"}))
    await shop.poll()
    shop.sim.behave(ignored_filters=frozenset())
    who = shop.sim.add("myshop.com", "checkout-friction", start=1)
    for _ in range(45):
        shop.wait(minutes=1)
        await shop.poll()
    assert shop.matched() == {("checkout-friction", who)}


async def test_a_recording_that_stays_listed_though_its_detail_is_gone_is_judged_by_its_row(
    account,
):
    shop = account(ALL_OF_THEM + """
shaky:
  watch: recordings
  when: {any: [{friction: {min: 2.5}}, {saw_page: /nowhere}]}
  do: {tag: shaky}
""")  # fmt: skip
    who = shop.sim.add("myshop.com", "checkout-friction", start=-3000)
    shop.sim.fail("status", status=404, times=10_000, path=f"/recordings/{who}")
    for _ in range(30):
        await shop.poll()
        shop.wait(minutes=1)
    assert shop.matched() == {("shaky", who)}
    asked = sum(path.endswith(f"/recordings/{who}") for path in shop.calls)
    assert asked <= 12


async def test_what_a_first_look_cannot_read_is_said_once(account):
    # All alike: no filter parts them, and the server gives forty at once.
    shop = account(
        ALL_OF_THEM,
        start=timedelta(minutes=90),
        quirks=Quirks(row_cap=40, offset="ignored"),
    )
    for start in range(-5160, -360, 30):
        shop.sim.add("myshop.com", "search-bounce", start=start)
    looks = [await shop.poll() for _ in range(3)]
    assert [each.unread for each in looks] == [120, 0, 0]
    notes = shop.store.do(lambda conn: history(conn, kind="poll.truncated"))
    assert [note.text for note in notes] == ["120 recordings are counted but could not be read"]


class OneClockAhead:
    """The last page of one recording ends tomorrow, by its visitor's clock."""

    def __init__(self, real, recording: str) -> None:
        self.real, self.recording = real, recording

    async def send(self, request):
        answer = await self.real.send(request)
        if isinstance(answer, RecordingPage):
            rows = tuple(map(self._told, answer.recordings))
            return msgspec.structs.replace(answer, recordings=rows)
        return self._told(answer) if isinstance(answer, Recording) else answer

    def _told(self, recording: Recording) -> Recording:
        if recording.id != self.recording or not recording.page_views:
            return recording
        *views, last = recording.page_views
        late = msgspec.structs.replace(last, end_time=last.end_time + timedelta(days=1))
        return msgspec.structs.replace(recording, page_views=(*views, late))


async def test_a_visitor_whose_clock_is_a_day_ahead_is_judged_today(account):
    shop = account("""
short:
  watch: recordings
  when: {saw_page: /checkout*, duration: {under: 1h}}
  do: {tag: short}
""")
    await shop.poll()
    for start in range(-300, -180, 10):  # they show that lists tell what details tell
        shop.sim.add("myshop.com", "purchase", start=start)
    await shop.poll()
    there = [shop.sim.add("myshop.com", "checkout-friction", start=1 + n) for n in range(8)]
    shop.sender = OneClockAhead(shop.sender, there[0])
    for _ in range(50):
        shop.wait(minutes=1)
        await shop.poll()
    assert {("short", who) for who in there} <= shop.matched()


async def test_what_could_not_be_written_down_is_noted_at_the_next_poll(account):
    shop = account()
    await shop.poll()
    for _ in range(2):
        shop.sim.add("myshop.com", "checkout-friction", start=-120)
        shop.wait(minutes=25)
        await shop.poll()
    shop.wait(minutes=15)  # an hour's costs are due
    shop.sim.behave(malformed_rows=1)
    full = "BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
    shop.store.do(lambda conn: conn.exec_driver_sql(f"CREATE TRIGGER full {full}"))
    with pytest.raises(IntegrityError):
        await shop.poll()
    shop.store.do(lambda conn: conn.exec_driver_sql("DROP TRIGGER full"))
    await shop.poll()
    await shop.poll()
    kinds = [note.kind for note in shop.store.do(history)]
    assert (kinds.count("poll.unreadable"), kinds.count("poll.cost")) == (1, 1)


@pytest.mark.parametrize("sort", ["created", "last_activity"])
async def test_a_late_row_beside_a_deletion_is_found_within_the_day(account, sort):
    text = "any:\n  watch: recordings\n  when: {pages: {min: 1}}\n  do: {tag: any}\n"
    shop = account(text, quirks=Quirks(sort=sort), start=timedelta())
    await shop.poll()
    planted = [shop.sim.add("myshop.com", "phone-bounce", start=n * 30) for n in range(400)]
    for _ in range(60):
        shop.wait(minutes=5)
        await shop.poll()
    late = shop.sim.add("myshop.com", "phone-bounce", start=-4 * 3600)
    shop.sim.delete(planted[7])
    for _ in range(24):
        shop.wait(hours=1)
        await shop.poll()
    assert ("any", late) in shop.matched()


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("sort", ["created", "last_activity"])
async def test_a_late_row_beside_a_deletion_by_the_bot_is_found_at_once(account, sort, restart):
    text = """
any:
  watch: recordings
  when: {pages: {min: 1}}
  do: {slack: {}}
waste:
  watch: recordings
  when: {tags: waste}
  do: {delete: true}
"""
    shop = account(text, quirks=Quirks(sort=sort), start=timedelta())
    await shop.poll()
    planted = [shop.sim.add("myshop.com", "phone-bounce", start=n * 30) for n in range(400)]
    for poll in range(60):
        shop.wait(minutes=5)
        if poll == 1:
            await shop.sender.send(tag(shop.site.id, planted[7], "waste"))
        await shop.poll()
    assert shop.delete_due() == planted[7]
    late = shop.sim.add("myshop.com", "phone-bounce", start=-4 * 3600)
    if restart:
        shop.restart()
    shop.wait(minutes=1)
    await shop.poll()
    assert ("any", late) in shop.matched()
    calls = len(shop.calls)
    shop.wait(minutes=1)
    await shop.poll()
    assert len(shop.calls) == calls + 1


async def test_a_recording_with_an_odd_value_is_judged_and_the_value_is_named_once(account):
    shop = account()
    odd = shop.sim.add("myshop.com", "checkout-friction", start=-300)
    shop.sim.behave(odd_values=10_000)
    await shop.poll()
    await shop.poll()
    assert shop.matched() == {("checkout-friction", odd)}
    named = [note for note in shop.store.do(history) if note.kind == "poll.bad_value"]
    assert [note.subject for note in named].count(odd) == 1
    assert "lat: expected a number, got text" in named[0].text


@pytest.mark.parametrize("most", [400, 30])
async def test_answers_that_are_too_large_are_asked_for_in_smaller_parts(account, most):
    text = "any:\n  watch: recordings\n  when: {pages: {min: 1}}\n  do: {tag: any}\n"
    shop = account(text)
    planted = {shop.sim.add("myshop.com", "phone-bounce", start=-3000 + n) for n in range(450)}
    real = shop.sender.send

    async def small(request):
        if int(dict(request.query).get("limit", 0)) > most:
            raise meaning(error := TooLarge("the answer has more than 32 MB")) from error
        return await real(request)

    shop.sender.send = small
    for _ in range(4):
        await shop.poll()
        shop.wait(minutes=12)
    assert {key for _rule, key in shop.matched()} == planted


BRIEF = """
brief:
  watch: recordings
  when: {duration: {under: 1m}}
  do: {tag: brief}
"""


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_session_that_waits_for_its_detail_concerns_no_rule_that_came_after_its_end(
    account, restarted
):
    shop = account(LEFT)
    await shop.poll()
    shop.sim.fail("status", status=500, times=10_000, path="/recordings/")
    who = await visit(shop)
    shop.rules = (*shop.rules, *rules(BRIEF).rules)
    for _ in range(3):
        if restarted:
            shop.restart()
        shop.wait(minutes=1)
        await shop.poll()
    later = await visit(shop)
    shop.sim.faults.clear()
    for _ in range(15):
        shop.wait(minutes=1)
        await shop.poll()
    assert shop.matched() == {("left", who), ("left", later), ("brief", later)}
