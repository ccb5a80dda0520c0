"""The text of a rule file becomes nodes that say what the author wrote and where."""

import math
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.errors import RuleErrors
from bot.rules.files.load import read
from bot.rules.syntax import toml as toml_text
from bot.rules.syntax import yaml
from bot.rules.syntax.nodes import Items, Keys, Scalar, Unreadable, decoded, plain

RULE = b"""version: 1
rules:
  one:
    watch: recordings
    when: {tags: a}
    do: {star: true}
"""


def spots(node, path=""):
    """Every key and value with its place."""
    if isinstance(node, Keys):
        for entry in node:
            yield f"{path}/{entry.key}", entry.line, entry.column
            yield from spots(entry.node, f"{path}/{entry.key}")
    elif isinstance(node, Items):
        for index, item in enumerate(node.items):
            yield from spots(item, f"{path}/{index}")
    else:
        yield f"{path}=", node.line, node.column


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("NO", "NO"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("Yes", "Yes"),
        ("12:30", "12:30"), ("1:30:00", "1:30:00"), ("2026-11-24", "2026-11-24"),
        ("1_000", "1_000"), (".inf", ".inf"), ("'404'", "404"), ("1e3", 1000.0),
        ("010", 10), ("0o17", 15), ("0x1F", 31), ("-3", -3), ("1.10", 1.1), ("+.5", 0.5),
        ("true", True), ("FALSE", False), ("~", None), ("null", None), ("1.2.3", "1.2.3"),
    ],
)  # fmt: skip
def test_yaml_scalars_mean_what_yaml_1_2_says(written, value):
    found = yaml.parse(f"a: {written}\n").get("a")
    assert (found.value, type(found.value)) == (value, type(value))
    assert found.source == written.strip("'")


@pytest.mark.parametrize("written", ["1.10", "2026-11-24", "010", "NO", "true", "12:30", "1e3"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_text_field_takes_what_was_written(written, quote):
    text = RULE.decode().replace("tags: a", f"browser_version: {quote}{written}{quote}")
    (rule,) = read([("a.yaml", text.encode())]).rules
    assert rule.when.operator.values == (written,)


def test_an_action_takes_what_was_written():
    text = RULE.decode().replace("star: true", "tag: [1.10, 2026-11-24, true, 0x10]")
    (rule,) = read([("a.yaml", text.encode())]).rules
    assert [action.tag for action in rule.do] == ["1.10", "2026-11-24", "true", "0x10"]


def test_places_in_yaml_are_those_of_keys_and_values():
    text = "a: 1\nb:\n  - x\n  - {c: [y,\n      z], 'd e': \"f\"}\n"
    assert list(spots(yaml.parse(text))) == [
        ("/a", 1, 1), ("/a=", 1, 4), ("/b", 2, 1), ("/b/0=", 3, 5), ("/b/1/c", 4, 6),
        ("/b/1/c/0=", 4, 10), ("/b/1/c/1=", 5, 7), ("/b/1/d e", 5, 11), ("/b/1/d e=", 5, 18),
    ]  # fmt: skip


def test_places_in_toml_are_those_of_keys_and_values():
    text = (
        "# first\n"
        "a = 1\n"
        'b."c d".e = [ # why\n'
        "  'x',\n"
        '  """\ny\n""", { f.g = true, h = 2026-11-24 10:00:00 },\n'
        "]\n"
        '[t."u.v"] # table\n'
        "  w = '''z'''\n"
        "[[l]]\n"
        "k = -1_0.5e1\n"
        "[[l]]\n"
        "[l.m]\n"
        "n = 0x1f\n"
    )
    assert list(spots(toml_text.parse(text))) == [
        ("/a", 2, 1), ("/a=", 2, 5), ("/b", 3, 1), ("/b/c d", 3, 3), ("/b/c d/e", 3, 9),
        ("/b/c d/e/0=", 4, 3), ("/b/c d/e/1=", 5, 3), ("/b/c d/e/2/f", 7, 8),
        ("/b/c d/e/2/f/g", 7, 10), ("/b/c d/e/2/f/g=", 7, 14), ("/b/c d/e/2/h", 7, 20),
        ("/b/c d/e/2/h=", 7, 24), ("/t", 9, 2), ("/t/u.v", 9, 4), ("/t/u.v/w", 10, 3),
        ("/t/u.v/w=", 10, 7), ("/l", 11, 3), ("/l/0/k", 12, 1), ("/l/0/k=", 12, 5),
        ("/l/1/m", 14, 4), ("/l/1/m/n", 15, 1), ("/l/1/m/n=", 15, 5),
    ]  # fmt: skip


KEYS = st.from_regex(r"[a-zA-Z0-9_-]{1,6}", fullmatch=True) | st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=5
)
VALUES = st.recursive(
    st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


def as_toml(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(_escaped(c) for c in value) + '"'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_toml(k)} = {as_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[\n" + ",\n".join(map(as_toml, value)) + "]"
    return repr(value)


def _escaped(character):
    plain_one = character.isprintable() and character not in '"\\'
    return character if plain_one else f"\\U{ord(character):08x}"


@given(st.dictionaries(KEYS, VALUES, max_size=4))
@settings(max_examples=80, deadline=None)
def test_the_toml_scanner_reads_what_tomllib_reads(data):
    text = "".join(f"{as_toml(key)} = {as_toml(value)}\n" for key, value in data.items())
    text += "[[more.tables]]\nx = 1\n" if "more" not in data else "x-1 = 2\n"
    try:
        wanted = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert plain(toml_text.parse(text)) == wanted


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_the_toml_scanner_finds_each_key_where_it_stands(data):
    text = "".join(f"{as_toml(key)} = {as_toml(value)}\n" for key, value in data.items())
    lines = text.split("\n")
    for entry in toml_text.parse(text):
        assert lines[entry.line - 1][entry.column - 1 :].startswith(as_toml(entry.key))
        if isinstance(entry.node, Scalar) and isinstance(entry.node.value, str):
            rest = lines[entry.node.line - 1][entry.node.column - 1 :]
            assert rest == as_toml(entry.node.value)


def faults_of(name, data):
    try:
        return read([(name, data)]).warnings
    except RuleErrors as error:
        return error.faults


@given(st.text(max_size=60) | st.text("{}[]:,-#'\"&*!|>%@ \n\tab01=.", max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused_with_a_place(text):
    for name in ("a.yaml", "a.toml"):
        for fault in faults_of(name, text.encode("utf-8", "replace")):
            assert fault.file == name
            assert fault.line >= 1
            assert fault.column >= 1
            assert fault.message


@given(st.binary(max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_read_or_refused(data):
    for name in ("a.yaml", "a.toml"):
        assert all(fault.message for fault in faults_of(name, data))


def refusal(name, data):
    with pytest.raises(RuleErrors) as caught:
        read([(name, data)])
    return "\n".join(map(str, caught.value.faults))


@pytest.mark.parametrize("kind", ["yaml", "toml"])
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x00\x01\x02\xff", "1:4: not UTF-8 text; save the file as UTF-8"),
        (b"a\x00b", "1:2: this is a binary file, not text"),
        (b"\xff\xfea\x00", "1:1: the file is UTF-16; save it as UTF-8"),
        (b"ok\nsm\xf8rrebr\xf8d", "2:3: not UTF-8 text; save the file as UTF-8"),
        (b"# x\n" * 2_500_000, "1:1: the file is too big; it may have at most 1 MB"),
        (b"", "the file is empty"),
    ],
)  # fmt: skip
def test_what_is_no_rule_file_is_refused_quickly(kind, data, said):
    assert said in refusal(f"a.{kind}", data)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.yaml", b"[" * 999_000),
        ("a.yaml", b"a: {" * 200_000),
        ("a.yaml", b"- " * 400_000),
        ("a.yaml", b"? " * 400_000),
        ("a.yaml", b"a: &a [1]\n" + b"b: *a\n" * 100_000),
        ("a.toml", b"a = " + b"[" * 900_000),
        ("a.toml", b"a = " + b"{b=" * 300_000),
        ("a.toml", b"a." * 400_000 + b"a = 1"),
        ("a.toml", b"[" + b"'x'." * 200_000 + b"a]"),
        ("a.toml", b"a = " + b"9" * 900_000),
        ("a.toml", b"a = [" + b"1," * 110_000 + b"]"),
        ("a.yaml", b"!" + b"a" * 900_000),
    ],
)  # fmt: skip
def test_bombs_end_soon(name, data):
    assert refusal(name, data)


def test_a_byte_order_mark_and_windows_line_ends_are_fine():
    data = b"\xef\xbb\xbf" + RULE.replace(b"\n", b"\r\n")
    assert [rule.id for rule in read([("a.yaml", data)]).rules] == ["one"]
    toml = b'\xef\xbb\xbfversion = 1\r\n[rules.one]\r\nwatch = "recordings"\r\n'
    toml += b'when.tags = "a"\r\ndo.star = true\r\n'
    assert [rule.id for rule in read([("a.toml", toml)]).rules] == ["one"]


def test_places_do_not_suffer_from_windows_line_ends():
    data = RULE.replace(b"tags", b"tgas").replace(b"\n", b"\r\n")
    assert refusal("a.yaml", data).startswith("a.yaml:5:12: rules.one.when.tgas: unknown field")


def test_other_files_are_not_rule_files():
    assert refusal("notes.txt", b"") == "notes.txt:1:1: rule files end in .yaml, .yml or .toml"


def test_decoding_gives_plain_line_ends():
    assert decoded(b"a\r\nb\nc") == "a\nb\nc"
    with pytest.raises(Unreadable):
        decoded(b"\xc3")


@pytest.mark.parametrize("name", ["a.yaml", "a.toml"])
@pytest.mark.parametrize(
    ("character", "shown"),
    [
        ("\r", "U+000D"), ("\x85", "U+0085"), ("\u2028", "U+2028"), ("\u2029", "U+2029"),
        ("\f", "U+000C"),
    ],
)  # fmt: skip
def test_no_line_ends_where_editors_show_none(name, character, shown):
    text = f"version: 1\r\nrules: # only Denmark {character}except: {{tags: staff}}\r\n"
    assert refusal(name, text.encode()) == (
        f"{name}:2:23: this invisible character ({shown}) ends a line for some programs; remove it"
    )


def test_a_huge_number_is_no_surprise():
    digits = "9" * 39
    assert yaml.scalar(digits) == int(digits)
    assert yaml.scalar("9" * 5000) == "9" * 5000
    assert math.isinf(yaml.scalar("1e999"))
