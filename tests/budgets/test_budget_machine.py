"""Budgets as a state machine: whatever happens in whatever order, the promises hold.

People switch and delete websites and edit budgets, Mouseflow pauses websites, lists and answers
are wrong, writes are refused, the bot restarts. After a few quiet polls everything is as it should
be.
"""

import asyncio
from datetime import timedelta

import hypothesis.strategies as st
from budget_world import QUARTER, Shop, World, budgets
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bot.errors import GiveUp

BUDGET = """
%s
  websites: %s
  recordings: %d
  period: %s
  steps:
%s  resume: true
"""
PERIODS = ["month", "month\n  starts_on: 14", "week", "week\n  starts_on: 5", "day"]
STOP = '    100%: {recording: stop, slack: {channel: "#ops"}}\n'
THROTTLE = '    50%: {recording_rate: 50, slack: {channel: "#ops"}}\n'
STEPS = [THROTTLE + STOP, STOP, THROTTLE, THROTTLE.replace("50%", "80%") + STOP,
         THROTTLE.replace("rate: 50", "rate: 25") + STOP, STOP.replace("recording: stop, ", ""),
         STOP.replace("100%", "90%")]  # fmt: skip
BOTH = '["one*", "two*"]'
LIMIT = 100
one_of_two = st.integers(0, 1)


class Budgets(RuleBasedStateMachine):
    """Two websites in one budget, polled every quarter of an hour."""

    @initialize()
    def begins(self):
        self.name, self.websites, self.limit = "credits:", BOTH, LIMIT
        self.period, self.steps = PERIODS[0], STEPS[0]
        self.bot = World(self.text(), Shop("one.com", 0), Shop("two.com", 0))
        self.shops = list(self.bot.shops)
        for shop in self.shops:
            shop.delay = timedelta()
        self.highest = {}
        self.poll()

    def teardown(self):
        if not hasattr(self, "bot"):
            return
        try:
            self.a_new_month_hands_back_what_the_bot_stopped()
        finally:
            self.bot.close()

    # What happens

    def poll(self, times=1):
        asyncio.run(self.bot.run(every=QUARTER, minutes=15 * times))

    def text(self):
        return BUDGET % (self.name, self.websites, self.limit, self.period, self.steps)

    def edit(self):
        self.bot.budgets = budgets(self.text())

    @rule(times=st.integers(1, 3))
    def time_passes(self, times):
        self.poll(times)

    @rule(which=one_of_two, count=st.integers(1, 60))
    def visitors_come(self, which, count):
        shop = self.shops[which]
        if shop.status == "Recording":
            shop.made[self.bot.now.date()] = shop.made.get(self.bot.now.date(), 0) + count

    @rule(which=one_of_two, status=st.sampled_from(["Recording", "Stopped"]))
    def a_person_switches(self, which, status):
        if self.shops[which].status in ("Recording", "Stopped"):
            self.shops[which].set(self.bot.now, "person", status=status)

    @rule(which=one_of_two, rate=st.sampled_from([10, 50, 100]))
    def a_person_sets_the_rate(self, which, rate):
        self.shops[which].set(self.bot.now, "person", rate=rate)

    @rule(which=one_of_two)
    def mouseflow_pauses_and_resumes(self, which):
        paused = self.shops[which].status == "Paused"
        self.shops[which].set(self.bot.now, "mouseflow", status="Recording" if paused else "Paused")

    @rule(which=one_of_two, readable=st.booleans())
    def a_website_is_made_read_only_or_writable(self, which, readable):
        self.shops[which].read_only = readable

    @rule(which=one_of_two)
    def a_website_is_renamed(self, which):
        shop = self.shops[which]
        shop.name = shop.name.removesuffix(".shop") if ".shop" in shop.name else f"{shop.name}.shop"

    @rule(which=one_of_two)
    def a_list_lacks_a_website_or_has_it_again(self, which):
        self.bot.unlisted ^= {self.shops[which]}

    @rule(which=one_of_two)
    def a_website_is_deleted_or_there_again(self, which):
        shop, there = self.shops[which], self.bot.shops
        self.bot.shops = [it for it in self.shops if (it in there) != (it is shop)]

    @rule(which=one_of_two, back=st.integers(0, 2))
    def recordings_are_deleted(self, which, back):
        shop, day = self.shops[which], self.bot.now.date() - timedelta(days=back)
        shop.deleted[day] = shop.true_count(day)

    @rule(factor=st.sampled_from([0.0, 2.0, 100.0]))
    def one_answer_is_wrong(self, factor):
        self.bot.account.factor = factor
        self.poll()
        self.bot.account.factor = 1.0
        self.poll()

    @rule(broken=st.booleans())
    def the_account_is_away(self, broken):
        self.bot.account.broken = broken

    @rule(broken=st.booleans())
    def writes_are_away(self, broken):
        self.bot.account.broken_writes = broken

    @rule(refuses=st.booleans())
    def writes_are_refused(self, refuses):
        self.bot.account.refuses = GiveUp("not possible") if refuses else None

    @rule()
    def the_bot_restarts(self):
        self.bot.restart()

    @rule(limit=st.sampled_from([50, LIMIT, 200]))
    def the_budget_is_raised_or_lowered(self, limit):
        self.limit = limit
        self.edit()

    @rule(period=st.sampled_from(PERIODS))
    def its_period_changes(self, period):
        self.period = period
        self.edit()

    @rule(steps=st.sampled_from(STEPS))
    def its_steps_change(self, steps):
        self.steps = steps
        self.edit()

    @rule(websites=st.sampled_from([BOTH, '"one*"']))
    def websites_are_taken_out_and_put_back(self, websites):
        self.websites = websites
        self.edit()

    @rule()
    def the_budget_is_renamed(self):
        new, old = ("plan", "credits") if self.name.startswith("credits") else ("credits", "plan")
        self.poll()
        self.name = f"{new}:\n  was: {old}"
        self.edit()

    @rule()
    def the_budget_is_gone_for_an_hour(self):
        self.bot.budgets = ()
        self.poll(4)
        self.edit()

    # What holds

    @invariant()
    def used_never_falls(self):
        mark = self.mark()
        if mark is not None:
            assert mark.used >= self.highest.get(mark.period, 0)
            self.highest[mark.period] = mark.used

    def mark(self):
        return self.bot.mark(self.name.partition(":")[0]) if hasattr(self, "bot") else None

    def all_is_well_for_a_while(self):
        account = self.bot.account
        account.broken, account.broken_writes, account.refuses = False, False, None
        asyncio.run(self.bot.run(hours=8))

    @precondition(lambda self: not self.bot.account.broken)
    @rule()
    def above_the_budget_nothing_records_but_what_a_person_started_and_was_told(self):
        self.all_is_well_for_a_while()
        mark = self.mark()
        if mark.used < self.limit or "stop" not in self.steps:
            return
        counted = {line.id: line for line in mark.websites}
        for shop in self.shops:
            line = counted.get(shop.id)
            if line is None or shop.read_only or line.left_alone or shop not in self.bot.shops:
                continue
            assert shop.status != "Recording", self.diary()

    @rule()
    def every_switch_of_the_bot_is_in_the_audit_log(self):
        self.all_is_well_for_a_while()
        for shop in self.shops:
            done = [who for _at, who, _what in shop.log if who == "bot"]
            noted = [
                entry for entry in self.bot.audit("step.done")
                if entry.website == shop.id and entry.text.startswith("set to")
            ]  # fmt: skip
            assert len(noted) == len(done), self.diary()

    @invariant()
    def no_rate_that_a_person_set_is_raised(self):
        for shop in self.shops if hasattr(self, "bot") else ():
            rate, by, own = 100, "", None
            for _at, who, what in shop.log:
                if not what.endswith("%"):
                    continue
                new = int(what.removesuffix(" %"))
                # Nobody can see that a person has set what the bot had set.
                assert who != "bot" or by != "person" or new < rate or rate == own, shop.log
                rate, by, own = new, who, new if who == "bot" else own

    @invariant()
    def nobody_is_told_more_than_there_is(self):
        if hasattr(self, "bot"):
            assert len(self.bot.slack.said("turned recording back on")) <= len(
                [who for shop in self.shops for _at, who, what in shop.log
                 if who != "bot" and what == "Recording"]
            )  # fmt: skip

    def a_new_month_hands_back_what_the_bot_stopped(self):
        self.all_is_well_for_a_while()
        held = {website for website, switch in self.bot.owned() if switch == "recording"}
        self.bot.now = self.bot.now.replace(day=1) + timedelta(days=32)
        for shop in self.shops:
            shop.read_only = False
        self.poll(12)
        for shop in self.shops:
            status = [(who, what) for _at, who, what in shop.log if not what.endswith("%")]
            if shop not in self.bot.shops:
                continue
            if shop.id in held and shop.status != "Paused":
                assert shop.status == "Recording", self.diary()
            assert not status or status[-1] != ("bot", "Stopped"), self.diary()
        paused = {shop.id for shop in self.shops if shop.status == "Paused"}
        assert {website for website, _switch in self.bot.owned()} <= paused, self.diary()

    def diary(self):
        lines = [f"{entry.at:%d %H:%M} {entry.kind}: {entry.text}" for entry in self.bot.audit()]
        return "\n".join(reversed(lines))


Budgets.TestCase.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, print_blob=True
)
TestBudgets = Budgets.TestCase
