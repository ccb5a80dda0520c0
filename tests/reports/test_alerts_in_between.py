"""Alerts where an edit comes while a poll waits for an answer."""

import pytest
from msgspec.structs import replace
from test_gone_websites import RULES, Watched, rules


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
