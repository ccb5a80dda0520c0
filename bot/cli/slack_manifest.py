"""Print the manifest of the Slack app: exactly the scopes that the bot uses."""

import json
from argparse import ArgumentParser, Namespace

EXAMPLE = (
    "mouseflow-bot slack-manifest              # paste it at https://api.slack.com/apps?new_app=1\n"
    "mouseflow-bot slack-manifest --no-buttons"
)

SCOPES = {
    "chat:write": "post, edit and answer messages",
    "channels:read": "find public channels by name, and see who may press buttons there",
    "groups:read": "the same in private channels that the bot is in",
    "channels:history": "look up a post whose outcome is unknown, so that it is not repeated",
    "groups:history": "the same in private channels that the bot is in",
}
"""The scopes of the bot's token, and what each is for."""


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument(
        "--no-buttons", action="store_true", help="without Socket Mode, which buttons need"
    )


def run(args: Namespace) -> int:
    """Print it."""
    print(json.dumps(manifest(buttons=not args.no_buttons), indent=2))
    return 0


def manifest(*, buttons: bool) -> dict[str, object]:
    """The manifest as Slack reads it."""
    return {
        "display_information": {
            "name": "mouseflow-bot",
            "description": "Watches Mouseflow recordings and reports what matters",
        },
        "features": {"bot_user": {"display_name": "mouseflow-bot", "always_online": True}},
        "oauth_config": {"scopes": {"bot": list(SCOPES)}},
        "settings": {
            "interactivity": {"is_enabled": buttons},
            "org_deploy_enabled": False,
            "socket_mode_enabled": buttons,
            "token_rotation_enabled": False,
        },
    }
