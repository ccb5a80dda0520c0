"""The index, the tree walk and a naive evaluator answer alike: yes, no or unknown."""

from itertools import product

import pytest
from decision_naive import answer as naive_answer
from decision_worlds import SITES, conditions, learnt, rule_sets, subjects
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.domain.subjects import RecordingSubject
from bot.rules import model as c
from bot.rules.evaluate import RuleList, answer, needs, rule_answer
from bot.rules.index import RuleIndex
from bot.rules.model import Rule
from bot.rules.operators.texts import OneOf, Pattern
from mouseflow.models import PageView, Recording

many = settings(max_examples=100, deadline=None)
copies = st.sampled_from([1, 1, 20])
"""How often a rule set is given over: the index works in another order where rules are many."""

either_way = pytest.mark.parametrize("group_of", [RuleIndex, RuleList])
"""Everything holds with the index and without it."""


def numbered(rules):
    """The rules, each with an id of its own."""
    return [replace(rule, id=f"r{n}") for n, rule in enumerate(rules)]


def ids(rules):
    return [rule.id for rule in rules]


@many
@given(conditions, subjects)
def test_the_tree_walk_means_what_the_operators_say(condition, subject):
    assert answer(condition, subject) is naive_answer(condition, subject)


@many
@given(rule_sets, st.lists(subjects, min_size=1, max_size=4), st.sampled_from([1, 4, 64]), copies)
def test_the_index_is_sure_where_the_tree_walk_is(rules, seen, most_terms, times):
    rules = numbered(rules * times)
    index, plain = RuleIndex(rules, most_terms), RuleList(rules)
    found = [ids(sure) for sure in index.sure_of_all(seen)]
    assert found == [ids(sure) for sure in plain.sure_of_all(seen)]
    assert found == [ids(index.sure(subject)) for subject in seen]


@many
@given(rule_sets, st.lists(subjects, min_size=1, max_size=4), st.sampled_from([1, 4, 64]), copies)
def test_the_index_leaves_open_what_the_tree_walk_does(rules, seen, most_terms, times):
    rules = numbered(rules * times)
    index, plain = RuleIndex(rules, most_terms), RuleList(rules)
    for subject in seen:
        assert list(map(ids, index.decide(subject))) == list(map(ids, plain.decide(subject)))
        assert ids(index.open(subject)) == ids(plain.open(subject))


@many
@given(conditions, learnt())
def test_an_answer_holds_whatever_is_learnt_later(condition, recording):
    row, whole = recording
    early = answer(condition, row)
    assert answer(condition, whole) is not None
    if early is not None:
        assert early is answer(condition, whole)
        assert not needs(condition, row)
    else:
        assert needs(condition, row)


@many
@given(conditions, learnt())
def test_no_negation_makes_something_of_what_is_unknown(condition, recording):
    row, _ = recording
    if answer(condition, row) is None:
        assert answer(c.Not(condition), row) is None
        assert answer(c.Not(c.Not(condition)), row) is None


@either_way
@many
@given(rules=rule_sets, recording=learnt(), times=copies)
def test_nothing_learnt_later_changes_what_is_decided(group_of, rules, recording, times):
    row, whole = recording
    group = group_of(numbered(rules * times))
    early, final = group.decide(row), {rule.id for rule in group.sure(whole)}
    assert not group.open(whole)
    assert set(ids(early.sure)) <= final <= set(ids((*early.sure, *early.open)))


@many
@given(rule_sets, learnt(), st.sampled_from([1, 64]), copies)
def test_what_the_index_leaves_open_the_tree_walk_does_not_know(
    rules, recording, most_terms, times
):
    row, _ = recording
    for rule in RuleIndex(numbered(rules * times), most_terms).open(row):
        assert rule_answer(rule, row) is None


PAID = "https://shop.my/checkout/pay?id=1#top"


@pytest.mark.parametrize(
    "seen",
    [
        {"entry_page": PAID},
        {"entry": PAID, "pages": 3},
        {"entry_page": "/", "page_views": (PageView(uri=PAID),)},
    ],
)
@either_way
def test_an_expression_is_searched_in_the_path_of_a_page_seen_however_the_page_is_written(
    group_of, seen
):
    paid = c.Test("saw_page", Pattern("^/checkout/(pay|ship)$"))
    group = group_of([Rule(id="r", watch="recordings", when=paid, do=())])
    subject = RecordingSubject(website=SITES[0], recording=Recording(id="r1", **seen))
    assert answer(paid, subject) is True
    assert ids(group.sure(subject)) == ["r"]
    assert group.decide(subject) == (group.rules, ())


def rules_of_pairs(first, second):
    """A rule for each pair of a word of the one field and a word of the other."""
    (one, ones), (other, others) = first, second
    pairs = product(ones, others)
    return [
        Rule(
            id="r",
            watch="recordings",
            when=c.All((c.Test(one, OneOf((a,))), c.Test(other, OneOf((b,))))),
            do=(),
        )
        for a, b in pairs
    ]


@pytest.mark.parametrize("times", [1, 5])
@pytest.mark.parametrize(
    ("first", "second", "seen"),
    [
        (
            ("device", ("desktop", "phone")),
            ("browser", ("chrome", "safari")),
            [
                {"device": device, "browser": browser}
                for device in ("Desktop", "Phone", None)
                for browser in ("Chrome", "Safari", "")
            ],
        ),
        (
            ("entry_page", ("/cart", "/cart*", "/landing")),
            ("saw_page", ("/cart", "/landing", "/landing/*")),
            [{"entry_page": page} for page in ("/cart", "/landing", "/landing/a", None)],
        ),
    ],
)
def test_fields_asked_together_are_told_apart(first, second, seen, times):
    rules = numbered(rules_of_pairs(first, second) * times)
    index, plain = RuleIndex(rules), RuleList(rules)
    for values in seen:
        row = Recording(id="r1", **values)
        for recording in (row, replace(row, page_views=(PageView(website_page="/landing"),))):
            subject = RecordingSubject(website=SITES[0], recording=recording)
            assert ids(index.sure(subject)) == ids(plain.sure(subject))
