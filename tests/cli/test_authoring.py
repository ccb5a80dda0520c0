"""What a rule author meets: init, check, test, schema and simulate, as real commands."""

import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.request import Request, urlopen
from xml.etree import ElementTree as Xml

import bot_process
import jsonschema
import pytest

from bot.cli.check_online import read_only_websites, unknown_websites
from bot.cli.main import main
from bot.config.load import load
from bot.config.settings import channels
from bot.domain.subjects import Site
from bot.rules.files.actions import Allowed
from bot.rules.files.load import read
from bot.store import open_store

ROOT = Path(__file__).parents[2]
KEY = {"BOT_MOUSEFLOW__API_KEY": "the-key-itself"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("BOT_"):
            monkeypatch.delenv(name)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(list(arguments)) == code, capsys.readouterr()
    return capsys.readouterr().out


def test_init_writes_files_that_check_and_test_find_good(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = told(capsys, "init")
    assert "wrote config.toml" in said
    without_key = told(capsys, "check").splitlines()
    assert without_key == [
        "warning: mouseflow.api_key: no API key set; commands that contact Mouseflow need one "
        "(BOT_MOUSEFLOW__API_KEY)",
        "warning: slack.bot_token: no Slack token set; rules that post to Slack need one "
        "(BOT_SLACK__BOT_TOKEN)",
        "ok: 1 rule in 1 file",
    ]
    monkeypatch.setenv(*next(iter(KEY.items())))
    monkeypatch.setenv("BOT_SLACK__BOT_TOKEN", "xoxb-1")
    assert told(capsys, "check") == "ok: 1 rule in 1 file\n"
    assert told(capsys, "test") == "3 tests of 1 rule: all passed\n"
    schema = json.loads((place / "rules/rules.schema.json").read_text())
    assert schema == json.loads(told(capsys, "schema"))
    assert stat.S_IMODE((place / "config.toml").stat().st_mode) == 0o644


def test_what_init_writes_is_readable_for_the_containers_user_whatever_the_umask(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "mine").mkdir(0o700)
    before = os.umask(0o077)
    try:
        told(capsys, "init", "mine/new")
    finally:
        os.umask(before)
    modes = {it: stat.S_IMODE(it.stat().st_mode) for it in (place / "mine/new").rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o644}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o755}
    assert stat.S_IMODE((place / "mine/new").stat().st_mode) == 0o755
    assert stat.S_IMODE((place / "mine").stat().st_mode) == 0o700


def test_the_first_rule_file_is_what_its_schema_says(place: Path) -> None:
    from ruamel.yaml import YAML

    from bot.cli.init import first_files

    files = first_files()
    written = YAML(typ="safe", pure=True).load(files["rules/first.yaml"])
    jsonschema.validate(written, json.loads(files["rules/rules.schema.json"]))


def test_init_touches_nothing_that_is_there(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "rules").mkdir()
    (place / "rules/first.yaml").write_text("mine")
    assert main(["init"]) == 1
    assert (
        "these files already exist, nothing was written: rules/first.yaml"
        in capsys.readouterr().err
    )
    assert not (place / "config.toml").exists()
    assert (place / "rules/first.yaml").read_text() == "mine"


def test_init_writes_rule_packs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys, "init", "--pack", "checkout", "--pack", "Forms")
    assert "wrote rules/checkout.yaml" in said
    assert "wrote rules/forms.yaml" in said
    assert not (place / "rules/first.yaml").exists()
    assert "ok: 9 rules in 2 files" in told(capsys, "check").splitlines()
    (place / "config.toml").write_text("# mine\n")
    said = told(capsys, "init", "--pack", "errors")
    assert "kept  config.toml" in said
    assert said.partition("\n\n")[2].splitlines() == [
        "next: edit websites, channels and figures in the new rules, then",
        "  mouseflow-bot check --online",
        "  mouseflow-bot test",
        "  mouseflow-bot once --dry-run",
    ]
    assert (place / "config.toml").read_text() == "# mine\n"
    assert main(["init", "--pack", "errors"]) == 1
    assert "nothing was written: rules/errors.yaml" in capsys.readouterr().err
    assert main(["init", "--pack", "chekout"]) == 1
    assert "did you mean checkout?" in capsys.readouterr().err


def test_init_writes_no_pack_that_a_running_bot_would_act_on(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "init")
    with open_store("sqlite:///data/bot.db"):
        assert main(["init", "--pack", "budgets"]) == 1
        assert "a bot runs with this configuration" in capsys.readouterr().err
        assert not (place / "rules/budgets.yaml").exists()
        told(capsys, "init", "new", "--pack", "budgets")
        assert (place / "new/rules/budgets.yaml").exists()
    told(capsys, "init", "--pack", "budgets")


def test_the_first_rule_beside_every_pack_has_no_id_twice(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from bot.cli.init import packs

    told(capsys, "init")
    told(capsys, "init", *(word for name in packs() for word in ("--pack", name)))
    assert "ok: 35 rules, 2 budgets and 1 weekly report in " in told(capsys, "check")


def test_init_elsewhere(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys, "init", "deep/er place")
    assert (place / "deep/er place/rules/first.yaml").exists()
    steps = [shlex.split(line) for line in said.splitlines() if "  mouseflow-bot" in line]
    assert [step[1] for step in steps] == ["check", "test", "once", "run"]
    for step in steps[:2]:
        told(capsys, *(word for word in step[1:] if word != "--online"))
    (place / "file").write_text("")
    assert main(["init", "file/x"]) == 1
    assert "cannot be written" in capsys.readouterr().err


POSTS = """\
version: 1
rules:
  posts:
    watch: recordings
    when: {pages: {min: 5}}
    do: {slack: {}}
    tests: [{name: many, given: {pages: 6}, expect: match}]
"""
BAD = """\
version: 1
rules:
  one:
    watch: recordings
    when: {frction: {min: 2}}
    do: {star: true}
  two:
    watch: recordings
    when: {pages: {min: many}}
    do: {tag: [x], delete: true}
  three:
    watch: recordings
    when: {pages: {min: 5}}
    do: {slack: {}}
"""


def test_check_tells_every_problem_of_configuration_and_rules(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "config.toml").write_text('[mouseflow]\nregion = "eu"\nemial = "ops@example.com"\n')
    (place / "rules").mkdir()
    (place / "rules/bad.yaml").write_text(BAD)
    (place / "rules/worse.toml").write_text("version = 1\n[rules.x\n")
    assert "config.toml:1:2: mouseflow.api_key: missing" in told(
        capsys, "check", "--online", code=1
    )
    lines = told(capsys, "check", code=1).splitlines()
    assert lines[0].startswith("config.toml:1:2: mouseflow.email: missing")
    assert (
        "rules/bad.yaml:5:12: rules.one.when.frction: unknown field; did you mean friction?"
        in lines
    )
    assert any(line.startswith("rules/bad.yaml:9:") for line in lines)
    assert any(line.startswith("rules/worse.toml:2:") for line in lines)
    problems = json.loads(told(capsys, "check", "--json", code=1))["problems"]
    assert len(problems) == len(lines)


def test_check_notes_what_a_rule_waits_for_and_how_long(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "init")
    monkeypatch.setenv("BOT_MOUSEFLOW__API_KEY", "the-key-itself")
    monkeypatch.setenv("BOT_SLACK__BOT_TOKEN", "xoxb-1")
    monkeypatch.setenv("BOT_POLL__SETTLE", "40m")
    rule = "watch: recordings, when: {device: phone}, except: {tags: [internal]}, do: {star: true}"
    rows = "".join(f"  r{number}: {{{rule}}}\n" for number in range(12))
    (place / "rules/first.yaml").write_text(f"version: 1\nsilence: [same-rule]\nrules:\n{rows}")
    said = told(capsys, "check").splitlines()
    assert said[0] == (
        "note: rules/first.yaml:4:59: rules.r0.except.tags: because of this, the rule waits until "
        "the session is settled (40 min without activity) [waits]"
    )
    assert said[10:] == ["note: 2 more notes (--json lists them)", "ok: 12 rules in 1 file"]
    assert len(json.loads(told(capsys, "check", "--json"))["notes"]) == 12


def test_check_looks_at_the_stores_url_beside_other_errors(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "rules").mkdir()
    (place / "rules/good.yaml").write_text(BAD.split("  two:")[0].replace("frction", "friction"))
    url = '[store]\nurl = "mysql://bot:pw@db/bot"\n'
    (place / "config.toml").write_text(f'[mouseflow]\nregion = "uk"\nemial = "x"\n{url}')
    said = told(capsys, "check", code=1)
    for part in ("mouseflow.email: missing", "mouseflow.region", "emial", "store.url"):
        assert part in said
    assert "pw" not in said
    assert said.count("store.url") == 1


def test_check_reads_the_rules_that_a_configuration_with_errors_names(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("own", "shops", "set"):
        (place / "etc" / folder).mkdir(parents=True)
        (place / "etc" / folder / f"{folder}.yaml").write_text(BAD)
    config = '[mouseflow]\nregion = "uk"\n[rules]\npaths = ["own"]\n'
    (place / "etc/config.toml").write_text(config)
    named = ("check", "--config", "etc/config.toml")
    assert "etc/own/own.yaml:5:12: rules.one.when.frction" in told(capsys, *named, code=1)
    (place / "etc/config.toml").write_text(
        f'{config}[accounts.one.rules]\npaths = "shops"\n[accounts.two]\n'
    )
    said = told(capsys, *named, code=1)
    assert "etc/own/own.yaml:5:12" in said
    assert "etc/shops/shops.yaml:5:12" in said
    monkeypatch.setenv("BOT_RULES__PATHS", "etc/set, nowhere")
    said = told(capsys, *named, code=1)
    assert "etc/set/set.yaml:5:12" in said
    assert "nowhere:1:1: no such rule file or directory" in said
    monkeypatch.delenv("BOT_RULES__PATHS")
    (place / "etc/config.toml").write_text("[mouseflow\n")
    assert told(capsys, *named, code=1).splitlines()[1:] == [
        "warning: no rule files were checked: the configuration does not say where they are"
    ]


def test_check_lists_every_missing_path_beside_other_errors(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "bad.yaml").write_text(BAD)
    said = told(capsys, "check", "bad.yaml", "gone.yaml", "lost", code=1).splitlines()
    assert said[0].startswith("bad.yaml:5:12: rules.one.when.frction")
    assert said[-2:] == [
        "gone.yaml:1:1: no such rule file or directory",
        "lost:1:1: no such rule file or directory",
    ]


def test_check_keeps_notes_and_disabled_rules_beside_errors(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    waits = "watch: recordings, when: {device: phone}, except: {tags: [internal]}"
    (place / "waits.yaml").write_text(
        f"version: 1\nrules:\n  late: {{{waits}, do: {{star: true}}}}\n"
        "  off: {watch: recordings, disabled: true, when: {pages: {min: 2}}, do: {star: true}}\n"
    )
    (place / "config.toml").write_text(
        '[mouseflow]\nregion = "uk"\n[rules]\npaths = "waits.yaml"\n'
    )
    (place / "bad.yaml").write_text(BAD)
    for command in (("check",), ("check", "waits.yaml", "bad.yaml")):
        said = told(capsys, *command, code=1)
        assert "note: waits.yaml:3:" in said
        assert "disabled: off" in said
        assert "ok:" not in said
        document = json.loads(told(capsys, *command, "--json", code=1))
        assert (len(document["notes"]), document["disabled"]) == (1, ["off"])


def test_check_says_where_problems_of_the_configuration_are(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "rules").mkdir()
    (place / "rules/posts.yaml").write_text(POSTS)
    (place / "config.toml").write_text('[mouseflow]\nregion = "uk"\nemail = "o@example.com"\n')
    (problem,) = json.loads(told(capsys, "check", "--json", code=1))["problems"]
    assert problem == {
        "file": "config.toml", "line": 2, "column": 1, "path": "mouseflow.region",
        "message": "write one of eu or us", "lint": None,
    }  # fmt: skip


def test_check_says_what_this_configuration_forbids(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(*next(iter(KEY.items())))
    config = '[mouseflow]\nregion = "eu"\nemail = "ops@example.com"\n'
    rules = BAD.replace("frction", "friction").replace("many", "2")
    (place / "config.toml").write_text(config)
    (place / "rules").mkdir()
    (place / "rules/posts.yaml").write_text(rules)
    lines = told(capsys, "check", code=1).splitlines()
    assert any("rules.two.do.delete" in line for line in lines)
    assert any("rules.three.do.slack" in line for line in lines)
    text = config + '[slack]\nbot_token = "xoxb-1"\nchannel = "#x"\n[rules]\nallow_delete = true\n'
    (place / "config.toml").write_text(text)
    assert told(capsys, "check") == "ok: 3 rules in 1 file\n"


def test_check_and_test_need_no_token_where_the_rules_are_written(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In CI the configuration is there and the secrets are not."""
    (place / "config.toml").write_text(
        '[mouseflow]\nregion = "eu"\nemail = "ops@example.com"\n[slack]\nchannel = "#x"\n'
    )
    (place / "rules").mkdir()
    (place / "rules/posts.yaml").write_text(POSTS)
    assert told(capsys, "check").splitlines() == [
        "warning: mouseflow.api_key: no API key set; commands that contact Mouseflow need one "
        "(BOT_MOUSEFLOW__API_KEY)",
        "warning: slack.bot_token: no Slack token set; rules that post to Slack need one "
        "(BOT_SLACK__BOT_TOKEN)",
        "ok: 1 rule in 1 file",
    ]
    assert told(capsys, "test") == "1 test of 1 rule: all passed\n"


def test_the_secret_of_a_webhook_that_is_not_here_is_told_before_a_match_needs_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "config.toml").write_text(
        '[mouseflow]\nregion = "eu"\nemail = "ops@example.com"\napi_key = "k"\n'
    )
    (place / "rules").mkdir()
    (place / "rules/calls.yaml").write_text(
        "version: 1\nrules:\n  one:\n    watch: recordings\n    when: {pages: {min: 2}}\n"
        "    do: {webhook: {url: https://example.com/hook, secret: env:HOOK_SECRET}}\n"
    )
    assert told(capsys, "check").splitlines() == [
        "warning: rules/calls.yaml:3:3: rules.one.do.webhook: the secret env:HOOK_SECRET is not "
        "set here; without it the bot does not call the webhook",
        "ok: 1 rule in 1 file",
    ]
    monkeypatch.setenv("HOOK_SECRET", "long-enough")
    assert told(capsys, "check") == "ok: 1 rule in 1 file\n"


def test_budgets_are_counted_beside_the_rules(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "budgets.yaml").write_text(
        "version: 1\nbudgets:\n  plan:\n    websites: [myshop.com]\n    recordings: 100\n"
        "    period: day\n    steps: {80%: {recording: stop}}\n"
    )
    (place / "more.yaml").write_text(
        "version: 1\nrules:\n  one:\n    watch: recordings\n    when: {pages: {min: 2}}\n"
        "    do: {star: true}\n"
    )
    assert told(capsys, "check", "budgets.yaml") == "ok: 0 rules and 1 budget in 1 file\n"
    said = told(capsys, "check", "budgets.yaml", "more.yaml")
    assert said == "ok: 1 rule and 1 budget in 2 files\n"


def test_rules_lie_beside_the_configuration_from_wherever_it_is_named(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "etc/rules").mkdir(parents=True)
    (place / "etc/config.toml").write_text(
        '[mouseflow]\nregion = "eu"\nemail = "ops@example.com"\n'
    )
    (place / "etc/rules/bad.yaml").write_text(BAD)
    for options in ([], ["--online"]):
        said = told(capsys, "check", *options, "--config", "etc/config.toml", code=1)
        assert "etc/rules/bad.yaml:5:12: rules.one.when.frction: unknown field" in said
    (place / "etc/config.toml").write_text("[mouseflow]\n")
    said = told(capsys, "check", "--config", "etc/config.toml", code=1)
    assert "etc/rules/bad.yaml:5:12: rules.one.when.frction: unknown field" in said
    (place / "etc/config.toml").write_text(
        '[mouseflow]\nregion = "eu"\nemail = "ops@example.com"\n'
    )
    (place / "etc/rules/bad.yaml").unlink()
    said = told(capsys, "check", "--config", "etc/config.toml", code=1)
    assert "etc/rules: no rule files" in said
    assert main(["status", "--config", "etc/config.toml"]) == 1
    assert capsys.readouterr().err.startswith("no store at etc/data/bot.db: ")


def test_check_of_named_files_needs_no_configuration(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "mine.yaml").write_text(BAD.replace("frction", "friction").replace("many", "2"))
    assert told(capsys, "check", "mine.yaml").endswith("ok: 3 rules in 1 file\n")
    assert "no such rule file" in told(capsys, "check", "other.yaml", code=1)
    (place / "empty").mkdir()
    assert "no rule files" in told(capsys, "check", "empty", code=1)


def test_check_shows_warnings_beside_problems_and_what_it_could_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(
        "version: 1\nrules:\n"
        "  one: {watch: recordings, when: {country: Germany}, do: {star: true}}\n"
        "  two: {watch: recordings, when: {city: [Bonn}, do: {star: true}}\n"
    )
    said = told(capsys, "check", "mine.yaml", code=1).splitlines()
    assert [line.partition(": ")[0] for line in said] == ["mine.yaml:4:41", "warning"]
    assert said[0].endswith("the rest of this rule was not checked")
    assert said[1].endswith("[unusual-value]")


def test_warnings_are_shown_and_are_no_reason_to_fail(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "odd.yaml").write_text(
        "version: 1\nrules:\n  odd:\n    watch: recordings\n"
        "    when: {friction: {min: 80}}\n    do: {star: true}\n"
    )
    said = told(capsys, "check", "odd.yaml")
    assert said.startswith("warning: odd.yaml:5:")
    assert said.endswith("ok: 1 rule in 1 file\n")
    assert len(json.loads(told(capsys, "check", "odd.yaml", "--json"))["warnings"]) == 1


def test_a_failing_test_shows_why_and_fails_the_build(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = (ROOT / "bot/cli/first/first.yaml").read_text()
    (place / "first.yaml").write_text(first.replace("friction: 3,", "friction: 1,"))
    said = told(capsys, "test", "first.yaml", "--junit", "report.xml", code=1)
    assert "first.yaml:" in said
    assert "friction in the checkout: expected a match, found none" in said
    assert "frictionmin" in said
    assert said.endswith("3 tests of 1 rule: 1 failed\n")
    suites = Xml.parse(place / "report.xml").getroot()
    assert suites.attrib["tests"] == "3"
    assert suites.attrib["failures"] == "1"
    results = json.loads(told(capsys, "test", "first.yaml", "--json", code=1))["tests"]
    assert [result["passed"] for result in results] == [False, True, True]
    assert main(["test", "first.yaml", "--junit", "no/such/place.xml"]) == 1


def test_a_rule_to_test_that_is_not_there_is_named(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "first.yaml").write_text((ROOT / "bot/cli/first/first.yaml").read_text())
    assert main(["test", "first.yaml", "--rule", "frustrated-in-chekout"]) == 1
    assert "did you mean frustrated-in-checkout?" in capsys.readouterr().err


def test_no_test_at_all_is_a_failure(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "bot/cli/first/first.yaml").read_text().partition("    tests:")[0]
    (place / "untested.yaml").write_text(text)
    assert "no tests found" in told(capsys, "test", "untested.yaml", code=1)


RULES = b"""\
version: 1
rules:
  one:
    watch: recordings
    websites: [myshop.com, yourshop.*]
    when: {pages: {min: 2}}
    do: {star: true, tag: x, delete: true, slack: {channel: "#one"}}
  two:
    watch: recordings
    when: {pages: {min: 3}}
    do: {slack: {}}
"""


def test_websites_that_are_not_there_or_read_only_are_named() -> None:
    rules = read([("r.yaml", RULES)], allowed=Allowed(delete=True)).rules
    sites = [Site("w1", "MyShop.com", read_only=True), Site("w2", "other.com")]
    (unknown,) = unknown_websites(rules, sites)
    assert "r.yaml:3:3: rules.one.websites: yourshop.*: the account has no such website" in unknown
    assert "MyShop.com, other.com" in unknown
    (refused,) = read_only_websites(rules, sites)
    assert (
        "MyShop.com is read-only for this API user; the bot skips delete, star and tag there"
        in refused
    )
    assert read_only_websites(rules, [Site("w2", "other.com", read_only=True)]) == []


def test_every_channel_that_is_posted_to_is_looked_at() -> None:
    rules = read([("r.yaml", RULES)], allowed=Allowed(delete=True)).rules
    environ = {
        "BOT_MOUSEFLOW__REGION": "eu",
        "BOT_MOUSEFLOW__EMAIL": "ops@example.com",
        **KEY,
        "BOT_SLACK__CHANNEL": "#all",
    }
    assert channels(load(None, environ), rules) == ["#all", "#one"]
    environ["BOT_SLACK__OPS_CHANNEL"] = "#ops"
    assert channels(load(None, environ), rules) == ["#all", "#one", "#ops"]


class Simulation:
    """`mouseflow-bot simulate` as a process of its own, on free ports."""

    def __init__(self, directory: Path, *words: str) -> None:
        self._process = bot_process.Popen(
            [sys.executable, "-m", "bot", "simulate", "--port", "0", "--slack-port", "0", *words],
            cwd=directory,
            env={"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.errors = self._process.stderr
        lines = []
        while not lines or not lines[-1].startswith("# Add a session"):
            lines.append(self._process.stdout.readline())
            assert lines[-1], "it ended early"
        self.config = "".join(lines)
        self.url = re.findall(r'base_url = "(.+?)"', self.config)[0]

    def end(self, number: signal.Signals) -> int:
        self._process.send_signal(number)
        code = self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self.errors.close()
        return code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_simulator_prints_a_configuration_with_which_check_goes_online(
    place: Path, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    simulation = Simulation(place)
    try:
        (place / "config.toml").write_text(simulation.config)
        (place / "rules").mkdir()
        (place / "rules/mine.yaml").write_text(
            "version: 1\nrules:\n  one:\n    watch: recordings\n    websites: [myshop.com]\n"
            '    when: {friction: {min: 2}}\n    do: {slack: {channel: "#ux"}}\n'
        )
        said = told(capsys, "check", "--online")
        assert said.endswith("\nok: 1 rule in 1 file\n")
        assert "checked Mouseflow: http://127.0.0.1:" in said
        text = (place / "rules/mine.yaml").read_text()
        (place / "rules/mine.yaml").write_text(text.replace("myshop", "noshop").replace("ux", "no"))
        said = told(capsys, "check", "--online", code=1)
        assert "noshop.com: the account has no such website" in said
        assert "Slack: there is no channel #no, " in said
        config = simulation.config.replace("simulator-key", "other-key").replace(
            "xoxb-", "xoxb-not-"
        )
        (place / "config.toml").write_text(config)
        said = told(capsys, "check", "--online", code=1)
        assert "Mouseflow (" in said
        assert "other-key" not in said
        assert "xoxb" not in said
    finally:
        assert simulation.end(number) == 0


def test_one_command_simulates_several_accounts(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulation = Simulation(place, "--account", "shop", "--account", "outlet")
    try:
        (place / "config.toml").write_text(simulation.config)
        (place / "rules").mkdir()
        (place / "rules/mine.yaml").write_text(
            "version: 1\nrules:\n  one:\n    accounts: [outlet]\n    watch: recordings\n"
            '    when: {friction: {min: 2}}\n    do: {slack: {channel: "#ux"}}\n'
        )
        said = told(capsys, "check", "--online")
        urls = re.findall(r"checked Mouseflow: (http://127.0.0.1:[0-9]+) ", said)
        assert len(set(urls)) == 2
        assert tomllib.loads(simulation.config)["accounts"].keys() == {"shop", "outlet"}
    finally:
        assert simulation.end(signal.SIGTERM) == 0
    with pytest.raises(SystemExit, match="2"):
        main(["simulate", "--account", "Shop"])
    assert "Shop: write a name of small letters" in capsys.readouterr().err


def test_a_session_is_planted_into_the_running_simulator(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulation = Simulation(place)
    try:
        port = simulation.url.rpartition(":")[2]
        planted = told(capsys, "simulate", "--plant", "checkout-friction", "--port", port)
        made = planted.split()[-1]
        assert planted == f"added a checkout-friction session to myshop.com: recording {made}\n"
        with urlopen(f"{simulation.url}/_simulator/recordings/{made}") as answer:
            assert json.load(answer)["friction"] >= 2.5
        for words, error in (
            (["--plant", "checkout-fricton"], "did you mean checkout-friction?"),
            (["--plant", "purchase", "--website", "myshp.com"], "did you mean myshop.com?"),
            (
                ["--plant", "purchase", "--website", "no.example"],
                "no.example: the simulator has no such website",
            ),
        ):
            assert main(["simulate", *words, "--port", port]) == 1
            assert error in capsys.readouterr().err
    finally:
        simulation.end(signal.SIGTERM)
    assert main(["simulate", "--plant", "purchase", "--port", port]) == 1
    assert f"no simulator answers on port {port}; start one with" in capsys.readouterr().err


def test_the_simulator_shows_each_slack_message_and_each_edit(place: Path) -> None:
    simulation = Simulation(place, "--channel", "#payments", "--channel", "#ops")
    try:
        slack, token = re.findall(
            r'\[slack\]\nbase_url = "(.+?)"\nbot_token = "(.+?)"', simulation.config
        )[0]

        def called(method: str, **body: str) -> dict[str, str]:
            heads = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            with urlopen(Request(slack + method, json.dumps(body).encode(), heads)) as answer:
                said: dict[str, str] = json.load(answer)
            assert said["ok"]
            return said

        called("chat.postMessage", channel="#ops", text="A visitor\n<https://x.example|watch>")
        post = called("chat.postMessage", channel="#payments", text="one more\x1b[2J")
        serving = simulation.errors.readline()
        assert serving.startswith(f"serving Mouseflow at {simulation.url} and Slack at {slack} ")
        shown = [simulation.errors.readline() for _ in range(7)]
        assert shown[:6] == [
            "\n",
            "#ops\n",
            "  │ A visitor\n",
            "  │ watch (https://x.example)\n",
            "\n",
            "#payments\n",
        ]
        assert "\x1b" not in "".join(shown)
        called("chat.update", channel=post["channel"], ts=post["ts"], text="Also another rule")
        shown = [simulation.errors.readline() for _ in range(3)]
        assert shown == ["\n", "#payments (edited)\n", "  │ Also another rule\n"]
        assert "#payments (more: --channel NAME)" in simulation.config
        assert simulation.config.count("#ops,") == 1
    finally:
        assert simulation.end(signal.SIGTERM) == 0


def test_a_port_in_use_is_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simulation = Simulation(place)
    try:
        port = simulation.url.rpartition(":")[2]
        for option, other in (("--port", "--slack-port"), ("--slack-port", "--port")):
            assert main(["simulate", option, port, other, "0"]) == 1
            said = capsys.readouterr().err
            assert said.startswith(f"cannot listen on port {port}: another program uses it")
            assert f"choose another with {option} (0: any free one)" in said
        with pytest.raises(OSError, match="401"):
            urlopen(f"{simulation.url}/websites")
    finally:
        simulation.end(signal.SIGTERM)


SAMPLES = """\
samples:
  - name: a short visit
    given: {pages: 1}
  - name: a long one
    given: {pages: 9, website: other.com}
  - given: {path: /, views: 9}
    watch: pages
"""


def test_no_rule_may_match_a_sample_of_ordinary_sessions(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule = "    watch: recordings\n    do: {star: true}\n    when: {pages: {min: 5}}\n"
    (place / "rules.yaml").write_text(
        f"version: 1\nrules:\n  long:\n{rule}  ours:\n    websites: [myshop.com]\n{rule}"
        "  one:\n    tests: [{given: {pages: 1}, expect: no match}]\n" + rule
    )
    ordinary = place / "ordinary.yaml"
    ordinary.write_text(SAMPLES)
    command = ("test", "rules.yaml", "--quiet-on", str(ordinary))
    said = told(capsys, *command, code=1).splitlines()
    assert said[0] == "1 test of 1 rule: all passed"
    assert said[1].startswith(f"{ordinary}:4: a long one: unwanted match of long: pages 9")
    assert "unwanted match of one: " in said[2]
    assert said[3:] == ["3 samples: 2 unwanted"]
    found = json.loads(told(capsys, *command, "--json", code=1))
    assert [each["rule"] for each in found["unwanted"]] == ["long", "one"]
    ordinary.write_text(SAMPLES.replace("pages: 9", "pages: 4"))
    assert told(capsys, *command).splitlines()[-1] == "3 samples: no match"
    ordinary.write_text(
        SAMPLES.replace("pages: 9", "devce: phone").replace("given: {path", "gven: {p")
    )
    assert main(list(command)) == 1
    wrong = capsys.readouterr().err
    assert f"{ordinary}:5:13: samples.1.given.devce: unknown field; did you mean device?" in wrong
    assert f"{ordinary}:6:5: samples.2.gven: unknown key; did you mean given?" in wrong
    assert main(["test", "rules.yaml", "--quiet-on", "nowhere.yaml"]) == 1
    assert "nowhere.yaml: can't be read" in capsys.readouterr().err


def test_check_says_what_intervals_of_polls_cost(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "config.toml").write_text(
        '[mouseflow]\nregion = "eu"\nemail = "ops@example.com"\napi_key = "k"\n'
        '[poll]\nrecordings = "10m"\n'
    )
    (place / "rules").mkdir()
    (place / "rules/cross.yaml").write_text(
        "version: 1\nrules:\n  cross:\n    watch: recordings\n    when: {friction: {min: 5}}\n"
        "    do: {star: true}\n"
    )
    said = told(capsys, "check", "--cost").splitlines()
    assert said[0] == "requests a day for each website, besides details (limit 172,800):"
    assert said[3].startswith("  every 10 min (configured): 144 to 288, 0.083 % to 0.17 %")
    assert said[3].endswith("600 to 1,200 such websites fit")
    costs = json.loads(told(capsys, "check", "--json"))["polling"]
    assert [(cost["every"], cost["most"]) for cost in costs][2:] == [(600, 288), (900, 192)]
