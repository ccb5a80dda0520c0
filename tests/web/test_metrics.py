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

from bot.budgets.state import BudgetMark, SiteMark, set_budget_mark, set_site_mark
from bot.store.audit import Note, record
from bot.store.recordings import set_websites
from bot.store.rules import RejectedRules, reject_rules
from bot.web.metrics import OfAccounts, exposition
from mouseflow.client import Sent

LAST = "poll_last_success_timestamp_seconds"
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
    world.meter.begin("recordings", "w1", NOW - timedelta(minutes=1))
    world.meter.observe_poll("recordings", "w1", True, 0.5, NOW)
    world.meter.observe_poll("recordings", "w1", False, 1.0, NOW + timedelta(minutes=1))
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
    assert found[LAST, "recordings", "w1"] == NOW.timestamp()
    world.seconds += 86_400
    assert world.meter.per_hour("site-1") == 0


async def test_a_website_that_fails_is_stale_beside_those_that_go_well(world):
    world.write(set_websites, {"w1": "shop.example", "w2": "outlet.example"}, {}, NOW)
    later = NOW + timedelta(minutes=5)
    for kind in ("recordings", "feedback", "reports"):
        for website in ("w1", "w2"):
            world.meter.begin(kind, website, NOW)
            well = (kind, website) != ("feedback", "w2")
            world.meter.observe_poll(kind, website, well, 1.0, later)
    world.meter.begin("budgets", "", NOW)
    found = await samples(world)
    assert {it[1:]: value for it, value in found.items() if it[0] == LAST} == {
        ("recordings", "shop.example"): later.timestamp(),
        ("recordings", "outlet.example"): later.timestamp(),
        ("feedback", "shop.example"): later.timestamp(),
        ("feedback", "outlet.example"): NOW.timestamp(),
        ("reports", "shop.example"): later.timestamp(),
        ("reports", "outlet.example"): later.timestamp(),
        ("budgets", ""): NOW.timestamp(),
    }
    assert found["poll_interval_seconds", "feedback"] == 300
    assert found["poll_interval_seconds", "budgets"] == 900


async def test_a_website_that_is_no_longer_polled_here_has_no_age(world):
    world.meter.begin("recordings", "w1", NOW)
    world.meter.end("recordings", "w1")
    world.meter.observe_poll("recordings", "w1", True, 1.0, NOW)  # it ended a moment later
    assert not [it for it in await samples(world) if it[0] == LAST]


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


ALERTS = YAML(typ="safe", pure=True).load((DEPLOY / "prometheus-rules.yaml").read_text())
TRIALS = YAML(typ="safe", pure=True).load((DEPLOY / "prometheus-tests.yaml").read_text())
BOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
OF_PROMETHEUS = {"job", "instance"}


async def labels_of_all(world):
    """The labels of each sample in the answers of a bot in which everything has happened."""
    world.meter.observe(Sent("GET", "GET /websites", 200, 0.02, 1))
    world.meter.begin("recordings", "w1", NOW)
    world.write(set_websites, {"w1": "shop.example"}, {}, NOW)
    world.write(set_site_mark, "w1", SiteMark(NOW, status="Recording"))
    mark = BudgetMark(NOW, "month", "2026-11-01", "2026-12-01", recordings=100, used=50)
    world.write(set_budget_mark, "monthly", mark)
    async with world.ask() as asking:
        text = (await asking.get("/metrics")).text
    accounts, _ = await exposition(OfAccounts({"shop": None}), "")
    found = {}
    for family in (*families(text), *families(accounts.decode())):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def series_of(text):
    """(metric, its labels) as an expression or a series of a test names them."""
    for name, labels in re.findall(r"(mouseflow_bot_[a-z_]+)(?:\{([^}]*)\})?", text):
        yield name, set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", labels))


def grouped(text):
    """The labels that an expression or a text names beside a metric."""
    lists = re.findall(r"\b(?:by|without|on|ignoring|group_left) ?\(([^)]*)\)", text)
    listed = {name.strip() for each in lists for name in each.split(",")}
    return listed | set(re.findall(r"(?:\$labels\.|\{\{)([a-z_]+)", text))


async def test_alert_rules_and_dashboard_name_metrics_and_labels_that_exist(world):
    there = await labels_of_all(world)
    (group,) = ALERTS["groups"]
    queries = [
        (rule["alert"], rule["expr"], " ".join(rule["annotations"].values()))
        for rule in group["rules"]
    ] + [
        (panel["title"], target["expr"], target["legendFormat"])
        for panel in BOARD["panels"]
        for target in panel["targets"]
    ]
    for title, query, text in queries:
        named = list(series_of(query))
        assert named, title
        for name, labels in named:
            assert name in there, title
            assert labels <= there[name], title
        known = set[str]().union(*(there[name] for name, _ in named), OF_PROMETHEUS, {"account"})
        assert grouped(query) | grouped(text) <= known, title
    for trial in TRIALS["tests"]:
        for series in trial["input_series"]:
            [(name, labels)] = series_of(series["series"])
            assert labels <= there[name] | OF_PROMETHEUS | {"account"}, trial["name"]


def test_every_alert_has_series_by_which_it_fires_and_others_by_which_it_does_not():
    (group,) = ALERTS["groups"]
    alerts = [rule["alert"] for rule in group["rules"]]
    assert len(set(alerts)) == len(alerts)
    tried = {
        (case["alertname"], bool(case["exp_alerts"]))
        for trial in TRIALS["tests"]
        for case in trial["alert_rule_test"]
    }
    assert tried == {(alert, fires) for alert in alerts for fires in (True, False)}
    for rule in group["rules"]:
        assert rule["annotations"].keys() == {"summary", "description"}, rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning"}


def test_panels_of_the_dashboard_have_a_title_and_an_id_each():
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    assert all(panel["title"] for panel in BOARD["panels"])
