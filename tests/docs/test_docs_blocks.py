"""Every code block of the docs is tried: rules load, configurations are valid, commands run."""

import ast
import json
import re
import shlex
import subprocess
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from docs_world import world  # noqa: F401
from markdown_pages import PAGES, ROOT, Block, blocks
from ruamel.yaml import YAML

from bot.cli.main import COMMANDS, main, parser
from bot.cli.status import show_replicas
from bot.config.load import load_accounts
from bot.errors import RuleErrors
from bot.fields.catalogue import KINDS
from bot.rules.files.actions import Allowed
from bot.rules.files.load import read
from bot.rules.tests import run
from bot.store.sharing import Replica
from mouseflow.simulator.scenarios import MYSHOP
from mouseflow.simulator.server import Simulator

BLOCKS = [block for page in PAGES for block in blocks(page)]
# `python run` is for docs/reference/simulator.md, whose own test runs it.
LANGUAGES = {"yaml", "toml", "sh", "console", "python", "python run", "json", "text"}
EVERYTHING = Allowed(delete=True, accounts=None)


def of(*languages: str) -> pytest.MarkDecorator:
    """The blocks in these languages, as parameters."""
    found = [block for block in BLOCKS if block.language in languages]
    return pytest.mark.parametrize("block", found, ids=lambda block: block.place)


def test_every_block_says_what_it_is() -> None:
    indented = {"CONTRIBUTING.md", "SECURITY.md"}
    unknown = [
        block.place
        for block in BLOCKS
        if block.language not in LANGUAGES
        and not (block.page.name in indented and block.language == "")
    ]
    assert unknown == []


@of("yaml")
def test_yaml_is_a_rule_file_or_a_part_of_one(block: Block) -> None:
    text = block.text
    first = next(line for line in text.splitlines() if not line.startswith("#")).partition(":")[0]
    if first == "display_information":
        manifest = YAML(typ="safe", pure=True).load(text)
        assert Simulator().slack.scopes >= set(manifest["oauth_config"]["scopes"]["bot"])
    elif first == "samples":
        assert YAML(typ="safe", pure=True).load(text)["samples"]
    else:
        files = [f"{text}" if first == "version" else whole for whole in _wholes(first, text)]
        assert any(_passes(file) for file in files), block.place


def _wholes(first: str, text: str) -> Iterator[str]:
    """The part in rule files, one for each kind of subject."""
    for kind in KINDS:
        rule = {"when": "website: '*'", "do": "slack: true", "watch": kind}
        if kind == "recordings":
            rule["when"] = "friction: {min: 1}"
        head = f"version: 1\nrules:\n  one:\n    watch: {kind}\n"
        when = f"    when: {{{_ANY[kind]}}}\n"
        do = "    do: {slack: {channel: '#a'}}\n"
        inside = textwrap.indent(text, "    ")
        match first:
            case "when":
                yield head + inside + do
            case "do":
                yield head + when + inside
            case "given":
                case = textwrap.indent(text, "        ")
                yield f"{head}{when}{do}    tests:\n      - expect: no match\n{case}"
            case "silence":
                yield head + when + do + inside
            case _:
                yield f"version: 1\n{text}"


_ANY = {
    "recordings": "friction: {min: 99}",
    "feedback": "responses: {min: 1}",
    "funnels": "entered: {min: 1}",
    "forms": "visits: {min: 1}",
    "pages": "views: {min: 1}",
    "websites": "recordings_today: {min: 1}",
}


def _passes(text: str) -> bool:
    try:
        ruleset = read([("a.yaml", text.encode())], allowed=EVERYTHING)
    except RuleErrors:
        return False
    return all(result.passed for result in run(ruleset))


@of("toml")
def test_toml_is_a_rule_file_or_a_configuration(block: Block, tmp_path: Path) -> None:
    if "version = 1" in block.text:
        ruleset = read([("a.toml", block.text.encode())], allowed=EVERYTHING)
        assert all(result.passed for result in run(ruleset))
        return
    place = tmp_path / "config.toml"
    place.write_text(block.text, encoding="utf-8")
    load_accounts(
        place,
        {"BOT_MOUSEFLOW__REGION": "eu", "BOT_MOUSEFLOW__EMAIL": "ops@example.com"},
        offline=True,
    )


@of("json")
def test_json_can_be_read(block: Block) -> None:
    json.loads(block.text)


@of("python")
def test_python_can_be_read(block: Block) -> None:
    source = textwrap.dedent(block.text)
    try:
        ast.parse(source)
    except SyntaxError:  # an entry of a list, a statement with await
        ast.parse(f"async def f():\n{textwrap.indent(source, '    ')}\n    pass")


OTHERS = {
    "curl",
    "docker",
    "kubectl",
    "systemctl",
    "journalctl",
    "rsync",
    "pip",
    "cp",
    "cd",
    "export",
    "unset",
    ".",
}
"""Programs of other people: their lines are read by a shell, and not run."""


@of("sh", "console")
def test_a_shell_understands_the_lines_and_their_files_exist(block: Block) -> None:
    text = block.text if block.language == "sh" else "\n".join(_typed(block))
    subprocess.run(["bash", "-n", "-c", text], check=True)
    for words in map(_words, _lines(text)):
        first = words[0] if "=" not in words[0] else words[next(
            i for i, word in enumerate(words) if "=" not in word)]  # fmt: skip
        name = first.rpartition("/")[2]
        assert name in OTHERS | {"mouseflow-bot", "make", "python", "python3"}, first
        if name == "make":
            targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert set(words[1:]) - set(targets) <= {w for w in words if "=" in w}, block.place
        for word in words:
            if re.match(r"(deploy|bench|tests|docs)/", word):
                assert (ROOT / word).exists(), word


@of("sh", "console")
def test_every_command_of_the_bot_is_understood(block: Block) -> None:
    for words in _commands(block):
        assert parser(words).parse_args(words).command in COMMANDS


def _typed(block: Block) -> list[str]:
    return [line[2:] for line in block.text.splitlines() if line.startswith("$ ")]


def _lines(text: str) -> Iterator[str]:
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


def _words(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    ends = {">", "&&", "|", "|&"}
    return words[: next((i for i, word in enumerate(words) if word in ends), None)]


def _commands(block: Block) -> Iterator[list[str]]:
    """The arguments of each call of mouseflow-bot, also within a container."""
    text = block.text if block.language == "sh" else "\n".join(_typed(block))
    for words in map(_words, _lines(text)):
        at = [i for i, word in enumerate(words) if word.rpartition("/")[2] == "mouseflow-bot"]
        if at and at[-1] + 1 < len(words) and words[at[-1] + 1] in COMMANDS:
            yield words[at[-1] + 1 :]


# ---- what commands print -----------------------------------------------------------------------

TEXTS = {
    str(page.relative_to(ROOT)): texts
    for page in PAGES
    if (texts := [it.text for it in BLOCKS if it.page == page and it.language == "text"])
}
"""The text blocks of each page."""

NOT_OURS = {
    "docs/explanation/architecture.md": "drawings",
    "docs/explanation/performance.md": "drawn by bench.report",
    "docs/how-to/backup-and-restore.md": "a crontab",
    "docs/reference/web.md": "Markdown",
}
"""Pages with text blocks that no command of the bot prints."""


def test_every_output_in_the_docs_is_compared() -> None:
    """With what commands print: here, and that of the tutorial in its own test."""
    compared = {"docs/how-to/postgresql.md", "docs/reference/rules.md", "docs/tutorial.md"}
    assert TEXTS.keys() == NOT_OURS.keys() | compared


@pytest.mark.parametrize(
    ("number", "right", "wrong"),
    [(0, "friction: {", "frction: {"), (1, "summary: A frus", "summary: Stuck: a frus")],
)
def test_the_errors_in_the_reference_are_those_of_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    number: int, right: str, wrong: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    example = next(it for it in blocks(ROOT / "docs/reference/rules.md") if it.language == "yaml")
    assert right in example.text
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "checkout.yaml").write_text(example.text.replace(right, wrong))
    assert main(["check", "rules"]) == 1
    assert capsys.readouterr().out == TEXTS["docs/reference/rules.md"][number]


def test_the_outputs_about_postgresql_are_those_of_move_and_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (_, moved, _, bots) = TEXTS["docs/how-to/postgresql.md"]
    target = "postgresql://bot@db.example/bot"
    rows = {f"table {number}": 1 for number in range(16)} | {"recordings": 48_195}
    done = SimpleNamespace(source="data/bot.db", target=target, rows=rows)
    monkeypatch.setattr("bot.store.move.move", lambda *_: done)
    assert main(["move", "sqlite:///data/bot.db", target]) == 0
    assert capsys.readouterr().out == moved
    now = datetime.now(UTC)
    both = [
        Replica(
            id=host, host=host, process=7, version="0.1.0", rules="", age=1.0,
            started=now - timedelta(hours=3), leads=host == "bot-0",
            websites=[f"{name}.example" for name in (*some, *(f"z{n}" for n in range(22)))],
        )
        for host, some in (("bot-0", "abc"), ("bot-1", "def"))
    ]  # fmt: skip
    show_replicas(both, {}, now)
    assert capsys.readouterr().out == bots.removeprefix("$ mouseflow-bot status\n")


# ---- every command, run ------------------------------------------------------------------------

LONG = {"run", "demo", "simulate"}
"""These run until they are stopped; tests of their own run them."""

FAILING = {
    "api PUT /websites/myshop.com --write --body rate.json": "rate.json: cannot be read",
    "cancel 17 23": "17: no such waiting action",
    "check typo.yaml": "typo.yaml:1:1: no such rule file",
    "healthcheck": "unhealthy: the daemon is not running",
    "init": "these files already exist, nothing was written: config.toml",
    "init --pack checkout --pack forms": "these files already exist, nothing was written",
    "replay --resume": "no interrupted replay",
    "retry 17 23": "17: no such dead letter",
}
"""What does not work in the prepared folder, and why."""


COMMAND_LINES = sorted({
    tuple(words)
    for block in BLOCKS
    if block.language in ("sh", "console")
    for words in _commands(block)
    if words[0] not in LONG
})  # fmt: skip


@pytest.mark.parametrize("words", COMMAND_LINES, ids=" ".join)
def test_a_command_of_the_docs_runs(
    world: tuple[Path, str],  # noqa: F811
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    place, made = world
    monkeypatch.chdir(place)
    known = {
        "4a1b2c": made,
        "/backups/": f"{place}/backups/",
        "websites/W/recordings/R": f"websites/{MYSHOP}/recordings/{made}",
        "/websites/W": f"/websites/{MYSHOP}",
        "postgresql://bot@db.example/bot": "sqlite:///data/moved.db",
    }
    line = list(words)
    for told, real in known.items():
        line = [word.replace(told, real) for word in line]
    copy = place / "backups" / "bot.db"
    if words[0] == "backup":
        copy.unlink(missing_ok=True)
    elif words[0] == "restore" and not copy.exists():
        assert main(["backup", str(copy)]) == 0
    code = main(line)
    shown = capsys.readouterr()
    failure = FAILING.get(" ".join(words), "")
    assert code == (1 if failure else 0), shown
    assert failure in shown.out + shown.err
