"""The demo's account: two shops, a read-only one and one without the recording script.

Trouble in them begins at once.
"""

from datetime import date, datetime, timedelta
from typing import Any

from bot.simulator import ids, scenarios
from bot.simulator.clock import milliseconds
from bot.simulator.sessions import Script
from bot.simulator.site import Campaign, Form, Funnel, Planted, Site, website
from bot.simulator.traffic import Plan

MYSHOP = "8fc2ace2-75bc-8ba4-b424-c8916670b990"
OUTLET = "47ed74ad-f36e-4ba0-be1b-ca9d79b69688"
BLOG = "d0a9f2b4-6c1e-4f7a-9b35-1e8c70d2a6f1"
READ_ONLY = "6793a2a8-9be8-42ce-4fb1-9107e379dfde"
CHANNELS = ("mouseflow", "checkout-alerts", "ux", "support", "ops")

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

# Sessions on myshop.com: how many seconds from the world's start each begins, and its script.
# The first ones are over and settled, the next are live and get worse within half a minute,
# the last have yet to begin.
TIMELINE: tuple[tuple[float, Script], ...] = (
    (-4200, scenarios.checkout_friction()),
    (-4000, scenarios.abandoned_cart()),
    (-3900, scenarios.phone_bounce()),
    (-3700, scenarios.search_bounce()),
    (-3600, scenarios.rage_on_product()),
    (-3500, scenarios.hurried_search()),
    (-3400, scenarios.purchase()),
    (-3300, scenarios.not_found()),
    (-3200, scenarios.script_error()),
    (-3100, scenarios.regular_in_trouble()),
    (-3000, scenarios.abandoned_cart("129.00")),
    (-2900, scenarios.phone_bounce()),
    (-75, scenarios.checkout_friction(80)),
    (-70, scenarios.purchase()),
    (-62, scenarios.checkout_friction(75)),
    (-20, scenarios.rage_on_product(25)),
    (-15, scenarios.regular_in_trouble(22)),
    (-6, scenarios.script_error(9)),
    (-4, scenarios.abandoned_cart("310.00")),
    (1, scenarios.phone_bounce()),
    (2, scenarios.not_found()),
    (2, scenarios.hurried_search()),
    (3, scenarios.search_bounce()),
    (6, scenarios.script_error(4)),
    (8, scenarios.rage_on_product(5)),
    (9, scenarios.phone_bounce()),
)

# Feedback answers beside the steady flow, in seconds from the world's start.
SURGE = (*range(6, 14), *range(20, 28))


def demo_sites(now: datetime, seed: int) -> list[Site]:
    """The demo's websites as they are at `now`; the same for the same arguments."""
    since = (now - timedelta(days=60)).date()
    shop = website(MYSHOP, "myshop.com", plan=Plan(per_day=480, since=since), seed=seed)
    outlet = website(
        OUTLET, "outlet.myshop.com", plan=Plan(per_day=160, since=since), seed=seed + 1
    )
    partner = website(
        READ_ONLY, "mysecondshop.com", plan=Plan(per_day=120, since=since), seed=seed + 2,
        read_only=True,
    )  # fmt: skip
    blog = website(BLOG, "blog.myshop.com", status="NotInstalled", plan=Plan(per_day=0))
    _furnish(shop)
    begin = milliseconds(now)
    shop.planted += [Planted(begin + round(at * 1000), script) for at, script in TIMELINE]
    outlet.planted.append(Planted(begin - 30_000, scenarios.script_error(38)))
    campaign = next(iter(shop.campaigns.values()))
    campaign.extra += [begin + second * 1000 for second in SURGE]
    return [shop, outlet, partner, blog]


def shops(count: int, *, per_day: int, since: date, seed: int = 1) -> list[Site]:
    """Many busy websites at once, for measurements: shop-1.example, shop-2.example, ..."""
    return [
        website(
            ids.website_id("shop", seed, n),
            f"shop-{n}.example",
            plan=Plan(per_day=per_day, since=since),
            seed=seed * 1000 + n,
        )
        for n in range(1, count + 1)
    ]


def _furnish(site: Site) -> None:
    campaign = ids.token("campaign", site.id)
    site.campaigns[campaign] = Campaign(campaign, dict(_FEEDBACK), per_day=9.0, rate=0.05)
    idle = ids.token("idle campaign", site.id)
    settings = _FEEDBACK | {"name": "Exit survey", "enabled": False}
    site.campaigns[idle] = Campaign(idle, settings)
    funnel = ids.token("funnel", site.id)
    steps = [("Cart", "/cart"), ("Checkout", "/checkout"), ("Payment", "/checkout/pay"),
             ("Thank you", "/checkout/thank-you")]  # fmt: skip
    site.funnels[funnel] = Funnel(funnel, "Checkout", steps)
    form = ids.token("form", site.id)
    fields = [("first-name", "First name", "text"), ("email", "E-mail", "email"),
              ("coupon", "Coupon code", "text"), ("terms", "Terms", "checkbox")]  # fmt: skip
    site.forms[form] = Form(form, "/checkout", "#checkout-form", "Checkout form", fields)
