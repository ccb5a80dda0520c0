"""Hostile recordings cost time in proportion and no memory, and never raise."""

import tracemalloc

import pytest
from decision_worlds import SITES

from bot.domain.subjects import RecordingSubject
from bot.fields.field import number
from bot.fields.normal import path
from bot.rules import model as c
from bot.rules.evaluate import RuleList
from bot.rules.index import RuleIndex, tables
from bot.rules.model import Rule
from bot.rules.operators.figures import Bounds
from bot.rules.operators.texts import Every, OneOf, Pattern
from bot.rules.value_tests import glob
from mouseflow.models import PageView, Recording

HUGE = "a" * 1_000_000


def subject(**values):
    return RecordingSubject(website=SITES[0], recording=Recording(id="r", **values))


def rule(*tests):
    return Rule(id=str(tests), watch="recordings", when=c.All(tests), do=())


def agreed(rules, seen):
    """What both ways of deciding say; they must say the same."""
    found = RuleIndex(rules).decide(seen)
    assert found == RuleList(rules).decide(seen)
    return found


@pytest.mark.parametrize(
    "regex", ["(a+)+$", "(a|a)*b", "(.*a){20}b", "(a|aa)+$", "^(([a-z])+.)+[A-Z]([a-z])+$"]
)
def test_an_expression_that_ruins_backtracking_is_searched_in_a_megabyte(regex):
    """A backtracking matcher would not end within a lifetime."""
    agreed([rule(c.Test("user_agent", Pattern(regex)))], subject(user_agent=HUGE + "!"))


def test_many_stars_are_looked_for_in_a_megabyte():
    stars = "*a" * 30
    assert not glob(stars + "*b")(HUGE)
    assert glob(stars + "*")(HUGE)


def test_a_huge_value_is_judged_and_not_kept():
    rules = [rule(c.Test("user_agent", OneOf(("*b",)))), rule(c.Test("tags", OneOf(("x",))))]
    index = RuleIndex(rules)
    index.sure(subject(user_agent="Firefox"))
    tracemalloc.start()
    try:
        for letter in "bcdefghij":
            seen = subject(user_agent=HUGE + letter, tags=(HUGE + letter, "x"))
            assert index.sure(seen) == tuple(rules if letter == "b" else rules[1:])
            del seen
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 500_000


def test_a_flood_of_distinct_values_leaves_tables_bounded():
    index = RuleIndex(
        [
            rule(
                c.Test("visitor_id", OneOf(("v1*",))),
                c.Test("variables", Bounds(min=5), "n"),
                c.Test("tags", Every(("t1",))),
            )
        ]
    )

    def flood(start):
        for n in range(start, start + 40_000):
            seen = subject(
                visitor_id=f"v{n}" * 20, variables=(f"n={n}",), tags=(f"t{n}", "t1"), page_views=()
            )
            assert index.sure(seen) == (index.rules if f"v{n}".startswith("v1") and n >= 5 else ())

    flood(0)
    tracemalloc.start()
    try:
        flood(40_000)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 30_000_000


def test_a_table_forgets_rather_than_grow_and_still_answers():
    asked = []
    table = tables.Memo(lambda key: asked.append(key) or len(key), tables.length)
    assert all(table[f"{n:0100}"] == 100 for n in range(50_000))
    assert len(table) <= tables.ENTRIES
    assert sum(map(len, table)) <= tables.CHARACTERS
    before = len(asked)
    assert table["0" * 5000] == table["0" * 5000] == 5000
    assert len(asked) == before + 2  # too long to be kept


@pytest.mark.parametrize(
    "values",
    [
        {"user_agent": "\ud800", "lang": "\x00", "entry_page": "http://[::1"},
        {"variables": ("=", "==", "n=nan", "n=inf", "n=1_0", "n=" + "9" * 5000, "", "n")},
        {"tags": ("", "\ud83d", "İ" * 50), "entry": "://", "referrer": "?#"},
        {"page_views": (PageView(), PageView(uri="", website_page="//"), PageView(uri="::")) },
        {"duration": float("nan"), "pages": 10**400, "page_views": (PageView(scroll=-1),)},
    ],
)  # fmt: skip
def test_strange_values_are_judged_and_never_raise(values):
    tests = [
        c.Test("user_agent", Pattern("[a-z]")),
        c.Test("entry_page", OneOf(("/*",))),
        c.Test("variables", Bounds(min=0), "n"),
        c.Test("variables", Pattern("nan"), "n"),
        c.Test("tags", OneOf(("i̇*",))),
        c.Test("saw_page", OneOf(("*",))),
        c.Test("duration", Bounds(min=0)),
        c.Test("pages", Bounds(over=3)),
        c.Test("referrer", OneOf(("*#*",))),
    ]
    agreed([rule(test) for test in tests], subject(**values))


def test_numbers_in_variables_are_plain_numbers():
    assert [number(text) for text in ("12.5", " 7 ", "-3", "1e3")] == [12.5, 7, -3, 1000]
    assert {number(text) for text in ("nan", "inf", "1_000", "", "x", "9" * 5000)} == {None}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://shop.my/landing?x=1#top", "/landing"),
        ("shop.my/landing", "/landing"),
        ("/landing/", "/landing"),
        ("https://shop.my", "/"),
        ("shop.my", "/"),
        ("index.html", "/index.html"),
        ("/", "/"),
        ("*checkout*", "*checkout*"),
        ("checkout", "/checkout"),
        ("/go?to=https://x.y/z", "/go"),
        ("http://[broken", "/"),
    ],
)
def test_a_page_is_one_page_however_it_is_written(address, expected):
    assert path(address) == expected
