"""What commands work with: settings, rules and the store, as the options name them."""

import gc
import os
import tomllib
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.errors import BadCredentials, BotError, ConfigError, StoreError, Unreachable

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from datetime import timedelta

    from bot.config import Settings
    from bot.rules.model import RuleSet
    from bot.store import Store, StoreLocation

DEFAULT = Path("config.toml")
SECRETS = Path("/run/secrets")


def config_path(args: Namespace) -> Path | None:
    """The configuration file that was named, or the default one if it exists."""
    if args.config is not None:
        return Path(args.config)
    if named := os.environ.get("BOT_CONFIG"):
        return Path(named)
    return DEFAULT if DEFAULT.exists() else None


def secrets_dirs() -> list[Path]:
    """The folders with secret files: systemd's credentials first, then the container's."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    return [*([Path(credentials)] if credentials else []), SECRETS]


def settings(args: Namespace, *, offline: bool = False) -> "Settings":
    """The checked settings of the account that `--account` names, or of the only one.

    As `accounts`; raises ConfigError also if it is not clear which account is meant.
    """
    return chosen(args, accounts(args, offline=offline))


def chosen(args: Namespace, accounts: "Mapping[str, Settings]") -> "Settings":
    """The account that `--account` names, or the only one; raises ConfigError."""
    named = getattr(args, "account", None)
    if named is None:
        if len(accounts) > 1:
            names = ", ".join(accounts)
            raise ConfigError(f"the configuration has several accounts ({names}): add --account")
        return next(iter(accounts.values()))
    if "" in accounts:
        raise ConfigError(f"there is no account {named}: the configuration has no [accounts]")
    if named in accounts:
        from bot.cli import output

        output.about(named)
        return accounts[named]
    from bot.cli.main import suggest

    known = f"its accounts are {', '.join(accounts)}"
    raise ConfigError(f"there is no account {named}{suggest(named, accounts, known)}")


def meant(args: Namespace, *, offline: bool = False) -> "Mapping[str, Settings]":
    """The accounts that a command is about: the one that `--account` names, else all.

    As `accounts`.
    """
    found = accounts(args, offline=offline)
    if getattr(args, "account", None) is None:
        return found
    settings = chosen(args, found)
    return {settings.account: settings}


def accounts(args: Namespace, *, offline: bool = False) -> "dict[str, Settings]":
    """The checked settings by account; their secrets are redacted from all output from now on.

    "" is the account of a configuration without `[accounts]`. A command that contacts nobody
    (`offline`) needs no API key. Raises ConfigError with every problem.
    """
    from bot.config.load import load_accounts

    path = config_path(args)
    with _explained(path):
        return _redacted(load_accounts(path, os.environ, secrets_dirs(), offline=offline))


async def accounts_apart(
    args: Namespace, child: "Process", patience: "timedelta | None" = None
) -> "dict[str, Settings]":
    """What `accounts` returns, read by a process of `bot.rule_reader`: for a daemon."""
    from bot.rule_reader import read_configuration

    path = config_path(args)
    with _explained(path):
        return _redacted(await read_configuration(child, path, secrets_dirs(), patience))


@contextmanager
def _explained(path: Path | None) -> Iterator[None]:
    """Within, an error says what to do if there is no configuration file."""
    try:
        yield
    except ConfigError as error:
        if path is None:
            raise ConfigError(
                f"no {DEFAULT} in this folder; create one with `mouseflow-bot init`, or name one "
                f"with --config or BOT_CONFIG\n{error}"
            ) from None
        raise


def _redacted(accounts: "dict[str, Settings]") -> "dict[str, Settings]":
    """Register the accounts' secrets with the scrubber, which redacts them from all output."""
    from bot.logs import scrubber

    for name, each in accounts.items():
        scrubber.register(each.secrets(), name)
    return accounts


def configured(args: Namespace) -> bool:
    """Whether there is any configuration: a file, or settings in the environment or as secrets."""
    if config_path(args) is not None:
        return True
    ours = ("BOT_MOUSEFLOW__", "BOT_ACCOUNTS__")
    return any(name.upper().startswith(ours) for name in os.environ) or any(
        directory.is_dir() and any(any(directory.glob(f"{each.lower()}*")) for each in ours)
        for directory in secrets_dirs()
    )


def rules(
    args: Namespace, settings: "Settings | None", *, offline: bool = False, tested: bool = False
) -> "RuleSet":
    """The rules under `args.paths`, else those of the settings.

    Without settings, everything is allowed; `offline` as for `settings`. `tested`: the rules' own
    tests must pass, as the daemon wants it. Raises ConfigError or
    RuleErrors with every problem.
    """
    from bot.actions.base import Allowed
    from bot.config.settings import allowed
    from bot.rules.files.load import load

    # A command ends soon, and rule files become very many objects, none of them garbage.
    gc.disable()
    paths = args.paths or (settings.rules.paths if settings else named_rules(args))
    may = allowed(settings, offline=offline) if settings else Allowed(delete=True, accounts=None)
    return load(paths, may, tested=tested)


def every_rule(args: Namespace, accounts: "Mapping[str, Settings]") -> "RuleSet":
    """The rules of all these accounts, each once; without an account those of the paths."""
    from bot.rules.model import RuleSet

    sets = [rules(args, settings, offline=True) for settings in accounts.values()]
    if len(sets) < 2:
        return sets[0] if sets else rules(args, None, offline=True)
    return RuleSet(
        rules=tuple({it.id: it for found in sets for it in found.rules}.values()),
        warnings=tuple(dict.fromkeys(it for found in sets for it in found.warnings)),
        disabled=tuple({it.id: it for found in sets for it in found.disabled}.values()),
    )


def named_rules(args: Namespace) -> list[Path]:
    """`rules.paths` of a configuration that may have errors; the default only if it exists."""
    from bot.domain.accounts import ACCOUNTS

    path = config_path(args)
    file = written(path) if path else {}
    folder = path.parent if path else Path()
    tables = file.get(ACCOUNTS)
    found: list[Path] = [Path(it) for it in _texts(os.environ.get("BOT_RULES__PATHS"))]
    for table in (file, *(tables.values() if isinstance(tables, dict) else ())):
        section = table.get("rules") if isinstance(table, dict) else None
        if isinstance(section, dict) and not (found and table is file):
            found += [folder / it for it in _texts(section.get("paths"))]
    default = folder / "rules"
    return found or ([default] if default.exists() else [])


def start_of(path: Path) -> bytes:
    """The first bytes of a file or pipe; raises OSError."""
    from bot.rules.files.disk import read_bytes

    if path.is_file():
        return read_bytes(path)
    from bot.config.load import read_start  # a slow import, for a pipe

    return read_start(path)


def written(path: Path) -> dict[str, Any]:
    """The configuration file as it is, unchecked; empty if it can't be read."""
    try:
        return tomllib.loads(start_of(path).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}  # `bot.config.load` says why, and a running daemon has read a valid one


def _texts(value: object) -> list[str]:
    """The texts of a list, or of a text with commas, that can be paths."""
    values = value.split(",") if isinstance(value, str) else value
    each = values if isinstance(values, list) else []
    return [it.strip() for it in each if isinstance(it, str) and it.strip() and "\0" not in it]


def existing_place(settings: "Settings") -> "StoreLocation":
    """Where the store is; raises StoreError if there is none."""
    from bot.store import location_of

    place = location_of(settings.store.url)
    if not place.exists():
        raise StoreError(f"no store at {place.name}: the daemon has not run here yet")
    return place


def existing_store(settings: "Settings", *, read_only: bool = False) -> "Store":
    """The daemon's store, opened beside it; raises StoreError if it does not exist."""
    from bot.store import open_store

    existing_place(settings)
    return open_store(settings.store.url, read_only=read_only, exclusive=False)


def lock_file(url: str) -> Path | None:
    """The lock beside a store in a file; None if the store is elsewhere."""
    if not url.startswith("sqlite:///"):
        return None
    return Path(url.partition(":///")[2].partition("?")[0] + ".lock")


@contextmanager
def auth_errors(settings: "Settings") -> Iterator[None]:
    """Within, a rejected API key and an unreachable API raise ConfigError with what to check."""
    try:
        yield
    except (BadCredentials, Unreachable) as error:
        raise ConfigError(api_error(error, settings)) from error


def api_error(error: BotError, settings: "Settings") -> str:
    """An error of the API in one line, with what to check."""
    from mouseflow.transport import base_url

    account = settings.mouseflow
    api = f"Mouseflow ({base_url(account.base_url or account.region or '')})"
    if isinstance(error, BadCredentials):
        other = {"eu": "us", "us": "eu"}.get(account.region or "")
        region = f' If the account is in the other region, set region = "{other}".' if other else ""
        return (
            f"{api} rejected the API key (401). Check mouseflow.email and "
            f"mouseflow.api_key.{region}"
        )
    if isinstance(error, Unreachable):
        return (
            f"{api} does not answer ({error.reason}). Check the address, the network and the "
            "proxy (HTTPS_PROXY)."
        )
    return f"{api}: {error}"
