"""What a command is given to work with: the settings and the rules that the options name."""

import os
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from bot.errors import ConfigError

if TYPE_CHECKING:
    from bot.config import Settings

DEFAULT = Path("config.toml")
SECRETS = Path("/run/secrets")


def config_path(args: Namespace) -> Path | None:
    """The configuration file that was named, or the default one if it is there."""
    if args.config is not None:
        return Path(args.config)
    if named := os.environ.get("BOT_CONFIG"):
        return Path(named)
    return DEFAULT if DEFAULT.exists() else None


def secrets_dirs() -> list[Path]:
    """Where secret files lie: systemd's credentials first, then the container's."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    return [*([Path(credentials)] if credentials else []), SECRETS]


def settings(args: Namespace) -> "Settings":
    """The checked settings, their secrets registered to be struck out of all output.

    Raises ConfigError with every problem.
    """
    from bot.config import load
    from bot.logs import scrubber

    path = config_path(args)
    try:
        loaded = load(path, os.environ, secrets_dirs())
    except ConfigError as error:
        if path is None:
            raise ConfigError(
                f"{error}\nthere is no {DEFAULT} here: `mouseflow-bot init` writes one, "
                "--config or BOT_CONFIG names another"
            ) from None
        raise
    scrubber.register(loaded.secrets())
    return loaded


def lock_file(url: str) -> Path:
    """The lock beside a `sqlite:///` store."""
    return Path(url.partition(":///")[2].partition("?")[0] + ".lock")
