"""Messages in Slack that may still be answered or edited."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from bot.messages.message import kept, reread
from bot.messages.presses import carried
from bot.ports import Posted
from bot.store.digests import DueStep
from bot.store.schema import matches, ms
from bot.store.schema import posts as _table
from bot.store.statements import upsert

TOGETHER = timedelta(minutes=1)
"""How long a message about a recording takes up what other rules say of it."""


class _Edits(msgspec.Struct, frozen=True):
    post: str


_KEPT = select(_table.c.key, _table.c.channel, _table.c.stamp, _table.c.shows)


def keep_posts(
    conn: Connection, match: int, lane: str, posts: Sequence[Posted], now: datetime
) -> None:
    """Keep messages of this match; of those that are known, what they show from now on."""
    for post in posts:
        known = conn.execute(select(_table.c.shows).where(_table.c.key == post.key)).scalar()
        write = upsert(_table).values(
            key=post.key,
            match_id=match,
            lane=lane,
            channel=post.channel,
            stamp=post.stamp,
            shows=post.shows,
            at=ms(now),
        )
        shows = _with_people(known, post.shows)
        conn.execute(write.on_conflict_do_update(index_elements=["key"], set_={"shows": shows}))


def _with_people(known: str | None, shows: str) -> str:
    """What it shows, with what people have done to the message since that was decided."""
    old, new = reread(known or ""), reread(shows)
    if old is None or new is None or new.edits > old.edits:
        return shows
    return kept(carried(old, new))


def post_of(conn: Connection, row: DueStep, now: datetime) -> Posted | None:
    """The message that this step edits, answers or is added to; None if there is none.

    After an attempt that may have taken effect it is the same one.
    """
    if row.action == "edit":
        return _by_key(conn, _edits(row.params))
    if row.post_key is not None or row.unknown_since is not None:
        return _by_key(conn, row.post_key)
    if row.m_continues is not None:
        begun = _KEPT.where(_table.c.match_id == row.m_continues, _table.c.lane == row.lane)
        return _read(conn.execute(begun.order_by(_table.c.at).limit(1)).first())
    if row.action != "slack" or row.look_since is not None:
        return None
    just_now = _KEPT.join(matches, matches.c.id == _table.c.match_id).where(
        matches.c.website == row.m_website,
        matches.c.subject_key == row.m_subject_key,
        matches.c.kind == "recordings",
        matches.c.id != row.match_id,
        _table.c.lane == row.lane,
        _table.c.at > ms(now - TOGETHER),
    )
    return _read(conn.execute(just_now.order_by(_table.c.at.desc()).limit(1)).first())


def posts_of(
    conn: Connection, rule: str, subject_key: str, matched: datetime
) -> list[tuple[int, str, Posted]]:
    """The messages of what the rule matched then, each with its match and lane."""
    query = (
        select(_table)
        .join(matches, matches.c.id == _table.c.match_id)
        .where(
            matches.c.rule == rule,
            matches.c.subject_key == subject_key,
            matches.c.matched == ms(matched),
        )
    )
    return [
        (row.match_id, row.lane, Posted(row.key, row.channel, row.stamp, row.shows))
        for row in conn.execute(query)
    ]


def _edits(params: str) -> str | None:
    try:
        return msgspec.json.decode(params, type=_Edits).post
    except msgspec.MsgspecError:
        return None


def _by_key(conn: Connection, key: str | None) -> Posted | None:
    return None if key is None else _read(conn.execute(_KEPT.where(_table.c.key == key)).first())


def _read(found: Any) -> Posted | None:
    if found is None:
        return None
    return Posted(found.key, found.channel, found.stamp, found.shows)
