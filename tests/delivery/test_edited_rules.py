"""What waits or failed follows its rule as it is now: its channel, texts, limits, and its end."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from delivery_world import HOUR, MINUTE, NOW, SECOND, SITE, SlackWorld, subject

from bot.actions import ACTIONS
from bot.actions.slack import Slack
from bot.cli.main import main
from bot.delivery import Delivery
from bot.delivery.rebuild import CurrentRules, NoLongerAsked, Rebuilt, rebuilt, retry_some
from bot.domain.subjects import RecordingSubject, WebsiteSubject, written
from bot.errors import GiveUp, Refused, TryLater
from bot.polling.context import PollContext
from bot.polling.record_matches import Found, Routing, record_poll
from bot.ports import Addresses, Ports
from bot.rules.files.actions import Allowed
from bot.rules.files.load import read
from bot.store.audit import history
from bot.store.dead_letters import dead_letters, waiting_steps
from bot.store.matches import PollOutcome
from bot.store.rebuild import StoredStep
from bot.store.recordings import set_websites
from bot.watcher import Watcher

ROUTING = Routing("#usual", "UTC")


class Pickers(SlackWorld):
    """A Slack that has these channels only."""

    def __init__(self, *channels):
        super().__init__()
        self.channels = set(channels)

    async def post(self, post):
        if post.channel not in self.channels:
            raise Refused("channel_not_found", "fix its name", code="channel_not_found")
        return await super().post(post)


class Account:
    def __init__(self):
        self.error, self.calls = None, []

    async def send(self, request):
        self.calls.append(request.method)
        if self.error:
            raise self.error
        return request.read(b"")


class Editing:
    """A daemon's rules and deliveries, over one store."""

    def __init__(self, store, *channels):
        self.store, self.now = store, NOW
        self.slack, self.account = Pickers(*channels), Account()
        ports = Ports(self.account, self.slack, None, Addresses(channel="#usual"))
        self.delivery = Delivery(
            store, ports, ACTIONS, clock=lambda: self.now, chance=lambda: 1.0
        )  # fmt: skip

    async def use(self, do, more="", name="rule"):
        about = "" if "watch" in do else "watch: recordings, when: {pages: 1}, "
        rule = f"{{{about}{more} do: {do}}}"
        text = f"version: 1\nrules: {{{name}: {rule}}}"
        self.rules = read([("r.yaml", text.encode())], allowed=Allowed(delete=True))
        context = PollContext(None, self.store, ZoneInfo("UTC"), HOUR, HOUR, ROUTING)
        self.watcher = Watcher(
            context, self.rules, ops=None, wake=lambda: None, clock=lambda: self.now
        )
        await self.watcher.use_rules(self.rules)

    def matched(self, *keys):
        for key in keys:
            seen = RecordingSubject(website=SITE, recording=subject(key).recording)
            outcome = PollOutcome(source="recordings", website=SITE.id, at=self.now)
            found = [Found(rule=self.rules.rules[0], subject=seen, happened=self.now)]
            self.do(record_poll, outcome, found, ROUTING)

    async def passes(self, span, tick=30 * SECOND):
        end = self.now + span
        while self.now < end:
            await self.delivery.drain()
            self.now += tick

    def do(self, work, *args, **named):
        return self.store.do(lambda conn: work(conn, *args, **named))


@pytest.fixture
def world(store):
    return Editing(store, "#right")


async def test_what_waits_for_a_wrong_channel_goes_to_the_right_one(world):
    await world.use('{slack: {channel: "#wrong", text: old}}')
    world.matched("r1", "r2")
    await world.passes(HOUR)
    assert world.slack.messages == []
    await world.use('{slack: {channel: "#right", text: new}}')
    await world.delivery.drain()
    assert [(post.channel, post.text) for post in world.slack.messages] == [("#right", "new")] * 2
    notes = world.do(history, kind="step.rebuilt")
    assert {note.text for note in notes} == {"rebuilt from the rule as it is now, for slack:#right"}


async def test_what_is_on_its_way_when_its_rule_is_edited_follows_once_it_waits_again(world):
    await world.use('{slack: {channel: "#wrong"}}')
    world.matched("r1")
    post = world.slack.post

    async def edited_meanwhile(it):
        world.slack.post = post
        await world.use('{slack: {channel: "#right"}}')
        return await post(it)

    world.slack.post = edited_meanwhile
    await world.delivery.drain()
    assert world.slack.messages == []
    await world.watcher.follow_up()
    await world.delivery.drain()
    assert [it.channel for it in world.slack.messages] == ["#right"]


async def test_what_waits_again_while_its_rule_is_being_applied_follows_too(world, monkeypatch):
    await world.use('{slack: {channel: "#wrong"}}')
    world.matched("r1")
    post, going, answers = world.slack.post, asyncio.Event(), asyncio.Event()

    async def slow(it):
        going.set()
        await answers.wait()
        return await post(it)

    world.slack.post = slow
    attempt = asyncio.create_task(world.delivery.drain())
    await going.wait()
    run = world.store.run

    async def answered_after_the_first_batch(work):
        done = await run(work)
        if getattr(getattr(work, "func", None), "__name__", "") == "some":
            answers.set()
            await attempt
        return done

    world.slack.post = post
    monkeypatch.setattr(world.store, "run", answered_after_the_first_batch)
    await world.use('{slack: {channel: "#right"}}')
    assert answers.is_set()
    await world.watcher.follow_up()
    await world.delivery.drain()
    assert [it.channel for it in world.slack.messages] == ["#right"]


async def test_a_dead_letter_is_retried_as_its_rule_has_it_now(world):
    await world.use('{slack: {channel: "#right", text: "{{ 1 }}"}}')
    world.slack.post = failing = Failing()
    world.matched("r1")
    await world.delivery.drain()
    (dead,) = world.do(dead_letters)
    del world.slack.post
    await world.use('{slack: {channel: "#right", text: better}}')
    book = CurrentRules({rule.id: rule for rule in world.rules.rules}, {"rule"}, "#usual")
    assert world.do(retry_some, world.now, book).requeued == 1
    await world.delivery.drain()
    assert [post.text for post in world.slack.messages] == ["better"]
    assert failing.key == world.slack.messages[0].key
    assert dead.fault == "msg_too_long"


class Failing:
    async def __call__(self, post):
        self.key = post.key
        raise GiveUp("msg_too_long", "shorten it")


async def test_a_delete_of_an_edited_or_removed_rule_is_taken_back(world):
    await world.use("{tag: x, delete: true}")
    world.account.error = TryLater("503")
    world.matched("r1")
    await world.passes(10 * MINUTE)
    await world.use("{tag: x, delete: true}", more="summary: edited,")
    world.account.error = None
    await world.passes(HOUR)
    assert world.account.calls.count("DELETE") == 0
    (note,) = world.do(history, kind="step.withheld")
    assert note.text == "not performed: the rule rule was edited before this ran"
    world.matched("r2")
    await world.delivery.drain()
    assert world.account.calls.count("DELETE") == 1
    world.account.error = TryLater("503")
    world.matched("r3")
    await world.passes(10 * MINUTE)
    await world.use("{tag: x, delete: true}", name="another")
    world.account.error = None
    await world.passes(HOUR)
    assert world.account.calls.count("DELETE") == 1
    assert "is gone" in world.do(history, kind="step.withheld")[0].text


@pytest.mark.parametrize(("websites", "waits"), [("[shop*]", 1), ("[other.com]", 0)])
async def test_a_switch_is_taken_back_where_its_rule_no_longer_watches(world, websites, waits):
    stop = "{recording: stop}, watch: websites, when: {status: recording}"
    await world.use(stop)
    found = Found(
        rule=world.rules.rules[0], subject=WebsiteSubject(website=SITE), happened=world.now,
        episode="one",
    )  # fmt: skip
    outcome = PollOutcome(source="reports", website=SITE.id, at=world.now)
    world.do(record_poll, outcome, [found], ROUTING)
    world.do(set_websites, {SITE.id: SITE.name}, {}, world.now)
    await world.use(stop, f"websites: {websites},")
    assert len(world.do(waiting_steps)) == waits
    notes = [note.text for note in world.do(history, kind="step.withheld")]
    told = "not performed: the rule rule no longer watches the website"
    assert notes == [told] * (1 - waits)


async def test_a_raised_limit_frees_what_was_kept_back(world):
    await world.use('{slack: {channel: "#right", at_most: 1 per day}}')
    world.matched("r1", "r2", "r3")
    await world.passes(MINUTE)
    assert len(world.slack.messages) == 1
    (digest,) = world.do(waiting_steps)
    assert digest.due == NOW + timedelta(days=1)
    await world.use('{slack: {channel: "#right", at_most: 1 per day}}', more="summary: same,")
    await world.delivery.drain()
    assert len(world.slack.messages) == 1
    await world.use('{slack: {channel: "#right", at_most: 20 per minute}}')
    await world.delivery.drain()
    assert len(world.slack.messages) == 2
    assert "2 more: rule" in world.slack.messages[1].text


async def test_active_hours_that_are_gone_hold_nothing_back(world):
    await world.use('{slack: {channel: "#right"}}', more='active: "mon-sun 08:00-08:30",')
    world.matched("r1", "r2")
    await world.passes(MINUTE)
    assert world.slack.messages == []
    await world.use('{slack: {channel: "#right"}}')
    await world.delivery.drain()
    assert len(world.slack.messages) == 1


async def test_a_window_begun_in_the_future_begins_now_once_the_clock_is_right(world):
    world.now = NOW + timedelta(days=365)
    await world.use('{slack: {channel: "#right", at_most: 1 per hour}}')
    world.matched("r1", "r2")
    await world.delivery.drain()
    world.slack.channels.clear()
    await world.use('{slack: {channel: "#right", at_most: 2 per hour}}')
    world.matched("r3")
    await world.delivery.drain()
    world.slack.channels.add("#right")
    world.now = NOW
    await world.passes(2 * HOUR + 10 * MINUTE, 5 * MINUTE)
    assert len(world.slack.messages) >= 3
    assert world.do(waiting_steps) == []


# The choice, as a table.

SUBJECT = written(subject("r1"))


def stored(action, params="{}", key=None, siblings=(), **more):
    usual = {
        "id": 1, "key": key or f"rule/w1/r1/{action}-1", "rule": "rule", "website": "w1",
        "subject_key": "r1", "lane": "slack:#a", "action": action, "params": params,
        "subject": SUBJECT, "follows": False, "unknown": False, "over": False, "siblings": siblings,
    }  # fmt: skip
    return StoredStep(**(usual | more))


def post(channel):
    return Slack(channel=channel).stored()


def book(do):
    text = f"version: 1\nrules: {{rule: {{watch: recordings, when: {{pages: 1}}, do: {do}}}}}"
    rules = read([("r.yaml", text.encode())]).rules
    return CurrentRules({rule.id: rule for rule in rules}, {"rule", "old"}, "#usual", "#ops")


TWO = '{slack: [{channel: "#b"}, {channel: "#c"}]}'


@pytest.mark.parametrize(
    ("step", "do", "becomes"),
    [
        (stored("slack", post("#a")), '{slack: {channel: "#a"}}', None),
        (stored("slack", post("#a")), '{slack: {channel: "#b"}}', Rebuilt(post("#b"), "slack:#b")),
        (stored("slack", post("#a")), "{slack: {}}", Rebuilt(post(""), "slack:#usual")),
        (
            stored("slack", post("#a")),
            "{tag: x}",
            NoLongerAsked("the rule rule no longer has this slack"),
        ),
        # `#b` is the other step's: this one was `#a`, which is `#c` now.
        (
            stored("slack", post("#a"), siblings=(post("#b"),)),
            TWO,
            Rebuilt(post("#c"), "slack:#c"),
        ),
        (
            stored("slack", post("#x"), key="rule/w1/r1/slack-2"),
            TWO,
            Rebuilt(post("#c"), "slack:#c"),
        ),
        (
            stored("slack", post("#a"), siblings=(post("#b"), post("#c"))),
            TWO,
            NoLongerAsked("the rule rule no longer has this slack"),
        ),
        (stored("slack", post("#a"), unknown=True), '{slack: {channel: "#b"}}', None),
        (stored("slack", post("#a"), rule="old"), TWO, NoLongerAsked("the rule old is gone")),
        (stored("slack", post("#a"), rule="budget monthly"), TWO, None),
        (stored("unshare", follows=True, lane="mouseflow:w1"), "{tag: x}", None),
        (stored("tag", '{"tag":"x"}', lane="mouseflow:w1"), "{tag: x}", None),
        (stored("tag", '{"tag":"x"}', lane="mouseflow:w1 tag"), "{tag: x}", None),
        (
            stored("digest", '{"channel":"#a","total":2}'),
            '{slack: {channel: "#b"}}',
            Rebuilt('{"channel":"#b","total":2}', "slack:#b"),
        ),
        (stored("digest", '{"channel":"#a"}'), TWO, None),
        (
            stored("digest", '{"channel":"#a"}'),
            "{tag: x}",
            NoLongerAsked("the rule rule no longer posts"),
        ),
        (
            stored("notice", '{"channel":"#a"}', rule="mouseflow-bot"),
            TWO,
            Rebuilt('{"channel":"#ops"}', "slack:#ops"),
        ),
        (stored("slack", post("#a"), subject=b"no JSON"), '{slack: {channel: "#b"}}', None),
        (stored("digest", "no JSON"), '{slack: {channel: "#b"}}', None),
        (stored("notice", "no JSON", rule="mouseflow-bot"), TWO, None),
    ],
)
def test_a_step_stands_for_one_action_of_its_rule(step, do, becomes):
    assert rebuilt(step, book(do)) == becomes


CONFIG = """
[mouseflow]
region = "eu"
email = "ops@example.com"
[store]
url = "{url}"
"""


async def test_the_command_says_which_rules_are_gone_and_works_in_batches(
    world, store_url, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(CONFIG.format(url=store_url))
    (tmp_path / "rules").mkdir()
    rules = tmp_path / "rules/r.yaml"
    await world.use('{slack: {channel: "#right", text: old}}')
    world.slack.post = Failing()
    for start in (0, 150, 300):
        world.matched(*(f"r{n}" for n in range(start, start + 150)))
        await world.delivery.drain()
    del world.slack.post
    rules.write_text(
        "version: 1\nrules: {other: {watch: recordings, when: {pages: 1}, do: {star: true}}}"
    )
    assert main(["retry"]) == 0
    out = capsys.readouterr().out
    assert "requeued 0 dead letters" in out
    assert "not requeued: 450 dead letters, the rule rule is gone" in out
    rules.write_text(
        "version: 1\nrules: {rule: {watch: recordings, when: {pages: 1},"
        ' do: {slack: {channel: "#right", text: new}}}}'
    )
    assert main(["retry", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["requeued"], done["refused"]) == (450, {})
    world.now = datetime.now(UTC) + MINUTE  # the command's clock is the real one
    await world.delivery.drain()
    (digest,) = world.slack.messages  # they are months old by that clock
    assert "450 more: rule" in digest.text
    rules.write_text("version: 1\nrules: {rule: 5}")
    assert main(["retry"]) == 0


class Killed(BaseException):
    """The process is gone."""


class Dying:
    """The store of a process that is killed after so many transactions."""

    def __init__(self, store, after):
        self.store, self.left, self.sharing = store, after, store.sharing

    async def run(self, work):
        if not self.left:
            raise Killed
        self.left -= 1
        return await self.store.run(work)

    def __getattr__(self, name):
        return getattr(self.store, name)


async def test_what_waits_follows_an_edit_whenever_the_bot_is_killed(world):
    whole, killed = world.store, 0
    for after in range(12):
        key = f"r{after}"
        await world.use('{slack: {channel: "#wrong", text: old}}')
        world.matched(key)
        await world.delivery.drain()
        world.store = Dying(whole, after)
        try:
            await world.use('{slack: {channel: "#right", text: new}}')
        except Killed:
            killed += 1
            world.store = whole
            await world.use('{slack: {channel: "#right", text: new}}')  # the next start
        world.store = whole
        await world.delivery.drain()
        assert [post.text for post in world.slack.messages] == ["new"] * (after + 1)
    assert 5 < killed < 12
