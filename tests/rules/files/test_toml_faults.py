"""What is wrong in a TOML text is said in plain words, where it is, and without its values."""

import tomllib

import pytest
from broken_files import FAULTS
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.messages.toml_errors import toml_fault

BEFORE = "version = 1\n[rules.one]\n"
AFTER = '\n[rules.three]\nwatch = "x"\n'


def fault(text):
    with pytest.raises(tomllib.TOMLDecodeError) as caught:
        tomllib.loads(text)
    return toml_fault(text, caught.value)


@pytest.mark.parametrize(
    ("written", "at", "said"),
    [
        ("watch = recordings", "recordings", 'a text wants quotes: watch = "…"'),
        ('watch = "recordings', '"recordings', 'the " that opens here is not closed'),
        ('watch = recordings"', 'recordings"', "the first quote of this text is missing"),
        ("watch = 'recordings\"", "'recordings\"", "the ' that opens here is not closed"),
        ("star = True", "True", "write true, in small letters and without quotes"),
        ("star = yes", "yes", "write true or false; a text wants quotes"),
        ("star = on", "on", "write true or false; a text wants quotes"),
        ("x = null", "null", "TOML has no word for nothing; leave the key out"),
        ("x = None", "None", "TOML has no word for nothing; leave the key out"),
        ("over = 60s", "60s", 'a text wants quotes: over = "…"'),
        ("share = 80%", "80%", 'a text wants quotes: share = "…"'),
        ("rate = 10 per hour", "10 per hour", 'a text wants quotes: rate = "…"'),
        ("hour = 09", "09", "a number has no 0 in front; a text wants quotes"),
        ("n = 50,000", "50,000", "write the number without commas"),
        ("n = .5", ".5", "write a digit before the point, such as 0.5"),
        ("n = 5.", "5.", "write a digit after the point, such as 5.0"),
        ("d = 2026-13-01", "2026-13-01", 'a text wants quotes: d = "…"'),
        ("p = /checkout*", "/checkout*", 'a text wants quotes: p = "…"'),
        ("channel = #ops", "#ops", "# begins a comment here; quote a text that starts with #"),
        ("country =", "", "there is no value behind the ="),
        ("country = ", "", "there is no value behind the ="),
        (
            'm = "^\\d+$"',
            '+$"',
            "in \"…\" a \\ begins an escape; put the text into '…', or write \\\\",
        ),
        ("m = “de”", "“de”", "these are typographic quotes; write plain ones: \" or '"),
        ("watch: recordings", ": recordings", "TOML wants = and not a colon: watch = …"),
        ("when = { min: 5 }", ": 5 }", "TOML wants = and not a colon: min = …"),
        ('watch == "a"', '= "a"', "one = is enough"),
        ('watch "a"', '"a"', "the = between the key and its value is missing: watch = …"),
        ("watch", "", "a key wants = and a value after it"),
        (
            'watch = "a"\nwatch = "b"',
            'watch = "b"',
            "watch stands twice; it stands on line 3 already",
        ),
        ("when = {a=1, a=2}", "a=2}", "a stands twice in this table"),
        ("[rules.one]", "[rules.one]", "this table stands twice; it stands on line 2 already"),
        (
            "when = {a = 1}\n[rules.one.when]\nb=1",
            "[rules.one.whe",
            "rules.one.when is given a second time; a value of it stands above already",
        ),
        (
            "when.a = 1\nwhen = {b=2}",
            "when = {b=2}",
            "when is given a second time; a value of it stands above already",
        ),
        ("[rules.two", "", "a [table] wants its ]"),
        ("[rules two]", "two]", "a table's name is made of words and points; quote any other part"),
        ("[rules.]", "]", "a table's name ends with a point here; leave it out"),
        ("[[rules.two]", "]", "a [[table]] wants its ]]"),
        ("[rules.two]]", "]", "behind a [table] only a comment may stand"),
        ("- item", "- item", 'a list stands in [ ], such as key = ["a", "b"]'),
        (
            "when = {a = 1,\n b = 2}",
            "",
            "a table in { } stands on one line; use [a.table] for more",
        ),
        ("when = {a = 1,}", "}", "no comma may stand before the }"),
        ('x = ["a" "b"]', '"b"]', "a comma is missing before this"),
        ("when = {a = 1 b = 2}", "b = 2}", "a comma is missing before this"),
        ('x = ["a",', '["a",', "the [ that opens here is not closed"),
        ('x = ["a"\ny = 1', '["a"', "the [ that opens here is not closed"),
        (
            "when = {a = 1\ny = 1",
            "{a = 1",
            "the { that opens here is not closed; such a table stands on one line",
        ),
        ('watch = "a" when = {b=1}', "when = {b=1}", "one key and value per line"),
        ('watch = "a",', ",", "a line ends without a comma or a semicolon"),
        ('watch = "a";', ";", "a line ends without a comma or a semicolon"),
        ("cart value = 1", "value = 1", 'a key with spaces in it wants quotes: "…" = …'),
        ("café = 1", "é = 1", 'a key with é in it wants quotes: "…" = …'),
        ("80% = {a=1}", "% = {a=1}", 'a key with % in it wants quotes: "…" = …'),
        ("// hello", "// hello", "a comment begins with #"),
        ("x = [a, b]", "a, b]", 'a text wants quotes: "…"'),
        ('x = ["a", b]', "b]", 'a text wants quotes: "…"'),
        ('x = ["a, "b"]', 'b"]', "a quote ends the text here; is one missing or too many?"),
        ('x = """abc', '"""abc', 'the """ that opens here is not closed'),
        ('x = "a"b"', 'b"', "a quote ends the text here; put a text with quotes into '…'"),
        ("= 3", "= 3", "the key before this = is missing"),
        ("x = [1,,2]", ",2]", "a value is missing before this comma"),
        ("x = {a=1,,b=2}", ",b=2}", "a key is expected here"),
        ("x = -", "-", 'a text wants quotes: x = "…"'),
        ("x = 1_000_", "1_000_", 'a text wants quotes: x = "…"'),
        ("x = 0x", "0x", 'a text wants quotes: x = "…"'),
        ("x = inf y", "inf y", 'a text wants quotes: x = "…"'),
        (
            "[rules.one.tests]\na=1\n[[rules.one.tests]]\nb=1",
            "[[rules.one.te",
            "this table stands twice; it stands on line 3 already",
        ),
        (
            "x = {min = 5",
            "{min = 5",
            "the { that opens here is not closed; such a table stands on one line",
        ),
        ("x = (1, 2)", "(1, 2)", "a list stands in [ ]"),
        ("x = *", "*", 'a text wants quotes: x = "…"'),
        ("x = @me", "@me", 'a text wants quotes: x = "…"'),
        (
            'x = "\\u12"',
            '12"',
            "in \"…\" a \\ begins an escape; put the text into '…', or write \\\\",
        ),
        ("a.b = 1\na = 2", "a = 2", "a is given a second time; a value of it stands above already"),
        ('"rules.one".x = 1\n"q = 2', '"q = 2', 'the " that opens here is not closed'),
        ("x = '''abc", "'''abc", "the ''' that opens here is not closed"),
        ('x = [ "a"\n  "b" ]', '"b" ]', "a comma is missing before this"),
        ('x = [\n "a",\n b\n]', "b", 'a text wants quotes: "…"'),
        (
            "do = {\n star = true\n}",
            "",
            "a table in { } stands on one line; use [a.table] for more",
        ),
        ("if friction > 5", "friction > 5", "a key wants = and a value after it"),
        (
            "[rules.one.do.slack]\n[rules.one.do]\nslack = 1",
            "slack = 1",
            "slack is given a second time; a value of it stands above already",
        ),
        ("x = tRue", "tRue", "write true, in small letters and without quotes"),
        ('x = "a" # ok\n\tbad line', "line", "a key wants = and a value after it"),
        ("x = {over = 60s}", "60s}", 'a text wants quotes: over = "…"'),
        ("x= {tags = [internal]}", "internal]}", 'a text wants quotes: "…"'),
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
        line, column, message = toml_fault(text, error)
        rows = text.split("\n")
        assert 1 <= line <= len(rows)
        assert 1 <= column <= len(rows[line - 1]) + 1
        assert message


@pytest.mark.parametrize("opening", ["x = [\n", "x = ", "x = ['a', ", "x = {a = ", '"', "a." * 50])
def test_the_place_in_a_long_text_is_found_soon(opening):
    line, _, _ = fault(BEFORE + opening + "'a',\n" * 100_000)
    assert line >= 3
