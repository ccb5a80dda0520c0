"""The simulated shop: its pages, and its visitors' locations, devices and sources."""

from dataclasses import dataclass


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
