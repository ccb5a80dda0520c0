"""Every documented filter does what the document says, however the recording is stored."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator_worlds import everything, naive

from mouseflow.simulator.filters import BadFilter, Query, Var, matches, parse_query, parse_window
from mouseflow.simulator.scenarios import PHONE, REGULAR, SEARCHER, session
from mouseflow.simulator.sessions import snapshot

SHOPPER = session(
    [("/landing", 10), ("/products", 10), ("/cart", 10)],
    [(2, "click-error"), (12, "add-to-cart"), (22, "form-interact"), (25, "submit")],
    variables=[(22, "cart-value", "120"), (22, "plan", "small")],
    visitor=SEARCHER,
)
CALLER = session([("/", 5)], visitor=PHONE)
REGULAR_GUEST = session([("/account", 50)], visitor=REGULAR)

CASES = [
    ("country=de", {"shopper"}),
    ("country=DE", {"shopper"}),
    ("country=dk", {"caller"}),
    ("device=phone", {"caller"}),
    ("device=Desktop", {"shopper", "regular"}),
    ("browser=safari", {"caller"}),
    ("browser=chrome", {"shopper", "regular"}),
    ("os=ios", {"caller"}),
    ("os=windows", {"shopper", "regular"}),
    ("visitortype=returning", {"regular"}),
    ("visitortype=first", {"shopper", "caller"}),
    ("referrer=searchengines", {"shopper"}),
    ("referrer=social", {"caller"}),
    ("referrer=direct", {"regular"}),
    ("referrer=links", set()),
    ("screenres=393x852", {"caller"}),
    ("entry=%2Flanding", {"shopper"}),
    ("entry=%2Fcart", set()),
    ("exit=%2Fcart", {"shopper"}),
    ("funnel=%2Fproducts", {"shopper"}),
    ("funnel=%2Fproducts%2F", {"shopper"}),
    ("funnel=%2Fprod*", set()),
    ("notfunnel=%2Fproducts", {"caller", "regular"}),
    ("pagesmin=2", {"shopper"}),
    ("pagesmax=1", {"caller", "regular"}),
    ("visitmin=30000", {"shopper", "regular"}),
    ("visitmin=30001", {"regular"}),
    ("visitmax=5000", {"caller"}),
    ("visitmax=4999", set()),
    ("tags=click-error", {"shopper"}),
    ("tags=add-to-cart", {"shopper"}),
    ("tags=form-interact%2Csubmit", {"shopper"}),
    ("tags=form-interact%2Cno-such", set()),
    ("vars=plan%3Dsmall", {"shopper"}),
    ("vars=plan%3D*", {"shopper"}),
    ("vars=plan%3D%5E", {"caller", "regular"}),
    ("vars=plan%3Dsmall%2Ccart-value%3D120", {"shopper"}),
    ("vars=plan%3Dlarge", set()),
    ("frictionmin=2", {"shopper"}),
    ("frictionmax=1.9", {"caller", "regular"}),
    ("search=copenhagen", {"caller"}),
    ("search=iphone", {"caller"}),
    ("search=%2Faccount", {"regular"}),
    ("search=jane", {"regular"}),
    ("search=80.62", {"caller"}),
    ("entry=%2Flanding&funnel=%2Fproducts&exit=%2Fcart&visitmin=18000", {"shopper"}),
    ("entry=%2Flanding&device=phone", set()),
]


@pytest.mark.parametrize(("asked", "expected"), CASES)
async def test_a_filter_lets_through_whom_it_names(stand, asked, expected):
    names = {
        stand.sim.add("quiet.example", script, start=-120): name
        for name, script in (
            ("shopper", SHOPPER), ("caller", CALLER), ("regular", REGULAR_GUEST),
        )
    }  # fmt: skip
    answer = (await stand.api.get(f"/websites/quiet/recordings?{asked}")).json()
    assert {names[row["id"]] for row in answer["recordings"]} == expected
    assert answer["count"] == len(expected)


async def test_trap_54_star_and_watched_are_zero_or_one_and_the_users_own(stand):
    one = stand.sim.add("quiet.example", CALLER, start=-60)
    two = stand.sim.add("quiet.example", SHOPPER, start=-60)
    await stand.do("POST", f"/websites/quiet/recordings/{one}/star")
    await stand.do("POST", f"/websites/quiet/recordings/{two}/watched")
    assert await stand.ids(star=1) == {one}
    assert await stand.ids(star=0) == {two}
    assert await stand.ids(watched=1) == {two}
    assert await stand.ids(watched=0) == {one}


async def test_search_finds_the_visitor_by_id(stand):
    (row,) = await stand.rows("busy", limit=1)
    assert row["id"] in await stand.ids("busy", search=row["visitorId"])


@pytest.mark.parametrize("wrong", ["fromdate=24-11-2026", "todate=x"])
def test_a_date_that_cannot_be_read_is_named(wrong):
    name, _, value = wrong.partition("=")
    with pytest.raises(BadFilter, match=name):
        parse_window({name: value})


text = st.text("abc-/_ é&#", max_size=6)
queries = st.builds(
    Query,
    country=st.sampled_from(["", "de", "dk"]),
    device=st.sampled_from(["", "phone", "desktop"]),
    visitortype=st.sampled_from(["", "first", "returning"]),
    pagesmin=st.none() | st.integers(1, 6),
    visitmax=st.none() | st.integers(1_000, 200_000),
    frictionmin=st.none() | st.sampled_from([0.5, 1.0, 2.5, 5.0]),
    frictionmax=st.none() | st.sampled_from([0.0, 2.0, 6.0]),
    funnel=st.sampled_from(["", "/cart", "/checkout"]),
    tags=st.sampled_from([(), ("click-error",), ("submit", "bot-tag"), ("bot-tag",)]),
    vars=st.sampled_from([(), (Var("plan", "basic"),), (Var("cart-value", None),)]),
    star=st.none() | st.booleans(),
    search=st.sampled_from(["", "", "munich", "80.62", "ab"]),
)


@settings(max_examples=60, deadline=None)
@given(queries, st.integers(0, 2 * 86_400), st.sampled_from(["created", "last_activity"]))
def test_the_quick_way_finds_exactly_what_a_look_at_each_recording_finds(wanted, passed, order):
    world, site = everything(passed, order)
    found, expected = naive(world, site, wanted)
    assert found == expected


@given(
    st.sampled_from(["", "de", "DK"]), text, st.floats(-10, 100), st.integers(0, 10**7),
    st.lists(st.text("abc-", min_size=1, max_size=4), max_size=3),
)  # fmt: skip
@settings(deadline=None)
def test_parameters_are_read_as_they_were_meant(country, page, friction, milliseconds, tags):
    wanted = parse_query(
        {
            "country": country, "funnel": page, "frictionmin": repr(friction),
            "visitmin": str(milliseconds), "tags": ",".join(tags),
        }
    )  # fmt: skip
    assert wanted.country == country.casefold()
    assert wanted.funnel == (page.rstrip("/") or "/" if page else "")
    assert wanted.frictionmin == friction
    assert wanted.visitmin == milliseconds
    assert wanted.tags == tuple(tags)


def test_an_empty_query_lets_everybody_through():
    assert matches(Query(), snapshot(SHOPPER))
    assert matches(parse_query({}), snapshot(CALLER))
