"""Recordings: which window to ask for, what a row says, when a session has ended.

The API filters by whole days in the account's zone, has no cursor and documents no order
(API document, L811, L4132-4133), so a poll asks for a window that is too wide on both
sides and works out what is new.
"""

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import Literal

import msgspec
from msgspec import Struct

from bot.fields.normal import folded
from bot.store.recordings import SeenRecording
from mouseflow.models import Recording

Order = Literal["activity", "created", "both", "unknown"]
"""What an answer is sorted by, newest first; "both" if its rows fit both."""

LONGEST_SESSION = timedelta(hours=1)
"""A session ends after an hour on a page at the latest (the vendor's help pages)."""

AHEAD = timedelta(minutes=5)
"""A time further ahead than this is wrong."""

ZONE_ROWS = 20
"""Rows to ask for where they are to tell the account's offset: one odd row must not."""

FLUSH = timedelta(seconds=5)
"""Rows that were flushed together may come in any order among themselves."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Recording).decode


def is_due(at: datetime | None, every: timedelta, now: datetime) -> bool:
    """Whether what was done `at` a time, None if never, is due again.

    A time in the future counts for nothing: a clock was ahead.
    """
    return at is None or not timedelta() <= now - at < every


def days_to_ask(now: datetime, back_to: datetime) -> tuple[date, date]:
    """The days to ask for: a day too many on either side covers every time zone.

    `todate` is exclusive (L4133), so two days are added to today.
    """
    start = back_to.astimezone(UTC).date() - timedelta(days=1)
    return start, now.astimezone(UTC).date() + timedelta(days=2)


def day(recording: Recording) -> date | None:
    """The day of the recording as the account counts it: `created` carries the zone's offset."""
    return recording.created.date() if recording.created else None


class AccountOffset(Struct, frozen=True):
    """The account's offset from UTC as recordings show it; `fits`: the configured zone has it."""

    shown: str
    fits: bool

    def days_of(self, configured: tzinfo) -> tzinfo:
        """The zone of the account's days: as configured, or a fixed offset if that doesn't fit."""
        if self.fits:
            return configured
        return datetime.fromisoformat(f"2000-01-01T00:00{self.shown}").tzinfo or configured


def account_offset(rows: Iterable[Recording], zone: tzinfo) -> AccountOffset | None:
    """What most of the recordings say; None if no row has an offset, or as many say otherwise.

    The API tells no time zone, but `created` carries the account's offset (L738, L4132).
    """
    said = Counter(
        (start.isoformat()[-6:], start.utcoffset() == start.astimezone(zone).utcoffset())
        for row in rows
        if (start := row.created) is not None and start.tzinfo is not None
    )
    right = sum(times for (_, fits), times in said.items() if fits)
    wrong = said.total() - right
    if right == wrong:
        return None
    (shown, fits), _ = max(
        (each for each in said.items() if each[0][1] is (right > wrong)), key=lambda it: it[1]
    )
    return AccountOffset(shown, fits)


def last_activity(recording: Recording, now: datetime | None = None) -> datetime | None:
    """The time of the latest activity; page views may end after `lastActivity` (L917 against L933).

    Given `now`, pages that end far ahead of it are left out: a visitor's clock was wrong.
    """
    ends = [aware(view.end_time) for view in recording.page_views or () if view.end_time]
    if now is not None:
        ends = [at for at in ends if at <= now + AHEAD]
    stamp = recording.last_activity or recording.created
    return max([*ends, aware(stamp)] if stamp else ends, default=None)


def aware(at: datetime) -> datetime:
    """An instant; a time without an offset is taken as UTC."""
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def settled(recording: Recording, now: datetime, settle: timedelta) -> bool:
    """Whether the session has been idle for so long that it has ended."""
    seen = last_activity(recording, now)
    return seen is None or now - seen >= settle


def fingerprint(recording: Recording) -> str:
    """Changes whenever the session has grown; the bot's own writes (tags, stars) don't count."""
    at = recording.last_activity
    stamp = aware(at).astimezone(UTC).isoformat() if at else ""
    return f"{stamp}/{recording.duration}/{recording.pages}"


def marks(row: Recording, own_tags: Set[str]) -> str:
    """What people have marked, a short text for each field that has a value.

    The bot's `own_tags` (in normal form) stand apart: each counts only for rules that name it.
    """
    tags = sorted(map(folded, row.tags))
    theirs = [tag for tag in tags if tag not in own_tags]
    said = {
        TAGS: digest(*theirs) if theirs else "",
        "starred": "1" if row.starred else "",
        "watched": "1" if row.watched else "",
        "shared": "1" if row.token else "",
        "variables": digest(*sorted(map(str, row.variables))) if row.variables else "",
        "visitor_name": digest(row.visitor_name) if row.visitor_name else "",
    }
    if len(theirs) < len(tags):
        said[_ALL_TAGS] = digest(*tags)
        said |= {own(tag): "1" for tag in tags if tag in own_tags}
    return " ".join(f"{name}={text}" for name, text in said.items() if text) or "-"


TAGS, _ALL_TAGS = "tags", "all"


def own(tag: str) -> str:
    """The name among the marks of a tag of the bot's own (in normal form)."""
    return f"#{digest(tag)}"


@lru_cache(4096)
def digest(*texts: str) -> str:
    """A short hash of these texts."""
    return blake2b(repr(texts).encode(errors="replace"), digest_size=5).hexdigest()


def marked_anew(before: str, after: str) -> frozenset[str]:
    """The names of the marks that differ between two texts of `marks`.

    If all tags are the same, none has been set, though a tag may be the bot's own by now.
    """
    if "=" not in before and before != "-":  # of an earlier version: nobody knows what differs
        return frozenset()
    old, new = (dict(it.split("=") for it in text.split() if "=" in it) for text in (before, after))
    names = {name for name in old | new if old.get(name) != new.get(name)}
    if old.get(_ALL_TAGS, old.get(TAGS)) == new.get(_ALL_TAGS, new.get(TAGS)):
        names = {name for name in names if name != TAGS and not name.startswith("#")}
    return frozenset(names - {_ALL_TAGS})


def in_brief(row: Recording) -> Recording:
    """The row with only what `seen_recording` reads, in half the memory."""
    return Recording(
        id=row.id,
        created=row.created,
        last_activity=row.last_activity,
        duration=row.duration,
        pages=row.pages,
        tags=row.tags,
        starred=row.starred,
        watched=row.watched,
        token=row.token,
        variables=row.variables,
        visitor_name=row.visitor_name,
    )


def seen_recording(
    row: Recording, settled: bool, own_tags: Set[str], *, fresh: bool
) -> SeenRecording:
    """What the store keeps of the row. A session that has settled need not be polled again.

    `fresh`: a list has shown it that was not known.
    """
    return SeenRecording(
        id=row.id,
        fingerprint=fingerprint(row),
        settled=settled,
        closed=settled,
        marks=marks(row, own_tags),
        created=aware(row.created) if row.created else None,
        last_activity=aware(row.last_activity) if row.last_activity else None,
        fresh=fresh,
    )


def order_of(rows: Sequence[Recording]) -> Order:
    """How this answer is sorted, newest first; "unknown" if no order fits its rows.

    Neighbours may be out of order by `FLUSH`.
    """
    if len(rows) < 2:
        return "unknown"
    activity = [aware(row.last_activity) for row in rows if row.last_activity]
    created = [aware(row.created) for row in rows if row.created]
    by_activity = len(activity) == len(rows) and _falls(activity)
    by_created = len(created) == len(rows) and _falls(created)
    if by_activity and by_created:
        return "both"
    if by_activity:
        return "activity"
    return "created" if by_created else "unknown"


def sort_key(recording: Recording, order: Order) -> datetime | None:
    """The time that the answer was sorted by, if its order is known."""
    at = {
        "activity": recording.last_activity,
        "created": recording.created,
        "both": recording.created,
        "unknown": None,
    }[order]
    return aware(at) if at else None


def merge(row: Recording, detail: Recording) -> Recording:
    """Row and detail together: each lacks fields that the other has (L737-770, L913-977).

    The detail is the later answer and wins, unless a field is empty, or lags behind the row in
    what can only grow (L917, L947).
    """
    said = {
        name: value
        for name in Recording.__struct_fields__
        if (value := getattr(detail, name)) not in (None, "", ())
    }
    if detail.page_views is not None:
        said["page_views"] = detail.page_views or row.page_views or ()
    if row.duration is not None and detail.duration is not None:
        said["duration"] = max(row.duration, detail.duration)
    if row.last_activity and detail.last_activity:
        said["last_activity"] = max(row.last_activity, detail.last_activity, key=aware)
    said["bad_values"] = tuple(dict.fromkeys((*row.bad_values, *detail.bad_values)))
    return msgspec.structs.replace(row, **said)


def packed(recording: Recording) -> bytes:
    """The row as bytes: live sessions are kept for forty minutes, and there are many."""
    return _encode(recording)


def unpacked(data: bytes) -> Recording:
    """The row that `packed` packed."""
    return _decode(data)


def _falls(stamps: Sequence[datetime]) -> bool:
    return all(left + FLUSH >= right for left, right in pairwise(stamps))
