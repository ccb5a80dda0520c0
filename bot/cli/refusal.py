"""Why the account can't be asked at all, with the address and what a person can do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bot.errors import BotError, ConfigError

if TYPE_CHECKING:
    from bot.config import Settings


@contextmanager
def explained(settings: "Settings") -> Iterator[None]:
    """Within, refused credentials and an address where nobody answers are told in words."""
    from bot.mouseflow.errors import BadCredentials, Unreachable

    try:
        yield
    except (BadCredentials, Unreachable) as error:
        raise ConfigError(refusal(error, settings)) from error


def refusal(error: BotError, settings: "Settings") -> str:
    """What came of asking, in one line."""
    from bot.mouseflow.address import base_url
    from bot.mouseflow.errors import BadCredentials, Unreachable

    flow = settings.mouseflow
    whom = f"Mouseflow ({base_url(flow.base_url or flow.region or '')})"
    if isinstance(error, BadCredentials):
        other = {"eu": "us", "us": "eu"}.get(flow.region or "")
        region = f', or the account lives in the other region: region = "{other}"' if other else ""
        return (
            f"{whom} refuses the credentials (401); mend mouseflow.email or "
            f"mouseflow.api_key{region}"
        )
    if isinstance(error, Unreachable):
        return (
            f"{whom} does not answer ({error.reason}); is the address right, and may this machine "
            "reach it, by a proxy perhaps (HTTPS_PROXY)?"
        )
    return f"{whom}: {error}"
