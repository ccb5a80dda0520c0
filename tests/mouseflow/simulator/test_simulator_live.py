"""Live sessions: visible when they start, growing while they last, then settled."""

from datetime import timedelta
from itertools import pairwise

from mouseflow.simulator.scenarios import session
from mouseflow.simulator.sessions import length, snapshot

LIST = "/websites/quiet/recordings"
SCRIPT = session(
    [("/products", 20), ("/cart", 20), ("/checkout", 40)],
    [(25, "form-interact"), (70, "click-rage")],
    variables=[(21, "cart-value", "10"), (50, "cart-value", "30")],
)


async def test_a_recording_is_visible_when_it_starts_and_not_before(stand):
    made = stand.sim.add("quiet.example", SCRIPT, start=30)
    assert await stand.ids() == set()
    assert (await stand.api.get(f"{LIST}/{made}")).status_code == 404
    stand.later(seconds=30)
    assert await stand.ids() == {made}


async def test_a_visibility_delay_holds_list_and_detail_back(stand):
    stand.sim.behave(visibility_delay=timedelta(seconds=90))
    made = stand.sim.add("quiet.example", SCRIPT)
    stand.later(seconds=60)
    assert await stand.ids() == set()
    assert (await stand.api.get(f"{LIST}/{made}")).status_code == 404
    stand.later(seconds=30)
    assert await stand.ids() == {made}
    assert (await stand.detail(made))["duration"] > 0


async def test_a_live_recording_grows_page_by_page(stand):
    made = stand.sim.add("quiet.example", SCRIPT)
    grown = []
    for _ in range(5):
        (row,) = await stand.rows()
        detail = await stand.detail(made)
        grown.append((row["pages"], row["duration"], row["tags"], row["variables"]))
        assert len(detail["pageViews"]) == row["pages"]
        assert detail["lastActivity"] == row["lastActivity"]
        stand.later(seconds=20)
    assert grown == [
        (1, 0, [], []),
        (1, 20_000, [], []),
        (2, 39_800, ["form-interact"], ["cart-value=10"]),
        (3, 59_600, ["form-interact"], ["cart-value=30"]),
        (3, 79_600, ["form-interact", "click-rage"], ["cart-value=30"]),
    ]


async def test_friction_is_reached_at_its_moment_and_not_before(stand):
    made = stand.sim.add("quiet.example", "checkout-friction", start=-60, calm_for=75)
    stand.later(seconds=14)
    assert await stand.ids(frictionmin=2.5) == set()
    stand.later(seconds=2)
    assert await stand.ids(frictionmin=2.5, visitmin=60_000, funnel="/checkout") == {made}


async def test_a_settled_recording_changes_no_more(stand):
    made = stand.sim.add("quiet.example", SCRIPT)
    stand.later(milliseconds=length(SCRIPT))
    final = await stand.detail(made)
    stand.later(days=3)
    assert await stand.detail(made) == final


async def test_the_exit_page_of_a_live_session_is_where_it_is_now(stand):
    made = stand.sim.add("quiet.example", SCRIPT, start=-25)
    assert await stand.ids(exit="/cart") == {made}
    stand.later(seconds=30)
    assert await stand.ids(exit="/cart") == set()
    assert await stand.ids(exit="/checkout") == {made}


async def test_a_skewed_clock_shows_in_every_time(stand):
    stand.sim.behave(clock_skew=timedelta(minutes=-5))
    stand.sim.add("quiet.example", SCRIPT, start=-320)
    (row,) = await stand.rows()
    assert row["duration"] == 20_000 - 0  # twenty seconds old by the server's clock
    assert row["lastActivity"][:19] == "2026-11-24T12:55:00"


def test_what_was_seen_of_a_session_is_only_ever_added_to():
    states = [snapshot(SCRIPT, age) for age in range(0, length(SCRIPT) + 1, 500)]
    for before, after in pairwise(states):
        assert before.duration <= after.duration
        assert before.last <= after.last
        assert before.friction <= after.friction
        assert set(before.tags) <= set(after.tags)
        assert len(before.views) <= len(after.views)
    assert states[-1].friction == snapshot(SCRIPT).friction == 5
