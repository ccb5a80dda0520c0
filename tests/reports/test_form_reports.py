"""One form's report that fails holds that form alone; with many forms each has its turn."""

from datetime import timedelta

import pytest
from report_world import SITE, World

from bot.rules.model import RuleSet
from bot.watcher import Watcher

RULES = """
stuck:
  watch: forms
  when: {field: {name: phone, dropped: {min: 50}}}
  do: {slack: {channel: "#ux"}}
busy:
  watch: forms
  when: {visits: {min: 100}}
  do: {slack: {channel: "#ux"}}
"""


def forms(world, count, dropped=100):
    for number in range(count):
        world.api.forms[f"g{number}"] = {
            "alias": f"Form {number}", "visits": 400, "interactions": 100,
            "fields": [{"target": "phone", "dropped": dropped}],
        }  # fmt: skip


def reports(world):
    found = [call.partition("?")[0].rpartition("/")[2] for call in world.api.calls]
    return [form for form in found if form != "forms"]


async def test_a_report_that_fails_holds_its_own_form_alone():
    world = World("forms", RULES)
    forms(world, 3)
    world.api.broken.add("forms/g1")
    look = await world.look()
    assert look.failed is None
    assert len([key for key in look.recorded.matches if key.startswith("busy")]) == 3
    assert len([key for key in look.recorded.matches if key.startswith("stuck")]) == 2
    assert list(look.failed_forms) == ["Form 1"]
    world.api.broken.clear()
    assert await world.looked() == ["stuck: slack"]


async def test_a_report_that_fails_ends_nothing():
    world = World("forms", RULES.replace("  do:", "  resolved: true\n  do:"))
    forms(world, 1)
    assert len(await world.looked()) == 2
    world.api.broken.add("forms/g0")
    assert await world.looks(4) == []


async def test_all_forms_are_read_in_turn():
    world = World("forms", RULES.partition("busy:")[0])
    forms(world, 55)
    first = await world.look()
    assert len(first.recorded.matches) == 50
    assert "55 forms" in first.limited[0].title
    assert len(await world.looked()) == 5
    assert await world.looks(6) == []
    forms(world, 55, dropped=1)
    world.rules = ()
    assert len(reports(world)) == 8 * 50


async def test_reports_that_a_clock_ahead_has_read_are_read_again():
    world = World("forms", RULES.partition("busy:")[0])
    forms(world, 55, dropped=1)
    world.now += timedelta(days=3)
    await world.looks(2)
    world.now -= timedelta(days=3)
    forms(world, 55)
    assert len(await world.looks(2)) == 55


async def test_with_for_each_of_many_forms_fires():
    world = World("forms", RULES.partition("busy:")[0] + "  for: 1h\n")
    forms(world, 120)
    assert len(await world.looks(12)) == 120


@pytest.mark.parametrize(
    ("when", "count"),
    [
        ("{form: Form 1, field: {name: phone, dropped: {min: 50}}}", 1),
        ("{visits: {over: 1000}, field: {name: phone, dropped: {min: 50}}}", 0),
        ("{visits: {min: 100}}", 0),
        ("{any: [{visits: {min: 100}}, {field: {name: phone, dropped: {min: 50}}}]}", 0),
    ],
)
async def test_only_reports_on_which_a_rule_depends_are_read(when, count):
    world = World("forms", f"stuck:\n  watch: forms\n  when: {when}\n  do: {{slack: {{}}}}\n")
    forms(world, 5)
    await world.look()
    assert len(reports(world)) == count


async def test_a_report_that_only_a_text_shows_is_read():
    world = World("forms", """
busy:
  watch: forms
  when: {visits: {min: 100}, form: Form 2}
  do: {slack: {text: "{{ fields }}"}}
""")  # fmt: skip
    forms(world, 5)
    assert await world.looked() == ["busy: slack"]
    assert reports(world) == ["g2"]


async def test_pages_that_are_cut_are_told():
    world = World("pages", """
slow:
  watch: pages
  when: {render_time: {over: 4s}}
  do: {slack: {}}
""")  # fmt: skip
    for number in range(1000):
        world.api.pages[f"/{number}"] = {"views": 100}
    world.api.page_count = 1200
    assert "1,000 of 1,200 pages of myshop.com" in (await world.look()).limited[0].title


async def test_the_outage_of_a_form_and_its_end_are_told_once():
    world = World("forms", RULES)
    forms(world, 3)
    watcher = Watcher(
        world.context,
        RuleSet(tuple(world.rules)),
        ops="#ops",
        wake=lambda: None,
        clock=lambda: world.now,
    )
    for minute in range(0, 240, 15):
        world.now += timedelta(minutes=15)
        world.api.broken = {"forms/g1"} if 30 <= minute < 120 else set()
        await watcher.find_sites()
        assert await watcher.poll_reports(SITE)
    assert world.notes("notice") == [
        "✅ All polls work again after 1 h 30 min",
        "🔶 Some polls have been failing since 2026-03-10T09:45:00Z",
    ]


async def test_a_form_that_is_deleted_ends_once_two_lists_lack_it():
    """While a list still has it, its own report is gone: that ends nothing."""
    world = World("forms", RULES.replace("  do:", "  resolved: true\n  do:"))
    forms(world, 2)
    assert len(await world.looked()) == 4
    world.api.deleted.add("g1")
    assert await world.looks(4) == []
    del world.api.forms["g1"]
    assert await world.looked() == []
    assert sorted(await world.looked()) == ["busy: resolved", "stuck: resolved"]
    assert await world.looks(4) == []
    forms(world, 2)
    world.api.deleted.clear()
    assert sorted(await world.looked()) == ["busy: slack", "stuck: slack"]  # another of its id
