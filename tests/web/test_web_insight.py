"""The page of a recording shows path and condition after the visitor's data is erased."""

import json
import re
from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import select, update
from web_world import NOW, WebWorld

from bot.actions import IRREVERSIBLE
from bot.budgets.state import BudgetMark, SiteLine, StepLine, set_budget_mark
from bot.domain.budget import Ownership
from bot.domain.forecast import range_of_end
from bot.domain.insight import packed, unpacked
from bot.domain.subjects import Band, RecordingSubject, Site
from bot.polling.candidates import Candidate, Evaluation
from bot.polling.record_matches import Found, Routing, matches_in, record_poll
from bot.rules.explain import insight, nearest
from bot.rules.files.load import read
from bot.store.audit import KINDS, Note, record
from bot.store.budgets import own
from bot.store.matches import PollOutcome
from bot.store.outbox import claim, complete
from bot.store.recordings import set_websites
from bot.store.schema import matches, steps
from mouseflow.models import PageView, Recording

SITE = Site("site-1", "larkfield.example")
PERSONAL = ("203.0.113.7", "Ada Lovelace", "visitor-17", "cart-value", "ada@", "?email", "Mozilla")


def visit(pages=("/", "/checkout/payment"), **values):
    views = [
        PageView(
            website_page=page, uri=f"https://larkfield.example{page}?email=ada@example.com",
            visit_time=9_000 * (n + 1), tags=("click-rage", "vip") if "payment" in page else (),
        )
        for n, page in enumerate(pages)
    ]  # fmt: skip
    row = Recording(
        id="r1", created=NOW, last_activity=NOW, duration=192_000, page_views=tuple(views),
        ip="203.0.113.7", visitor_name="Ada Lovelace", visitor_id="visitor-17",
        user_agent="Mozilla/5.0", variables=("cart-value=17",), tags=("click-rage",), **values,
    )  # fmt: skip
    return RecordingSubject(website=SITE, recording=row, friction=Band(5, 10))


def recorded(world, subject):
    world.write(set_websites, {SITE.id: SITE.name}, {}, NOW)
    found = [Found(rule=world.rules.rules[0], subject=subject, happened=NOW, why=("rage clicks",))]
    outcome = PollOutcome(source="recordings", website=SITE.id, at=NOW)
    world.write(record_poll, outcome, found, Routing("#mouseflow", "UTC"))


def all_done(world, *lanes):
    """Perform every step, so that the subject is erased."""
    for lane in (*lanes, "slack:#checkout-alerts"):
        while claimed := world.write(claim, lane, NOW, "token"):
            world.write(complete, claimed, NOW)
    left = world.store.do(lambda conn: conn.execute(select(matches.c.subject)).scalars().all())
    assert left == [None]


async def test_path_and_condition_stay_after_the_data_is_erased(tmp_path):
    world = WebWorld(tmp_path)
    recorded(world, visit())
    all_done(world, f"mouseflow:{SITE.id}")
    async with world.ask() as asking:
        page = (await asking.get("/recordings/r1")).text
        shown = (await asking.get("/api/v1/recordings/r1")).json()
        of_match = (await asking.get("/matches/checkout-friction/site-1/r1")).text
    assert shown["pages"] == 2
    assert shown["path"] == [
        {"path": "/", "time": 9000},
        {"path": "/checkout/payment", "time": 18000, "tags": ["rage clicks"]},
    ]
    (rule,) = shown["rules"]
    asked = {part["text"]: (part["mark"], part["seen"]) for part in rule["when"]["parts"]}
    assert asked["friction at least 2.5"] == ("yes", "at least 5, under 10")
    assert asked["duration over 60 s"] == ("yes", "3 min 12 s")
    assert rule["excepts"]["mark"] == "no"
    for text in (page, of_match):
        assert "None of these" in text
        assert '<rect width="400"' in text
        assert "18 s" in text
        assert not [each for each in PERSONAL if each in text]


async def test_what_is_not_kept_is_said(tmp_path):
    world = WebWorld(tmp_path)
    recorded(world, visit())
    world.write(lambda conn: conn.execute(update(matches).values(insight=b"of another version")))
    async with world.ask() as asking:
        page = (await asking.get("/recordings/r1")).text
    assert "What was seen of each part is not kept for this match." in page
    assert "No page of this visit is kept" in page
    assert "rage clicks" in page


def test_values_of_personal_fields_are_in_no_part_of_the_tree():
    rule = """
version: 1
rules:
  r:
    watch: recordings
    when: {ip: 203.0.113.*, variables: {cart-value: {over: 10}}, entry_url: "*email*", saw_page: /}
    except: {visitor_name: Ada*}
    do: {star: true}
"""
    (read_rule,) = read([("r.yaml", rule.encode())]).rules
    kept = insight(read_rule, visit())
    told = msgspec.json.encode(kept).decode()
    assert "ip as the rule asks" in told
    assert not [each for each in PERSONAL if each in told.replace("variable cart-value", "")]
    assert unpacked(packed(kept)) == kept


def test_a_long_visit_keeps_its_beginning_and_end():
    text = "version: 1\nrules: {r: {watch: recordings, when: {pages: 1}, do: {star: true}}}"
    (rule,) = read([("r.yaml", text.encode())]).rules
    kept = insight(rule, visit([f"/{n}" for n in range(500)]))
    assert (len(kept.path), kept.pages, kept.path[-1].path) == (50, 500, "/499")
    assert len(packed(kept)) < 1_000


def test_a_deleted_recording_keeps_no_path(tmp_path):
    assert frozenset({"delete"}) == IRREVERSIBLE
    world = WebWorld(tmp_path)
    recorded(world, visit())
    world.write(lambda conn: conn.execute(update(steps).values(action="delete", params="{}")))
    claimed = world.write(claim, f"mouseflow:{SITE.id}", NOW, "token")
    world.write(complete, claimed, NOW)
    left = world.store.do(lambda conn: conn.execute(select(matches.c.insight)).scalars().all())
    assert left == [None]


async def test_the_audit_log_is_downloaded_whole_by_the_filters_of_the_page(tmp_path):
    world = WebWorld(tmp_path)
    notes = [Note(kind="notice", text=f"number {n}") for n in range(2_500)]
    world.write(record, NOW, notes)
    recorded(world, visit())
    all_done(world, f"mouseflow:{SITE.id}")
    async with world.ask() as asking:
        page = (await asking.get("/activity?kind=bot")).text
        assert 'href="/activity.jsonl?kind=bot"' in page
        answer = await asking.get("/activity.jsonl?kind=bot")
        every = (await asking.get("/activity.jsonl")).text.splitlines()
        assert (await asking.get("/activity.jsonl?kind=nothing")).status_code == 422
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert answer.headers["content-disposition"].startswith("attachment")
    assert [line["reason"] or line["text"] for line in lines][::2499] == [
        "Notice: number 2499", "Notice: number 0",
    ]  # fmt: skip
    assert len(lines) == 2_500
    assert len(every) > 2_502  # single actions, too


async def test_no_entry_of_the_audit_log_is_told_in_the_names_of_the_store(tmp_path):
    world = WebWorld(tmp_path)
    step = "one/site-1/r1/slack-1"
    notes = [Note(kind=kind, rule="one", website="site-1", step=step) for kind in KINDS]
    world.write(record, NOW, notes)
    async with world.ask() as asking:
        lines = (await asking.get("/activity.jsonl")).text
        page = (await asking.get("/activity")).text
    raw = [kind.replace(".", ": ").replace("_", " ") for kind in KINDS if "." in kind]
    assert [words for words in raw if words in lines or words in page] == []


def test_a_budgets_range_is_wider_where_days_differ_more():
    now, end = NOW, NOW + timedelta(days=20)
    assert range_of_end([100, 100, 100], 1_000, NOW + timedelta(days=10), now, end) == (
        now + timedelta(days=10), now + timedelta(days=10),
    )  # fmt: skip
    early, late = range_of_end([50, 100, 150, 100], 1_000, NOW + timedelta(days=10), now, end)
    assert timedelta(days=6) < early - now < timedelta(days=9)
    assert timedelta(days=12) < late - now < timedelta(days=18)
    early, late = range_of_end([50, 100, 150, 100], 1_900, None, now, end)
    assert (early < end, late) == (True, None)
    assert range_of_end([100, 100], 1_000, None, now, end) == (None, None)
    assert range_of_end([0, 0, 0], 1_000, None, now, end) == (None, None)


BUDGET = """
version: 1
budgets:
  credits:
    websites: ["*"]
    recordings: 50000
    period: month
    steps: {80%: {slack: {}}, 100%: {recording: stop}, 110%: {recording_rate: 10}}
"""


def with_budget(world, **figures):
    """The budget, polled now, 21,000 of 50,000 used."""
    steps = tuple(StepLine(at, "acts", None) for at in (80, 100, 110))
    mark = BudgetMark(
        at=NOW, period="month", first="2026-11-15", end="2026-12-15", recordings=50_000,
        used=21_000, steps=steps, **figures,
    )  # fmt: skip
    world.write(set_budget_mark, "credits", mark)


async def days_of_steps(world):
    async with world.ask() as asking:
        [budget] = (await asking.get("/api/v1/budgets")).json()["budgets"]
        page = (await asking.get("/budgets")).text
    return [step["expected_on"] for step in budget["steps"]], page


async def test_a_budget_says_since_when_a_website_records_less(tmp_path):
    world = WebWorld(tmp_path, BUDGET)
    line = SiteLine(SITE.id, SITE.name, "Recording", 25, "budget:credits", False)
    with_budget(world, websites=(line,))
    since = NOW - timedelta(hours=3)
    world.write(own, Ownership(SITE.id, "recording_rate", line.owner, since, "95 %", "25", 100))
    _, page = await days_of_steps(world)
    assert re.search("larkfield.<wbr>example at 25 % since <time[^>]*>11:32</time>", page)
    async with world.ask() as asking:
        (budget,) = (await asking.get("/api/v1/budgets")).json()["budgets"]
    (site,) = budget["websites"]
    assert (site["since"], site["before"]) == ("2026-11-26T10:32:00Z", 100)
    world.store.close()


async def test_steps_are_expected_when_the_forecast_says(tmp_path):
    world = WebWorld(tmp_path, BUDGET)
    out = datetime(2026, 12, 11, 23, 30, tzinfo=UTC)  # half past midnight in Copenhagen
    with_budget(world, expected=55_500.0, ends=out)
    days, page = await days_of_steps(world)
    assert days == ["2026-12-06", "2026-12-12", "2026-12-14"]
    world.now = NOW + timedelta(days=12)  # nobody has counted for so long
    assert (await days_of_steps(world))[0][0] == "2026-12-08"
    world.now = NOW
    assert "<dd>Sat 12 Dec" in page
    assert ">Sat 12 Dec</text>" in page
    async with world.ask() as asking:
        overview = (await asking.get("/")).text
    assert "runs out on <b>Sat 12 Dec</b>, 2 days early." in overview
    with_budget(world, expected=51_000.0, ends=out)
    assert (await days_of_steps(world))[0] == ["2026-12-06", "2026-12-12", None]


async def test_steps_are_expected_in_a_budget_that_lasts(tmp_path):
    world = WebWorld(tmp_path, BUDGET)
    with_budget(world, expected=45_000.0)
    days, page = await days_of_steps(world)
    assert (days[0], days[1:]) == ("2026-12-11", [None, None])
    assert "<dd>Lasts" in page
    with_budget(world, expected=21_000.0)
    assert (await days_of_steps(world))[0] == [None, None, None]


NEAR = """
version: 1
rules:
  paid:
    watch: recordings
    when: {saw_page: /checkout/payment}
    do: {slack: {channel: "#checkout-alerts"}}
  error:
    summary: Error on the payment page
    watch: recordings
    when: {saw_page: /checkout/payment, duration: {under: 5s}, ip: 203.0.113.*}
    do: {slack: {}}
  excluded:
    watch: recordings
    when: {saw_page: /checkout/payment}
    except: {tags: click-rage}
    do: {slack: {}}
  elsewhere:
    watch: recordings
    when: {saw_page: /nowhere}
    do: {slack: {}}
  left-early:
    watch: recordings
    when: {pages: {under: 9}}
    do: {slack: {}}
"""


async def test_other_rules_say_why_they_did_not_match_the_recording(tmp_path):
    world = WebWorld(tmp_path, NEAR)
    world.write(set_websites, {SITE.id: SITE.name}, {}, NOW)
    subject = visit(country="dk", device="Phone")
    (paid,) = (rule for rule in world.rules.rules if rule.id == "paid")
    judged = Evaluation(Candidate(subject.recording, settled=False), subject, (paid,))
    found = matches_in([judged], NOW, world.rules.rules)
    outcome = PollOutcome(source="recordings", website=SITE.id, at=NOW)
    world.write(record_poll, outcome, found, Routing("#mouseflow", "UTC"))
    all_done(world)
    async with world.ask() as asking:
        page = (await asking.get("/recordings/r1")).text
        shown = (await asking.get("/api/v1/recordings/r1")).json()
    near = {it["rule_id"]: it for it in shown["near"]}
    assert next(iter(near)) == "left-early"  # it may still match
    assert near["left-early"]["waits"]
    assert (near["error"]["holds"], near["error"]["of"], near["error"]["waits"]) == (2, 3, False)
    assert near["excluded"]["excepts"]["mark"] == "yes"
    assert shown["others"] == 1
    assert list(shown["facts"])[:3] == ["friction", "tags", "device"]
    assert shown["facts"]["device"] == "Phone"
    assert shown["facts"]["friction"] == "at least 5, under 10"
    assert "Error on the payment page" in page
    assert "2 of 3 parts" in page
    assert "1 other rule" in page
    assert not [each for each in PERSONAL if each in page + str(shown)]


def test_a_session_that_is_over_has_no_rule_that_may_still_match():
    rules = read([("r.yaml", NEAR.encode())]).rules
    near = nearest(rules, visit(), settled=True)
    assert "elsewhere" not in {it.rule for it in near}
    assert not any(it.waits for it in near)


MANY_NEAR = "version: 1\nrules:\n" + "".join(
    f"  r{n}: {{watch: recordings, when: {{saw_page: /, pages: 9{n}}}, do: {{slack: {{}}}}}}\n"
    for n in range(7)
)


async def test_rules_that_are_not_shown_are_not_said_to_be_far_from_a_match(tmp_path):
    world = WebWorld(tmp_path, f"{MANY_NEAR}{NEAR.partition('rules:')[2].partition('  error')[0]}")
    world.write(set_websites, {SITE.id: SITE.name}, {}, NOW)
    (paid,) = (rule for rule in world.rules.rules if rule.id == "paid")
    judged = Evaluation(Candidate(visit().recording, settled=True), visit(), (paid,))
    found = matches_in([judged], NOW, world.rules.rules)
    outcome = PollOutcome(source="recordings", website=SITE.id, at=NOW)
    world.write(record_poll, outcome, found, Routing("#mouseflow", "UTC"))
    async with world.ask() as asking:
        page = (await asking.get("/recordings/r1")).text
        shown = (await asking.get("/api/v1/recordings/r1")).json()
    assert (len(shown["near"]), shown["others"]) == (5, 2)  # of two a part held, too
    assert "2 other rules not shown: further from a match, not compared" in page
    assert "1 matched, 5 did not" in page


def test_a_rule_that_is_undecided_after_the_session_is_not_one_that_did_not_match():
    text = "version: 1\nrules: {r: {watch: recordings, when: {friction: 2}, do: {star: true}}}"
    unknown = msgspec.structs.replace(visit(), friction=None)
    (near,) = nearest(read([("r.yaml", text.encode())]).rules, unknown, settled=True)
    assert (near.when.mark, near.waits) == ("unknown", True)
