"""Alerts about sessions that do not come: they fire and end by what is known."""

import itertools
import json
import random
import re
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from poll_world import Account, rules

from bot.domain.budget import Ownership
from bot.errors import RuleErrors
from bot.polling.context import PollContext
from bot.polling.record_matches import Routing
from bot.rules.tests import run
from bot.store.alert_states import note_share
from bot.store.audit import history
from bot.store.budgets import disown, own
from bot.store.dead_letters import steps_of
from bot.store.matches import matches_of
from bot.store.recordings import COUNTING, watermark
from bot.store.rules import pause_rule, resume_rule
from bot.watcher import Watcher
from mouseflow.simulator.quirks import Quirks

NOBODY = """
nobody:
  summary: Nobody paid
  watch: recordings
  when: {saw_page: /checkout*}
  count: {at_most: 0, within: 2h}
  resolved: true
  do: {slack: {}}
"""


class Shop(Account):
    """The account under a watcher; `visits` come at random, one that counts each time."""

    def __init__(self, path, text=NOBODY, **more) -> None:
        super().__init__(path, text, **more)
        self.text = text
        self.begin()

    def begin(self) -> None:
        context = PollContext(
            self.sender, self.store, ZoneInfo(self.zone), self.settle, self.start,
            Routing("#mouseflow", self.zone),
        )  # fmt: skip
        self.watcher = Watcher(
            context, rules(self.text), ops=None, wake=lambda: None, clock=lambda: self.now
        )
        self.told = len(self.alerts)

    @property
    def alerts(self) -> list[str]:
        """`fired` or `resolved`, for each message of the rule."""

        def found(conn):
            return [
                step.action
                for match in reversed(matches_of(conn, rule="", limit=1_000))
                for step in steps_of(conn, match.key)
            ]

        return self.store.do(found)

    async def pass_time(self, minutes: int, every: int = 10) -> list[str]:
        """Poll for so long; the messages that came of it."""
        before = len(self.alerts)
        for _ in range(minutes // every):
            await self.watcher.find_sites()
            self.wait(minutes=every)
            await self.watcher.poll_recordings(self.site)
        return self.alerts[before:]

    def visit(self) -> str:
        return self.sim.add("myshop.com", "checkout-friction", start=1)

    def notes(self, kind: str) -> list[str]:
        return [note.text for note in self.store.do(lambda conn: history(conn, kind=kind))]

    def why(self) -> str:
        return self.store.do(lambda conn: history(conn, kind="match", rule="nobody"))[0].text


@pytest.fixture
def shop(tmp_path):
    made = Shop(tmp_path)
    yield made
    made.close()


async def test_it_fires_once_nobody_came_for_so_long_and_ends_with_the_next_session(shop):
    shop.visit()
    assert await shop.pass_time(120) == []
    assert await shop.pass_time(20) == ["slack"]
    assert shop.why() == "no session in 2 h with saw_page /checkout*"
    assert await shop.pass_time(180, every=30) == []
    shop.visit()
    assert await shop.pass_time(20) == ["resolved"]
    assert await shop.pass_time(100) == []
    assert await shop.pass_time(20) == ["slack"]


async def test_it_costs_the_calls_of_its_conditions_and_a_moment_costs_none(tmp_path):
    made = []
    few = "count: {at_most: 0, within: 2h}"
    for number, (when, count, do) in enumerate((
        ("{device: phone}", "summary: x", "{star: true}"),
        ("{device: phone, created: {after: 2026-01-01}}", "summary: x", "{star: true}"),
        ("{device: phone}", few, "{slack: {}}"),
    )):  # fmt: skip
        text = f"nobody: {{watch: recordings, when: {when}, {count}, do: {do}}}"
        shop = Shop(tmp_path / f"{number}", text)
        shop.visit()
        await shop.pass_time(60)
        made.append([call.path for call in shop.sim.calls if call.method == "GET"])
        shop.close()
    assert made[1:] == made[:1] * 2


async def test_other_sessions_do_not_count(shop):
    for _ in range(12):
        shop.sim.add("myshop.com", "phone-bounce", start=1)
        assert await shop.pass_time(10) == []
    assert await shop.pass_time(20) == ["slack"]


async def test_more_than_so_many_are_enough(tmp_path):
    shop = Shop(tmp_path, NOBODY.replace("at_most: 0", "at_most: 2"))
    for _ in range(3):
        shop.visit()
    assert await shop.pass_time(110) == []
    shop.visit()
    assert await shop.pass_time(30) == ["slack"]
    assert shop.why() == "1 session in 2 h with saw_page /checkout*"
    shop.close()


async def test_polls_that_fail_are_not_nobody(shop):
    await shop.pass_time(60)
    shop.sim.fail("status", status=503, path="/recordings", times=1_000)
    assert await shop.pass_time(90) == []
    shop.sim.faults.clear()
    assert await shop.pass_time(110) == []
    assert await shop.pass_time(30) == ["slack"]


async def test_a_downtime_is_not_nobody(shop):
    await shop.pass_time(60)
    shop.wait(hours=3)
    shop.restart()
    shop.begin()
    assert await shop.pass_time(110) == []
    assert await shop.pass_time(30) == ["slack"]


@pytest.mark.parametrize(
    ("off", "on"),
    [
        ({"status": "Stopped"}, {"status": "Recording"}),
        ({"status": "Paused"}, {"status": "Recording"}),
    ],
)
async def test_silence_of_a_website_that_records_nobody_is_not_nobody(shop, off, on):
    shop.visit()
    assert await shop.pass_time(60) == []
    shop.sim.intervene("myshop.com", **off)
    assert await shop.pass_time(300) == []
    shop.sim.intervene("myshop.com", **on)
    # Half an hour until it reaches visitors, two hours, and the time in which rows come late.
    assert await shop.pass_time(140) == []
    assert await shop.pass_time(40) == ["slack"]
    assert shop.notes("level.not_recorded") == [
        "all of the time was recorded: silence counts again",
        "silence is unknown: recording was off or throttled in that time",
    ]


async def test_silence_while_the_list_of_websites_can_not_be_read_is_unknown(shop):
    await shop.pass_time(60)
    shop.sim.intervene("myshop.com", status="Stopped")
    for _ in range(30):
        shop.wait(minutes=10)
        await shop.watcher.poll_recordings(shop.site)
    assert shop.alerts == []
    assert await shop.pass_time(60) == []
    shop.sim.intervene("myshop.com", status="Recording")
    assert await shop.pass_time(140) == []
    assert await shop.pass_time(40) == ["slack"]


async def test_a_website_that_was_stopped_since_the_last_list_of_websites_is_not_silent(tmp_path):
    shop = Shop(tmp_path, NOBODY.replace("within: 2h", "within: 10m"))
    for _ in range(12):
        shop.visit()
        assert await shop.pass_time(5, every=5) == []
    shop.sim.intervene("myshop.com", status="Stopped")
    for _ in range(4):  # the next list of websites comes in 20 minutes
        shop.wait(minutes=5)
        await shop.watcher.poll_recordings(shop.site)
    assert await shop.pass_time(60) == []
    assert "slack" not in shop.alerts
    shop.close()


async def test_a_time_since_the_last_list_of_websites_makes_no_alert_end_and_fire_again(tmp_path):
    shop = Shop(tmp_path, NOBODY.replace("at_most: 0", "at_most: 2"))
    shop.visit()
    for minute in range(0, 720, 5):  # one in 65 minutes, and a list of websites every 30
        if minute % 30 == 0:
            await shop.watcher.find_sites()
        if minute % 65 == 0:
            shop.visit()
        shop.wait(minutes=5)
        await shop.watcher.poll_recordings(shop.site)
    assert shop.alerts == ["slack"]
    shop.close()


async def test_silence_at_a_rate_that_the_bot_has_lowered_is_not_nobody(shop):
    def lowered(conn):
        own(conn, Ownership(shop.site.id, "recording_rate", "budget:plan", shop.now, "", "25", 100))

    shop.store.do(lowered)
    assert await shop.pass_time(300) == []
    shop.store.do(lambda c: disown(c, shop.site.id, "recording_rate", shop.now, "undone"))
    assert await shop.pass_time(20) == ["slack"]


async def test_silence_after_a_person_has_lowered_the_rate_is_unknown_for_a_week(shop):
    def rate(percent):
        shop.store.do(lambda c: note_share(c, shop.site.id, "Recording", percent, shop.now))

    rate(100)
    shop.visit()
    assert await shop.pass_time(60) == []
    rate(30)
    assert await shop.pass_time(6 * 24 * 60, every=60) == []
    assert await shop.pass_time(2 * 24 * 60, every=60) == ["slack"]


async def test_a_short_restart_loses_nothing(shop):
    await shop.pass_time(60)
    shop.wait(minutes=20)
    shop.restart()
    shop.begin()
    assert await shop.pass_time(40) == []
    assert await shop.pass_time(20) == ["slack"]


async def test_details_that_can_not_be_read_are_not_nobody(tmp_path):
    shop = Shop(tmp_path, expand=False)
    await shop.pass_time(110)
    shop.visit()
    shop.sim.fail("status", status=503, path="/recordings/", times=1_000)
    assert await shop.pass_time(60) == []
    shop.close()


async def test_lists_cut_short_are_not_nobody(tmp_path):
    shop = Shop(tmp_path, quirks=Quirks(row_cap=1, offset="ignored"))
    await shop.pass_time(60)
    for _ in range(5):
        shop.sim.add("myshop.com", "phone-bounce", start=1)
    assert await shop.pass_time(70) == []
    shop.close()


class OddCities:
    """Sends to the simulator; every city comes back as a list."""

    def __init__(self, sender) -> None:
        self.sender = sender

    async def send(self, request):
        def read(body):
            return request.read(re.sub(rb'"city":("[^"]*")', rb'"city":[\1]', body))

        return await self.sender.send(replace(request, read=read))


@pytest.mark.parametrize(("asked", "found"), [("city: Atlantis", []), ("country: aq", ["slack"])])
async def test_a_session_that_an_odd_value_leaves_undecided_is_not_nobody(tmp_path, asked, found):
    shop = Shop(tmp_path, NOBODY.replace("saw_page: /checkout*", asked))
    shop.sender = OddCities(shop.sender)
    shop.begin()
    await shop.pass_time(20)
    shop.sim.add("myshop.com", "phone-bounce", start=1)
    assert await shop.pass_time(130, every=13) == found
    shop.close()


async def test_rows_that_come_late_are_not_missed(tmp_path):
    late = timedelta(minutes=4)
    shop = Shop(tmp_path, quirks=Quirks(visibility_delay=late))
    await shop.pass_time(10)
    for _ in range(2):
        shop.visit()
        for minutes, every in ((8, 2), (100, 25), (13, 13)):
            assert await shop.pass_time(minutes, every) == []
    shop.close()


async def test_only_active_hours_count(tmp_path):
    shop = Shop(tmp_path, NOBODY + "  active: 10:00-16:00\n")  # it is 10:00 in Copenhagen
    assert await shop.pass_time(60) == []
    shop.now = shop.now.replace(hour=14, minute=30)
    assert await shop.pass_time(17 * 60, every=30) == []
    assert await shop.pass_time(6 * 60, every=15) == ["slack"]
    shop.close()


async def test_a_condition_that_waits_for_the_end_of_a_session_is_known_so_much_later(tmp_path):
    shop = Shop(tmp_path, NOBODY.replace("saw_page: /checkout*", "exit_page: /checkout*"))
    assert await shop.pass_time(150) == []
    assert await shop.pass_time(20) == ["slack"]
    shop.close()


async def test_another_condition_counts_anew(shop):
    assert await shop.pass_time(140) == ["slack"]
    shop.text = NOBODY.replace("/checkout*", "/thanks")
    await shop.watcher.use_rules(rules(shop.text))
    assert await shop.pass_time(110) == []
    assert await shop.pass_time(60) == ["slack"]  # another condition is another alert
    shop.text = NOBODY
    await shop.watcher.use_rules(rules(shop.text))
    shop.visit()
    assert await shop.pass_time(20) == ["resolved"]
    assert shop.why() == "ended after 30 min; the rule's condition was changed"


async def test_a_renamed_rule_goes_on_counting(shop):
    assert await shop.pass_time(110) == []
    renamed = NOBODY.replace("nobody:", "no-buyers:") + "  was: nobody\n"
    await shop.watcher.use_rules(rules(renamed))
    assert await shop.pass_time(30) == ["slack"]


OTHER = "other: {watch: recordings, when: {device: phone}, do: {star: true}}\n"


@pytest.mark.parametrize(
    "meanwhile", ["", NOBODY + "  disabled: true\n", NOBODY + "  websites: [other.com]\n"]
)
async def test_what_came_while_the_rule_was_away_is_not_nobody(shop, meanwhile):
    shop.visit()
    assert await shop.pass_time(60) == []
    await shop.watcher.use_rules(rules(meanwhile + OTHER))
    await shop.pass_time(10)
    shop.visit()
    await shop.pass_time(40)
    await shop.watcher.use_rules(rules(NOBODY + OTHER))
    assert await shop.pass_time(110) == []
    assert await shop.pass_time(30) == ["slack"]


async def test_a_paused_rule_still_counts(shop):
    shop.visit()
    await shop.pass_time(10)
    shop.store.do(lambda conn: pause_rule(conn, "nobody", "by a test", shop.now))
    shop.visit()
    await shop.pass_time(60)
    shop.store.do(lambda conn: resume_rule(conn, "nobody", shop.now, "by a test"))
    assert await shop.pass_time(50) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("once_per: {visitor: 1d}", "once_per does not fit count: {at_most: …}"),
        ("for: 10m", "for works with feedback"),
        ("count: {at_most: 0, within: 8d}", "within is at most 7d"),
        ("count: {at_most: 0, within: 2h, by: country}", "unknown key"),
        ("do: {tag: x}", "tag"),
    ],
)
def test_what_does_not_fit_is_an_error(change, said):
    key = change.partition(":")[0]
    kept = [line for line in NOBODY.strip().splitlines() if not line.startswith(f"  {key}:")]
    with pytest.raises(RuleErrors, match=re.escape(said)):
        rules("\n".join([*kept, f"  {change}"]))


def test_resolved_needs_a_count_of_too_few():
    with pytest.raises(RuleErrors, match="resolved works with"):
        rules(NOBODY.replace("at_most: 0", "at_least: 5"))


def test_its_texts_are_about_the_website():
    told = NOBODY.replace("slack: {}", "slack: {channel: '#x', text: 'No buyers on {{ website }}'}")
    tests = """
  websites: [myshop.com]
  tests: [{given: {pages: [/checkout]}, expect: {match: true, text: No buyers on myshop.com}}]
"""
    assert [result.problems for result in run(rules(told + tests.strip("\n")))] == [()]
    with pytest.raises(RuleErrors, match="entry_page"):
        rules(told.replace("{{ website }}", "{{ entry_page }}"))


HOUR, LATE = timedelta(hours=1), timedelta(minutes=5)


@pytest.mark.parametrize("seed", range(2))
async def test_in_random_days_it_fires_when_it_is_known_and_only_then(tmp_path, seed):
    """Judged from the docs alone, by what happened and which polls went well."""
    dice = random.Random(seed)
    shop = Shop(tmp_path)
    came, well, firing = [], [], False
    for _ in range(70):
        shop.wait(minutes=dice.choice([5, 10, 10, 15]))
        trouble = dice.random()
        if trouble < 0.03:
            shop.wait(minutes=dice.choice([20, 90]))
            shop.restart()
            shop.begin()
        if dice.random() < 0.07:
            shop.visit()
            came.append(shop.now)
        elif dice.random() < 0.1:
            shop.sim.add("myshop.com", "phone-bounce", start=1)
        shop.sim.faults.clear()
        if 0.03 < trouble < 0.06:
            shop.sim.fail("status", status=503, path="/recordings", times=99)
        before = len(shop.alerts)
        await shop.watcher.find_sites()
        went_well = await shop.watcher.poll_recordings(shop.site)
        told = shop.alerts[before:]
        if went_well:
            well.append(shop.now)
        quiet = shop.now - 2 * HOUR
        seen = [it for it in well if it >= quiet - 2 * HOUR]
        gap = max((b - a for a, b in itertools.pairwise(seen)), default=3 * HOUR)
        if told == ["slack"]:
            assert not [it for it in came if quiet < it < shop.now]
            assert well[0] <= quiet
            assert not [b - a for a, b in itertools.pairwise(well) if b > quiet and b - a > HOUR]
        firing = told == ["slack"] or (firing and told != ["resolved"])
        nobody = not [it for it in came if it > quiet - 2 * LATE]
        if went_well and nobody and gap <= HOUR and seen and seen[0] <= quiet - LATE:
            assert firing
        seen_twice = [it for it in came if sum(at > it + 2 * LATE for at in well) >= 2]
        assert not (firing and went_well and [it for it in seen_twice if it > quiet + LATE])
    assert came
    shop.close()


class Killed(BaseException):
    """The process is gone."""


class Dying:
    """The store of a process that is killed after so many transactions."""

    def __init__(self, store, after) -> None:
        self.store, self.left = store, after

    async def run(self, work):
        if not self.left:
            raise Killed
        self.left -= 1
        return await self.store.run(work)

    def __getattr__(self, name):
        return getattr(self.store, name)


@pytest.mark.parametrize("after", range(4))
async def test_a_kill_leaves_what_was_read_and_what_was_counted_alike(shop, after):
    await shop.pass_time(60)
    shop.visit()
    shop.wait(minutes=10)
    context = shop.watcher.context
    shop.watcher.context = msgspec.structs.replace(context, store=Dying(context.store, after))
    with suppress(Killed):
        await shop.watcher.poll_recordings(shop.site)

    def times(conn):
        marks = (
            watermark(conn, source, shop.site.id) for source in ("recordings", f"{COUNTING}nobody")
        )
        read, counted = map(json.loads, marks)
        return read["polled"], counted["until"]

    read, counted = shop.store.do(times)
    assert read == counted


EVERYBODY = """
nobody-at-all:
  summary: Nobody came
  watch: recordings
  when: {duration: {min: 0s}}
  count: {at_most: 0, within: 2h}
  do: {slack: {}}
"""
WAITS = f"{NOBODY}  not_while: nobody-at-all\n"


@pytest.mark.parametrize("text", [EVERYBODY + WAITS, WAITS + EVERYBODY])
async def test_one_silence_is_told_by_the_rule_that_the_other_one_names(tmp_path, text):
    shop = Shop(tmp_path, text)
    assert await shop.pass_time(240) == ["slack"]
    assert shop.store.do(lambda conn: matches_of(conn, rule="nobody-at-all", limit=9))
    shop.close()
