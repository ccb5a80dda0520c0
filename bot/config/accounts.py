"""What keeps several accounts of one configuration apart: their variables, stores and keys."""

import os
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qs, urlsplit

from bot.config.settings import Settings, variable
from bot.domain.accounts import ACCOUNTS, folded

_SQLITE = "sqlite:///"


def variable_of(path: tuple[str, ...]) -> str:
    """The variable of a key that may be an account's: `accounts.shop.slack.channel`."""
    if path[0] == ACCOUNTS:
        return variable((ACCOUNTS, folded(path[1]), *path[2:]))
    return variable(path)


def clashes(accounts: Mapping[str, Settings]) -> Iterator[tuple[str, tuple[str, str], str]]:
    """What accounts share though they must not: account, section and key, and what to do."""
    stores: dict[tuple[str, ...], str] = {}
    keys: dict[tuple[str, str], str] = {}
    for name, settings in accounts.items():
        other = stores.setdefault(_database(settings.store.url), name)
        if other != name:
            yield name, ("store", "url"), f"is the store of {other}; each account needs its own"
        flow = settings.mouseflow
        key = flow.api_key.get_secret_value()
        other = keys.setdefault((flow.base_url or flow.region or "", key), name)
        if key and other != name:
            yield (
                name,
                ("mouseflow", "api_key"),
                f"is the key of {other}; both would act in one account",
            )


def _database(url: str) -> tuple[str, ...]:
    """What is the same for two URLs of one file, or of one schema of a database."""
    if url.startswith(_SQLITE):
        return ("sqlite", os.path.realpath(url.removeprefix(_SQLITE).partition("?")[0]))
    parts = urlsplit(url)
    asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    host = asked.get("host") or parts.hostname or ""
    port = asked.get("port") or str(parts.port or 5432)
    user = asked.get("user") or parts.username or ""
    database = asked.get("dbname") or parts.path.strip("/") or user
    return ("postgresql", host, port, database, asked.get("options", ""))
