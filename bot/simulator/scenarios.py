"""Sessions with a story, to be planted where a test or the demo needs one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from bot.simulator import shop
from bot.simulator.sessions import Event, Page, Script, Visitor, event

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

    An event happens on the page that is open at that second. A path may carry a query.
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
                title=shop.TITLES.get(path, path.strip("/") or "Home"),
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
    """Fights with the payment page; friction reaches 3 after `calm_for` seconds."""
    before = max(calm_for - 20, 3.0)
    return session(
        [("/products/runner-3", before / 3), ("/cart", before / 3), ("/checkout", before / 3),
         ("/checkout/pay", 90)],
        [(before * 0.9, "form-interact"), (calm_for, "click-error"),
         (calm_for + 0.2, "dead-click")],
        variables=[(before / 2, "cart-value", "74.50")],
    )  # fmt: skip


def rage_on_product(calm_for: float = 12.0) -> Script:
    """Hammers on a size button that does nothing."""
    return session(
        [("/products/shoes", calm_for / 2), ("/products/trail-pro", calm_for / 2 + 25)],
        [(calm_for, "click-rage")],
    )


def abandoned_cart(value: str = "249.90") -> Script:
    """Fills a dear cart, starts the checkout form and leaves without submitting."""
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
    """A returning visitor whose patience ends."""
    return session(
        [("/account", calm_for / 2), ("/help/returns", calm_for / 2 + 20)],
        [(calm_for, "click-rage"), (calm_for + 1, "dead-click")],
        visitor=REGULAR,
    )


def phone_bounce() -> Script:
    """Six seconds on a landing page, by phone."""
    return session([("/landing/sneakers", 6)], visitor=PHONE)


def search_bounce() -> Script:
    """Comes from a search engine to a landing page and leaves at once."""
    return session([("/landing?gclid=CM-VxfLUjMgCFSLnwgod", 7)], visitor=SEARCHER)


def not_found() -> Script:
    """Follows an old link."""
    return session([("/", 4), ("/old-collection", 6)], [(4.4, "404")])


def hurried_search() -> Script:
    """Searches and looks, searches and looks: four pages within thirty seconds."""
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
