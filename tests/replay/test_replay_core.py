"""What the pure parts of looking back promise: days, posts, charts, comparisons, fates in words."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_world import NOW, rules

from bot.actions.notifier import AtMost
from bot.actions.slack import Slack
from bot.domain.limits import Posting, Reason
from bot.domain.subjects import RecordingSubject, Site
from bot.errors import ConfigError
from bot.replay import explain_one, rule_diff, tune
from bot.replay.explain_one import Address, address
from bot.replay.record import Line, Posts
from bot.replay.rule_diff import Change
from bot.replay.select import Span, chosen_rules, days, rule_named, slices, watched_sites, window
from bot.replay.tune import Knob, Rung
from bot.rules.explain import explain
from bot.store.audit import Entry
from bot.store.dead_letters import StepState
from bot.store.matches import KeptMatch
from bot.store.rules import RuleState
from mouseflow.models import Recording, Website

SITE = Site("w1", "myshop.com")
HOUR = timedelta(hours=1)
MOMENT = timedelta.resolution
ZONES = ("UTC", "Europe/Copenhagen", "Pacific/Kiritimati", "Pacific/Midway", "Asia/Kathmandu")
moments = st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@settings(deadline=None)
@given(moments, st.timedeltas(timedelta(minutes=1), timedelta(days=9)), st.sampled_from(ZONES),
       st.sampled_from(ZONES), st.floats(0, 0.999))  # fmt: skip
def test_whatever_zone_the_account_has_each_moment_lies_in_exactly_one_day(
    since, length, configured, real, part
):
    span = Span(since, since + length)
    at = since + length * part
    local = at.astimezone(ZoneInfo(real)).date()
    each = list(days(span, ZoneInfo(configured)))
    assert each.count(local) == 1
    whole = window(span, ZoneInfo(configured))
    assert whole.fromdate <= local < whole.todate
    times = [span.since - MOMENT, span.since, at, span.until - MOMENT, span.until]
    rows = [
        Recording(id=str(n), created=it.astimezone(ZoneInfo(real))) for n, it in enumerate(times)
    ]
    assert [row.id for row in span.held(rows)] == ["1", "2", "3"]


def test_a_day_of_all_websites_comes_before_the_next_day():
    span = Span(NOW - timedelta(days=1), NOW)
    made = slices([SITE, Site("w2", "other")], span, ZoneInfo("UTC"))
    assert [it.name for it in made[:3]] == ["w1/2026-03-10", "w2/2026-03-10", "w1/2026-03-11"]
    assert len({it.name for it in made}) == len(made) == 8


def post(state, minutes, *, now=None, at_most=None, overflow="digest", **posting):
    limit = AtMost(times=at_most, window_ms=3_600_000) if at_most else None
    happened = NOW + timedelta(minutes=minutes)
    action = Slack(channel="#x", at_most=limit, overflow=overflow)
    return state.fate("r/#x", action, Posting(**posting), happened, now or happened)


def test_posts_over_the_limit_share_a_digest_until_its_window_ends():
    state = Posts()
    fates = [post(state, minute, at_most=2) for minute in (0, 1, 2, 3, 59, 61, 62, 63)]
    assert fates == ["alone", "alone", "digest", "folded", "folded", "alone", "alone", "digest"]


def test_a_digest_that_is_open_takes_whatever_is_held_back():
    state = Posts()
    assert [post(state, minute, at_most=1) for minute in (0, 1)] == ["alone", "digest"]
    now = NOW + timedelta(minutes=2)
    assert post(state, -600, now=now, at_most=1, act_up_to=HOUR) == "folded"


def test_posts_that_a_rule_drops_are_dropped():
    state = Posts()
    fates = [post(state, minute, at_most=1, overflow="drop") for minute in (0, 1)]
    assert fates == ["alone", "dropped"]


def test_old_matches_share_one_digest():
    state, now = Posts(), NOW + timedelta(days=1)
    fates = [post(state, minute, now=now, act_up_to=HOUR) for minute in (0, 1, 2)]
    assert fates == ["digest", "folded", "folded"]
    assert post(state, 1440, now=now, act_up_to=HOUR) == "alone"


THREE = rules("""
friction:
  watch: recordings
  when: {friction: {min: 2.5}, saw_page: /checkout*, device: phone, duration: {over: 60s}}
  except: {tags: internal}
  do: {tag: x}
bounce:
  watch: recordings
  when: {pages: {max: 2}, duration: {under: 10s}}
  do: {tag: y}
either:
  watch: recordings
  when: {any: [{friction: {min: 9}}, {country: dk}]}
  do: {tag: z}
surge:
  watch: feedback
  when: {new_responses: {min: 3}}
  do: {slack: {channel: "#x"}}
""").rules


def test_the_threshold_that_is_turned_is_the_one_that_every_match_must_meet():
    assert tune.knob(THREE[0]) == Knob("friction", "min", 2.5)
    assert tune.knob(THREE[0], "duration") == Knob("duration", "min", 60_000)
    assert tune.knob(THREE[1]) == Knob("duration", "max", 10_000)
    with pytest.raises(ConfigError, match="either: it has no threshold of friction, duration"):
        tune.knob(THREE[2])
    with pytest.raises(ConfigError, match="bounce: it has no threshold of friction"):
        tune.knob(THREE[1], "friction")


def test_counting_at_a_threshold_changes_that_threshold_alone():
    span = (NOW.date() - timedelta(days=7), NOW.date())
    turned = tune.knob(THREE[0])
    made = tune.filters(THREE[0], turned, 4, span)
    assert (made.frictionmin, made.device, made.visitmin) == (4, "phone", timedelta(seconds=60))
    assert (made.fromdate, made.todate) == span
    short = tune.filters(THREE[1], tune.knob(THREE[1]), 30_000, span)
    assert (short.visitmax, short.pagesmax) == (timedelta(seconds=30), 2)


def test_the_present_threshold_is_among_the_rungs():
    assert tune.rungs(Knob("friction", "min", 2.7))[4:7] == (2.5, 2.7, 3)
    assert tune.rungs(Knob("pages", "max", 2), (4, 3)) == (2, 3, 4)


def test_what_no_filter_stands_for_is_named():
    assert tune.uncounted(THREE[0]) == ("saw_page /checkout*", "except tags internal")
    assert tune.uncounted(THREE[1]) == ()
    assert tune.uncounted(THREE[2]) == ("(friction at least 9 or country dk)",)


def test_only_days_that_are_over_are_counted():
    zone = ZoneInfo("Pacific/Kiritimati")  # tomorrow there
    first, last = tune.whole_days(NOW - timedelta(days=7), NOW, zone)
    assert (last - first).days == 7
    assert last.isoformat() == "2026-03-13"
    short = tune.whole_days(NOW, NOW, zone)
    assert (short[1] - short[0]).days == 1


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=12))
def test_bars_are_as_long_as_their_figures_are_large(figures):
    curve = [Rung(n, figure, present=n == 0) for n, figure in enumerate(figures)]
    lines = tune.chart(Knob("friction", "min", 0), curve)
    bars = [sum(char in "█▏▎▍▌▋▊▉" for char in line) for line in lines]
    assert max(bars) <= tune.WIDTH
    for figure, bar in zip(figures, bars, strict=True):
        assert (bar > 0) == (figure > 0)
        assert bar <= bars[figures.index(max(figures))]
    assert [line.endswith("← now") for line in lines] == [True] + [False] * (len(lines) - 1)


def test_a_chart_shows_units_and_the_present_threshold():
    curve = [Rung(30_000, 2.0, False), Rung(60_000, 8.0, True)]
    lines = tune.chart(Knob("duration", "max", 60_000), curve)
    assert lines[0].startswith("≤ 30 s  2.0 a day  ██████████")
    assert lines[1].startswith("≤ 60 s  8.0 a day  ")
    assert lines[1].endswith("█  ← now")


def test_rules_are_told_apart_from_the_running_ones_by_their_fingerprints():
    new = rules("""
a: {watch: recordings, when: {pages: {min: 1}}, do: {tag: x}}
b: {watch: recordings, when: {pages: {min: 1}}, do: {tag: x}, was: old-b}
c: {watch: recordings, when: {pages: {min: 1}}, do: {tag: x}}
d: {watch: recordings, when: {pages: {min: 1}}, do: {tag: x}}
""").rules
    digests = dict.fromkeys("abcd", "1")
    running = {"a": "1", "old-b": "1", "c": "2", "gone": "1"}
    known = rule_diff.states(new, digests, running)
    assert known == {"a": "same", "b": "same", "c": "changed", "d": "new"}
    before = {("a", "1"), ("a", "2"), ("old-b", "1"), ("gone", "9")}
    after = {("a", "2"), ("a", "3"), ("b", "1"), ("d", "1")}
    assert rule_diff.compare(new, known, before, after) == [
        Change("a", "same", 2, 2, ("3",), ("1",)),
        Change("b", "same", 1, 1, (), ()),
        Change("c", "changed", 0, 0, (), ()),
        Change("d", "new", 0, 1, ("1",), ()),
        Change("gone", "gone", 1, 0, (), ("9",)),
    ]


def test_matches_from_before_the_bot_watched_are_left_out_of_the_comparison():
    before = NOW - HOUR
    assert not rule_diff.watched("a", "1", before, NOW, set())
    assert rule_diff.watched("a", "1", NOW, NOW, set())
    assert rule_diff.watched("a", "1", before, None, set())
    # What it caught up on before its polls began is no loss.
    assert rule_diff.watched("a", "1", before, NOW, {("a", "1")})


def test_a_plan_promises_no_more_calls_than_the_rate_allows():
    one = rules("a: {watch: recordings, when: {friction: {min: 1}}, do: {tag: x}}").rules
    sites = [Site(id=f"w{n}", name=f"shop-{n}.com") for n in range(100)]
    span = Span(NOW - 24 * HOUR, NOW)

    def told(rate):
        cost = rule_diff.calls(one, sites, timedelta(minutes=1), rate, 0, 0, span)
        return rule_diff.costs(rule_diff.Work(), Line(), cost, span)[-1]

    assert "at most 172,800 for polling (bounded by 2 calls a second), about" in told(2)
    assert "bounded" not in told(100)


def test_a_recording_is_known_by_its_id_or_any_link_to_it():
    assert address(" 4a1b ") == Address("4a1b")
    assert address("https://app.mouseflow.com/websites/w1/recordings/4a/play?x=1#t=3") == Address(
        "4a", "w1"
    )
    assert address("/recordings/4a") == Address("4a")


def test_a_slip_in_a_name_is_answered_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"frction: no such rule .*; did you mean friction\?"):
        rule_named(THREE, "frction")
    with pytest.raises(ConfigError, match="surge: it watches feedback; only rules about record"):
        chosen_rules(THREE, ["surge"])
    assert [rule.id for rule in chosen_rules(THREE, [])] == ["friction", "bounce", "either"]
    with pytest.raises(ConfigError, match=r"myshp.com: .* did you mean myshop.com\?"):
        watched_sites([Website(id="w1", name="myshop.com")], THREE, ["myshp.com"])


def test_demo_websites_are_left_out_unless_they_are_named():
    rows = [Website(id="w1", name="myshop.com"), Website(id="d", name="demo", is_demo=True)]
    assert [it.id for it in watched_sites(rows, THREE)] == ["w1"]
    assert [it.id for it in watched_sites(rows, THREE, ["DEMO"])] == ["d"]


def session(**known):
    return RecordingSubject(
        website=SITE,
        recording=Recording(
            id="r", **({"created": NOW - HOUR, "last_activity": NOW - HOUR} | known)
        ),
    )


def told(rule, subject, known=None, *, held=False):
    return explain_one.future(
        rule, subject, explain(rule, subject),
        known or explain_one.Remembered(watching=NOW - 9 * HOUR),
        held=held, settle=timedelta(minutes=35), now=NOW,
    )  # fmt: skip


BOUNCE = THREE[1]


def test_what_would_happen_now_is_told_for_every_case():
    short = {"pages": 1, "duration": 4000}
    assert told(BOUNCE, session(**short)) == ["it would match at the next poll: tag"]
    assert told(BOUNCE, session(pages=9)) == ["no action: the rule does not match"]
    live = session(**short, last_activity=NOW - timedelta(minutes=5))
    assert told(BOUNCE, live) == [
        "it would match, but waits until the session is settled at 2026-03-12 16:00:00Z"
    ]
    assert "is evaluated again when it grows" in told(
        BOUNCE, session(pages=9, last_activity=NOW)
    )[0]  # fmt: skip
    assert "not polled this website" in told(BOUNCE, session(**short), explain_one.Remembered())[0]
    early = explain_one.Remembered(watching=NOW - timedelta(minutes=1))
    assert "ended before the bot began to watch" in told(BOUNCE, session(**short), early)[0]
    assert "is suspended" in told(THREE[0], session(), held=True)[0]


def test_what_may_still_hold_the_actions_back_is_told():
    (rule,) = rules("""
strict:
  watch: recordings
  when: {pages: {min: 1}}
  once_per: {visitor: 1d}
  count: {at_least: 3, within: 1h, by: website}
  active: mon-fri 08:00-17:00
  do: {slack: {channel: "#x"}}
""").rules
    state = RuleState(rule="strict", paused_at=NOW, paused_why="too many", snoozed_until=NOW + HOUR)
    lines = told(
        rule, session(pages=3), explain_one.Remembered(watching=NOW - 9 * HOUR, state=state)
    )
    assert lines == [
        "it would match at the next poll: slack",
        "but the rule is paused since 2026-03-12 15:30:00Z: too many",
        "posts are snoozed until 2026-03-12 16:30:00Z",
        "posts wait for the rule's active hours",
        "unless another one matched for the same visitor before",
        "the actions wait until 3 have been counted by website",
    ]


def step(name, state, **more):
    usual = {
        "id": 1, "rule": "r", "website": "w1", "subject_key": "r", "lane": "l",
        "action": name.partition("-")[0], "due": NOW, "attempts": 0, "ended": None,
        "fault": "", "remedy": "", "unknown": False,
    }  # fmt: skip
    return StepState(key=f"bounce/w1/r/{name}", state=state, **(usual | more))


def note(kind, text, name=""):
    key = f"bounce/w1/r/{name}" if name else ""
    return Entry(id=1, at=NOW, kind=kind, text=text, step=key)


def test_the_fate_of_every_step_is_told_with_its_reason():
    steps = [
        step("tag-1", "done", ended=NOW),
        step("star-1", "pending", due=NOW + HOUR, attempts=2, fault="Mouseflow is away"),
        step("watched-1", "pending"),
        step("share-1", "sending"),
        step("slack-1", "dead", ended=NOW, fault="no such channel", remedy="invite the bot"),
        step("slack-2", "folded", ended=NOW, fault=str(Reason.OVER_LIMIT)),
        step("slack-3", "withheld", ended=NOW, fault=str(Reason.SNOOZED)),
    ]
    match = KeptMatch(
        id=1, key="bounce/w1/r", rule="bounce", kind="recordings", website="w1", subject_key="r",
        matched=NOW,
    )  # fmt: skip
    notes = [
        note("step.done", "tagged", "tag-1"),
        note("match", "pages 1"),
        note("suppressed", str(Reason.ONCE_PER)),
    ]
    known = explain_one.Remembered(match, steps, notes)
    assert explain_one.lines(known, explain_one.past(known, NOW)) == [
        "matched 2026-03-12 15:30:00Z: pages 1",
        "  tag-1: done 2026-03-12 15:30:00Z (tagged)",
        "  star-1: waiting until 2026-03-12 16:30:00Z (after 2 attempts: Mouseflow is away)",
        "  watched-1: waiting in the queue",
        "  share-1: under way",
        "  slack-1: given up 2026-03-12 15:30:00Z (no such channel; invite the bot)",
        "  slack-2: in a digest 2026-03-12 15:30:00Z (over the limit)",
        "  slack-3: withheld 2026-03-12 15:30:00Z (snoozed)",
        "  actions: held back (once_per: matched before for this value)",
    ]
    assert explain_one.lines(explain_one.Remembered(), []) == []


def test_whatever_does_not_post_is_a_write_and_posts_without_a_limit_are_counted_apart():
    line = Line(steps={"tag": 1, "delete": 2, "slack": 4, "webhook": 8})
    assert (line.writes, line.unlimited) == (3, {"webhook": 8})


CURVE = [Rung(1, 9.0, present=False), Rung(2.5, 4.0, present=True), Rung(5, 2.0, present=False),
         Rung(10, 1.0, present=False), Rung(20, 0.0, present=False)]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "suggested"),
    [
        ([], None),
        ([2.5, 2.5, 2.5, 5], 5),  # three of four are enough
        ([2.5, 5, 5, 5], 10),
        ([10, 10], None),  # nothing would be left
    ],
)
def test_a_threshold_is_suggested_that_avoids_most_of_what_was_not_useful(values, suggested):
    turned = Knob("friction", "min", 2.5)
    found = tune.suggestion(turned, CURVE, values)
    assert (found and found.threshold) == suggested


def test_the_suggestion_says_what_it_costs():
    assert tune.said(Knob("friction", "min", 2.5), CURVE, [2.5, 2.5]) == [
        "min: 5 would have avoided 2 of the 2 that people called not useful; it has 2.0 instead "
        "of 4.0 matches a day"
    ]
    assert tune.said(Knob("friction", "min", 2.5), CURVE, [10]) == [
        "no threshold of friction here would have avoided most of the 1 that people called not "
        "useful"
    ]
