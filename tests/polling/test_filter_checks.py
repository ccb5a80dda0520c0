"""A filter that does not work holds only the rules that need it, and they catch up."""

from contextlib import suppress
from datetime import timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from msgspec.structs import replace
from poll_world import Account, rules

from bot.errors import BadCredentials, Forbidden, GiveUp, TryLater, Unreachable
from bot.polling.context import PollContext
from bot.polling.record_matches import Routing
from bot.replay import explain_one
from bot.rules.model import RuleSet
from bot.store.audit import history
from bot.watcher import Watcher
from mouseflow import recordings
from mouseflow.models import RecordingPage
from mouseflow.simulator.scenarios import session
from mouseflow.simulator.sessions import Visitor

THREE = """
simple:
  watch: recordings
  when: {pages: {min: 1}}
  do: {tag: a}
cross:
  watch: recordings
  when: {friction: {min: 2.5}}
  do: {tag: b}
back:
  watch: recordings
  when: {visitor_type: returning}
  do: {tag: c}
"""

TWO_PAGES = [("/", 30), ("/cart", 30)]
RAGE = [(10, "click-rage")]
BACK = Visitor(returning=True)


class Failing:
    """Answers with an error each query that has this filter."""

    def __init__(self, real, name: str, error: Exception) -> None:
        self.real, self.name, self.error = real, name, error
        self.asked = 0

    async def send(self, request):
        if self.error and any(name == self.name for name, _value in request.query):
            self.asked += 1
            raise self.error
        return await self.real.send(request)


class FailingTimes(Failing):
    """Fails so many of these queries only."""

    times = 0

    async def send(self, request):
        self.error = TryLater("the API failed (500)") if self.asked < self.times else None
        return await super().send(request)


ERRORS = [
    GiveUp("the API rejects the filter (400)"),
    Forbidden("not part of the plan (403)"),
    TryLater("the API failed (500)"),
    Unreachable("timeout"),
]


def watched(shop: Account) -> Watcher:
    context = PollContext(
        shop.sender,
        shop.store,
        ZoneInfo(shop.zone),
        shop.settle,
        shop.start,
        Routing("#mouseflow", shop.zone),
    )
    return Watcher(
        context, RuleSet(shop.rules), ops="#ops", wake=lambda: None, clock=lambda: shop.now
    )


def notices(shop: Account) -> list[tuple[str, str]]:
    notes = shop.store.do(lambda conn: history(conn, kind="notice"))
    return [(note.text, " ".join(note.details["lines"])) for note in reversed(notes)]


def of(rule: str, ids) -> set[tuple[str, str]]:
    return {(rule, each) for each in ids}


@pytest.mark.parametrize("name", ["frictionmin", "visitortype"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_a_failing_filter_holds_only_the_rules_that_need_it(account, name, error):
    shop = account(THREE)
    shop.sim.add("myshop.com", session(TWO_PAGES), start=-4000)
    there = [
        shop.sim.add("myshop.com", session(TWO_PAGES, RAGE, visitor=BACK), start=-600 + n)
        for n in range(10)
    ]
    shop.sender = Failing(shop.sender, name, error)
    await shop.poll()
    needs = {"frictionmin": "cross", "visitortype": "back"}
    found = {rule: of(rule, there) for rule in ("simple", "cross", "back")}
    held = found.pop(needs[name])
    assert found["simple"] | next(it for rule, it in found.items() if rule != "simple") <= (
        shop.matched()
    )
    assert not held & shop.matched()
    for _ in range(90):
        shop.wait(minutes=1)
        await shop.poll()
    assert not held & shop.matched()
    shop.sender.error = None
    for _ in range(6):
        shop.wait(minutes=1)
        await shop.poll()
    assert held <= shop.matched()


async def test_a_rejected_key_is_no_fault_of_the_filter(account):
    shop = account(THREE)
    shop.sim.add("myshop.com", session(TWO_PAGES, RAGE), start=-600)
    shop.sender = Failing(shop.sender, "frictionmin", BadCredentials("rejected"))
    with pytest.raises(BadCredentials):
        await shop.poll()
    assert shop.matched() == set()


async def test_rules_catch_up_after_a_restart_and_a_long_failure(account):
    shop = account(THREE)
    shop.sim.add("myshop.com", session(TWO_PAGES), start=-3000)
    await shop.poll()
    shop.sender = Failing(shop.sender, "frictionmin", GiveUp("no"))
    there = []
    for n in range(40):
        there.append(shop.sim.add("myshop.com", session(TWO_PAGES, RAGE), start=5))
        shop.wait(minutes=7)
        await shop.poll()
        if n == 20:
            shop.restart()
    assert not shop.matched("cross")
    shop.sender.error = None
    shop.restart()
    for _ in range(40):
        shop.wait(minutes=1)
        await shop.poll()
    assert shop.matched("cross") == of("cross", there)


async def test_a_renamed_rule_catches_up_too(account):
    shop = account(THREE)
    await shop.poll()
    shop.sender = Failing(shop.sender, "frictionmin", GiveUp("no"))
    who = shop.sim.add("myshop.com", session(TWO_PAGES, RAGE), start=5)
    for _ in range(50):
        shop.wait(minutes=1)
        await shop.poll()
    shop.rules = tuple(
        replace(rule, id="rage", was=("cross",)) if rule.id == "cross" else rule
        for rule in shop.rules
    )
    shop.sender.error = None
    for _ in range(6):
        shop.wait(minutes=1)
        await shop.poll()
    assert ("rage", who) in shop.matched()


async def test_a_long_gap_with_a_refused_filter_stops_no_other_rule(account):
    shop = account(THREE)
    await shop.poll()
    there = [
        shop.sim.add("myshop.com", session(TWO_PAGES, RAGE), start=600 * n) for n in range(1, 20)
    ]
    shop.wait(hours=6)
    shop.sender = Failing(shop.sender, "frictionmin", GiveUp("no"))
    watcher = watched(shop)
    await watcher.find_sites()
    assert await watcher.poll_recordings(shop.site)
    assert shop.matched("simple") == of("simple", there)
    assert not shop.matched("cross")
    shop.sender.error = None
    shop.wait(minutes=6)
    assert await watcher.poll_recordings(shop.site)
    assert shop.matched("cross") == of("cross", there)


async def test_people_are_told_once_which_rules_are_on_hold_and_when_they_run_again(account):
    shop = account(THREE, ops="#ops")
    shop.sender = Failing(shop.sender, "frictionmin", GiveUp("not part of the plan"))
    watcher = watched(shop)
    await watcher.find_sites()
    for _ in range(20):
        shop.sim.add("myshop.com", session(TWO_PAGES, RAGE), start=1)
        shop.wait(minutes=2)
        assert await watcher.poll_recordings(shop.site)
    [(title, lines)] = notices(shop)
    assert title == "Rules with friction are on hold on myshop.com"
    assert "rejects the friction filter: not part of the plan" in lines
    assert "On hold: cross." in lines
    shop.sender.error = None
    shop.wait(minutes=6)
    assert await watcher.poll_recordings(shop.site)
    assert await watcher.poll_recordings(shop.site)
    assert [title for title, _ in notices(shop)][1:] == [
        "Rules with friction run again on myshop.com"
    ]
    assert len(shop.matched("cross")) == 20


async def test_a_filter_that_fails_for_a_moment_is_not_announced(account):
    shop = account(THREE, ops="#ops")
    shop.sender = Failing(shop.sender, "frictionmin", TryLater("the API failed (500)"))
    watcher = watched(shop)
    await watcher.find_sites()
    who = shop.sim.add("myshop.com", session(TWO_PAGES, RAGE), start=1)
    shop.wait(minutes=3)
    assert await watcher.poll_recordings(shop.site)
    shop.sender.error = None
    shop.wait(minutes=1)
    assert await watcher.poll_recordings(shop.site)
    assert ("cross", who) in shop.matched()
    assert notices(shop) == []


async def test_a_filter_that_is_refused_for_ever_is_hardly_asked(account):
    shop = account(THREE)
    shop.sender = Failing(shop.sender, "frictionmin", GiveUp("no"))
    for _ in range(60):
        shop.sim.add("myshop.com", session(TWO_PAGES, RAGE), start=1)
        shop.wait(minutes=1)
        await shop.poll()
    assert shop.sender.asked <= 13


@pytest.mark.parametrize("error", ERRORS[1:3], ids=lambda error: type(error).__name__)
async def test_without_the_tag_filter_details_tell_the_tags(account, error):
    shop = account("""
rage:
  watch: recordings
  when: {tags: click-rage}
  do: {tag: rage}
""", expand=False)  # fmt: skip
    shop.sender = Failing(shop.sender, "tags", error)
    there = []
    for _ in range(30):
        there += [shop.sim.add("myshop.com", session(TWO_PAGES, RAGE), start=1 + n) for n in (0, 9)]
        shop.sim.add("myshop.com", session(TWO_PAGES), start=5)
        shop.wait(minutes=3)
        await shop.poll()
    shop.wait(minutes=40)
    await shop.poll()
    assert shop.matched() == of("rage", there)


# Filters that are ignored

TYPES = """
returning:
  watch: recordings
  when: {visitor_type: returning}
  do: {tag: a}
first:
  watch: recordings
  when: {visitor_type: first}
  do: {tag: b}
simple:
  watch: recordings
  when: {pages: {min: 1}}
  do: {tag: c}
"""


async def test_an_ignored_visitor_type_filter_is_noticed(account):
    shop = account(TYPES, ops="#ops")
    shop.sim.behave(ignored_filters=frozenset({"visitortype"}))
    there = [
        shop.sim.add(
            "myshop.com", session(TWO_PAGES, visitor=Visitor(returning=n < 2)), start=-600 + n
        )
        for n in range(10)
    ]
    watcher = watched(shop)
    await watcher.find_sites()
    assert await watcher.poll_recordings(shop.site)
    assert shop.matched("simple") == of("simple", there)
    assert not shop.matched("first") | shop.matched("returning")
    [(title, lines)] = notices(shop)
    assert title == "Rules with visitor_type are on hold on myshop.com"
    assert "first, returning" in lines
    shop.sim.behave(ignored_filters=frozenset())
    shop.wait(minutes=6)
    assert await watcher.poll_recordings(shop.site)
    assert shop.matched("returning") == of("returning", there[:2])
    assert shop.matched("first") == of("first", there[2:])


async def test_explain_names_the_filter_that_suspends_the_rule(account):
    shop = account(TYPES)
    shop.sim.behave(ignored_filters=frozenset({"visitortype"}))
    who = shop.sim.add("myshop.com", session(TWO_PAGES), start=-600)
    detail = await shop.sender.send(recordings.detail(shop.site.id, who))
    seen = await explain_one.ask(
        shop.sender, shop.site, detail, shop.rules[0], frozenset(), shop.zone, shop.now
    )
    assert seen.held == "the API ignores the visitor_type filter"
    assert seen.subject.visitor_type is None


class Emptied:
    """The API returns no recording for this filter."""

    def __init__(self, real, name: str) -> None:
        self.real, self.name = real, name

    async def send(self, request):
        answer = await self.real.send(request)
        if isinstance(answer, RecordingPage) and any(key == self.name for key, _ in request.query):
            return msgspec.structs.replace(answer, recordings=(), count=0)
        return answer


async def test_a_visitor_type_filter_that_returns_nothing_is_noticed(account):
    shop = account(TYPES)
    shop.sim.add("myshop.com", session(TWO_PAGES, visitor=BACK), start=-600)
    shop.sender = Emptied(shop.sender, "visitortype")
    await shop.poll()
    assert not shop.matched("first") | shop.matched("returning")


@pytest.mark.parametrize("name", ["frictionmin", "visitortype"])
async def test_a_filter_that_stops_working_makes_no_match(account, name):
    shop = account("""
cross:
  watch: recordings
  when: {friction: {min: 5}}
  do: {tag: a}
back:
  watch: recordings
  when: {visitor_type: returning}
  do: {tag: b}
calm:
  watch: recordings
  when: {friction: {under: 1}, visitor_type: first}
  do: {tag: c}
""")
    calm = []
    for minute in range(90):
        if minute == 5:
            shop.sim.behave(ignored_filters=frozenset({name}))
        calm.append(shop.sim.add("myshop.com", session(TWO_PAGES), start=1))
        shop.wait(minutes=1)
        await shop.poll()
    assert not shop.matched("cross") | shop.matched("back")
    shop.sim.behave(ignored_filters=frozenset())
    for _ in range(45):
        shop.wait(minutes=1)
        await shop.poll()
    assert shop.matched() == of("calm", calm)


async def test_an_empty_window_proves_nothing(account):
    shop = account("""
cross:
  watch: recordings
  when: {friction: {min: 5}}
  do: {tag: a}
""")
    shop.sim.behave(ignored_filters=frozenset({"frictionmin"}))
    await shop.poll()
    shop.sim.add("myshop.com", session(TWO_PAGES), start=1)
    for _ in range(45):
        shop.wait(minutes=1)
        await shop.poll()
    assert shop.matched() == set()


async def test_a_proof_is_asked_only_when_a_rule_is_about_to_match(account):
    shop = account("""
cross:
  watch: recordings
  when: {friction: {min: 5}}
  do: {tag: a}
""")

    def proofs() -> int:
        return sum("frictionmin=1000000000" in call.query for call in shop.sim.calls)

    for _ in range(50):
        shop.sim.add("myshop.com", session(TWO_PAGES), start=1)
        shop.wait(minutes=1)
        await shop.poll()
    assert proofs() == 1
    shop.sim.add("myshop.com", session(TWO_PAGES, RAGE), start=1)
    for _ in range(5):
        shop.wait(minutes=1)
        await shop.poll()
    assert proofs() <= 2
    assert len(shop.matched()) == 1


async def test_any_part_of_a_condition_that_needs_no_filter_still_counts(account):
    shop = account("""
either:
  watch: recordings
  when: {any: [{friction: {min: 5}}, {pages: {min: 2}}]}
  do: {tag: a}
""")
    shop.sender = Failing(shop.sender, "frictionmin", GiveUp("no"))
    who = shop.sim.add("myshop.com", session(TWO_PAGES), start=-3600)
    shop.sim.add("myshop.com", session([("/", 5)], RAGE), start=-3600)
    await shop.poll()
    assert shop.matched() == {("either", who)}


async def test_a_suspended_filter_is_announced_once_also_over_restarts(account):
    shop = account(THREE)
    shop.sim.add("myshop.com", session(TWO_PAGES), start=-4000)
    sender = shop.sender = Failing(shop.sender, "frictionmin", GiveUp("rejected (400)"))
    for broken in (True, True, False, False):
        sender.error = GiveUp("rejected (400)") if broken else None
        watcher = watched(shop)
        await watcher.find_sites()
        for _ in range(5):
            shop.sim.add("myshop.com", session(TWO_PAGES, RAGE, visitor=BACK), start=0)
            shop.wait(minutes=3)
            await watcher.poll_recordings(shop.site)
        shop.restart()
        watcher = None
    told = [title for title, _ in notices(shop) if "friction" in title]
    assert [title.split(" on ")[0] for title in told] == [
        "Rules with friction are",
        "Rules with friction run again",
    ]


BOTH = """
cross:
  watch: recordings
  when: {friction: {min: 2.5}, saw_page: /cart}
  do: {tag: b}
"""


class Down(Failing):
    """Refuses details, and the filter, while they are down."""

    details = False

    async def send(self, request):
        if self.details and request.path.count("/") == 4:
            raise TryLater("the API failed (500)")
        return await super().send(request)


async def polls(shop: Account, minutes: int) -> None:
    """Polls a minute apart; a catch-up that must wait is tried again by the next one."""
    for _ in range(minutes):
        shop.wait(minutes=1)
        with suppress(TryLater):
            await shop.poll()


@pytest.mark.parametrize("others", [0, 3])
async def test_rules_that_catch_up_wait_for_the_details_that_they_need(account, others):
    shop = account(BOTH)
    await shop.poll()
    for n in range(others):  # they are no match, so they need no details
        shop.sim.add("myshop.com", session(TWO_PAGES), start=5 + n)
    who = shop.sim.add("myshop.com", session(TWO_PAGES, RAGE), start=9)
    shop.sender = down = Down(shop.sender, "frictionmin", GiveUp("no"))
    await polls(shop, 50)
    down.error, down.details = None, True
    await polls(shop, 2 if not others else 40)
    assert not shop.matched("cross")
    down.details = False
    await polls(shop, 6)
    assert shop.matched("cross") == of("cross", [who])


async def test_one_broken_detail_holds_up_nobody_else_who_catches_up(account):
    shop = account(BOTH)
    await shop.poll()
    broken, who = (
        shop.sim.add("myshop.com", session(TWO_PAGES, RAGE), start=5 + n) for n in range(2)
    )
    shop.sender = Failing(shop.sender, "frictionmin", GiveUp("no"))
    await polls(shop, 50)
    shop.sim.fail("status", status=500, times=1000, path=broken)
    shop.sender.error = None
    await polls(shop, 10)
    assert shop.matched("cross") == of("cross", [who])
    before = len(shop.calls)
    await polls(shop, 5)
    assert not any(broken in path for path in shop.calls[before:])


async def test_broken_details_of_several_days_hold_up_those_who_catch_up_once_each(account):
    shop = account(BOTH)
    await shop.poll()
    day = 86_400
    broken = [
        shop.sim.add("myshop.com", session(TWO_PAGES, RAGE), start=5 + n * day) for n in range(3)
    ]
    who = shop.sim.add("myshop.com", session(TWO_PAGES, RAGE), start=60 + 2 * day)
    for each in broken:
        shop.sim.fail("status", status=500, times=1000, path=each)
    shop.sender = Failing(shop.sender, "frictionmin", GiveUp("no"))
    for _ in range(50):
        shop.wait(hours=1)
        await shop.poll()
    shop.sender.error = None
    await polls(shop, 12)
    assert shop.matched("cross") == of("cross", [who])
    before = len(shop.calls)
    await polls(shop, 3)
    assert not any(path.endswith(tuple(broken)) for path in shop.calls[before:])


async def test_what_waited_for_a_detail_when_the_filter_failed_is_caught_up_too(account):
    shop = account(BOTH)
    await shop.poll()
    who = shop.sim.add("myshop.com", session(TWO_PAGES, RAGE), start=5)
    shop.sender = down = Down(shop.sender, "frictionmin", None)
    down.details = True
    await polls(shop, 120)
    down.details, down.error = False, TryLater("the API failed (429)")
    await polls(shop, 20)
    assert not shop.matched("cross")
    down.error = None
    await polls(shop, 10)
    assert shop.matched("cross") == of("cross", [who])


async def test_a_row_that_comes_late_while_a_filter_is_down_is_caught_up_too(account):
    shop = account(THREE)
    decided = shop.sim.add("myshop.com", session(TWO_PAGES), start=5)
    await polls(shop, 120)
    shop.sender = Failing(shop.sender, "frictionmin", GiveUp("no"))
    await polls(shop, 5)
    who = shop.sim.add("myshop.com", session(TWO_PAGES, RAGE), start=-6000)
    await polls(shop, 5)
    shop.restart()
    shop.sim.world.tag(*shop.sim.world.inspect(decided)[:2], "vip", on=True)
    shop.sender.error = None
    await polls(shop, 10)
    assert shop.matched("cross") == of("cross", [who])


async def test_a_filter_that_works_again_within_a_poll_loses_nothing_that_it_left_untold(account):
    """It fails for one session, and works when another one is about to match by it."""
    shop = account("""
brief:
  watch: recordings
  when: {visitor_type: first, duration: {under: 1h}}
  do: {tag: brief}
first:
  watch: recordings
  when: {visitor_type: first}
  do: {tag: first}
""")
    shop.sim.add("myshop.com", session([("/", 5)], visitor=BACK), start=0)
    told = shop.sim.add("myshop.com", session([("/", 5)]), start=0)
    await polls(shop, 35)
    untold = shop.sim.add("myshop.com", session([("/", 5)]), start=-3000)
    shop.sender = FailingTimes(shop.sender, "visitortype", None)
    shop.sender.times = 2
    await polls(shop, 10)
    assert shop.sender.asked == 2
    assert shop.matched() == of("brief", [told, untold]) | of("first", [told, untold])


FIRST = """
first:
  watch: recordings
  when: {visitor_type: first}
  do: {tag: first}
"""
NEWER = FIRST.replace("first:", "newer:", 1)


def load(shop: Account, text: str) -> None:
    shop.rules = rules(text).rules
    shop.live = shop.live.forget_facts()


def visit(shop: Account, *, back: bool = False) -> str:
    return shop.sim.add("myshop.com", session([("/", 5)], visitor=Visitor(returning=back)), start=0)


async def test_a_rule_that_comes_while_a_filter_is_refused_leaves_alone_what_had_ended(account):
    shop = account(FIRST)
    await shop.poll()
    visit(shop, back=True)
    ended = visit(shop)
    await polls(shop, 34)
    shop.sender = Failing(shop.sender, "visitortype", GiveUp("no"))
    live = visit(shop)
    await polls(shop, 3)
    load(shop, FIRST + NEWER)
    await polls(shop, 10)
    shop.sender.error = None
    await polls(shop, 10)
    assert shop.matched() == of("first", [ended, live]) | of("newer", [live])


@pytest.mark.parametrize("minutes", [32, 34])
async def test_what_polls_decided_by_a_clock_that_is_ahead_is_caught_up_too(account, minutes):
    shop = account("calm: {watch: recordings, when: {friction: {max: 2}}, do: {tag: a}}")
    shop.sim.behave(clock_skew=timedelta(minutes=4))
    await shop.poll()
    shop.sender = Failing(shop.sender, "frictionmin", GiveUp("no"))
    there = []
    for n in range(
        44
    ):  # each is settled by the clock of the rows some minutes before it is by ours
        shop.sender.error = GiveUp("no") if n < minutes else None
        there.append(shop.sim.add("myshop.com", session([("/", 5)]), start=240))
        await polls(shop, 1)
    await polls(shop, 40)
    assert shop.matched() == of("calm", there)


@pytest.mark.parametrize("restarts", [False, True])
async def test_what_an_ignored_filter_told_wrong_is_caught_up_for_the_rules_of_that_time(
    account, restarts
):
    """Nobody notices until it is checked, an hour after it was proved to work."""
    shop = account(FIRST)
    await shop.poll()
    visit(shop, back=True)
    there = [visit(shop)]
    await polls(shop, 5)
    shop.sim.behave(ignored_filters=frozenset({"visitortype"}))
    there.append(visit(shop))
    await polls(shop, 45)
    load(shop, FIRST + NEWER)
    if restarts:
        shop.restart()
    await polls(shop, 10)
    new = [visit(shop)]
    await polls(shop, 10)
    new.append(visit(shop))
    await polls(shop, 10)
    shop.sim.behave(ignored_filters=frozenset())
    await polls(shop, 60)
    assert shop.matched() == of("first", there + new) | of("newer", new)


async def test_a_filter_refused_after_downtime_brings_a_rule_nothing_from_before_it_came(account):
    shop = account(FIRST)
    await shop.poll()
    visit(shop, back=True)
    ended = visit(shop)
    await polls(shop, 60)
    load(shop, FIRST + NEWER)
    await polls(shop, 60)
    shop.wait(hours=3)
    shop.restart()
    missed = shop.sim.add("myshop.com", session([("/", 5)]), start=-3600)
    shop.sender = Failing(shop.sender, "visitortype", GiveUp("no"))
    watcher = watched(shop)
    await watcher.find_sites()
    assert await watcher.poll_recordings(shop.site)
    shop.sender.error = None
    for _ in range(3):
        shop.wait(minutes=3)
        assert await watcher.poll_recordings(shop.site)
    assert shop.matched("first") == of("first", [ended, missed])
    assert shop.matched("newer") == of("newer", [missed])


async def test_a_rule_that_comes_while_details_and_its_filter_fail_decides_nothing_older(account):
    """A session that had ended waits for its detail, for rules that were there."""
    shop = account(
        """
carted:
  watch: recordings
  when: {saw_page: /cart}
  do: {tag: carted}
""",
        expand=False,
    )
    await shop.poll()
    who = shop.sim.add("myshop.com", session(TWO_PAGES), start=0)
    shop.sim.add("myshop.com", session(TWO_PAGES, visitor=BACK), start=1)
    shop.sim.fail("status", status=500, times=10_000, path="/recordings/")
    shop.wait(minutes=40)
    await polls(shop, 4)
    shop.sender = Failing(shop.sender, "visitortype", GiveUp("no"))
    newer = """
newer:
  watch: recordings
  when: {visitor_type: first}
  do: {tag: newer}
"""
    shop.rules = (*shop.rules, *rules(newer).rules)
    await polls(shop, 3)
    shop.sim.faults.clear()
    await polls(shop, 15)
    shop.sender.error = None
    await polls(shop, 45)
    assert ("carted", who) in shop.matched()
    assert ("newer", who) not in shop.matched()
