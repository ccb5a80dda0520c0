"""Every operator answers every question, and one that does not can't be registered."""

from dataclasses import dataclass, replace
from typing import ClassVar

import decision_worlds
import pytest
from decision_worlds import SITES

from bot.domain.subjects import RecordingSubject
from bot.errors import RuleErrors
from bot.fields.catalogue import KINDS, field, fields
from bot.fields.recordings import PAGE
from bot.rules import model as c
from bot.rules.evaluate import RuleList, item_test, no_past
from bot.rules.files.load import read
from bot.rules.index import RuleIndex
from bot.rules.model import Rule
from bot.rules.operators import OPERATORS, fitting, plain_operator, registry
from bot.rules.operators.figures import Bounds
from bot.rules.operators.past import Change
from bot.rules.operators.texts import NoneOf, OneOf, Pattern, TextOperator
from bot.rules.operators.yes_no import Exists, Is
from mouseflow.models import PageView, Recording

RECORDING = RecordingSubject(website=SITES[0], recording=Recording(id="r1"))
EVERY_FIELD = [
    (it, single_item)
    for kind in KINDS
    for whole in fields(kind)
    for it, single_item in ((whole, False), *((part, True) for part in whole.parts))
    if it.type != "items"
]


def test_an_operator_that_leaves_a_question_unanswered_is_refused():
    @dataclass(frozen=True)
    class Half(TextOperator):
        keys: ClassVar = {"half": "says little"}

    with pytest.raises(TypeError, match=r"Half does not say: over_texts, read, schema, words"):
        registry(*OPERATORS, Half)


def test_an_operator_that_does_not_name_its_keys_is_refused():
    class Nameless(TextOperator):
        read = schema = over_texts = words = None

    with pytest.raises(TypeError, match="Nameless does not say: keys"):
        registry(Nameless)


def test_two_operators_can_not_have_the_same_key():
    with pytest.raises(TypeError, match="has a key that another operator has"):
        registry(NoneOf, Pattern, NoneOf)


def test_generated_rules_use_every_operator_that_fits_recordings():
    """Else the index is never compared with the plain meaning of the operator."""
    fitting = {it for it in OPERATORS if any(map(it.fits, fields("recordings")))}
    assert [it.__name__ for it in fitting if it not in vars(decision_worlds).values()] == []


@pytest.mark.parametrize(("about", "single_item"), EVERY_FIELD)
def test_every_field_has_one_plain_operator_and_a_schema_for_every_key(about, single_item):
    assert set(plain_operator(about).schema(about)) == {""}
    for operator in fitting(about, single_item=single_item):
        assert set(operator.schema(about)) == set(operator.keys)


@pytest.mark.parametrize(
    ("name", "operator"),
    [
        ("country", Bounds(min=1)),
        ("country", Is(True)),
        ("duration", OneOf(("a",))),
        ("duration", Change(drops_by=5)),
        ("starred", Pattern("a")),
    ],
)
def test_an_operator_that_does_not_fit_is_an_error_and_never_a_silent_no(name, operator):
    rule = Rule(id="r", watch="recordings", when=c.Test(name, operator), do=())
    for group in (RuleIndex([rule]), RuleList([rule])):
        with pytest.raises(TypeError, match="does not fit"):
            group.decide(RECORDING)
    with pytest.raises(TypeError, match="does not fit"):
        operator.test(field("recordings", name))


def test_an_unknown_part_keeps_an_item_unknown():
    parts = tuple(
        replace(it, known=lambda view: view.scroll is not None) if it.name == "scroll" else it
        for it in PAGE.parts
    )
    page = replace(PAGE, parts=parts)
    deep = c.Test("scroll", Bounds(min=50))
    cart = c.Test("path", OneOf(("/cart",)))
    meets = item_test(page, (cart, deep))
    known, unknown = PageView(website_page="/cart", scroll=60), PageView(website_page="/cart")
    earlier = lambda ago: no_past("page", ago)  # noqa: E731
    assert meets((unknown,), earlier) is None
    assert meets((unknown, known), earlier) is True
    assert meets((PageView(website_page="/"),), earlier) is False
    absent = item_test(page, (c.Test("scroll", Exists(False)),))
    assert absent((unknown,), earlier) is None


def test_a_single_item_has_no_past_to_compare_with():
    text = (
        "version: 1\nrules:\n  one:\n    watch: funnels\n    do: {slack: {channel: '#ux'}}\n"
        "    when: {step: {conversion: {drops_by: 20%, against: 7d}}}\n"
    )
    with pytest.raises(RuleErrors, match="drops_by does not fit conversion of one item"):
        read([("a.yaml", text.encode())])
