"""Which websites are watched, and by which prepared rules."""

import asyncio
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from poll_world import Account
from structlog.testing import capture_logs

from bot.domain.subjects import Site
from bot.notices import OWN_FAULTS
from bot.polling.context import PollContext
from bot.polling.record_matches import Routing
from bot.rule_reader import Start
from bot.rules.files.load import read
from bot.store.audit import Note, history, record
from bot.store.rules import RejectedRules, reject_rules
from bot.store.sharing import Alone
from bot.watched_sites import (
    AT_ONCE,
    NOTHING_PREPARED,
    Prepared,
    WatchedSite,
    prepare,
    watched_sites,
)
from bot.watcher import Watcher
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

RULES = b"""
version: 1
rules:
  all:
    watch: recordings
    when: {device: phone}
    do: {tag: phone}
  shop:
    watch: recordings
    websites: [shop-*]
    when: {device: tablet}
    do: {tag: tablet}
"""
SITES = [Site(name, name) for name in ("a", "shop-1", "b", "shop-2")]


def watch(text: bytes, before: dict[str, WatchedSite] | None = None):
    """The websites under these rules, prepared without what was prepared before."""
    return watched_sites(SITES, before or {}, prepared(text))


def prepared(text: bytes, before: Prepared = NOTHING_PREPARED) -> Prepared:
    work = prepare(read([("r.yaml", text)]), SITES, before)
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value


def test_websites_with_the_same_rules_share_them():
    watched = watch(RULES)
    a, one, b, two = (watched[site.id].rules for site in SITES)
    assert a is b
    assert one is two
    assert [rule.id for rule in a.final.rules] == ["all"]
    assert [rule.id for rule in one.final.rules] == ["all", "shop"]


def test_more_websites_with_the_same_rules_are_no_more_work():
    many = [Site(f"shop-{n}", f"shop-{n}") for n in range(200)]
    few, more = (
        sum(1 for _piece in prepare(read([("r.yaml", RULES)]), sites, NOTHING_PREPARED))
        for sites in (SITES, [*SITES, *many])
    )
    assert more == few + 200 // AT_ONCE


def test_what_is_known_of_a_website_stays_if_its_rules_do():
    before = watch(RULES)
    after = watch(RULES.replace(b"tablet}", b"desktop}"), before)
    assert [after[site.id].live is before[site.id].live for site in SITES] == [
        True, False, True, False,
    ]  # fmt: skip


@pytest.fixture
def account(tmp_path):
    made = Account(tmp_path, "any: {watch: recordings, when: {device: phone}, do: {star: true}}")
    yield made
    made.close()


async def test_rules_are_prepared_anew_only_if_rules_or_websites_have_changed(account):
    context = PollContext(account.sender, account.store, ZoneInfo(account.zone), account.settle,
                account.start, Routing("#mouseflow", account.zone))  # fmt: skip
    watcher = Watcher(context, read([("r.yaml", RULES)]), ops=None, wake=lambda: None,
                      clock=lambda: account.now)  # fmt: skip

    async def prepared():
        await watcher.find_sites()
        return watcher.watched[account.site.id].rules

    first = await prepared()
    assert await prepared() is first
    account.sim.world.sites["new"] = website("new", "other.com", plan=Plan(per_day=0))
    assert await prepared() is first
    assert watcher.watched["new"].rules is first
    await watcher.use_rules(read([("r.yaml", b"# moved\n" + RULES)]))
    assert await prepared() is first
    await watcher.use_rules(read([("r.yaml", RULES.replace(b"phone}", b"desktop}"))]))
    assert await prepared() is not first
    assert watcher.watched["new"].rules is watcher.watched[account.site.id].rules


async def test_a_bot_that_another_one_leads_logs_what_is_wrong_with_its_rule_files(account):
    context = PollContext(account.sender, account.store, ZoneInfo(account.zone), account.settle,
                account.start, Routing("#mouseflow", account.zone))  # fmt: skip
    account.store.sharing.leads = False
    rules = read([("r.yaml", RULES)])
    watcher = Watcher(context, rules, ops="#ops", wake=lambda: None, clock=lambda: account.now)
    with capture_logs() as logs:
        await watcher.start_with(Start(rules, (), ("r.yaml:3:1: wrong",)))
    assert [it["faults"] for it in logs if it["event"] == "rules.reload_failed"] == [
        ["r.yaml:3:1: wrong"]
    ]


async def test_people_hear_once_of_errors_in_the_files_of_one_bot_alone(account):
    context = PollContext(account.sender, account.store, ZoneInfo(account.zone), account.settle,
                account.start, Routing("#mouseflow", account.zone))  # fmt: skip
    account.store.sharing.leads = False
    rules = read([("r.yaml", RULES)])
    watcher = Watcher(context, rules, ops="#ops", wake=lambda: None, clock=lambda: account.now)

    async def told(*, after: timedelta) -> list[str]:
        await watcher.tell_own_faults()
        account.now += after
        await watcher.tell_own_faults()
        found = account.store.do(lambda conn: history(conn, kind="notice"))
        return [f"{it.text} {it.details['lines']}" for it in reversed(found)]

    wrong = ["r.yaml:3:1: wrong"]
    leads = RejectedRules(account.now, wrong)
    account.store.do(lambda conn: reject_rules(conn, leads))
    await watcher.reject_rules(wrong)
    assert await told(after=OWN_FAULTS) == []  # the bot that leads has told that
    await watcher.use_rules(rules)
    assert await told(after=OWN_FAULTS) == []
    account.store.do(lambda conn: record(conn, account.now, [Note(kind="rules.loaded")]))
    await watcher.reject_rules(wrong)
    assert await told(after=OWN_FAULTS - timedelta(seconds=1)) == []
    said = ["Rule files of the bot that does not lead have errors. It uses its previous rules. "
            "['r.yaml:3:1: wrong']"]  # fmt: skip
    assert await told(after=timedelta(seconds=1)) == said
    assert await told(after=timedelta(hours=1)) == said
    await watcher.use_rules(rules)
    said.append("Rule files of the bot that does not lead are fixed. It uses them now. []")
    assert await told(after=timedelta(hours=1)) == said


class _OneOf(Alone):
    """One of the bots that share a store; the first one leads."""

    shares = True

    def __init__(self, mark: str, there: list[str]) -> None:
        self.mark, self.there = mark, there

    @property
    def leads(self):
        return self.there[0] == self.mark

    @property
    def bots(self):
        return len(self.there)

    def alive(self, conn):
        return list(self.there)


async def test_people_hear_that_errors_in_the_files_of_one_bot_are_gone_whoever_had_them(account):
    context = PollContext(account.sender, account.store, ZoneInfo(account.zone), account.settle,
                account.start, Routing("#mouseflow", account.zone))  # fmt: skip
    rules, there = read([("r.yaml", RULES)]), ["r1", "r2", "r3"]
    bots: dict[str, Watcher] = {}

    def start(mark: str) -> Watcher:
        account.store.sharing = _OneOf(mark, there)
        bots[mark] = Watcher(context, rules, ops="#ops", wake=lambda: None,
                             clock=lambda: account.now)  # fmt: skip
        return bots[mark]

    async def told() -> list[str]:
        for _ in range(2):
            for mark in there:
                await bots[mark].tell_own_faults()
            account.now += OWN_FAULTS
        found = account.store.do(lambda conn: history(conn, kind="notice"))
        return [it.text.replace("that does not lead ", "") for it in reversed(found)]

    begins = "Rule files of the bot have errors. It uses its previous rules."
    fixed = "Rule files of the bot are fixed. It uses them now."
    gone = "The bot with errors in its rule files has stopped."
    start("r1")
    await start("r2").reject_rules(["r.yaml:3:1: wrong"])
    await start("r3").reject_rules(["r.yaml:9:1: other"])
    said = [begins, begins]
    assert await told() == said
    for mark in ("r2", "r3"):  # each of them has an end of its own
        await bots[mark].use_rules(rules)
        said.append(fixed)
        assert await told() == said

    await bots["r2"].reject_rules(["r.yaml:3:1: wrong"])
    said.append(begins)
    assert await told() == said
    there[:] = ["r1", "r3", "r4"]  # it starts again with the same files: people know
    await start("r4").reject_rules(["r.yaml:3:1: wrong"])
    assert await told() == said
    there[:] = ["r1", "r3", "r5"]  # and with other ones
    start("r5")
    said.append(gone)
    assert await told() == said
    await bots["r5"].reject_rules(["r.yaml:3:1: wrong"])
    assert await told() == [*said, begins]


def test_only_rules_that_have_changed_are_prepared_anew():
    before = prepared(RULES)
    moved = prepared(b"# moved\n" + RULES, before)
    assert moved == before
    assert [moved.rules[site.id] is before.rules[site.id] for site in SITES] == [True] * 4
    edited = prepared(RULES.replace(b"device: tablet", b"device: desktop"), before)
    assert [edited.rules[site.id] is before.rules[site.id] for site in SITES] == [
        True, False, True, False,
    ]  # fmt: skip
    assert edited.traits["all"] is before.traits["all"]
    another_tag = prepared(RULES.replace(b"tag: phone", b"tag: other"), before)
    assert another_tag.rules["shop-1"].own_tags == {"other", "tablet"}


async def test_other_work_goes_on_while_many_rules_are_prepared(account):
    context = PollContext(account.sender, account.store, ZoneInfo(account.zone), account.settle,
                account.start, Routing("#mouseflow", account.zone))  # fmt: skip
    rules = [
        f"  rule-{n}: {{watch: recordings, when: {{pages: {n + 1}}}, do: {{tag: t-{n}}}}}"
        for n in range(400)
    ]
    many = read([("r.yaml", "\n".join(["version: 1", "rules:", *rules]).encode())])
    watcher = Watcher(context, many, ops=None, wake=lambda: None, clock=lambda: account.now)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await watcher.find_sites()
    counting.cancel()
    assert len(watcher.watched[account.site.id].rules.final.rules) == 400
    assert turns >= 400 / AT_ONCE
