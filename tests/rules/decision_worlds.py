"""Generated recordings, conditions and rules, drawn from few words so that they meet."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import strategies as st
from msgspec.structs import replace

from bot.domain.subjects import Band, RecordingSubject, Site
from bot.fields.field import moment_text
from bot.rules.model import All, AnyOf, Journey, Not, OneItem, Rule, Test
from bot.rules.operators.figures import Bounds, Moments, Numbers, Versions
from bot.rules.operators.texts import Every, NoneOf, OneOf, OtherThan, Pattern
from bot.rules.operators.yes_no import Exists, Is
from mouseflow.models import PageView, Recording

SITES = (Site("w1", "myshop.com"), Site("w2", "Blog.myshop.com"), Site("w3", "other.org"))
WORDS = ("de", "DE", "at", "Chrome", "chrome", "Search", "direct", "first", "", "straße", "x=y")
PATHS = (
    "/",
    "/cart",
    "/Cart/",
    "/checkout/pay",
    "https://shop.my/checkout/pay?id=1#top",
    "/s%C3%A6der/pay",
    "/s\u00e6der%2Fpay",
    "",
)
ENTRIES = (*PATHS, "shop.my/landing", "/landing", "shop.my", "index.html", "localhost:80/landing")
TAGS = ("submit", "click-rage", "internal", "Internal", "")
VARIABLES = ("plan=gold", "PLAN=silver", "plan=", "cart=12.5", "cart=x", "cart=7", "odd", "a=b=c")
FIGURES = (0, 1, 2, 3, 5, 60_000, 60_001)
PATTERNS = ("de", "d*", "*e", "*", "CHROME", "search", "searchengines", "first", "c*o*e", "sat")
PAGE_PATTERNS = (
    "/cart",
    "/checkout*",
    "*pay",
    "/",
    "https://shop.my/cart/",
    "*",
    "/landing",
    "*a*a*",
    "/s\u00e6der*",
    "/s%c3%a6der/*",
)
TAG_PATTERNS = ("submit", "click-*", "INTERNAL", "none")
REGEXES = ("^/checkout/(pay|ship)$", "e", "^$", "rage|SUBMIT", "[a-d]+", "1")
SEARCHES = ("acme", "Globex corp", "213.252")
ZONES = ("UTC", "Europe/Copenhagen", "America/New_York", "Asia/Kolkata")
WORD_FIELDS = {
    "country": "country",
    "region": "region",
    "city": "city",
    "isp": "isp",
    "ip": "ip",
    "lang": "lang",
    "browser": "browser",
    "browser_version": "browser_version",
    "os": "os",
    "os_version": "os_version",
    "device": "device",
    "screen": "screen_res",
    "user_agent": "user_agent",
    "referrer": "referrer",
    "referrer_type": "referrer_type",
    "visitor_id": "visitor_id",
    "visitor_name": "visitor_name",
}
TEXT_FIELDS = (*WORD_FIELDS, "visitor_type", "weekday", "entry_url")


def few(values, most=3):
    return st.lists(st.sampled_from(values), max_size=most).map(tuple)


def some(values, most=3):
    return st.lists(st.sampled_from(values), min_size=1, max_size=most).map(tuple)


words = st.none() | st.sampled_from(WORDS)
figures = st.none() | st.sampled_from(FIGURES)
times = st.integers(0, 2 * 365 * 24 * 60).map(
    lambda minutes: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)
created = st.none() | st.builds(
    lambda t, hours: t.astimezone(timezone(timedelta(hours=hours))), times, st.integers(-11, 13)
)
views = st.builds(
    PageView,
    title=words,
    uri=st.sampled_from([path for path in PATHS if path]),
    website_page=st.none() | st.sampled_from(PATHS),
    visit_time=figures,
    engagement_time=figures,
    scroll=figures,
    tags=few(TAGS, 2),
)
spelled_versions = st.sampled_from(
    ["9", "17", "17.4.1", "10_15_7", "100.0.4896.60", "XP", "17.4 beta", "18.", "0.9"]
)
recordings = st.builds(
    Recording,
    id=st.just("r1"),
    token=st.none() | st.sampled_from(["", "t"]),
    created=created,
    duration=figures,
    pages=figures,
    entry=st.none() | st.sampled_from(ENTRIES),
    entry_page=st.none() | st.sampled_from(ENTRIES),
    tags=few(TAGS),
    variables=few(VARIABLES),
    watched=st.none() | st.booleans(),
    starred=st.none() | st.booleans(),
    page_views=st.none() | st.lists(views, max_size=4).map(tuple),
    **dict.fromkeys(WORD_FIELDS.values(), words) | {"browser_version": words | spelled_versions},
)
thresholds = st.sampled_from([0.0, 1.0, 2.0, 2.5, 5.0])
exact_bands = thresholds.map(Band.exactly)
bands = (
    st.none()
    | exact_bands
    | st.builds(lambda a, b: Band(min(a, b), max(a, b) + 0.5), thresholds, thresholds)
)
subjects = st.builds(
    RecordingSubject,
    website=st.sampled_from(SITES),
    recording=recordings,
    zone=st.sampled_from(ZONES),
    friction=bands,
    visitor_type=st.sampled_from([None, "first", "returning"]),
    found_by=st.none() | few(SEARCHES),
)


@st.composite
def learnt(draw):
    """A recording as its row shows it, and the same one when everything has been learnt."""
    row = draw(subjects)
    recording = replace(row.recording, page_views=None)
    seen = draw(st.lists(views, max_size=3).map(tuple))
    first = recording.entry_page or recording.entry
    if recording.pages == 1 and first:
        seen = tuple(replace(view, website_page=first) for view in seen[:1])
    friction = row.friction or draw(exact_bands)
    if friction.low + 1e-3 < friction.high:
        friction = Band.exactly(draw(st.floats(friction.low, friction.high - 1e-3)))
    whole = replace(
        row,
        recording=replace(recording, page_views=seen, region=recording.region or draw(words)),
        friction=friction,
        visitor_type=row.visitor_type or draw(st.sampled_from(["first", "returning"])),
        found_by=draw(few(SEARCHES)) if row.found_by is None else row.found_by,
    )
    return replace(row, recording=recording), whole


existence = st.booleans().map(Exists)
limits = st.none() | thresholds | st.sampled_from([60_000.0, 3.0])
bounds = st.builds(Bounds, min=limits, max=limits, over=limits, under=limits)
figure_wants = bounds | some([0.0, 1.0, 5.0, 60_000.0]).map(Numbers) | existence


versions = st.none() | st.sampled_from([(9,), (17,), (17, 4), (100, 0, 1), (0,)])
version_wants = st.builds(Versions, min=versions, max=versions, over=versions, under=versions)


moments = st.just("") | times.map(moment_text)
moment_wants = (
    st.builds(Moments, after=moments, before=moments)
    | some(["2025-*", "*:00:00"]).map(OneOf)
    | existence
)


def text_wants(patterns):
    return (
        some(patterns).map(OneOf)
        | some(patterns).map(NoneOf)
        | st.sampled_from(REGEXES).map(Pattern)
        | existence
    )


search_wants = some(SEARCHES).map(OneOf) | some(SEARCHES).map(NoneOf) | some(SEARCHES).map(Every)


def tests_of(names, wants):
    return st.builds(Test, st.sampled_from(names), wants)


tag_wants = (
    text_wants(TAG_PATTERNS) | some(TAG_PATTERNS).map(Every) | some(TAG_PATTERNS).map(OtherThan)
)
variable_wants = text_wants(("gold", "s*", "b=c", "7")) | figure_wants | some(["*l*"]).map(Every)
variable_tests = st.builds(
    Test, st.just("variables"), variable_wants, st.sampled_from(["plan", "CART", "a", "none"])
)
part_tests = (
    tests_of(["path"], text_wants(PAGE_PATTERNS))
    | tests_of(["title"], text_wants(PATTERNS))
    | tests_of(["query", "fragment", "host"], text_wants(("id=*", "TOP", "*.my", "shop.my")))
    | tests_of(["time", "engagement", "scroll"], figure_wants)
    | tests_of(["tags"], tag_wants)
)
one_page = st.builds(
    OneItem, st.just("page"), st.lists(part_tests, min_size=1, max_size=3).map(tuple)
)
leaves = st.one_of(
    tests_of(TEXT_FIELDS, text_wants(PATTERNS)),
    tests_of(["saw_page", "entry_page", "exit_page"], text_wants(PAGE_PATTERNS)),
    tests_of(["browser_version"], version_wants),
    tests_of(["created"], moment_wants),
    tests_of(["search"], search_wants),
    tests_of(["saw_page"], some(PAGE_PATTERNS).map(Every)),
    tests_of(["duration", "pages", "hour", "friction"], figure_wants),
    tests_of(["tags"], tag_wants),
    tests_of(["watched", "starred", "shared"], st.booleans().map(Is)),
    variable_tests,
    one_page,
    some(PAGE_PATTERNS).map(Journey),
)


def _branches(parts):
    several = st.lists(parts, max_size=3).map(tuple)
    return st.builds(All, several) | st.builds(AnyOf, several) | st.builds(Not, parts)


conditions = st.recursive(leaves, _branches, max_leaves=8)
rules = st.builds(
    Rule,
    id=st.just("r"),
    watch=st.just("recordings"),
    when=conditions,
    do=st.just(()),
    websites=st.sampled_from([(), ("MyShop.com",), ("*.myshop.com", "w3")]),
    excepts=st.none() | conditions,
)
rule_sets = st.lists(rules, min_size=1, max_size=6)
