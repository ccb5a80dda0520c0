"""A rule that is renamed with `was` goes on where it was, in all that is known of it."""

from datetime import timedelta
from zoneinfo import ZoneInfo

from delivery_world import HOUR, MINUTE, NOW, SITE, SlackWorld, subject

from bot.actions import ACTIONS
from bot.delivery import Delivery
from bot.domain.alert_state import Level
from bot.domain.budget import Ownership
from bot.domain.limits import Reason
from bot.domain.subjects import RecordingSubject
from bot.polling.context import PollContext
from bot.polling.record_matches import Found, Routing, record_poll
from bot.ports import Addresses, Ports
from bot.rules.files.load import read
from bot.store.alert_states import KeptLevel, levels, save_level
from bot.store.audit import history
from bot.store.budgets import own, owned
from bot.store.matches import PollOutcome, matches_of
from bot.store.rules import end_snooze, pause_rule, rule_states, snooze, withheld
from bot.watcher import Watcher

ROUTING = Routing("#usual", "UTC")


class Renaming:
    """A rule on recordings with something `more`, first called `old`, then `new`."""

    def __init__(self, store, more="do: {tag: seen}"):
        self.store, self.more = store, more
        self.now = NOW
        self.slack = SlackWorld()
        ports = Ports(None, self.slack, None, Addresses(channel="#usual"))
        self.delivery = Delivery(store, ports, ACTIONS, clock=lambda: self.now)

    async def use(self, name, was="", more=None):
        earlier = f"was: {was}, " if was else ""
        rule = f"{{watch: recordings, when: {{pages: 1}}, {earlier}{more or self.more}}}"
        rules = read([("r.yaml", f"version: 1\nrules: {{{name}: {rule}}}".encode())])
        context = PollContext(None, self.store, ZoneInfo("UTC"), HOUR, HOUR, ROUTING)
        watcher = Watcher(context, rules, ops=None, wake=lambda: None, clock=lambda: self.now)
        await watcher.use_rules(rules)
        [self.rule] = rules.rules

    async def matched(self, *keys):
        """The rule matches these recordings; gives why the last of them called for nothing."""
        for key in keys:
            seen = RecordingSubject(website=SITE, recording=subject(key).recording)
            outcome = PollOutcome(source="recordings", website=SITE.id, at=self.now)
            found = [Found(rule=self.rule, subject=seen, happened=self.now)]
            self.do(record_poll, outcome, found, ROUTING)
        await self.delivery.drain()
        notes = self.do(history, kind="suppressed", subject=keys[-1])
        return notes[0].text if notes else ""

    def do(self, work, *args, **named):
        return self.store.do(lambda conn: work(conn, *args, **named))


async def test_a_recording_that_matched_before_does_not_match_again(store):
    world = Renaming(store)
    await world.use("old")
    await world.matched("r1")
    await world.use("new", was="old")
    await world.matched("r1", "r2")
    found = world.do(matches_of)
    assert [(match.rule, match.subject_key) for match in found] == [("new", "r2"), ("new", "r1")]


async def test_what_another_bot_matched_under_the_old_name_does_not_match_again(store):
    world, behind = Renaming(store), Renaming(store)
    await world.use("old")
    await behind.use("old")
    await world.use("new", was="old")
    await behind.matched("r1")  # its rule files come a little later
    store.sharing.leads = False
    await behind.use("new", was="old")
    for bot in (behind, world):
        await bot.matched("r1")
    assert [match.rule for match in world.do(matches_of)] == ["new"]


async def test_count_goes_on_counting(store):
    world = Renaming(store, "count: {at_least: 3, within: 1h}, do: {tag: seen}")
    await world.use("old")
    assert await world.matched("r1", "r2") == Reason.BELOW_COUNT
    await world.use("new", was="old")
    assert await world.matched("r3") == ""
    assert await world.matched("r4") == Reason.BELOW_COUNT


async def test_once_per_remembers_whom_it_matched_also_when_was_is_gone(store):
    world = Renaming(store, "once_per: {visitor: 1d}, do: {tag: seen}")
    await world.use("old")
    assert await world.matched("r1") == ""
    await world.use("new", was="old")
    await world.use("new")
    assert await world.matched("r2") == Reason.ONCE_PER


async def test_safety_counts_what_matched_under_the_old_name(store):
    world = Renaming(store, "safety: {at_most: 2 per hour}, do: {tag: seen}")
    await world.use("old")
    await world.matched("r1", "r2")
    await world.use("new", was="old")
    assert await world.matched("r3") == Reason.PAUSED


async def test_a_new_name_is_no_edit_that_ends_a_pause(store):
    world = Renaming(store)
    await world.use("old")
    world.do(pause_rule, "old", "too many", NOW)
    await world.use("new", was="old")
    assert list(world.do(rule_states)) == ["new"]
    assert await world.matched("r1") == Reason.PAUSED
    await world.use("new", was="old", more="do: {tag: other}")
    assert await world.matched("r2") == ""


async def test_a_snooze_and_what_it_holds_back_go_on(store):
    world = Renaming(store, "do: {slack: {}}")
    await world.use("old")
    world.do(snooze, "old", NOW + 2 * HOUR, NOW)
    await world.matched("r1")
    await world.use("new", was="old")
    await world.matched("r2")
    assert world.do(withheld, "new", NOW, Reason.SNOOZED) == 2
    assert world.slack.messages == []
    assert world.do(end_snooze, "new", NOW)
    await world.delivery.drain()
    assert len(world.slack.messages) == 1


async def test_at_most_and_its_digest_go_on(store):
    world = Renaming(store, "do: {slack: {at_most: 2 per hour}}")
    await world.use("old")
    await world.matched("r1", "r2", "r3")
    world.now += MINUTE
    await world.use("new", was="old")
    await world.matched("r4")
    assert len(world.slack.messages) == 2
    world.now += HOUR
    await world.delivery.drain()
    [digest] = world.slack.messages[2:]
    assert "2" in digest.text


async def test_a_level_stays_true_and_keeps_since_when(store):
    world = Renaming(store)
    level = Level(true_since=NOW - HOUR, fired=NOW, episode=3, polled=NOW)
    await world.use("old")
    world.do(save_level, "old", "w1", "f1", KeptLevel(level), NOW)
    await world.use("new", was="old")
    assert world.do(levels, "new", "w1")["f1"].level == level
    assert world.do(levels, "old", "w1") == {}


async def test_what_the_rule_has_stopped_is_still_its_own(store):
    world = Renaming(store)
    await world.use("old")
    held = Ownership("w1", "recording", "old", NOW, "the rule old", "Stopped")
    world.do(own, held)
    await world.use("new", was="old")
    assert world.do(owned)["w1", "recording"].owner == "new"


async def test_the_audit_log_says_so_once(store):
    world = Renaming(store)
    await world.use("old")
    await world.matched("r1")
    for _ in range(3):
        world.now += timedelta(minutes=1)
        await world.use("new", was="old")
    notes = world.do(history, kind="rule.renamed")
    assert [(note.rule, note.text) for note in notes] == [("new", "was old")]
    assert world.do(history, rule="old")


async def test_what_the_new_name_has_of_its_own_is_not_overwritten(store):
    world = Renaming(store, "count: {at_least: 2, within: 1h}, do: {tag: seen}")
    await world.use("old")
    await world.matched("r1")
    await world.use("new")
    await world.matched("r1")
    await world.use("new", was="old")
    assert await world.matched("r1") == Reason.BELOW_COUNT
    assert await world.matched("r2") == ""
