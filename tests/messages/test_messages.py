"""The bot's own messages: what they say, and what they keep to themselves."""

import ast
import json
import re
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from slack_sdk.models.blocks import Block

from bot import cli
from bot.domain.accounts import OF_ONE
from bot.domain.many import Spread
from bot.domain.press import Press
from bot.domain.subjects import Band, FunnelStep
from bot.fields.catalogue import KINDS
from bot.messages import compose, several
from bot.messages.blocks import blocks, notification
from bot.messages.message import kept, plain, text_of
from bot.messages.ops import resumed
from bot.messages.pages import where
from bot.messages.presses import after
from bot.messages.template_check import SAMPLES
from bot.messages.text import cut
from bot.ports import Addresses, Posted
from mouseflow.models import PageView

ROOT = Path(__file__).parents[2]
APP = Addresses(share_url="https://share.example/{token}", zone="Europe/Copenhagen")
TASK = SAMPLES["recordings"]
PLAY = "https://app.mouseflow.com/websites/w1/recordings/r1/play"


def mrkdwn(text):
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def notice(title, lines):
    return compose.notice(title, lines, "", TASK.now, "Europe/Copenhagen")


def test_a_text_is_cut_after_a_word_and_an_address_within():
    line = "Biggest loss: Cart → Shipping, 592 of 1,204 visitors left (49 %)"
    assert cut(line, 45) == "Biggest loss: Cart → Shipping, 592 of 1,204…"
    assert cut("outlet.example, blog.example", 20) == "outlet.example…"
    assert cut("Left on /" + "a" * 90, 60) == "Left on /" + "a" * 50 + "…"
    assert cut("no room for the end", 19) == "no room for the end"


def test_a_single_match_is_not_all_of_them():
    one = Spread(websites={"a.com": 1}, pages={"/x": 1}, devices={"Phone": 1})
    assert where(one, 1) == ("On a.com.", "On /x, on a phone.")
    assert where(one.and_(one), 2) == ("All on a.com.", "All on /x, all on phones.")


def test_a_recording_of_many_rules_names_a_few():
    rules = tuple(f"rule-{n}" for n in range(12))
    message = replace(compose.match(TASK, APP), rules=rules)
    assert plain(message)[-1].endswith("Rules rule-0, rule-1, rule-2 and 9 more")
    press = Press(id="1", button="snooze_1h", post="k", user="U1", name="Kim", channel="C",
                  at=TASK.now)  # fmt: skip
    (said,) = after(message, press, TASK.now, TASK.now, "", "UTC").people
    assert "snoozed rules rule-0, rule-1, rule-2 and 9 more until " in text_of(said)
    assert text_of(said).endswith(". Their messages come as digests then.")


def test_a_message_after_a_downtime_has_no_name_of_the_rule_language():
    assert "act_up_to" not in str(resumed(TASK.now, TASK.now).lines)


def test_what_only_looks_like_an_instant_stays_as_it_is():
    told = ["Since 2026-99-10T09:00:00Z", "0001-01-01T00:00:00Z", "at 2026-03-10 09:00:00Z"]
    shown = [text_of(line) for line in notice("Down at 2026-03-10T25:00:00Z", told).why]
    assert shown == [*told[:2], "at 10 Mar 10:00 CET"]


def test_moments_in_notices_are_told_in_each_readers_zone():
    said = notice("Down since 2026-03-10T09:00:00Z", ["Since 2026-03-10T09:00:00Z · /cart"])
    [block] = blocks(said)
    assert block["text"]["text"].endswith(
        "\nSince <!date^1773133200^{date_short_pretty} {time}|10 Mar 10:00 CET> · */cart*"
    )
    assert plain(said)[0] == "🔶 Down since 10 Mar 10:00 CET"


def visit(*pages):
    """The task of a visitor who saw these pages: paths, or a path with its tags."""
    views = tuple(
        PageView(website_page=page) if isinstance(page, str) else
        PageView(website_page=page[0], tags=page[1:])
        for page in pages
    )  # fmt: skip
    recording = msgspec.structs.replace(TASK.subject.recording, page_views=views)
    return replace(TASK, subject=msgspec.structs.replace(TASK.subject, recording=recording))


def shown_visit(task):
    return "".join(part.text for part in compose.match(task, APP).visit)


def test_a_recordings_message_says_what_where_why_and_what_the_visitor_saw():
    why = ("rage clicks on /checkout/pay", "friction at least 2.5")
    message = compose.match(replace(TASK, why=why), APP)
    assert list(blocks(message)) == [
        {
            "type": "section",
            "text": mrkdwn(
                f"🔶 *<{PLAY}|A sample>* · myshop.com\n"
                "Rage clicks on */checkout/pay*, friction 2.5+. "
                "Active for 1 min 35 s on 2 pages.\n"
                "🔗 Public link: anyone who has it can watch."
            ),
        },
        {"type": "context", "elements": [mrkdwn("/cart → */checkout/pay* (last page)")]},
        {
            "type": "actions",
            "elements": [
                {
                    "type": "button",
                    "text": {"type": "plain_text", "text": "Watch recording", "emoji": False},
                    "url": PLAY,
                    "action_id": "open",
                    "style": "primary",
                },
                {
                    "type": "button",
                    "text": {"type": "plain_text", "text": "Watch without login", "emoji": False},
                    "url": "https://share.example/T0KEN",
                    "action_id": "open_1",
                },
            ],
        },
        {
            "type": "context",
            "elements": [
                mrkdwn(
                    "returning · Phone · DE · Safari on iOS · "
                    "<!date^1772452800^{time}|12:00 UTC> · Rule sample-rule"
                )
            ],
        },
    ]
    assert notification(message) == (
        "🔶 A sample · myshop.com · Rage clicks on /checkout/pay, friction 2.5+."
    )


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("feedback", ["A reason.", "120 answers in all, 3 % of 4,000 impressions."]),
        (
            "funnels",
            [
                "A reason.",
                "1,200 visitors entered, 15 % converted. "
                "Biggest loss: Cart → Pay, 1,020 of 1,200 visitors left (85 %).",
            ],
        ),
        (
            "forms",
            [
                "A reason.",
                "30 of 210 attempts to send it failed. Most left at Phone (35 visitors).",
            ],
        ),
        (
            "pages",
            [
                "A reason.",
                "/checkout/pay has 2,300 views, 3.5 s to render, 1 min 10 s visit time, "
                "20 s of activity, 39 % scrolled.",
            ],
        ),
        (
            "websites",
            ["A reason.", "Mouseflow says Recording, 100 % of sessions. 620 recordings today."],
        ),
    ],
)
def test_every_alert_says_its_figures_and_links_to_its_website(kind, lines):
    message = compose.match(SAMPLES[kind], APP)
    name = {"feedback": "How was it?", "funnels": "Checkout", "forms": "Address",
            "pages": "/checkout/pay", "websites": ""}[kind]  # fmt: skip
    place = " · ".join(filter(None, ("A sample", name, "myshop.com")))
    assert plain(message) == [
        f"🔶 {place}", *lines, "13:00 CET · Rule sample-rule",
    ]  # fmt: skip
    assert message.links == (("Open in Mouseflow", "https://app.mouseflow.com/websites/w1"),)


def test_an_alerts_headline_has_the_figure_that_the_rule_asks_for_in_words():
    why = ("render_time 3.5 s, over 2 s", "views 2,300, at least 100")
    task = replace(SAMPLES["pages"], why=why, summary="Slow /checkout/pay")
    assert plain(compose.match(task, APP))[:2] == [
        "🔶 Slow /checkout/pay: 3.5 s to render, limit 2 s · myshop.com",
        "Views 2,300, at least 100.",
    ]
    long = replace(task, summary="x" * 140)
    assert plain(compose.match(long, APP))[1].startswith("Render time 3.5 s, over 2 s. Views")


def test_a_funnel_without_visitors_has_no_loss():
    steps = tuple(FunnelStep(name=name, url="/", count=0) for name in ("Cart", "Pay"))
    subject = msgspec.structs.replace(SAMPLES["funnels"].subject, steps=steps)
    assert "Biggest loss" not in "\n".join(
        plain(compose.match(replace(SAMPLES["funnels"], subject=subject), APP))
    )


@pytest.mark.parametrize("kind", KINDS)
def test_slacks_own_models_accept_each_message(kind):
    task = replace(SAMPLES[kind], missing=("tag",))
    told = (
        compose.match(task, APP),
        compose.resolved(task, APP, timedelta(hours=1)),
        compose.from_template(task, APP, "own *text*", linked=False),
        several.digest(
            task, APP, total=9, reasons={"over the limit": 9}, since=task.matched,
            worst=[task.subject] * 3,
        ),
        notice("Rules not loaded", ["line 1"]),
    )  # fmt: skip
    for message in told:
        sent = list(blocks(message))
        assert [json.loads(json.dumps(each.to_dict())) for each in Block.parse_all(sent)] == sent


def test_a_page_with_trouble_is_marked_and_the_middle_of_a_long_visit_is_cut_out():
    assert shown_visit(visit("/", ("/cart", "click-rage", "dead-click"), "/cart", "/exit")) == (
        "/ → ⚠️ /cart → /exit (last page)"
    )
    assert shown_visit(visit(*(f"/page/{n}" for n in range(30)))) == (
        "/page/0 → /page/1 → /page/2 → 23 more → "
        "/page/26 → /page/27 → /page/28 → /page/29 (last page)"
    )
    long = "/" + "a" * 80 + "/end"
    cut = f"/{'a' * 28}…{'a' * 25}/end"
    assert shown_visit(visit(long, *["/x" + "y" * 50 + str(n) for n in range(9)], long)) == (
        f"{cut} → 8 more → /x{'y' * 50}8 → {cut} (last page)"
    )


def test_a_visit_whose_pages_nobody_asked_for_names_the_first_page_alone():
    recording = msgspec.structs.replace(TASK.subject.recording, page_views=None, pages=4)
    task = replace(TASK, subject=msgspec.structs.replace(TASK.subject, recording=recording))
    assert shown_visit(task) == "Entered on /cart"
    unknown = msgspec.structs.replace(recording, entry=None, entry_page=None)
    task = replace(TASK, subject=msgspec.structs.replace(TASK.subject, recording=unknown))
    assert shown_visit(task) == ""


def test_an_address_with_a_scheme_inside_keeps_its_whole_path():
    assert shown_visit(visit("/checkout/<https://evil.example|click>", "/out/https://x.y")) == (
        "/checkout/<https://evil.example|click> → /out/https://x.y (last page)"
    )


def test_a_time_of_another_day_has_its_date():
    late = replace(TASK, now=TASK.matched + timedelta(hours=30))
    assert "<!date^1772452800^{date_short_pretty} {time}|2 Mar 12:00 UTC>" in json.dumps(
        blocks(compose.match(late, APP)), ensure_ascii=False
    )


@pytest.mark.parametrize("blank", ["\u3164", "\u115f", "\u2800", "\uffa0", "\u034f", "\U000e0100"])
def test_letters_that_print_nothing_do_not_reach_slack(blank):
    assert blank not in str(blocks(compose.match(visit(f"/a{blank}b", f"/{blank}"), APP)))
    assert shown_visit(visit("/", f"/a{blank}b")) == "/ → /ab (last page)"


def test_length_and_pages_are_told_once():
    why = ("friction at least 2.5", "1 min 35 s, over 60 s", "pages 2, at most 8")
    message = compose.match(replace(TASK, why=why), APP)
    assert plain(message)[1:3] == ["Friction 2.5+.", "Active for 1 min 35 s on 2 pages."]
    alone = compose.match(replace(TASK, why=why[1:2]), APP)
    assert plain(alone)[1] == "1 min 35 s, over 60 s."


def test_where_there_is_a_status_page_messages_link_to_it():
    paged = replace(APP, page="https://bot.example.com")
    task = replace(TASK, key="sample-rule/w1/r 1/slack-1")
    match, rule = "https://bot.example.com/matches/sample-rule/w1/r%201", "/rules/sample-rule"
    shown = blocks(compose.match(replace(task, results={}), paged), "key")
    assert [element.get("url") for element in shown[2]["elements"]] == [PLAY, match]
    assert f"Rule <https://bot.example.com{rule}|sample-rule>" in shown[-1]["elements"][0]["text"]
    pressed = blocks(compose.match(task, replace(paged, buttons=True)), "key")
    *_, menu = pressed[2]["elements"]
    assert menu["options"][-1]["url"] == match
    assert len(menu["options"]) == 5
    assert "bot.example.com" not in str(blocks(compose.match(task, APP), "key"))


@pytest.mark.parametrize("rule", ["checkout", "budget:credits"])
def test_of_several_accounts_the_grey_line_names_the_one(rule):
    """Two accounts may post to one channel, about a budget or a rule of the same name."""
    task, shop = replace(TASK, rule=rule), replace(APP, account="shop")
    assert " · Account shop" in plain(compose.match(task, shop))[-1]
    assert "Account" not in plain(compose.match(task, APP))[-1]


def test_all_commands_that_are_about_one_account_are_known():
    """Those that ask for the settings of one; messages name it to each of them."""
    commands = Path(cli.__file__).parent.glob("*.py")
    asking = {it.stem for it in commands if "context.settings(" in it.read_text()}
    assert asking == set(OF_ONE)


def test_a_tip_is_a_command_that_runs_with_several_accounts():
    digest = several.digest(
        TASK, replace(APP, account="shop"), total=5000, reasons={"limit": 5000},
        since=TASK.now - timedelta(hours=1), worst=(),
    )  # fmt: skip
    assert "mouseflow-bot tune" in plain(digest)[-1]
    assert "--account shop" in plain(digest)[-1]


def test_what_a_budget_did_is_not_called_a_rule():
    task = replace(SAMPLES["websites"], rule="budget:credits")
    assert plain(compose.match(task, APP))[-1] == "myshop.com · 13:00 CET · Budget credits"


def test_a_rules_own_text_keeps_the_line_that_names_the_rule():
    message = compose.from_template(TASK, APP, "*Big basket* on myshop.com", linked=True)
    body, foot = blocks(message)
    assert body["text"]["text"] == "*Big basket* on myshop.com"
    assert foot["elements"][0]["text"].endswith("· Rule sample-rule")
    assert notification(message) == "*Big basket* on myshop.com"


@pytest.mark.parametrize(
    "personal", ["192.0.2.7", "Example Visitor", "cart-value", "Example Net", "https://myshop.com"]
)
def test_personal_data_is_in_no_built_in_message(personal):
    message = compose.match(TASK, APP)
    assert personal not in json.dumps(blocks(message)) + notification(message)


def test_without_a_share_or_a_public_address_there_is_no_public_link():
    for task, addresses in ((TASK, Addresses()), (replace(TASK, results={}), APP)):
        assert "Watch without login" not in json.dumps(blocks(compose.match(task, addresses)))


def test_a_digest_of_one_match_is_not_many():
    subject = msgspec.structs.replace(TASK.subject, friction=Band(2.5))
    message = several.digest(
        TASK,
        APP,
        total=1,
        reasons={"outside the rule's working hours": 1},
        since=TASK.matched - timedelta(hours=2),
        worst=[subject],
    )
    assert plain(message) == [
        "🔶 1 more: A sample",
        "In the last 2 h 3 min: 1 outside the rule's working hours.",
        "/checkout/pay · myshop.com · friction 2.5+ · 12:02 UTC",
        "11:00 CET to 13:03 CET · Rule sample-rule",
    ]


def test_a_digest_of_thousands_is_no_longer_and_lines_that_are_alike_are_one():
    other = visit(("/cart", "click-error"), "/checkout").subject
    message = several.digest(
        TASK, APP, total=5000, reasons={"over the limit": 5000}, since=TASK.matched,
        worst=[TASK.subject, other, TASK.subject, TASK.subject, other],
    )  # fmt: skip
    assert plain(message)[2:5] == [
        "/checkout/pay · myshop.com · friction 2.5+ · 12:02 UTC · 2 like this",
        "/cart · myshop.com · friction 2.5+ · 12:02 UTC",
        "and 4,997 more",
    ]
    section = blocks(message)[1]["text"]["text"]
    assert section.startswith(f"• <{PLAY}|/checkout/pay> · myshop.com")
    assert section.endswith("\n_and 4,997 more_")


def test_a_notice_has_one_icon_and_lists_its_lines():
    message = notice("Rules not loaded", [f"line {n}" for n in range(25)])
    assert plain(message)[0] == "🔶 Rules not loaded"
    assert plain(message)[-1] == "and 5 more lines"
    assert notification(message) == "🔶 Rules not loaded · line 0"
    assert plain(notice("✅ Over after 5 min: Slack", ()))[0] == ("✅ Over after 5 min: Slack")


def test_the_end_of_an_alert_says_how_long_it_lasted():
    message = compose.resolved(SAMPLES["funnels"], APP, timedelta(hours=5, minutes=12))
    assert plain(message)[0] == "✅ Resolved after 5 h 12 min: A sample · Checkout · myshop.com"


def test_the_end_of_an_alert_of_which_nobody_knows_whether_it_is_back_says_so():
    why = "conversion 10 % can't be compared with before: not known to be back"
    message = compose.resolved(replace(SAMPLES["funnels"], why=(why,)), APP, timedelta(days=7))
    assert plain(message)[0].startswith("🔵 Ended after 7 d, perhaps not back: A sample")


def test_the_end_of_an_alert_whose_figure_is_not_back_says_so():
    task = replace(SAMPLES["funnels"], why=("conversion 10 % is usual now; it was 30 %",))
    message = compose.resolved(task, APP, timedelta(days=7))
    assert plain(message)[0] == (
        "🔵 Ended after 7 d, not back: A sample: conversion 10 % is usual now; it was 30 %"
        " · Checkout · myshop.com"
    )


def test_a_message_lists_the_actions_that_are_not_done_yet():
    task = replace(TASK, missing=("tag", "star"))
    templated = compose.from_template(task, APP, "own text", linked=True)
    for message in (compose.match(task, APP), templated):
        assert "Not done yet: tag, star" in plain(message)[-1]
    assert "Not done yet" not in "\n".join(plain(compose.match(TASK, APP)))


def test_a_very_large_digest_says_how_to_have_fewer():
    def told(total):
        made = several.digest(TASK, APP, total=total, reasons={"over the limit": total},
                               since=TASK.now, worst=[TASK.subject])  # fmt: skip
        return "mouseflow-bot tune sample-rule shows" in "\n".join(plain(made))

    assert (told(499), told(500)) == (False, True)


def test_a_notice_links_to_the_page_that_says_more():
    def links(page):
        return compose.notice("Down", (), page, TASK.now, "UTC").links

    assert links("") == ()
    assert links("https://bot.example/queue")[0][0] == "See the queue"
    assert links("https://bot.example/rules/a/b")[0][0] == "Open rule"


def test_figures_over_a_thousand_are_told_in_words_too():
    why = ("entered 1,204, under 2,000", "conversion 18.2 %, under 25 %")
    told = compose.match(replace(SAMPLES["funnels"], why=why), APP)
    assert told.headline.endswith(": 1,204 visitors, limit 2,000")
    assert told.asked == "entered 1,204, under 2,000"


def test_the_end_of_an_alert_keeps_its_reasons_where_there_are_no_figures():
    task = SAMPLES["websites"]
    subject = msgspec.structs.replace(
        task.subject, status=None, recordings_today=None, budget_used=12.0
    )
    began = compose.match(replace(task, why=("budget_used 91 %, over 80 %",)), APP)
    post = replace(task, subject=subject, why=("budget_used 91 %, over 80 %", "hour 9, over 8"))
    answered = replace(post, post=Posted("p1", "C1", "1.0", kept(began)))
    said = plain(compose.resolved(answered, APP, timedelta(hours=1)))
    assert "Hour 9, over 8." in said


OWN_FORMS = {
    "cli/backup.py": "a file's name",
    "cli/simulate.py": "a file's name",
    "budgets/decide.py": "local days, for people who read a budget's posts",
    "budgets/texts.py": "local days, for people who read a budget's posts",
    "fields/field.py": "values of fields, as rules write them",
    "logs.py": "the reader's own clock",
    "messages/message.py": "times that Slack shows in each reader's zone",
    "messages/ops.py": "times that Slack shows in each reader's zone",
    "messages/text.py": "the one function",
    "messages/weekly.py": "days of a week",
    "web/charts.py": "days of a chart",
    "web/pages.py": "times that the browser shows in its zone",
    "web/routes.py": "times of day to choose from",
}
KEY = "%Y%m%dT%H%M%S"


def test_instants_are_printed_by_one_function():
    by_hand = []
    for path in sorted((ROOT / "bot").rglob("*.py")):
        name = str(path.relative_to(ROOT / "bot"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            spec = ast.unparse(node.format_spec) if _has_format(node) else ""
            if re.search("%[HMbdY]", spec) and KEY not in spec and name not in OWN_FORMS:
                by_hand.append(f"{name}:{node.lineno}")
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("log."):
                by_hand += [f"{name}:{node.lineno}"] * ("isoformat" in ast.unparse(node))
    assert by_hand == []


def _has_format(node):
    return isinstance(node, ast.FormattedValue) and node.format_spec is not None
