"""A name that nothing has is said to be unknown, with the one that was perhaps meant."""

from collections.abc import Iterable
from difflib import get_close_matches

from bot.errors import ConfigError


def hint(wanted: str, known: Iterable[str], otherwise: str = "") -> str:
    """`; did you mean X?`, else `otherwise` after a semicolon, if there is any."""
    by_fold = {name.casefold(): name for name in known}
    near = get_close_matches(wanted.casefold(), by_fold, 1)
    if near:
        return f"; did you mean {by_fold[near[0]]}?"
    return f"; {otherwise}" if otherwise else ""


def one_of(wanted: str, known: Iterable[str], what: str, otherwise: str = "") -> str:
    """The known name that differs from `wanted` in capitals at most.

    Raises ConfigError that begins with `wanted` and says `what` where there is none.
    """
    names = list(known)
    if wanted in names:
        return wanted
    for name in names:
        if name.casefold() == wanted.casefold():
            return name
    raise ConfigError(f"{wanted}: {what}{hint(wanted, names, otherwise)}")
