"""What the demo tells: what each rule did, what the team saw, what it cost, what is next."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from bot.cli.demo import Report, action_counts, event, grouped, show, warnings
from bot.cli.output import as_text
from bot.cli.status import RuleLine, Status
from bot.domain.step import StepStatus
from bot.store.audit import Entry
from bot.store.dead_letters import DeadGroup, QueueFigures, StepState

NOW = datetime(2026, 11, 25, 20, 25, 12, tzinfo=UTC)


def entry(rule: str, text: str, subject: str = "r1", *, number: int = 1) -> Entry:
    return Entry(id=number, at=NOW, kind="match", rule=rule, subject=subject, text=text)


def rule(name: str, matches: int) -> RuleLine:
    return RuleLine(
        rule=name, matches=matches, matches_today=matches, paused_at=None, paused_why="",
        snoozed_until=None, snoozed=0,
    )  # fmt: skip


def report(*, dead: int = 0, **changes: Any) -> Report:
    status = Status(
        now=NOW, daemon="alive", failing=[], failing_total=0, rejected_rules=None,
        broken_configuration=None,
        at_least_once=[], on_hold=[], watermarks=[], rules=changes.pop("lines", []),
        queue=QueueFigures(
            pending=changes.pop("pending", 0), due=0, sending=0, dead=dead, oldest=None,
        ),
        waiting=[], lanes=[], troubles=[],
        causes=changes.pop("causes", []), dead=changes.pop("letters", []),
    )  # fmt: skip
    empty: dict[str, Any] = {
        "actions": [],
        "entries": [],
        "names": {},
        "posts": [],
        "calls": [],
    }
    return Report(**{
        "seconds": 25.2, "websites": 2, "recordings": 64, "rules": 2, "status": status,
        **empty, **changes,
    })  # fmt: skip


def shown(made: Report, capsys: pytest.CaptureFixture[str]) -> str:
    show(made)
    return capsys.readouterr().out


def test_the_report_fits_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    said = shown(report(posts=[("#ux", "TROUBLE\n" + "on the shop " * 20)]), capsys)
    lines = said.splitlines()
    assert max(map(len, lines)) <= 60
    (top,) = [number for number, line in enumerate(lines) if line.startswith("    ┌")]
    assert lines[top + 1] == "    │ TROUBLE"


EXPECTED = """\
What the bot did
────────────────
  In 25 s: 64 recordings of 2 websites, 3 matches of 2 rules, 6 Slack messages.

Rule by rule (mouseflow-bot status)
───────────────────────────────────
  checkout-friction  3 matches
  1 other rule       no match
actions
  checkout-friction  tag: 3 done, slack: 1 done, 1 failed

Latest matches and actions (mouseflow-bot history)
──────────────────────────────────────────────────
  2026-11-25 20:25:12Z  match  checkout-friction  r2  unseen
  2026-11-25 20:25:12Z  match  checkout-friction  r1  friction 3.2, needs 2.5 or more

What the team saw in Slack
──────────────────────────
  #checkout-alerts: 1 message
    ┌────────────────────────────────────────────────────────────────────────
    │ TROUBLE
    │ Where: /checkout
    └────────────────────────────────────────────────────────────────────────

  #ops: 5 messages
    ┌────────────────────────────────────────────────────────────────────────
    │ news 0
    └────────────────────────────────────────────────────────────────────────
    ┌────────────────────────────────────────────────────────────────────────
    │ old news
    │ x
    └────────────────────────────────────────────────────────────────────────
    and 3 more

API requests
────────────
  32 requests in 25 s
     31  mouseflow  GET    /websites/{id}/recordings
      1  slack      POST   /api/x

What went wrong
───────────────
  poll.outage: feedback: away (2 times)

Next steps
──────────
  mouseflow-bot init            write a config.toml and a first rule of your own
  mouseflow-bot check           check them
  mouseflow-bot simulate        without an account: serve a simulated one to try them on
  mouseflow-bot once --dry-run  see what would happen on your account
  mouseflow-bot run             run the daemon
"""


def test_the_report_tells_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    made = report(
        lines=[rule("checkout-friction", 3), rule("quiet", 0)],
        actions=[("checkout-friction", "tag: 3 done, slack: 1 done, 1 failed")],
        entries=[
            entry("checkout-friction", "friction 3.2, needs 2.5 or more"),
            entry("checkout-friction", "unseen", "r2", number=2),
        ],
        posts=[
            ("checkout-alerts", "TROUBLE\nWhere: /checkout"),
            *[("ops", text) for text in ("news 0", "news 0", "old news\nx", "news 0", "more")],
        ],
        calls=[
            ("mouseflow  GET    /websites/{id}/recordings", 31),
            ("slack      POST   /api/x", 1),
        ],
        warnings=["poll.outage: feedback: away"] * 2,
    )
    assert shown(made, capsys) == EXPECTED


def test_a_slow_machine_is_told_how_long_to_try(capsys: pytest.CaptureFixture[str]) -> None:
    told = "  30 actions still wait: this machine is slow. Try mouseflow-bot demo --seconds 60\n"
    assert told in shown(report(pending=30, seconds=12.0), capsys)
    assert told in shown(report(pending=30, seconds=12.0, posts=[("ops", "news")]), capsys)
    assert "still wait" not in shown(report(pending=3, posts=[("ops", "news")] * 3), capsys)


def test_the_actions_of_a_rule_are_counted_by_what_became_of_them() -> None:
    done, dead = StepStatus.DONE, StepStatus.DEAD
    steps = {("tag", done): 3, ("star", done): 2, ("star", StepStatus.PENDING): 1,
             ("slack", done): 1, ("slack", StepStatus.FOLDED): 1, ("slack", dead): 1}  # fmt: skip
    assert action_counts(steps) == (
        "tag: 3 done, star: 2 done, 1 waiting, slack: 1 done, 1 in a digest, 1 failed"
    )


def test_dead_letters_are_shown_with_their_cause(capsys: pytest.CaptureFixture[str]) -> None:
    cause = DeadGroup(
        rule="checkout-friction", action="slack", reason="channel_not_found",
        remedy="create it", count=2, first=NOW, last=NOW,
    )  # fmt: skip
    step = StepState(
        id=7, key="checkout-friction/w1/r1/slack-1", rule="checkout-friction", website="w1",
        subject_key="r1", lane="slack:#x", unknown=False,
        action="slack", state=StepStatus.DEAD, due=NOW, attempts=1, fault="channel_not_found",
        remedy="create it", ended=NOW,
    )  # fmt: skip
    text = shown(report(dead=2, causes=[cause], letters=[step]), capsys)
    assert "2 ×  checkout-friction  slack" in text.partition("What went wrong")[2]
    assert "channel_not_found; create it" in text


def test_a_demo_in_which_nothing_happened_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(report(seconds=1.0, websites=1, recordings=1, rules=0), capsys)
    assert "1 recording of 1 website, 0 matches of 0 rules, 0 Slack messages." in text
    assert "What went wrong" not in text


def test_a_slack_message_reads_as_text() -> None:
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": "Trouble & more"}},
        {"type": "section", "fields": [{"type": "mrkdwn", "text": "*Page*\n/a &lt;b&gt;"}]},
        {"type": "section", "text": {"text": "*why:* 3 &gt; 2 <https://x.example/y|here>"}},
        {"type": "section", "text": {"text": "*<https://app.example/r1|A rule>* · myshop.com"}},
        {"type": "divider"},
        {
            "type": "actions",
            "elements": [
                {"type": "button", "text": {"text": "Watch"}, "url": "https://app.example/r1"}
            ],
        },
        {"type": "context", "elements": [{"text": "rule *x*"}, {"text": "<!date^1^{time}|now>"}]},
    ]
    assert as_text("fallback", blocks).splitlines() == [
        "TROUBLE & MORE",
        "Page: /a <b>",
        "why: 3 > 2 here (https://x.example/y)",
        "A rule · myshop.com",
        "[Watch] https://app.example/r1",
        "rule x · now",
    ]
    assert as_text("only &amp; text", []) == "only & text"


def test_what_the_log_warns_of_is_told() -> None:
    lines = [
        {"level": "info", "event": "poll.decided"},
        {"level": "warning", "event": "poll.outage", "what": "feedback", "reason": "away"},
        {"level": "error", "event": "deliver.dead_letter", "reason": "told as a dead letter"},
        {"level": "error", "event": "daemon.internal_error"},
    ]
    log = "\n".join(map(json.dumps, lines))
    assert warnings(log) == ["poll.outage: feedback: away", "daemon.internal_error"]


def test_calls_are_counted_by_what_they_ask() -> None:
    site = "/websites/8fc2ace2-75bc-8ba4-b424-c8916670b990/recordings"
    calls = [
        ("mouseflow", "GET", site),
        ("mouseflow", "GET", site),
        ("mouseflow", "PUT", f"{site}/2f1c9a7be01d44f6/star"),
        ("slack", "POST", "/api/chat.postMessage"),
    ]
    assert grouped(calls) == [
        ("Mouseflow  GET    /websites/{id}/recordings", 2),
        ("Mouseflow  PUT    /websites/{id}/recordings/{id}/star", 1),
        ("Slack      POST   /api/chat.postMessage", 1),
    ]


def test_while_it_runs_a_website_is_told_by_its_name_and_a_recording_by_the_start_of_its_id():
    def line(subject: str) -> str:
        return event(
            entry("mine", "the reason", subject),
            {"d0a9f2b4-6c1e-4f7a-9b35-1e8c70d2a6f1": "blog.myshop.com"},
        )

    website, recording = "d0a9f2b4-6c1e-4f7a-9b35-1e8c70d2a6f1", "74ad0b064347e9eb0776d8195eb5d7ac"
    assert line(website) == "20:25:12Z  mine matched blog.myshop.com: the reason"
    assert line(recording) == "20:25:12Z  mine matched 74ad0b06…: the reason"
