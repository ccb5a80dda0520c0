"""Users' regular expressions through RE2, which takes linear time on any input."""

from functools import lru_cache
from typing import Any

import re2

_LONGEST = 1000


def _options() -> Any:
    options = re2.Options()
    options.log_errors = False  # or RE2 writes to standard error
    options.case_sensitive = False
    options.max_mem = 8 << 20
    return options


@lru_cache(maxsize=1024)
def compiled(regex: str) -> Any:
    """The expression, ready to `search` without regard to case; raises ValueError."""
    if len(regex) > _LONGEST:
        raise ValueError(f"longer than {_LONGEST} characters")
    try:
        return re2.compile(regex, _options())
    except re2.error as error:
        said = error.args[0] if error.args else "not understood"
        words = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        raise ValueError(words) from None


def problem(regex: str) -> str | None:
    """What is wrong with the expression, None where nothing is."""
    try:
        compiled(regex)
    except ValueError as error:
        return str(error)
    return None
