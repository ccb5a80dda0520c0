"""The simulated account: its websites and recordings at any moment."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from mouseflow.simulator import clock as ids
from mouseflow.simulator import timeline
from mouseflow.simulator.clock import Clock, milliseconds, moment
from mouseflow.simulator.filters import Query, Window
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.sessions import Script, Snapshot, snapshot
from mouseflow.simulator.site import Marks, Planted, Site
from mouseflow.simulator.timeline import Found, Search, Visit

FIRST, LAST = date(1900, 1, 1), date(2999, 12, 31)
"""Where the simulated calendar begins and ends."""

_MILLISECOND = timedelta(milliseconds=1)


class ApiError(Exception):
    """The API answers with this status and message."""

    def __init__(self, status: int, message: str = "") -> None:
        self.status = status
        self.message = message
        super().__init__(f"{status} {message}")


class World:
    """All websites of one account. The given clock tells the time."""

    def __init__(self, sites: list[Site], clock: Clock, quirks: Quirks, *, seed: int = 1) -> None:
        self.sites = {site.id: site for site in sites}
        self.clock = clock
        self.quirks = quirks
        self.seed = seed
        self.born = self.now()

    # time

    def now(self) -> int:
        """The server's time in ms since 1970."""
        return milliseconds(self.clock.now() + self.quirks.clock_skew)

    @property
    def zone(self) -> ZoneInfo:
        """The account's time zone (L4132)."""
        return ZoneInfo(self.quirks.time_zone)

    def range(self, window: Window) -> tuple[int, int]:
        """The window's first and first excluded moment, in ms: midnights in the account's zone."""
        today = moment(self.now()).astimezone(self.zone).date()
        until = window.until or min(max(today, window.since or today), LAST) + timedelta(days=1)
        since = window.since or until - timedelta(days=self.quirks.default_days)
        return self._midnight(since), self._midnight(until)

    def _midnight(self, day: date) -> int:
        day = min(max(day, FIRST), LAST)
        return milliseconds(datetime.combine(day, time(), self.zone).astimezone(UTC))

    # reading

    def site(self, id_or_name: str) -> Site:
        """A website by id or name; raises ApiError 404."""
        found = self.sites.get(id_or_name)
        if found is None:
            found = next((s for s in self.sites.values() if s.settings["name"] == id_or_name), None)
        if found is None:
            raise ApiError(404, "No such website.")
        return found

    def find(self, site: Site, query: Query, window: Window, user: str) -> Found:
        """The recordings that match the filters and began within the window."""
        since, until = self.range(window)
        until = min(until, self.now() - self.quirks.visibility_delay // _MILLISECOND + 1)
        return timeline.find(site, Search(query, since, until, self.now(), user))

    def chart(self, site: Site, found: Found, window: Window) -> dict[str, int]:
        """Recordings a day, by local date, for every day of the window up to today (L849)."""
        since, until = self.range(window)
        until = min(until, self.now() + 1)
        first = moment(since).astimezone(self.zone).date()
        last = moment(max(since, until - 1)).astimezone(self.zone).date()
        span = min((last - first).days, 3660)
        days = [last - timedelta(days=back) for back in range(span, -1, -1)]
        borders = [self._midnight(day) for day in (*days, last + timedelta(days=1))]
        counts = {
            day.isoformat(): timeline.between(site, found, borders[n], borders[n + 1])
            for n, day in enumerate(days)
        }
        if self.quirks.empty_days:
            return counts
        return {day: count for day, count in counts.items() if count}

    def newest(self, site: Site, found: Found, *, offset: int, limit: int) -> list[int]:
        """References of the found recordings, the most recent first (L811)."""
        by_activity = self.quirks.sort == "last_activity"
        return timeline.newest(
            site, found, self.now(), by_activity=by_activity, offset=offset, limit=limit
        )

    def visit(self, site: Site, recording: str) -> Visit:
        """A recording by id; raises ApiError 404, or 410 if it was deleted."""
        ref = ids.recording_ref(site.key, recording)
        visit = None if ref is None else timeline.find_visit(site, ref)
        if visit is None or visit.start > self.now() - self.quirks.visibility_delay // _MILLISECOND:
            raise ApiError(404, "No such recording.")
        marks = site.marks.get(visit.ref)
        if visit.start < site.kept_from or (marks is not None and marks.deleted):
            raise ApiError(self.quirks.gone, "The recording has been deleted.")
        return visit

    def observed(self, site: Site, visit: Visit) -> Snapshot:
        """The recording as it is now."""
        return timeline.observed(site, visit, self.now())

    # changing

    def marks(self, site: Site, visit: Visit) -> Marks:
        """The recording's marks, for changing them."""
        found = site.marks.get(visit.ref)
        if found is None:
            found = site.marks[visit.ref] = Marks()
            day, index = timeline.unpack(visit.ref)
            site.marked.setdefault(day, set()).add(index)
        return found

    def tag(self, site: Site, visit: Visit, tag: str, *, on: bool) -> None:
        """Add a tag to the session, or remove it."""
        marks = self.marks(site, visit)
        if on:
            marks.tagged[tag] = None
            marks.untagged.discard(tag)
        else:
            marks.tagged.pop(tag, None)
            marks.untagged.add(tag)

    def set_variables(self, site: Site, visit: Visit, values: Mapping[str, str]) -> None:
        """Merge or replace, as the quirk says; an empty value removes (L1457)."""
        marks = self.marks(site, visit)
        if self.quirks.variables == "replace":
            marks.replaced, marks.variables = True, dict(values)
        else:
            marks.variables = {**(marks.variables or {}), **values}

    def share(self, site: Site, visit: Visit) -> str:
        """Make the recording public; returns its token, sets the tag `shared` (L4384)."""
        marks = self.marks(site, visit)
        if not marks.token or self.quirks.share_again == "rotates":
            marks.shares += 1
            marks.token = ids.token("share", site.id, visit.ref, marks.shares)
        self.tag(site, visit, "shared", on=True)
        return marks.token

    def unshare(self, site: Site, visit: Visit) -> None:
        """Make the recording private again."""
        self.marks(site, visit).token = ""
        self.tag(site, visit, "shared", on=False)

    def delete(self, site: Site, visit: Visit) -> None:
        """Delete the recording; from now on it answers 410."""
        self.marks(site, visit).deleted = True

    def expire(self, site: Site, before: datetime) -> None:
        """Drop every recording that began before; counts shrink."""
        site.kept_from = milliseconds(before)

    def change(self, site: Site, settings: Mapping[str, Any], *, by: str = "api") -> None:
        """Change a website's settings; a new status or rate changes which sessions are recorded.

        The API cannot start a website that has no credits (L147) or no script.
        """
        if by == "api" and site.status in ("Paused", "NotInstalled"):
            settings = {key: value for key, value in settings.items() if key != "status"}
        site.settings.update(settings)
        if "status" in settings:
            site.events.append((self.now(), f"{by}:{site.status}"))
        if site.recorded != site.rates[-1][1]:
            since = self.now() + self.quirks.status_delay // _MILLISECOND
            site.rates.append((since, site.recorded))

    def plant(self, site: Site, script: Script, start: datetime) -> str:
        """Add a recording, which may begin later; returns its id."""
        site.planted.append(Planted(milliseconds(start), script))
        return ids.recording_id(
            site.key, timeline.pack(timeline.PLANTED, len(site.planted) - 1)
        )  # fmt: skip

    # for tests

    def inspect(self, recording: str, *, whole: bool = False) -> tuple[Site, Visit, Snapshot]:
        """Any recording, deleted or not, as it is now, or with `whole` at its end."""
        for site in self.sites.values():
            ref = ids.recording_ref(site.key, recording)
            visit = None if ref is None else timeline.find_visit(site, ref)
            if visit is not None:
                return site, visit, snapshot(visit.script) if whole else self.observed(site, visit)
        raise LookupError(recording)
