"""What is wrong in a TOML text is said in plain words, where it is, and without its values."""

import tomllib

import pytest
from broken_files import FAULTS
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.rules.syntax.toml import toml_error

BEFORE = "version = 1\n[rules.one]\n"
AFTER = '\n[rules.three]\nwatch = "x"\n'


def fault(text):
    with pytest.raises(tomllib.TOMLDecodeError) as caught:
        tomllib.loads(text)
    return toml_error(text, caught.value)


@pytest.mark.parametrize(
    ("written", "at", "said"),
    [
        ("watch = recordings", "recordings", 'text needs quotes: watch = "…"'),
        ('watch = "recordings', '"recordings', 'the " opened here is not closed'),
        ('watch = recordings"', 'recordings"', 'text needs quotes: watch = "…"'),
        ("watch = 'recordings\"", "'recordings\"", "the ' opened here is not closed"),
        ("star = True", "True", "write true or false, in lower case; text needs quotes"),
        ("star = yes", "yes", "write true or false, in lower case; text needs quotes"),
        ("star = on", "on", "write true or false, in lower case; text needs quotes"),
        ("x = null", "null", 'text needs quotes: x = "…"'),
        ("x = None", "None", 'text needs quotes: x = "…"'),
        ("over = 60s", "60s", 'text needs quotes: over = "…"'),
        ("share = 80%", "80%", 'text needs quotes: share = "…"'),
        ("rate = 10 per hour", "10 per hour", 'text needs quotes: rate = "…"'),
        ("hour = 09", "09", 'text needs quotes: hour = "…"'),
        ("n = 50,000", "50,000", 'text needs quotes: n = "…"'),
        ("n = .5", ".5", 'text needs quotes: n = "…"'),
        ("n = 5.", "5.", 'text needs quotes: n = "…"'),
        ("d = 2026-13-01", "2026-13-01", 'text needs quotes: d = "…"'),
        ("p = /checkout*", "/checkout*", 'text needs quotes: p = "…"'),
        ("channel = #ops", "#ops", "# starts a comment; put text that starts with # in quotes"),
        ("country =", "", "the value is missing after ="),
        ("country = ", "", "the value is missing after ="),
        ('m = "^\\d+$"', '+$"', "\\ starts an escape in \"…\"; put the text in '…', or write \\\\"),
        ("m = “de”", "“de”", 'text needs quotes: m = "…"'),
        ("watch: recordings", ": recordings", "TOML uses = instead of a colon: watch = …"),
        ("when = { min: 5 }", ": 5 }", "TOML uses = instead of a colon: min = …"),
        ('watch == "a"', '= "a"', "a value is missing before this ="),
        ('watch "a"', '"a"', "expected = after the key: watch = …"),
        ("watch", "", "expected = after the key: watch = …"),
        ('watch = "a"\nwatch = "b"', 'watch = "b"', "watch is already defined on line 3"),
        ("when = {a=1, a=2}", "}", "invalid TOML: duplicate inline table key 'a'"),
        ("[rules.one]", "[rules.one]", "rules.one is already defined on line 2"),
        (
            "when = {a = 1}\n[rules.one.when]\nb=1",
            "[rules.one.whe",
            "rules.one.when is already defined",
        ),
        ("when.a = 1\nwhen = {b=2}", "when = {b=2}", "when is already defined"),
        ("[rules.two", "", "invalid TOML: expected ']' at the end of a table declaration"),
        ("[rules two]", "two]", "invalid TOML: expected ']' at the end of a table declaration"),
        ("[rules.]", "]", "invalid TOML: invalid initial character for a key part"),
        ("[[rules.two]", "]", "invalid TOML: expected ']]' at the end of an array declaration"),
        ("[rules.two]]", "]", "write one key and value per line"),
        ("- item", "item", "expected = after the key: key = …"),
        (
            "when = {a = 1,\n b = 2}",
            "",
            "the { opened here is not closed on its line; for more lines use a [table]",
        ),
        ("when = {a = 1,}", "}", "invalid TOML: invalid initial character for a key part"),
        ('x = ["a" "b"]', '"b"]', "a comma is missing here"),
        ("when = {a = 1 b = 2}", "b = 2}", "a comma is missing here"),
        ('x = ["a",', '["a",', "the [ opened here is not closed"),
        ('x = ["a"\ny = 1', '["a"', "the [ opened here is not closed"),
        (
            "when = {a = 1\ny = 1",
            "{a = 1",
            "the { opened here is not closed on its line; for more lines use a [table]",
        ),
        ('watch = "a" when = {b=1}', "when = {b=1}", "write one key and value per line"),
        ('watch = "a",', ",", "write one key and value per line"),
        ('watch = "a";', ";", "write one key and value per line"),
        ("cart value = 1", "value = 1", "expected = after the key: cart = …"),
        ("café = 1", "é = 1", 'a key with é in it needs quotes: "…" = …'),
        ("80% = {a=1}", "% = {a=1}", 'a key with % in it needs quotes: "…" = …'),
        ("// hello", "// hello", "invalid TOML: invalid statement"),
        ("x = [a, b]", "a, b]", 'text needs quotes: "…"'),
        ('x = ["a", b]', "b]", 'text needs quotes: "…"'),
        ('x = ["a, "b"]', 'b"]', "a comma is missing here"),
        ('x = """abc', '"""abc', 'the """ opened here is not closed'),
        ('x = "a"b"', 'b"', "write one key and value per line"),
        ("= 3", "= 3", "invalid TOML: invalid statement"),
        ("x = [1,,2]", ",2]", "a value is missing before this ,"),
        ("x = {a=1,,b=2}", ",b=2}", "invalid TOML: invalid initial character for a key part"),
        ("x = -", "-", 'text needs quotes: x = "…"'),
        ("x = 1_000_", "1_000_", 'text needs quotes: x = "…"'),
        ("x = 0x", "0x", 'text needs quotes: x = "…"'),
        ("x = inf y", "inf y", 'text needs quotes: x = "…"'),
        (
            "[rules.one.tests]\na=1\n[[rules.one.tests]]\nb=1",
            "[[rules.one.te",
            "rules.one.tests is already defined",
        ),
        (
            "x = {min = 5",
            "{min = 5",
            "the { opened here is not closed on its line; for more lines use a [table]",
        ),
        ("x = (1, 2)", "(1, 2)", 'text needs quotes: x = "…"'),
        ("x = *", "*", 'text needs quotes: x = "…"'),
        ("x = @me", "@me", 'text needs quotes: x = "…"'),
        ('x = "\\u12"', '12"', "\\ starts an escape in \"…\"; put the text in '…', or write \\\\"),
        ("a.b = 1\na = 2", "a = 2", "a is already defined"),
        ('"rules.one".x = 1\n"q = 2', '"q = 2', 'the " opened here is not closed'),
        ("x = '''abc", "'''abc", "the ''' opened here is not closed"),
        ('x = [ "a"\n  "b" ]', '"b" ]', "a comma is missing here"),
        ('x = [\n "a",\n b\n]', "b", 'text needs quotes: "…"'),
        (
            "do = {\n star = true\n}",
            "",
            "the { opened here is not closed on its line; for more lines use a [table]",
        ),
        ("if friction > 5", "friction > 5", "expected = after the key: if = …"),
        (
            "[rules.one.do.slack]\n[rules.one.do]\nslack = 1",
            "slack = 1",
            "slack is already defined",
        ),
        ("x = tRue", "tRue", "write true or false, in lower case; text needs quotes"),
        ('x = "a" # ok\n\tbad line', "line", "expected = after the key: bad = …"),
        ("x = {over = 60s}", "60s}", 'text needs quotes: over = "…"'),
        ("x= {tags = [internal]}", "internal]}", 'text needs quotes: "…"'),
    ],
)
def test_a_slip_is_told_at_its_place_with_what_to_write(written, at, said):
    text = BEFORE + written + AFTER
    line, column, message = fault(text)
    assert message == said
    assert text.split("\n")[line - 1][column - 1 :].startswith(at)


def test_no_value_is_ever_repeated():
    for written in ("key = s3cret", "key = s3cret'", "key = 's3cret", "key s3cret", "key: s3cret"):
        assert "s3cret" not in fault(f"[mouseflow]\n{written}\n")[2]


TEXT = (FAULTS / "toml-array-of-tables.toml").read_text()
MARKS = st.sampled_from([*"\"'[]{}=,.#\n:\\ -0a“\t", '"""', "'''", "[[", "x = ", "\\u"])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(TEXT)), st.integers(0, 3), MARKS), min_size=1))
def test_any_text_that_is_no_toml_gets_a_place_inside_it(changes):
    text = TEXT
    for at, dropped, mark in changes:
        text = text[:at] + mark + text[at + dropped :]
    try:
        tomllib.loads(text)
    except ValueError as error:
        line, column, message = toml_error(text, error)
        rows = text.split("\n")
        assert 1 <= line <= len(rows)
        assert 1 <= column <= len(rows[line - 1]) + 1
        assert message


@pytest.mark.parametrize("opening", ["x = [\n", "x = ", "x = ['a', ", "x = {a = ", '"', "a." * 50])
def test_the_place_in_a_long_text_is_found_soon(opening):
    line, _, _ = fault(BEFORE + opening + "'a',\n" * 100_000)
    assert line >= 3
