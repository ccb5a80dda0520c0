"""Which channels a configuration and its rules post to."""

from collections.abc import Iterable

from bot.actions.slack import Slack
from bot.config.sections import Settings
from bot.rulebook.rules import Rule


def channels(settings: Settings, rules: Iterable[Rule]) -> list[str]:
    """Every channel that anything is posted to, in order of their names."""
    named = {settings.slack.ops_channel}
    for rule in rules:
        for action in rule.do:
            if isinstance(action, Slack):
                named.add(action.channel or settings.slack.channel)
    return sorted(channel for channel in named if channel)
