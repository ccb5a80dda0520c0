"""What every command promises: help with an example, exit codes, plain words, no secret."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bot.cli.main import COMMANDS, command, main
from bot.config.load import load
from bot.config.settings import keys

SPAN = re.MULTILINE | re.DOTALL
ENOUGH = {
    "BOT_MOUSEFLOW__REGION": "eu",
    "BOT_MOUSEFLOW__EMAIL": "ops@example.com",
    "BOT_MOUSEFLOW__API_KEY": "key-of-the-account",
}
ROOT = Path(__file__).parents[2]
PLANTED = "zq9-PLANTED-zq9"
SECRETS = {
    "BOT_MOUSEFLOW__API_KEY": f"{PLANTED}-1",
    "BOT_SLACK__BOT_TOKEN": f"xoxb-{PLANTED}-2",
    "BOT_WEB__TOKEN": f"{PLANTED}-3",
}


def bot(
    *arguments: str, cwd: Path, environ: dict[str, str] | None = None, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run the real command in that directory, with nothing of this process's environment."""
    done = subprocess.run(
        [sys.executable, "-m", "bot", *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **(environ or {})},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert PLANTED not in done.stdout + done.stderr
    return done


def test_the_version_and_the_help_need_nothing(tmp_path: Path) -> None:
    assert re.fullmatch(r"mouseflow-bot \d+\.\d+\.\d+\n", bot("--version", cwd=tmp_path).stdout)
    shown = bot("--help", cwd=tmp_path).stdout
    for name, summary in COMMANDS.items():
        assert name in shown
        assert summary in " ".join(shown.split())


def test_help_and_healthcheck_load_nothing_heavy(tmp_path: Path) -> None:
    heavy = {
        "pydantic",
        "structlog",
        "sqlalchemy",
        "httpx",
        "aiohttp",
        "asyncio",
        "rich",
        "bot.logs",
    }
    for arguments in (["--help"], ["--version"], ["healthcheck"]):
        code = (
            "import sys\nfrom bot.cli.main import main\n"
            f"try: main({arguments!r})\nexcept SystemExit: pass\n"
            f"print(sorted({heavy!r} & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main([name, "--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert f"  mouseflow-bot {name}" in shown.partition("example:\n")[2]
    assert "--config FILE" in shown
    assert (command(name).__doc__ or "").splitlines()[0] in " ".join(shown.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["unheard-of"],
        ["check", "--unheard-of"],
        ["history", "--since", "soon"],
        ["history", "--limit", "0"],
        ["simulate", "--port", "99999"],
        ["simulate", "--slack-port", "-1"],
        ["simulate", "--visitors", "0"],
        ["demo", "--seconds", "nan"],
    ],
)
def test_wrong_usage_is_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "usage: mouseflow-bot" in capsys.readouterr().err


def test_without_a_configuration_the_way_to_one_is_told(tmp_path: Path) -> None:
    told = bot("run", cwd=tmp_path, code=1).stderr
    assert told.startswith("no config.toml in this folder; create one with `mouseflow-bot init`")
    assert "mouseflow.api_key: missing" in told
    assert "Traceback" not in told


def test_every_problem_of_the_configuration_is_told_by_every_command(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f'[mouseflow]\nregoin = "{PLANTED}"\n[slak]\n')
    for name in ("run", "once", "history", "status"):
        told = bot(name, cwd=tmp_path, environ=SECRETS, code=1).stderr
        assert "config.toml:2:1: mouseflow.regoin: unknown key; did you mean region?" in told
        assert "config.toml:3:2: slak: unknown section; did you mean slack?" in told


def test_the_configuration_can_be_named_by_option_or_environment(tmp_path: Path) -> None:
    for arguments in (["history", "--config", "other.toml"], ["--config", "other.toml", "history"]):
        told = bot(*arguments, cwd=tmp_path, code=1).stderr
        assert told.startswith("other.toml: no such file")
    told = bot("history", cwd=tmp_path, environ={"BOT_CONFIG": "third.toml"}, code=1).stderr
    assert told.startswith("third.toml: no such file")


def test_a_fault_of_its_own_is_reported_without_secrets(tmp_path: Path) -> None:
    code = (
        "import sys, types\n"
        "from bot.cli import main\n"
        "from bot.logs import scrubber\n"
        f"scrubber.register(['{PLANTED}'])\n"
        "broken = types.ModuleType('bot.cli.status')\n"
        "broken.EXAMPLE = 'x'\n"
        "broken.options = lambda parser: None\n"
        f"def run(args): token = '{PLANTED}'; raise RuntimeError('oh ' + token)\n"
        "broken.run = run\n"
        "sys.modules['bot.cli.status'] = broken\n"
        "sys.exit(main.main(['status']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "Internal error. Please report it" in done.stderr
    assert "RuntimeError: oh [redacted]" in done.stderr
    assert PLANTED not in done.stdout.replace(code, "")


@pytest.mark.parametrize("command_line", ["schema | head -c 300", "--help | true"])
def test_a_reader_that_has_enough_is_no_fault(tmp_path: Path, command_line: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m bot {command_line}"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_is_documented() -> None:
    documented = (ROOT / "docs/reference/commands.md").read_text()
    assert re.findall(r"^## `(\S+)`$", documented, re.MULTILINE) == list(COMMANDS)
    for name in COMMANDS:
        assert f"\nmouseflow-bot {name}" in documented


def test_every_example_of_the_documentation_is_understood() -> None:
    from bot.cli.main import parser

    documented = (ROOT / "docs/reference/commands.md").read_text()
    examples = [
        shlex.split(line, comments=True)
        for line in re.findall(r"^mouseflow-bot (.+)$", documented, re.MULTILINE)
    ]
    shown = [
        shlex.split(line, comments=True)[1:]
        for name in COMMANDS
        for line in command(name).EXAMPLE.splitlines()
    ]
    for words in examples + shown:
        plain = words[: next((i for i, word in enumerate(words) if word in {">", "&&", "|"}), None)]
        assert parser(plain).parse_args(plain).command == plain[0]


FREE = {"notify": {"mail", "oncall"}}
"""Sections whose keys people choose, with the examples."""


@pytest.mark.parametrize("place", ["config.example.toml", "docs/reference/configuration.md"])
def test_every_key_is_documented(place: str) -> None:
    text = (ROOT / place).read_text()
    for section, rest in re.findall(r"^#* ?`?\[(\w+)\]`?.*?\n(.*?)(?=^#* ?`?\[|\Z)", text, SPAN):
        wanted = {key for name, key in keys() if name == section}
        if place.endswith("toml"):
            wanted |= FREE.get(section, set())
        marked = r"^\| `(\w+)` \|" if place.endswith("md") else r"^#? ?(\w+) = "
        assert set(re.findall(marked, rest, re.MULTILINE)) == wanted, section
    assert set(re.findall(r"^#* ?`?\[(\w+)\]", text, re.MULTILINE)) == {
        *(section for section, _ in keys()),
        *FREE,
    }


def test_the_documented_defaults_are_the_real_ones() -> None:
    text = (ROOT / "config.example.toml").read_text()
    for section, rest in re.findall(r"^\[(\w+)\](.*?)(?=^\[|\Z)", text, SPAN):
        examples = re.findall(r'^# (\w+) = ("[^"]*"|[\w.]+)', rest, SPAN)
        for key, value in () if section in FREE else examples:
            default = getattr(load(None, ENOUGH), section)
            if getattr(default, key) is None or (section, key) == ("mouseflow", "api_key"):
                continue  # an example: the key has no default
            environ = ENOUGH | {f"BOT_{section}__{key}".upper(): value.strip('"')}
            given = getattr(load(None, environ), section)
            assert getattr(given, key) == getattr(default, key), key


def test_the_example_configuration_is_the_one_that_init_writes() -> None:
    assert (ROOT / "config.example.toml").read_text() == (
        ROOT / "bot/cli/first/config.toml"
    ).read_text()


def test_json_is_one_document_on_standard_output(tmp_path: Path) -> None:
    assert json.loads(bot("schema", cwd=tmp_path).stdout)["$schema"].startswith(
        "https://json-schema"
    )
