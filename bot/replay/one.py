"""One recording with all that the API lets us know of it, as far as one rule asks."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from bot.errors import ConfigError
from bot.mouseflow import recordings
from bot.mouseflow.errors import Gone
from bot.mouseflow.filters import SessionFilters
from bot.mouseflow.models import Recording
from bot.poll.book import Book, asks_friction, asks_visitor_type
from bot.poll.facts import Wanting, friction_bands, friction_is_ignored, visitor_types
from bot.poll.listing import Listing, deeper, of_days, read
from bot.poll.tags import without
from bot.ports import Mouseflow
from bot.rulebook.queries import thresholds
from bot.rulebook.rules import Rule
from bot.sources.recordings import day, merge
from bot.subjects import Band, RecordingSubject, Site

_LINK = re.compile(r"(?:/websites/([^/?#]+))?/recordings/([^/?#]+)")
_DAY = timedelta(days=1)
_SLACK = timedelta(seconds=1)
AT_FIRST = 1_000
"""Rows to ask for when one recording is looked for in a day's list."""


@dataclass(frozen=True, slots=True)
class Address:
    """A recording as people name it; `website` is empty where only its id is known."""

    recording: str
    website: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """The recording, and whether the API ignores the friction filter that the rule needs."""

    subject: RecordingSubject
    held: bool = False


def address(text: str) -> Address:
    """An id, or a pasted link to the playback (API document, L761).

    Raises ConfigError for what can be neither.
    """
    found = _LINK.search(text)
    made = Address(found[2], found[1] or "") if found else Address(text.strip())
    if {made.recording, made.website} & {".", ".."} or not made.recording or "/" in made.recording:
        raise ConfigError("that is neither a recording's id nor a link to one")
    return made


async def find(
    mouseflow: Mouseflow, sites: Iterable[Site], recording: str
) -> tuple[Site, Recording] | None:
    """The website that has the recording, and its detail; None where none has it.

    Asks one website after the other. Raises the errors of the calls.
    """
    for site in sites:
        try:
            return site, await mouseflow.send(recordings.detail(site.id, recording))
        except Gone:
            continue
    return None


async def look(
    mouseflow: Mouseflow,
    site: Site,
    detail: Recording,
    rule: Rule,
    everything: Sequence[Rule],
    zone: str,
) -> Known:
    """Ask the rest: the list's row, and the facts that the rule needs, of that day alone.

    Raises the errors of the calls.
    """
    at = day(detail)
    if at is None:
        return Known(_subject(site, detail, everything, zone))
    window = of_days(at - _DAY, at + 2 * _DAY)
    near = _narrowed(window, detail)
    row = await _row(mouseflow, site, near, detail.id)
    if row is None:
        near, row = window, await _row(mouseflow, site, window, detail.id)
    whole = detail if row is None else merge(row, detail)
    subject = _subject(site, whole, everything, zone)
    if row is None:
        return Known(subject)
    held = False
    bands, types = {}, {}
    if asks_friction(rule) and subject.friction is None:
        held = await friction_is_ignored(mouseflow, site.id, window)
        if not held:
            steps = thresholds([rule])
            wanting = Wanting(row, Band(), frozenset(steps))
            bands = await friction_bands(mouseflow, site.id, near, [wanting])
    if asks_visitor_type(rule):
        types = await visitor_types(mouseflow, site.id, near, [row])
    told = RecordingSubject(
        website=site,
        recording=subject.recording,
        zone=zone,
        friction=bands.get(row.id, subject.friction),
        visitor_type=types.get(row.id),
    )
    return Known(told, held)


def _narrowed(window: SessionFilters, detail: Recording) -> SessionFilters:
    """Sessions of about that length: few rows beside the one that is looked for."""
    if detail.duration is None:
        return window
    length = timedelta(milliseconds=detail.duration)
    low = max(length - _SLACK, timedelta(0))
    return replace(window, visitmin=low, visitmax=length + _SLACK)


async def _row(
    mouseflow: Mouseflow, site: Site, filters: SessionFilters, recording: str
) -> Recording | None:
    async def sift(some: Sequence[Recording]) -> list[Recording]:
        return [row for row in some if row.id == recording]

    listing = await read(mouseflow, site.id, filters, AT_FIRST)
    while True:
        row = _among(listing, recording)
        if row is not None:
            return row
        further = await deeper(mouseflow, site.id, filters, listing, sift)
        if further is listing:
            return None
        listing = further


def _among(listing: Listing, recording: str) -> Recording | None:
    return next((row for row in listing.rows if row.id == recording), None)


def _subject(
    site: Site, recording: Recording, everything: Sequence[Rule], zone: str
) -> RecordingSubject:
    exact = recording.friction if recording.friction is not None else recording.friction_score
    return RecordingSubject(
        website=site,
        recording=without(recording, Book(everything, site).unheeded),
        zone=zone,
        friction=None if exact is None else Band.exactly(exact),
    )
