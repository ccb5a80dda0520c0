"""A made-up match for each kind of subject, on which texts are tried before they are used."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from bot.domain.subjects import (
    Band,
    CampaignSubject,
    FormField,
    FormSubject,
    FunnelStep,
    FunnelSubject,
    Kind,
    PageSubject,
    RecordingSubject,
    Site,
    Subject,
    WebsiteSubject,
)
from bot.ports import Task
from mouseflow.models import PageView, Recording

_SITE = Site("w1", "myshop.com")
_NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def _view(path: str, title: str, time: int, tags: tuple[str, ...] = ()) -> PageView:
    return PageView(
        id=f"v{time}",
        start_time=_NOON,
        title=title,
        uri=f"https://myshop.com{path}",
        website_page=path,
        visit_time=time,
        engagement_time=time // 2,
        scroll=70,
        tags=tags,
    )


_RECORDING = Recording(
    id="r1",
    token="T0KEN",  # noqa: S106 - a made-up public token
    created=_NOON,
    last_activity=_NOON + timedelta(minutes=2),
    duration=95_000,
    pages=2,
    country="de",
    region="Berlin",
    city="Berlin",
    isp="Example Net",
    ip="192.0.2.7",
    lang="de-DE",
    user_agent="Mozilla/5.0",
    browser="Safari",
    browser_version="17",
    os="iOS",
    os_version="17.2",
    device="Phone",
    referrer="https://example.com/",
    referrer_type="Search",
    screen_res="390x844",
    entry="https://myshop.com/cart",
    entry_page="/cart",
    tags=("click-rage",),
    variables=("cart-value=120",),
    watched=False,
    starred=False,
    visitor_id="v1",
    visitor_name="Example Visitor",
    page_views=(_view("/cart", "Cart", 30_000), _view("/checkout/pay", "Pay", 65_000)),
)

_SUBJECTS: tuple[Subject, ...] = (
    RecordingSubject(
        website=_SITE,
        recording=_RECORDING,
        friction=Band(2.5, 5),
        visitor_type="returning",
    ),
    CampaignSubject(
        website=_SITE,
        id="c1",
        name="How was it?",
        enabled=True,
        responses=120,
        impressions=4_000,
        new_responses=3,
    ),
    FunnelSubject(
        website=_SITE,
        id="f1",
        name="Checkout",
        steps=(FunnelStep("Cart", "/cart", 1_200), FunnelStep("Pay", "/checkout/pay", 180)),
    ),
    FormSubject(
        website=_SITE,
        id="o1",
        name="Address",
        url="/checkout/address",
        visits=500,
        interactions=400,
        submits=210,
        success=180,
        fields=(FormField("Phone", "tel", 300, 9_000, 40, 12, 35),),
    ),
    PageSubject(
        website=_SITE,
        path="/checkout/pay",
        title="Pay",
        views=2_300,
        visit_time=70_000,
        engagement_time=20_000,
        clicks=5_100,
        render_time=3_500,
        scroll=39.0,
    ),
    WebsiteSubject(website=_SITE, status="Recording", recording_rate=100, budget_used=82.5),
)

SAMPLES: Mapping[Kind, Task] = MappingProxyType(
    {
        subject.kind: Task(
            key=f"sample/{subject.kind}",
            rule="sample-rule",
            summary="A sample",
            subject=subject,
            matched=_NOON,
            now=_NOON + timedelta(minutes=3),
            why=("a reason",),
            results={"share": "T0KEN"},
        )
        for subject in _SUBJECTS
    }
)
"""One task for each kind of subject, with every field filled."""
