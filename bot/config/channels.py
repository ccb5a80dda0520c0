"""Which channels a configuration and its rules post to."""

from collections.abc import Iterable

from bot.actions.slack import Slack
from bot.config.sections import Settings
from bot.rulebook.rules import Rule


def channels(settings: Settings, rules: Iterable[Rule]) -> list[str]:
    """Every channel that anything is posted to, in order of their names."""
    return list(posting(settings, rules))


def posting(settings: Settings, rules: Iterable[Rule]) -> dict[str, list[str]]:
    """Who posts to each channel: ids of rules, and what names the channel of the bot's own news."""
    slack = settings.slack
    own = ("slack.ops_channel", slack.ops_channel)
    if slack.ops_channel is None:
        own = ("slack.channel", slack.channel)
    found: dict[str, list[str]] = {own[1]: [own[0]]} if own[1] else {}
    for rule in rules:
        for action in rule.do:
            channel = action.channel or slack.channel if isinstance(action, Slack) else None
            if channel and rule.id not in found.setdefault(channel, []):
                found[channel].append(rule.id)
    return dict(sorted(found.items()))
