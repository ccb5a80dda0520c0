"""Messages in Slack that may still be answered or edited."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from bot.ports import Posted
from bot.store.digests import DueStep
from bot.store.schema import ms
from bot.store.schema import posts as _table


class _Edits(msgspec.Struct, frozen=True):
    post: str


_KEPT = select(_table.c.key, _table.c.channel, _table.c.stamp, _table.c.shows)


def keep_posts(
    conn: Connection, match: int, lane: str, posts: Sequence[Posted], now: datetime
) -> None:
    """Keep messages of this match; of those that are known, what they show from now on."""
    for post in posts:
        write = insert(_table).values(
            key=post.key,
            match_id=match,
            lane=lane,
            channel=post.channel,
            stamp=post.stamp,
            shows=post.shows,
            at=ms(now),
        )
        conn.execute(
            write.on_conflict_do_update(index_elements=["key"], set_={"shows": post.shows})
        )


def post_of(conn: Connection, row: DueStep) -> Posted | None:
    """The message that this step edits, or that its match answers; None if there is none."""
    if row.action == "edit":
        try:
            key = msgspec.json.decode(row.params, type=_Edits).post
        except msgspec.MsgspecError:
            return None
        return _read(conn.execute(_KEPT.where(_table.c.key == key)).first())
    if row.m_continues is None:
        return None
    begun = _KEPT.where(_table.c.match_id == row.m_continues, _table.c.lane == row.lane)
    return _read(conn.execute(begun.order_by(_table.c.at).limit(1)).first())


def _read(found: Any) -> Posted | None:
    if found is None:
        return None
    return Posted(found.key, found.channel, found.stamp, found.shows)
