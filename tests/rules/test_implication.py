"""What warnings claim about conditions is true of every subject."""

from itertools import permutations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from written_conditions import as_json, conditions

from bot.domain.subjects import Site
from bot.fields.catalogue import made
from bot.rules.evaluate import answer
from bot.rules.files.lints import implies, impossible
from bot.rules.files.load import read

NAMES = frozenset(
    {"country", "device", "pages", "tags", "starred", "variables", "page", "referrer_type",
     "entry_page", "duration"}
)  # fmt: skip
FEW = frozenset({"country", "tags", "pages", "starred"})
"""So few that one condition often implies another."""

WORDS = st.sampled_from(["a", "b", "ab", "/x", "/x/y", "no"])
VIEWS = st.fixed_dictionaries(
    {},
    optional={
        "path": WORDS,
        "tags": st.lists(WORDS, max_size=2).map(tuple),
        "time": st.sampled_from([0, 1000, 90_000]),
        "scroll": st.sampled_from([5, 50, 100]),
    },
)
SUBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "country": WORDS,
        "device": st.sampled_from(["phone", "tablet", "desktop"]),
        "pages": st.sampled_from([0, 1, 2, 3, 7]) | st.lists(VIEWS, max_size=2).map(tuple),
        "tags": st.lists(WORDS, max_size=3).map(tuple),
        "starred": st.booleans(),
        "variables": st.lists(
            st.tuples(st.sampled_from("vw"), st.sampled_from(["a", "1", "2.5", "9"])), max_size=3
        ).map(tuple),
        "referrer_type": st.sampled_from(["Search", "links", "social"]),
        "entry_page": WORDS,
        "duration": st.sampled_from([0, 1000, 90_000, 300_000]),
    },
).map(lambda given: made("recordings", Site("w", "w"), given))
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def condition(written):
    text = '{"version": 1, "rules": {"one": {"watch": "recordings", "do": {"star": true}, "when": '
    (rule,) = read([("a.yaml", (text + as_json(written) + "}}}").encode())]).rules
    return rule.when


CONDITIONS = conditions("recordings", NAMES).map(condition)


@given(CONDITIONS, st.lists(SUBJECTS, min_size=1, max_size=5))
@SETTINGS
def test_what_is_called_impossible_never_holds(condition, subjects):
    if impossible(condition, "recordings"):
        assert not any(answer(condition, seen) for seen in subjects)


@given(
    st.lists(conditions("recordings", FEW).map(condition), min_size=4, max_size=6),
    st.lists(SUBJECTS, min_size=5, max_size=8),
)
@SETTINGS
def test_what_is_implied_holds_too(conditions, subjects):
    for one, other in permutations(conditions, 2):
        if implies(one, other, "recordings"):
            for seen in subjects:
                assert not answer(one, seen) or answer(other, seen)


@given(CONDITIONS)
@SETTINGS
def test_every_condition_implies_itself(condition):
    assert implies(condition, condition, "recordings")
