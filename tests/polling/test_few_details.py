"""What spares details: page views that were read before, and the filter for tags."""

import random

import msgspec
import pytest
from structlog.testing import capture_logs
from test_filter_checks import Failing

from bot.errors import GiveUp
from mouseflow.decode import BadValue, Rows
from mouseflow.models import Recording, RecordingPage
from mouseflow.recordings import tag
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.scenarios import session
from mouseflow.simulator.sessions import Script

PAGES = """
paid:
  watch: recordings
  when: {friction: {min: 2.5}, saw_page: /paid*}
  do: {star: true}
left:
  watch: recordings
  when: {exit_page: /cart}
  do: {star: true}
"""

VIP = """
vip:
  watch: recordings
  when: {tags: vip}
  do: {star: true}
plain:
  watch: recordings
  when: {saw_page: /cart, not: {tags: vip}}
  do: {star: true}
"""

ADDED = """
added:
  watch: recordings
  when: {tags: add-to-cart}
  do: {star: true}
none:
  watch: recordings
  when: {pages: {min: 2}, not: {tags: add-to-cart}}
  do: {watched: true}
in-cart:
  watch: recordings
  when: {page: {path: /cart, tags: add-to-cart}}
  do: {variables: {added: cart}}
"""

TWO = [("/", 20), ("/cart", 20)]
CROSS = [(30, "click-rage"), (31, "click-rage")]
ADDING = [[], [(30, "add-to-cart")], [], [(5, "add-to-cart")], [], []]
"""Events of visitors, in turn; that tag is on pages alone, so no row has it."""


def details(shop, who: str) -> int:
    return sum(path.endswith(who) for path in shop.calls)


async def test_a_session_that_has_not_grown_needs_no_second_detail(account):
    shop = account(PAGES, expand=False)
    await shop.poll()
    who = shop.sim.add("myshop.com", session(TWO, CROSS), start=1)
    for minutes in (2, 10, 30):
        shop.wait(minutes=minutes)
        await shop.poll()
    assert details(shop, who) == 1
    assert shop.matched() == {("left", who)}


async def test_a_session_that_has_grown_does(account):
    shop = account(PAGES, expand=False)
    await shop.poll()
    long = session([*TWO, ("/search", 600), ("/paid/now", 20)], CROSS)
    who = shop.sim.add("myshop.com", long, start=1)
    for minutes in (2, 11, 20, 20):
        shop.wait(minutes=minutes)
        await shop.poll()
    assert details(shop, who) == 2
    assert shop.matched() == {("paid", who)}


async def test_page_views_of_before_say_nothing_about_tags(account):
    shop = account(VIP + PAGES, expand=False)
    await shop.poll()
    who, other = (shop.sim.add("myshop.com", session(TWO), start=1) for _ in range(2))
    shop.wait(minutes=2)
    await shop.poll()
    assert details(shop, who) == 1
    await shop.sender.send(tag(shop.site.id, who, "vip"))
    shop.wait(minutes=40)
    await shop.poll()
    assert shop.matched() == {("vip", who), ("plain", other), ("left", who), ("left", other)}


async def busy(shop, hours: int = 2) -> list[str]:
    """Poll every 15 minutes while visitors come; returns their recordings."""
    await shop.poll()
    there = []
    for _ in range(hours * 4):
        for n in range(12):
            script = session(TWO, ADDING[n % len(ADDING)])
            there.append(shop.sim.add("myshop.com", script, start=n - 60))
        shop.wait(minutes=15)
        await shop.poll()
    shop.wait(minutes=40)
    await shop.poll()
    return there


async def test_the_filter_decides_rules_about_tags(account):
    shop = account(ADDED, expand=False)
    there = await busy(shop)
    read = sum("/recordings/" in path for path in shop.calls)
    assert read < len(there) * 2 / 3  # where the tag is, only the detail tells on which page
    assert shop.matched() == await shop.truth(there)


@pytest.mark.parametrize(
    ("posts", "then"),
    [
        (True, "do: {slack: {text: '{{ saw }}'}}"),
        (False, "do: {star: true}"),
        (False, "count: {at_most: 0, within: 1h}\n  do: {slack: {}}"),  # it posts of the website
    ],
)
async def test_the_detail_of_a_match_is_read_for_its_message(account, posts, then):
    shop = account(
        f"added:\n  watch: recordings\n  when: {{tags: add-to-cart}}\n  {then}\n", expand=False
    )
    there = await busy(shop)
    read = sum("/recordings/" in path for path in shop.calls)
    found = shop.matched()
    assert (read >= len(found)) is posts
    assert found == await shop.truth(there)


@pytest.mark.parametrize("trouble", ["ignored", "refused"])
async def test_without_that_filter_the_matches_are_the_same(account, trouble):
    shop = account(ADDED, expand=False)
    if trouble == "ignored":
        shop.sim.behave(ignored_filters=frozenset({"tags"}))
    else:
        shop.sender = Failing(shop.sender, "tags", GiveUp("no such filter"))
    there = await busy(shop)
    assert shop.matched() == await shop.truth(there)


class FindingNothing:
    """Answers each query that has this filter with an empty list."""

    def __init__(self, real, name: str) -> None:
        self.real, self.name = real, name

    async def send(self, request):
        if any(name == self.name for name, _value in request.query):
            return RecordingPage(recordings=Rows(), count=0, chart={})
        return await self.real.send(request)


@pytest.mark.parametrize("stops", ["is ignored", "finds nothing"])
@pytest.mark.parametrize("about", ["tags", "funnel"])
async def test_a_filter_that_stops_working_decides_no_match(account, about, stops):
    """It has proved that it works; then it answers wrong, without an error."""
    rules, visits = (ADDED, ADDING) if about == "tags" else (SAW, ROADS)
    decided_by_filters = rules.partition("in-cart:" if about == "tags" else "went:")[0]
    shop = account(decided_by_filters, expand=False)

    async def visited(hours):
        there = []
        for _ in range(hours * 4):
            for n in range(12):
                one = visits[n % len(visits)]
                script = session(TWO, one) if about == "tags" else session(one)
                there.append(shop.sim.add("myshop.com", script, start=n - 60))
            shop.wait(minutes=15)
            await shop.poll()
        return there

    await shop.poll()
    before = await visited(2)
    assert any(f"{about}=" in call.query for call in shop.sim.calls)
    if stops == "is ignored":
        shop.sim.behave(ignored_filters=frozenset({about}))
    else:
        shop.sender = FindingNothing(shop.sender, about)
    there = before + await visited(2)
    shop.wait(minutes=40)
    await shop.poll()
    found, right = shop.matched(), await shop.truth(there)
    assert found <= right
    missed = {who for _, who in right - found}
    assert len(missed) <= (0 if stops == "is ignored" else 12 * 5)  # compared once an hour


async def test_a_tag_that_is_rare_costs_no_details_for_that(account):
    """The filter works, but on quiet days it finds nothing, and no row has a tag to prove it by."""
    rule = "added:\n  watch: recordings\n  when: {tags: add-to-cart}\n  do: {star: true}\n"
    shop = account(rule, expand=False)
    await busy(shop)
    shop.wait(hours=80)
    await busy(shop, hours=0)
    before = len(shop.calls)
    for _ in range(8):
        for n in range(12):
            shop.sim.add("myshop.com", session(TWO), start=n - 60)
        shop.wait(minutes=15)
        await shop.poll()
    assert sum("/recordings/" in path for path in shop.calls[before:]) <= 3


async def test_pages_that_are_spelled_otherwise_break_no_filter(account):
    """The proof asks for a page as the API spells it: `/Home` is not `/home` for its filter."""
    shop = account(
        "cart: {watch: recordings, when: {page: {path: /cart}}, do: {star: true}}\n", expand=False
    )
    await walking(shop)
    with capture_logs() as logs:
        for _ in range(16):
            for n in range(12):
                shop.sim.add("myshop.com", session([("/Home", 20), ("/Blog/", 20)]), start=n - 60)
            shop.wait(hours=6)
            await shop.poll()
    assert [it["event"] for it in logs if it["event"] == "poll.filter_broken"] == []


SAW = """
paid:
  watch: recordings
  when: {saw_page: /checkout/pay}
  do: {star: true}
left:
  watch: recordings
  when: {pages: {min: 2}, saw_page: {not: /checkout/pay}}
  do: {watched: true}
went:
  watch: recordings
  when: {journey: [/cart, /checkout/pay]}
  do: {variables: {went: here}}
"""

ROADS = [
    [("/", 20), ("/cart", 20), ("/checkout/pay", 20)],
    [("/", 20), ("/cart", 20)],
    [("/", 20), ("/checkout/pay", 20)],
    [("/", 20), ("/search", 20)],
    [("/", 20), ("/blog", 20)],
    [("/", 20), ("/blog", 20), ("/search", 20)],
]


async def walking(shop, hours: int = 2) -> list[str]:
    await shop.poll()
    there = []
    for _ in range(hours * 4):
        there += [
            shop.sim.add("myshop.com", session(road), start=n - 60)
            for n, road in enumerate(ROADS * 2)
        ]
        shop.wait(minutes=15)
        await shop.poll()
    shop.wait(minutes=40)
    await shop.poll()
    return there


async def test_the_filter_for_pages_decides_rules_about_single_pages(account):
    shop = account(SAW, expand=False)
    there = await walking(shop)
    read = sum("/recordings/" in path for path in shop.calls)
    assert read < len(there) / 2  # the order of pages is only in the details
    assert shop.matched() == await shop.truth(there)


@pytest.mark.parametrize("trouble", ["ignored", "refused"])
async def test_without_the_filter_for_pages_the_matches_are_the_same(account, trouble):
    shop = account(SAW, expand=False)
    if trouble == "ignored":
        shop.sim.behave(ignored_filters=frozenset({"funnel"}))
    else:
        shop.sender = Failing(shop.sender, "funnel", GiveUp("no such filter"))
    there = await walking(shop)
    assert shop.matched() == await shop.truth(there)


PATHS = ["/", "/cart", "/search", "/checkout/pay", "/checkout", "/help"]
TAGS = ["add-to-cart", "submit", "click-rage", "dead-click"]


def condition(rng: random.Random, depth: int = 2) -> str:
    if depth and rng.random() < 0.6:
        parts = ", ".join(condition(rng, depth - 1) for _ in range(2))
        return rng.choice([f"{{any: [{parts}]}}", f"{{all: [{parts}]}}",
                           f"{{not: {condition(rng, depth - 1)}}}"])  # fmt: skip
    path, other = rng.sample(PATHS, 2)
    tag, another = rng.sample(TAGS, 2)
    return rng.choice([
        f"{{saw_page: {path}}}", f"{{saw_page: [{path}, {other}]}}",
        f"{{saw_page: {{all: [{path}, {other}]}}}}", f"{{saw_page: {{not: {path}}}}}",
        f"{{saw_page: /check*, tags: {tag}}}", f"{{tags: {tag}}}",
        f"{{tags: {{all: [{tag}, {another}]}}}}", f"{{tags: {{not: [{tag}, {another}]}}}}",
        f"{{page: {{path: {path}, tags: {tag}}}}}", f"{{journey: [{path}, {other}]}}",
        f"{{page: {{path: {path}, time: {{over: 60s}}}}}}", f"{{exit_page: {path}}}",
    ])  # fmt: skip


def visit(rng: random.Random) -> Script:
    pages = [(rng.choice(PATHS), rng.choice([20, 60, 300])) for _ in range(rng.randrange(1, 6))]
    length = sum(seconds for _path, seconds in pages)
    events = [(rng.uniform(1, length), rng.choice(TAGS)) for _ in range(rng.randrange(3))]
    return session(pages, sorted(events))


@pytest.mark.parametrize("seed", range(8))
async def test_random_rules_match_the_same_by_fewer_details(account, seed):
    rng = random.Random(seed)
    text = "\n".join(
        f"r{n}:\n  watch: recordings\n  when: {condition(rng)}\n  do: {{star: true}}"
        for n in range(rng.choice([1, 2, 5]))
    )
    ignored = rng.choice([set(), set(), set(), {"tags"}, {"funnel"}])
    shop = account(
        text,
        expand=False,
        quirks=Quirks(
            ignored_filters=frozenset(ignored),
            offset=rng.choice(["honoured", "ignored"]),
            sort=rng.choice(["last_activity", "created"]),
            stale_detail=rng.random() < 0.3,
        ),
    )
    await shop.poll()
    there = []
    for _ in range(10):
        minutes = rng.choice([2, 5, 15])
        starts = [rng.uniform(1, 60 * minutes) for _ in range(rng.randrange(20))]
        there += [shop.sim.add("myshop.com", visit(rng), start=at) for at in starts]
        shop.wait(minutes=minutes)
        await shop.poll()
        if rng.random() < 0.1:
            shop.restart()
    for minutes in (15, 15, 45):
        shop.wait(minutes=minutes)
        await shop.poll()
    assert shop.matched() == await shop.truth(there)


class OddView:
    """Details in which the page of the last view can't be read."""

    def __init__(self, real) -> None:
        self.real = real

    async def send(self, request):
        answer = await self.real.send(request)
        if not isinstance(answer, Recording) or answer.page_views is None:
            return answer
        *views, last = answer.page_views
        lost = BadValue(f"pageViews[{len(views)}].websitePage", "a number, not a text")
        bare = msgspec.structs.replace(last, website_page=None, uri=None)
        return msgspec.structs.replace(answer, page_views=(*views, bare), bad_values=(lost,))


async def test_what_a_detail_had_that_can_not_be_read_stays_unknown(account):
    unpaid = "unpaid:\n  watch: recordings\n  when: {pages: 2, not: {saw_page: /cart*}}\n"
    shop = account(f"{PAGES}{unpaid}  do: {{star: true}}\n", expand=False)
    shop.sender = OddView(shop.sender)
    await shop.poll()
    shop.sim.add("myshop.com", session(TWO, CROSS), start=1)
    for minutes in (2, 10, 30, 30):
        shop.wait(minutes=minutes)
        await shop.poll()
    assert "unpaid" not in {rule for rule, _ in shop.matched()}
