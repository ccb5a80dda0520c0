"""Several accounts of one configuration: their names, their variables and their stores."""

import re
from collections.abc import Iterable
from pathlib import PurePath

PREFIX = "BOT_"
"""The prefix of environment variables and secret files."""

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


def named_accounts(names: Iterable[str]) -> list[str]:
    """The accounts of variables and secret files, for a configuration file that has none."""
    found = {scoped(name)[0].lower() for name in names}
    return sorted(name for name in found if ACCOUNT.fullmatch(name))


OF_ONE = (
    *("api", "backup", "budget", "cancel", "explain", "export", "history", "learn", "plan"),
    *("replay", "restore", "retry", "snooze", "tune"),
)
"""The commands that are about one account, and refuse to guess which."""

_OF_ONE = re.compile(rf"\bmouseflow-bot (?:{'|'.join(OF_ONE)})\b(?! --account\b)")


def commands_of(account: str, text: str) -> str:
    """The text with commands that run: those about one account name it. Empty: it is the only."""
    return _OF_ONE.sub(rf"\g<0> --account {account}", text) if account else text


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


def common_url(url: str, account: str) -> str:
    """The store beside which the account's own one is; empty if it is elsewhere."""
    file, mark, query = url.removeprefix(_SQLITE).partition("?")
    own = PurePath(file)
    stem = own.stem.removesuffix(f"-{account}")
    if not url.startswith(_SQLITE) or stem == own.stem or not stem:
        return ""
    return f"{_SQLITE}{own.with_name(f'{stem}{own.suffix}')}{mark}{query}"
