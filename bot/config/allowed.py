"""What a configuration lets rules do."""

from bot.config.sections import Settings
from bot.rulebook.read_do import Allowed


def allowed(settings: Settings, *, offline: bool = False) -> Allowed:
    """Without Slack no rule may post; without a default channel each names its own; and so on.

    Who asks nobody (`offline`) may be where the secrets are not: rules may post then, as far
    as the settings speak of Slack or lack the API key too.
    """
    slack = settings.slack
    elsewhere = not settings.mouseflow.api_key.get_secret_value()
    planned = elsewhere or slack.channel is not None or slack.ops_channel is not None
    return Allowed(
        delete=settings.rules.allow_delete,
        posts=slack.configured or (offline and planned),
        # A webhook posts to the channel that Slack tied it to.
        channel=slack.channel is not None or slack.webhook_url is not None,
        share_url=settings.mouseflow.share_url is not None,
    )
