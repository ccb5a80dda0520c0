"""What rules cost in calls, as docs/explanation/performance.md says; nothing where none asks."""

from datetime import UTC, datetime, timedelta

import pytest
from report_world import ZONE, World

MONDAY = datetime(2026, 3, 2, 10, tzinfo=ZONE).astimezone(UTC)
POSTS = "do: {slack: {}}"


async def calls(kind, text, polls=4):
    """The calls of a poll on an ordinary day: filters are proved, past weeks are known."""
    world = World(kind, text, start=MONDAY)
    world.api.funnels["Checkout"] = [1000, 250]
    world.api.forms["f"] = {"visits": 500, "interactions": 300, "fields": [{"target": "a"}]}
    world.api.pages["/a"] = {"views": 500, "renderTime": 900, "scroll": 60}
    world.api.recordings = [MONDAY - timedelta(minutes=n) for n in range(600)]
    await world.looks(2)
    world.api.calls.clear()
    assert await world.looks(polls) == []
    return len(world.api.calls) / polls


@pytest.mark.parametrize(
    ("kind", "when", "more", "each_poll"),
    [
        ("websites", "{anonymize_ips: false}", "", 1),
        ("websites", "{any: [{disable_keystrokes: false}, {excluded_ips: '203.0.113.7'}]}", "", 1),
        ("websites", "{any: [{domains: {other_than: a}}, {merge_urls: /c/*}]}", "", 1),
        ("websites", "{recordings: {under: 1}}", "over_last: 2h", 2),
        ("websites", "{recordings: {below_usual: 10%}}", "over_last: 2h", 2),
        ("funnels", "{conversion: {under: 1%}}", "", 1),
        ("funnels", "{conversion: {below_usual: 10%}}", "over_last: 1d", 1),
        ("funnels", "{entered: {below_usual: 10%}}", "over_last: 1d", 1),
        ("funnels", "{entered: {drops_by: 90%, against: 7d}}", "over_last: 1d", 1),
        ("funnels", "{entered: {under: 1}}", "visitors: {tags: a, search: acme}", 1),
        ("funnels", "{entered: {under: 1}}", "visitors: {friction: {min: 2}, exit_page: /a}", 1),
        ("forms", "{completion: {under: 1%}}", "", 1),
        ("forms", "{field: {start: {over: 9m}}}", "", 2),
        ("pages", "{height: {min: 9000}, fold: {under: 100}, shared: true}", "", 1),
        ("pages", "{render_time: {above_usual: 900%}}", "over_last: 1d", 1),
    ],
)
async def test_a_poll_costs_what_the_page_says(kind, when, more, each_poll):
    rule = f"one:\n  watch: {kind}\n  {more or 'summary: x'}\n  when: {when}\n  {POSTS}\n"
    assert await calls(kind, rule) == each_poll


@pytest.mark.parametrize(
    "more",
    [
        "severity: critical", "runbook: https://wiki.example/x", "owner: Shop", "remind: 4h",
        "resolved: true", "for: 15m", "active: 08:00-18:00", "not_while: other",
    ],
)  # fmt: skip
async def test_what_is_said_about_messages_costs_no_call(more):
    plain = f"other:\n  watch: funnels\n  when: {{entered: {{under: 1}}}}\n  {POSTS}\n"
    rule = plain.replace("other", "one") + f"  {more}\n"
    assert await calls("funnels", plain + rule) == 1


async def test_a_disabled_rule_costs_nothing():
    rule = f"one:\n  watch: websites\n  disabled: true\n  when: {{status: Stopped}}\n  {POSTS}\n"
    assert await calls("websites", rule) == 0


async def test_a_past_that_only_one_rule_asks_for_is_read_once():
    """Four weeks of averages and of recordings, on the first poll; none where no rule compares."""
    rule = (
        "one:\n  watch: pages\n  over_last: 1d\n"
        f"  when: {{render_time: {{above_usual: 900%}}}}\n  {POSTS}\n"
    )
    for text, first in ((rule, 1 + 4), (rule.replace("above_usual: 900%", "over: 9s"), 1)):
        world = World("pages", text, start=MONDAY)
        world.api.pages["/a"] = {"views": 500, "renderTime": 900}
        await world.looks(1)
        proofs = [call for call in world.api.calls if "2000-01-01" in call]
        assert len(world.api.calls) == first + len(proofs)
