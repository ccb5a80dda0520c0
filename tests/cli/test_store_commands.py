"""What the commands about the store promise: they read it beside the daemon, and say why."""

import asyncio
import fcntl
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bot.budgets.state import BudgetMark, SiteLine, set_budget_mark
from bot.cli.context import lock_file
from bot.cli.healthcheck import unhealthy
from bot.cli.main import main
from bot.cli.run import beat
from bot.domain.subjects import RecordingSubject, Site, written
from bot.polling.outages import OUTAGES
from bot.store import Connection, location_of, open_store, outbox
from bot.store.audit import Note, history, record
from bot.store.lanes import pause_lane
from bot.store.matches import NewMatch, NewStep, PollOutcome, commit_poll
from bot.store.recordings import OWN_RULES, WEBSITES, ask_polls, set_watermark
from bot.store.rules import keep_rule_files, pause_rule, rule_states, rules_loaded
from mouseflow.models import Recording

ROOT = Path(__file__).parents[2]
HOSTILE = "/checkout\x1b[2J\nfake line"
NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def time_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module may have been imported many minutes ago."""
    monkeypatch.setattr(f"{__name__}.NOW", datetime.now(UTC))


SITES = '{"w1": "myshop.com"}'


def step(key: str, lane: str) -> NewStep:
    return NewStep(key=key, rank=0, lane=lane, kind="star", params="{}", due=NOW)


def filled(conn: Connection) -> None:
    rules_loaded(conn, {"checkout": "1", "rage": "1"}, NOW)
    match = NewMatch(
        rule="checkout",
        kind="recordings",
        website="w1",
        subject_key="r1",
        match_key="checkout/w1/r1",
        subject=b"{}",
        matched=NOW,
        why=(f"saw_page {HOSTILE}",),
        steps=[step("checkout/w1/r1/star-1", "mouseflow:w1"), step("second", "slack:#x")],
    )
    commit_poll(
        conn,
        PollOutcome(source="recordings", website="w1", at=NOW, watermark="{}", matches=[match]),
    )
    claimed = outbox.claim(conn, "mouseflow:w1", NOW, "token")
    assert claimed is not None
    outbox.give_up(conn, claimed, NOW, reason="no such recording", remedy="nothing to do")
    pause_lane(conn, "slack:#x", NOW + timedelta(hours=1), "Slack asked to wait")
    pause_rule(conn, "rage", "over 200 matches an hour", NOW)
    text = "the API is away, says the-key-itself"
    record(conn, NOW, [Note(kind="poll.failed", text=text, website="w1")])


def held_back_posts(conn: Connection) -> None:
    """Two posts fall due while the rule is snoozed."""
    subject = written(RecordingSubject(website=Site("w1", "w1"), recording=Recording(id="r2")))
    now = datetime.now(UTC)
    for name in ("r2", "r3"):
        post = NewStep(
            key=f"post-{name}", rank=2, lane="slack:#y", kind="slack", params="{}", due=now
        )
        match = NewMatch(
            rule="checkout",
            kind="recordings",
            website="w1",
            subject_key=name,
            match_key=f"checkout/w1/{name}",
            subject=subject,
            matched=now,
            steps=[post],
        )
        commit_poll(conn, PollOutcome(source="recordings", website="w1", at=now, matches=[match]))
    assert outbox.claim(conn, "slack:#y", now, "token") is None


def given_up_posts(conn: Connection) -> None:
    """Twelve posts to a channel that is not there, given up one after another."""
    for n in range(12):
        at = NOW - timedelta(minutes=120 - n)
        match = NewMatch(
            rule="checkout",
            kind="recordings",
            website="w1",
            subject_key=f"g{n}",
            match_key=f"checkout/w1/g{n}",
            subject=b"{}",
            matched=at,
            steps=[
                NewStep(
                    key=f"lost-{n}", rank=0, lane="slack:#gone", kind="slack", params="{}", due=at
                )
            ],
        )
        commit_poll(conn, PollOutcome(source="recordings", website="w1", at=at, matches=[match]))
        claimed = outbox.claim(conn, "slack:#gone", at, "token")
        assert claimed is not None
        reason = "there is no channel #gone"
        outbox.give_up(conn, claimed, at, reason=reason, remedy="create it")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("BOT_"):
            monkeypatch.delenv(name)
    (tmp_path / "config.toml").write_text(
        '[mouseflow]\nregion = "eu"\nemail = "ops@example.com"\napi_key = "the-key-itself"\n'
    )
    with open_store("sqlite:///data/bot.db") as store:
        store.do(filled)
    return tmp_path


def read_store() -> "tuple[dict[str, object], list[str]]":
    with open_store("sqlite:///data/bot.db", read_only=True) as store:
        return store.do(rule_states), [entry.kind for entry in store.do(history)]


def test_status_tells_all_that_stands_still_and_why(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status"]) == 0
    told = capsys.readouterr().out
    assert "daemon: not running (nothing holds its lock)" in told
    assert "w1  recordings  " in told
    assert "2 rules" in told
    assert "checkout  1 match    1 in the last 24 h" in told
    assert "over 200 matches an hour" in told
    assert "\nqueue: 1 waiting (1 due" in told
    assert "slack:#x  on hold until " in told
    assert "Slack asked to wait" in told
    assert "1 dead letter" in told
    assert "1  checkout  star  r1  no such recording; nothing to do" in told


def test_status_as_json_has_the_same(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert read["queue"]["dead"] == 1
    assert [rule["rule"] for rule in read["rules"]] == ["checkout", "rage"]
    assert read["dead"][0]["fault"] == "no such recording"
    assert read["watermarks"][0]["website"] == {"id": "w1", "name": "w1"}
    assert datetime.fromisoformat(read["watermarks"][0]["read"]).utcoffset() == timedelta()
    assert read["lanes"][0]["reason"] == "Slack asked to wait"


def test_status_takes_no_bot_for_a_website(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_store("sqlite:///data/bot.db") as store:
        for source in (OUTAGES, OWN_RULES):  # what bots that share a store keep, each by its mark
            store.do(partial(set_watermark, source=source, website="r7", data="", at=NOW))
    assert main(["status", "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert {it["website"]["id"] for it in read["watermarks"]} == {"w1"}


def test_status_groups_dead_letters_by_cause_and_shows_the_latest(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store("sqlite:///data/bot.db") as store:
        store.do(given_up_posts)
    assert main(["status"]) == 0
    told = capsys.readouterr().out
    told = told[told.index("13 dead letters") :]
    lines = told.splitlines()
    assert lines[1].startswith("  12 ×  checkout  slack  2h ago to ")
    assert lines[1].endswith("  there is no channel #gone; create it")
    assert lines[2].startswith("  1 ×   checkout  star   ")
    assert lines[2].endswith("  no such recording; nothing to do")
    assert lines[3] == "the latest, by number"
    [end] = [
        n
        for n, line in enumerate(lines)
        if line.startswith("requeue all with `mouseflow-bot retry`")
    ]
    assert [line.split()[1:4] for line in lines[4:end]] == [
        ["checkout", "star", "r1"], *(["checkout", "slack", f"g{n}"] for n in range(11, 2, -1)),
    ]  # fmt: skip
    assert main(["status", "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert [(cause["action"], cause["count"]) for cause in read["causes"]] == [
        ("slack", 12), ("star", 1),
    ]  # fmt: skip
    assert read["causes"][0]["remedy"] == "create it"
    assert len(read["dead"]) == 13


def test_status_reads_website_by_website_rules_before_what_was_refused_and_budgets_under_a_heading(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fill(conn: Connection) -> None:
        for website in ("w1", "w2"):
            for source in ("feedback", "funnels"):
                set_watermark(conn, source, website, "{}", NOW)
            ask_polls(conn, [("feedback", website)], "r1 token", NOW)
        set_watermark(conn, "recordings", "w2", "{}", NOW)
        set_watermark(conn, WEBSITES, "", '{"w1": "zoo.com", "w2": "art.com"}', NOW)
        faults = ["rules.yaml:3:4: unknown field"]
        record(
            conn,
            NOW,
            [Note(kind="rules.reload_failed", text=faults[0], details={"faults": faults})],
        )
        mark = BudgetMark(
            at=NOW, period="month", first="2026-03-01", end="2026-04-01", recordings=10, used=5
        )
        set_budget_mark(conn, "credits", mark)

    with open_store("sqlite:///data/bot.db") as store:
        store.do(fill)
    assert main(["status"]) == 0
    told = capsys.readouterr().out
    read = [line.split()[:2] for line in told.split("last polls\n")[1].splitlines()[:6]]
    sources = ["feedback", "funnels", "recordings"]
    assert read == [[site, source] for site in ("art.com", "zoo.com") for source in sources]
    order = [
        "2 rules\n",
        "  rage",
        "new rules not loaded",
        "  rules.yaml:3:4",
        "1 budget\n  credits",
    ]
    assert [told.index(each) for each in order] == sorted(told.index(each) for each in order)


@pytest.mark.parametrize("command", ["budget", "status"])
def test_a_website_that_someone_else_changed_is_said_to_be_left_alone(
    place: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    line = SiteLine("w1", "zoo.com", "Recording", 100, "", False, left_alone=NOW)
    mark = BudgetMark(
        at=NOW, period="month", first="2026-03-01", end="2026-04-01", recordings=10, used=11,
        websites=(line,), resume=True,
    )  # fmt: skip
    with open_store("sqlite:///data/bot.db") as store:
        store.do(lambda conn: set_budget_mark(conn, "credits", mark))
    assert main([command]) == 0
    told = capsys.readouterr().out
    assert "zoo.com: Recording at 100 %; changed by someone else at " in told
    assert "the bot leaves it alone until 2026-04-01" in told
    assert "the bot undoes its changes" not in told


def test_status_reads_beside_a_daemon_and_changes_nothing(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store("sqlite:///data/bot.db"):
        assert main(["status"]) == 0
        assert "daemon: alive" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["history"], ["budget"], ["backup"], ["retry"], ["snooze", "checkout", "2h"]],
)
@pytest.mark.parametrize("there", ["nothing", "an empty file"])
def test_without_a_store_it_is_said_and_none_is_made(
    place: Path, there: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (place / "data").iterdir():
        file.unlink()
    if there != "nothing":
        (place / "data" / "bot.db").touch()
    left = list((place / "data").iterdir())
    assert main(arguments) == 1
    said = "no store at data/bot.db: the daemon has not run here yet\n"
    assert capsys.readouterr().err == said
    assert list((place / "data").iterdir()) == left
    assert not any(file.stat().st_size for file in left)


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["history"], ["budget"], ["backup"], ["retry"], ["snooze", "checkout", "2h"]],
)
def test_what_asks_nobody_needs_no_key(
    place: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "config.toml").write_text('[mouseflow]\nregion = "eu"\nemail = "ops@example.com"\n')
    assert main(arguments) == 0, capsys.readouterr().err
    assert main(["once"]) == 1
    assert "mouseflow.api_key: missing" in capsys.readouterr().err


def test_history_can_be_narrowed_and_read_by_programs(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*arguments: str) -> list[dict[str, object]]:
        assert main(["history", "--json", *arguments]) == 0
        return json.loads(capsys.readouterr().out)["data"]

    assert [entry["kind"] for entry in told()] == [
        "poll.failed", "rule.paused", "step.dead", "match",
    ]  # fmt: skip
    link = "https://app.mouseflow.com/websites/w1/recordings/r1/play?x=1"
    assert [entry["kind"] for entry in told("--recording", link)] == ["step.dead", "match"]
    assert [entry["kind"] for entry in told("--recording", "r")] == ["step.dead", "match"]
    assert main(["history", "--recording", "zzzz"]) == 1
    assert "no entry is about a recording zzzz: give the whole id" in capsys.readouterr().err
    assert [entry["kind"] for entry in told("--rule", "rage")] == ["rule.paused"]
    assert [entry["kind"] for entry in told("--kind", "step")] == ["step.dead"]
    assert len(told("--website", "w1")) == 3
    assert len(told("--limit", "1")) == 1
    assert told("--since", "1h") == told()
    assert told("--since", "2999-01-01") == []


def test_a_secret_that_got_into_the_store_is_not_shown(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["history"], ["history", "--json"]):
        assert main(arguments) == 0
        shown = capsys.readouterr().out
        assert "the API is away" in shown
        assert "the-key-itself" not in shown


def test_history_keeps_a_visitors_text_on_its_line(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["history", "--kind", "match"]) == 0
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    assert "\x1b" not in told
    assert "saw_page /checkout" in told
    assert main(["history", "--kind", "step.postponed"]) == 0
    assert "no matching entries" in capsys.readouterr().out
    assert main(["history", "--kind", "step.postponed", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"version": 1, "data": []}


@pytest.mark.parametrize(
    ("arguments", "told", "code"),
    [
        (["history", "--kind", "stpe.dead"], "did you mean step.dead?", 2),
        (["history", "--kind", "steps"], "did you mean step?", 2),
        (["history", "--rule", "chekout"], "did you mean checkout?", 1),
        (["history", "--website", "mysop.com"], "did you mean myshop.com?", 1),
        (
            ["history", "--website", "nothing-like-it"],
            "unknown website; the daemon knows myshop.com",
            1,
        ),
        (["history", "--limit", "none"], "--limit", 2),
        (["retry", "chekout"], "did you mean checkout?", 1),
        (["retry", "99"], "99: no such dead letter", 1),
        (["snooze", "chekout", "2h"], "did you mean checkout?", 1),
        (["snooze", "checkout"], "give a duration such as 2h, or --end", 2),
        (["snooze"], "give a rule, or --all", 2),
        (["snooze", "--all"], "give a duration such as 2h, or --end", 2),
        (["snooze", "--all", "checkout", "2h"], "give checkout or --all, not both", 2),
        (["snooze", "--all", "2x"], "2x: write a duration such as 30m, 2h or 7d", 2),
        (["snooze", "checkout", "2h", "--by", " "], "--by: write a text, or leave it out", 2),
        (["snooze", "checkout", "2h", "--end"], "give 2h or --end, not both", 2),
    ],
)
def test_a_name_that_nothing_has_is_not_taken_for_an_empty_answer(
    place: Path, arguments: list[str], told: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store("sqlite:///data/bot.db") as store:
        store.do(partial(set_watermark, source=WEBSITES, website="", data=SITES, at=NOW))
    try:
        status = main(arguments)
    except SystemExit as left:
        status = left.code
    out, err = capsys.readouterr()
    assert (status, told in err) == (code, True), out + err
    assert out == ""


def test_history_knows_a_website_by_its_name(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store("sqlite:///data/bot.db") as store:
        store.do(partial(set_watermark, source=WEBSITES, website="", data=SITES, at=NOW))
    assert main(["history", "--website", "MyShop.com", "--kind", "match"]) == 0
    assert "checkout" in capsys.readouterr().out


def test_history_names_the_website_of_an_entry_about_all_of_it(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store("sqlite:///data/bot.db") as store:
        store.do(partial(set_watermark, source=WEBSITES, website="", data=SITES, at=NOW))
        for subject in ("", "w1"):
            note = Note(
                kind="level.no_history", rule="few", website="w1", subject=subject, text="–"
            )
            store.do(partial(record, at=NOW, notes=[note]))
    assert main(["history", "--kind", "level"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-3:] for line in lines] == [["few", "myshop.com", "–"]] * 2


def test_history_calls_what_a_digest_has_digested(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store("sqlite:///data/bot.db") as store:
        note = Note(
            kind="step.folded", rule="few", website="w1", subject="r1", text="over the limit"
        )
        store.do(partial(record, at=NOW, notes=[note]))
    for kind in ("step.digested", "step.folded"):
        assert main(["history", "--kind", kind]) == 0
        (line,) = capsys.readouterr().out.splitlines()
        assert "  step.digested  few " in line


def test_retry_requeues_dead_letters_and_says_how_many(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["retry"]) == 0
    told = capsys.readouterr().out
    assert "requeued 1 dead letter\n  1 ×  checkout  star  " in told
    assert "no such recording" in told
    assert "step.retried" in read_store()[1]
    assert main(["retry"]) == 0
    assert capsys.readouterr().out == "no dead letters\n"


def test_retry_does_nothing_while_one_name_means_nothing(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["retry", "1", "chekout"]) == 1
    assert "did you mean checkout?" in capsys.readouterr().err
    assert "step.retried" not in read_store()[1]


def test_what_was_done_can_be_read_by_programs(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*arguments: str, code: int = 0) -> dict[str, Any]:
        assert main([*arguments, "--json"]) == code
        answer = json.loads(capsys.readouterr().out)
        assert answer.pop("version") == 1
        return answer

    retried = told("retry", "1", "rage")
    [cause] = retried.pop("causes")
    assert retried == {"requeued": 1, "resumed": ["rage"], "refused": {}}
    assert (cause["rule"], cause["action"], cause["count"]) == ("checkout", "star", 1)
    assert cause["reason"] == "no such recording"
    begun = told("snooze", "checkout", "2h")
    assert datetime.fromisoformat(str(begun["until"])) > datetime.now(UTC)
    assert told("snooze", "checkout", "--end") == {
        "rule": "checkout", "ended": True, "held_back": 0,
    }  # fmt: skip
    assert told("snooze", "checkout", "--end")["ended"] is False
    copy = told("backup", "copy.db")
    assert copy == {"file": "copy.db", "bytes": (place / "copy.db").stat().st_size}
    assert told("healthcheck", code=1)["healthy"] is False
    with open_store("sqlite:///data/bot.db"):
        healthy = {"healthy": True, "fault": None, "troubles": [], "at_work_on": None}
        assert told("healthcheck") == healthy


def test_snooze_always_has_an_end_and_can_be_ended(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["snooze", "checkout", "2h"]) == 0
    assert "checkout: posts are muted until" in capsys.readouterr().out
    assert main(["status"]) == 0
    assert ", 0 posts held back" in capsys.readouterr().out
    with open_store("sqlite:///data/bot.db") as store:
        store.do(held_back_posts)
    assert main(["status"]) == 0
    assert "snoozed, ends in" in (told := capsys.readouterr().out)
    assert ", 2 posts held back" in told
    assert main(["snooze", "checkout", "--end"]) == 0
    assert "snooze ended; 2 posts held back, one digest lists them" in capsys.readouterr().out
    assert main(["snooze", "checkout", "--end"]) == 0
    assert "not snoozed" in capsys.readouterr().out
    kinds = [kind for kind in read_store()[1] if kind.startswith("rule.snooze")]
    assert kinds == ["rule.snooze_ended", "rule.snoozed"]


@pytest.mark.parametrize(
    "arguments", [["checkout"], ["checkout", "2h", "--end"], ["checkout", "31d"], ["checkout", "x"]]
)
def test_a_snooze_without_a_sensible_end_is_wrong_usage(
    place: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["snooze", *arguments])
    assert left.value.code == 2
    capsys.readouterr()


def test_snoozing_an_unknown_rule_names_the_nearest(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["snooze", "chekout", "2h"]) == 1
    assert "did you mean checkout?" in capsys.readouterr().err


RULE_FILE = """
version: 1
rules:
  checkout: {watch: recordings, when: {tags: x}, do: {star: true}}
  new: {watch: recordings, when: {tags: y}, do: {star: true}}
  off: {disabled: true, watch: recordings, when: {tags: y}, do: {star: true}}
"""


@pytest.fixture
def loaded(place: Path) -> Path:
    """A daemon has loaded rule files in which there is no `rage` any more."""
    (place / "rules").mkdir(exist_ok=True)
    (place / "rules" / "r.yaml").write_text(RULE_FILE)
    files = (("rules/r.yaml", RULE_FILE.encode()),)

    def load(conn: Connection) -> None:
        keep_rule_files(conn, files, NOW)
        rules_loaded(conn, {"checkout": "1", "new": "1"}, NOW)

    with open_store("sqlite:///data/bot.db") as store:
        store.do(load)
    return place


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("rage", "rage: the daemon no longer runs this rule"),
        ("off", "off: unknown rule"),
        ("nwe", "nwe: unknown rule; did you mean new?"),
        ("ragge", "ragge: unknown rule; `mouseflow-bot status` lists the rules"),
    ],
)
def test_a_rule_that_is_gone_or_disabled_is_not_snoozed_and_not_suggested(
    loaded: Path, rule: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["snooze", rule, "2h"]) == 1
    assert told in capsys.readouterr().err
    assert "rule.snoozed" not in read_store()[1]


def test_a_snooze_says_by_whom_it_is_and_why_wherever_it_is_shown(
    loaded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = ["--by", "Kim", "--because", "release\x1b[31m\nnight"]
    assert main(["snooze", "checkout", "2h", *reason]) == 0
    assert "Z by Kim: release" in capsys.readouterr().out
    assert main(["status"]) == 0
    assert "snoozed by Kim: release [31m night, ends in" in capsys.readouterr().out
    assert main(["status", "--json"]) == 0
    [line] = [it for it in json.loads(capsys.readouterr().out)["rules"] if it["rule"] == "checkout"]
    assert (line["snoozed_by"], line["snoozed_because"]) == ("Kim", "release [31m night")
    assert main(["history", "--kind", "rule.snoozed", "--json"]) == 0
    [entry] = json.loads(capsys.readouterr().out)["data"]
    assert entry["text"].endswith("Z by Kim: release [31m night")
    assert entry["details"] == {"by": "Kim", "because": "release [31m night"}
    assert main(["snooze", "checkout", "--end", "--by", "Ann"]) == 0
    assert main(["history", "--kind", "rule.snooze_ended"]) == 0
    assert "ended by Ann; posts held back: 0" in capsys.readouterr().out
    assert main(["status", "--json"]) == 0
    [line] = [it for it in json.loads(capsys.readouterr().out)["rules"] if it["rule"] == "checkout"]
    assert (line["snoozed_until"], line["snoozed_by"]) == (None, "")


def test_all_rules_are_snoozed_at_once_and_a_longer_snooze_stays(
    loaded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*arguments: str) -> dict[str, Any]:
        assert main(["snooze", *arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    longer = told("new", "7d", "--by", "Ann")
    found = told("--all", "2h", "--by", "Kim", "--because", "release night")
    assert found.pop("until") < longer["until"]
    assert found == {
        "version": 1, "rules": ["checkout"], "by": "Kim", "because": "release night",
    }  # fmt: skip
    assert main(["snooze", "--all", "2h"]) == 0
    told_people = capsys.readouterr().out
    assert "1 rule: posts are muted until" in told_people
    assert "1 rule snoozed for longer: unchanged" in told_people
    assert told("--all", "--end") == {
        "version": 1, "rules": ["checkout", "new"], "ended": True, "held_back": 0,
    }  # fmt: skip
    assert main(["snooze", "--all", "--end"]) == 0
    assert "all rules: not snoozed" in capsys.readouterr().out


def test_snooze_and_retry_work_beside_a_daemon(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store("sqlite:///data/bot.db"):
        assert main(["snooze", "checkout", "2h"]) == 0
        assert main(["retry"]) == 0
    capsys.readouterr()


def test_a_backup_is_a_whole_store_and_never_overwrites(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store("sqlite:///data/bot.db"):
        assert main(["backup", "copy.db"]) == 0
    assert "wrote copy.db" in capsys.readouterr().out
    with open_store("sqlite:///copy.db", read_only=True) as store:
        assert len(store.do(history)) == 4
    assert main(["backup", "copy.db"]) == 1
    assert "already exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("no/such/copy.db", "no/such: no such folder; create it, or choose another one"),
        ("data", "data is a folder; name a file in it, such as data/bot.db"),
        ("config.toml/copy.db", "config.toml: no such folder"),
        ("/proc/copy.db", "/proc/copy.db: cannot be written: "),
        ("x" * 300, "cannot be written: File name too long"),
    ],
)
def test_a_backup_that_cannot_be_written_blames_its_place_and_not_the_store(
    place: Path, file: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(place.rglob("*"))
    assert main(["backup", file]) == 1
    err = capsys.readouterr().err
    assert told in err
    assert "bot.db: " not in err
    assert sorted(place.rglob("*")) == before


def test_a_backup_for_which_there_is_no_room_leaves_no_half_copy(place: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 32; exec {sys.executable} -m bot backup copy.db"],
        cwd=place,
        # The limit also cuts compiled modules, and a truncated one breaks every later start.
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("backup to copy.db failed: ")
    assert not (place / "copy.db").exists()


def test_the_healthcheck_sees_a_daemon_that_is_gone(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["healthcheck"]) == 1
    assert "not running" in capsys.readouterr().err
    with open_store("sqlite:///data/bot.db"):
        assert main(["healthcheck"]) == 0
        assert main(["healthcheck", "--within", "-1"]) == 1
        assert "no heartbeat" in capsys.readouterr().err
    (place / "data" / "bot.db.lock").unlink()
    assert main(["healthcheck"]) == 1


def test_the_healthcheck_finds_the_store_as_the_daemon_does(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store(f"sqlite:///{place}/other.db"):
        assert main(["healthcheck"]) == 1
        monkeypatch.setenv("BOT_STORE__URL", f"sqlite:///{place}/other.db")
        assert main(["healthcheck"]) == 0
        monkeypatch.delenv("BOT_STORE__URL")
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(place / "secrets"))
        (place / "secrets").mkdir()
        (place / "secrets" / "bot_store__url").write_text(f"sqlite:///{place}/other.db\n")
        assert main(["healthcheck"]) == 0
        monkeypatch.delenv("CREDENTIALS_DIRECTORY")
        with (place / "config.toml").open("a") as config:
            config.write(f'[store]\nurl = "sqlite:///{place}/other.db"\n')
        assert main(["healthcheck"]) == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    "url", ["sqlite:///data/bot.db", "sqlite:////var/lib/my bot/bot.db", "sqlite:///b.db?timeout=5"]
)
def test_the_heartbeat_is_on_the_lock_that_the_store_takes(url: str) -> None:
    database = location_of(url).beside()
    assert lock_file(url) == database.with_name(database.name + ".lock")


async def test_a_heart_that_beats_keeps_the_daemon_healthy(tmp_path: Path) -> None:
    url, lock = f"sqlite:///{tmp_path}/bot.db", tmp_path / "bot.db.lock"
    lock.touch()
    os.utime(lock, (1, 1))
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        now = datetime.now(UTC).timestamp()
        assert "no heartbeat" in (unhealthy(url, 60, now) or "")
        heart = asyncio.create_task(beat(lock, 0.001))
        async with asyncio.timeout(60):
            while unhealthy(url, 60, now):  # noqa: ASYNC110 - a file sets no event
                await asyncio.sleep(0.001)
        heart.cancel()
