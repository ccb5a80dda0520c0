"""What the demo tells: what each rule did, what the team saw, what it cost, what is next."""

import json
from datetime import UTC, datetime

from bot.cli.demo import Action, Outcome, Posted, RuleOutcome, event, grouped, report, troubles
from bot.cli.output import as_text
from bot.store.audit import Entry

OUTCOME = Outcome(
    seconds=25.2,
    websites=2,
    recordings=64,
    rules=[
        RuleOutcome(
            rule="checkout-friction",
            summary="Frustrated visitors in the checkout",
            file="rules/checkout.yaml",
            matches=3,
            actions=[
                Action("tag", 3),
                Action("star", 2, waiting=1),
                Action("slack", 1, withheld=1, failed=1),
                Action("unshare", 0, waiting=3),
            ],
            examples=[("r1", "friction 3.2, needs 2.5 or more"), ("r2", ""), ("r3", "unseen")],
        ),
        RuleOutcome(rule="quiet", summary="", file="rules/more.toml", matches=0),
    ],
    posts=[
        Posted("checkout-alerts", "TROUBLE\nWhere: /checkout"),
        *[Posted("ops", text) for text in ("news 0", "news 0", "old news\nx", "news 0", "more")],
    ],
    calls=[("mouseflow  GET    /websites/{id}/recordings", 31), ("slack      POST   /api/x", 1)],
    faults=["checkout-friction: slack: channel_not_found"] * 2,
)
TOLD = """\
What the bot did
────────────────
  In 25 s it looked at 64 recordings of 2 websites of a simulated account.
  1 of 2 rules fired: 3 matches, 6 actions, 6 Slack messages.

Rule by rule
────────────
  checkout-friction  (rules/checkout.yaml)
    Frustrated visitors in the checkout
    3 matches: tag 3, star 2 (1 to come), slack 1 (1 in a digest, 1 given up), unshare (3 to come)
      r1: friction 3.2, needs 2.5 or more
      r2

  quiet  (rules/more.toml)
    0 matches

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

What it cost
────────────
  32 requests in 25 s
     31  mouseflow  GET    /websites/{id}/recordings
      1  slack      POST   /api/x

What went wrong
───────────────
  checkout-friction: slack: channel_not_found (2 times)

What to do next
───────────────
  mouseflow-bot init              write a config.toml and a first rule of your own
  mouseflow-bot check             validate them, every problem at once
  mouseflow-bot once --dry-run    see what would happen on your account
  mouseflow-bot run               the daemon"""


def test_the_report_tells_all_of_it() -> None:
    assert "\n".join(report(OUTCOME)) == TOLD


def test_a_demo_in_which_nothing_happened_says_so() -> None:
    told = "\n".join(report(Outcome(1.0, 1, 1, rules=[], posts=[], calls=[])))
    assert "looked at 1 recording of 1 website" in told
    assert "0 of 0 rules fired: 0 matches, 0 actions, 0 Slack messages." in told
    assert "What went wrong" not in told


def test_a_slack_message_reads_as_text() -> None:
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": "Trouble & more"}},
        {"type": "section", "fields": [{"type": "mrkdwn", "text": "*Page*\n/a &lt;b&gt;"}]},
        {"type": "section", "text": {"text": "*why:* 3 &gt; 2 <https://x.example/y|here>"}},
        {"type": "divider"},
        {
            "type": "actions",
            "elements": [
                {"type": "button", "text": {"text": "Watch"}, "url": "https://app.example/r1"}
            ],
        },
        {"type": "context", "elements": [{"text": "rule *x*"}, {"text": "now"}]},
    ]
    assert as_text("fallback", blocks).splitlines() == [
        "TROUBLE & MORE",
        "Page: /a <b>",
        "why: 3 > 2 here (https://x.example/y)",
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
    assert troubles(log) == ["poll.outage: feedback: away", "daemon.internal_error"]


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
        at = datetime(2026, 11, 25, 20, 25, 12, tzinfo=UTC)
        entry = Entry(id=1, at=at, kind="match", rule="mine", subject=subject, text="the reason")
        return event(entry, {"d0a9f2b4-6c1e-4f7a-9b35-1e8c70d2a6f1": "blog.myshop.com"})

    website, recording = "d0a9f2b4-6c1e-4f7a-9b35-1e8c70d2a6f1", "74ad0b064347e9eb0776d8195eb5d7ac"
    assert line(website) == "20:25:12  mine matched blog.myshop.com: the reason"
    assert line(recording) == "20:25:12  mine matched 74ad0b06…: the reason"
