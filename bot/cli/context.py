"""What a command is given to work with: the settings and the rules that the options name."""

import gc
import os
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from bot.errors import BadCredentials, BotError, ConfigError, StoreError, Unreachable

if TYPE_CHECKING:
    from bot.config import Settings
    from bot.rules.model import RuleSet
    from bot.store import Store
from collections.abc import Iterator
from contextlib import contextmanager

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


def settings(args: Namespace, *, offline: bool = False) -> "Settings":
    """The checked settings, their secrets registered to be struck out of all output.

    A command that asks nobody outside (`offline`) needs no API key. Raises ConfigError with
    every problem.
    """
    from bot.config import load
    from bot.logs import scrubber

    path = config_path(args)
    try:
        loaded = load(path, os.environ, secrets_dirs(), offline=offline)
    except ConfigError as error:
        if path is None:
            raise ConfigError(
                f"{error}\nthere is no {DEFAULT} here: `mouseflow-bot init` writes one, "
                "--config or BOT_CONFIG names another"
            ) from None
        raise
    scrubber.register(loaded.secrets())
    return loaded


def configured(args: Namespace) -> bool:
    """Whether there is any configuration: a file, or settings in the environment or as secrets."""
    if config_path(args) is not None:
        return True
    return any(name.upper().startswith("BOT_MOUSEFLOW__") for name in os.environ) or any(
        directory.is_dir() and any(directory.glob("bot_mouseflow__*"))
        for directory in secrets_dirs()
    )


def rules(args: Namespace, settings: "Settings | None", *, offline: bool = False) -> "RuleSet":
    """The rules under `args.paths`, else those of the settings.

    Without settings nothing is said about what they allow; `offline` as for `settings`.
    Raises ConfigError or RuleErrors with every problem.
    """
    from bot.config.settings import allowed
    from bot.rules.files.actions import Allowed
    from bot.rules.files.load import contents, read

    # A command ends soon, and rule files become very many objects, none of them garbage.
    gc.disable()
    paths = args.paths or (settings.rules.paths if settings else _default_rules(args))
    files = contents(paths)
    may = allowed(settings, offline=offline) if settings else Allowed(delete=True)
    return read(files, allowed=may)


def store_file(settings: "Settings") -> Path:
    """Where the store is; raises StoreError where there is none."""
    from bot.store.database import database_path

    path = database_path(settings.store.url)
    if not path.exists():
        raise StoreError(f"no store at {path}: the daemon has not run here yet")
    return path


def _default_rules(args: Namespace) -> list[Path]:
    path = config_path(args)
    return [(path.parent if path else Path()) / "rules"]


def stored(settings: "Settings", *, read_only: bool = False) -> "Store":
    """The store that the daemon has made, opened beside it.

    Raises StoreError where there is none, and makes none.
    """
    from bot.store import open_store

    store_file(settings)
    return open_store(settings.store.url, read_only=read_only, exclusive=False)


def lock_file(url: str) -> Path:
    """The lock beside a `sqlite:///` store."""
    return Path(url.partition(":///")[2].partition("?")[0] + ".lock")


@contextmanager
def explained(settings: "Settings") -> Iterator[None]:
    """Within, refused credentials and an address where nobody answers are told in words."""
    try:
        yield
    except (BadCredentials, Unreachable) as error:
        raise ConfigError(refusal(error, settings)) from error


def refusal(error: BotError, settings: "Settings") -> str:
    """What came of asking, in one line."""
    from mouseflow.transport import base_url

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
