"""Plausible shop traffic: a seeded pool of scripts, and the arrivals of each day."""

import random
from array import array
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from itertools import accumulate

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


@dataclass(frozen=True, slots=True)
class Location:
    """Where visitors are, their network, and how many come from there (`weight`)."""

    country: str
    region: str
    city: str
    isp: str
    network: str
    lang: str
    lng: float
    lat: float
    weight: int


@dataclass(frozen=True, slots=True)
class Device:
    """A browser and the device it runs on."""

    browser: str
    browser_version: str
    os: str
    os_version: str
    device: str
    screen: str
    user_agent: str
    weight: int


@dataclass(frozen=True, slots=True)
class Source:
    """The page that referred the visitor."""

    referrer: str
    kind: str
    weight: int


LOCATIONS = (
    Location("de", "", "Braunschweig", "Deutsche Telekom AG", "79.255.13", "de-DE", 10.5, 52.3, 22),
    Location("de", "", "Munich", "Vodafone GmbH", "88.130.52", "de-DE", 11.582, 48.1351, 14),
    Location(
        "dk", "Capital Region", "Copenhagen", "TDC A/S", "80.62.117", "da-DK", 12.57, 55.68, 20
    ),
    Location("at", "", "Vienna", "A1 Telekom Austria", "91.115.30", "de-AT", 16.37, 48.21, 7),
    Location("ch", "", "Zurich", "Swisscom AG", "178.197.228", "de-CH", 8.55, 47.37, 6),
    Location("gb", "England", "London", "British Telecom", "86.140.21", "en-GB", -0.13, 51.51, 9),
    Location("fr", "", "", "Orange S.A.", "90.3.77", "fr-FR", 2.35, 48.86, 6),
    Location("us", "California", "San Jose", "Comcast", "73.92.14", "en-US", -121.89, 37.34, 8),
    Location("no", "", "Oslo", "Telenor Norge AS", "84.211.40", "nb-NO", 10.75, 59.91, 4),
    Location("tn", "", "", "Tunet", "43.248.211", "fr", 10.4979, 52.3022, 1),
)

_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
_WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"

DEVICES = (
    Device("Chrome", "141.0.0.0", "Windows", "10", "Desktop", "1920x1080",
            f"{_WINDOWS} {_WEBKIT} Chrome/141.0.0.0 Safari/537.36", 24),
    Device("Chrome", "141.0.0.0", "Mac OS", "14.5", "Desktop", "1728x1117",
            f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_WEBKIT} Chrome/141.0.0.0"
            " Safari/537.36", 10),
    Device("Safari", "18.1", "iOS", "18.1", "Phone", "393x852",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15"
            " (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1", 26),
    Device("Chrome", "140.0.0.0", "Android", "14", "Phone", "412x915",
            f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {_WEBKIT} Chrome/140.0.0.0"
            " Mobile Safari/537.36", 20),
    Device("Safari", "17.6", "iOS", "17.6", "Tablet", "820x1180",
            "Mozilla/5.0 (iPad; CPU OS 17_6 like Mac OS X) AppleWebKit/605.1.15"
            " (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1", 6),
    # The vendor's own sample calls this tablet a desktop (L782-787).
    Device("Chrome", "139.0.0.0", "Android", "13", "Desktop", "1280x800",
            f"Mozilla/5.0 (Linux; Android 13; SM-T533) {_WEBKIT} Chrome/139.0.0.0"
            " Safari/537.36", 2),
    Device("Firefox", "144.0", "Linux", "", "Desktop", "2560x1440",
            "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0", 5),
    Device("Edge", "141.0.0.0", "Windows", "11", "Desktop", "1920x1200",
            f"{_WINDOWS} {_WEBKIT} Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0", 7),
)  # fmt: skip

SOURCES = (
    Source("https://www.google.de/", "Search", 38),
    Source("https://www.bing.com/", "Search", 6),
    Source("", "Direct", 28),
    Source("https://www.instagram.com/", "Social", 10),
    Source("https://www.facebook.com/", "Social", 5),
    Source("https://mail.google.com/", "Email", 6),
    Source("https://www.shoe-reviews.example/best-runners-2026?list=3", "Link", 7),
)

TITLES = {
    "/": "MyShop - shoes and shirts",
    "/landing": "Summer sale - MyShop",
    "/landing/sneakers": "Sneakers from 49 - MyShop",
    "/search": "Search - MyShop",
    "/products": "All products - MyShop",
    "/products/shoes": "Shoes - MyShop",
    "/products/shirts": "Shirts - MyShop",
    "/products/runner-3": "Runner 3 - MyShop",
    "/products/trail-pro": "Trail Pro - MyShop",
    "/products/linen-shirt": "Linen shirt - MyShop",
    "/cart": "Your cart - MyShop",
    "/checkout": "Checkout - MyShop",
    "/checkout/address": "Your address - MyShop",
    "/checkout/pay": "Payment - MyShop",
    "/checkout/thank-you": "Thank you - MyShop",
    "/account": "Your account - MyShop",
    "/help/returns": "Returns - MyShop",
    "/old-collection": "Page not found - MyShop",
}
LANDINGS = ("/", "/", "/landing", "/landing/sneakers", "/products/shoes", "/products/runner-3")
CATEGORIES = ("/products", "/products/shoes", "/products/shirts", "/search")
ITEMS = ("/products/runner-3", "/products/trail-pro", "/products/linen-shirt")
CHECKOUT = ("/cart", "/checkout", "/checkout/address", "/checkout/pay", "/checkout/thank-you")
NAMES = ("John Doe", "Jane Roe", "Anna Schmidt", "Mads Holm", "Zoë Müller", "O'Neil & Sons")


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
    location = chance.choices(LOCATIONS, [p.weight for p in LOCATIONS])[0]
    device = chance.choices(DEVICES, [m.weight for m in DEVICES])[0]
    source = chance.choices(SOURCES, [s.weight for s in SOURCES])[0]
    return Visitor(
        country=location.country, region=location.region, city=location.city, isp=location.isp,
        network=location.network, lang=location.lang, lng=location.lng, lat=location.lat,
        browser=device.browser, browser_version=device.browser_version, os=device.os,
        os_version=device.os_version, device=device.device, screen=device.screen,
        user_agent=device.user_agent, referrer=source.referrer, referrer_type=source.kind,
        returning=chance.random() < 0.3,
        name=chance.choice(NAMES) if chance.random() < 0.12 else "",
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
    paths = [chance.choice(LANDINGS)]
    if chance.random() < 0.34:  # leaves after one page
        return paths
    shelves = CATEGORIES + ITEMS * 2
    paths += chance.choices(shelves, k=min(int(chance.expovariate(0.45)) + 1, 12))
    if chance.random() < 0.06:
        paths.append("/old-collection")
    if chance.random() < 0.24:  # starts a checkout
        paths.extend(CHECKOUT[: chance.randrange(1, len(CHECKOUT) + 1)])
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
    if path in ITEMS and chance.random() < 0.15:
        events.append(event(somewhere(), "add-to-cart"))
    if path == "/old-collection":
        events.append(event(start + 150, "404"))
    for tag, odds in (("click-rage", 0.007), ("click-error", 0.012), ("dead-click", 0.03)):
        if chance.random() < odds:
            events.append(event(somewhere(), tag))
    return Page(
        path=path,
        title=TITLES[path],
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
