"""What is asked of the API: each fact once, filters that lose nothing, and when a rule may fire."""

import dataclasses
from datetime import timedelta

import pytest
from decision_worlds import conditions, learnt, rules, subjects
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.domain.subjects import Band, RecordingSubject, Site
from bot.fields.field import Source
from bot.rules import model as c
from bot.rules.evaluate import RuleList, answer, needs, rule_answer
from bot.rules.index import RuleIndex
from bot.rules.model import Rule
from bot.rules.needs import (
    asks_friction,
    asks_visitor_type,
    changes_asked,
    fires_early,
    interval_costs,
    interval_lines,
    likely,
    lines,
    needs_detail,
    plan,
    plans,
    thresholds,
    visitor_types,
)
from bot.rules.operators.figures import Bounds, Numbers
from bot.rules.operators.past import Change
from bot.rules.operators.texts import Every, NoneOf, OneOf
from bot.rules.operators.yes_no import Exists, Is
from bot.rules.value_tests import OVER
from mouseflow.filters import SessionFilters
from mouseflow.models import PageView, Recording


def rule(when, rule_id="r", **more):
    return Rule(id=rule_id, watch="recordings", when=when, do=(), **more)


def friction(**bounds):
    return c.Test("friction", Bounds(**bounds))


def test_every_friction_bound_becomes_a_threshold_to_reach_each_once_and_ascending():
    asked = [rule(friction(min=5)), rule(friction(over=2)), rule(c.Not(friction(under=2.5)))]
    asked.append(rule(friction(max=2), excepts=friction(min=5)))
    assert thresholds(asked) == (2 + OVER, 2.5, 5)
    assert thresholds([rule(c.Test("country", OneOf(("de",))))]) == ()


@given(
    st.sampled_from([0.0, 2.0, 2.0000005, 2.5, 3.0, 7.0]),
    st.builds(
        Bounds,
        min=st.none() | st.sampled_from([2.0, 2.5]),
        over=st.none() | st.sampled_from([2.0, 3.0]),
        max=st.none() | st.sampled_from([2.5, 3.0]),
        under=st.none() | st.sampled_from([3.0, 2.5]),
    ),
    subjects,
)
@settings(max_examples=100, deadline=None)
def test_the_thresholds_asked_are_enough_to_decide(figure, bounds, seen):
    """A server that knows the friction answers each threshold; then nothing is unknown."""
    test = c.Test("friction", bounds)
    asked = thresholds([rule(test)])
    reached = [it for it in asked if figure >= it]
    band = Band(
        max(reached, default=Band().low),
        min((it for it in asked if figure < it), default=Band().high),
    )
    said = answer(test, replace(seen, friction=band))
    exact = answer(test, replace(seen, friction=Band.exactly(figure)))
    if abs(figure - 2) > OVER or figure == 2:  # finer than the API can be asked
        assert said is exact
    else:
        assert said is not None


def test_facts_are_asked_only_where_a_rule_depends_on_them():
    visitors = rule(c.Test("visitor_type", OneOf(("first",))))
    assert asks_visitor_type(visitors)
    assert not asks_friction(visitors)
    assert asks_friction(rule(c.All(()), excepts=friction(min=1)))
    assert visitor_types([visitors]) == ("returning",)
    assert visitor_types([rule(friction(min=1))]) == ()


@pytest.mark.parametrize(
    ("when", "early"),
    [
        (friction(min=2.5), True),
        (friction(over=2.5), True),
        (friction(under=5), False),
        (c.Not(friction(min=2.5)), False),
        (c.Test("duration", Bounds(min=60_000)), True),
        (c.Test("duration", Bounds(min=60_000, max=90_000)), False),
        (c.Not(c.Test("duration", Bounds(under=60_000))), True),
        (c.Test("pages", Numbers((3.0,))), False),
        (c.Test("saw_page", OneOf(("/a",))), True),
        (c.Test("saw_page", NoneOf(("/a",))), False),
        (c.Not(c.Test("saw_page", OneOf(("/a",)))), False),
        (c.Test("tags", Every(("a",))), True),
        (c.Test("tags", Exists(False)), False),
        (c.Journey(("/a", "/b")), True),
        (c.Test("exit_page", OneOf(("/a",))), False),
        (c.Test("variables", OneOf(("a",)), "plan"), False),
        (c.Test("country", NoneOf(("us",))), True),
        (c.Not(c.Test("country", OneOf(("us",)))), True),
        (c.Test("starred", Is(False)), False),
        (c.OneItem("page", (c.Test("path", OneOf(("/a",))),)), True),
        (c.OneItem("page", (c.Test("time", Bounds(under=5)),)), False),
        (c.AnyOf((friction(min=1), c.Test("exit_page", OneOf(("/",))))), False),
        (c.All((friction(min=1), c.Test("lang", Exists(False)))), True),
    ],
)
def test_a_rule_fires_early_only_if_its_condition_stays_true(when, early):
    assert fires_early(rule(when)) is early
    assert fires_early(rule(c.All(()), excepts=when)) is fires_early(rule(c.Not(when)))


def longer(view):
    """The page view a while later."""
    time = view.visit_time
    return view if time is None else replace(view, visit_time=time + 70_000)


@given(
    conditions,
    learnt(),
    st.lists(
        st.builds(
            PageView,
            website_page=st.just("/cart"),
            uri=st.just("/cart"),
            visit_time=st.just(9),
            tags=st.just(("submit",)),
        ),
        max_size=2,
    ),
)
@settings(max_examples=150, deadline=None)  # fmt: skip
def test_a_rule_that_fires_early_still_matches_when_the_session_has_grown(when, seen, more):
    wanted, (_, early) = rule(when), seen
    if not fires_early(wanted) or not rule_answer(wanted, early):
        return
    recording = early.recording
    views = tuple(map(longer, recording.page_views or ()))
    first = (views[0].website_page or views[0].uri) if views else None
    grown = replace(
        recording,
        page_views=(*views, *more),
        entry_page=recording.entry_page or recording.entry or first,
        pages=None if recording.pages is None else recording.pages + len(more),
        duration=None if recording.duration is None else recording.duration + 30_000,
        tags=(*recording.tags, "click-rage"),
    )
    later = replace(early, recording=grown, friction=Band.exactly(early.friction.low + 3))
    assert rule_answer(wanted, later)


@given(rules, learnt())
@settings(max_examples=100, deadline=None)
def test_a_rule_that_needs_no_detail_and_no_fact_is_decided_by_the_row(wanted, seen):
    row, _ = seen
    asked = needs(wanted.when, row)
    if "asked" in asked:
        assert asks_friction(wanted) or asks_visitor_type(wanted)
    if "detail" in asked:
        assert needs_detail(wanted) or row.recording.pages is None or not row.recording.entry


def test_a_session_of_one_page_needs_no_detail_to_know_its_pages():
    recording = Recording(id="r", pages=1, entry_page="/cart")
    alone = RecordingSubject(website=Site("w1", "myshop.com"), recording=recording)
    several = replace(alone, recording=replace(recording, pages=2))
    tests = {
        "saw_page": (c.Test("saw_page", OneOf(("/pay",))), False),
        "absent": (c.Test("saw_page", NoneOf(("/pay",))), True),
        "exit_page": (c.Test("exit_page", OneOf(("/cart",))), True),
        "journey": (c.Journey(("/cart", "/pay")), False),
    }
    for condition, met in tests.values():
        for group_of in (RuleIndex, RuleList):
            group = group_of([rule(condition)])
            assert group.decide(alone) == (group.rules if met else (), ())
            assert group.decide(several) == ((), group.rules)
        assert not needs(condition, alone)
        assert needs(condition, several) == {Source.DETAIL}


def test_filters_come_close_to_what_a_rule_matches():
    when = c.All(
        (
            c.Test("country", OneOf(("DE",))),
            c.Test("device", OneOf(("Phone",))),
            c.Test("referrer_type", OneOf(("Search",))),
            c.Test("browser", OneOf(("lynx",))),
            c.Test("duration", Bounds(over=60_000, max=90_000.5)),
            c.Test("pages", Bounds(min=3)),
            c.Test("saw_page", OneOf(("/Checkout",))),
            c.Test("tags", OneOf(("submit",))),
            c.Test("starred", Is(True)),
            friction(min=2.5),
            c.AnyOf((c.Test("os", OneOf(("linux",))), c.Test("os", OneOf(("ios",))))),
            c.Not(c.Test("screen", OneOf(("1x1",)))),
        )
    )
    close = SessionFilters(
        country="de",
        device="phone",
        referrer="searchengines",
        visitmin=timedelta(seconds=60),
        visitmax=timedelta(milliseconds=90_001),
        pagesmin=3,
        star=True,
        funnel="/checkout",
        tags=("submit",),
        frictionmin=2.5,
    )
    assert likely(rule(when)) == close


def test_a_plan_says_what_a_poll_asks_and_what_it_costs():
    site = Site("w1", "myshop.com")
    set_ = [
        rule(friction(min=2.5), "angry"),
        rule(c.Test("visitor_type", OneOf(("first",))), "new"),
        rule(c.Test("exit_page", OneOf(("/pay",))), "left", websites=("MYSHOP.*",)),
        rule(friction(min=9), "elsewhere", websites=("other.com",)),
    ]
    made = plan(set_, site)
    assert made.rules == ("angry", "new", "left")
    assert (made.thresholds, made.visitor_types, made.calls) == ((2.5,), ("returning",), 3)
    assert (made.detailed, made.early) == (("left",), ("angry", "new"))
    assert lines(made) == [
        "at most 3 calls when something is new: the list",
        "  a query for friction of at least 2.5",
        "  a query for returning visitors",
        "then page views, for recordings that left can't decide without them:",
        "  one call for many recordings if lists have page views, else one call each",
        "waiting until a session is settled: left",
    ]
    assert plan([], site).calls == 0
    assert lines(plan([], site)) == ["no rule watches recordings here: nothing is asked"]


def test_the_past_that_a_level_compares_with_is_named():
    drop = c.Test("conversion", Change(drops_by=20, against=1000))
    funnels = Rule(id="f", watch="funnels", when=c.All((drop,)), do=(), until=c.Not(drop))
    assert changes_asked(funnels) == {("conversion", 1000)}


def test_the_costs_of_intervals_are_known_before_one_is_chosen():
    costs = interval_costs(3, timedelta(minutes=2), rate=2)
    assert [cost.every for cost in costs] == [timedelta(minutes=it) for it in (1, 2, 5, 15)]
    assert [(cost.least, cost.most, cost.fits) for cost in costs[1:3]] == [
        (720, 2160, (80, 240)),
        (288, 864, (200, 600)),
    ]
    assert interval_lines(costs, timedelta(minutes=2))[::2] == [
        "requests a day for each website, besides details (limit 172,800):",
        "  every 2 min (configured): 720 to 2,160, 0.42 % to 1.2 % of the limit; "
        "80 to 240 such websites fit",
        "  every 15 min: 96 to 288, 0.056 % to 0.17 % of the limit; 600 to 1,800 such websites fit",
    ]
    alone = interval_lines(interval_costs(1, timedelta(minutes=15), rate=2), timedelta())
    assert "  every 15 min: 96, 0.056 % of the limit; 1,800 such websites fit" in alone
    assert interval_lines(interval_costs(0, timedelta(minutes=2), rate=2), timedelta()) == []


def test_the_plans_of_many_websites_are_those_of_each_and_a_rule_is_read_once(monkeypatch):
    names = ("", "shop-*", "*-1", "shop-2", "w3")
    found = [
        rule(friction(min=n / 2) if n % 2 else c.Test("visitor_type", OneOf(("first",))),
             f"r{n}", websites=(names[n % 5],) if n % 5 else ())
        for n in range(10)
    ]  # fmt: skip
    sites = [Site(f"w{n}", f"shop-{n}") for n in range(9)] + [Site("x", "else")]
    expected = {site: plan(found, site) for site in sites}
    read = []
    monkeypatch.setattr("bot.rules.needs.needs_detail", lambda it: read.append(it.id) or False)
    together = plans(found, sites)
    assert {site: each for each, alike in together.items() for site in alike} == {
        site: dataclasses.replace(each, detailed=()) for site, each in expected.items()
    }
    assert len(together) > 3
    assert read == [it.id for it in found]
