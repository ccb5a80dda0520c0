"""The catalogue checks itself, and nothing outside it goes by a field's literal name."""

import ast
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from bot.domain.subjects import Site
from bot.fields.catalogue import KINDS, SUBJECTS, fields, made, sample, text_fields
from bot.fields.field import FOLLOWS, ApiFilter, AskedBy, BadField, Field, Source
from bot.fields.recordings import RECORDING_FIELDS

BOT = Path(__file__).parents[2] / "bot"
SITE = Site("w1", "myshop.com")
COUNTRY = next(it for it in RECORDING_FIELDS if it.name == "country")


def _contrast(**change):
    """The filter of the field country with something changed."""
    return msgspec.structs.replace(COUNTRY.api_filter, **change)


@pytest.mark.parametrize("left_out", ["meaning", "personal", "source", "sample", "name", "type"])
def test_a_field_without_a_declaration_cannot_be_made(left_out):
    whole = {
        "watch": "recordings",
        "name": "x",
        "type": "text",
        "meaning": "an example",
        "personal": False,
        "source": Source.LIST,
        "sample": "x",
        "examples": ("x",),
        "at": "recording.country",
    }
    assert Field(**whole).name == "x"
    del whole[left_out]
    with pytest.raises(TypeError, match=left_out):
        Field(**whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"at": "", "raw": lambda it: it}, "recordings.country: say where its value is"),
        ({"source": Source.SERVER}, "needs asked_by"),
        ({"asked_by": AskedBy.THRESHOLD}, "needs asked_by"),
        ({"type": "duration"}, "has a unit"),
        ({"type": "items"}, "have parts"),
        ({"type": "moment"}, "can't compare moments"),
        ({"examples": ()}, "give an example"),
        ({"choices": ("DE",)}, "normal form"),
        ({"api_filter": ApiFilter(name="land", take=str)}, "SessionFilters has no land"),
        ({"api_filter": _contrast(contrast=("aq", "aq"))}, "two values"),
        ({"api_filter": _contrast(take=str.upper)}, "as the API's filter takes them"),
        ({"api_filter": _contrast(hint="")}, "needs choices, or a pattern and a hint"),
        ({"parts": (replace(COUNTRY, personal=True),), "type": "items"}, "personal too"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_an_error_that_names_the_field(change, message):
    plain = {"raw": _again(), "give": _again()}
    with pytest.raises(BadField, match=message):
        replace(COUNTRY, **plain | change)


def _again():
    """The default of `raw` and `give`: to be worked out."""
    return Field.__dataclass_fields__["raw"].default


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_rule_test_gives_is_what_the_field_reads(kind):
    for field in fields(kind):
        if field.sample is FOLLOWS:
            continue
        subject = made(kind, SITE, {field.name: field.sample})
        seen = field.get(subject)
        assert seen not in (None, "", ()), field.name
        if not field.parts and field.type not in ("variables", "text"):
            assert seen == field.sample, field.name


@pytest.mark.parametrize("kind", KINDS)
def test_the_sample_has_a_value_in_every_field_and_every_part(kind):
    subject = sample(kind)
    for field in SUBJECTS[kind].fields:
        assert field.get(subject) is not None
        for part in field.parts:
            assert any(part.get(item) is not None for item in field.get(subject)), part.name


def test_fields_that_only_texts_or_only_conditions_know_are_told_apart():
    assert "started" in text_fields("recordings")
    assert "journey" not in text_fields("recordings")
    assert "saw" in text_fields("recordings")
    names = {field.name for field in fields("recordings")}
    assert "started" not in names
    assert {"journey", "saw_page"} <= names


def test_nothing_outside_the_catalogue_compares_with_a_fields_literal_name():
    """Special cases are attributes of the field, so that a new field can have them too."""
    names = {it.name for kind in KINDS for it in SUBJECTS[kind].fields}
    names |= {part.name for kind in KINDS for it in fields(kind) for part in it.parts}
    found = [
        f"{path.relative_to(BOT)}:{node.lineno}"
        for path in BOT.rglob("*.py")
        if path.parent != BOT / "fields"
        for tree in [ast.parse(path.read_text(encoding="utf-8"))]
        for constants in [_constants(tree, names)]
        for node in ast.walk(tree)
        if _compares_a_field(node, names, constants)
    ]
    assert found == []


def _constants(tree, names):
    """The module's constants that hold fields' names and nothing else."""
    return {
        target.id
        for it in tree.body
        if isinstance(it, ast.Assign | ast.AnnAssign) and it.value is not None
        for target in (it.targets if isinstance(it, ast.Assign) else [it.target])
        if isinstance(target, ast.Name) and (words := _words(it.value)) and words <= names
        if not any(isinstance(part, ast.comprehension) for part in ast.walk(it.value))
    }


def _words(node):
    return {it.value for it in ast.walk(node)
            if isinstance(it, ast.Constant) and isinstance(it.value, str)}  # fmt: skip


def _compares_a_field(node, names, constants):
    """`it.field == "friction"`, `field.name in ("browser", "os")`, `Test(field="tags")`.

    Also with a constant of the module (`name in _OF_PAGES`, `asked & _OF_PAGES`), and
    `"friction" in asked`.
    """
    if isinstance(node, ast.BinOp):
        return any(
            isinstance(it, ast.Name) and it.id in constants for it in (node.left, node.right)
        )
    if isinstance(node, ast.MatchClass):
        pairs = zip(node.kwd_attrs, node.kwd_patterns, strict=True)
        return any(name == "field" and isinstance(it, ast.MatchValue) for name, it in pairs)
    if not isinstance(node, ast.Compare):
        return False
    left = ast.unparse(node.left)
    if isinstance(node.left, ast.Constant):
        return node.left.value in names and ast.unparse(node.comparators[0]) == "asked"
    if any(isinstance(it, ast.Name) and it.id in constants for it in node.comparators):
        return True
    asks = left.endswith(".field") or left in ("field.name", "about.name", "part.name", "it.name")
    return asks and any(_words(side) & names for side in node.comparators)
