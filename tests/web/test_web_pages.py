"""What the pages and their JSON twins say, and what they never say."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from functools import partial
from shutil import move
from threading import Event
from zoneinfo import ZoneInfo

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import insert, update
from web_world import NOW, RULES, TOKEN, WebWorld, logged_in

from bot.budgets.state import SiteMark, set_site_mark
from bot.domain.causes import Cause
from bot.domain.press import Press
from bot.domain.step import Rank, StepStatus
from bot.domain.subjects import RecordingSubject, Site, written
from bot.messages.text import told_apart
from bot.ports import Posted
from bot.store.audit import Note, record
from bot.store.lanes import LaneFault, pause_lane
from bot.store.matches import NewMatch, NewStep, add_match
from bot.store.outbox import claim, complete, give_up
from bot.store.presses import apply, receive
from bot.store.recordings import SeenRecording, save_recordings, set_watermark, set_websites
from bot.store.rules import RejectedRules, pause_rule, reject_rules, rule_states, snooze
from bot.store.schema import levels, ms
from bot.store.schema import steps as stored_steps
from bot.store.troubles import Trouble, keep_trouble
from bot.web.charts import per_day
from bot.web.facts import Reader
from bot.web.pages import Clock, Pages
from bot.web.routes import PAGES, snoozes
from mouseflow.models import Recording

ERROR = {
    "heading": "Not found", "text": "", "code": "http.404", "status": 404, "path": "/x",
    "at": Clock(ZoneInfo("UTC"), NOW), "topic": "", "asked": {}, "several": False, "account": "",
    "here": "", "frame": None, "logged_in": False, "can_log_in": False,
}  # fmt: skip
SITE = "8fc2ace2-75bc-8ba4-b424-c8916670b990"
RECORDING = "ace4e348eb3e4cf0aa4ffcd95a8b9c01"
SECRETS = ("key-of-the-account", "xoxb-secret", TOKEN, "ops@larkfield.example")
PERSONAL = ("203.0.113.7", "Ada Lovelace", "visitor-17", "Example Telecom", "?email=ada", "Mozilla")


def subject(key=RECORDING):
    row = Recording(
        id=key,
        ip="203.0.113.7",
        visitor_name="Ada Lovelace",
        visitor_id="visitor-17",
        isp="Example Telecom",
        user_agent="Mozilla/5.0",
        entry_page="/checkout?email=ada@example.com",
    )
    return RecordingSubject(website=Site(SITE, "larkfield.example"), recording=row)


def match(rule="checkout-friction", key=RECORDING, at=NOW, steps=("tag", "slack"), why=()):
    about = written(subject(key))
    ranks = {"tag": Rank.WRITE, "slack": Rank.POST, "edit": Rank.POST}
    return NewMatch(
        rule=rule,
        kind="recordings",
        website=SITE,
        subject_key=key,
        match_key=f"{rule}/{SITE}/{key}",
        subject=about,
        matched=at,
        happened=at - timedelta(seconds=40),
        why=why or ("rage clicks on /checkout/payment", "friction at least 5"),
        steps=[
            NewStep(
                key=f"{rule}/{SITE}/{key}/{kind}-1",
                rank=ranks[kind],
                lane=f"mouseflow:{SITE}" if kind == "tag" else "slack:#checkout-alerts",
                kind=kind,
                params="{}",
                due=at,
            )
            for kind in steps
        ],
    )


@pytest.fixture
def world(tmp_path):
    world = WebWorld(tmp_path)
    world.sites = {SITE: False}
    do = world.store.do
    do(lambda conn: set_websites(conn, {SITE: "larkfield.example"}, {}, NOW))
    do(lambda conn: set_watermark(conn, "recordings", SITE, "{}", NOW - timedelta(seconds=8)))
    seen = SeenRecording(
        id=RECORDING, fingerprint="f", settled=False, created=NOW, last_activity=NOW
    )
    do(lambda conn: save_recordings(conn, SITE, [seen], NOW))
    yield world
    world.store.close()


def perform(world, lane, end, at=NOW):
    """Claim the lane's next step, and end it as told."""

    def work(conn):
        claimed = claim(conn, lane, at, "token")
        assert claimed is not None
        assert end(conn, claimed, at)

    world.store.do(work)


def matched(world, **about):
    world.store.do(lambda conn: add_match(conn, match(**about)))


def posted(world):
    matched(world)
    perform(world, f"mouseflow:{SITE}", partial(complete, note="tagged friction"))
    perform(world, "slack:#checkout-alerts", partial(complete, note="posted to #checkout-alerts"))


async def html(asking, path):
    answer = await asking.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


async def view(asking, path):
    answer = await asking.get(f"/api/v1/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def text_of(page):
    """What a person reads."""
    body = re.sub(r"<(style|script).*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body.replace("<wbr>", "")).split())


async def test_a_bot_without_any_match_says_what_it_waits_for(world):
    async with world.ask() as asking:
        page = text_of(await html(asking, "/"))
        assert "Waiting for the first match" in page
        assert "It has seen 7 new recordings; none matched yet" in page
        assert "What happens next 1 session waits until it is over" in page
        assert "the first at 15:07" in page
        assert "1 rule can match at any moment outlet-404 now" in page
        assert "Last 24 hours" not in page  # nothing but zeros
        assert "mouseflow-bot replay --since 24h" in page


async def test_all_is_well_with_its_proof(world):
    posted(world)
    async with world.ask() as asking:
        page = text_of(await html(asking, "/"))
        assert "All is well" in page
        assert "Last poll 8 s ago , 1 of 1 website is polled for 3 rules" in page
        assert "What happens next" not in page
        assert "Rage clicks" not in page
        assert "rage clicks on /checkout/payment; friction at least 5 Posted after 40 s" in page
        found = await view(asking, "overview")
        assert found["day"]["matches"] == 1
        assert found["day"]["lag_median"] == 40
        (shown,) = found["matches"]
        assert shown["recording_id"] == RECORDING
        assert found["websites"][0]["name"] == "larkfield.example"
        assert found["websites"][0]["today"] == 1


async def test_a_problem_leads_with_its_cause_remedy_and_rule(world):
    matched(world, steps=("slack",))
    lane = "slack:#checkout-alerts"

    def fails(conn):
        fault = LaneFault(Cause.CHANNEL_ARCHIVED, "unarchive it", NOW)
        pause_lane(conn, lane, NOW + timedelta(minutes=9), "is_archived", fault)
        about = {"place": "#checkout-alerts", "reason": "is_archived", "remedy": "unarchive it"}
        kept = Trouble(key=f"channel archived {lane}", cause=Cause.CHANNEL_ARCHIVED, since=NOW,
                       told=True, waiting=12, **about)  # fmt: skip
        keep_trouble(conn, kept)

    world.store.do(fails)
    async with world.ask() as asking:
        page = text_of(await html(asking, "/"))
        assert "One thing needs you" in page
        assert "Slack channel #checkout-alerts is archived: 1 action waits" in page
        assert "Unarchive it. What waits goes out by itself." in page
        assert re.search(r"· rule checkout-friction \(\S+/rules.yaml:4\) ·", page)
        assert "is_archived" not in page  # the title says it in words
        queue = text_of(await html(asking, "/queue"))
        assert "1 action waits, 1 of them for Slack #checkout-alerts" in queue
        assert "in 9 min" in queue
        assert "Try now" not in queue  # not logged in
        rows = {row["id"]: row for row in (await view(asking, "rules"))["rules"]}
        assert rows["checkout-friction"]["state_text"] == "Can’t deliver"
        assert next(iter(rows)) == "checkout-friction"
        await logged_in(asking)
        queue = await html(asking, "/queue")
        assert "Try now" in queue
        form = re.search(r'name="csrf" value="([0-9a-f]+)"', queue)
        done = await asking.post(
            "/queue/retry",
            data={"csrf": form[1], "lane": "x"},
            headers={"sec-fetch-site": "same-origin"},
        )
        assert done.status_code == 303
        assert world.woken == 1
        (lane_now,) = (await view(asking, "queue"))["lanes"]
        assert lane_now["next_attempt_at"] == NOW.strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_dead_letters_are_retried_or_dropped_by_cause(world):
    for key, params in (("a" * 32, "{}"), ("b" * 32, '{"tag": "trade"}')):
        matched(world, key=key, steps=("tag",))
        world.write(lambda conn, new=params: conn.execute(
            update(stored_steps).where(stored_steps.c.state == "pending").values(params=new)
        ))  # fmt: skip
        lane = f"mouseflow:{SITE}"
        perform(world, lane, partial(give_up, reason="403 refused", remedy="give it write access"))
    async with world.ask() as asking:
        await logged_in(asking)
        found = await view(asking, "queue")
        (group,) = found["groups"]
        assert (group["count"], group["cause"]) == (2, "403 refused")
        assert [item["text"] for item in group["items"]] == ["trade", ""]  # one can't be read
        page = await html(asking, "/queue")
        assert "Retry 2 actions" in page
        csrf = re.search(r'name="csrf" value="([0-9a-f]+)"', page)[1]
        own = {"sec-fetch-site": "same-origin"}
        form = {"csrf": csrf, "group": group["group"]}
        assert (await asking.post("/queue/retry", data=form)).status_code == 403
        assert (await asking.post("/queue/retry", data=form, headers=own)).status_code == 303
        found = await view(asking, "queue")
        assert (found["dead"], found["waiting"]) == (0, 2)
        for _ in range(2):
            perform(world, lane, partial(give_up, reason="403 refused", remedy=""))
        form["group"] = (await view(asking, "queue"))["groups"][0]["group"]
        assert (await asking.post("/queue/cancel", data=form, headers=own)).status_code == 303
        assert (await view(asking, "queue"))["dead"] == 0
        texts = [entry["reason"] for entry in (await view(asking, "activity"))["entries"]]
        assert texts.count("Dropped by hand") == 2


async def test_a_rule_is_snoozed_and_resumed(world):
    posted(world)
    async with world.ask() as asking:
        address = "/rules/checkout-friction"
        assert "Snooze rule" not in await html(asking, address)
        await logged_in(asking)
        page = await html(asking, address)
        assert "tomorrow 09:00" in page
        csrf = re.search(r'name="csrf" value="([0-9a-f]+)"', page)[1]
        own = {"sec-fetch-site": "same-origin"}
        wrong = {"csrf": csrf, "until": "never"}
        done = await asking.post(f"{address}/snooze", data=wrong, headers=own)
        assert done.status_code == 422
        form = {"csrf": csrf, "until": "tomorrow", "by": "Kim <b>", "because": "release\n" * 99}
        done = await asking.post(f"{address}/snooze", data=form, headers=own)
        assert (done.status_code, done.headers["location"]) == (303, address)
        state = world.store.do(rule_states)["checkout-friction"]
        assert state.snoozed_until.isoformat() == "2026-11-27T08:00:00+00:00"
        seen = text_of(await html(asking, address))
        assert seen.count("Snoozed") == 1
        assert seen.count("by Kim &lt;b&gt;: release release") == 1
        row = (await view(asking, "rules/checkout-friction"))["row"]
        assert row["snooze"] == {
            "until": "2026-11-27T08:00:00Z", "by": "Kim <b>", "because": state.snoozed_because,
        }  # fmt: skip
        assert len(state.snoozed_because) <= 200
        [entry] = (await view(asking, "activity?kind=people"))["entries"]
        assert "until 2026-11-27 08:00:00Z by Kim <b>: release" in entry["reason"]
        told = text_of(await html(asking, "/activity"))
        assert "until Fri 27 Nov, 09:00 by Kim &lt;b&gt;: release" in told
        world.store.do(lambda conn: pause_rule(conn, "checkout-friction", "too many", NOW))
        await asking.post(f"{address}/resume", data={"csrf": csrf}, headers=own)
        state = world.store.do(rule_states)["checkout-friction"]
        assert state.paused_at is None
        assert state.snoozed_until <= NOW
        assert (await view(asking, "rules/checkout-friction"))["row"]["snooze"] is None
        assert (
            await asking.post("/rules/nothing/snooze", data=form, headers=own)
        ).status_code == 404


async def test_states_of_rules_and_their_filter(world):
    world.store.do(lambda conn: pause_rule(conn, "outlet-404", "200 in 1 h", NOW))
    world.store.do(lambda conn: snooze(conn, "checkout-funnel", NOW + timedelta(hours=1), NOW))
    world.store.do(lambda conn: reject_rules(conn, RejectedRules(NOW, ("rules.yaml:3:1: bad",))))
    async with world.ask() as asking:
        found = await view(asking, "rules")
        states = {row["id"]: row["state_text"] for row in found["rules"]}
        assert states == {
            "outlet-404": "Paused",
            "checkout-funnel": "Snoozed",
            "checkout-friction": "No match yet",
        }
        assert {row["severity"] for row in found["rules"]} == {"warning", "critical"}
        assert "https://wiki.example/missing-pages" in await html(asking, "/rules/outlet-404")
        assert found["file_errors"] == ["rules.yaml:3:1: bad"]
        only = await view(asking, "rules?state=paused")
        assert [row["id"] for row in only["rules"]] == ["outlet-404"]
        assert only["total"] == 3
        page = text_of(await html(asking, "/rules?state=paused"))
        assert "3 rules" in page
        assert "1 paused, 1 snoozed" in page
        assert "rules.yaml:3:1: bad" in page
        overview = text_of(await html(asking, "/"))
        assert "Two things need you" in overview
        assert "Rule outlet-404 is paused by its safety limit" in overview


async def test_a_rule_shows_its_condition_costs_and_actions(world):
    posted(world)
    async with world.ask() as asking:
        page = text_of(await html(asking, "/rules/checkout-friction"))
        assert "All of these friction at least 2.5 one request for all rules" in page
        assert "None of these" in page
        assert "at most 10 in 1 h, the rest in a digest" in page
        assert "friction, checkout" in page
        assert "1 match in the last 24 h" in page
        found = await view(asking, "rules/checkout-friction")
        assert len(found["per_day"]) == 30
        assert list(found["per_day"].values())[-1] == 1
        assert (await asking.get("/rules/nothing")).status_code == 404


def pressed(world, button, key="post-1", at=NOW):
    press = Press(
        id=f"{button}/{key}", button=button, post=key, user="U1", name="Kim", channel="C1", at=at
    )

    def work(conn):
        assert receive(conn, press)
        apply(conn, press, at, "Europe/Copenhagen")

    world.store.do(work)


async def test_a_rule_shows_how_useful_its_messages_are(world):
    async with world.ask() as asking:
        for n in (1, 2, 3):
            matched(world, key=f"r{n}", steps=("slack",))
            out = (Posted(f"post-{n}", "C1", f"{n}.0", ""),)
            perform(world, "slack:#checkout-alerts", partial(complete, note="posted", posts=out))
        assert "Useful messages" not in await html(asking, "/rules/checkout-friction")
        pressed(world, "not_useful")
        assert "66 %, 2 of 3" in await html(asking, "/rules/checkout-friction")
        found = (await asking.get("/api/v1/rules/checkout-friction")).json()
        assert found["row"]["useful"] == {"useful": 2, "of": 3}
        metrics = (await asking.get("/metrics")).text
        assert 'mouseflow_bot_rule_useful_ratio{rule="checkout-friction"} 0.66' in metrics
        assert 'rule_useful_ratio{rule="checkout-funnel"}' not in metrics


async def test_an_alert_says_who_has_acknowledged_it(world):
    alert = replace(
        match("checkout-funnel", key="f1", steps=("slack",)),
        kind="funnels", why=("conversion 18.2 %, under 25 %",),
    )  # fmt: skip

    def fire(conn):
        add_match(conn, alert)
        state = {"rule": alert.rule, "website": SITE, "subject": "f1", "fired": ms(NOW)}
        conn.execute(insert(levels).values(**state, at=ms(NOW)))

    world.store.do(fire)
    out = (Posted("post-1", "C1", "1.0", ""),)
    perform(world, "slack:#checkout-alerts", partial(complete, note="posted", posts=out))
    async with world.ask() as asking:
        shown = await html(asking, "/")
        assert "Acknowledged" not in shown
        assert "18.2 % convert, limit 25 %" in shown
        pressed(world, "ack")
        shown = await html(asking, "/")
        assert "Acknowledged by Kim" in shown
        assert "14:32</time>: no more reminders" in shown
        found = (await asking.get("/api/v1/overview")).json()["firing"]
        assert [each["acknowledged_by"] for each in found] == ["Kim"]
        pressed(world, "unack", at=NOW + timedelta(minutes=1))
        assert "Acknowledged" not in await html(asking, "/")


async def test_a_reason_that_begins_with_a_name_keeps_its_letters(world):
    texts = ("outlet.example: recording_rate set to 25", "ux-lead paused it", "posts wait")
    world.write(record, NOW, [Note(kind="website.note", text=text) for text in texts])
    async with world.ask() as asking:
        found = [entry["reason"] for entry in (await view(asking, "activity"))["entries"]]
    assert found == ["Posts wait", texts[1], texts[0]]


async def test_the_entry_of_a_match_says_what_became_of_it(world):
    posted(world)
    async with world.ask() as asking:
        (entry,) = (await view(asking, "activity"))["entries"]
        assert entry["kind"] == "match"
        assert entry["reason"].endswith("Tagged friction, posted to #checkout-alerts")
        assert len((await view(asking, "activity?kind=done"))["entries"]) == 2
        assert (await view(asking, "activity?kind=failed"))["entries"] == []


async def test_each_match_of_an_alert_says_what_became_of_itself(world):
    for hour, note in enumerate(("posted to #a", "posted to #b")):
        at, key = NOW + timedelta(hours=hour), f"checkout-funnel/{SITE}/checkout/{hour}"
        about = {"rule": "checkout-funnel", "website": SITE, "subject": "checkout"}
        steps = [f"{key}/slack-1", f"{key}/enabled-2", f"{key}/of_another_version-1"]
        secret = 'switched off; before: {"mails": ["ada@example.com"]}'
        notes = [
            Note(kind="match", text="conversion 18 %", details={"steps": steps}, **about),
            Note(kind="step.done", step=steps[0], text=note, **about),
            Note(kind="step.done", step=steps[1], text=secret, **about),
            Note(kind="step.done", step=steps[2], text=secret, **about),
        ]
        world.write(record, at, notes)
    world.now = NOW + timedelta(hours=2)
    async with world.ask() as asking:
        entries = (await view(asking, "activity"))["entries"]
        done = (await asking.get("/api/v1/activity?kind=done")).text
    assert [entry["reason"] for entry in entries] == [
        "Conversion 18 %. Posted to #b, enabled done, of_another_version done",
        "Conversion 18 %. Posted to #a, enabled done, of_another_version done",
    ]
    assert "ada@" not in done


async def test_older_entries_stay_where_they_are_while_new_ones_come(world):
    def notes(first, last):
        some = [Note(kind="notice", text=f"number {n}") for n in range(first, last)]
        world.store.do(lambda conn: record(conn, NOW, some))

    notes(0, 120)
    async with world.ask() as asking:
        seen, path = [], "activity"
        while True:
            found = await view(asking, path)
            seen += [entry["text"] for entry in found["entries"]]
            notes(1000 + len(seen), 1003 + len(seen))
            if found["older"] is None:
                break
            path = f"activity?before={found['older']}"
        assert seen == [f"Notice: number {n}" for n in reversed(range(120))]


@pytest.mark.parametrize(
    "query",
    ["before=0", "before=x", "limit=-1", "limit=1.5", "kind=nothing", "from=yesterday",
     f"before={'9' * 40}"],
)  # fmt: skip
async def test_a_parameter_that_cant_be_understood_is_named(world, query):
    async with world.ask() as asking:
        answer = await asking.get(f"/api/v1/activity?{query}")
        assert answer.status_code == 422
        assert query.partition("=")[0] in answer.json()["message"].lower()
        assert (await asking.get(f"/activity?{query}")).status_code == 422


async def test_the_latest_matches_lead_with_what_the_rule_tells_and_what_became_of_it(world):
    posted(world)
    async with world.ask() as asking:
        page = await html(asking, "/")
        latest = text_of(page.partition('id="matches"')[2].partition('id="budgets"')[0])
        (match,) = (await view(asking, "overview"))["matches"]
    told = latest.partition("All matches ")[2]
    assert told.startswith("Frustrated visitor in the checkout · larkfield.example rage clicks on")
    assert "Posted after" in told
    assert 'aria-label="Warning"' in page
    assert (match["summary"], match["severity"]) == (
        "Frustrated visitor in the checkout",
        "warning",
    )


async def test_what_fails_is_told_without_ids_and_raw_answers(world):
    reason = (
        f"GET /websites/{SITE}/recordings: 503 offline for maintenance "
        '({"error":"Service Unavailable","message":"We\'re away (a while)."})'
    )
    failing = {
        "failing": [
            {"what": "recordings of larkfield.example", "kind": "Maintenance", "trouble": "away",
             "reason": reason, "since": NOW.isoformat(), "times": 3}
        ],
        "things": 1,
    }  # fmt: skip
    kept = json.dumps(failing)
    world.store.do(lambda conn: set_watermark(conn, "outages", "", kept, NOW))
    reject = RejectedRules(at=NOW, faults=("rules.yaml:1:1: broken",))
    world.store.do(lambda conn: reject_rules(conn, reject))
    async with world.ask() as asking:
        page = await html(asking, "/")
        (site,) = (await view(asking, "overview"))["websites"]
    assert site["error"] == "503 offline for maintenance"
    assert "0 of 1 website is polled" in text_of(page)
    assert "Service Unavailable" not in page
    assert f"{SITE}/recordings" not in page
    assert "<code>mouseflow-bot check</code> lists every error." in page


async def test_without_a_budget_the_page_shows_how_to_write_one(world):
    async with world.ask() as asking:
        page = text_of(await html(asking, "/budgets"))
    assert "No budgets" in page
    assert "budgets: plan-credits:" in page


def test_templates_are_compiled_when_told_or_asked_for():
    pages = Pages()
    assert not pages.env.cache
    pages.compile()
    compiled = len(pages.env.cache)
    assert compiled > len(PAGES)
    assert "Not found" in pages.render("error", ERROR)
    assert len(pages.env.cache) == compiled


async def test_a_recording_says_why_and_what_became_of_it(world):
    posted(world)
    async with world.ask() as asking:
        page = text_of(await html(asking, f"/recordings/{RECORDING}"))
        assert "Rage clicks on /checkout/payment" in page
        assert "Frustrated visitor in the checkout" in page
        assert "The session is final at" in page
        assert "tag: tagged friction" in page
        (rule,) = (await view(asking, f"recordings/{RECORDING}"))["rules"]
        assert rule["why"] == ["rage clicks on /checkout/payment", "friction at least 5"]
        key = f"checkout-friction/{SITE}/{RECORDING}"
        assert "slack: posted to #checkout-alerts" in text_of(await html(asking, f"/matches/{key}"))
        assert (await view(asking, f"matches/{key}"))["match"]["key"] == key
        assert (await asking.get("/recordings/unknown")).status_code == 404


HOSTILE = '"><script>alert(1)</script>\u202e&amp;{{7*7}}\x1b[2J'


async def test_text_from_outside_is_only_text(tmp_path):
    rules = RULES.replace(
        "Visitor meets a missing page", json.dumps(HOSTILE.replace("{", "").replace("}", ""))
    )
    world = WebWorld(tmp_path, rules)
    world.sites = {SITE: False}
    world.store.do(lambda conn: set_websites(conn, {SITE: HOSTILE}, {}, NOW))
    matched(world, rule="outlet-404", why=(HOSTILE,))
    world.store.do(lambda conn: record(conn, NOW, [Note(kind="notice", text=HOSTILE)]))
    key = f"outlet-404/{SITE}/{RECORDING}"
    async with world.ask() as asking:
        for path in ("/", "/rules", "/rules/outlet-404", "/activity", "/queue",
                     f"/recordings/{RECORDING}", f"/matches/{key}"):  # fmt: skip
            page = await html(asking, path)
            assert "<script>alert" not in page, path
            assert "49" not in text_of(page).replace("Nov 2026", "") or "{{7*7}}" in page
            assert "\x1b" not in page
            assert "\u202e" not in page
            assert "style=" not in page
            assert not re.search(r"<[^>]*\son\w+=", page), path
    world.store.close()


async def test_no_page_and_no_json_says_anything_personal_or_secret(world):
    posted(world)
    matched(world, key="c" * 32)
    perform(world, f"mouseflow:{SITE}", partial(give_up, reason=f"failed with {TOKEN}"))
    from bot.logs import scrubber

    scrubber.register(world.settings.secrets())
    key = f"checkout-friction/{SITE}/{RECORDING}"
    paths = ["/", "/rules", "/rules/checkout-friction", "/budgets", "/activity", "/queue",
             f"/recordings/{RECORDING}", f"/matches/{key}", "/metrics", "/login",
             "/activity?kind=done", "/badge/checkout-friction.svg"]  # fmt: skip
    async with world.ask() as asking:
        await logged_in(asking)
        for path in (*paths, *(f"/api/v1{path}" for path in paths[1:8]), "/api/v1/overview"):
            answer = await asking.get(path)
            assert answer.status_code == 200, path
            for word in (*SECRETS, *PERSONAL):
                assert word not in answer.text, (path, word)


async def test_the_json_of_every_page_fits_its_document(world):
    posted(world)
    async with world.ask() as asking:
        document = (await asking.get("/api/v1/openapi.json")).json()
        assert len(document["paths"]) == len(PAGES)
        for path, operations in document["paths"].items():
            asked = path.replace("/{key}", f"/checkout-friction/{SITE}/{RECORDING}")
            known = RECORDING if "recordings" in path else "checkout-friction"
            answer = await asking.get(asked.replace("{id}", known))
            assert answer.status_code == 200, path
            content = operations["get"]["responses"]["200"]["content"]["application/json"]
            schema = {**content["schema"], "components": document["components"]}
            jsonschema.validate(answer.json(), schema)


async def test_a_page_stays_small_with_many_rules(tmp_path):
    block = RULES.partition("  outlet-404:")[2].partition("  checkout-funnel:")[0]
    rules = "version: 1\nrules:\n" + "".join(f"  rule-{n}:{block}" for n in range(60))
    world = WebWorld(tmp_path, rules)
    async with world.ask() as asking:
        page = await html(asking, "/rules")
        static = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
        sizes = [len((await asking.get(path)).content) for path in dict.fromkeys(static)]
        assert len(set(static)) == 3
        assert len(page) + sum(sizes) < 100_000  # 50 of the 60 rules
        assert sum(sizes) < 30_000
    world.store.close()


async def test_a_store_that_cant_be_read_is_said_with_what_to_do(world):
    path = world.settings.store.url.removeprefix("sqlite:///")
    async with world.ask() as asking:
        move(path, path + ".gone")
        answer = await asking.get("/")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "10"
        assert "can’t read its data" in answer.text
        assert (await asking.get("/api/v1/overview")).json()["error"] == "store.unreadable"
        move(path + ".gone", path)
        assert (await asking.get("/")).status_code == 200


def test_every_state_of_a_step_has_words():
    from bot.web.read import world

    assert world._STATES.keys() == set(StepStatus)


async def test_a_slow_store_does_not_read_what_nobody_waits_for_any_more(world):
    reader = Reader(world.settings.store.url)
    begun, go_on, read = Event(), Event(), []

    def slow(_conn):
        begun.set()
        go_on.wait(30)

    first = asyncio.create_task(reader.read(slow))
    await asyncio.to_thread(begun.wait)
    later = [asyncio.create_task(reader.read(read.append)) for _ in range(50)]
    await asyncio.sleep(0)
    for task in later:
        task.cancel()
    await asyncio.wait(later)
    go_on.set()
    await first
    await reader.read(lambda _conn: None)
    reader.close()
    assert read == []


async def test_edits_of_messages_are_no_messages(world):
    world.write(add_match, match(steps=("slack", "edit")))
    world.write(add_match, match(rule="outlet-404", steps=("edit",)))
    for number in range(3):
        world.now = NOW + timedelta(minutes=number)
        claimed = world.write(
            claim, lane="slack:#checkout-alerts", now=world.now, token=str(number)
        )
        world.write(complete, claimed=claimed, now=world.now)
    async with world.ask() as client:
        day = (await client.get("/api/v1/overview")).json()["day"]
    assert day["messages"] == 1
    assert day["lag_p95"] == 40


async def test_presses_are_what_people_did(world):
    note = Note(kind="press", rule="outlet-404", text="kim pressed Not useful: done")
    world.write(record, NOW, [note])
    async with world.ask() as client:
        [entry] = (await client.get("/api/v1/activity?kind=people")).json()["entries"]
    assert (entry["state"], entry["subject"]) == ("person", "outlet-404")
    assert entry["text"] == "pressed a button"


def test_a_snooze_of_an_hour_lasts_an_hour_when_the_clocks_change():
    local = datetime(2026, 3, 29, 0, 30, tzinfo=UTC).astimezone(ZoneInfo("Europe/Copenhagen"))
    _, words, until = snoozes(local)[0]
    assert until.astimezone(UTC) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert words == "in 1 hour (03:30)"


async def test_a_rule_names_the_variables_that_it_sets_without_their_values(tmp_path):
    rules = """
version: 1
rules:
  review:
    watch: recordings
    when: {duration: {over: 60s}}
    do: {variables: {reviewed-by: bot, secret-code: "4711"}}
"""
    world = WebWorld(tmp_path, rules)
    async with world.ask() as asking:
        actions = (await view(asking, "rules/review"))["actions"]
    world.store.close()
    assert actions == [{"action": "variables", "text": "reviewed-by, secret-code"}]


def test_the_name_of_the_last_day_stays_within_its_chart():
    days = {NOW.date() - timedelta(days=29 - ahead): ahead for ahead in range(30)}
    phone = str(per_day(days, "Matches")).rpartition("<svg")[2]
    labels = re.findall(r'<text x="([0-9.]+)" y="175.0" text-anchor="([a-z]+)"', phone)
    assert [anchor for _, anchor in labels] == ["middle", "middle", "end"]
    assert float(labels[-1][0]) <= 340


@pytest.mark.parametrize(("count", "words"), [(1, "1 waits for its"), (12, "12 wait for their")])
async def test_recordings_that_wait_for_their_detail_are_counted(world, count, words):
    data = f'{{"without_detail":{count}}}'
    async with world.ask() as asking:
        assert "wait for their detail" not in text_of(await html(asking, "/"))
        world.write(set_watermark, "recordings", SITE, data, NOW)
        assert f"{words} detail" in text_of(await html(asking, "/"))
        (row,) = (await view(asking, "overview"))["websites"]
        assert row["without_detail"] == count
        metrics = (await asking.get("/metrics")).text
    name = "mouseflow_bot_recordings_without_detail"
    assert f'{name}{{website="larkfield.example"}} {count}.0' in metrics


def two_of_one_name(world):
    world.sites = {"8fc2ace2-75bc": False, "1b2c3d4e-55aa": False, "other": False}
    names = {"8fc2ace2-75bc": "shop.com", "1b2c3d4e-55aa": "shop.com", "other": "other.com"}
    world.write(set_websites, names, {}, NOW)
    statuses = {"8fc2ace2-75bc": "Stopped", "1b2c3d4e-55aa": "Recording", "other": "Recording"}
    for key, status in statuses.items():
        world.write(set_site_mark, key, SiteMark(NOW, status, 100))
    world.write(record, NOW, [
        Note(kind="notice", website=key, text=f"news of {key}") for key in names
    ])  # fmt: skip


async def test_two_websites_of_one_name_are_told_apart(world):
    two_of_one_name(world)
    first, second = "shop.com (8fc2ace2)", "shop.com (1b2c3d4e)"
    async with world.ask() as asking:
        rows = (await view(asking, "overview"))["websites"]
        assert {row["name"] for row in rows} == {first, second, "other.com"}
        page = await html(asking, "/activity")
        assert f"<option>{first}</option>" in page
        found = text_of(await html(asking, f"/activity?website={first}"))
        assert "news of 8fc2ace2-75bc" in found
        assert "news of 1b2c3d4e-55aa" not in found
        for asked in ("8fc2ace2-75bc", "shop.com"):  # links from when there was one
            assert "news of 8fc2ace2-75bc" in await html(asking, f"/activity?website={asked}")
        metrics = (await asking.get("/metrics")).text
    assert 'recording_enabled{website="shop.com (8fc2ace2)"} 0.0' in metrics
    assert 'recording_enabled{website="shop.com (1b2c3d4e)"} 1.0' in metrics
    assert 'recording_enabled{website="other.com"} 1.0' in metrics


NAMES = st.dictionaries(
    st.text("ab", min_size=1, max_size=12), st.sampled_from(["shop.com", "other.com"])
)


@given(NAMES)
def test_names_told_apart_are_never_the_same(names):
    shown = told_apart(names)
    assert shown.keys() == names.keys()
    assert len(set(shown.values())) == len(names)
    assert all(shown[key].startswith(name) for key, name in names.items())
