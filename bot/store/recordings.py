"""Which recordings have been seen, which are still live, and how far each source has read."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    Connection,
    TextClause,
    delete,
    func,
    select,
    text,
    update,
)

from bot.domain.step import DELETED
from bot.store.schema import moment, moment_or_none, ms, ms_or_none, recordings, watermarks
from bot.store.statements import Value, execute, execute_for, execute_many


class Coverage(Struct, frozen=True):
    """What is known of one answer and of its window.

    `fingerprints` are those of the answer's known rows, by id; `decided` those of rows that need
    no more polls, also if they have vanished since. `total` counts the recordings known in the
    window, `live` are the ids that are not settled yet, in any window. `deleted` names the last
    deletion by the bot.
    """

    fingerprints: Mapping[str, str]
    decided: Mapping[str, str]
    total: int
    live: frozenset[str]
    deleted: str


_KNOWN = (
    "SELECT id, fingerprint, closed, vanished FROM recordings"
    " WHERE website = :website AND id IN (:ids)"
)
_IN_WINDOW = (
    "SELECT count(*) FROM recordings"
    " WHERE website = :website AND created >= :start AND created < :until AND vanished = 0"
)


def coverage(
    conn: Connection,
    website: str,
    ids: Sequence[str],
    start: datetime,
    end: datetime,
    total: int | None = None,
) -> Coverage:
    """What is known of these rows, and of the window from `start` up to `end`.

    `total` is the number of recordings known in the window, None to count them.
    """
    fingerprints: dict[str, str] = {}
    decided: dict[str, str] = {}
    for key, fingerprint, over, gone in execute_for(conn, _KNOWN, {"website": website}, ids):
        if not gone:
            fingerprints[key] = fingerprint
        if over:
            decided[key] = fingerprint
    if total is None:
        window: dict[str, Value] = {"website": website, "start": ms(start), "until": ms(end)}
        total = execute(conn, _IN_WINDOW, window).fetchone()[0]
    live = frozenset(key for (key,) in execute(conn, _LIVE_IDS, {"website": website}))
    deleted = watermark(conn, DELETED_LAST, website) or ""
    return Coverage(fingerprints, decided, total, live, deleted)


_CHUNK = 500

_LIVE = text("settled = 0 AND closed = 0 AND vanished = 0")
"""Literals: with parameters SQLite does not use the partial index `recordings_live`."""

_LIVE_IDS = (
    "SELECT id FROM recordings INDEXED BY recordings_live"
    " WHERE website = :website AND settled = 0 AND closed = 0 AND vanished = 0"
)
"""Left to itself SQLite prefers an index that holds every recording of the website."""


class SeenRecording(Struct, frozen=True, kw_only=True):
    """A recording as a poll saw it.

    `fingerprint` is opaque and changes when the recording does. `settled`: it has had
    no activity for long enough to be final. `closed`: it need not be polled again. `created` is
    None if the API left it out; the time of the poll is used instead. `marks` is opaque and
    changes when people mark the recording; empty if that is not known. `fresh`: a list has
    shown it that was not known. One that was may have been deleted meanwhile.
    """

    id: str
    fingerprint: str
    settled: bool
    created: datetime | None = None
    last_activity: datetime | None = None
    closed: bool = False
    marks: str = ""
    fresh: bool = True


def save_recordings(
    conn: Connection, website: str, seen: Iterable[SeenRecording], at: datetime
) -> None:
    """Add the recordings, or bring what is known of them up to date.

    One that was decided, vanished and is back as it was keeps the marks of its decision.
    """
    rows = [
        {
            "website": website,
            "id": each.id,
            "created": ms(each.created or at),
            "last_activity": ms_or_none(each.last_activity),
            "fingerprint": each.fingerprint,
            "settled": int(each.settled),
            "closed": int(each.closed),
            "marks": each.marks,
            "fresh": int(each.fresh),
        }
        for each in seen
    ]
    execute_many(conn, _SAVE, rows)


_SAVE = (
    "INSERT INTO recordings (website, id, created, last_activity, fingerprint, settled, closed,"
    " vanished, marks) VALUES (:website, :id, :created, :last_activity, :fingerprint, :settled,"
    " :closed, 0, :marks) ON CONFLICT (website, id) DO UPDATE SET"
    " last_activity = excluded.last_activity, fingerprint = excluded.fingerprint,"
    " settled = excluded.settled, closed = excluded.closed,"
    " vanished = CASE WHEN :fresh = 1 THEN 0 ELSE recordings.vanished END,"
    " marks = CASE WHEN recordings.vanished = 1 AND recordings.closed = 1"
    " AND recordings.fingerprint = excluded.fingerprint"
    " THEN recordings.marks ELSE excluded.marks END"
)


def mark_vanished(conn: Connection, website: str, ids: Iterable[str]) -> None:
    """Mark recordings that the API no longer has."""
    for some in _chunks(tuple(ids)):
        conn.execute(
            update(recordings)
            .where(recordings.c.website == website, recordings.c.id.in_(some))
            .values(vanished=1)
        )


DELETED_LAST = "recordings deleted"
"""The watermark source that names the step by which the bot last deleted a recording."""


def note_deletion(conn: Connection, website: str, recording: str, step: int, at: datetime) -> None:
    """The bot has deleted the recording: it is not known any more, so no count has it."""
    mark_vanished(conn, website, (recording,))
    set_watermark(conn, DELETED_LAST, website, str(step), at)


def close_older(conn: Connection, website: str, than: datetime) -> None:
    """Close recordings made before then, even if they have not settled."""
    conn.execute(
        update(recordings)
        .where(recordings.c.website == website, recordings.c.created < ms(than))
        .where(_LIVE)
        .values(settled=1, closed=1)
    )


def reopen_recordings(conn: Connection, website: str, since: datetime) -> None:
    """Make recordings live again that were active at `since` or later."""
    conn.execute(
        update(recordings)
        .where(recordings.c.website == website, recordings.c.last_activity >= ms(since))
        .where(recordings.c.vanished == 0)
        .values(settled=0, closed=0)
    )


def known_recordings(conn: Connection, website: str, since: datetime) -> dict[str, SeenRecording]:
    """The recordings made at `since` or later that are known and have not vanished, by id."""
    return _by_id(conn, website, (recordings.c.created >= ms(since)) & (recordings.c.vanished == 0))


def live_recordings(conn: Connection, website: str) -> dict[str, SeenRecording]:
    """The recordings to poll again: neither settled, closed nor vanished."""
    return _by_id(conn, website, _LIVE)


def live_sessions(conn: Connection) -> dict[str, tuple[int, datetime]]:
    """How many sessions of each website are not settled, and when the first was last active."""
    active = func.coalesce(recordings.c.last_activity, recordings.c.created)
    query = (
        select(recordings.c.website, func.count(), func.min(active))
        .where(_LIVE)
        .group_by(recordings.c.website)
    )
    return {website: (count, moment(at)) for website, count, at in conn.execute(query)}


def matched_rules(
    conn: Connection, website: str, ids: Iterable[str]
) -> Mapping[str, frozenset[str]]:
    """Which rules each of these subjects has matched already; ids without a match are left out."""
    found: dict[str, set[str]] = {}
    for key, rule in execute_for(conn, _MATCHED, {"website": website}, tuple(ids)):
        found.setdefault(key, set()).add(rule)
    return {key: frozenset(rules) for key, rules in found.items()}


_MATCHED = (
    "SELECT subject_key, rule FROM matches WHERE website = :website AND subject_key IN (:ids)"
)


def deleted_by_steps(conn: Connection, website: str, ids: Sequence[str]) -> frozenset[str]:
    """Those of the recordings that the bot itself has deleted, or is deleting just now."""
    found = execute_for(conn, _DELETED, {"website": website}, ids)
    return frozenset(key for (key,) in found)


_DELETED = (
    "SELECT DISTINCT m.subject_key FROM matches m JOIN steps s ON s.match_id = m.id"
    " WHERE m.website = :website AND m.subject_key IN (:ids) AND s.action = 'delete'"
    " AND (s.state = 'done' OR s.state = 'sending' OR s.unknown_since IS NOT NULL)"
)


def deleted_since(
    conn: Connection, website: str, since: datetime, before: datetime
) -> tuple[list[datetime], int]:
    """When each recording that the bot itself deleted `before` was made, if at `since` or later.

    And how many more it may have deleted: later, or with an outcome that is not known yet. Only
    those whose match the store still has.
    """
    values: dict[str, Value] = {"website": website, "since": ms(since), "before": ms(before)}
    rows = execute(conn, _DELETED_SINCE, values).fetchall()
    return [moment(made) for made, sure in rows if sure], sum(not sure for _made, sure in rows)


# One lookup for each recording: the matches of a website go back much further.
_DELETED_SINCE = (
    "SELECT made, sure FROM (SELECT r.created AS made, (SELECT max(CASE"  # noqa: S608 - constants
    f" WHEN s.state = 'done' AND s.result = '{DELETED}' AND s.ended <= :before THEN 1"
    f" WHEN s.state = 'done' AND s.result = '{DELETED}' THEN 0"
    " WHEN s.state = 'sending' OR (s.state <> 'done' AND s.unknown_since IS NOT NULL) THEN 0 END)"
    " FROM matches m JOIN steps s ON s.match_id = m.id WHERE m.website = r.website"
    " AND m.subject_key = r.id AND m.kind = 'recordings' AND s.action = 'delete') AS sure"
    " FROM recordings r INDEXED BY recordings_created"
    " WHERE r.website = :website AND r.created >= :since) perhaps WHERE sure IS NOT NULL"
)


def decided_marks(conn: Connection, website: str, ids: Sequence[str]) -> dict[str, str]:
    """The marks that each of these had when it was decided; those still live are left out."""
    return dict(execute_for(conn, _DECIDED, {"website": website}, ids))


_DECIDED = (
    "SELECT id, marks FROM recordings"
    " WHERE website = :website AND id IN (:ids) AND closed = 1 AND vanished = 0"
)


def marks_decided_since(conn: Connection, website: str, since: datetime) -> dict[str, str]:
    """The marks at their decision of recordings that were active at `since` or later, by id.

    No session lasts longer than a day.
    """
    early = since - timedelta(days=1)
    times: dict[str, Value] = {"early": ms(early), "at": ms(since)}
    return dict(execute(conn, _DECIDED_SINCE, {"website": website, **times}))


_DECIDED_SINCE = (
    "SELECT id, marks FROM recordings WHERE website = :website AND created >= :early"
    " AND coalesce(last_activity, created) >= :at AND closed = 1 AND vanished = 0"
)


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
            marks=row.marks,
        )
        for row in conn.execute(query)
    }


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]


ACCOUNT = "account"
"""The watermark source for the account whose store it is, where there are several."""


def claim_for(conn: Connection, account: str, others: Collection[str], at: datetime) -> str:
    """Note that the store is this account's; or return the other one whose store it is.

    An account that is none of the `others` has another name now, or is gone.
    """
    owner = watermark(conn, ACCOUNT, "")
    if owner is not None and owner in others:
        return owner
    if owner != account:
        set_watermark(conn, ACCOUNT, "", account, at)
    return ""


WEBSITES = "websites"
"""The watermark source for the names of the account's websites."""


def website_names(conn: Connection) -> dict[str, str]:
    """The account's websites by id, as the daemon last saw them."""
    data = watermark(conn, WEBSITES, "")
    return msgspec.json.decode(data, type=dict[str, str]) if data else {}


def ids_beginning(conn: Connection, beginning: str, website: str, most: int) -> list[str]:
    """The ids of known recordings that begin so, at most so many; of one website, or of all."""
    begins = func.substr(recordings.c.id, 1, len(beginning)) == beginning
    there = recordings.c.website == website if website else begins
    query = select(recordings.c.id).where(begins, there).distinct().limit(most)
    return sorted(conn.execute(query).scalars())


MISSING = "websites missing"
"""The watermark source for websites that were missing from the last list."""


def missing_websites(conn: Connection) -> dict[str, str]:
    """Known websites that were missing from the last list, by id."""
    data = watermark(conn, MISSING, "")
    return msgspec.json.decode(data, type=dict[str, str]) if data else {}


def set_websites(
    conn: Connection, names: Mapping[str, str], missing: Mapping[str, str], at: datetime
) -> None:
    """Save the account's websites and the missing ones, both by id."""
    for source, websites in ((WEBSITES, names), (MISSING, missing)):
        set_watermark(conn, source, "", msgspec.json.encode(websites).decode(), at)


CHANNELS = "slack"
"""The watermark source for channels that the bot may not read."""


def blind_channels(conn: Connection) -> list[str]:
    """The channels in which posts can't be looked up, as of the daemon's last check."""
    data = watermark(conn, CHANNELS, "")
    return msgspec.json.decode(data, type=list[str]) if data else []


def set_blind_channels(conn: Connection, channels: Sequence[str], at: datetime) -> None:
    """Save them."""
    set_watermark(conn, CHANNELS, "", msgspec.json.encode(channels).decode(), at)


ON_HOLD = "on hold: "
"""How the watermark sources begin for filters that hold rules of a kind back."""


class OnHold(Struct, frozen=True):
    """Rules for a kind of subject that are on hold on a website because of a filter."""

    website: str
    kind: str
    filter: str
    reason: str


def on_hold(conn: Connection) -> list[OnHold]:
    """All filters that hold rules back."""
    return [
        OnHold(website, source.removeprefix(ON_HOLD), name, reason)
        for (source, website), (data, _) in all_watermarks(conn).items()
        if source.startswith(ON_HOLD)
        for name, reason in msgspec.json.decode(data, type=dict[str, str]).items()
    ]


def set_on_hold(
    conn: Connection, kind: str, website: str, held: Mapping[str, str], at: datetime
) -> None:
    """Save the filters that hold rules of that kind back, with the reasons."""
    set_watermark(conn, f"{ON_HOLD}{kind}", website, msgspec.json.encode(held).decode(), at)


LOOKED = "looked:"
"""The watermark sources for when a kind of report was read last, each with the kind."""

_FEEDBACK = f"{LOOKED}feedback"


def save_read_time(
    conn: Connection, kind: str, website: str, subjects: Iterable[str], at: datetime
) -> None:
    """Save when a kind of report was read; of feedback also the ids of the campaigns."""
    kept = sorted(subjects)[:MOST_CAMPAIGNS] if f"{LOOKED}{kind}" == _FEEDBACK else ()
    set_watermark(conn, f"{LOOKED}{kind}", website, msgspec.json.encode(kept).decode(), at)


MOST_CAMPAIGNS = 1_000
"""Campaigns of a website that are known by their id."""


def websites_named(conn: Connection, names: Collection[str]) -> list[str]:
    """The ids of the websites that have one of these ids, names or feedback campaigns."""
    wanted = {name.casefold() for name in names}
    found = {
        key
        for key, name in website_names(conn).items()
        if {key.casefold(), name.casefold()} & wanted
    }
    for website, data in watermarks_of(conn, _FEEDBACK).items():
        with suppress(msgspec.MsgspecError):  # of an earlier version
            if wanted & {key.casefold() for key in msgspec.json.decode(data, type=list[str])}:
                found.add(website)
    return sorted(found)


ASKED = "asked:"
"""The watermark sources for polls that the other bots are to begin at once, each with the kind."""

OVER = timedelta(minutes=1)
"""For how long other bots see what they are asked: longer than one can be silent and come back."""


def ask_polls(conn: Connection, asks: Iterable[tuple[str, str]], token: str, at: datetime) -> None:
    """Ask the other bots for polls of (kind, website): of all kinds, or websites, where empty."""
    old: dict[str, Value] = {"first": ASKED, "last": _LAST_ASKED, "before": ms(at - OVER)}
    execute(conn, _FORGET_ASKED, old)
    for kind, website in asks:
        set_watermark(conn, f"{ASKED}{kind}", website, token, at)


def asked_polls(conn: Connection) -> dict[tuple[str, str], str]:
    """What the bots were asked for in the last while: (kind, website) -> the token of who asked."""
    rows = execute(conn, _ASKED, {"first": ASKED, "last": _LAST_ASKED})
    return {(source.removeprefix(ASKED), website): token for source, website, token in rows}


_LAST_ASKED = f"{ASKED[:-1]};"
_ASKED = "SELECT source, website, data FROM watermarks WHERE source >= :first AND source < :last"
_FORGET_ASKED = "DELETE FROM watermarks WHERE source >= :first AND source < :last AND at < :before"

COUNTING = "counting:"
"""The watermark sources for since when a rule has counted every session, each with its id."""

OWN_RULES = "rules-of-one-bot"
"""The watermark source for the errors in a bot's own rule files that people know of."""

ROUNDS = "rounds"
"""The watermark source for how often recordings are really polled."""


def watermark(conn: Connection, source: str, website: str) -> str | None:
    """What the source saved last time for this website; None at first."""
    found = execute(conn, _WATERMARK, {"source": source, "website": website}).fetchone()
    return None if found is None else str(found[0])


_WATERMARK = "SELECT data FROM watermarks WHERE source = :source AND website = :website"


def watermarks_of(conn: Connection, source: str) -> dict[str, str]:
    """The data of every watermark of that source, by website."""
    return dict(execute(conn, _WATERMARKS_OF, {"source": source}).fetchall())


_WATERMARKS_OF = "SELECT website, data FROM watermarks WHERE source = :source"


def watermarks_below(conn: Connection, beginning: str) -> dict[str, str]:
    """The data of the watermarks of no website whose source begins so, by what follows it."""
    rows = execute(conn, _WATERMARKS_BELOW, {"length": len(beginning), "beginning": beginning})
    return {source.removeprefix(beginning): data for source, data in rows}


_WATERMARKS_BELOW = (
    "SELECT source, data FROM watermarks"
    " WHERE website = '' AND substr(source, 1, :length) = :beginning"
)


def all_watermarks(conn: Connection) -> dict[tuple[str, str], tuple[str, datetime]]:
    """(source, website) -> what was saved, and when."""
    rows = execute(conn, "SELECT source, website, data, at FROM watermarks", {})
    return {(source, website): (data, moment(at)) for source, website, data, at in rows}


def forget_watermark(conn: Connection, source: str, website: str) -> None:
    """Make the next poll of this website a first one."""
    conn.execute(
        delete(watermarks).where(watermarks.c.source == source, watermarks.c.website == website)
    )


def set_watermark(conn: Connection, source: str, website: str, data: str, at: datetime) -> None:
    """Save how far the source has read, in the transaction that saves what it read."""
    values: dict[str, Value] = {"source": source, "website": website, "data": data, "at": ms(at)}
    execute(conn, _SET_WATERMARK, values)


_SET_WATERMARK = (
    "INSERT INTO watermarks (source, website, data, at) VALUES (:source, :website, :data, :at)"
    " ON CONFLICT (source, website) DO UPDATE SET data = excluded.data, at = excluded.at"
)
