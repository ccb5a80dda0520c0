"""The compiled decision, the tree walk and a naive evaluator say the same of everything."""

from itertools import product

import pytest
from decision_naive import holds as naive_holds
from decision_worlds import SITES, conditions, learnt, rule_sets, subjects
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.domain.subjects import RecordingSubject
from bot.rules import model as c
from bot.rules.evaluate import holds, matches, needs, verdict
from bot.rules.evaluate import whole as whole_rule
from bot.rules.index.decider import Decider
from bot.rules.model import Rule
from mouseflow.models import PageView, Recording

many = settings(max_examples=150, deadline=None)
copies = st.sampled_from([1, 1, 20])
"""How often a rule set is given over: the decision goes another way where rules are many."""


@many
@given(conditions, subjects)
def test_the_tree_walk_means_what_the_operators_say(condition, subject):
    assert holds(condition, subject) == naive_holds(condition, subject)


@many
@given(rule_sets, st.lists(subjects, min_size=1, max_size=4), st.sampled_from([1, 4, 64]), copies)
def test_the_compiled_rules_match_what_the_tree_walk_matches(rules, seen, most_terms, times):
    rules = rules * times
    decider = Decider(rules, most_terms)
    assert decider.matches_all(seen) == [
        tuple(i for i, rule in enumerate(rules) if matches(rule, subject)) for subject in seen
    ]


@many
@given(conditions, learnt())
def test_a_verdict_holds_whatever_is_learnt_later(condition, recording):
    row, whole = recording
    early = verdict(condition, row)
    if early is not None:
        assert early == holds(condition, whole)
        assert not needs(condition, row)
    else:
        assert needs(condition, row)


@many
@given(rule_sets, learnt(), st.sampled_from([1, 64]), copies)
def test_what_candidates_decide_nothing_learnt_later_changes(rules, recording, most_terms, times):
    row, whole = recording
    rules = rules * times
    decider = Decider(rules, most_terms)
    early, final = decider.candidates(row), set(decider.matches(whole))
    assert set(early.sure) <= final <= {*early.sure, *early.open}


@many
@given(rule_sets, learnt(), st.sampled_from([1, 64]), copies)
def test_candidates_leave_nothing_open_that_the_tree_walk_knows(
    rules, recording, most_terms, times
):
    row, _ = recording
    rules = rules * times
    for index in Decider(rules, most_terms).candidates(row).open:
        assert verdict(whole_rule(rules[index]), row) is None


PAID = "https://shop.my/checkout/pay?id=1#top"


@pytest.mark.parametrize(
    "seen",
    [
        {"entry_page": PAID},
        {"entry": PAID, "pages": 3},
        {"entry_page": "/", "page_views": (PageView(uri=PAID),)},
    ],
)
def test_an_expression_is_searched_in_the_path_of_a_page_seen_however_the_page_is_written(seen):
    paid = c.Test("saw_page", c.Pattern("^/checkout/(pay|ship)$"))
    decider = Decider([Rule(id="r", watch="recordings", when=paid, do=())])
    subject = RecordingSubject(website=SITES[0], recording=Recording(id="r1", **seen))
    assert holds(paid, subject)
    assert decider.matches(subject) == (0,)
    assert decider.candidates(subject) == ((0,), ())


def rules_of_pairs(first, second):
    """A rule for each pair of a word of the one field and a word of the other."""
    (one, ones), (other, others) = first, second
    pairs = product(ones, others)
    return [
        Rule(
            id="r",
            watch="recordings",
            when=c.All((c.Test(one, c.OneOf((a,))), c.Test(other, c.OneOf((b,))))),
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
    rules = rules_of_pairs(first, second) * times
    decider = Decider(rules)
    for values in seen:
        row = Recording(id="r1", **values)
        for recording in (row, replace(row, page_views=(PageView(website_page="/landing"),))):
            subject = RecordingSubject(website=SITES[0], recording=recording)
            found = tuple(i for i, rule in enumerate(rules) if matches(rule, subject))
            assert decider.matches(subject) == found
