"""Recordings and rules for the benchmark, drawn from a seed; rules as data that any engine can say.

A rule is a tuple: `all`, `any`, `not` hold further tuples; the tests are `eq` (one of these),
`min`, `over`, `under`, `prefix` (of a text), `tag`, `var`, `saw` (a page with this prefix) and
`page` (a page with this prefix, open for longer than so many ms).
"""

import random
from datetime import UTC, datetime, timedelta

COUNTRIES = ("de", "dk", "se", "no", "fr", "gb", "us", "nl", "at", "ch", "es", "it", "pl", "fi")
DEVICES = ("Desktop", "Phone", "Tablet")
BROWSERS = ("Chrome", "Safari", "Firefox", "Edge", "Opera")
SYSTEMS = ("Windows", "Mac OS", "Android", "iOS", "Linux")
REFERRERS = ("Search", "Direct", "Link", "Social", "Email")
TAGS = (
    "submit",
    "form-interact",
    "click-rage",
    "click-error",
    "dead-click",
    "bounce",
    "speed-browsing",
    "add-to-cart",
    "internal",
    "newsletter",
)
SECTIONS = ("cart", "checkout", "product", "search", "help", "account", "blog", "offers")
PAGES = [f"/{section}/{leaf}" for section in SECTIONS for leaf in ("", "pay", "a", "b", "c", "d")]
PLANS = ("free", "silver", "gold", "platinum")
START = datetime(2026, 11, 1, tzinfo=UTC)


def rows(count: int, seed: int = 7) -> list[dict]:
    """Recordings as the API would write them; one in four with its detail."""
    rng = random.Random(seed)
    return [_row(rng, number) for number in range(count)]


def _row(rng: random.Random, number: int) -> dict:
    pages = min(100, 1 + int(rng.expovariate(0.35)))
    views = [_view(rng) for _ in range(pages)]
    begun = START + timedelta(seconds=number * 4)
    tags = rng.sample(TAGS, rng.choice((0, 0, 1, 1, 2, 3)))
    return {
        "id": f"{rng.getrandbits(128):032x}",
        "created": begun.isoformat(),
        "lastActivity": (begun + timedelta(minutes=4)).isoformat(),
        "duration": int(rng.lognormvariate(11, 1)),
        "pages": pages,
        "country": rng.choice(COUNTRIES),
        "city": rng.choice((None, "Berlin", "Aarhus", "Oslo", f"Town {rng.randrange(3000)}")),
        "isp": f"Net {rng.randrange(400)}",
        "ip": f"10.{rng.randrange(256)}.{rng.randrange(256)}.###",
        "lang": rng.choice(("de-DE", "da-DK", "en-GB", "fr-FR")),
        "userAgent": f"Mozilla/5.0 (X11; rv:{rng.randrange(900)}) Gecko/{rng.randrange(40)}",
        "browser": rng.choice(BROWSERS),
        "browserVersion": f"{rng.randrange(60, 140)}.0",
        "os": rng.choice(SYSTEMS),
        "osVersion": str(rng.randrange(7, 16)),
        "device": rng.choice(DEVICES),
        "referrer": f"https://www.example.com/?q={rng.randrange(9000)}",
        "referrerType": rng.choice(REFERRERS),
        "screenRes": rng.choice(("1920x1080", "390x844", "1280x800")),
        "entry": f"https://shop.example.com{views[0]['websitePage']}?gclid={rng.getrandbits(40)}",
        "entryPage": views[0]["websitePage"],
        "tags": tags,
        "variables": [f"plan={rng.choice(PLANS)}", f"cart-value={rng.randrange(500)}"][
            : rng.randrange(3)
        ],
        "watched": False,
        "starred": False,
        "visitorId": f"{rng.getrandbits(64):016x}",
        "pageViews": views if number % 4 == 0 else None,
    }


def _view(rng: random.Random) -> dict:
    page = rng.choice(PAGES)
    return {
        "id": f"{rng.getrandbits(64):016x}",
        "title": f"Shop {page}",
        "uri": f"https://shop.example.com{page}",
        "websitePage": page.rstrip("/") or "/",
        "visitTime": int(rng.lognormvariate(9.5, 1)),
        "engagementTime": int(rng.lognormvariate(9, 1)),
        "scroll": rng.randrange(101),
        "tags": rng.sample(TAGS, rng.choice((0, 0, 0, 1))),
    }


def rules(count: int, seed: int = 11) -> list[tuple]:
    """Rules as ops write them: two to five tests, some with alternatives, some with exceptions."""
    rng = random.Random(seed)
    return [_rule(rng) for _ in range(count)]


def _rule(rng: random.Random) -> tuple:
    parts = [_test(rng) for _ in range(rng.randrange(2, 5))]
    if rng.random() < 0.25:
        parts.append(("any", _test(rng), _test(rng)))
    if rng.random() < 0.3:
        parts.append(("not", ("eq", "device", [rng.choice(DEVICES)])))
    return ("all", *parts)


def _test(rng: random.Random) -> tuple:
    return rng.choice(_MAKERS)(rng)


def _words(field: str, values, most: int):
    return lambda rng: ("eq", field, rng.sample(list(values), rng.randrange(1, most + 1)))


_MAKERS = (
    _words("country", COUNTRIES, 4),
    _words("country", COUNTRIES, 4),
    _words("device", DEVICES, 2),
    _words("browser", BROWSERS, 2),
    _words("os", SYSTEMS, 2),
    _words("referrerType", REFERRERS, 2),
    lambda rng: ("min", "pages", rng.randrange(2, 12)),
    lambda rng: ("over", "duration", rng.randrange(10, 300) * 1000),
    lambda rng: ("under", "duration", rng.randrange(30, 600) * 1000),
    lambda rng: ("prefix", "entryPage", f"/{rng.choice(SECTIONS)}"),
    lambda rng: ("tag", rng.choice(TAGS)),
    lambda rng: ("var", "plan", rng.choice(PLANS)),
    lambda rng: ("saw", f"/{rng.choice(SECTIONS)}"),
    lambda rng: ("page", f"/{rng.choice(SECTIONS)}", rng.randrange(5, 90) * 1000),
)
