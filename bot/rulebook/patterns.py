"""What is wrong with a user's regular expression, in words."""

import re2

from bot.rulebook.operators import found

_LONGEST = 1000
_PERL = "there is no look-ahead and no look-behind in RE2; use not, or except"


def problem(regex: str) -> str | None:
    """What RE2 does not understand in the expression, None where all is well."""
    if len(regex) > _LONGEST:
        return f"it is longer than {_LONGEST} characters"
    try:
        found(regex)
    except re2.error as error:
        said = error.args[0] if error.args else ""
        words = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        return _PERL if words.startswith("invalid perl operator") else words
    return None
