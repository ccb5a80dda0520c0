"""`fmt` makes the layout of YAML files alike and loses nothing."""

from pathlib import Path

import pytest
from broken_files import FAULTS
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.cli.main import main
from bot.rules.files.load import read
from bot.rules.syntax import layout
from bot.rules.syntax.layout import NotKept, formatted
from bot.rules.syntax.nodes import Unreadable, decoded

PACKS = Path(__file__).parents[3] / "rules"

UNTIDY = """\
# yaml-language-server: $schema=./rules.schema.json
version:   1
x-ux:  &ux
    channel:   "#ux"     # where designers look
rules:


    # About the checkout.



    one:        # the first
        watch:  recordings
        when:
            country: [ "no",  NO , 'de' ]   # Norway, twice
            entry_page:
            - /a
            -   /b   # the other
        do:
            slack:   *ux
        summary: |
            Two lines,
              the second indented   # no comment
"""
TIDY = """\
# yaml-language-server: $schema=./rules.schema.json
version: 1
x-ux: &ux
  channel: "#ux"         # where designers look
rules:


    # About the checkout.


  one:          # the first
    watch: recordings
    when:
      country: ["no", NO, 'de']             # Norway, twice
      entry_page:
        - /a
        - /b         # the other
    do:
      slack: *ux
    summary: |
      Two lines,
        the second indented   # no comment
"""


def test_it_makes_the_layout_alike_and_keeps_all_the_rest():
    assert formatted(UNTIDY) == TIDY
    assert formatted(TIDY) == TIDY


def test_the_rules_are_the_same_afterwards():
    rules = [read([("r.yaml", text.encode())]).rules[0] for text in (UNTIDY, TIDY)]
    assert repr(rules[0].when) == repr(rules[1].when)


FILES = [*sorted(PACKS.glob("*.yaml")), *sorted(FAULTS.glob("*.yaml"))[::3]]


def test_what_it_writes_of_any_file_stays_as_it_is():
    for path in FILES:
        try:
            once = formatted(decoded(path.read_bytes()))
            assert formatted(once) == once, path.name
        except (Unreadable, NotKept):
            continue


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(UNTIDY.splitlines()), max_size=12))
def test_no_text_makes_it_fail_otherwise_or_lose_a_comment(lines):
    text = "\n".join(lines)
    try:
        after = formatted(text)
    except (Unreadable, NotKept):
        return
    assert text.count("#") == after.count("#")


def test_the_command_formats_files_checks_them_and_leaves_toml(tmp_path, capsys):
    file, other = tmp_path / "a.yaml", tmp_path / "b.toml"
    file.write_text(UNTIDY)
    file.chmod(0o640)
    other.write_text("version  =  1\n")
    assert main(["fmt", "--check", str(tmp_path)]) == 1
    assert file.read_text() == UNTIDY
    assert main(["fmt", str(tmp_path)]) == 0
    assert (file.read_text(), other.read_text()) == (TIDY, "version  =  1\n")
    assert file.stat().st_mode & 0o777 == 0o640
    said = capsys.readouterr().out
    assert f"would format {file}" in said
    assert f"TOML files are not formatted: {other}" in said
    assert main(["fmt", "--check", str(tmp_path)]) == 0
    file.write_text("version: [1\n")
    assert main(["fmt", str(tmp_path)]) == 1
    assert f"{file}:1:10:" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["a: &x [1]\nb: {<<: *x}\n", "", "a: !!int 1\n"])
def test_what_is_no_rule_file_is_left(text):
    with pytest.raises((Unreadable, NotKept)):
        formatted(text)


def test_a_file_that_can_not_be_written_leaves_the_others_formatted(tmp_path, capsys):
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(UNTIDY)
    (tmp_path / ".a.yaml.part").mkdir()
    assert main(["fmt", str(tmp_path)]) == 1
    assert (tmp_path / "a.yaml").read_text() == UNTIDY
    assert (tmp_path / "b.yaml").read_text() == TIDY
    said = capsys.readouterr().out
    assert f"{tmp_path}/a.yaml: left as it is: it can't be written: Is a directory" in said


def test_an_edit_meanwhile_is_not_lost(tmp_path, capsys, monkeypatch):
    file = tmp_path / "a.yaml"
    file.write_text(UNTIDY)

    def edited(text):
        file.write_text("version: 1\n# edited\n")
        return formatted(text)

    monkeypatch.setattr(layout, "formatted", edited)
    assert main(["fmt", str(tmp_path)]) == 1
    assert file.read_text() == "version: 1\n# edited\n"
    assert "it was changed meanwhile; run this again" in capsys.readouterr().out
