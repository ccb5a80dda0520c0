"""What the evaluation promises: what was not fetched is neither true nor false."""

from contextlib import suppress
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from poll_world import START, Account
from test_filter_checks import Failing

from bot.cli.status import gather, show
from bot.domain.subjects import Band, RecordingSubject, Site
from bot.errors import GiveUp, TryLater
from bot.polling.context import PollContext
from bot.polling.record_matches import Routing
from bot.polling.server_facts import FrictionQuestion, PollFacts
from bot.rules.model import RuleSet
from bot.store.audit import history
from bot.store.outbox import claim
from bot.store.recordings import set_websites
from bot.watcher import Watcher
from bot.web.metrics import read_stored
from mouseflow.filters import SessionFilters
from mouseflow.models import Recording, RecordingPage
from mouseflow.recordings import star, tag, watch
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.scenarios import REGULAR, session
from mouseflow.simulator.sessions import Visitor

BY_ACTIVITY = Quirks(sort="last_activity")
TWO_PAGES = [("/", 20), ("/cart", 20)]
RAGE = [(30, "click-rage"), (31, "click-rage")]


async def pass_time(shop: Account, minutes: int, *, visitors: int = 0) -> None:
    """Poll every minute, with so many new sessions before each poll."""
    for _ in range(minutes):
        shop.wait(minutes=1)
        for n in range(visitors):
            # One that began earlier ends later: the list is plainly in order of activity.
            shop.sim.add("myshop.com", session([("/busy", 50 - 12 * n)]), start=-52 + 10 * n)
        await shop.poll()


CROSS = "cross:\n  watch: recordings\n  when: {friction: {min: 2.5}}\n  do: {tag: cross}\n"


@pytest.mark.parametrize(
    ("condition", "events"),
    [
        ("when: {pages: {min: 2}}\n  except: {region: Hesse}", []),
        (
            "when: {friction: {min: 0.5}}\n  except: {saw_page: {not: '*/returns'}}",
            [(30, "dead-click")],
        ),
        ("when: {pages: {min: 2}, not: {tags: {not: vip}}}", []),
        ("when: {pages: {min: 2}}\n  except: {tags: {exists: false}}", []),
        ("when: {pages: {min: 2}, not: {region: {exists: true}}}", []),
    ],
)
async def test_what_was_not_fetched_makes_no_negation_true(account, condition, events):
    shop = account(
        f"{CROSS}negated:\n  watch: recordings\n  {condition}\n  do: {{share: true}}\n",
        expand=False,
    )
    await shop.poll()
    for _ in range(3):
        who = Visitor(region="Hesse")
        shop.sim.add("myshop.com", session(TWO_PAGES, events, visitor=who), start=1)
    await pass_time(shop, 45)
    assert shop.matched() <= await shop.truth({key for _, key in shop.matched()})


async def test_a_fact_that_only_the_detail_makes_relevant_is_asked_before_the_decision(account):
    shop = account(
        """
calm:
  watch: recordings
  when: {watched: true}
  except: {friction: {min: 5}}
  do: {share: true}
cross:
  watch: recordings
  when: {watched: true, friction: {min: 5}}
  do: {tag: cross}
regular:
  watch: recordings
  when: {watched: true, visitor_type: returning}
  do: {tag: regular}
bystander:
  watch: recordings
  when: {exit_page: /cart}
  do: {tag: bystander}
""",
        quirks=BY_ACTIVITY,
    )
    await shop.poll()
    angry = session(TWO_PAGES, RAGE, visitor=Visitor(returning=True))
    who = shop.sim.add("myshop.com", angry, start=1)
    await pass_time(shop, 25, visitors=4)
    await shop.sender.send(watch(shop.site.id, who))
    await pass_time(shop, 20, visitors=4)
    assert shop.matched() == {("cross", who), ("regular", who), ("bystander", who)}


@pytest.mark.parametrize("visitors", [0, 2, 4])
@pytest.mark.parametrize("offset", ["honoured", "ignored"])
async def test_a_session_is_decided_at_its_end_by_its_row_of_then(account, visitors, offset):
    shop = account(
        """
starred:
  watch: recordings
  when: {starred: true, entry_page: /}
  do: {tag: starred}
plain:
  watch: recordings
  when: {starred: false, entry_page: /}
  do: {tag: plain}
""",
        quirks=Quirks(sort="last_activity", offset=offset),
    )
    await shop.poll()
    who = shop.sim.add("myshop.com", session(TWO_PAGES), start=1)
    await pass_time(shop, 26, visitors=visitors)
    await shop.sender.send(star(shop.site.id, who))
    await pass_time(shop, 20, visitors=visitors)
    assert shop.matched() == {("starred", who)}


PAID = """
saw:
  watch: recordings
  when: {saw_page: /paid}
  do: {tag: saw}
left:
  watch: recordings
  when: {exit_page: /paid}
  do: {tag: left}
short:
  watch: recordings
  when: {pages: {max: 2}}
  do: {tag: short}
"""


@pytest.mark.parametrize("status", [503, 403, 404])
@pytest.mark.parametrize(
    ("begin", "minutes", "sessions"), [(30, 18, 12), (0, 50, 12), (0, 240, 12), (0, 240, 2)]
)
async def test_while_all_details_fail_the_sessions_wait_for_them(
    account, status, begin, minutes, sessions
):
    shop = account(PAID, expand=False)
    await shop.poll()
    paying = session([("/", 20), ("/paid", 20)])
    there = [shop.sim.add("myshop.com", paying, start=1 + n) for n in range(sessions)]
    await pass_time(shop, begin)
    if begin:
        shop.restart()  # else the page views that were read before would do
    shop.sim.fail("status", status=status, times=10**6, path="/recordings/")
    for _ in range(minutes):
        shop.wait(minutes=1)
        polled = await shop.poll()
    assert polled.outage is not None
    assert shop.live.without_detail
    known = {("short", who) for who in there}
    assert shop.matched("short") == known  # it needs no detail
    shop.sim.faults.clear()
    await pass_time(shop, 45)
    assert shop.matched() == known | {(rule, who) for rule in ("saw", "left") for who in there}
    assert not shop.live.without_detail


async def test_when_one_detail_can_be_read_again_all_that_wait_are_tried_at_once(account):
    shop = account(PAID, expand=False)
    await shop.poll()
    paying = session([("/", 20), ("/paid", 20)])
    there = [shop.sim.add("myshop.com", paying, start=1 + 420 * n) for n in range(4)]
    shop.sim.fail("status", status=503, times=10**6, path="/recordings/")
    await pass_time(shop, 100)
    shop.sim.faults.clear()
    await pass_time(shop, 11)
    assert shop.matched("left") == {("left", who) for who in there}
    assert shop.matched("saw") == {("saw", who) for who in there}


async def test_one_detail_that_always_fails_costs_its_own_recording_alone(account):
    shop = account(PAID, expand=False)
    await shop.poll()
    paying = session([("/", 20), ("/paid", 20)])
    there = [shop.sim.add("myshop.com", paying, start=1 + n) for n in range(6)]
    shop.sim.fail("status", status=500, times=10**6, path=f"/recordings/{there[0]}")
    await pass_time(shop, 120)
    assert shop.matched("left") == {("left", who) for who in there[1:]}
    assert not shop.live.without_detail


async def test_how_many_wait_for_their_detail_is_known_to_other_processes(account, capsys):
    shop = account(PAID, expand=False)
    shop.store.do(lambda conn: set_websites(conn, {shop.site.id: "myshop.com"}, {}, shop.now))
    await shop.poll()
    paying = session([("/", 20), ("/paid", 20)])
    for n in range(4):
        shop.sim.add("myshop.com", paying, start=1 + n)
    shop.sim.fail("status", status=503, times=10**6, path="/recordings/")
    await pass_time(shop, 240)

    def shown():
        status = shop.store.do(lambda conn: gather(conn, shop.now, "alive"))
        show(status)
        metrics = shop.store.do(lambda conn: read_stored(conn, shop.now)).without_detail
        (mark,) = status.watermarks
        return mark.without_detail, metrics, capsys.readouterr().out

    waits = "  4 recordings wait for their detail, up to a day: "
    for restart in (lambda: None, shop.restart):
        restart()
        await pass_time(shop, 11)
        count, metrics, text = shown()
        assert (count, metrics) == (4, {"myshop.com": 4})
        assert waits + "myshop.com 4\n" in text
    shop.sim.faults.clear()
    await pass_time(shop, 11)
    count, metrics, text = shown()
    assert (count, metrics) == (0, {"myshop.com": 0})
    assert "detail" not in text


class Withholding:
    """Returns one row of each list and counts five, whatever is asked."""

    async def send(self, request):
        row = Recording(id="shown", created=START, last_activity=START)
        return RecordingPage(recordings=(row,), chart={}, count=5)


async def test_what_the_server_counts_and_does_not_return_stays_unknown():
    facts = PollFacts(
        Withholding(),
        "site-1",
        SessionFilters(fromdate=START.date(), todate=START.date() + timedelta(days=1)),
    )
    rows = [Recording(id=key, created=START, last_activity=START) for key in ("shown", "hidden")]
    site = Site(id="site-1", name="myshop.com")
    subjects = [RecordingSubject(website=site, recording=row) for row in rows]
    assert (await facts.visitor_types(subjects)).by_id == {"shown": "returning"}
    questions = [FrictionQuestion(row, Band(), frozenset({5.0})) for row in rows]
    assert (await facts.friction(questions)).by_id == {"shown": Band(5.0), "hidden": Band()}


async def test_an_outage_of_details_is_announced_and_its_end_too(account):
    shop = account(PAID, expand=False, ops="#ops")
    context = PollContext(
        shop.sender,
        shop.store,
        ZoneInfo(shop.zone),
        shop.settle,
        shop.start,
        Routing("#mouseflow", shop.zone),
    )
    watcher = Watcher(
        context, RuleSet(shop.rules), ops="#ops", wake=lambda: None, clock=lambda: shop.now
    )
    await watcher.find_sites()
    for n in range(4):
        shop.sim.add("myshop.com", session([("/", 20), ("/paid", 20)]), start=1 + n)
    shop.sim.fail("status", status=503, times=10**6, path="/recordings/")
    for _ in range(10):
        shop.wait(minutes=1)
        assert not await watcher.poll_recordings(shop.site)
    shop.sim.faults.clear()
    shop.wait(minutes=1)
    assert await watcher.poll_recordings(shop.site)
    notices = [note.text for note in shop.store.do(lambda conn: history(conn, kind="notice"))]
    assert len(notices) == 2
    assert "Some polls have been failing since" in notices[1]
    assert notices[0].startswith("✅ All polls work again after ")


SLOW = """
slow:
  watch: recordings
  when: {pages: {min: 2}}
  do: {tag: slow-cart}
any-tag:
  watch: recordings
  when: {tags: {exists: true}}
  do: {tag: x}
globbed:
  watch: recordings
  when: {tags: "slow*"}
  do: {tag: y}
"""
UNRELATED = """
unrelated:
  watch: recordings
  when: {country: dk}
  except: {tags: slow-cart}
  do: {star: true}
tagged:
  watch: recordings
  when: {tags: slow-cart}
  do: {star: true}
"""


@pytest.mark.parametrize("text", [SLOW, SLOW + UNRELATED], ids=["alone", "named"])
async def test_the_bots_own_tag_counts_for_the_rules_that_name_it_and_no_others(account, text):
    shop = account(text, start=timedelta())
    await shop.poll()
    visitor = Visitor(country="dk")
    tagged = shop.sim.add("myshop.com", session([("/", 20), ("/cart", 20)], visitor=visitor))
    other = shop.sim.add("myshop.com", session([("/", 20)], visitor=visitor), start=1)
    by_people = shop.sim.add("myshop.com", session([("/", 20)], [(5, "vip")]), start=1)
    shop.wait(minutes=1)
    await shop.poll()
    await shop.sender.send(tag(shop.site.id, tagged, "slow-cart"))
    for _ in range(40):
        shop.wait(minutes=1)
        await shop.poll()
    expected = {("slow", tagged), ("any-tag", by_people)}
    if text != SLOW:
        expected |= {("unrelated", other), ("tagged", tagged)}
    assert {each for each in shop.matched() if each != ("unrelated", by_people)} == expected


@pytest.mark.parametrize("hours", [3, 20])
async def test_sessions_that_wait_for_a_detail_still_wait_after_a_restart(account, hours):
    shop = account(PAID, expand=False)
    await shop.poll()
    paying = session([("/", 20), ("/paid", 20)])
    there = [shop.sim.add("myshop.com", paying, start=1 + 60 * n) for n in range(3)]
    shop.sim.fail("status", status=503, times=10**6, path="/recordings/")
    for _ in range(6 * hours):
        shop.wait(minutes=10)
        await shop.poll()
    for n in range(60):
        shop.sim.add("myshop.com", session([("/", 20)]), start=n)
    await pass_time(shop, 10)
    shop.restart()
    await pass_time(shop, 2)
    shop.sim.faults.clear()
    await pass_time(shop, 45)
    assert {("left", who) for who in there} <= shop.matched("left")
    assert {("saw", who) for who in there} <= shop.matched("saw")


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("number", [1, 4])
async def test_a_filter_says_nothing_of_a_deleted_recording_of_the_list(account, number, before):
    text = "calm: {watch: recordings, when: {friction: {under: 2.5}}, do: {tag: calm}}\n"
    shop = account(text, quirks=BY_ACTIVITY)
    await shop.poll()
    await pass_time(shop, 20, visitors=before)
    cross = session(TWO_PAGES, RAGE)
    planted = [shop.sim.add("myshop.com", cross, start=n) for n in range(number)]
    await pass_time(shop, 35)
    for each in planted:
        shop.sim.delete(each)
    shop.wait(minutes=1)
    assert (await shop.poll()).outage is None
    await pass_time(shop, 9)
    assert len(shop.matched("calm")) == 20 * before
    assert not {("calm", each) for each in planted} & shop.matched("calm")


SENT_AND_NEW = """
sent: {watch: recordings, when: {country: at}, do: {delete: true}}
new: {watch: recordings, when: {visitor_type: first, country: at}, do: {tag: new}}
"""


def deletes_before_its_filter(
    shop: Account, who: str, *, deleted: bool, rows: str = "50"
) -> list[str]:
    """The bot deletes it between a list of so many rows and the filtered one, if it may.

    What it returns is empty afterwards.
    """
    send, waiting = shop.sender.send, [who]

    async def delete_first(request):
        query = dict(request.query)
        if "visitortype" in query and query["limit"] == rows and waiting:
            lane = f"mouseflow:{shop.site.id}"
            claimed = shop.store.do(lambda conn: claim(conn, lane, shop.now, "token"))
            assert (claimed.action, claimed.subject_key) == ("delete", who)
            if deleted:
                shop.sim.delete(waiting[0])
            waiting.clear()
        return await send(request)

    shop.sender.send = delete_first
    return waiting


@pytest.mark.parametrize("minutes", [1, 8])
async def test_a_recording_that_is_deleted_deep_in_the_list_is_no_first_visit(account, minutes):
    shop = account("new: {watch: recordings, when: {visitor_type: first}, do: {tag: new}}\n",
                   quirks=BY_ACTIVITY)  # fmt: skip
    await shop.poll()
    first, who = (
        shop.sim.add("myshop.com", session([("/", 30)], visitor=each), start=0)
        for each in (Visitor(), REGULAR)
    )
    await pass_time(shop, 15, visitors=2)
    shop.sim.delete(first)
    await pass_time(shop, 1, visitors=2)  # the whole list is read, and soon not again
    shop.live = shop.live.forget_facts()
    await pass_time(shop, 20 - minutes, visitors=2)
    shop.sim.delete(who)
    await pass_time(shop, minutes + 10, visitors=2)
    assert len(shop.matched()) > 20
    assert ("new", who) not in shop.matched()


@pytest.mark.parametrize("deleted", [True, False])
async def test_a_recording_that_is_deleted_during_the_poll_is_no_first_visit(account, deleted):
    shop = account(SENT_AND_NEW, quirks=BY_ACTIVITY)
    await shop.poll()
    await pass_time(shop, 3, visitors=2)
    who = shop.sim.add("myshop.com", session([("/", 600)], visitor=REGULAR), start=0)
    await pass_time(shop, 2)
    assert ("sent", who) in shop.matched()
    shop.restart()  # so that its visitor is asked for again
    waiting = deletes_before_its_filter(shop, who, deleted=deleted)
    await pass_time(shop, 3)
    assert not waiting
    await pass_time(shop, 50)
    assert ("new", who) not in shop.matched()


@pytest.mark.parametrize("deleted", [True, False])
async def test_a_recording_that_is_deleted_in_a_catch_up_is_no_first_visit(account, deleted):
    shop = account(SENT_AND_NEW)
    shop.sim.add("myshop.com", session(TWO_PAGES, visitor=Visitor(returning=True)), start=-600)
    await shop.poll()
    shop.sender = failing = Failing(shop.sender, "visitortype", GiveUp("no"))
    who = shop.sim.add("myshop.com", session(TWO_PAGES, visitor=REGULAR), start=5)
    await pass_time(shop, 50)
    assert ("sent", who) in shop.matched()
    failing.error = None
    waiting = deletes_before_its_filter(shop, who, deleted=deleted, rows="10000")
    for _ in range(20):
        shop.wait(minutes=1)
        with suppress(TryLater):  # the day is read again
            await shop.poll()
    assert not waiting
    assert ("new", who) not in shop.matched()
