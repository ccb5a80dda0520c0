"""Ready-made sessions for tests and the demo, and the demo's websites."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from mouseflow.simulator import clock, traffic
from mouseflow.simulator.clock import milliseconds
from mouseflow.simulator.sessions import Event, Page, Script, Visitor, event
from mouseflow.simulator.site import Campaign, Form, Funnel, Planted, Site, website
from mouseflow.simulator.traffic import Plan

PHONE = Visitor(
    country="dk", region="Capital Region", city="Copenhagen", isp="TDC A/S", network="80.62.117",
    lang="da-DK", lng=12.5683, lat=55.6761, browser="Safari", browser_version="18.1", os="iOS",
    os_version="18.1", device="Phone", screen="393x852",
    user_agent="Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15"
    " (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
    referrer="https://www.instagram.com/", referrer_type="Social",
)  # fmt: skip
SEARCHER = Visitor(referrer="https://www.google.de/", referrer_type="Search")
REGULAR = Visitor(country="at", city="Vienna", network="91.115.30", returning=True, name="Jane Roe")


def session(
    pages: Sequence[tuple[str, float]],
    events: Sequence[tuple[float, str] | tuple[float, str, float]] = (),
    *,
    variables: Sequence[tuple[float, str, str]] = (),
    visitor: Visitor | None = None,
) -> Script:
    """A script from paths with the seconds spent on each, and events (second, tag[, friction]).

    An event happens on the page that is open at that second. A path may have a query.
    """
    happened = [event(_ms(at), tag, *friction) for at, tag, *friction in events]
    built: list[Page] = []
    start = 0
    for address, seconds in pages:
        path, mark, query = address.partition("?")
        stay = _ms(seconds)
        built.append(
            Page(
                path=path,
                title=traffic.TITLES.get(path, path.strip("/") or "Home"),
                start=start,
                stay=stay,
                query=mark + query,
                engaged=stay * 2 // 3,
                scroll=60,
            )
        )
        start += stay + 200
    placed = tuple(replace(page, events=_on(page, built, n, happened)) for n, page in
                   enumerate(built))  # fmt: skip
    values = tuple(sorted((_ms(at), key, value) for at, key, value in variables))
    return Script(visitor or Visitor(), placed, values)


def checkout_friction(calm_for: float = 80.0) -> Script:
    """Struggles with the payment page; friction reaches 3 after `calm_for` seconds."""
    before = max(calm_for - 20, 3.0)
    return session(
        [("/products/runner-3", before / 3), ("/cart", before / 3), ("/checkout", before / 3),
         ("/checkout/pay", 90)],
        [(before * 0.9, "form-interact"), (calm_for, "click-error"),
         (calm_for + 0.2, "dead-click")],
        variables=[(before / 2, "cart-value", "74.50")],
    )  # fmt: skip


def rage_on_product(calm_for: float = 12.0) -> Script:
    """Clicks again and again on a size button that does nothing."""
    return session(
        [("/products/shoes", calm_for / 2), ("/products/trail-pro", calm_for / 2 + 25)],
        [(calm_for, "click-rage")],
    )


def abandoned_cart(value: str = "249.90") -> Script:
    """Fills an expensive cart, starts the checkout form and leaves without submitting."""
    return session(
        [("/products/linen-shirt", 8), ("/cart", 5), ("/checkout", 9)],
        [(5, "add-to-cart"), (16, "form-interact")],
        variables=[(8.3, "cart-id", "c0ffee"), (8.3, "cart-value", value)],
    )


def script_error(calm_for: float = 6.0) -> Script:
    """Clicks, and the page's script fails."""
    return session(
        [("/", calm_for / 2), ("/account", calm_for / 2 + 14)], [(calm_for, "click-error")]
    )


def regular_in_trouble(calm_for: float = 10.0) -> Script:
    """A returning visitor who gets frustrated."""
    return session(
        [("/account", calm_for / 2), ("/help/returns", calm_for / 2 + 20)],
        [(calm_for, "click-rage"), (calm_for + 1, "dead-click")],
        visitor=REGULAR,
    )


def phone_bounce() -> Script:
    """Six seconds on a landing page, on a phone."""
    return session([("/landing/sneakers", 6)], visitor=PHONE)


def search_bounce() -> Script:
    """Comes from a search engine to a landing page and leaves immediately."""
    return session([("/landing?gclid=CM-VxfLUjMgCFSLnwgod", 7)], visitor=SEARCHER)


def not_found() -> Script:
    """Follows an old link."""
    return session([("/", 4), ("/old-collection", 6)], [(4.4, "404")])


def hurried_search() -> Script:
    """Searches twice: four pages within 30 seconds."""
    return session(
        [("/search?q=runner", 5), ("/products/runner-3", 4), ("/search?q=trail", 4),
         ("/products/trail-pro", 6)],
        [(13.8, "speed-browsing")],
    )  # fmt: skip


def purchase() -> Script:
    """A calm visitor who buys."""
    return session(
        [("/", 9), ("/products/shoes", 20), ("/products/runner-3", 30), ("/cart", 8),
         ("/checkout", 25), ("/checkout/address", 25), ("/checkout/pay", 20),
         ("/checkout/thank-you", 8)],
        [(50, "add-to-cart"), (75, "form-interact"), (92, "submit"), (130, "submit")],
        variables=[(61, "cart-value", "59.00")],
    )  # fmt: skip


SCENARIOS: Mapping[str, Callable[..., Script]] = {
    "checkout-friction": checkout_friction,
    "rage-on-product": rage_on_product,
    "abandoned-cart": abandoned_cart,
    "script-error": script_error,
    "regular-in-trouble": regular_in_trouble,
    "phone-bounce": phone_bounce,
    "search-bounce": search_bounce,
    "not-found": not_found,
    "hurried-search": hurried_search,
    "purchase": purchase,
}


def _on(page: Page, pages: list[Page], n: int, events: list[Event]) -> tuple[Event, ...]:
    following = pages[n + 1].start if n + 1 < len(pages) else 1 << 60
    return tuple(e for e in events if page.start <= e.at < following)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


MYSHOP = "8fc2ace2-75bc-8ba4-b424-c8916670b990"
OUTLET = "47ed74ad-f36e-4ba0-be1b-ca9d79b69688"
BLOG = "d0a9f2b4-6c1e-4f7a-9b35-1e8c70d2a6f1"
READ_ONLY = "6793a2a8-9be8-42ce-4fb1-9107e379dfde"
CHANNELS = ("mouseflow", "checkout-alerts", "ux", "support", "onboarding", "privacy", "ops")

_FEEDBACK: dict[str, Any] = {
    "name": "What do you think about our site?",
    "enabled": True,
    "showBranding": True,
    "triggerType": "delay",
    "triggerValue": 10000,
    "screenPosition": "bottomRight",
    "backgroundColor": "#4CB377",
    "foregroundColor": "#FFFFFF",
    "scope": "session",
    "startMinimized": False,
    "canBeDiscarded": True,
    "pageRules": [{"type": "startsWith", "value": "/checkout"}],
    "segments": [{"type": "device", "value": "desktop"}],
    "steps": [
        {
            "stepId": "6gld",
            "type": "radio",
            "text": "Did you find what you were looking for?",
            "randomize": False,
            "answers": [{"answerId": "ute7", "value": "Yes"}, {"answerId": "wgt3", "value": "No"}],
        }
    ],
}

# Sessions on myshop.com: when each begins, in seconds from the start, and its script. The
# first ones have ended, the next ones are live and get worse within 30 seconds, the last ones
# have not begun.
TIMELINE: tuple[tuple[float, Script], ...] = (
    (-4200, checkout_friction()),
    (-4000, abandoned_cart()),
    (-3900, phone_bounce()),
    (-3700, search_bounce()),
    (-3600, rage_on_product()),
    (-3500, hurried_search()),
    (-3400, purchase()),
    (-3300, not_found()),
    (-3200, script_error()),
    (-3100, regular_in_trouble()),
    (-3000, abandoned_cart("129.00")),
    (-2900, phone_bounce()),
    (-75, checkout_friction(80)),
    (-70, purchase()),
    (-62, checkout_friction(75)),
    (-20, rage_on_product(25)),
    (-15, regular_in_trouble(22)),
    (-6, script_error(9)),
    (-4, abandoned_cart("310.00")),
    (1, phone_bounce()),
    (2, not_found()),
    (2, hurried_search()),
    (3, search_bounce()),
    (6, script_error(4)),
    (8, rage_on_product(5)),
    (9, phone_bounce()),
)

# Additional feedback responses, in seconds from the start.
SURGE = (*range(6, 14), *range(20, 28))


def demo_sites(now: datetime, seed: int) -> list[Site]:
    """The demo's websites at `now`; the same arguments give the same websites."""
    since = (now - timedelta(days=60)).date()
    traffic = website(MYSHOP, "myshop.com", plan=Plan(per_day=480, since=since), seed=seed)
    outlet = website(
        OUTLET, "outlet.myshop.com", plan=Plan(per_day=160, since=since), seed=seed + 1
    )
    partner = website(
        READ_ONLY, "mysecondshop.com", plan=Plan(per_day=120, since=since), seed=seed + 2,
        read_only=True,
    )  # fmt: skip
    blog = website(BLOG, "blog.myshop.com", status="NotInstalled", plan=Plan(per_day=0))
    _add_reports(traffic)
    begin = milliseconds(now)
    traffic.planted += [Planted(begin + round(at * 1000), script) for at, script in TIMELINE]
    outlet.planted.append(Planted(begin - 30_000, script_error(38)))
    campaign = next(iter(traffic.campaigns.values()))
    campaign.extra += [begin + second * 1000 for second in SURGE]
    return [traffic, outlet, partner, blog]


def busy_sites(now: datetime, seed: int, per_minute: float) -> list[Site]:
    """The demo's websites with about `per_minute` visitors a minute on myshop.com.

    For people who watch: one visitor of five in the next 24 hours is one of the scenarios, and
    every second one of those struggles in the checkout.
    """
    sites = demo_sites(now, seed)
    shop = sites[0]
    shop.plan = replace(shop.plan, per_day=round(per_minute * 1440))
    begin, apart = milliseconds(now), round(300_000 / per_minute)
    others = [make() for name, make in SCENARIOS.items() if name != "checkout-friction"]
    for n in range(86_400_000 // apart):
        script = others[n // 2 % len(others)] if n % 2 else checkout_friction(20)
        shop.planted.append(Planted(begin + apart * n, script))
    return sites


def shops(count: int, *, per_day: int, since: date, seed: int = 1) -> list[Site]:
    """Many busy websites for benchmarks: shop-1.example, shop-2.example, ..."""
    return [
        website(
            clock.website_id("shop", seed, n),
            f"shop-{n}.example",
            plan=Plan(per_day=per_day, since=since),
            seed=seed * 1000 + n,
        )
        for n in range(1, count + 1)
    ]


def _add_reports(site: Site) -> None:
    campaign = clock.token("campaign", site.id)
    site.campaigns[campaign] = Campaign(campaign, dict(_FEEDBACK), per_day=9.0, rate=0.05)
    idle = clock.token("idle campaign", site.id)
    settings = _FEEDBACK | {"name": "Exit survey", "enabled": False}
    site.campaigns[idle] = Campaign(idle, settings)
    funnel = clock.token("funnel", site.id)
    steps = [("Cart", "/cart"), ("Checkout", "/checkout"), ("Payment", "/checkout/pay"),
             ("Thank you", "/checkout/thank-you")]  # fmt: skip
    site.funnels[funnel] = Funnel(funnel, "Checkout", steps)
    form = clock.token("form", site.id)
    fields = [("first-name", "First name", "text"), ("email", "E-mail", "email"),
              ("coupon", "Coupon code", "text"), ("terms", "Terms", "checkbox")]  # fmt: skip
    site.forms[form] = Form(form, "/checkout", "#checkout-form", "Checkout form", fields)
