"""The API's free-text search as a condition: asked of the server, proved, and nowhere else."""

from urllib.parse import parse_qsl

import pytest
from poll_world import Account

from bot.errors import RuleErrors
from bot.replay import explain_one
from bot.rules.files.load import read
from bot.rules.needs import lines, plan
from bot.rules.tests import run
from mouseflow import recordings
from mouseflow.simulator.scenarios import session
from mouseflow.simulator.sessions import Visitor

RULES = """
acme:
  watch: recordings
  when: {search: acme corp}
  do: {tag: acme}
others:
  watch: recordings
  when: {device: desktop, not: {search: [acme corp, globex]}}
  do: {tag: others}
simple:
  watch: recordings
  when: {device: desktop}
  do: {tag: simple}
"""
PAGES = [("/", 40), ("/pricing", 60)]


@pytest.fixture
def shop(tmp_path):
    made = Account(tmp_path, RULES, ops="#ops")
    yield made
    made.close()


def visit(shop, isp: str) -> str:
    visitor = Visitor(isp=isp, device="desktop")
    return shop.sim.add("myshop.com", session(PAGES, visitor=visitor), start=-2400)


def searches(shop) -> list[str]:
    asked = [dict(parse_qsl(call.query)) for call in shop.sim.calls]
    return [query["search"] for query in asked if "search" in query]


async def test_the_api_decides_who_is_found(shop):
    acme, globex, other = (visit(shop, it) for it in ("ACME Corp Ltd", "Globex", "Telia"))
    await shop.poll()
    assert shop.matched() == {
        ("acme", acme), ("others", other), *(("simple", it) for it in (acme, globex, other)),
    }  # fmt: skip
    # Proved by a text that nobody has; each text once for all rules and recordings.
    assert sorted(set(searches(shop))) == ["acme corp", "globex", "mouseflow-bot finds nobody"]
    assert searches(shop).count("acme corp") == searches(shop).count("globex") == 1


async def test_texts_that_differ_in_case_or_spaces_are_one_query(tmp_path):
    text = RULES.replace("[acme corp, globex]", '["ACME  Corp ", " acme corp"]')
    shop = Account(tmp_path, text, ops="#ops")
    acme, other = visit(shop, "ACME Corp Ltd"), visit(shop, "Telia")
    await shop.poll()
    assert {("acme", acme), ("others", other)} <= shop.matched()
    assert ("others", acme) not in shop.matched()
    assert len([it for it in searches(shop) if "finds nobody" not in it]) == 1
    shop.close()


async def test_it_costs_nothing_while_no_recording_depends_on_it(shop):
    await shop.poll()
    assert searches(shop) == []
    visit(shop, "Telia")
    await shop.poll()
    before = len(searches(shop))
    for _ in range(5):
        shop.wait(minutes=5)
        await shop.poll()
    assert len(searches(shop)) == before


async def test_a_search_that_is_ignored_holds_its_rules_alone(shop):
    shop.sim.behave(ignored_filters=frozenset({"search"}))
    acme = visit(shop, "Acme corp")
    await shop.poll()
    assert shop.matched() == {("simple", acme)}
    shop.sim.behave(ignored_filters=frozenset())
    shop.wait(minutes=6)
    await shop.poll()
    assert ("acme", acme) in shop.matched()


async def test_explain_says_what_the_api_has_found(shop):
    acme = visit(shop, "Acme corp")
    detail = await shop.sender.send(recordings.detail(shop.site.id, acme))
    rule = shop.rules[0]
    seen = await explain_one.ask(
        shop.sender, shop.site, detail, rule, frozenset(), shop.zone, shop.now
    )
    assert seen.subject.found_by == ("acme corp",)


def test_plans_and_tests_know_it(shop):
    assert "  a search for acme corp" in lines(plan(shop.rules, shop.site))
    text = b"""
version: 1
rules:
  acme:
    watch: recordings
    when: {search: acme corp}
    do: {star: true}
    tests:
      - {name: found, given: {search: Acme Corp}, expect: match}
      - {name: another, given: {search: globex}, expect: no match}
"""
    assert all(each.passed for each in run(read([("a.yaml", text)])))


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("{search: acme*}", "the API searches for a text as it is; write it without *"),
        ("{search: {matches: acme}}", "matches does not fit search; use all or not"),
        ("{search: {exists: true}}", "exists does not fit search; use all or not"),
    ],
)
def test_what_the_api_cannot_search_for_is_an_error(when, said):
    text = f"version: 1\nrules: {{a: {{watch: recordings, when: {when}, do: {{star: true}}}}}}\n"
    with pytest.raises(RuleErrors) as caught:
        read([("a.yaml", text.encode())])
    assert said in str(caught.value.faults[0])
