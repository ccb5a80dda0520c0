"""The manifest of the Slack app, and what `check --online` says of buttons."""

import json

from bot.cli.main import main
from bot.cli.slack_manifest import SCOPES
from bot.delivery.slack import SlackPoster
from bot.written import Secret
from mouseflow.simulator.server import Simulator


def test_the_manifest_has_exactly_the_scopes_that_the_bot_uses(capsys):
    assert main(["slack-manifest"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["oauth_config"]["scopes"]["bot"] == list(SCOPES)
    assert made["settings"]["socket_mode_enabled"] is True
    assert main(["slack-manifest", "--no-buttons"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["interactivity"] == {"is_enabled": False}


async def test_with_these_scopes_every_call_of_the_bot_works():
    async with Simulator(sites=[]).serving() as sim:
        sim.slack.scopes = frozenset(SCOPES)
        sim.slack.add_channel("ux")
        poster = SlackPoster(Secret(sim.slack.token), base_url=sim.slack_url)
        await poster.check_channel("#ux")
        channel = sim.slack.channel("ux").id
        assert await poster.is_member(channel, "U1")
        await poster.whisper(channel, "U1", "Hello")
        await poster.close()
    assert sim.slack.whispers == [(channel, "U1", "Hello")]
