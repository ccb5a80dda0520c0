"""What the status page shows of a match for as long as the match is kept: nothing personal.

The visitor's data is erased once every action has ended. What stays are the paths of pages, their
friction tags, and each part of the rule's condition with what was seen of it.
"""

import zlib
from typing import Literal

import msgspec
from msgspec import Struct

MOST_STOPS = 50
"""How many pages of a visit are kept: the first ones and the last ones."""

Mark = Literal["yes", "no", "unknown"]


class Stop(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A page of a visit: its path, how long it was open (ms), and its friction tags in words."""

    path: str
    time: int | None = None
    tags: tuple[str, ...] = ()


class Clause(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a condition: what is asked, what was seen, and how far off that is."""

    text: str
    mark: Mark = "unknown"
    seen: str = ""
    distance: str = ""
    note: str = ""
    parts: tuple["Clause", ...] = ()


class Near(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A rule that did not match then. `waits`: the session was not over, or the rule was
    undecided, so that it might match later."""

    rule: str
    when: Clause
    excepts: Clause | None = None
    waits: bool = False


class Insight(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A match as it was decided. `pages` is how many pages the visit had, also those left out.

    `facts` are a few of the session's values as (field, value), `near` the rules that came
    closest to matching it too, the closest first.
    """

    when: Clause
    excepts: Clause | None = None
    path: tuple[Stop, ...] = ()
    pages: int = 0
    facts: tuple[tuple[str, str], ...] = ()
    near: tuple[Near, ...] = ()


def packed(insight: Insight) -> bytes:
    """The insight as the store keeps it: some 500 bytes."""
    return zlib.compress(msgspec.msgpack.encode(insight))


def unpacked(kept: bytes | None) -> Insight | None:
    """What `packed` packed; None for nothing, or for what another version wrote."""
    try:
        return msgspec.msgpack.decode(zlib.decompress(kept), type=Insight) if kept else None
    except (zlib.error, msgspec.MsgspecError):
        return None
