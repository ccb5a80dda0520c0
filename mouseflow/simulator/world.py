"""The truth behind the pretend API: an account's websites and recordings at a moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from mouseflow.simulator import clock, timeline
from mouseflow.simulator import clock as ids
from mouseflow.simulator.clock import Clock, milliseconds, moment
from mouseflow.simulator.filters import Query, Window
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.sessions import Script, Seen, seen
from mouseflow.simulator.site import Marks, Planted, Site
from mouseflow.simulator.timeline import Asked, Found, Visit

_MILLISECOND = timedelta(milliseconds=1)


class Refused(Exception):
    """The API would answer with this status. `message` is shown to the caller."""

    def __init__(self, status: int, message: str = "") -> None:
        self.status = status
        self.message = message
        super().__init__(f"{status} {message}")


class World:
    """All websites of one account. Times are those of the given clock."""

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
        until = window.until or max(today, window.since or today) + timedelta(days=1)
        since = window.since or until - timedelta(days=self.quirks.default_days)
        return self._midnight(since), self._midnight(until)

    def _midnight(self, day: Any) -> int:
        return milliseconds(datetime.combine(day, time(), self.zone).astimezone(UTC))

    # reading

    def site(self, id_or_name: str) -> Site:
        """A website by id or name; raises Refused 404."""
        found = self.sites.get(id_or_name)
        if found is None:
            found = next((s for s in self.sites.values() if s.settings["name"] == id_or_name), None)
        if found is None:
            raise Refused(404, "No such website.")
        return found

    def find(self, site: Site, wanted: Query, window: Window, user: str) -> Found:
        """The recordings that meet the filters and began within the window."""
        since, until = self.range(window)
        until = min(until, self.now() - self.quirks.visibility_delay // _MILLISECOND + 1)
        return timeline.find(site, Asked(wanted, since, until, self.now(), user))

    def chart(self, site: Site, found: Found, window: Window) -> dict[str, int]:
        """Recordings a day, by local date, for every day of the window up to today (L849)."""
        since, until = self.range(window)
        until = min(until, self.now() + 1)
        first = moment(since).astimezone(self.zone).date()
        last = moment(max(since, until - 1)).astimezone(self.zone).date()
        span = min((last - first).days, 3660)
        days = [last - timedelta(days=back) for back in range(span, -1, -1)]
        borders = [self._midnight(day) for day in (*days, last + timedelta(days=1))]
        return {
            day.isoformat(): timeline.between(site, found, borders[n], borders[n + 1])
            for n, day in enumerate(days)
        }

    def newest(self, site: Site, found: Found, *, offset: int, limit: int) -> list[int]:
        """References of the found recordings, the most recent first (L811)."""
        by_activity = self.quirks.sort == "last_activity"
        return timeline.newest(
            site, found, self.now(), by_activity=by_activity, offset=offset, limit=limit
        )

    def visit(self, site: Site, recording: str) -> Visit:
        """A recording by id; raises Refused 404, or 410 if it was deleted."""
        ref = ids.recording_ref(site.key, recording)
        who = None if ref is None else timeline.visit(site, ref)
        if who is None or who.start > self.now() - self.quirks.visibility_delay // _MILLISECOND:
            raise Refused(404, "No such recording.")
        marks = site.marks.get(who.ref)
        if who.start < site.kept_from or (marks is not None and marks.deleted):
            raise Refused(410, "The recording has been deleted.")
        return who

    def observed(self, site: Site, who: Visit) -> Seen:
        """The recording as it stands now."""
        return timeline.observed(site, who, self.now())

    # changing

    def marks(self, site: Site, who: Visit) -> Marks:
        """The recording's marks, to be changed."""
        found = site.marks.get(who.ref)
        if found is None:
            found = site.marks[who.ref] = Marks()
            day, index = timeline.unpack(who.ref)
            site.marked.setdefault(day, set()).add(index)
        return found

    def tag(self, site: Site, who: Visit, tag: str, *, on: bool) -> None:
        """Adds a tag to the session, or takes it away."""
        marks = self.marks(site, who)
        if on:
            marks.tagged[tag] = None
            marks.untagged.discard(tag)
        else:
            marks.tagged.pop(tag, None)
            marks.untagged.add(tag)

    def set_variables(self, site: Site, who: Visit, values: Mapping[str, str]) -> None:
        """Merges or replaces, as the switch says; an empty value removes (L1457)."""
        marks = self.marks(site, who)
        if self.quirks.variables == "replace":
            marks.replaced, marks.variables = True, dict(values)
        else:
            marks.variables = {**(marks.variables or {}), **values}

    def share(self, site: Site, who: Visit) -> str:
        """Makes the recording public and returns its token; sets the tag `shared` (L4384)."""
        marks = self.marks(site, who)
        if not marks.token or self.quirks.share_again == "rotates":
            marks.shares += 1
            marks.token = ids.token("share", site.id, who.ref, marks.shares)
        self.tag(site, who, "shared", on=True)
        return marks.token

    def unshare(self, site: Site, who: Visit) -> None:
        """Makes the recording private again."""
        self.marks(site, who).token = ""
        self.tag(site, who, "shared", on=False)

    def delete(self, site: Site, who: Visit) -> None:
        """Removes the recording; from now on it is 410."""
        self.marks(site, who).deleted = True

    def expire(self, site: Site, before: datetime) -> None:
        """Removes every recording that began earlier; counts shrink."""
        site.kept_from = milliseconds(before)

    def change(self, site: Site, settings: Mapping[str, Any], *, by: str = "api") -> None:
        """Changes a website's settings; a changed status or rate changes who is recorded.

        The API cannot switch on a website that has no credits (L147) or no script.
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
        """Puts a recording into the world, which may begin later; returns its id."""
        site.planted.append(Planted(milliseconds(start), script))
        return ids.recording_id(
            site.key, timeline.pack(timeline.PLANTED, len(site.planted) - 1)
        )  # fmt: skip

    # truth, for tests

    def truth(self, recording: str, *, whole: bool = False) -> tuple[Site, Visit, Seen]:
        """A recording wherever it is, deleted or not; `whole` looks past the present."""
        for site in self.sites.values():
            ref = ids.recording_ref(site.key, recording)
            who = None if ref is None else timeline.visit(site, ref)
            if who is not None:
                return site, who, seen(who.script) if whole else self.observed(site, who)
        raise LookupError(recording)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What was done to one recording. `calls` counts the writes: {"star": 1, "tag checkout": 2}.

    `tags` are those added through the API and still there; `token` is empty unless shared.
    """

    website: str
    recording: str
    tags: frozenset[str]
    starred: frozenset[str]
    watched: frozenset[str]
    token: str
    deleted: bool
    calls: dict[str, int]


def effects(world: World) -> list[Effect]:
    """Every recording that was written to, in the order of the first write to each."""
    return [
        _effect(site, ref, marks)
        for site in world.sites.values()
        for ref, marks in site.marks.items()
        if marks.calls or marks.deleted
    ]


def effect(world: World, recording: str) -> Effect:
    """What was done to that recording; raises LookupError if there is none."""
    site, who, _ = world.truth(recording)
    return _effect(site, who.ref, site.marks.get(who.ref, Marks()))


def friction(world: World, recording: str, *, whole: bool = False) -> float:
    """A recording's friction now, or with `whole` when it will be over."""
    return world.truth(recording, whole=whole)[2].friction


def tags(world: World, recording: str) -> frozenset[str]:
    """A recording's tags now, the session's and its pages'."""
    return world.truth(recording)[2].all_tags


def switches(world: World, website: str) -> list[tuple[datetime, str, str]]:
    """When a website's status was set, by whom ("api" or "person"), and to what."""
    return [
        (moment(at), *text.split(":", 1))  # type: ignore[misc]
        for at, text in world.site(website).events
    ]


def _effect(site: Site, ref: int, marks: Marks) -> Effect:
    return Effect(
        website=site.id,
        recording=clock.recording_id(site.key, ref),
        tags=frozenset(marks.tagged) - {"shared"},
        starred=frozenset(marks.starred),
        watched=frozenset(marks.watched),
        token=marks.token,
        deleted=marks.deleted,
        calls=dict(marks.calls),
    )
