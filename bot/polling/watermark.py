"""How far a website's recordings have been read, as the store keeps it between polls."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bot.polling.session import AHEAD
from bot.store import Connection
from bot.store.recordings import (
    close_older,
    forget_watermark,
    set_watermark,
    watermark,
    watermarks_of,
    website_names,
)

SOURCE = "recordings"

STOPPED = "recordings stopped"
"""The source of websites whose recordings no rule watches any more."""

COMPARE = timedelta(hours=12)
"""How often to read the whole window: a row may appear in the minute in which another goes."""


class NotedMarks(Struct, frozen=True):
    """The rules for which late marks were noted last, with the `condition_id` of each.

    None if that is not known. `old` has marks that were noted for some rules while the detail that
    others needed was away: the rules for which each recording's are no news.
    """

    rules: dict[str, str] | None = None
    old: dict[str, tuple[str, ...]] = {}


class EndedUnder(Struct, frozen=True):
    """Recordings that wait for their detail, and the names of the rules in force at their end.

    Only these rules decide them.
    """

    rules: tuple[str, ...]
    recordings: tuple[str, ...]


class Watermark(Struct, frozen=True, kw_only=True):
    """How far a website has been read.

    Sessions without activity since `since` are not evaluated. `newest` is the latest activity
    seen. `accepted` is the difference between the server's count of the window and what is known
    of it that was examined and can't be closed; None before the first poll, when most of the
    window is unknown. `latest` is the last activity that a row told, whatever our clock says.
    `compared` is when the whole window was read last. `waiting` has the rules that a filter
    suspended, each with the time from which they must catch up; `late` has for each of them what
    ended before that and was not decided either, with its last activity: what still waited for a
    detail, and rows that came late. `marks` tells which late marks are old. `asking` has the rules
    that need a filter, each with the time from which sessions count for it; None if that is not
    known. `proved` is when each filter was last proved to work. `without_detail` counts the
    recordings that wait for their detail; `ended_under` has those that have ended. `shrunk`: known
    recordings are gone, and it is not known which.
    """

    since: datetime
    polled: datetime
    newest: datetime
    accepted: int | None = None
    latest: datetime | None = None
    compared: datetime | None = None
    waiting: dict[str, datetime] = {}
    late: dict[str, dict[str, datetime]] = {}
    marks: NotedMarks = NotedMarks()
    asking: dict[str, datetime] | None = None
    proved: dict[str, datetime] = {}
    without_detail: int = 0
    ended_under: tuple[EndedUnder, ...] = ()
    shrunk: bool = False

    def is_ahead(self, now: datetime) -> bool:
        """Whether it was written by a clock that was ahead of the present one."""
        return self.polled > now + AHEAD

    def until(self, now: datetime, began: datetime | None = None) -> "Watermark":
        """The watermark, corrected in case the clock was ahead when it was written.

        `began` is from when on sessions count by the present clock, if this process began to
        watch. Where rows tell that the present clock is behind, sessions count as before.
        """
        since = self.since
        if since > now and (self.latest is None or self.latest <= now + AHEAD):
            since = min(began or now, now)
        return replace(
            self,
            since=since,
            polled=min(self.polled, now),
            newest=min(self.newest, self.latest or now, now) if self.is_ahead(now) else self.newest,
        )

    def compare_is_due(self, now: datetime) -> bool:
        """Whether to read the whole window, though no count asks for it."""
        return self.compared is not None and not timedelta() <= now - self.compared < COMPARE

    def was_behind(self, line: datetime | None) -> bool:
        """Whether it was written by a clock that was behind: before anybody watched, by ours."""
        ahead = self.latest is None or self.latest > self.polled + AHEAD
        return line is not None and self.polled < line - AHEAD and ahead

    @classmethod
    def after(
        cls,
        since: datetime,
        polled: datetime,
        waiting: Mapping[str, datetime],
        late: Mapping[str, dict[str, datetime]],
        newest: datetime | None = None,
        before: "Watermark | None" = None,
    ) -> "Watermark":
        """Where the first ordinary poll begins after a backfill: all of the window is known."""
        return cls(
            since=since,
            polled=polled,
            newest=newest or polled,
            accepted=0,
            waiting=dict(waiting),
            late=dict(late),
            marks=before.marks if before else NotedMarks(),
            asking=before.asking if before else None,
            proved=before.proved if before else {},
        )


def read_mark(
    conn: Connection, website: str, now: datetime, began: datetime | None = None
) -> Watermark | None:
    """How far the website has been read; None if no rule has ever watched its recordings.

    `began` is from when on sessions count, if this process began to watch. A rule that comes after
    a time without any does not act on that time.
    """
    text = watermark(conn, SOURCE, website)
    if text is not None:
        return msgspec.json.decode(text, type=Watermark).until(now, began)
    stopped = watermark(conn, STOPPED, website) is not None
    return Watermark.after(now, now, {}, {}) if stopped else None


class _WithoutDetail(Struct):
    without_detail: int = 0


def without_detail(conn: Connection) -> dict[str, int]:
    """How many recordings wait for their detail, for each website of the account that is polled."""
    names = website_names(conn)
    return {
        website: msgspec.json.decode(data, type=_WithoutDetail).without_detail
        for website, data in watermarks_of(conn, SOURCE).items()
        if website in names
    }


def stop_reading(conn: Connection, website: str, now: datetime) -> None:
    """Note that no rule watches the website's recordings any more: its sessions are closed."""
    if watermark(conn, SOURCE, website) is not None:
        forget_watermark(conn, SOURCE, website)
        set_watermark(conn, STOPPED, website, "{}", now)
        close_older(conn, website=website, than=now + timedelta(days=1))
