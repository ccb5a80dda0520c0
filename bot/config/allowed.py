"""What a configuration lets rules do."""

from bot.config.sections import Settings
from bot.rulebook.read_do import Allowed


def allowed(settings: Settings) -> Allowed:
    """Without Slack no rule may post; without a default channel each names its own; and so on."""
    slack = settings.slack
    return Allowed(
        delete=settings.rules.allow_delete,
        posts=slack.configured,
        # A webhook posts to the channel that Slack tied it to.
        channel=slack.channel is not None or slack.webhook_url is not None,
        share_url=settings.mouseflow.share_url is not None,
    )
