"""Broken texts of posts: every slip has its place, and is told without a parser's words.

Run it to write what is said now: python tests/rules/files/test_broken_texts.py
"""

import re

import pytest
from broken_files import FAULTS
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.exceptions import TemplateSyntaxError

from bot.errors import RuleErrors
from bot.messages.template_check import check_text
from bot.messages.templates import ENVIRONMENT
from bot.rules.files.load import read

GOLDEN = FAULTS / "texts.txt"
JARGON = re.compile(
    r"jinja|token|statement|expression|print|template|undefined|operand|argument|object"
    r"|\btag\b|lexer|syntax|float|NoneType",
    re.IGNORECASE,
)


def texts():
    """Each broken text with what is said of it."""
    sections = ("\n" + GOLDEN.read_text(encoding="utf-8")).split("\n=== ")[1:]
    return [section.partition("\n")[::2] for section in sections]


def said(text):
    found = check_text(text, "recordings")
    return "".join(f"{fault.line}:{fault.column} {fault.message}\n" for fault in found)


@pytest.mark.parametrize(("text", "expected"), texts(), ids=[text for text, _ in texts()])
def test_each_broken_text_is_told_exactly_what_is_wrong(text, expected):
    assert said(text).strip() == expected.strip()
    assert expected.strip(), "a broken text about which nothing is said"
    assert not JARGON.search(re.sub(r"\{.*?\}|'[^']*'", "", expected).replace("tag in tags", ""))


def test_there_are_many():
    assert len(texts()) >= 100


BAD = """\
version: 1
rules:
  one:
    watch: recordings
    when: {tags: a}
    do:
      slack:
        - text: Plain {{ contry }}
        - text: 'Quoted {{ city'
        - text: |

            {{ country }}
              {{ country | uper }}
        - text: "Escaped \\u2026 {{ city"
        - text: >
            Folded
            {{ nobody }}
        - text: "Over
            {{ nobody }}"
"""


def test_the_place_is_that_in_the_rule_file():
    with pytest.raises(RuleErrors) as caught:
        read([("a.yaml", BAD.encode())])
    assert [(f.line, f.column, f.message) for f in caught.value.faults] == [
        (8, 26, "unknown name contry; did you mean country?"),
        (9, 25, "{{ is not closed; write }}"),
        (13, 28, "unknown filter uper; did you mean upper?"),
        (14, 17, "{{ is not closed; write }}"),
        (15, 17, "unknown name nobody"),
        (18, 17, "unknown name nobody"),
    ]


def test_the_place_in_a_toml_text_of_many_lines_is_its_own():
    text = (
        'version = 1\n[rules.one]\nwatch = "recordings"\nwhen = { tags = "a" }\n'
        "[rules.one.do.slack]\ntext = '''On {{ country }}\n  {{ city'''\n"
    )
    with pytest.raises(RuleErrors) as caught:
        read([("a.toml", text.encode())])
    (fault,) = caught.value.faults
    assert (fault.line, fault.column) == (7, 3)


PIECES = st.sampled_from(
    ["{{", "}}", "{%", "%}", "{#", "#}", " ", "country", "tags", "if ", "endif", "for ", " in ",
     "endfor", "else", "elif ", "'", '"', "|", "upper", "(", ")", "[", "]", "{", "}", ",", ".",
     "\n", "-", "\\", "raw", "endraw", "1", "=", "<", "{{ country }}", "{% if country %}",
     "{% endif %}", "{% for tag in tags %}", "{{ tag }}", "{% endfor %}"],
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=14).map("".join))
def test_any_text_is_either_usable_or_has_a_fault_inside_it(text):
    faults = check_text(text, "recordings")
    rows = text.split("\n")
    for fault in faults:
        assert 1 <= fault.line <= len(rows)
        assert 1 <= fault.column <= len(rows[fault.line - 1]) + 1
    try:
        ENVIRONMENT.parse(text)
    except TemplateSyntaxError:
        assert faults


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.sampled_from(
            ["{{ country }}", "{{- tags | join(', ') -}}", "a < b", "}} { ", "{# x #}",
             "{{ '}}' }}", "{{ (duration / 1000) | round(1) }}", "{% raw %}{{{% endraw %}",
             "{{ [1, 2] | last }}"]
        ),
        lambda inner: st.tuples(inner, inner).map("".join)
        | inner.map("{{% if country == 'de' %}}{}{{% else %}}b{{%- endif -%}}".format)
        | inner.map("{{% for a in tags %}}{{{{ a }}}}{}{{% endfor %}}".format),
        max_leaves=4,
    )
)  # fmt: skip
def test_nothing_is_said_of_a_text_that_can_be_used(text):
    nested = re.search(r"for.*for.*for", text.replace("\n", " "))
    assert nested or check_text(text, "recordings") == []


if __name__ == "__main__":
    GOLDEN.write_text("".join(f"=== {text}\n{said(text)}" for text, _ in texts()), encoding="utf-8")
