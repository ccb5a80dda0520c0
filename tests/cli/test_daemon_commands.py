"""What run, once and demo promise, as real processes against the simulated account."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import bot_process
import pytest

from bot.cli.run import SAME_SIGNAL
from mouseflow.simulator import scenarios
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import Planted, website

ROOT = Path(__file__).parents[2]
PLANTED = "zq9-PLANTED-zq9"
RULE = """\
version: 1
rules:
  trouble:
    summary: Trouble on the site
    watch: recordings
    when: {friction: {min: 2.5}}
    do: {tag: trouble, slack: {channel: "#ux"}}
"""
PATIENCE = 120.0


class Place:
    """A directory with a configuration for the simulated account, and ways to run the bot."""

    def __init__(self, directory: Path, simulator: Simulator) -> None:
        self.directory = directory
        self.simulator = simulator
        (directory / "rules").mkdir()
        (directory / "rules/trouble.yaml").write_text(RULE)
        (directory / "config.toml").write_text(
            "[mouseflow]\n"
            f'base_url = "{simulator.mouseflow_url}"\n'
            f'email = "{simulator.email}"\n'
            f'time_zone = "{simulator.quirks.time_zone}"\n'
            "requests_per_second = 50\n"
            "[slack]\n"
            f'base_url = "{simulator.slack_url}"\n'
            "[poll]\n"
            'recordings = "200ms"\nfeedback = "1s"\nstart = "2h"\n'
            '[web]\nlisten = ""\n'
        )
        self.environ = {
            "PYTHONPATH": str(ROOT),
            "BOT_MOUSEFLOW__API_KEY": simulator.api_key,
            "BOT_SLACK__BOT_TOKEN": simulator.slack.token,
            "BOT_WEB__TOKEN": f"{PLANTED}-web",
        }

    def start(
        self, *arguments: str, popen: type["subprocess.Popen[str]"] = bot_process.Popen
    ) -> "subprocess.Popen[str]":
        return popen(
            [sys.executable, "-m", "bot", *arguments],
            cwd=self.directory,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ended(self, process: "subprocess.Popen[str]", code: int = 0) -> tuple[str, str]:
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, out + err
        for secret in (PLANTED, self.simulator.api_key, self.simulator.slack.token):
            assert secret not in out + err
        return out, err

    def run(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        return self.ended(self.start(*arguments), code)

    def writes(self) -> list[str]:
        return [call.path for call in self.simulator.calls if call.method != "GET"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    site = website("w1", "myshop.com")
    now = int(time.time() * 1000)
    site.planted += [
        Planted(now - 3_600_000, scenarios.checkout_friction()),
        Planted(now - 3_500_000, scenarios.purchase()),
    ]
    with Simulator(sites=[site], users={"ops@example.com": f"{PLANTED}-key"}) as simulator:
        yield Place(tmp_path, simulator)


def wait_for(place: Place, what: Callable[[], Any], process: "subprocess.Popen[str]") -> None:
    """Wait until that is true; the daemon's next request tests it again."""
    try:
        place.simulator.wait_until(what, PATIENCE)
    except TimeoutError:
        process.kill()
        pytest.fail("\n".join(process.communicate()))


def next_line(process: "subprocess.Popen[str]", stream: IO[str] | None = None) -> str:
    """The next line on stdout, or the stream; empty if it has ended.

    It is killed if it says nothing.
    """
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    try:
        return (stream or process.stdout).readline()
    finally:
        watchdog.cancel()


def test_a_dry_run_says_what_it_would_do_and_changes_nothing_anywhere(place: Place) -> None:
    before = sorted(place.directory.rglob("*"))
    told = json.loads(place.run("once", "--dry-run", "--json")[0])
    assert told["dry_run"] is True
    assert {match["rule"] for match in told["matches"]} == {"trouble"}
    assert [step["action"] for step in told["matches"][0]["steps"]] == ["tag", "slack"]
    assert {step["state"] for step in told["matches"][0]["steps"]} == {"would-run"}
    assert (told["version"], told["done"], told["would_do"]) == (1, 0, 2)
    assert told["matches"][0]["website"]["name"] == "myshop.com"
    assert told["would_write"]
    assert {post["channel"] for post in told["would_post"]} == {"#ux"}
    assert place.writes() == []
    assert sorted(place.directory.rglob("*")) == before
    assert place.writes() == []


def test_a_dry_run_shows_every_action_also_those_that_read_again_what_they_wrote(
    place: Place,
) -> None:
    (place.directory / "rules/trouble.yaml").write_text(
        RULE.replace("do: {", "do: {variables: {seen-by: bot, cart-value: ''}, ")
    )
    text, _ = place.run("once", "--dry-run")
    would = [line.split()[:2] for line in text.splitlines() if line.lstrip().startswith("would ")]
    assert would == [["would", "set"], ["would", "tag"], ["would", "post"]], text
    assert "3 actions would run. Nothing was changed (dry run)." in text
    assert place.writes() == []


def test_a_match_that_is_not_acted_on_says_why(place: Place) -> None:
    (place.directory / "rules/trouble.yaml").write_text(
        RULE.replace("do: {", "count: {at_least: 3, within: 5h, by: website}\n    do: {")
    )
    text, _ = place.run("once", "--dry-run")
    assert "\n    would not be done: count: not enough yet\n" in text
    (match,) = json.loads(place.run("once", "--json")[0])["matches"]
    assert match["held_back"] == "count: not enough yet"


def test_a_digest_is_no_match_and_a_dry_run_says_what_would_go_into_it(place: Place) -> None:
    (place.directory / "rules/trouble.yaml").write_text(
        RULE.replace('"#ux"', '"#ux", digest: "09:00"')
    )
    text, _ = place.run("once", "--dry-run")
    assert text.count("would match") == 1
    assert "\n    slack: would go into a digest (for the scheduled digest)\n" in text
    assert text.endswith("1 website, 1 match. 1 action would run. Nothing was changed (dry run).\n")
    for dry, ran in ((["--dry-run"], "would-run"), ([], "done")):
        (match,) = json.loads(place.run("once", "--json", *dry)[0])["matches"]
        assert [(it["action"], it["state"]) for it in match["steps"]] == [
            ("tag", ran),
            ("slack", "digested"),
        ]


def test_once_says_which_rules_wait_until_sessions_have_ended(place: Place) -> None:
    place.simulator.add("myshop.com", "checkout-friction", start=-60)
    (place.directory / "rules/trouble.yaml").write_text(
        RULE.replace("    do: {", "    except: {tags: [internal]}\n    do: {").replace("2.5", "4.9")
    )
    text, _ = place.run("once", "--dry-run")
    assert re.search(
        r"\nrule trouble waits until sessions have ended \(35 min without activity\): "
        r"1 live session, the first at \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ\n",
        text,
    ), text
    (waiting,) = json.loads(place.run("once", "--json")[0])["waiting"]
    assert (waiting["rule"], waiting["sessions"]) == ("trouble", 1)


def test_a_page_of_two_websites_is_told_with_the_figures_of_each(tmp_path: Path) -> None:
    sites, now = [website("w1", "myshop.com"), website("w2", "outlet.com")], int(time.time() * 1000)
    for site, visits in zip(sites, (2, 3), strict=True):
        site.planted += [
            Planted(now - ago * 600_000, scenarios.purchase()) for ago in range(1, visits + 1)
        ]
    with Simulator(sites=sites) as simulator:
        place = Place(tmp_path, simulator)
        (tmp_path / "rules/trouble.yaml").write_text(
            "version: 1\nrules:\n  seen:\n    watch: pages\n"
            "    when: {path: /cart, views: {min: 1}}\n"
            '    do: {slack: {channel: "#ux"}}\n'
        )
        matches = json.loads(place.run("once", "--dry-run", "--json")[0])["matches"]
    assert {match["website"]["name"]: match["why"].partition("views ")[2] for match in matches} == {
        "myshop.com": "2, at least 1",
        "outlet.com": "3, at least 1",
    }


def test_a_dry_run_says_what_exactly_it_would_do_and_nothing_that_claims_it_happened(
    place: Place,
) -> None:
    (place.directory / "rules/trouble.yaml").write_text(
        RULE.replace(
            "do: {", f"do: {{star: true, webhook: {{url: 'https://me.example/{PLANTED}'}}, "
        )
    )
    text, log = place.run("once", "--dry-run")
    (matched,) = [line for line in text.splitlines() if line.startswith("trouble would match ")]
    recording = matched.removeprefix("trouble would match ").partition(" on myshop.com: ")[0]
    assert [line for line in text.splitlines() if "would " in line[:10] or "/play" in line] == [
        f"    would star {recording} on myshop.com",
        f"    would tag {recording} on myshop.com with trouble",
        "    would post to #ux:",
        "      │ [Watch recording] "
        f"https://app.mouseflow.com/websites/w1/recordings/{recording}/play",
        "would call the webhook at https://me.example",
    ]
    assert text.endswith("Nothing was changed (dry run).\n")
    assert "4 actions would run" in text
    assert "deliver." not in log
    assert "would tag" in json.loads(place.run("once", "--dry-run", "--json")[0])["would"][1]
    assert place.writes() == []


def test_a_dry_run_shows_what_concerns_one_recording_together_with_its_link(place: Place) -> None:
    place.simulator.add("myshop.com", "rage-on-product", start=-3600)
    (place.directory / "rules/trouble.yaml").write_text(
        RULE.replace(', slack: {channel: "#ux"}', "")
        + "  again: {watch: recordings, when: {friction: {min: 2}}, do: {star: true}}\n"
    )
    lines = place.run("once", "--dry-run")[0].splitlines()
    at = [n for n, line in enumerate(lines) if line.startswith("    https://app.mouseflow.com/")]
    assert len(at) == 2
    for n in at:
        recording = lines[n].split("/")[-2]
        assert {line.split()[0] for line in lines[n - 2 : n]} == {"trouble", "again"}
        assert all(recording in line for line in lines[n - 2 : n + 3])
        assert {" ".join(line.split()[:2]) for line in lines[n + 1 : n + 3]} == {
            "would tag", "would star",
        }  # fmt: skip


def test_a_dry_run_shows_an_edit_of_a_message_as_an_edit(place: Place) -> None:
    (place.directory / "rules/trouble.yaml").write_text(
        RULE + "  again: {watch: recordings, when: {friction: {min: 2}}, "
        'do: {slack: {channel: "#ux"}}}\n'
    )
    lines = place.run("once", "--dry-run")[0].splitlines()
    said = [line.strip() for line in lines if line.lstrip().startswith("would ")]
    assert said[1:] == ["would post to #ux:", "would edit that message:"]
    told = json.loads(place.run("once", "--dry-run", "--json")[0])["would_post"]
    assert [it["edits"] for it in told] == [False, True]
    assert "again" in told[1]["text"]


def test_a_first_look_that_sees_nothing_says_why(place: Place) -> None:
    place.environ["BOT_POLL__START"] = "now"
    said = "The first poll starts from now"
    assert said in place.run("once", "--dry-run")[0]
    place.environ["BOT_POLL__START"] = "2h"
    assert said not in place.run("once")[0]
    place.environ["BOT_POLL__START"] = "now"
    assert said not in place.run("once")[0]


def test_once_acts_and_a_second_time_does_nothing_twice(place: Place) -> None:
    first = json.loads(place.run("once", "--json")[0])
    assert (first["dry_run"], first["done"], first["dead"]) == (False, 2, 0)
    writes, posts = place.writes(), len(place.simulator.slack.messages)
    assert (len(writes), posts) == (2, 1)
    files = {path: path.read_bytes() for path in (place.directory / "data").iterdir()}
    dry = json.loads(place.run("once", "--dry-run", "--json")[0])
    assert (dry["matches"], dry["would_write"]) == ([], [])
    assert {path: path.read_bytes() for path in (place.directory / "data").iterdir()} == files
    second = json.loads(place.run("once", "--json")[0])
    assert (second["matches"], second["done"]) == ([], 0)
    assert place.writes() == writes


def test_once_and_status_say_what_could_not_be_read_and_act_on_the_rest(place: Place) -> None:
    place.simulator.behave(odd_values=100_000)
    out, _ = place.run("once")
    assert "matched" in out
    assert "can't be read as documented: city: expected text, got an object; lat: expected" in out
    status, _ = place.run("status")
    assert "with values that can't be read in the last 24 h: `mouseflow-bot history" in status
    assert (
        "city: expected text, got an object" in place.run("history", "--kind", "poll.bad_value")[0]
    )


def test_once_says_by_its_exit_code_that_a_person_must_act(place: Place) -> None:
    place.simulator.slack.channels.clear()
    out, _ = place.run("once", code=1)
    assert "(Slack rejected the request: channel_not_found" in out
    assert "1 postponed, 0 failed" in out
    status, _ = place.run("status")
    assert "Slack channel #ux does not exist for the bot: 1 action waiting" in status


def test_the_daemon_acts_reloads_and_ends_in_order(place: Place) -> None:
    process = place.start("run")
    try:
        wait_for(place, lambda: place.simulator.slack.messages, process)
        assert place.run("healthcheck")[0] == "alive\n"
        lock = place.directory / "data/bot.db.lock"
        os.utime(lock, (1, 1))
        wait_for(place, lambda: lock.stat().st_mtime > 1, process)  # its heart beats
        assert "daemon: alive" in place.run("status")[0]
        assert "in use by another mouseflow-bot" in place.run("once", code=1)[1]
        file = place.directory / "rules/trouble.yaml"
        file.write_text(RULE.replace("friction:", "frction:"))
        process.send_signal(signal.SIGHUP)
        wait_for(place, lambda: "new rules not loaded" in place.run("status")[0], process)
        polls = len(place.simulator.calls)
        wait_for(place, lambda: len(place.simulator.calls) > polls, process)
    finally:
        process.send_signal(signal.SIGTERM)
    _, log = place.ended(process)
    assert all(json.loads(line) for line in log.splitlines())
    assert "did you mean friction?" in log
    assert place.run("healthcheck", code=1)[0] == ""


def test_wrong_credentials_end_it_with_a_clear_message_and_no_hammering(place: Place) -> None:
    place.environ["BOT_MOUSEFLOW__API_KEY"] = f"{PLANTED}-wrong"
    said = place.run("run", code=1)[1]
    assert "401" in said or "API key" in said
    assert "Traceback" not in said
    assert len(place.simulator.calls) <= 2


def test_a_broken_rule_file_at_the_start_is_told_whole(place: Place) -> None:
    (place.directory / "rules/more.toml").write_text("version = 2\nrules = 3\n")
    (place.directory / "rules/trouble.yaml").write_text(RULE.replace("friction:", "frction:"))
    lines = place.run("run", code=1)[1].splitlines()
    assert any(line.startswith("rules/more.toml:1:") for line in lines)
    assert any("did you mean friction?" in line for line in lines)
    assert len(place.simulator.calls) == 0


def test_without_a_single_rule_file_it_does_not_start(place: Place) -> None:
    (place.directory / "rules/trouble.yaml").unlink()
    for command in ("run", "once"):
        assert place.run(command, code=1)[1] == ("rules: no rule files (.yaml, .yml or .toml)\n")
    assert len(place.simulator.calls) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_while_it_starts_it_leaves_quietly(place: Place, number: int) -> None:
    """The signal arrives in the middle of the first slow import."""
    endless = "print('importing', flush=True)\nwhile True:\n    pass\n"
    (place.directory / "structlog.py").write_text(endless)
    process = place.start("run", popen=subprocess.Popen)
    assert next_line(process) == "importing\n"
    process.send_signal(number)
    assert place.ended(process) == ("", "")


def posting_slowly(place: Place, seconds: float) -> "subprocess.Popen[str]":
    """A daemon with a post under way that takes so long."""
    place.simulator.fail("delay_after", side="slack", path="chat.postMessage", seconds=seconds)
    process = place.start("run")
    wait_for(place, lambda: not place.simulator.faults.pending, process)
    return process


@pytest.mark.parametrize("path", ["/recordings", "/tag"])
def test_a_stop_takes_at_most_twenty_seconds_though_the_api_hangs(place: Place, path: str) -> None:
    place.simulator.fail("delay", path=path, seconds=600.0, times=1000)
    process = place.start("run")
    wait_for(place, lambda: place.simulator.faults.pending[0].times < 1000, process)
    process.send_signal(signal.SIGTERM)
    place.ended(process)  # with code 1 after LONGEST_STOP


def test_told_twice_it_ends_at_once(place: Place) -> None:
    process = posting_slowly(place, 600.0)
    process.send_signal(signal.SIGTERM)
    while (line := next_line(process, process.stderr)) and "daemon.stopping" not in line:
        pass
    with suppress(subprocess.TimeoutExpired):
        process.wait(SAME_SIGNAL)
    process.send_signal(signal.SIGTERM)
    assert "second signal, exiting now" in place.ended(process, 128 + signal.SIGTERM)[1]


def test_one_order_that_comes_in_by_two_ways_is_obeyed_once(place: Place) -> None:
    process = posting_slowly(place, 1.0)
    process.send_signal(signal.SIGSTOP)  # so that both signals are pending when it continues
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    assert "second signal" not in place.ended(process)[1]
    assert place.simulator.slack.messages


def demo(tmp_path: Path, seconds: float) -> "subprocess.Popen[str]":
    """Start the demo as a process that keeps its temporary files in `tmp`."""
    return bot_process.Popen(
        [sys.executable, "-m", "bot", "demo", "--seconds", f"{seconds}", "--rules", ROOT / "rules"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_demo_tells_a_newcomer_what_happened_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    out = ""
    with demo(tmp_path, seconds=10_000) as process:
        while " matched " not in out and (line := next_line(process)):
            out += line
        process.send_signal(signal.SIGTERM)
        out, err = out + process.stdout.read(), process.stderr.read()
    assert (process.returncode, err) == (0, "")
    for heading in (
        "What the bot did", "Rule by rule (mouseflow-bot status)",
        "Latest matches and actions (mouseflow-bot history)", "What the team saw in Slack",
        "API requests", "Next steps",
    ):  # fmt: skip
        assert f"\n{heading}\n" in out
    assert " matched " in out
    assert "simulator-key" not in out
    assert [path.name for path in tmp_path.rglob("*")] == ["tmp"]


def test_the_demo_ends_by_itself_when_its_time_is_over(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    process = demo(tmp_path, seconds=0.1)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    assert "\nNext steps\n" in out
    assert [path.name for path in tmp_path.rglob("*")] == ["tmp"]
