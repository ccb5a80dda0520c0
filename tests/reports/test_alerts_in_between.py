"""Alerts where two things come together: an edit during a poll, another rule, a list."""

import pytest
from msgspec.structs import replace
from report_world import World
from test_alerts_in_doubt import ENDS, FIRES, FUNNEL, NOTHING, given
from test_gone_websites import RULES, Watched, rules
from test_not_while import PAIR, Pair


@pytest.fixture
def bot(tmp_path):
    made = Watched(tmp_path)
    yield made
    made.account.close()


class Slow:
    """The API, which takes so long that other rules come into use before it answers."""

    def __init__(self, sender, meanwhile) -> None:
        self.sender, self.meanwhile = sender, meanwhile

    async def send(self, request):
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            await meanwhile
        return await self.sender.send(request)


async def fired_and_edited_during_a_poll(bot, text):
    await bot.fire()
    context = bot.watcher.context
    slow = Slow(bot.account.sender, bot.watcher.use_rules(rules(text)))
    bot.watcher.context = replace(context, mouseflow=slow)
    bot.account.wait(minutes=15)
    assert await bot.watcher.poll_reports(bot.account.site)
    bot.account.wait(minutes=15)
    assert await bot.watcher.poll_reports(bot.account.site)


RENAMED = RULES.replace("not-recording:", "still-off:") + "  was: not-recording\n"


async def test_a_rule_that_is_renamed_during_a_poll_does_not_fire_again(bot):
    await fired_and_edited_during_a_poll(bot, RENAMED)
    assert len(bot.matches()) == 1


async def test_a_rule_that_is_disabled_during_a_poll_has_ended(bot):
    await fired_and_edited_during_a_poll(bot, RULES + "  disabled: true\n")
    assert bot.matches()[0].key.endswith("-resolved")


async def test_a_rule_that_is_renamed_and_disabled_at_once_ends_its_alert(bot):
    await bot.fire()
    await bot.watcher.use_rules(rules(RENAMED + "  disabled: true\n"))
    assert len(bot.ended()) == 1


@pytest.mark.parametrize("edited", [False, True])
async def test_the_alerts_of_a_website_that_becomes_a_demo_end_after_two_lists(tmp_path, edited):
    named = RULES.replace("when:", "websites: [myshop.com]\n  when:") if edited else RULES
    bot = Watched(tmp_path, named)
    site = bot.account.sim.world.sites[bot.account.site.id]
    site.settings["isDemo"] = edited
    await bot.fire()
    site.settings["isDemo"] = True
    await bot.watcher.use_rules(rules(RULES))
    await bot.list()
    assert bot.ended() == []
    await bot.list()
    assert len(bot.ended()) == 1
    bot.account.close()


async def test_the_alert_about_the_old_condition_ends_while_another_rule_holds_the_new_one_back():
    world = Pair()
    world.set(slow=True)
    assert await world.round() == ["slow: slack"]
    world.set(down=True)
    assert await world.round() == ["down: slack"]
    world.edit(PAIR.replace("over: 4s", "over: 3s"))
    assert await world.round() == ["slow: resolved"]
    assert await world.round() == []
    world.set(down=False)
    await world.round()
    assert await world.round() == ["down: resolved", "slow: slack"]


async def test_lists_that_lack_a_subject_now_and_then_end_nothing():
    world = World("funnels", FUNNEL)
    looks = [10, *["gone", None] * 3, "gone"]
    assert await given(world, *looks) == [FIRES, *[NOTHING] * 7]
    assert await given(world, "gone") == [ENDS]
