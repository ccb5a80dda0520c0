"""A rule fights nobody: what it set and somebody changed back is left alone, and told once."""

from report_world import World

OFF = """
off:
  watch: feedback
  when: {enabled: true, impressions: {min: 1000}, response_rate: {under: 2%}}
  resolved: true
  do: {enabled: false, slack: {channel: "#ux"}}
"""
ON = """
on:
  watch: feedback
  when: {enabled: false}
  do: {enabled: true, slack: {channel: "#ux"}}
"""
RATE = """
throttle:
  watch: websites
  when: {recording_rate: {over: 50%}, status: Recording}
  do: {recording_rate: 25, slack: {channel: "#ux"}}
"""


class Campaigns(World):
    """One campaign; what a look calls for is done at once, in the order of the rules."""

    def __init__(self, text) -> None:
        super().__init__("feedback", text)
        self.set(enabled=True, responses=10)

    def set(self, enabled=None, responses=None) -> None:
        campaign = self.api.campaigns.setdefault(
            "c", {"name": "NPS", "report": {"impressions": 100_000}}
        )
        if enabled is not None:
            campaign["enabled"] = enabled
        if responses is not None:
            campaign["report"]["responses"] = responses

    async def acted(self, times=1) -> list[str]:
        found = []
        for _ in range(times):
            posts = await self.looked(minutes=5)
            for post in posts:
                if post == "off: enabled":
                    self.set(enabled=False)
                if post == "on: enabled":
                    self.set(enabled=True)
            found += posts
        return found


def told(world):
    return [title for title in world.notes("notice") if "alone" in title]


async def test_its_own_switch_is_no_end():
    world = Campaigns(OFF)
    assert await world.acted(20) == ["off: enabled", "off: slack"]
    assert not told(world)


async def test_the_end_comes_when_the_condition_is_false_by_itself():
    world = Campaigns(OFF)
    assert await world.acted(3) == ["off: enabled", "off: slack"]
    world.set(responses=5000)
    assert await world.acted(5) == ["off: resolved"]
    world.set(enabled=True, responses=5000)
    assert await world.acted(3) == []
    world.api.campaigns["c"]["report"]["impressions"] = 1_000_000
    assert await world.acted(3) == ["off: enabled", "off: slack"]


async def test_it_steps_aside_for_a_person_and_says_so_once():
    world = Campaigns(OFF)
    assert await world.acted(3) == ["off: enabled", "off: slack"]
    for _ in range(6):
        world.set(enabled=True)
        assert await world.acted(3) == []
    assert told(world) == ["Rule off leaves NPS alone"]


async def test_after_an_end_it_acts_again():
    world = Campaigns(OFF)
    await world.acted(3)
    world.set(enabled=True)
    await world.acted(3)
    world.set(responses=5000)
    assert await world.acted(3) == ["off: resolved"]
    world.api.campaigns["c"]["report"]["impressions"] = 1_000_000
    assert await world.acted(3) == ["off: enabled", "off: slack"]


async def test_two_rules_do_not_switch_against_each_other_without_end():
    world = Campaigns(OFF.replace("  resolved: true\n", "") + ON)
    found = await world.acted(48)
    assert found.count("off: enabled") <= 1
    assert found.count("on: enabled") <= 1
    assert len(told(world)) <= 2


async def test_a_slow_delivery_is_no_intervention():
    world = Campaigns(OFF)
    assert await world.looks(4, minutes=5) == ["off: enabled", "off: slack"]
    world.set(enabled=False)
    assert await world.looks(4, minutes=5) == []
    assert not told(world)


async def test_a_rate_set_back_by_a_person_stays():
    world = World("websites", RATE)
    assert await world.looked() == ["throttle: recording_rate", "throttle: slack"]
    world.api.website["recordingRate"] = 25
    assert await world.looks(3) == []
    world.api.website["recordingRate"] = 100
    assert await world.looks(3) == []
    assert told(world) == ["Rule throttle leaves myshop.com alone"]
