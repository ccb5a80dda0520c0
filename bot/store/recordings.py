"""Which recordings have been seen, in what shape, and which are still live."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Connection, TextClause, delete, func, select, text, update
from sqlalchemy.dialects.sqlite import insert

from bot.store.schema import matches, moment, moment_or_none, ms, ms_or_none, recordings, watermarks

"""SQLite takes only so many values in one statement."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is known of one answer and of its window.

    `fingerprints` has those of the answer's rows that are known, by id; `closed` the ids
    among them that need no more looks. `total` counts the recordings known in the window,
    `live` holds the ids that are still to be settled, wherever they are.
    """

    fingerprints: Mapping[str, str]
    closed: frozenset[str]
    total: int
    live: frozenset[str]


def coverage(
    conn: Connection, website: str, ids: Sequence[str], start: datetime, end: datetime
) -> Coverage:
    """What is known of these rows, and of the window from `start` up to `end`."""
    table = recordings.c
    fingerprints: dict[str, str] = {}
    closed: set[str] = set()
    for at in range(0, len(ids), _CHUNK):
        query = select(table.id, table.fingerprint, table.closed).where(
            table.website == website, table.id.in_(ids[at : at + _CHUNK]), table.vanished == 0
        )
        for row in conn.execute(query):
            fingerprints[row.id] = row.fingerprint
            if row.closed:
                closed.add(row.id)
    total = conn.execute(
        select(func.count()).where(
            table.website == website,
            table.created >= ms(start),
            table.created < ms(end),
            table.vanished == 0,
        )
    ).scalar_one()
    # Literals, not parameters: only so does SQLite use the partial index.
    waiting = text("settled = 0 AND closed = 0 AND vanished = 0")
    live = conn.execute(select(table.id).where(table.website == website).where(waiting))
    return Coverage(fingerprints, frozenset(closed), total, frozenset(live.scalars()))


_CHUNK = 500
"""SQLite takes only so many values in one statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRecording:
    """A recording as a poll saw it.

    `fingerprint` is opaque and changes when the recording does. `settled` tells that it has
    been without activity long enough to be final, `closed` that it need not be looked at again.
    `created` is None where the API left it out; the time of the poll stands in for it.
    """

    id: str
    fingerprint: str
    settled: bool
    created: datetime | None = None
    last_activity: datetime | None = None
    closed: bool = False


def save_recordings(
    conn: Connection, website: str, seen: Iterable[SeenRecording], at: datetime
) -> None:
    """Add the recordings, or bring what is known of them up to date."""
    rows = [
        {
            "website": website,
            "id": each.id,
            "created": ms(each.created or at),
            "last_activity": ms_or_none(each.last_activity),
            "fingerprint": each.fingerprint,
            "settled": int(each.settled),
            "closed": int(each.closed),
            "vanished": 0,
        }
        for each in seen
    ]
    if not rows:
        return
    write = insert(recordings)
    new = write.excluded
    changes = {
        name: new[name]
        for name in ("last_activity", "fingerprint", "settled", "closed", "vanished")
    }
    conn.execute(write.on_conflict_do_update(index_elements=["website", "id"], set_=changes), rows)


def mark_vanished(conn: Connection, website: str, ids: Iterable[str]) -> None:
    """Remember that the API no longer has these recordings."""
    for some in _chunks(tuple(ids)):
        conn.execute(
            update(recordings)
            .where(recordings.c.website == website, recordings.c.id.in_(some))
            .values(vanished=1)
        )


def close_older(conn: Connection, website: str, than: datetime) -> None:
    """Recordings made before then are not looked at any more, though nothing said they ended."""
    conn.execute(
        update(recordings)
        .where(recordings.c.website == website, recordings.c.created < ms(than))
        .where(text("settled = 0 AND closed = 0 AND vanished = 0"))
        .values(settled=1, closed=1)
    )


def known_recordings(conn: Connection, website: str, since: datetime) -> dict[str, SeenRecording]:
    """The recordings made at `since` or later that are known and have not vanished, by id."""
    return _by_id(conn, website, (recordings.c.created >= ms(since)) & (recordings.c.vanished == 0))


def live_recordings(conn: Connection, website: str) -> dict[str, SeenRecording]:
    """The recordings that must be looked at again: neither settled, closed nor vanished."""
    # Literals, not parameters: only so does SQLite use the partial index.
    return _by_id(conn, website, text("settled = 0 AND closed = 0 AND vanished = 0"))


def matched_rules(
    conn: Connection, website: str, ids: Iterable[str]
) -> Mapping[str, frozenset[str]]:
    """Which rules each of these subjects has matched already; ids without a match are left out."""
    found: dict[str, set[str]] = {}
    for some in _chunks(tuple(ids)):
        query = select(matches.c.subject_key, matches.c.rule).where(
            matches.c.website == website, matches.c.subject_key.in_(some)
        )
        for row in conn.execute(query):
            found.setdefault(row.subject_key, set()).add(row.rule)
    return {key: frozenset(rules) for key, rules in found.items()}


def _by_id(
    conn: Connection, website: str, which: ColumnElement[bool] | TextClause
) -> dict[str, SeenRecording]:
    query = select(recordings).where(recordings.c.website == website).where(which)
    return {
        row.id: SeenRecording(
            id=row.id,
            fingerprint=row.fingerprint,
            settled=bool(row.settled),
            created=moment(row.created),
            last_activity=moment_or_none(row.last_activity),
            closed=bool(row.closed),
        )
        for row in conn.execute(query)
    }


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]


WEBSITES = "websites"
"""The source under which the names of the account's websites are kept, for no website."""


def website_names(conn: Connection) -> dict[str, str]:
    """The account's websites by id, as the daemon last saw them."""
    data = watermark(conn, WEBSITES, "")
    return msgspec.json.decode(data, type=dict[str, str]) if data else {}


MISSING = "websites missing"
"""The source under which the websites are kept that the last list lacked, for no website."""


def missing_websites(conn: Connection) -> dict[str, str]:
    """The websites by id that were known and that the account's last list lacked."""
    data = watermark(conn, MISSING, "")
    return msgspec.json.decode(data, type=dict[str, str]) if data else {}


def set_websites(
    conn: Connection, names: Mapping[str, str], missing: Mapping[str, str], at: datetime
) -> None:
    """Remember the account's websites by id as they are listed now, and those that it lacks."""
    for source, websites in ((WEBSITES, names), (MISSING, missing)):
        set_watermark(conn, source, "", msgspec.json.encode(websites).decode(), at)


CHANNELS = "slack"
"""The source under which the channels are kept that the bot may not read, for no website."""


def blind_channels(conn: Connection) -> list[str]:
    """The channels in which a post can't be looked up, as the daemon last tried."""
    data = watermark(conn, CHANNELS, "")
    return msgspec.json.decode(data, type=list[str]) if data else []


def set_blind_channels(conn: Connection, channels: Sequence[str], at: datetime) -> None:
    """Remember them."""
    set_watermark(conn, CHANNELS, "", msgspec.json.encode(channels).decode(), at)


ROUNDS = "rounds"
"""The source under which it is kept how often recordings are really seen, for no website."""


def watermark(conn: Connection, source: str, website: str) -> str | None:
    """What the source handed over last time for this website; None at first."""
    query = select(watermarks.c.data).where(
        watermarks.c.source == source, watermarks.c.website == website
    )
    return conn.execute(query).scalar_one_or_none()


def all_watermarks(conn: Connection) -> dict[tuple[str, str], tuple[str, datetime]]:
    """(source, website) -> what was handed over, and when."""
    rows = conn.execute(select(watermarks))
    return {(row.source, row.website): (row.data, moment(row.at)) for row in rows}


def forget_watermark(conn: Connection, source: str, website: str) -> None:
    """The next look at this website will be a first one."""
    conn.execute(
        delete(watermarks).where(watermarks.c.source == source, watermarks.c.website == website)
    )


def set_watermark(conn: Connection, source: str, website: str, data: str, at: datetime) -> None:
    """Remember how far the source has read; belongs into the transaction of what it read."""
    write = insert(watermarks).values(source=source, website=website, data=data, at=ms(at))
    conn.execute(
        write.on_conflict_do_update(
            index_elements=["source", "website"],
            set_={"data": write.excluded.data, "at": write.excluded.at},
        )
    )
