"""What the daemon promises as a process: once, whatever happens to it or to the API."""

import json
import random
import signal

import pytest
from daemon_world import RULE, Daemon

from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

ONCE = {"tag friction": 1, "tag checkout": 1, "share": 1}


@pytest.fixture
def sim():
    site = website("8fc2ace2-75bc-8ba4-b424-c8916670b990", "myshop.com", plan=Plan(per_day=0))
    with Simulator(seed=3, sites=[site]) as simulator:
        yield simulator


@pytest.fixture
def daemon(tmp_path, sim):
    made = []

    def make(rules=RULE, **settings):
        made.append(Daemon(tmp_path, sim, rules, **settings))
        return made[-1]

    yield make
    for each in made:
        if each.process is not None:
            each.kill()


def posts(sim, channel="#checkout-alerts"):
    return sim.slack.in_channel(channel)


def acted(sim, who):
    """Tagged and shared by exactly one call each; a star is there or not, however often set."""
    calls = dict(sim.effect(who).calls)
    return calls.pop("star", 0) >= 1 and calls == ONCE


async def test_a_frustrated_session_is_tagged_starred_shared_and_posted_once(sim, daemon):
    bot = daemon()
    bot.start()
    who = sim.add("myshop.com", "checkout-friction", start=-79.5, calm_for=80)
    sim.wait_until(lambda: posts(sim) and acted(sim, who))
    assert sim.friction(who) >= 2.5
    assert len(posts(sim)) == 1
    assert bot.stop() == 0


async def test_killed_five_times_nothing_is_lost_and_nothing_done_twice(sim, daemon):
    bot = daemon()
    chance = random.Random(11)
    planted: list[str] = []

    def all_done():
        return all(acted(sim, who) for who in planted)

    for _ in range(5):
        planted += [sim.add("myshop.com", "checkout-friction", start=-300) for _ in range(3)]
        bot.start()
        enough = len(sim.calls) + chance.randint(1, 25)
        sim.wait_until(lambda enough=enough: len(sim.calls) >= enough or all_done())
        bot.kill()
    bot.start()
    sim.wait_until(lambda: all_done() and len(posts(sim)) >= len(planted))
    assert bot.stop() == 0
    assert len(posts(sim)) == len(planted)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 429},
        {"kind": "status", "status": 429, "retry_after": 1},
        {"kind": "html"},
        {"kind": "half"},
        {"kind": "close"},
        {"kind": "close_after"},
        {"kind": "delay", "seconds": 1},
    ],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
async def test_after_any_trouble_every_match_is_acted_on_once_and_the_log_stays_short(
    sim, daemon, fault
):
    bot = daemon()
    who = sim.add("myshop.com", "checkout-friction", start=-300)
    # Each 429 that names no time doubles the pause, so two of them show as much as four.
    silent = fault == {"kind": "status", "status": 429}
    sim.fail(**fault, times=2 if silent else 4, skip=1)
    bot.start()
    sim.wait_until(lambda: posts(sim) and acted(sim, who))
    assert len(posts(sim)) == 1
    assert bot.stop() == 0
    warnings = [line for line in bot.events() if line["level"] in ("warning", "error")]
    assert len(warnings) <= 4


async def test_a_wrong_password_is_told_clearly_and_not_hammered(sim, daemon):
    bot = daemon(BOT_MOUSEFLOW__API_KEY="wrong-key")
    done = bot.run("run")
    assert done.returncode == 1
    assert "401" in done.stderr or "key" in done.stderr
    assert "wrong-key" not in done.stderr + done.stdout
    assert len(sim.calls) == 1


async def test_a_broken_rule_file_at_the_start_ends_it_with_every_fault(sim, daemon):
    bot = daemon(RULE.replace("friction: {min", "frction: {min").replace("tag:", "tags:"))
    done = bot.run("run")
    assert done.returncode == 1
    assert "checkout.yaml:7:12" in done.stderr
    assert "did you mean friction?" in done.stderr
    assert "did you mean tag?" in done.stderr


async def test_a_broken_rule_file_while_it_runs_leaves_the_old_rules_in_force(sim, daemon):
    bot = daemon()
    bot.start()
    sim.wait_until(lambda: bot.events("daemon.started"))
    bot.rule_file.write_text(RULE.replace("friction: {min", "frction: {min"))
    bot.tell(signal.SIGHUP)
    sim.wait_until(lambda: bot.events("rules.reload_failed") and sim.slack.in_channel("#ops"))
    who = sim.add("myshop.com", "checkout-friction", start=-300)
    sim.wait_until(lambda: acted(sim, who))
    assert bot.stop() == 0


async def test_changed_rule_files_are_taken_up_without_being_told(sim, daemon):
    bot = daemon()
    bot.start()
    sim.wait_until(lambda: bot.events("daemon.started"))
    bot.rule_file.write_text(RULE.replace("[friction, checkout]", "edited"))
    sim.wait_until(lambda: len(bot.events("rules.loaded")) == 2)
    who = sim.add("myshop.com", "checkout-friction", start=-300)
    sim.wait_until(lambda: "tag edited" in sim.effect(who).calls)
    assert bot.stop() == 0


async def test_sigterm_ends_it_at_once_when_there_is_nothing_to_do(sim, daemon):
    bot = daemon()
    bot.start()
    sim.wait_until(lambda: bot.events("daemon.started"))
    assert bot.stop() == 0
    assert bot.events("daemon.stopped")


async def test_rules_that_fail_their_own_tests_are_not_taken_up_and_status_says_so(sim, daemon):
    bot = daemon()
    bot.start()
    sim.wait_until(lambda: bot.events("daemon.started"))
    tests = """
    tests:
      - {name: calm, given: {friction: 1, duration: 95s, pages: [/checkout]}, expect: match}
"""
    bot.rule_file.write_text(RULE.rstrip() + "\n" + tests.strip("\n") + "\n")
    bot.tell(signal.SIGHUP)
    sim.wait_until(lambda: bot.events("rules.reload_failed") and sim.slack.in_channel("#ops"))
    assert "new rules not loaded" in bot.run("status").stdout
    bot.rule_file.write_text(RULE.replace("tag: [friction, checkout]", "tag: mended"))
    bot.tell(signal.SIGHUP)
    sim.wait_until(lambda: len(bot.events("rules.loaded")) == 2)
    assert "new rules not loaded" not in bot.run("status").stdout
    assert bot.stop() == 0


async def test_a_renamed_rule_does_not_fire_again(sim, daemon):
    bot = daemon()
    bot.start()
    who = sim.add("myshop.com", "checkout-friction", start=-300)
    sim.wait_until(lambda: posts(sim) and acted(sim, who))
    renamed = RULE.replace("  checkout-friction:\n", "  renamed:\n    was: checkout-friction\n")
    bot.rule_file.write_text(renamed)
    bot.tell(signal.SIGHUP)
    sim.wait_until(lambda: len(bot.events("rules.loaded")) == 2)
    again = sim.add("myshop.com", "checkout-friction", start=-300)
    sim.wait_until(lambda: acted(sim, again) and len(posts(sim)) == 2)
    assert acted(sim, who)
    assert bot.stop() == 0


async def test_a_rule_that_matches_too_often_is_paused_until_a_person_retries_it(sim, daemon):
    bot = daemon(RULE.rstrip() + "\n    safety: {at_most: 2 per hour}\n")
    bot.start()
    sim.wait_until(lambda: bot.events("daemon.started"))
    for _ in range(4):
        sim.add("myshop.com", "checkout-friction", start=-300)
    sim.wait_until(lambda: [post for post in sim.slack.in_channel("#ops") if "paused" in post.text])
    assert len(posts(sim)) <= 2
    assert "paused" in bot.run("status").stdout
    assert bot.run("retry", "no-such-rule").returncode == 1
    assert "runs again" in bot.run("retry", "checkout-friction").stdout
    assert "paused" not in bot.run("status").stdout
    assert bot.stop() == 0


async def test_where_posts_cannot_be_looked_up_status_says_at_least_once(sim, daemon):
    sim.slack.scopes -= {"channels:history"}
    bot = daemon()
    bot.start()
    sim.wait_until(lambda: bot.events("slack.at_least_once"))
    sim.wait_until(lambda: "at-least-once" in bot.run("status").stdout)
    assert bot.stop() == 0


DELETES = """
version: 1
rules:
  old-sessions:
    watch: recordings
    when: {duration: {over: 60s}}
    do: {delete: true}
"""
TAGS = DELETES.replace("delete: true", "tag: old")


@pytest.mark.parametrize(
    ("changed", "rules", "left"),
    [
        ({}, DELETES, 0),
        ({"BOT_RULES__ALLOW_DELETE": "false"}, TAGS, 1),
        ({}, TAGS, 1),
        ({}, DELETES.replace("old-sessions", "other").replace("60s", "9h"), 1),
    ],
    ids=["still allowed", "allow_delete is off", "another action", "the rule is gone"],
)
def test_a_delete_that_waited_is_checked_before_it_runs(sim, daemon, changed, rules, left):
    bot = daemon(DELETES, BOT_RULES__ALLOW_DELETE="true")
    who = sim.add("myshop.com", "checkout-friction", start=-3000)
    sim.fail("status", status=503, method="DELETE", times=1000)
    assert bot.run("once").returncode == 0
    assert not sim.effect(who).deleted
    sim.faults.clear()
    bot.rule_file.write_text(rules)
    bot.environment |= changed

    def settled():
        assert bot.run("once").returncode == 0
        lines = json.loads(bot.run("history", "--json").stdout)["data"]
        ended = ("step.done", "step.withheld")
        return [each for each in lines if each["kind"] in ended and "/delete-" in each["step"]]

    sim.wait_until(settled)
    assert sim.effect(who).deleted == (not left)


def test_a_long_pause_that_mouseflow_asked_for_outlasts_a_restart(sim, daemon):
    bot = daemon()
    sim.fail("status", status=429, retry_after=1800, times=1)
    assert bot.run("once").returncode != 0
    calls = len(sim.calls)
    assert "account is paused" in bot.run("once").stderr
    assert len(sim.calls) == calls
