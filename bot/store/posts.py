"""Messages in Slack that may still be answered or edited."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection

from bot.actions.slack import Answer, Edit, Slack
from bot.messages.message import kept, reread
from bot.messages.presses import carried
from bot.ports import Posted
from bot.store.digests import DueStep
from bot.store.schema import ms
from bot.store.statements import Value, execute

TOGETHER = timedelta(minutes=1)
"""How long a message about a recording takes up what other rules say of it."""


_NAME_THEIR_POST = (Edit.kind, Answer.kind)


class _Edits(msgspec.Struct, frozen=True):
    post: str


_COLUMNS = "posts.key, posts.channel, posts.stamp, posts.shows"
_KEPT = f"SELECT {_COLUMNS} FROM posts WHERE key = :key"  # noqa: S608
_BEGUN = (
    f"SELECT {_COLUMNS} FROM posts WHERE match_id = :match AND lane = :lane"  # noqa: S608
    " ORDER BY at LIMIT 1"
)
_JUST_NOW = (
    f"SELECT {_COLUMNS} FROM posts JOIN matches ON matches.id = posts.match_id"  # noqa: S608
    " WHERE matches.website = :website AND matches.subject_key = :subject"
    " AND matches.kind = 'recordings' AND matches.id <> :match AND posts.lane = :lane"
    " AND posts.at > :since ORDER BY posts.at DESC LIMIT 1"
)
_OF_MATCHES = (
    f"SELECT posts.match_id, posts.lane, {_COLUMNS} FROM posts"  # noqa: S608
    " JOIN matches ON matches.id = posts.match_id"
    " WHERE matches.rule = :rule AND matches.subject_key = :subject AND matches.matched = :matched"
)
_KEEP = (
    "INSERT INTO posts (key, match_id, lane, channel, stamp, shows, at)"
    " VALUES (:key, :match, :lane, :channel, :stamp, :shows, :at)"
    " ON CONFLICT (key) DO UPDATE SET shows = excluded.shows"
)


def keep_posts(
    conn: Connection, match: int, lane: str, posts: Sequence[Posted], now: datetime
) -> None:
    """Keep messages of this match; of those that are known, what they show from now on."""
    for post in posts:
        known = _by_key(conn, post.key)
        row: dict[str, Value] = {
            "key": post.key,
            "match": match,
            "lane": lane,
            "channel": post.channel,
            "stamp": post.stamp,
            "shows": post.shows if known is None else _with_people(known.shows, post.shows),
            "at": ms(now),
        }
        execute(conn, _KEEP, row)


def _with_people(known: str, shows: str) -> str:
    """What it shows, with what people have done to the message since that was decided."""
    old, new = reread(known), reread(shows)
    if old is None or new is None or new.edits > old.edits:
        return shows
    return kept(carried(old, new))


def post_of(conn: Connection, row: DueStep, now: datetime) -> Posted | None:
    """The message that this step edits, answers or is added to; None if there is none.

    After an attempt that may have taken effect it is the same one.
    """
    if row.action in _NAME_THEIR_POST:
        return _by_key(conn, _edits(row.params))
    if row.post_key is not None or row.unknown_since is not None:
        return _by_key(conn, row.post_key)
    if row.m_continues is not None:
        return _read(conn, _BEGUN, {"match": row.m_continues, "lane": row.lane})
    if row.action != Slack.kind or row.look_since is not None:
        return None
    about: dict[str, Value] = {
        "website": row.m_website,
        "subject": row.m_subject_key,
        "match": row.match_id,
        "lane": row.lane,
        "since": ms(now - TOGETHER),
    }
    return _read(conn, _JUST_NOW, about)


def posts_of(
    conn: Connection, rule: str, subject_key: str, matched: datetime
) -> list[tuple[int, str, Posted]]:
    """The messages of what the rule matched then, each with its match and lane."""
    about: dict[str, Value] = {"rule": rule, "subject": subject_key, "matched": ms(matched)}
    return [
        (match, lane, Posted(*post)) for match, lane, *post in execute(conn, _OF_MATCHES, about)
    ]


def _edits(params: str) -> str | None:
    try:
        return msgspec.json.decode(params, type=_Edits).post
    except msgspec.MsgspecError:
        return None


def _by_key(conn: Connection, key: str | None) -> Posted | None:
    return None if key is None else _read(conn, _KEPT, {"key": key})


def _read(conn: Connection, query: str, values: dict[str, Value]) -> Posted | None:
    found = execute(conn, query, values).fetchone()
    return None if found is None else Posted(*found)
