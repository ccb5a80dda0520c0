"""Several accounts in one configuration: their names, their variables, their stores."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from urllib.parse import parse_qs, urlsplit

from bot.config.settings import PREFIX, Settings, variable

ACCOUNTS = "accounts"
"""The section with a table for each account."""

SHARED = ("web", "heartbeat", "log")
"""Sections of the process, which no account has of its own."""

ACCOUNT = re.compile(r"(?!.*__)[a-z][a-z0-9_-]{0,38}(?<![_-])")
"""What an account may be called."""

_SCOPED = re.compile(rf"(?i){PREFIX}{ACCOUNTS}__([a-z][a-z0-9_]*?)__(.+)")
_SQLITE = "sqlite:///"


def folded(account: str) -> str:
    """The account in names of variables, which have no hyphens."""
    return account.upper().replace("-", "_")


def scoped(name: str) -> tuple[str, str]:
    """Whose setting a variable or secret file is, and its name without the account.

    BOT_ACCOUNTS__SHOP__SLACK__CHANNEL is SHOP's BOT_SLACK__CHANNEL. One for all accounts is of "".
    """
    found = _SCOPED.fullmatch(name)
    return (found[1].upper(), f"{PREFIX}{found[2].upper()}") if found else ("", name)


def variable_of(path: tuple[str, ...]) -> str:
    """The variable of a key that may be an account's: `accounts.shop.slack.channel`."""
    if path[0] == ACCOUNTS:
        return variable((ACCOUNTS, folded(path[1]), *path[2:]))
    return variable(path)


def url_of_account(url: str, account: str) -> str:
    """The store of an account beside the common one: bot.db becomes bot-shop.db.

    A database on a server stays as it is.
    """
    if not url.startswith(_SQLITE) or url.startswith(f"{_SQLITE}:memory:"):
        return url
    file, mark, query = url.removeprefix(_SQLITE).partition("?")
    common = PurePath(file)
    own = common.with_name(f"{common.stem}-{account}{common.suffix}")
    return f"{_SQLITE}{own}{mark}{query}"


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
    """What is the same for two URLs of one database."""
    if url.startswith(_SQLITE):
        return ("sqlite", os.path.realpath(url.removeprefix(_SQLITE).partition("?")[0]))
    parts = urlsplit(url)
    asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    host = asked.get("host") or parts.hostname or ""
    port = asked.get("port") or str(parts.port or 5432)
    user = asked.get("user") or parts.username or ""
    return ("postgresql", host, port, asked.get("dbname") or parts.path.strip("/") or user)
