"""Plausible shop traffic: a seeded pool of scripts, and the arrivals of each day."""

import random
from array import array
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from itertools import accumulate

from mouseflow.simulator import shop
from mouseflow.simulator.sessions import (
    Event,
    Page,
    Script,
    Snapshot,
    Visitor,
    event,
    length,
    snapshot,
)

DAY = 86_400_000

# Arrivals by hour of the UTC day: quiet at night, busiest in the evening.
_HOURS = (2, 1, 1, 1, 1, 2, 3, 5, 6, 7, 7, 7, 8, 7, 7, 7, 8, 9, 11, 12, 11, 9, 6, 4)
_HOURS_UP = tuple(accumulate(_HOURS))


@dataclass(frozen=True, slots=True)
class Surge:
    """Days (UTC, `until` excluded) with `factor` times the usual visitors."""

    since: date
    until: date
    factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Visitors `per_day`, times the weekday's factor (Monday first), times surges."""

    per_day: int = 0
    since: date = date(2020, 1, 1)
    weekdays: tuple[float, ...] = (1.0, 0.95, 0.95, 1.0, 1.05, 1.1, 0.95)
    surges: tuple[Surge, ...] = ()
    wobble: float = 0.05  # random deviation of a day from its expectation
    kinds: int = 600  # how many different sessions there are


@dataclass(frozen=True, slots=True)
class Pool:
    """Scripts with the final state of each; `lengths` and `longest` in ms."""

    scripts: tuple[Script, ...]
    finals: tuple[Snapshot, ...]
    lengths: tuple[int, ...]
    longest: int


@dataclass(frozen=True, slots=True)
class Day:
    """The arrivals of one UTC day, sorted: ms from midnight, script, random draw 0..99."""

    starts: "array[int]"
    kinds: "array[int]"
    draws: bytes = field(repr=False)


@lru_cache(maxsize=64)
def pool(seed: int, kinds: int) -> Pool:
    """The scripts of a seed."""
    chance = random.Random(f"pool {seed}")
    scripts = tuple(_script(chance) for _ in range(kinds))
    lengths = tuple(map(length, scripts))
    return Pool(scripts, tuple(map(snapshot, scripts)), lengths, max(lengths, default=0))


def visitors(plan: Plan, seed: int, day: date) -> int:
    """How many sessions begin on a day, recorded or not."""
    if day < plan.since or not plan.per_day:
        return 0
    expected = plan.per_day * plan.weekdays[day.weekday()]
    for surge in plan.surges:
        if surge.since <= day < surge.until:
            expected *= surge.factor
    deviation = random.Random(f"day {seed} {day.toordinal()}").uniform(-plan.wobble, plan.wobble)
    return round(expected * (1 + deviation))


@lru_cache(maxsize=400)  # a day of 20,000 takes 140 kB
def arrivals(plan: Plan, seed: int, day: date) -> Day:
    """The arrivals of a day (UTC)."""
    count = visitors(plan, seed, day)
    chance = random.Random(f"arrivals {seed} {day.toordinal()}")
    hours = chance.choices(range(24), cum_weights=_HOURS_UP, k=count)
    starts = sorted(hour * 3_600_000 + int(chance.random() * 3_600_000) for hour in hours)
    kinds = chance.choices(range(plan.kinds), k=count)
    draws = bytes(draw % 100 for draw in chance.choices(range(100), k=count))
    return Day(array("I", starts), array("H", kinds), draws)


def visitor(chance: random.Random) -> Visitor:
    """A random visitor, by the weights of the shop's audience."""
    location = chance.choices(shop.LOCATIONS, [p.weight for p in shop.LOCATIONS])[0]
    device = chance.choices(shop.DEVICES, [m.weight for m in shop.DEVICES])[0]
    source = chance.choices(shop.SOURCES, [s.weight for s in shop.SOURCES])[0]
    return Visitor(
        country=location.country, region=location.region, city=location.city, isp=location.isp,
        network=location.network, lang=location.lang, lng=location.lng, lat=location.lat,
        browser=device.browser, browser_version=device.browser_version, os=device.os,
        os_version=device.os_version, device=device.device, screen=device.screen,
        user_agent=device.user_agent, referrer=source.referrer, referrer_type=source.kind,
        returning=chance.random() < 0.3,
        name=chance.choice(shop.NAMES) if chance.random() < 0.12 else "",
    )  # fmt: skip


def _script(chance: random.Random) -> Script:
    somebody = visitor(chance)
    paths = _journey(chance)
    pages: list[Page] = []
    at = 0
    for path in paths:
        stay = _stay(chance, path)
        pages.append(_page(chance, path, at, stay))
        at += stay + chance.randrange(200, 2500)
    return Script(somebody, tuple(_with_speed_browsing(pages)), _cart(chance, pages))


def _journey(chance: random.Random) -> list[str]:
    paths = [chance.choice(shop.LANDINGS)]
    if chance.random() < 0.34:  # leaves after one page
        return paths
    shelves = shop.CATEGORIES + shop.ITEMS * 2
    paths += chance.choices(shelves, k=min(int(chance.expovariate(0.45)) + 1, 12))
    if chance.random() < 0.06:
        paths.append("/old-collection")
    if chance.random() < 0.24:  # starts a checkout
        paths.extend(shop.CHECKOUT[: chance.randrange(1, len(shop.CHECKOUT) + 1)])
    return paths


def _stay(chance: random.Random, path: str) -> int:
    mean = 40_000 if path.startswith("/checkout") else 22_000
    return int(min(chance.lognormvariate(0, 0.8) * mean, 300_000)) + 1_200


def _page(chance: random.Random, path: str, start: int, stay: int) -> Page:
    def somewhere() -> int:
        return start + int(stay * chance.uniform(0.2, 0.9))

    events: list[Event] = []
    if path.startswith("/checkout") and path != "/checkout/thank-you":
        events.append(event(somewhere(), "form-interact"))
        if chance.random() < 0.6:
            events.append(event(start + int(stay * 0.95), "submit"))
        if chance.random() < 0.03:
            events.append(event(start + int(stay * 0.96), "submit-failure"))
    if path in shop.ITEMS and chance.random() < 0.15:
        events.append(event(somewhere(), "add-to-cart"))
    if path == "/old-collection":
        events.append(event(start + 150, "404"))
    for tag, odds in (("click-rage", 0.007), ("click-error", 0.012), ("dead-click", 0.03)):
        if chance.random() < odds:
            events.append(event(somewhere(), tag))
    return Page(
        path=path,
        title=shop.TITLES[path],
        start=start,
        stay=stay,
        query="?q=runner" if path == "/search" else "",
        engaged=int(stay * chance.uniform(0.3, 0.9)),
        scroll=chance.randrange(15, 101),
        events=tuple(sorted(events, key=lambda e: e.at)),
    )


def _with_speed_browsing(pages: list[Page]) -> list[Page]:
    """Add the event for four page views within 30 seconds, once."""
    for n in range(3, len(pages)):
        if pages[n].start - pages[n - 3].start < 30_000:
            page = pages[n]
            hurried = event(page.start + 100, "speed-browsing")
            changed = Page(
                page.path, page.title, page.start, page.stay, page.query, page.engaged,
                page.scroll, (hurried, *page.events),
            )  # fmt: skip
            return [*pages[:n], changed, *pages[n + 1 :]]
    return pages


def _cart(chance: random.Random, pages: list[Page]) -> tuple[tuple[int, str, str], ...]:
    found: list[tuple[int, str, str]] = []
    for page in pages:
        if page.path == "/cart":
            value = str(round(chance.lognormvariate(4.0, 0.7), 2))
            found.append((page.start, "cart-id", f"c{chance.randrange(16**6):06x}"))
            found.append((page.start, "cart-value", value))
    if chance.random() < 0.05:
        found.append((0, "plan", chance.choice(("basic", "upgraded"))))
    return tuple(found)
