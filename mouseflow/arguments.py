"""Check the arguments of requests at run time, and write them as the API reads them.

Type hints protect no notebook. Scalars of numpy and pandas count as the numbers, texts and dates
that they are. Every error is a ValueError that names the argument; nothing is sent.
"""

import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from typing import Any


class Unlisted(str):
    """A value of a filter that the API document does not list, sent as it is.

    SessionFilters(device=Unlisted("television"))
    """

    __slots__ = ()


def plain(name: str, value: Any) -> Any:
    """The value, out of a numpy or pandas scalar; raises ValueError for NaN and NaT."""
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    try:
        missing = bool(value != value)
    except (TypeError, ValueError):
        missing = type(value).__name__ == "NAType"
    if missing:
        raise ValueError(f"{name}: a missing value (NaN); leave the argument out instead")
    return value


def text(name: str, value: Any) -> str:
    """A text that is not empty."""
    value = plain(name, value)
    if not isinstance(value, str):
        raise ValueError(f"{name}: expected a text, got {_kind(value)}")
    if not value:
        raise ValueError(f"{name} must not be empty")
    return value


def texts(name: str, values: Any) -> tuple[str, ...]:
    """Texts, of a list, tuple, set, array or Series; one text alone is a list of one."""
    if isinstance(values, str):
        return (text(name, values),)
    if not isinstance(values, Iterable) or isinstance(values, Mapping | bytes):
        raise ValueError(f"{name}: expected a list of texts, got {_kind(values)}")
    found = tuple(text(name, each) for each in values)
    return tuple(sorted(found)) if isinstance(values, set | frozenset) else found


def pairs(name: str, values: Any) -> tuple[tuple[Any, Any], ...]:
    """Pairs, in a list or another order that counts."""
    if isinstance(values, str | bytes | Mapping | set | frozenset):
        raise ValueError(f"{name}: expected a list of pairs, got {_kind(values)}")
    try:
        return tuple((first, second) for first, second in values)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected a list of pairs") from None


def truth(name: str, value: Any) -> bool:
    """True or False."""
    value = plain(name, value)
    if not isinstance(value, bool):
        raise ValueError(f"{name}: expected True or False, got {_kind(value)}")
    return value


def number(name: str, value: Any) -> int | float:
    """A finite number. Numbers as texts are refused."""
    value = plain(name, value)
    if isinstance(value, bool | str | bytes | timedelta):
        raise ValueError(f"{name}: expected a number, got {_kind(value)}")
    if not isinstance(value, int | float):
        try:
            value = int(value.__index__()) if hasattr(value, "__index__") else float(value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{name}: expected a number, got {_kind(value)}") from None
    found: int | float = value
    if not math.isfinite(found):
        raise ValueError(f"{name}: {found} is not a number")
    return found


def whole(name: str, value: Any, least: int = 0, most: int | None = None) -> int:
    """A whole number in that range; 3.0 counts as 3, as a column with gaps has it."""
    found = number(name, value)
    if found != int(found):
        raise ValueError(f"{name}: expected a whole number, got {found}")
    if found < least or (most is not None and found > most):
        end = "must not be negative" if most is None and least == 0 else f"is {least} to {most}"
        raise ValueError(f"{name} {end}, not {int(found)}")
    return int(found)


def day(name: str, value: Any) -> date:
    """A day. A time of day is refused, except midnight without a time zone: the API has whole
    days, in the account's time zone.
    """
    value = plain(name, value)
    if isinstance(value, datetime):
        if value.tzinfo is not None or value.time() != time():
            raise ValueError(
                f"{name}: the API filters by whole days of the account's time zone; "
                "pass a date, such as moment.date()"
            )
        return value.date()
    if not isinstance(value, date):
        raise ValueError(f"{name}: expected a date, got {_kind(value)}")
    return value


def span(name: str, value: Any) -> timedelta:
    """A duration that is not negative."""
    value = plain(name, value)
    if not isinstance(value, timedelta):
        raise ValueError(f"{name}: expected a timedelta, got {_kind(value)}")
    if value < timedelta(0):
        raise ValueError(f"{name} must not be negative")
    return value


def choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """One of the documented values, or any in `Unlisted`."""
    found = text(name, value)
    if isinstance(found, Unlisted) or found in choices:
        return found
    raise ValueError(
        f"{name}: {found!r} is not one of {', '.join(choices)}; "
        "if the API knows it all the same, write Unlisted(...)"
    )


def identifier(name: str, value: Any) -> str:
    """An id that leads to no other path."""
    if not isinstance(value, str):
        raise ValueError(f"{name}: an id is needed, got {_kind(value)}")
    if value in ("", ".", ".."):
        raise ValueError(f"{name} must not be {value!r}")
    return value


def _kind(value: Any) -> str:
    names = {bool: "True or False", str: "a text", int: "a number", float: "a number"}
    return "None" if value is None else names.get(type(value), f"a {type(value).__name__}")
