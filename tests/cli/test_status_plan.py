"""`status` shows what polls ask and cost, also for very many websites."""

import json
import os
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from bot.cli.main import main
from bot.cli.status import gather, show_failing
from bot.domain.subjects import Site
from bot.rules.files.load import read
from bot.rules.needs import plans
from bot.scheduler import measure_pace
from bot.store import open_store
from bot.store.audit import Note, record
from bot.store.recordings import (
    ROUNDS,
    WEBSITES,
    SeenRecording,
    save_recordings,
    set_watermark,
    set_websites,
)
from bot.store.rules import keep_rule_files, rules_loaded

NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def time_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module may have been imported many minutes ago."""
    monkeypatch.setattr(f"{__name__}.NOW", datetime.now(UTC))


RULES = """
version: 1
rules:
  angry:
    watch: recordings
    websites: [shop-00*, special.com]
    when: {friction: {min: 2.5}, page: {path: /checkout*}}
    do: {tag: angry}
  phones:
    watch: recordings
    websites: [shop-*]
    when: {device: phone}
    do: {tag: phone}
  stopped:
    watch: websites
    when: {status: Stopped}
    do: {webhook: {url: "https://example.com/hook"}}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("BOT_"):
            monkeypatch.delenv(name)
    (tmp_path / "config.toml").write_text(
        '[mouseflow]\nregion = "eu"\nemail = "ops@example.com"\napi_key = "the-key-itself"\n'
    )
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/r.yaml").write_text(RULES)
    return tmp_path


def stored(*works):
    with open_store("sqlite:///data/bot.db") as store:
        for work in works:
            store.do(work)


def account(number):
    """A daemon has seen these websites, and has counted calls for rules."""
    names = {f"w{n}": f"shop-{n:03}.com" for n in range(number)} | {"s": "special.com"}
    names["n"] = "nobody-watches.com"

    def work(conn):
        data = msgspec.json.encode(names).decode()
        set_watermark(conn, WEBSITES, "", data, NOW)
        for key in names:
            set_watermark(conn, "recordings", key, "{}", NOW - timedelta(minutes=len(key)))
        for hours, website, calls in ((30, "w1", 1000), (2, "w1", 20), (1, "w1", 5), (1, "s", 7)):
            note = Note(kind="poll.cost", website=website, details={"angry": calls, "phones": 1})
            record(conn, NOW - timedelta(hours=hours), [note])

    return work


def told(capsys, *arguments):
    assert main(["status", *arguments]) == 0
    return capsys.readouterr().out


def test_websites_with_the_same_plan_share_its_lines(place, capsys):
    stored(account(500))
    text = told(capsys)
    assert len(text.splitlines()) < 60
    plan = text[text.index("polling plan") :]
    assert "  501 websites every 1 min: at least 8.35 requests/s (limit 2)\n" in plan
    assert "501 websites at 2 requests/s take 250 s" in plan
    assert "  shop-010.com, shop-011.com, shop-012.com, shop-013.com, shop-014.com and 485 more\n" \
           "    at most 1 call when something is new: the list\n" in plan  # fmt: skip
    two = """\
    at most 2 calls when something is new: the list
      a query for friction of at least 2.5
    then page views, for recordings that angry can't decide without them:
      one call for many recordings if lists have page views, else one call each
"""
    assert two in plan
    assert "nobody-watches" not in plan


def test_only_the_configured_interval_is_told_and_where_others_are_compared(place, capsys):
    stored(account(3))
    text = told(capsys)
    assert [it.split(":")[0].strip() for it in text.splitlines() if "of the limit" in it] == [
        "every 1 min (configured)"
    ]
    assert "  mouseflow-bot check --cost compares intervals\n" in text


def test_the_calls_of_the_last_day_are_told_rule_by_rule(place, capsys):
    stored(account(3))
    assert "  angry   32 calls  2 websites\n  phones  3 calls   2 websites\n" in told(capsys)


def test_programs_get_all_of_it(place, capsys):
    stored(account(20))
    polling = json.loads(told(capsys, "--json"))["polling"]
    assert [(plan["rules"], len(plan["websites"])) for plan in polling["plans"]] == [
        (["angry", "phones"], 10), (["phones"], 10), (["angry"], 1),
    ]  # fmt: skip
    assert [plan["calls"] for plan in polling["plans"]] == [2, 1, 2]
    assert polling["costs"][0] == {"rule": "angry", "calls": 32, "websites": 2}
    assert polling["round"] == {
        "websites": 21, "rate": 2.0, "wished": 60.0, "every": 60.0, "slow": False,
    }  # fmt: skip
    assert (polling["faulty"], polling["edited"]) == (False, False)


def test_what_the_daemon_has_measured_is_shown(place, capsys):
    slow = measure_pace(4, 2.0, timedelta(minutes=1), timedelta(minutes=3), was_slow=False)
    data = msgspec.json.encode(slow).decode()
    stored(account(3), lambda conn: set_watermark(conn, ROUNDS, "", data, NOW))
    assert "recordings are polled every 3 min, not every 1 min" in told(capsys)
    (place / "rules/r.yaml").write_text(RULES.replace("special.com", "elsewhere.com"))
    assert "every 3 min" not in told(capsys)  # it was measured with other rules


def test_rule_files_with_faults_and_edited_ones_are_told(place, capsys):
    digest = read([("rules/r.yaml", RULES.encode())]).digest
    note = Note(kind="rules.loaded", details={"digest": digest})
    stored(account(3), lambda conn: record(conn, NOW, [note]))
    assert "polling plan\n" in told(capsys)
    (place / "rules/r.yaml").write_text(RULES.replace("2.5", "3.5"))
    assert "polling plan of the changed rule files (not loaded yet)\n" in told(capsys)
    (place / "rules/r.yaml").write_text(RULES.replace("device", "devise"))
    text = told(capsys)
    assert "the rule files have errors; `mouseflow-bot check` lists them" in text
    assert "angry   32 calls" in text
    assert "of the active rules" not in text
    files = [("rules/r.yaml", RULES.encode())]
    stored(lambda conn: keep_rule_files(conn, files, NOW))
    assert "check` lists them. This is the plan of the active rules\n" in told(capsys)
    plans = json.loads(told(capsys, "--json"))["polling"]["plans"]
    assert [plan["rules"] for plan in plans] == [["angry", "phones"], ["angry"]]


def test_without_websites_there_is_nothing_to_tell(place, capsys):
    stored(lambda conn: None)
    assert "polling plan\n" not in told(capsys)


def test_plans_leave_nobody_out_and_put_the_commonest_first():
    rules = read([("r.yaml", RULES.encode())]).rules
    sites = [Site(id=str(n), name=f"shop-{n:03}.com") for n in range(30)]
    found = plans(rules, sites)
    assert [len(group) for group in found.values()] == [20, 10]
    assert {site for group in found.values() for site in group} == set(sites)


def live(website, *minutes):
    """Sessions of that website that were active so many minutes ago and are not settled."""
    seen = [
        SeenRecording(
            id=f"r{ago}", created=NOW - timedelta(hours=1),
            last_activity=NOW - timedelta(minutes=ago), fingerprint="", settled=False, closed=False,
        )
        for ago in minutes
    ]  # fmt: skip
    return lambda conn: save_recordings(conn, website, seen, NOW)


def test_a_rule_that_waits_says_for_how_many_sessions_and_until_when(place, capsys):
    waiting = RULES.replace("{device: phone}", "{exit_page: /cart}")
    (place / "rules/r.yaml").write_text(waiting)
    ruleset = read([("rules/r.yaml", waiting.encode())])
    digests = {rule.id: "" for rule in ruleset.rules}
    stored(
        account(3),
        lambda conn: rules_loaded(conn, digests, NOW),
        live("w1", 5, 20),
        live("w2", 10),
        live("n", 34),
    )
    text = told(capsys)
    assert "waits until sessions are settled: 3 live sessions, the first in 14m" in text.replace(
        "in 15m", "in 14m"
    )
    assert text.count("waits until sessions are settled") == 1  # `angry` fires early
    rules = {rule["rule"]: rule for rule in json.loads(told(capsys, "--json"))["rules"]}
    assert (rules["phones"]["sessions"], rules["angry"]["sessions"]) == (3, 0)
    assert rules["phones"]["settles"].startswith(f"{NOW + timedelta(minutes=15):%Y-%m-%dT%H:%M:}")


def test_a_rule_that_is_no_longer_in_the_files_is_not_counted_as_active(place, capsys):
    ruleset = read([("rules/r.yaml", RULES.encode())])
    digests = {rule.id: "" for rule in ruleset.rules} | {"cross-visitors": ""}
    stored(account(1), lambda conn: rules_loaded(conn, digests, NOW))
    text = told(capsys)
    assert "\n3 rules\n" in text
    assert "\nno longer in the files\n  cross-visitors  0 matches\n" in text


@pytest.mark.parametrize("trouble", ["key", "away"])
def test_polls_that_fail_for_one_reason_share_a_line(place, capsys, trouble):
    names = [f"{kind} of {site}.com" for site in "ab" for kind in ("recordings", "feedback")]
    failing = [
        (
            name,
            trouble,
            f'GET /websites/w{number}: 401 the email or the API key is wrong ({{"error": "no"}})',
        )
        for number, name in enumerate(names, start=1)
    ]
    slow = [("funnels of c.com", "other", "too slow")]
    status_of = {
        "failing": [
            {"what": name, "kind": "Denied", "trouble": of, "reason": reason,
             "since": (NOW - timedelta(hours=number)).isoformat(), "times": 3}
            for number, (name, of, reason) in enumerate([*failing, *slow])
        ],
        "things": 7,
    }  # fmt: skip
    stored(account(1))
    with open_store("sqlite:///data/bot.db") as store:
        data = msgspec.json.encode(status_of).decode()
        store.do(lambda conn: set_watermark(conn, "outages", "", data, NOW))
        show_failing(store.do(lambda conn: gather(conn, NOW, "alive")))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "failing: 7 polls"
    assert lines[1] == "  4 polls (recordings of a.com, feedback of a.com and 2 more)"
    assert lines[2].startswith("    since ")
    assert lines[2].endswith("(3h ago)")
    assert lines[3] == "    401 the email or the API key is wrong"
    assert lines[4] == "  funnels of c.com"
    assert lines[6:] == ["    too slow", "  and 2 more"]
    assert max(map(len, lines)) <= 80


def test_recordings_that_wait_for_their_detail_are_counted(place, capsys):
    def wait(website, count):
        data = msgspec.json.encode({"without_detail": count}).decode()
        return lambda conn: set_watermark(conn, "recordings", website, data, NOW)

    stored(account(6), *(wait(f"w{n}", n) for n in (1, 2, 3, 5)))
    line = (
        "  11 recordings wait for their detail, up to a day: "
        "shop-005.com 5, shop-003.com 3, shop-002.com 2 and 1 more\n"
    )
    assert line in told(capsys)
    marks = json.loads(told(capsys, "--json"))["watermarks"]
    waiting = {it["website"]["name"]: it["without_detail"] for it in marks}
    assert waiting["shop-005.com"] == 5
    assert sum(waiting.values()) == 11
    stored(account(6), *(wait(f"w{n}", 0) for n in range(6)), wait("w4", 1))
    assert "  1 recording waits for its detail, up to a day: shop" in told(capsys)
    stored(account(6), lambda conn: set_websites(conn, {"s": "special.com"}, {}, NOW))
    stored(wait("w4", 1))  # a website that has left the account
    assert "detail" not in told(capsys).partition("polling plan")[0]
