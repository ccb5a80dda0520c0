"""Which recordings of a website match a query, for a whole day's arrivals at once.

Most recordings follow one of a few hundred scripts, so a filter is evaluated once per script
and looked up per recording. Only what can differ is evaluated one by one: sessions that may
still be live, recordings that somebody changed, and planted ones.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache

from mouseflow.simulator import clock
from mouseflow.simulator.filters import EVERYTHING, UNMARKED, Facts, Query, matches
from mouseflow.simulator.sessions import Script, Snapshot, snapshot
from mouseflow.simulator.site import Marks, Site
from mouseflow.simulator.traffic import DAY, Day, Pool, arrivals, pool

EPOCH_DAY = date(1970, 1, 1).toordinal()
PLANTED = 0  # the "day" of planted recordings

_CROWD = 900  # returning visitors per website
_IDENTITY = re.compile(r"[0-9a-f.#]{3,}")  # only such a search can match an address or an id


@dataclass(frozen=True, slots=True)
class Visit:
    """A recording: its reference, its start in ms since 1970, its script, its final state."""

    ref: int
    start: int
    script: Script
    final: Snapshot


@dataclass(frozen=True, slots=True)
class Search:
    """A search: the filters, the range of starts in ms, the time, the API user."""

    query: Query
    since: int
    until: int
    now: int
    user: str


@dataclass(frozen=True, slots=True)
class Found:
    """The recordings that match, by the UTC day of their start, and the planted ones."""

    days: tuple[tuple[int, Sequence[int]], ...]
    planted: tuple[int, ...]

    @property
    def count(self) -> int:
        return len(self.planted) + sum(len(picks) for _, picks in self.days)


def pack(day: int, index: int) -> int:
    """The reference of the `index`-th arrival of a day (a proleptic ordinal)."""
    return day << 24 | index


def unpack(ref: int) -> tuple[int, int]:
    return ref >> 24, ref & 0xFFFFFF


def day_of(ms: int) -> int:
    """The UTC day of a moment."""
    return EPOCH_DAY + ms // DAY


def midnight(day: int) -> int:
    return (day - EPOCH_DAY) * DAY


def scripts(site: Site) -> Pool:
    return pool(site.seed % 8, site.plan.kinds)


def arrived(site: Site, day: int) -> Day:
    """The arrivals of a day."""
    return arrivals(site.plan, site.seed, date.fromordinal(day))


def find_visit(site: Site, ref: int) -> Visit | None:
    """The recording with that reference, whether or not it has begun."""
    day, index = unpack(ref)
    if day == PLANTED:
        if index >= len(site.planted):
            return None
        planted = site.planted[index]
        return Visit(ref, planted.start, planted.script, planted.final)
    if not site.plan.since.toordinal() <= day < date.max.toordinal():
        return None
    arrivals_ = arrived(site, day)
    if index >= len(arrivals_.starts):
        return None
    start = midnight(day) + arrivals_.starts[index]
    kind = arrivals_.kinds[index]
    if not _recorded(site, start, arrivals_.draws[index]):
        return None
    return Visit(ref, start, scripts(site).scripts[kind], scripts(site).finals[kind])


def observed(site: Site, visit: Visit, now: int) -> Snapshot:
    """The session as the server knows it now, with what was changed through the API."""
    age = now - visit.start
    state = visit.final if age >= visit.final.last else snapshot(visit.script, age)
    marks = site.marks.get(visit.ref)
    return state if marks is None else marked(state, marks)


def marked(state: Snapshot, marks: Marks) -> Snapshot:
    """The session with the tags and variables that the marks changed."""
    tags = {tag: None for tag in (*state.tags, *marks.tagged) if tag not in marks.untagged}
    on_pages = {t for view in state.views for t in view.tags}
    values = {} if marks.replaced else dict(state.variables)
    for key, value in (marks.variables or {}).items():
        values[key] = value
    kept = tuple((key, value) for key, value in values.items() if value != "")
    return replace(
        state, tags=tuple(tags), variables=kept, all_tags=frozenset(tags) | on_pages
    )  # fmt: skip


def visitor_id(site: Site, visit: Visit) -> str:
    """The visitor's id (L766); a returning visitor has it in several recordings."""
    visitor = visit.script.visitor
    if visitor.id:
        return visitor.id
    if visitor.returning:
        return clock.digest("person", site.id, clock.number(site.id, visit.ref) % _CROWD).hex()[:32]
    return clock.digest("person", site.id, visit.ref, "new").hex()[:32]


def address(site: Site, visit: Visit) -> str:
    """The visitor's IP address, masked if the website anonymizes addresses (L746)."""
    masked = site.settings.get("anonymizeIps")
    last = "###" if masked else clock.number("ip", visit.ref) % 254 + 1
    return f"{visit.script.visitor.network}.{last}"


def find(site: Site, search: Search) -> Found:
    """Every recording that matches."""
    until = min(search.until, search.now + 1)
    search = replace(search, since=max(search.since, site.kept_from))
    first = max(day_of(search.since), site.plan.since.toordinal())
    days = []
    if site.plan.per_day:
        for day in range(first, day_of(until - 1) + 1):
            picks = _picked(site, day, replace(search, until=until))
            if picks:
                days.append((day, picks))
    planted = tuple(
        index
        for index, one in enumerate(site.planted)
        if search.since <= one.start < until and _one_fits(site, pack(PLANTED, index), search)
    )
    return Found(tuple(days), planted)


def starts(site: Site, found: Found) -> Iterator[tuple[int, "Sequence[int]", Sequence[int]]]:
    """For each day: its midnight in ms, the arrivals' times, and the indices found."""
    for day, picks in found.days:
        yield midnight(day), arrived(site, day).starts, picks


def between(site: Site, found: Found, since: int, until: int) -> int:
    """How many of the found recordings began in [since, until)."""
    total = sum(1 for i in found.planted if since <= site.planted[i].start < until)
    for zero, times, picks in starts(site, found):
        if zero >= until or zero + DAY <= since:
            continue
        low = bisect_left(times, since - zero) if since > zero else 0
        high = bisect_left(times, until - zero) if until < zero + DAY else len(times)
        total += bisect_left(picks, high) - bisect_left(picks, low)
    return total


def newest(
    site: Site, found: Found, now: int, *, by_activity: bool, offset: int, limit: int
) -> list[int]:
    """References of the found recordings, latest first, from `offset` on, at most `limit`."""
    planted: dict[int, list[tuple[int, int]]] = {}
    for index in found.planted:
        ref = pack(PLANTED, index)
        key = _sort_key(site, ref, now, by_activity)
        planted.setdefault(day_of(key), []).append((key, ref))
    picks = dict(found.days)
    days = set(picks) | set(planted) | ({day + 1 for day in picks} if by_activity else set())
    out: list[int] = []
    skip = offset
    for day in sorted(days, reverse=True):
        wanted = skip + limit - len(out)
        late = _late(site, picks, day - 1, now) if by_activity else []
        later = len(_late(site, picks, day, now)) if by_activity else 0
        size = len(planted.get(day, ())) + len(picks.get(day, ())) - later + len(late)
        if skip >= size:
            skip -= size
            continue
        if wanted <= skip:
            break
        entries = planted.get(day, []) + late
        entries += _entries(site, picks, day, now, by_activity, wanted + later)
        entries.sort(reverse=True)
        out.extend(ref for _, ref in entries[skip:wanted])
        skip = 0
    return out


_Picks = Mapping[int, Sequence[int]]


def _entries(
    site: Site, picks: _Picks, day: int, now: int, by_activity: bool, wanted: int
) -> list[tuple[int, int]]:
    """(sort key, reference) of the recordings that began on that day and sort into it.

    Only those that can be among the `wanted` latest: a session's last activity is not before
    its start, and not later than its start plus the longest session.
    """
    indices = picks.get(day, ())
    if not indices:
        return []
    zero, times = midnight(day), arrived(site, day).starts
    if not by_activity:
        return [(zero + times[i], pack(day, i)) for i in indices[-wanted:]]
    earliest = times[indices[max(0, len(indices) - wanted)]] - scripts(site).longest
    low = bisect_left(indices, bisect_left(times, max(0, earliest)))
    return [one for one in _activity(site, day, indices[low:], now) if one[0] < zero + DAY]


def _late(site: Site, picks: _Picks, day: int, now: int) -> list[tuple[int, int]]:
    """The recordings that began on that day and went on after its midnight."""
    indices = picks.get(day, ())
    if not indices:
        return []
    low = bisect_left(arrived(site, day).starts, DAY - scripts(site).longest)
    tail = indices[bisect_left(indices, low) :]
    return [one for one in _activity(site, day, tail, now) if one[0] >= midnight(day + 1)]


def _activity(site: Site, day: int, indices: Sequence[int], now: int) -> Iterator[tuple[int, int]]:
    if not indices:
        return
    zero, known, finals = midnight(day), arrived(site, day), scripts(site).finals
    for i in indices:
        start, final = zero + known.starts[i], finals[known.kinds[i]]
        live = start + final.last > now
        last = snapshot(final.script, now - start).last if live else final.last
        yield start + last, pack(day, i)


def _sort_key(site: Site, ref: int, now: int, by_activity: bool) -> int:
    visit = find_visit(site, ref)
    if visit is None:
        raise LookupError(ref)
    return visit.start + observed(site, visit, now).last if by_activity else visit.start


def _picked(site: Site, day: int, search: Search) -> Sequence[int]:
    """The indices of a day's arrivals that match, ascending."""
    known, zero = arrived(site, day), midnight(day)
    low = bisect_left(known.starts, max(0, search.since - zero))
    high = bisect_left(known.starts, search.until - zero) if search.until < zero + DAY else None
    indices = _kept(site, known, zero, low, len(known.starts) if high is None else high)
    marks = site.marked.get(day, set())
    if _IDENTITY.fullmatch(search.query.search):
        return [i for i in indices if _one_fits(site, pack(day, i), search)]
    if search.query == EVERYTHING and not marks:
        return indices
    kinds, lengths = known.kinds, scripts(site).lengths
    fits = _fits(site.seed % 8, site.plan.kinds, search.query)
    age, times = (
        search.now - zero,
        known.starts,
    )  # at a time of day, age - time is the session's age
    settled = age - scripts(site).longest
    cut = len(times) if settled >= DAY else bisect_right(times, max(settled, -1))
    picks = [i for i in indices if i < cut and fits[kinds[i]] and i not in marks]
    old = {i for i in marks if i < cut and _contains(indices, i)}
    lone = [i for i in old if _fits_alone(site, day, i, search)]
    for i in indices[bisect_left(indices, cut) :]:
        if i in marks or age - times[i] < lengths[kinds[i]]:
            fitting = _fits_alone(site, day, i, search)
        else:
            fitting = bool(fits[kinds[i]])
        if fitting:
            picks.append(i)
    return sorted(picks + lone) if lone else picks


def _contains(indices: Sequence[int], index: int) -> bool:
    place = bisect_left(indices, index)
    return place < len(indices) and indices[place] == index


def _fits_alone(site: Site, day: int, index: int, search: Search) -> bool:
    return _one_fits(site, pack(day, index), search)


@lru_cache(maxsize=512)
def _fits(seed: int, kinds: int, query: Query) -> bytes:
    return bytes(matches(query, final) for final in pool(seed, kinds).finals)


def _one_fits(site: Site, ref: int, search: Search) -> bool:
    visit = find_visit(site, ref)
    if visit is None:
        return False
    marks = site.marks.get(ref)
    if marks is not None and marks.deleted:
        return False
    facts = UNMARKED
    if marks is not None or search.query.search:
        facts = Facts(
            watched=marks is not None and search.user in marks.watched,
            starred=marks is not None and search.user in marks.starred,
            texts=(address(site, visit), visitor_id(site, visit)),
        )
    return matches(search.query, observed(site, visit, search.now), facts)


def _kept(site: Site, known: Day, zero: int, low: int, high: int) -> Sequence[int]:
    """The recorded ones among the arrivals low..high: a stopped website records none."""
    rates = _rates(site, zero)
    if all(rate >= 100 for _, rate in rates):
        return range(low, high)
    borders = [_index(known, since - zero) for since, _ in rates]
    kept: list[int] = []
    for (_, rate), start, end in zip(rates, borders, [*borders[1:], high], strict=True):
        piece = range(max(start, low), min(end, high))
        kept.extend(piece if rate >= 100 else (i for i in piece if known.draws[i] < rate))
    return kept


def _rates(site: Site, zero: int) -> list[tuple[int, float]]:
    """The recording rates in force on the day that begins at `zero`, ascending."""
    first = max(0, bisect_right(site.rates, zero, key=lambda rate: rate[0]) - 1)
    return site.rates[first : bisect_left(site.rates, zero + DAY, key=lambda rate: rate[0])]


def _index(known: Day, time: int) -> int:
    if time <= 0:
        return 0
    return len(known.starts) if time >= DAY else bisect_left(known.starts, time)


def _recorded(site: Site, start: int, draw: int) -> bool:
    return draw < site.rates[bisect_right(site.rates, start, key=lambda rate: rate[0]) - 1][1]
