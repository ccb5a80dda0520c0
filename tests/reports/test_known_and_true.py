"""An alert fires and ends by what is known: no data, a pause or a gap is neither yes nor no."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from report_world import World

from bot.reports.history import compared_for
from bot.store.alert_states import note_share
from bot.store.recordings import set_watermark, watermark
from bot.store.retention import forget
from bot.store.rules import resume_rule

FUNNEL = """
dip:
  watch: funnels
  when: {conversion: {under: 20%}}
  resolved: true
  do: {slack: {channel: "#ux"}}
"""
FEEDBACK = """
answers:
  watch: feedback
  when: {new_responses: {min: 5}}
  do: {slack: {channel: "#support"}}
"""
MIXED = """
mixed:
  watch: feedback
  when: {any: [{new_responses: {min: 5}}, {response_rate: {under: 2%}}]}
  do: {slack: {channel: "#support"}}
"""


def campaign(responses, impressions=100_000, **more):
    return {"name": "NPS", "report": {"responses": responses, "impressions": impressions}, **more}


def funnels(world, completed, count=1):
    for number in range(count):
        world.api.funnels[f"f{number}"] = [100, completed]


async def told(world, counts, **wait):
    """How many posts each of these response counts brings."""
    found = []
    for responses in counts:
        world.api.campaigns["c"] = campaign(responses)
        found.append(len(await world.looked(**wait)))
    return found


# What is not known


async def test_no_data_changes_nothing():
    world = World("funnels", FUNNEL)
    funnels(world, 10)
    assert await world.looked() == ["dip: slack"]
    world.api.funnels["f0"] = [0, 0]
    assert await world.looks(8) == []
    funnels(world, 10)
    assert await world.looks(4) == []
    funnels(world, 50)
    assert await world.looks(2) == ["dip: resolved"]


async def test_except_is_not_met_by_what_is_missing():
    world = World("funnels", FUNNEL.replace("resolved: true", "except: {entered: {min: 500}}"))
    world.api.funnels["f0"] = []
    assert await world.looks(3) == []


async def test_one_look_ends_nothing():
    world = World("funnels", FUNNEL)
    funnels(world, 10)
    assert await world.looked() == ["dip: slack"]
    for completed in (50, 10, 50, 10):
        funnels(world, completed)
        assert await world.looked() == []


async def test_one_list_that_lacks_a_subject_ends_nothing():
    world = World("funnels", FUNNEL)
    funnels(world, 10)
    assert await world.looked() == ["dip: slack"]
    for _ in range(4):
        world.api.funnels.clear()
        assert await world.looked() == []
        funnels(world, 10)
        assert await world.looked() == []


# How long it has held


async def test_for_pauses_while_there_is_no_data():
    world = World("funnels", FUNNEL + "  for: 1h\n")
    for completed in (10, 10, None, None, 10, 10, 10):
        world.api.funnels["f0"] = [0, 0] if completed is None else [100, completed]
        assert await world.looked() == []
    assert await world.looked() == ["dip: slack"]


async def test_time_without_looks_is_not_time_that_it_held():
    world = World("funnels", FUNNEL + "  for: 2h\n")
    funnels(world, 10)
    assert await world.looks(2) == []
    assert await world.looked(days=3) == []
    assert await world.looks(7) == []
    assert await world.looked() == ["dip: slack"]


async def test_a_rule_that_was_away_begins_anew():
    world = World("funnels", FUNNEL + "  for: 1d\n")
    funnels(world, 10)
    assert await world.looks(3) == []
    world.edit("")
    await world.look(days=7)
    world.edit(FUNNEL + "  for: 1d\n")
    assert await world.looks(10) == []


# Edits


async def test_what_was_not_watched_has_no_state():
    world = World("funnels", FUNNEL)
    funnels(world, 10)
    assert await world.looked() == ["dip: slack"]
    world.edit("")
    await world.look(days=7)
    world.edit(FUNNEL)
    assert await world.looks(3) == ["dip: slack"]


async def test_a_rule_that_is_away_for_a_minute_keeps_its_state():
    world = World("funnels", FUNNEL)
    funnels(world, 10)
    assert await world.looked() == ["dip: slack"]
    world.edit("")
    await world.look(minutes=1)
    world.edit(FUNNEL)
    assert await world.looks(3) == []


async def test_another_condition_is_another_alert():
    world = World("funnels", FUNNEL)
    funnels(world, 10)
    assert await world.looked() == ["dip: slack"]
    world.edit(FUNNEL.replace("under: 20%", "under: 15%"))
    assert await world.looks(3) == ["dip: slack"]


@pytest.mark.parametrize("edit", [("#ux", "#other"), ("  resolved", "  summary: x\n  resolved")])
async def test_another_channel_or_summary_is_the_same_alert(edit):
    world = World("funnels", FUNNEL)
    funnels(world, 10)
    assert await world.looked() == ["dip: slack"]
    world.edit(FUNNEL.replace(*edit))
    assert await world.looks(3) == []


async def test_an_alert_that_the_new_condition_does_not_know_ends():
    world = World("funnels", FUNNEL)
    funnels(world, 10)
    assert await world.looked() == ["dip: slack"]
    world.edit(FUNNEL.replace("under: 20%", "under: 5%"))
    assert await world.looks(3) == ["dip: resolved"]
    assert "condition was changed" in world.why()[0]


# What was never told


async def test_alerts_held_back_by_a_pause_are_told_after_it():
    world = World("funnels", FUNNEL + "  safety: {at_most: 2 per hour}\n")
    funnels(world, 10, count=4)
    assert await world.looked() == ["dip: slack"] * 2
    assert await world.looks(8) == []
    world.store.do(lambda conn: resume_rule(conn, "dip", world.now, "by hand"))
    assert await world.looks(8) == ["dip: slack"] * 2
    funnels(world, 50, count=4)
    assert await world.looks(8) == ["dip: resolved"] * 4


async def test_the_end_of_what_was_never_told_is_not_told():
    world = World("funnels", FUNNEL + "  safety: {at_most: 2 per hour}\n")
    funnels(world, 10, count=4)
    assert await world.looked() == ["dip: slack"] * 2
    funnels(world, 50, count=4)
    assert await world.looks(8) == ["dip: resolved"] * 2


async def test_the_end_of_a_dead_letter_is_not_told():
    world = World("funnels", FUNNEL)
    funnels(world, 10)
    assert await world.looked() == ["dip: slack"]
    world.store.do(
        lambda conn: conn.exec_driver_sql("UPDATE steps SET state = 'dead' WHERE action = 'slack'")
    )
    funnels(world, 50)
    assert await world.looks(4) == []


async def test_new_responses_of_a_pause_are_told_after_it():
    world = World("feedback", FEEDBACK + "  safety: {at_most: 1 per hour}\n")
    assert await told(world, [10, 20, 30, 40]) == [0, 1, 0, 0]
    world.store.do(lambda conn: resume_rule(conn, "answers", world.now, "by hand"))
    assert await told(world, [40, 40]) == [1, 0]
    assert "20" in world.why()[0]


# The past


def drops(by, against, more=""):
    return f"""
sagging:
  watch: funnels
  when: {{conversion: {{drops_by: {by}, against: {against}}}}}
  resolved: true
{more}  do: {{slack: {{channel: "#ux"}}}}
"""


async def test_the_end_of_a_drop_that_stays_says_that_it_is_usual_now():
    world = World("funnels", drops("50%", "1d"))
    funnels(world, 30)
    assert await world.looks(26, hours=1) == []
    funnels(world, 10)
    found = await world.looks(60, hours=1)
    assert found == ["sagging: slack", "sagging: resolved"]
    assert "10 % is usual now; it was 30 %" in world.why()[0]


async def test_a_drop_does_not_end_because_the_past_was_low_for_some_hours():
    world = World("funnels", drops("50%", "1d"))
    funnels(world, 30)
    assert await world.looks(12, hours=1) == []
    funnels(world, 16)
    assert await world.looks(12, hours=1) == []
    funnels(world, 10)
    assert await world.looks(20, hours=1) == ["sagging: slack"]
    assert await world.looks(12, hours=1) == ["sagging: resolved"]


async def test_a_drop_does_not_end_while_its_beginning_can_not_be_compared():
    text = """
emptier:
  watch: funnels
  over_last: 1d
  when: {entered: {drops_by: 50%, against: 3d}}
  resolved: true
  do: {slack: {channel: "#ux"}}
"""
    world = World("funnels", text)

    def see(status):
        world.store.do(lambda conn: note_share(conn, "w1", status, 100, world.now))

    see("Recording")
    for entered, hours in ((1_000, 40), (400, 16), (1_000, 18)):
        world.api.funnels["f"] = [entered, 10]
        assert await world.looks(hours, hours=1) == []
    see("Recording")
    await world.looks(4, hours=1)
    world.api.funnels["f"] = [400, 10]
    assert await world.looks(2, hours=1) == ["emptier: slack"]
    see("Stopped")  # since an hour that nobody knows: the day before may not be whole
    world.now += timedelta(minutes=1)
    see("Recording")
    assert await world.looks(45, hours=1) == []  # the past was as low for some hours
    # Whether it is back stays unknown: that ends it only when the past is out of reach.
    assert await world.looks(90, hours=1) == []
    assert await world.looks(20, hours=1) == ["emptier: resolved"]
    assert "entered 400 can't be compared with before: not known to be back" in world.why()[0]


async def test_the_end_of_a_drop_that_is_over_says_nothing_of_the_kind():
    world = World("funnels", drops("50%", "1d"))
    funnels(world, 30)
    assert await world.looks(26, hours=1) == []
    funnels(world, 10)
    assert await world.looks(3, hours=1) == ["sagging: slack"]
    funnels(world, 28)
    assert await world.looks(3, hours=1) == ["sagging: resolved"]
    assert "usual" not in world.why()[0]


async def test_the_last_figure_before_a_downtime_serves_as_the_past():
    world = World("funnels", drops("50%", "1d"))
    funnels(world, 30)
    await world.looks(26, hours=1)
    funnels(world, 10)
    assert await world.looked(hours=36) == ["sagging: slack"]


async def test_a_comparison_keeps_its_history_beside_others_and_the_retention():
    world = World("funnels", drops("50%", "60d") + drops("50%", "1d").replace("sagging", "day"))
    funnels(world, 30)
    await world.look()
    for _ in range(60):
        await world.look(days=1)
        old, compared = world.now - timedelta(days=30), world.now - compared_for(world.rules)
        world.store.do(lambda conn, old=old, new=compared: forget(conn, old, new))
    funnels(world, 10)
    assert sorted(await world.looked(minutes=30)) == ["day: slack", "sagging: slack"]


@pytest.mark.parametrize(("over_last", "by"), [("1d", "30%"), ("7d", "10%")])
@pytest.mark.parametrize(
    "start", [datetime(2026, 3, 10, tzinfo=UTC), datetime(2026, 3, 26, tzinfo=UTC)]
)
async def test_midnight_and_a_change_of_the_clocks_are_no_fall(over_last, by, start):
    world = World("pages", f"""
fewer:
  watch: pages
  over_last: {over_last}
  when: {{views: {{drops_by: {by}, against: 1d}}}}
  do: {{slack: {{channel: "#ux"}}}}
""", start=start)  # fmt: skip
    zone = ZoneInfo("Europe/Copenhagen")
    found = []
    for _ in range(24 * 6):
        world.now += timedelta(hours=1)
        begins = world.now.astimezone(zone) - timedelta(days=int(over_last[0]))
        midnight = begins.replace(hour=0, minute=0)
        hours = (world.now - midnight.astimezone(UTC)) / timedelta(hours=1)
        world.api.pages["/cart"] = {"views": round(hours * 40)}
        found += await world.looked(minutes=0)
    assert found == []


async def test_an_outage_of_half_a_day_is_no_fall():
    world = World("pages", """
fewer:
  watch: pages
  over_last: 1d
  when: {views: {drops_by: 20%, against: 1d}}
  do: {slack: {channel: "#ux"}}
""", start=datetime(2026, 3, 10, 23, tzinfo=UTC))  # fmt: skip
    for hour in range(24 * 3):
        world.now += timedelta(hours=1)
        world.api.pages["/cart"] = {"views": 40 * (24 + world.now.hour + 1)}
        if 24 < hour < 30:
            continue
        assert await world.looked(minutes=0) == []


# What is new


async def test_few_responses_at_each_look_add_up():
    world = World("feedback", FEEDBACK)
    counts = list(range(0, 164, 4))
    found = await told(world, counts, minutes=5)
    assert sum(found) == 20
    assert found[:5] == [0, 0, 1, 0, 1]


async def test_a_look_that_fails_changes_nothing():
    world = World("feedback", FEEDBACK)
    assert await told(world, [0, 4]) == [0, 0]
    world.api.broken.add("feedback")
    with pytest.raises(Exception, match="away"):
        await world.look()
    world.api.broken.clear()
    assert await told(world, [8, 8]) == [1, 0]


async def test_an_older_answer_in_between_is_no_news():
    world = World("feedback", FEEDBACK.replace("min: 5", "min: 1"))
    assert await told(world, [10, 7] * 12, minutes=5) == [0] * 24
    assert await told(world, [10, 7, 10, 12], minutes=5) == [0, 0, 0, 1]
    assert "2" in world.why()[0]


async def test_a_lower_count_that_holds_is_a_new_beginning():
    world = World("feedback", FEEDBACK.replace("min: 5", "min: 1"))
    assert await told(world, [40, 0, 1, 3, 3, 3]) == [0, 0, 0, 0, 0, 1]
    assert "3" in world.why()[0]
    assert await told(world, [3, 4]) == [0, 1]


async def test_only_growth_of_its_own_fires_beside_a_lasting_condition():
    world = World("feedback", MIXED)
    assert sum(await told(world, [100] * 24)) == 1
    assert await told(world, [103, 106, 106, 112]) == [0, 1, 0, 1]


@pytest.mark.parametrize("other", [True, False])
async def test_responses_of_the_time_without_the_rule_are_no_news(other):
    rule = FEEDBACK.replace("min: 5", "min: 1")
    beside = rule.replace("answers:", "beside:") if other else ""
    world = World("feedback", rule + beside)
    await told(world, [10, 10])
    world.edit(beside)
    await told(world, [10, 50], days=3)
    world.edit(rule + beside)
    world.api.campaigns["c"] = campaign(50)
    assert await world.looks(4) == []


async def test_the_baseline_of_an_earlier_version_is_used_once():
    world = World("feedback", FEEDBACK)
    world.store.do(lambda conn: set_watermark(conn, "feedback", "w1", '{"c": 10}', world.now))
    assert await told(world, [16, 16]) == [1, 0]
    assert world.store.do(lambda conn: watermark(conn, "feedback", "w1")) is None


# Reminders


async def test_what_lasts_is_told_again_so_often_and_no_more():
    world = World("funnels", FUNNEL + "  remind: 1d\n")
    world.api.funnels["f0"] = [100, 10]
    found = []
    for _ in range(3 * 24):
        found += await world.looked(hours=1)
        world.restart()
    assert found == ["dip: slack"] * 3
    assert world.why()[0] == "conversion 10 %, under 20 %"
    world.api.funnels["f0"] = [100, 50]
    assert await world.looks(30, hours=1) == ["dip: resolved"]


async def test_a_reminder_waits_for_data():
    world = World("funnels", FUNNEL + "  remind: 2h\n  safety: {at_most: 1 per day}\n")
    funnels(world, 10)
    assert await world.looked(hours=1) == ["dip: slack"]
    world.api.funnels["f0"] = [0, 0]
    assert await world.looks(5, hours=1) == []
    funnels(world, 10)
    assert await world.looks(2, hours=1) == ["dip: slack"]


async def test_a_reminder_repeats_the_posts_alone():
    world = World("websites", """
off:
  watch: websites
  when: {status: NotInstalled}
  remind: 2h
  do: {recording_rate: 25, slack: {channel: "#ops"}}
""")  # fmt: skip
    world.api.website["status"] = "NotInstalled"
    assert await world.looked() == ["off: recording_rate", "off: slack"]
    assert await world.looks(3, hours=1) == ["off: slack"]
