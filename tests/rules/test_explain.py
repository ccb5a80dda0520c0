"""An explanation says why and how far off; what goes into messages holds nothing personal."""

import msgspec
import pytest
from decision_worlds import conditions, learnt, rules
from hypothesis import given, settings

from bot.domain.subjects import Band, FunnelStep, FunnelSubject, RecordingSubject, Site
from bot.rules import model as c
from bot.rules.evaluate import answer, rule_answer
from bot.rules.explain import explain, lines, why
from bot.rules.model import Rule
from bot.rules.operators.figures import Bounds, Numbers
from bot.rules.operators.past import Change
from bot.rules.operators.texts import Every, NoneOf, OneOf, Pattern
from bot.rules.operators.yes_no import Exists, Is
from bot.rules.value_tests import both, opposite
from mouseflow.models import PageView, Recording

SITE = Site("w1", "myshop.com")
WHEN = c.All(
    (
        c.Test("friction", Bounds(min=2.5)),
        c.Test("saw_page", OneOf(("/checkout*",))),
        c.Test("duration", Bounds(over=60_000)),
    )
)
RULE = Rule(
    id="checkout-friction",
    watch="recordings",
    when=WHEN,
    do=(),
    websites=("myshop.com",),
    excepts=c.Test("tags", OneOf(("internal", "load-test"))),
)


def subject(**values):
    values = {"id": "r", "duration": 95_000, "pages": 2, **values}
    return RecordingSubject(website=SITE, recording=Recording(**values), friction=Band(2.5, 5))


def only(when, **more):
    return Rule(id="r", watch="recordings", when=when, do=(), **more)


def test_a_match_is_explained_with_what_was_seen():
    seen = subject(page_views=(PageView(website_page="/checkout/pay"),), tags=("submit",))
    assert lines(explain(RULE, seen)) == [
        "✓ checkout-friction matches",
        "  ✓ website myshop.com: myshop.com",
        "  when",
        "    ✓ friction at least 2.5: at least 2.5, under 5, the API decides (frictionmin)",
        "    ✓ saw_page /checkout*: /checkout/pay",
        "    ✓ duration over 60 s: 1 min 35 s",
        "  except any of these",
        "    ✗ tags internal or load-test: submit",
    ]


def test_a_miss_is_explained_with_how_far_off_it_is_and_what_is_not_known():
    assert lines(explain(RULE, subject(duration=58_000))) == [
        "✗ checkout-friction does not match",
        "  ✓ website myshop.com: myshop.com",
        "  when",
        "    ✓ friction at least 2.5: at least 2.5, under 5, the API decides (frictionmin)",
        "    ? saw_page /checkout*: no data, needs the recording's detail",
        "    ✗ duration over 60 s: 58 s, needs over 60 s (2 s short)",
        "  except any of these",
        "    ? tags internal or load-test: no data, needs the recording's detail",
    ]


def test_the_closest_page_view_is_shown_when_none_will_do():
    page = c.OneItem("page", (c.Test("path", OneOf(("/pay",))), c.Test("time", Bounds(min=10_000))))
    seen = subject(
        page_views=(
            PageView(website_page="/", visit_time=1),
            PageView(website_page="/pay", visit_time=9_000),
        )
    )
    assert lines(explain(only(page), seen))[3:] == [
        "    ✗ one page with path /pay, time at least 10 s: 2 pages, the closest",
        "      ✓ path /pay: /pay",
        "      ✗ time at least 10 s: 9 s, needs at least 10 s (1 s short)",
    ]


def test_a_rule_about_something_else_says_so():
    funnels = Rule(id="f", watch="funnels", when=c.All(()), do=())
    assert lines(explain(funnels, subject())) == [
        "✗ f does not match",
        "  ✗ it watches funnels only",
    ]


def test_a_change_says_what_was_or_that_there_is_no_history_yet():
    rule = Rule(
        id="f",
        watch="funnels",
        when=c.Test("conversion", Change(drops_by=20, against=7 * 86_400_000)),
        do=(),
    )
    steps = (FunnelStep("a", "/", 200), FunnelStep("b", "/b", 50))
    funnel = FunnelSubject(website=SITE, id="f1", steps=steps)
    known = lines(explain(rule, funnel, lambda name, ago: 40.0))
    assert known[0] == "✓ f matches"
    assert known[-1] == "    ✓ conversion down by 20 % against 7 d ago: 25 %, was 40 %"
    assert lines(explain(rule, funnel))[-1].endswith("no data, not enough history yet")
    assert why(rule, funnel, lambda name, ago: 40.0) == (
        "conversion down by 20 % against 7 d ago: 25 %, was 40 %",
    )


@pytest.mark.parametrize(
    ("when", "values", "reasons"),
    [
        (c.Test("friction", Bounds(min=2.5)), {}, ("friction at least 2.5",)),
        (c.Test("duration", Bounds(over=60_000)), {}, ("1 min 35 s, over 60 s",)),
        (c.Test("pages", Bounds(min=2)), {}, ("pages 2, at least 2",)),
        (c.Test("pages", Numbers((2.0,))), {}, ("pages 2",)),
        (c.Test("pages", Numbers((2.0, 3.0))), {}, ("pages 2, 2 or 3",)),
        (c.Test("saw_page", OneOf(("/a*",))), {"entry_page": "/ab"}, ("saw /ab",)),
        (c.Test("tags", OneOf(("x", "y"))), {"tags": ("y", "z")}, ("tag y",)),
        (c.Test("country", OneOf(("de",))), {"country": "de"}, ("country de",)),
        (c.Not(c.Test("country", OneOf(("us",)))), {"country": "de"}, ("not country us",)),
        (c.Test("starred", Is(True)), {"starred": True}, ("starred",)),
        (c.Journey(("/a", "/b*")), {}, ("went /a → /b*",)),
        (
            c.OneItem("page", (c.Test("path", OneOf(("/b",))), c.Test("tags", OneOf(("x",))))),
            {},
            ("on /b: tags x",),
        ),
    ],
)
def test_the_reasons_of_a_match_are_short_and_name_what_was_seen(when, values, reasons):
    views = (PageView(website_page="/a"), PageView(website_page="/b", tags=("x",)))
    seen = subject(**({"page_views": views} | values if "went" in reasons[0] or "on" in reasons[0]
                      else values))  # fmt: skip
    assert why(only(when), seen) == reasons


def test_what_a_rule_asks_of_tags_in_several_ways_is_said_once_each():
    asks = (
        c.Test("tags", Every(("x", "y*"))),
        c.Test("tags", NoneOf(("bot", "qa"))),
        c.Test("saw_page", OneOf(("/a",))),
        c.Test("saw_page", NoneOf(("/c",))),
    )
    views = (PageView(website_page="/a"), PageView(website_page="/b"))
    seen = subject(tags=("x", "yes", "z"), page_views=views)
    assert why(only(c.All(asks)), seen) == (
        "tag x and yes", "no tag bot or qa", "saw /a", "did not see /c",
    )  # fmt: skip


def test_only_the_branches_that_hold_are_reasons():
    either = c.AnyOf((c.Test("country", OneOf(("de",))), c.Test("device", OneOf(("phone",)))))
    assert why(only(either), subject(country="fr", device="Phone")) == ("device Phone",)


SECRETS = {
    "ip": "203.0.113.9",
    "visitor_id": "v-secret",
    "visitor_name": "Jane Roe",
    "entry": "https://shop.my/?token=secret",
    "referrer": "https://mail.example/?q=secret",
}


def test_reasons_never_hold_a_personal_value():
    names = {"entry": "entry_url"}
    tests = [c.Test(names.get(name, name), Exists()) for name in SECRETS]
    tests.append(c.Test("variables", OneOf(("se*",)), "email"))
    seen = subject(**SECRETS, variables=("email=secret@example.com",))
    reasons = why(only(c.All(tuple(tests))), seen)
    assert len(reasons) == len(tests)
    said = " ".join(reasons)
    assert not [secret for secret in [*SECRETS.values(), "secret"] if secret in said]
    assert "variable email as the rule asks" in reasons


def test_what_visitors_choose_can_not_steer_the_terminal():
    seen = subject(entry_page="/\x1b[31mred\u202e", country="\x1b]0;x\x07")
    tests = c.All((c.Test("entry_page", Exists()), c.Test("country", Exists())))
    text = "\n".join([*lines(explain(only(tests), seen)), *why(only(tests), seen)])
    assert not set(text) & {"\x1b", "\x07", "\u202e"}


@settings(max_examples=80, deadline=None)
@given(rules, learnt())
def test_every_rule_can_be_explained_and_the_answer_is_the_same(rule, recording):
    for seen in recording:
        found = explain(rule, seen)
        assert found.matches is rule_answer(rule, seen)
        parts = [found.website.answer, found.when.answer]
        if found.excepts is not None:
            parts.append(opposite(found.excepts.answer))
        assert found.matches is both(parts)
        assert all(isinstance(line, str) and "\n" not in line for line in lines(found))
        assert all(why(rule, seen)) or not found.matches


@settings(max_examples=100, deadline=None)
@given(conditions, learnt())
def test_a_condition_is_explained_with_its_own_answer(condition, recording):
    for seen in recording:
        assert explain(only(condition), seen).when.answer is answer(condition, seen)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1.234,50", "1.234,50, no data: that is no plain number, such as 1234.5"),
        ("900", "900"),
        ("", "no data"),
    ],
)
def test_a_number_in_a_local_notation_is_no_data_and_shown(text, says):
    cart = c.Test("variables", Bounds(min=1000), "cart")
    rule = Rule(id="r", watch="recordings", when=cart, do=())
    recording = Recording(id="r1", variables=(f"cart={text}",))
    subject = RecordingSubject(website=Site("w1", "myshop.com"), recording=recording)
    assert lines(explain(rule, subject))[-1].strip() == f"✗ variable cart at least 1,000: {says}"


MANY = ("/", "/search", "/products/shoes", "/products/runner-3", "/about", "/help", "/checkout/pay")


@pytest.mark.parametrize(
    ("test", "shown"),
    [
        (OneOf(("/checkout*",)), "✓ saw_page /checkout*: /checkout/pay, "),
        (NoneOf(("/checkout*",)), "✗ saw_page not /checkout*: /checkout/pay, "),
        (OneOf(("/checkuot",)), "✗ saw_page /checkuot: /checkout/pay, "),
        (Every(("/help", "/x")), "✗ saw_page all of /help and /x: /help, "),
        (Pattern("pay$"), "✓ saw_page like /pay$/: /checkout/pay, "),
    ],
)
def test_the_value_that_decides_or_comes_nearest_is_shown_first(test, shown):
    views = tuple(PageView(website_page=path) for path in MANY)
    line = lines(explain(only(c.Test("saw_page", test)), subject(page_views=views)))[-1]
    assert shown in line, line
    assert line.endswith("and 2 more")


def test_the_item_that_meets_the_test_is_shown_part_by_part():
    views = (PageView(website_page="/a"), PageView(website_page="/b", tags=("x",)))
    wanted = c.OneItem("page", (c.Test("path", Exists()), c.Test("tags", OneOf(("x",)))))
    found = lines(explain(only(wanted), subject(page_views=views)))
    assert [line.strip() for line in found[-3:]] == [
        "✓ one page with path present, tags x: 2 pages, this one",
        "✓ path present: /b",
        "✓ tags x: x",
    ]


@pytest.mark.parametrize(
    ("band", "test", "off"),
    [
        (Band(1.0, 2.5), Bounds(min=5), "(at most 4 short)"),
        (Band(5.0, 7.0), Bounds(max=2.5), "(at most 4.5 too much)"),
        (Band(high=2.5), Bounds(min=5), "under 2.5"),
    ],
)
def test_a_friction_says_how_far_off_it_is_as_far_as_that_is_known(band, test, off):
    base = subject()
    cross = msgspec.structs.replace(base, friction=band)
    assert off in lines(explain(only(c.Test("friction", test)), cross))[-1]
