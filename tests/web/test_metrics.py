"""What Prometheus reads: names, labels, formats, and the files in deploy/ that use them."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as families
from ruamel.yaml import YAML
from web_world import NOW, WebWorld

from bot.store.audit import Note, record
from bot.store.rules import RejectedRules, reject_rules
from mouseflow.client import Sent

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture
def world(tmp_path):
    world = WebWorld(tmp_path)
    yield world
    world.store.close()


async def samples(world, asking=None):
    async with world.ask() as other:
        text = (await (asking or other).get("/metrics")).text
    return {
        (sample.name.removeprefix("mouseflow_bot_"), *sample.labels.values()): sample.value
        for family in families(text)
        for sample in family.samples
    }


async def test_every_label_that_can_come_is_there_from_the_start_as_zero(world):
    found = await samples(world)
    assert found["rule_matches_total", "checkout-friction"] == 0
    assert found["actions_total", "tag", "done"] == 0
    assert found["slack_posts_total", "failed"] == 0
    assert found["poll_runs_total", "recordings", "failure"] == 0
    assert found["outbox_pending",] == 0
    assert found["config_last_reload_successful",] == 1
    assert found["recordings_seen_total",] == 7
    assert not any(name.endswith("_created") for name, *_ in found)
    assert len(found) < 1_000


async def test_matches_and_actions_since_the_start_are_counted_once(world):
    def note(kind, step=""):
        notes = [Note(kind=kind, rule="checkout-friction", step=step)]
        world.store.do(lambda conn: record(conn, NOW, notes))

    note("match")
    async with world.ask() as asking:
        before = await samples(world, asking)
        assert before["rule_matches_total", "checkout-friction"] == 0  # before the start
        note("match")
        note("step.done", "w/r/rule/tag-1")
        note("step.done", "w/r/rule/slack-1")
        note("step.dead", "w/r/rule/digest-1")
        for _ in range(2):
            found = await samples(world, asking)
            assert found["rule_matches_total", "checkout-friction"] == 1
            assert found["actions_total", "tag", "done"] == 1
            assert found["slack_posts_total", "done"] == 1
            assert found["slack_posts_total", "failed"] == 1


async def test_requests_polls_and_retries(world):
    observe = world.meter.observe
    observe(Sent("GET", "GET /websites", 429, 0.2, 1, "TooManyRequests"))
    observe(Sent("GET", "GET /websites", 200, 0.02, 2, "", "TooManyRequests"))
    observe(Sent("GET", "GET /websites", None, 40.0, 1, "Unreachable"))
    world.meter.observe_poll("recordings", True, 0.5, NOW)
    world.meter.observe_poll("recordings", False, 1.0, NOW + timedelta(minutes=1))
    observe(Sent("GET", "GET /websites/{website-id}", 200, 0.1, 1, "", "", "site-1"))
    world.seconds += 7_200
    assert world.meter.per_hour("site-1") == 0.5
    assert world.meter.per_second() == 4 / 7_200
    found = await samples(world)
    assert found["api_requests_total", "GET", "/websites", "200"] == 1
    assert found["api_requests_total", "GET", "/websites", "none"] == 1
    assert found["api_retries_total", "TooManyRequests"] == 1
    name = "api_request_duration_seconds"
    assert found[f"{name}_bucket", "0.05", "/websites"] == 1
    assert found[f"{name}_bucket", "0.25", "/websites"] == 2
    assert found[f"{name}_bucket", "+Inf", "/websites"] == 3
    assert found[f"{name}_count", "/websites"] == 3
    assert found["poll_duration_seconds_sum", "recordings"] == 1.5
    assert found["poll_last_success_timestamp_seconds", "recordings"] == NOW.timestamp()
    world.seconds += 86_400
    assert world.meter.per_hour("site-1") == 0


async def test_polls_that_never_went_well_are_stale_too(world):
    for minutes in range(3):
        world.meter.observe_poll("recordings", False, 1.0, NOW + timedelta(minutes=minutes))
    found = await samples(world)
    assert found["poll_last_success_timestamp_seconds", "recordings"] == NOW.timestamp()
    assert ("poll_last_success_timestamp_seconds", "feedback") not in found


async def test_bad_rule_files_show(world):
    rejected = RejectedRules(NOW, ("rules.yaml:1:1: bad",))
    world.store.do(lambda conn: reject_rules(conn, rejected))
    assert (await samples(world))["config_last_reload_successful",] == 0


async def test_openmetrics_if_the_client_asks_for_it(world):
    async with world.ask() as asking:
        accept = {"accept": "application/openmetrics-text; version=1.0.0"}
        answer = await asking.get("/metrics", headers=accept)
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert answer.text.endswith("# EOF\n")
        assert list(openmetrics(answer.text))


def used(text):
    return set(re.findall(r"mouseflow_bot_[a-z_]+", text))


async def test_alert_rules_and_dashboard_use_metrics_that_exist(world):
    async with world.ask() as asking:
        there = {
            sample.name
            for family in families((await asking.get("/metrics")).text)
            for sample in family.samples
        }
    world.meter.observe(Sent("GET", "GET /websites", 200, 0.02, 1))
    there |= {"mouseflow_bot_api_requests_total", "mouseflow_bot_budget_used_ratio",
              "mouseflow_bot_poll_last_success_timestamp_seconds",
              "mouseflow_bot_recording_enabled", "mouseflow_bot_account_up",
              "mouseflow_bot_api_request_duration_seconds_bucket"}  # fmt: skip
    rules = (DEPLOY / "prometheus-rules.yaml").read_text()
    board = (DEPLOY / "grafana-dashboard.json").read_text()
    assert used(rules) | used(board) <= there
    (group,) = YAML(typ="safe", pure=True).load(rules)["groups"]
    assert len({rule["alert"] for rule in group["rules"]}) == len(group["rules"])
    for rule in group["rules"]:
        assert rule["annotations"].keys() == {"summary", "description"}, rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
    panels = json.loads(board)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["title"] for panel in panels)
