"""Long texts (| and >) in YAML may begin with blank lines, as in YAML 1.2."""

from itertools import product

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bot.rules.syntax.nodes import Unreadable, plain
from bot.rules.syntax.yaml import parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: |\n\n  text\n", "\ntext\n"),
        ("a: |\n \n  text\n", "\ntext\n"),
        ("a: >-\n \n\n  text\n  more\n", "\n\ntext more"),
        ("a: |\n  \n  text\n", "\ntext\n"),
        ("a: |+\n \n   \n", "\n\n"),
        ("a: |\n   \n", ""),
    ],
)
def test_blank_lines_at_the_start_belong_to_the_text(text, value):
    assert plain(parse(text)) == {"a": value}


def test_a_blank_line_that_is_indented_more_than_the_text_is_named():
    with pytest.raises(Unreadable, match="a blank line above has more spaces") as error:
        parse("a: |\n   \n  text\n")
    assert (error.value.line, error.value.column) == (3, 3)


@pytest.mark.parametrize("head", ["|", ">", "|-", ">+", "|2"])
def test_what_the_library_can_read_is_read_alike(head):
    lines = ("", "x", " ", "  ", "   ", "  t", "   u", "b: 1")
    for rows in product(lines, repeat=3):
        text = "\n".join((f"a: {head}", *rows, ""))
        try:
            expected = YAML(typ="safe", pure=True).load(text)
        except YAMLError:
            continue
        assert plain(parse(text)) == expected
