"""docs/reference/json.md names what `--json` prints, key by key."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from docs_world import world  # noqa: F401
from markdown_pages import ROOT

from bot.cli.main import COMMANDS, main, parser

PAGE = (ROOT / "docs" / "reference" / "json.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
ZULU = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:")
CALLS = (
    "check --online", "test --quiet-on ordinary.yaml", "once --dry-run", "once",
    "explain checkout-friction RECORDING", "replay --since 1d", "plan --since 1d",
    "tune checkout-friction", "status", "budget", "history", "snooze checkout-friction 2h",
    "retry", "cancel checkout-friction", "backup copy.db", "restore copy.db", "healthcheck",
    "move sqlite:///STORE sqlite:///moved.db",
)  # fmt: skip


def documented(name: str) -> set[str]:
    """The keys in the section's table, `[]` and `*` as they are written."""
    rows = [line.split("|")[1] for line in SECTIONS[name].splitlines() if line.startswith("| `")]
    return {re.sub(r"\[\]$", "", key) for row in rows for key in re.findall(r"`([^`]+)`", row)}


def paths(value: Any, place: str = "") -> set[str]:
    """All keys of the document."""
    found = {place} if place else set()
    if isinstance(value, dict):
        for key, each in value.items():
            found |= paths(each, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for each in value:
            if isinstance(each, dict):
                found |= paths(each, f"{place}[]") - {f"{place}[]"}
    return found


def is_named(path: str, known: set[str]) -> bool:
    """Whether the page names this key, or the nearest key around it and nothing within that."""
    parts = re.split(r"(?=\.)", path)
    for end in range(len(parts), 0, -1):
        around = "".join(parts[:end])
        plain = around.removesuffix("[]")
        matching = [
            each for each in known
            if re.fullmatch(re.escape(each).replace(r"\*", r"[^.]+"), plain)
        ]  # fmt: skip
        if matching:
            return end == len(parts) or not any(
                other.startswith((f"{each}.", f"{each}[")) for each in matching for other in known
            )
    # Keys above a documented one, such as `rules` above `rules.*.total`.
    return any(
        re.match(re.escape(path).replace(r"\.[^.]+", "") + r"(\.|\[)", each) for each in known
    ) or any(
        re.match(re.sub(r"\\\*", "[^.]+", re.escape(each.rsplit(".", 1)[0])) + r"$", path)
        for each in known
    )


def test_every_command_with_json_has_a_section():
    with_json = {
        name
        for name in COMMANDS
        if "--json" in parser([name]).commands.choices[name].option_names()
    }
    assert set(SECTIONS) == with_json
    told = PAGE.partition("\n`run`, ")[2].partition("In the tables")[0]
    without = {"run", *(word for word in re.findall(r"`([\w-]+)", told) if word in COMMANDS)}
    assert without == set(COMMANDS) - with_json


@pytest.mark.parametrize("call", CALLS)
def test_the_page_names_what_is_printed(world, call, capsys, monkeypatch):  # noqa: F811
    place, made = world
    monkeypatch.chdir(place)
    if call.startswith("restore") and not Path("copy.db").exists():
        main(["backup", "copy.db"])
    elif call.startswith("backup"):
        Path("copy.db").unlink(missing_ok=True)
    capsys.readouterr()
    store = next(str(file) for file in Path("data").glob("*.db"))
    words = call.replace("RECORDING", made).replace("STORE", store).split()
    main([*words, "--json"])
    text = capsys.readouterr().out
    answer = json.loads(text)
    assert answer.pop("version") == 1
    known = documented(words[0])
    seen = paths(answer)
    assert {path for path in seen if not is_named(path, known)} == set()
    tops = {re.split(r"[.\[]", each)[0] for each in known}
    assert tops == set(answer)
    for stamp in re.findall(r'"(\d{4}-\d\d-\d\dT[^"]*)"', text):
        assert ZULU.fullmatch(stamp), stamp
    assert_websites(answer)


def assert_websites(value: Any, key: str = "") -> None:
    """Each website has one shape."""
    if isinstance(value, dict):
        if key == "website" and "text" not in value:
            assert set(value) == {"id", "name"}
        for name, each in value.items():
            assert_websites(each, name)
    elif isinstance(value, list):
        for each in value:
            assert_websites(each)
    else:
        assert key != "website" or value is None
