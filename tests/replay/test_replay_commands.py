"""What explain, replay, plan and tune promise, beside a simulated account."""

import gc
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bot_process
import pytest

from bot.cli.main import main
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

ROOT = Path(__file__).parents[2]
RULE = """\
version: 1
rules:
  bounce:
    summary: Gone at once
    watch: recordings
    when: {pages: {max: 1}, duration: {under: 10s}}
    do: {tag: bounce, slack: {channel: "#ux", at_most: 1 per day}}
  friction:
    watch: recordings
    when: {friction: {min: 2.5}, saw_page: /checkout*, duration: {over: 60s}}
    do: {star: true}
"""


class Place:
    """A directory with a configuration for the simulated account, and ways to run the bot."""

    def __init__(
        self,
        directory: Path,
        simulator: Simulator,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.directory, self.sim, self.capsys = directory, simulator, capsys
        self.rules = directory / "rules/rules.yaml"
        self.rules.parent.mkdir()
        self.rules.write_text(RULE)
        self.environ = {
            "PYTHONPATH": str(ROOT),
            "PATH": os.environ["PATH"],
            "BOT_MOUSEFLOW__BASE_URL": simulator.mouseflow_url,
            "BOT_MOUSEFLOW__EMAIL": simulator.email,
            "BOT_MOUSEFLOW__API_KEY": simulator.api_key,
            "BOT_MOUSEFLOW__TIME_ZONE": simulator.quirks.time_zone,
            "BOT_MOUSEFLOW__REQUESTS_PER_SECOND": "100",
            "BOT_SLACK__BASE_URL": simulator.slack_url,
            "BOT_SLACK__BOT_TOKEN": simulator.slack.token,
            "BOT_POLL__START": "2h",
            "BOT_WEB__LISTEN": "",
        }
        monkeypatch.chdir(directory)
        for name, value in self.environ.items():
            monkeypatch.setenv(name, value)

    def start(self, *arguments: str, **environ: str) -> "subprocess.Popen[str]":
        return bot_process.Popen(
            [sys.executable, "-m", "bot", *arguments],
            cwd=self.directory, env=self.environ | environ, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str, code: int = 0) -> str:
        """The command in this process, which saves a second each time."""
        try:
            status = main([*arguments])
        except SystemExit as ended:
            status = int(ended.code or 0)
        finally:
            gc.enable()
        out, err = self.capsys.readouterr()
        assert status == code, out + err
        assert self.sim.api_key not in out + err
        return out or err

    def json(self, *arguments: str) -> dict:
        return json.loads(self.run(*arguments, "--json"))

    def writes(self) -> list[str]:
        return [call.path for call in self.sim.calls if call.method != "GET"]


@pytest.fixture
def place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    quiet = website("site-1", "myshop.com", plan=Plan(per_day=0))
    with Simulator(seed=7, sites=[quiet]) as simulator:
        yield Place(tmp_path, simulator, monkeypatch, capsys)


def matched(told: dict, rule: str) -> int:
    return told["rules"][rule]["total"]["new"]


def test_a_replay_changes_nothing_anywhere_until_it_is_told_to(place: Place) -> None:
    for hours in (100, 50, 3):
        place.sim.add("myshop.com", "phone-bounce", start=-hours * 3600)
    told = place.json("replay", "--since", "5d")
    assert matched(told, "bounce") == 3
    total = told["rules"]["bounce"]["total"]
    assert total["actions"] == {"tag": 3, "slack": 3}
    assert (total["posts"], total["folded"], total["digests"]) == (1, 2, 1)
    assert place.writes() == []
    assert list((place.directory / "data").iterdir()) == []
    text = place.run("replay", "--since", "3d", "--until", "1d", "--rule", "bounce")
    assert "Nothing was changed; --apply performs the actions of new matches." in text
    assert "friction" not in text


def test_an_applied_replay_acts_once_however_often_and_beside_whom(place: Place) -> None:
    old = place.sim.add("myshop.com", "phone-bounce", start=-50 * 3600)
    new = place.sim.add("myshop.com", "phone-bounce", start=-3600)
    place.run("once")
    assert place.sim.tags(new) >= {"bounce"}
    assert "bounce" not in place.sim.tags(old)
    dry = place.json("replay", "--since", "3d")["rules"]["bounce"]["total"]
    assert (dry["new"], dry["known"]) == (1, 1)
    for known in (1, 2):
        told = place.json("replay", "--since", "3d", "--apply")
        assert told["rules"]["bounce"]["total"]["known"] == known
        place.run("once")
    assert place.sim.tags(old) >= {"bounce"}
    tags = [path for path in place.writes() if path.endswith("/tag")]
    assert len(tags) == 2
    # One post for the new session; the old one is older than act_up_to and comes in a digest.
    assert len(place.sim.slack.messages) == 2


def test_an_applied_replay_speaks_of_a_queue_only_where_something_is_new(place: Place) -> None:
    place.sim.add("myshop.com", "phone-bounce", start=-50 * 3600)
    queued, nothing = "the actions are queued", "no new matches, nothing to do"
    first = place.run("replay", "--since", "3d", "--apply")
    assert (queued in first, nothing in first) == (True, False)
    again = place.run("replay", "--since", "3d", "--apply")
    assert (queued in again, nothing in again) == (False, True)


def test_a_replay_works_beside_the_daemon_which_takes_its_actions_up(place: Place) -> None:
    old = place.sim.add("myshop.com", "phone-bounce", start=-50 * 3600)
    daemon = place.start("run", BOT_POLL__RECORDINGS="300ms", BOT_LOG__FORMAT="json")
    try:
        place.sim.wait_until(lambda: place.sim.calls)
        told = place.json("replay", "--since", "3d", "--apply")
        assert matched(told, "bounce") == 1
        # A match of its own wakes the delivery, which looks now and then in any case.
        place.sim.add("myshop.com", "checkout-friction", start=-3600)
        place.sim.wait_until(lambda: "bounce" in place.sim.tags(old))
    finally:
        daemon.send_signal(signal.SIGTERM)
        out, err = daemon.communicate(timeout=300)
    assert daemon.returncode == 0, out + err


def test_an_interrupted_replay_is_gone_on_with(place: Place) -> None:
    for hours in (200, 150, 100, 50, 3):
        place.sim.add("myshop.com", "phone-bounce", start=-hours * 3600)
    # Two counts and some days are answered at once, every later day after seconds.
    place.sim.fail("delay", path="/recordings", skip=5, seconds=6, times=1000)
    process = place.start("replay", "--since", "30d", "--apply")
    kept = place.directory / "data/bot.db.replay/progress.json"
    place.sim.wait_until(lambda: kept.exists() and len(json.loads(kept.read_bytes())["done"]) >= 3)
    process.send_signal(signal.SIGSTOP)  # so that it cannot finish before the SIGINT
    assert "in use by another mouseflow-bot" in place.run("replay", "--resume", code=1)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    err = process.communicate(timeout=300)[1]
    assert process.returncode == 130
    assert "`mouseflow-bot replay --resume` continues" in err
    place.sim.faults.clear()
    before = len(place.sim.calls)
    told = place.json("replay", "--resume")
    total = told["rules"]["bounce"]["total"]
    assert total["matches"] == 5
    assert told["applied"]
    assert len(place.sim.calls) - before < told["calls"]
    assert not kept.parent.exists()
    assert "no interrupted replay" in place.run("replay", "--resume", code=1)


def test_a_mistyped_replay_is_not_remembered_and_spoils_no_other(place: Place) -> None:
    place.run("replay", "--since", "3d", "--website", "nosuch", code=1)
    assert "no interrupted replay" in place.run("replay", "--resume", code=1)
    place.sim.fail("status", status=401, times=99, skip=6)
    place.run("replay", "--since", "9d", code=1)
    place.sim.faults.clear()
    for wrong in (["--website", "nosuch"], ["--rule", "nosuch"], ["--until", "10d"]):
        told = place.run("replay", "--since", "3d", *wrong, code=1)
        assert "--resume" not in told
    place.sim.add("myshop.com", "phone-bounce", start=-3600)
    assert matched(place.json("replay", "--resume"), "bounce") == 1


@pytest.mark.parametrize(
    "arguments",
    [["replay", "--since", "3d"], ["plan"], ["tune", "friction"]],
)
def test_a_website_that_no_rule_watches_is_not_taken_for_a_quiet_one(
    place: Place, arguments: list[str]
) -> None:
    place.rules.write_text(
        RULE.replace("watch: recordings", "watch: recordings\n    websites: [shop.*]")
    )
    told = place.run(*arguments, "--website", "myshop.com", code=1)
    assert "myshop.com: no rule in question watches that website" in told
    assert "no website of the account is watched" in place.run(*arguments, code=1)


def test_a_replay_is_not_gone_on_with_by_other_rules(place: Place) -> None:
    place.sim.behave(slow=0.05)
    process = place.start("replay", "--since", "9d")
    kept = place.directory / "data/bot.db.replay/progress.json"
    place.sim.wait_until(lambda: kept.exists() and json.loads(kept.read_bytes())["done"])
    process.kill()
    process.communicate()
    place.rules.write_text(RULE.replace("2.5", "2.6"))
    assert "the rule files have changed" in place.run("replay", "--resume", code=1)


def test_a_replay_that_an_outage_ends_says_how_to_go_on(place: Place) -> None:
    place.sim.fail("status", status=401, times=99, skip=6)
    err = place.run("replay", "--since", "9d", code=1)
    assert "`mouseflow-bot replay --resume` continues" in err
    place.sim.faults.clear()
    place.sim.add("myshop.com", "phone-bounce", start=-3600)
    assert matched(place.json("replay", "--resume"), "bounce") == 1


def test_a_replay_that_goes_on_remembers_what_it_has_tried(place: Place) -> None:
    place.rules.write_text(
        RULE.replace("    do: {tag", "    once_per: {browser: 30d}\n    do: {tag")
    )
    for hours in (200, 3):
        place.sim.add("myshop.com", "phone-bounce", start=-hours * 3600)
    place.sim.fail("status", status=401, times=99, skip=8)
    place.run("replay", "--since", "9d", code=1)
    kept = json.loads((place.directory / "data/bot.db.replay/progress.json").read_bytes())
    assert kept["tally"]["lines"]["bounce"]  # the first of the two is done
    place.sim.faults.clear()
    total = place.json("replay", "--resume")["rules"]["bounce"]["total"]
    assert (total["new"], sum(total["held_back"].values())) == (2, 1)


@pytest.mark.parametrize(
    ("arguments", "told", "code"),
    [
        (["explain", "bounce", ".."], "neither a recording's id nor a link", 1),
        (["replay"], "give a start such as --since", 2),
        (["replay", "--resume", "--apply"], "remove the other options", 2),
        (["replay", "--since", "200d", "--apply"], "--apply can go back", 1),
        (["replay", "--since", "3d", "--until", "4d"], "--since must be before --until", 1),
        (["replay", "--since", "3d", "--rule", "bouce"], "did you mean bounce?", 1),
        (["replay", "--since", "3d", "--website", "myshp.com"], "did you mean myshop.com?", 1),
        (["tune", "bouce"], "did you mean bounce?", 1),
        (["tune", "bounce", "--field", "friction"], "has no threshold of friction", 1),
        (["tune", "bounce", "--rungs", "many"], "write numbers such as", 2),
        (["explain", "bouce", "r1"], "did you mean bounce?", 1),
        (["explain", "bounce"], "give a recording", 2),
        (["explain", "bounce", "nowhere"], "myshop.com has no such recording", 1),
    ],
)
def test_what_cannot_be_done_is_said(place: Place, arguments, told, code) -> None:
    assert told in place.run(*arguments, code=code)


def test_a_match_is_explained_part_by_part_with_the_fate_of_its_actions(place: Place) -> None:
    who = place.sim.add("myshop.com", "checkout-friction", start=-3600)
    before = place.run("explain", "friction", who)
    assert before.startswith("✓ friction matches\n")
    assert "✓ friction at least 2.5: at least 2.5, the API decides (frictionmin)" in before
    assert "it matches, but the bot has not polled this website yet" in before
    place.run("once")
    text = place.run("explain", "friction", who)
    assert "  star-1: done " in text
    assert "a query for friction of at least 2.5" in text
    told = place.json("explain", "friction", f"http://x/websites/site-1/recordings/{who}/play")
    assert told["explanation"]["matches"] is True
    assert [it["state"].split()[0] for it in told["actions"]] == ["done"]
    assert told["now"] == []
    assert told["calls"] <= 6
    lists = [call.query for call in place.sim.calls if call.path.endswith("/recordings")]
    rows = [query for query in lists[-told["calls"] :] if not query.endswith("limit=1")]
    assert rows
    assert all("visitmin=" in query and "visitmax=" in query for query in rows[-2:])


def test_the_beginning_of_an_id_names_a_recording_if_there_is_one_alone(place: Place) -> None:
    planted = [place.sim.add("myshop.com", "phone-bounce", start=-3600) for _ in range(17)]
    place.run("once")
    assert place.run("explain", "bounce", planted[0][:-1]).startswith("✓ bounce matches")
    first = [who[0] for who in planted]
    shared = next(each for each in first if first.count(each) > 1)
    told = place.run("explain", "bounce", shared, code=1)
    assert f"several recordings begin with {shared}: " in told


def test_a_session_that_does_not_match_is_explained_with_the_distance(place: Place) -> None:
    who = place.sim.add("myshop.com", "checkout-friction", start=-3600)
    text = place.run("explain", "bounce", who, "--website", "myshop.com")
    assert text.startswith("✗ bounce does not match\n")
    assert "✗ pages at most 1: 4, needs at most 1" in text
    assert "no action: the rule does not match" in text
    calm = place.sim.add("myshop.com", "purchase", start=-7200)
    text = place.run("explain", "friction", calm)
    assert "✗ friction at least 2.5: under 2.5" in text


def test_a_deleted_recording_is_explained_from_the_stored_decision(place: Place) -> None:
    who = place.sim.add("myshop.com", "phone-bounce", start=-3600)
    place.run("once")
    place.sim.delete(who)
    text = place.run("explain", "bounce", who)
    assert "myshop.com has no such recording; it may have been deleted" in text
    assert "matched 20" in text
    assert "  tag-1: done " in text
    told = place.json("explain", "bounce", who)
    assert (told["there"], told["website"]) == (False, {"id": "site-1", "name": "myshop.com"})


def test_a_rule_about_something_else_explains_no_recording_and_asks_nothing(place: Place) -> None:
    level = 'dropped: {watch: funnels, when: {conversion: {max: 5%}}, do: {slack: {channel: "#a"}}}'
    place.rules.write_text(f"{RULE}  {level}\n")
    told = place.run("explain", "dropped", "4a1b2c", code=2)
    assert "dropped watches funnels, not recordings" in told
    assert not place.sim.calls


def test_the_plan_of_a_rule_and_its_cost_are_shown(place: Place) -> None:
    text = place.run("explain", "friction", "--plan")
    assert "at most 2 calls when something is new: the list" in text
    assert "a query for friction of at least 2.5" in text
    assert json.loads(place.run("explain", "friction", "--plan", "--json"))["data"][0]["calls"] == 2


def test_no_plan_is_shown_of_a_website_that_the_rule_does_not_watch(place: Place) -> None:
    who = place.sim.add("myshop.com", "phone-bounce", start=-3600)
    place.rules.write_text(
        RULE.replace("when: {friction", "websites: [other.com]\n    when: {friction")
    )
    for named in ("myshop.com", "site-1"):
        told = place.run("explain", "friction", "--plan", "--website", named, code=1)
        assert told == "myshop.com: no rule in question watches that website\n"
    assert "friction watches no website of this account" in place.run(
        "explain", "friction", "--plan"
    )
    assert "the list" in place.run("explain", "bounce", "--plan", "--website", "myshop.com")
    text = place.run("explain", "friction", who)
    assert "✗ website other.com: myshop.com" in text
    assert "API calls of the rule's polls" not in text
    assert place.json("explain", "friction", who)["plan"] is None


def test_a_plan_tells_what_changed_rules_gain_and_lose(place: Place) -> None:
    place.sim.add("myshop.com", "checkout-friction", start=-3600)
    short = place.sim.add("myshop.com", "phone-bounce", start=-4000)
    longer = place.sim.add("myshop.com", "search-bounce", start=-5000)
    early = place.sim.add("myshop.com", "phone-bounce", start=-40 * 3600)
    place.sim.add("myshop.com", "phone-bounce", start=-41 * 3600)
    place.run("once")
    same = {each["rule"]: each for each in place.json("plan")["rules"]}
    assert [(it["state"], it["gained"], it["lost"]) for it in same.values()] == [
        ("same", [], []),
        ("same", [], []),
    ]
    assert same["bounce"]["after"] == 2
    assert "\nno rule differs from the running ones\n" in place.run("plan")
    # Posts and writes are those of the same matches: the early ones call for none.
    text = place.run("plan")
    assert "posts a day: 0.3 (the running rules: 0.3), and 0.3 digests" in text
    assert "writes a day: 1.0 (the running rules: 1.0)" in text
    assert "2 matches from before the bot's first poll left out, so all figures are" in text
    assert "\n1 posts are part of a digest\n" in text
    # Sessions from before the span are no loss, whenever they matched.
    later = place.json("plan", "--since", "66m")["rules"]
    assert [(it["before"], it["after"], it["lost"]) for it in later] == [(0, 0, []), (1, 1, [])]
    place.rules.write_text(
        RULE.replace("under: 10s", "under: 6.5s").replace("friction:", "trouble:", 1)
    )
    files = sorted(place.directory.rglob("*"))
    writes = place.writes()
    told = place.json("plan")
    changed = {each["rule"]: each for each in told["rules"]}
    assert (changed["bounce"]["state"], changed["bounce"]["lost"]) == ("changed", [longer])
    assert changed["trouble"]["state"] == "new"
    assert len(changed["trouble"]["gained"]) == 1
    assert (changed["friction"]["state"], len(changed["friction"]["lost"])) == ("gone", 1)
    assert told["before_the_bot_watched"] == 2
    assert place.json("plan", "--rule", "bounce")["rules"] == [changed["bounce"]]
    assert "did you mean bounce?" in place.run("plan", "--rule", "bonce", code=1)
    assert early not in str(told["rules"])
    assert short not in str(told["rules"])
    assert place.writes() == writes
    assert sorted(place.directory.rglob("*")) == files
    text = place.run("plan")
    assert "\n2 of 2 rules differ from the running ones, 1 is gone\n" in text
    assert "calls a day: at most" in text
    assert re.search(r"at most \d{1,3}(,\d{3})* for polling", text)


def test_a_curve_counts_what_the_account_has_at_each_threshold(place: Place) -> None:
    for hours in (30, 40, 50):
        place.sim.add("myshop.com", "checkout-friction", start=-hours * 3600)
    place.sim.add("myshop.com", "purchase", start=-30 * 3600)
    place.sim.add("myshop.com", "checkout-friction", start=-1)  # today: not counted
    told = place.json("tune", "friction", "--since", "5d", "--rungs", "0,99")
    assert [(it["threshold"], it["a_day"], it["present"]) for it in told["curve"]] == [
        (0.0, pytest.approx(4 / told["days"]), False),
        (2.5, pytest.approx(3 / told["days"]), True),
        (99.0, 0.0, False),
    ]
    assert told["not_counted"] == ["saw_page /checkout*"]
    text = place.run("tune", "friction", "--since", "5d")
    assert "≥ 2.5  0." in text
    assert "← now" in text
    assert "Mouseflow can't count saw_page /checkout*, so these are upper limits" in text
    lists = [call for call in place.sim.calls if call.path.endswith("/recordings")]
    assert all("limit=1" in call.query for call in lists)
