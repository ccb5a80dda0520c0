"""The clients of the outside: no secret in their repr."""

import pytest

from bot.clients import open_clients
from bot.config.load import load

SECRETS = {
    "BOT_MOUSEFLOW__API_KEY": "key-of-the-account",
    "BOT_SLACK__BOT_TOKEN": "xoxb-secret",
    "BOT_SLACK__APP_TOKEN": "xapp-secret",
}


@pytest.fixture
def settings():
    return load(
        None,
        {"BOT_MOUSEFLOW__REGION": "eu", "BOT_MOUSEFLOW__EMAIL": "ops@larkfield.example"} | SECRETS,
    )


async def test_no_secret_is_in_the_repr_of_the_clients(settings):
    async with open_clients(settings) as clients:
        shown = f"{clients!r} {clients.acting!r} {settings!r}"
    assert not [secret for secret in SECRETS.values() if secret in shown]
