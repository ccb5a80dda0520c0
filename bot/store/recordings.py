"""Which recordings have been seen, in what shape, and which are still live."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, TextClause, select, text, update
from sqlalchemy.dialects.sqlite import insert

from bot.store.tables import matches, recordings
from bot.store.times import moment, moment_or_none, ms, ms_or_none

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
