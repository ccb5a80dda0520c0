"""The daemon's own watch over budgets, against the whole simulator on a turned clock."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from poll_world import Direct
from sqlalchemy import update

from bot.actions import ACTIONS
from bot.budgets.state import budget_mark
from bot.delivery import Delivery
from bot.delivery.slack import SlackPoster
from bot.polling.context import PollContext
from bot.polling.record_matches import Routing
from bot.ports import Addresses, Ports
from bot.rules.files.actions import Allowed
from bot.rules.files.load import read
from bot.store import in_memory_copy
from bot.store.budgets import owned
from bot.store.dead_letters import dead_letters
from bot.store.schema import steps
from bot.watcher import Watcher
from bot.written import Secret
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.scenarios import session
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

START = datetime(2026, 3, 12, 6, tzinfo=UTC)
ID = "8fc2ace2-75bc-8ba4-b424-c8916670b990"
RULES = b"""
version: 1
rules:
  used-up:
    watch: websites
    when: {budget_used: {min: 90%}}
    do: {slack: {channel: "#mouseflow"}}
budgets:
  credits:
    websites: [myshop.com]
    recordings: 4500
    period: week
    starts_on: 1
    steps:
      80%: {slack: {channel: "#ops"}}
      95%: {recording_rate: 25, slack: {channel: "#ops"}}
      100%: {recording: stop, slack: {channel: "#ops"}}
    resume: true
"""


class Running:
    """Simulator, watcher and delivery, as the daemon puts them together."""

    def __init__(self, rules=RULES, per_day=1000, zone="Europe/Copenhagen"):
        self.now, self.rules, self.zone = START, rules, zone
        site = website(ID, "myshop.com", plan=Plan(per_day=per_day, since=date(2026, 1, 1)))
        quirks = Quirks(status_delay=timedelta(minutes=20))
        self.sim = Simulator(seed=5, sites=[site], quirks=quirks, now=lambda: self.now)
        self.site = self.sim.world.site("myshop.com")

    async def __aenter__(self):
        self._serving = self.sim.serving()
        await self._serving.__aenter__()
        self.store = in_memory_copy("sqlite:////nowhere/at/all.db")
        self.slack = SlackPoster(Secret(self.sim.slack.token), base_url=self.sim.slack_url)
        direct = Direct(self.sim)
        context = PollContext(
            direct,
            self.store,
            ZoneInfo(self.zone),
            timedelta(minutes=35),
            timedelta(hours=1),
            Routing("#mouseflow", self.zone),
        )
        ports = Ports(direct, self.slack, None, Addresses(channel="#mouseflow"))
        self.delivery = Delivery(self.store, ports, ACTIONS, clock=lambda: self.now)
        self.context = context
        await self.restarts(self.rules)
        return self

    async def restarts(self, text):
        """The process starts: the store stays, what was in memory does not."""
        rules = read([("r.yaml", text)], allowed=Allowed(delete=True))
        self.watcher = Watcher(
            self.context, rules, ops="#ops", wake=self.delivery.wake, clock=lambda: self.now
        )
        await self.watcher.use_rules(rules)
        await self.watcher.find_sites()

    async def polls_reports_first(self):
        self.now += timedelta(minutes=15)
        for place in list(self.watcher.watched.values()):
            assert await self.watcher.poll_reports(place.site)
        assert await self.watcher.poll_budgets()
        await self.delivery.drain()

    async def __aexit__(self, *error):
        await self.slack.close()
        self.store.close()
        await self._serving.__aexit__(*error)

    async def run(self, until, **most):
        end = self.now + timedelta(**most)
        while not until() and self.now < end:
            self.now += timedelta(hours=1)
            for place in list(self.watcher.watched.values()):
                assert await self.watcher.poll_budgets()
                assert await self.watcher.poll_reports(place.site)
            await self.delivery.drain()

    async def polls_after_a_new_list(self):
        self.now += timedelta(minutes=15)
        await self.watcher.find_sites()
        await self.watcher.poll_budgets()
        await self.delivery.drain()

    def mark(self):
        return self.store.do(lambda conn: budget_mark(conn, "credits"))

    def held(self):
        return [website for website, _switch in self.store.do(owned) if _switch == "recording"]

    def said(self, words, channel="#ops"):
        return [m for m in self.sim.slack.in_channel(channel) if words in f"{m.text} {m.blocks}"]

    def switches(self):
        return [(who, status) for _at, who, status in self.sim.switches("myshop.com")]


@pytest.fixture
async def running():
    async with Running() as made:
        yield made


async def test_80_posts_95_throttles_100_stops_and_the_next_week_resumes(running):
    await running.run(lambda: running.said("80 % step"), days=4)
    assert running.site.recorded == 100
    await running.run(lambda: running.said("95 % step"), days=4)
    assert running.site.recorded == 25
    await running.run(lambda: running.site.status == "Stopped", days=4)
    assert running.said("100 % step")
    assert running.now < datetime(2026, 3, 16, tzinfo=UTC)
    await running.run(lambda: running.site.recorded == 100, days=4)
    assert running.now - datetime(2026, 3, 15, 23, tzinfo=UTC) <= timedelta(hours=1)
    assert running.switches() == [("api", "Stopped"), ("api", "Recording")]
    assert len(running.said("90 %", "#mouseflow")) >= 1  # the rule sees budget_used


async def test_what_a_person_stopped_in_between_stays_so_and_the_channel_is_told(running):
    await running.run(lambda: running.site.status == "Stopped", days=5)
    running.sim.intervene("myshop.com", status="Recording")
    await running.run(lambda: running.said("somebody turned recording"), hours=2)
    running.sim.intervene("myshop.com", status="Stopped")
    await running.run(lambda: running.now.day == 18, days=6)
    assert running.site.status == "Stopped"
    assert running.switches()[-1] == ("person", "Stopped")
    assert running.said("stays stopped in the new period")


async def test_a_website_missing_from_lists_or_made_a_demo_keeps_its_budget(running):
    await running.watcher.use_rules(
        read([("r.yaml", RULES.replace(b"[myshop.com]", b'["*.com"]'))])
    )
    await running.run(lambda: running.site.status == "Stopped", days=5)
    await running.run(lambda: False, hours=2)
    used = running.mark().used
    sites = running.sim.world.sites
    for _ in range(2):
        kept = sites.pop(ID)
        await running.polls_after_a_new_list()
        sites[ID] = kept
        await running.polls_after_a_new_list()
    for demo in (True, True, False):
        running.site.settings["isDemo"] = demo
        await running.polls_after_a_new_list()
    assert running.mark().used == used
    assert running.site.status == "Stopped"
    assert running.held() == [ID]
    del sites[ID]
    for _ in range(3):
        await running.polls_after_a_new_list()
    assert running.held() == []
    assert running.mark().used == used
    assert len(running.said("myshop.com is gone from the account")) == 1


async def test_the_last_budget_taken_out_lets_its_websites_go_at_the_reload(running):
    await running.run(lambda: running.site.status == "Stopped", days=5)
    await running.run(lambda: False, hours=2)
    await running.watcher.use_rules(read([("r.yaml", RULES.split(b"budgets:")[0])]))
    await running.delivery.drain()
    assert running.held() == []
    assert len(running.said("myshop.com is in no budget now; it stays Stopped")) == 1


async def test_restarts_and_edits_neither_end_nor_repeat_an_alert_on_budget_used(running):
    rules = RULES.replace(b"    do: {slack:", b"    resolved: true\n    do: {slack:", 1)
    await running.watcher.use_rules(read([("r.yaml", rules)]))
    await running.run(lambda: running.site.status == "Stopped", days=5)
    for _ in range(2):
        await running.restarts(rules)
        await running.polls_reports_first()
    assert len(running.said("used-up", "#mouseflow")) == 1
    await running.watcher.use_rules(read([("r.yaml", rules.split(b"budgets:")[0])]))
    await running.polls_reports_first()
    await running.polls_reports_first()
    [alert, end] = running.said("used-up", "#mouseflow")
    assert alert.edits == 1  # it says that it is resolved
    assert "No budget counts it now" in end.text


STOPPED = b"""
rules:
  anyone:
    watch: websites
    when: {status: {not: recording}}
    do: {slack: {channel: "#mouseflow"}}
  by-people:
    watch: websites
    when: {status: stopped, stopped_by: person}
    do: {slack: {channel: "#mouseflow"}}
"""


@pytest.mark.parametrize("reports_first", [True, False])
async def test_rules_and_messages_tell_the_bots_stop_from_a_persons(running, reports_first):
    rules = RULES.split(b"rules:")[0] + STOPPED + b"budgets:" + RULES.split(b"budgets:")[1]
    await running.watcher.use_rules(read([("r.yaml", rules)]))
    while running.site.status != "Stopped":
        running.now += timedelta(hours=1)
        await running.watcher.poll_budgets()
        await running.delivery.drain()
    if not reports_first:
        await running.watcher.poll_budgets()
    await running.polls_reports_first()
    [said] = running.said("anyone", "#mouseflow")
    assert "budget credits" in f"{said.text} {said.blocks}"
    assert running.said("by-people", "#mouseflow") == []
    for status in ("Recording", "Stopped"):
        running.sim.intervene("myshop.com", status=status)
        await running.polls_reports_first()
        await running.polls_reports_first()
    assert len(running.said("by-people", "#mouseflow")) == 1


async def test_a_stop_of_a_budget_that_is_gone_is_its_own_until_somebody_starts_the_website(
    running,
):
    rules = RULES.split(b"rules:")[0] + STOPPED + b"budgets:" + RULES.split(b"budgets:")[1]
    await running.watcher.use_rules(read([("r.yaml", rules)]))
    while running.site.status != "Stopped":
        running.now += timedelta(hours=1)
        await running.watcher.poll_budgets()
        await running.delivery.drain()
    running.now += timedelta(hours=1)
    await running.watcher.poll_budgets()
    await running.watcher.use_rules(read([("r.yaml", rules.split(b"budgets:")[0])]))
    await running.polls_reports_first()
    [said] = running.said("anyone", "#mouseflow")
    assert "Stopped (by budget credits)" in f"{said.text} {said.blocks}"
    assert running.said("by-people", "#mouseflow") == []
    for status in ("Recording", "Stopped"):
        running.sim.intervene("myshop.com", status=status)
        await running.polls_reports_first()
        await running.polls_reports_first()
    assert len(running.said("by-people", "#mouseflow")) == 1


DELETES = b"""
version: 1
rules:
  spam:
    watch: recordings
    when: {saw_page: /spam*}
    do: {delete: true}
  more-spam:
    watch: recordings
    when: {entry_page: /spam*}
    do: {delete: true}
budgets:
  credits:
    websites: [myshop.com]
    recordings: 100
    period: month
    steps:
      100%: {recording: stop, slack: {channel: "#ops"}}
    resume: true
"""


class Deleting(Running):
    """A website whose only visitors are planted; rules delete those that see /spam."""

    def __init__(self, zone):
        super().__init__(DELETES, per_day=0, zone=zone)

    def comes(self, count, page="/spam"):
        """So many sessions of one page begin at once."""
        return [
            self.sim.add("myshop.com", session([(page, 20)]), start=n - 60) for n in range(count)
        ]

    def person_deletes(self, recording):
        self.sim.world.delete(self.site, self.sim.world.visit(self.site, recording))

    async def rules_run(self, minutes=40):
        """Recordings are polled until the sessions have ended, and the rules' steps done."""
        for _ in range(minutes // 10):
            self.now += timedelta(minutes=10)
            for place in list(self.watcher.watched.values()):
                assert await self.watcher.poll_recordings(place.site)
            await self.delivery.drain()

    async def used(self, polls=1):
        for _ in range(polls):
            self.now += timedelta(minutes=15)
            assert await self.watcher.poll_budgets()
            await self.delivery.drain()
        return self.mark().used


@pytest.fixture(params=["Europe/Copenhagen", "Pacific/Honolulu"])
async def deleting(request):
    """Once with a time zone whose day is not yet the one of the account."""
    async with Deleting(request.param) as made:
        await made.rules_run()
        assert await made.used(2) == 0
        yield made


async def test_recordings_that_a_rule_deletes_between_two_polls_are_used(deleting):
    for used in (5, 10):
        deleting.comes(5)
        await deleting.rules_run()
        assert await deleting.used() == used
    assert await deleting.used(3) == 10


async def test_what_a_rule_deletes_hides_no_new_recording(deleting):
    deleting.comes(6)
    assert await deleting.used() == 6
    await deleting.rules_run()  # deletes the six
    deleting.comes(6, "/shop")
    assert await deleting.used() == 12
    deleting.comes(4)
    await deleting.restarts(DELETES)
    await deleting.rules_run()
    await deleting.restarts(DELETES)
    deleting.comes(1, "/shop")
    assert await deleting.used() == 17
    assert await deleting.used(3) == 17


async def test_recordings_that_were_counted_before_a_rule_deletes_them_count_once(deleting):
    deleting.comes(5)
    assert await deleting.used() == 5
    await deleting.rules_run()
    assert await deleting.used(4) == 5


async def test_what_people_delete_before_the_rule_counts_once(deleting):
    there = deleting.comes(5)
    assert await deleting.used() == 5
    for each in there[:2]:
        deleting.person_deletes(each)
    assert await deleting.used(3) == 5
    await deleting.rules_run()  # two are gone already
    assert await deleting.used(3) == 5
    deleting.comes(3, "/shop")
    assert await deleting.used() == 8


async def test_a_deletion_of_unknown_outcome_counts_once(deleting):
    deleting.comes(3)
    deleting.sim.fail("close_after", method="DELETE", times=2)
    await deleting.rules_run()
    assert await deleting.used(4) == 3


async def test_a_deletion_whose_outcome_stays_unknown_for_hours_counts_once(deleting):
    deleting.comes(3)
    assert await deleting.used() == 3
    deleting.sim.fail("close_after", method="DELETE", times=1000)
    await deleting.rules_run()
    assert await deleting.used(8) == 3
    deleting.comes(1, "/shop")
    await deleting.used(2)
    deleting.sim.faults.clear()
    assert await deleting.used(24) == 4
    assert deleting.store.do(lambda conn: dead_letters(conn)) == []


@pytest.mark.parametrize("meanwhile", [0, 2])
async def test_deletions_that_the_count_shows_late_count_once(deleting, meanwhile):
    deleting.comes(5)
    assert await deleting.used() == 5
    send, shown = deleting.context.mouseflow.send, {}

    async def late(request):
        counts = request.path.endswith("/recordings") and dict(request.query)["limit"] == "1"
        if not counts:
            return await send(request)
        if request.target not in shown:
            shown[request.target] = await send(request)
        return shown[request.target]

    deleting.context.mouseflow.send = late
    assert await deleting.used() == 5
    await deleting.rules_run(10)  # deletes the five
    assert await deleting.used() == 5
    deleting.comes(meanwhile, "/shop")
    deleting.context.mouseflow.send = send
    assert await deleting.used(3) == 5 + meanwhile


async def test_a_new_budget_counts_what_rules_have_deleted_in_its_period(deleting):
    await deleting.restarts(DELETES.split(b"budgets:")[0])
    deleting.comes(5)
    await deleting.rules_run()
    deleting.comes(2, "/shop")
    await deleting.restarts(DELETES)
    assert await deleting.used() == 7


async def test_deletions_of_an_earlier_version_are_not_counted_again(deleting):
    deleting.comes(5)
    assert await deleting.used() == 5
    await deleting.rules_run()
    deleting.store.do(lambda conn: conn.execute(update(steps).values(result=None)))
    assert await deleting.used(4) == 5
