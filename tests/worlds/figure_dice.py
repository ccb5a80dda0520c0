"""Random rules about the figures of funnels, forms and pages, and about some visitors alone."""

import random
from typing import Any

from world_dice import Test, bounds, either, flag, texts

SHARES = bounds("5%", "20%", 50, "80%")


def fallen(*shares: str) -> Test:
    """A figure against its own past."""

    def draw(chance: random.Random) -> Any:
        name = chance.choice(["drops_by", "rises_by"])
        return {name: chance.choice(shares), "against": "1d"}

    return draw


def unusual(chance: random.Random) -> Any:
    """A share or an average against the usual of the weekday and hour."""
    return chance.choice([{"below_usual": f"{chance.choice([50, 80, 95])}%"},
                          {"above_usual": f"{chance.choice([105, 120, 200])}%"}])  # fmt: skip


def averages(*values: Any) -> Test:
    """An average or a share: now a bound, now against the usual."""
    plain = bounds(*values)
    return either(plain, either(plain, unusual))


def counts(*values: Any) -> Test:
    """A count: now a bound, now against the past."""
    plain = bounds(*values)
    return either(plain, either(plain, fallen("10%", "30%")))


def parts(known: dict[str, Test]) -> Test:
    """One or two parts that one item must meet."""
    return lambda chance: {
        name: known[name](chance) for name in chance.sample(sorted(known), chance.randint(1, 2))
    }


FUNNELS: dict[str, Test] = {
    "funnel": texts("Checkout", "Land*", "f1", regex="^(check|land)"),
    "entered": counts(5, 40, 120),
    "completed": counts(1, 8, 30),
    "conversion": either(SHARES, either(unusual, fallen("10%", "20%"))),
    "step": parts(
        {
            "name": texts("Cart", "Pay*", "Checkout"),
            "count": bounds(3, 30, 100),
            "conversion": SHARES,
            "dropped": bounds(1, 10, 60),
        }
    ),
}
FORMS: dict[str, Test] = {
    "form": texts("Order", "Search f*", "f2"),
    "url": texts("/checkout", "/search", "/check*"),
    "visits": counts(5, 40, 120),
    "interactions": counts(5, 30, 100),
    "submits": bounds(1, 20, 60),
    "success": bounds(1, 20, 60),
    "completion": either(SHARES, either(unusual, fallen("10%", "20%"))),
    "field": parts(
        {
            "name": texts("email", "pho*", "nobody"),
            "type": texts("text", "email", "select"),
            "interactions": bounds(5, 30, 100),
            "time": bounds("5s", "9s", "15s"),
            "start": bounds("5s", "15s"),
            "refills": bounds(1, 4, 10),
            "blanks": bounds(1, 4, 10),
            "dropped": bounds(1, 4, 10),
        }
    ),
}
PAGES: dict[str, Test] = {
    "path": texts("/cart", "/checkout*", "/products/*", "/nowhere", regex="^/(cart|search)$"),
    "title": texts("Your cart*", "*MyShop", "nothing"),
    "views": counts(5, 40, 150),
    "visit_time": averages("10s", "25s", "40s"),
    "engagement_time": bounds("5s", "14s", "25s"),
    "clicks": bounds(20, 100, 400),
    "render_time": averages("1s", "2s", "3s"),
    "scroll": averages("30%", "55%", 60),
    "fold": bounds(750, 850),
    "height": bounds(2000, 4000),
    "size": bounds(10_000, 25_000),
    "shared": flag,
}
KNOWN = {"funnels": FUNNELS, "forms": FORMS, "pages": PAGES}

VISITORS: dict[str, Test] = {
    "device": texts("phone", "desktop", ops=False),
    "browser": lambda chance: chance.choice(["chrome", "safari"]),
    "os": lambda chance: chance.choice(["windows", "ios"]),
    "country": lambda chance: chance.choice(["de", "DK"]),
    "screen": lambda chance: chance.choice(["1920x1080", "393x852"]),
    "referrer_type": lambda chance: chance.choice(["searchengines", "direct"]),
    "visitor_type": lambda chance: chance.choice(["first", "returning"]),
    "tags": lambda chance: chance.choice(["dead-click", ["form-interact", "submit"]]),
    "variables": lambda chance: {"plan": chance.choice(["basic", "upgraded"])},
    "search": lambda chance: chance.choice(["checkout", "products"]),
}
"""The filters that every report has."""

SESSIONS: dict[str, Test] = {
    "friction": lambda chance: {chance.choice(["min", "max"]): chance.choice([1, 2.5])},
    "duration": lambda chance: {chance.choice(["min", "max"]): chance.choice(["30s", "1m30s"])},
    "pages": lambda chance: {chance.choice(["min", "max"]): chance.choice([2, 4])},
    "saw_page": lambda chance: chance.choice(["/cart", "/products/shoes"]),
    "entry_page": lambda chance: chance.choice(["/", "/landing"]),
    "exit_page": lambda chance: chance.choice(["/cart", "/checkout/pay"]),
    "watched": flag,
    "starred": flag,
}
"""Filters of whole sessions, which lists of pages do not have."""


def visitors(chance: random.Random, watch: str) -> dict[str, Any]:
    """One or two filters."""
    known = VISITORS if watch == "pages" else VISITORS | SESSIONS
    names = chance.sample(sorted(known), chance.choice([1, 1, 2]))
    found = {name: known[name](chance) for name in names}
    return {name: one[0] if name == "device" and isinstance(one, list) else one
            for name, one in found.items()}  # fmt: skip


def condition(chance: random.Random, watch: str) -> dict[str, Any]:
    """One field, or two of them in some shape."""
    known = KNOWN[watch]
    one, two = ({name: known[name](chance)} for name in chance.sample(sorted(known), 2))
    return chance.choice([one, one, one | two, {"any": [one, two]}, {"all": [one, two]},
                          {"not": one}, one | {"not": two}])  # fmt: skip


def rule(chance: random.Random, name: str, watch: str = "") -> dict[str, Any]:
    """A rule about figures, which posts to its own channel when it fires and when that ends."""
    watch = watch or chance.choice(sorted(KNOWN))
    made: dict[str, Any] = {"summary": f"Rule {name} has fired", "watch": watch}
    made["when"] = condition(chance, watch)
    if chance.random() < 0.15:
        made["except"] = condition(chance, watch)
    if chance.random() < 0.6:
        made["over_last"] = chance.choice(["1d", "2d", "7d", "7d"])
    if chance.random() < 0.5:
        made["visitors"] = visitors(chance, watch)
    if chance.random() < 0.3:
        made["for"] = chance.choice(["50m", "1h40m"])
    return made | {"resolved": True, "do": {"slack": {"channel": f"#{name}"}}}
