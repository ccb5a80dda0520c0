"""Killed with -9 at any point and started again, every action has taken effect exactly once."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_matrix import POINTS, SCENARIOS, UNKNOWN, World, documented, table
from crash_storm import WRONG, storm

from bot.actions import ACTIONS, AFTER_QUIET, DIGESTS


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(Path(tmp_path_factory.mktemp("stores"))).open() as opened:
        yield opened


@pytest.mark.parametrize("kind", SCENARIOS)
def test_whatever_kills_the_bot_the_action_takes_effect_once(world: World, kind: str):
    cells = world.deaths(kind)
    for cell in cells:
        assert cell.killed == signal.SIGKILL, f"{cell.point} was never reached"
        once = {1, 2} if SCENARIOS[kind].repeats and cell.point in UNKNOWN else {1}
        assert cell.effect.times in once, cell
        ended = {"withheld"} if kind == "cancel" else {"done", "folded", "pending"}
        ended |= {"withheld"} if kind == "ended" else set()  # its answer, for the edit
        assert cell.left.keys() <= ended, cell
    assert column(table({kind: cells}), kind) == column(documented(), kind), (
        "the page is stale: run tests/delivery/crash_matrix.py --write"
    )
    on_disk = column(table({kind: cells}), "on disk")
    page = column(documented(), "on disk")
    assert [page[row] for row, state in on_disk.items() if state != "–"] == [
        state for state in on_disk.values() if state != "–"
    ]


def test_every_action_is_killed():
    killed = {kind for scenario in SCENARIOS.values() for kind, _ in scenario.actions}
    killed |= {scenario.makes for scenario in SCENARIOS.values() if scenario.makes}
    # The digests of all notifiers are made alike.
    assert killed | {*DIGESTS.values(), *AFTER_QUIET.values()} == set(ACTIONS)


def test_the_page_has_every_point_and_every_action():
    page = documented()
    assert all(f"`{point}`" in page for point in POINTS)
    assert all(kind in page for kind in SCENARIOS)
    cells = sum(len(scenario.points) for scenario in SCENARIOS.values())
    assert cells >= 40


def test_random_kills_under_load_lose_and_double_nothing(tmp_path: Path):
    counts = storm(8, tmp_path)
    assert counts["kills"] == 8
    assert counts["recordings"] >= 24
    assert counts["effects"] == 7 * counts["recordings"]
    assert [counts[name] for name in WRONG] == [0, 0, 0, 0]


def test_random_kills_lose_and_double_nothing_on_postgresql(tmp_path: Path, postgres_url: str):
    counts = storm(5, tmp_path, seed=2, url=postgres_url)
    assert counts["kills"] == 5
    assert counts["effects"] == 7 * counts["recordings"]
    assert [counts[name] for name in WRONG] == [0, 0, 0, 0]


def column(text: str, title: str) -> dict[str, str]:
    """The column of that title, by the first cell of each row."""
    found: dict[str, str] = {}
    place = None
    for line in text.splitlines():
        row = [cell.strip() for cell in line.strip("|").split("|")]
        if row[0] == "killed":
            place = row.index(title) if title in row else None
        elif place is not None and row[0].startswith("`"):
            found[row[0]] = row[place]
    return found
