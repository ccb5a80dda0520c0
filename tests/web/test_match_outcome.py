"""What the page says of a match as a whole is the worst of its steps, whatever their rank."""

from itertools import product

import pytest
from test_web_many import RULES, SITE, match
from web_world import NOW, WebWorld

from bot.domain.step import Rank, StepStatus
from bot.store.schema import ms, steps

WORST_FIRST = {
    StepStatus.DEAD: ("crit", "Failed: no access"),
    StepStatus.SENDING: ("warn", "Waits: no access"),
    StepStatus.PENDING: ("warn", "Waits: no access"),
    StepStatus.WITHHELD: ("off", "Held back: no access"),
    StepStatus.FOLDED: ("off", "In a digest"),
    StepStatus.DONE: ("ok", "Done"),
}


@pytest.fixture
def world(tmp_path):
    world = WebWorld(tmp_path, RULES.replace("    do: {slack", "    do: {tag: seen, slack"))
    match(world, "cart", "r1")
    yield world
    world.store.close()


def set_steps(world, *states):
    """Give the steps of the match, in their order, each a state and rank."""
    for kind, (state, rank) in zip(("tag", "slack"), states, strict=True):
        now = {
            "state": state,
            "rank": rank,
            "fault": "" if state is StepStatus.DONE else "no access",
            "ended": None if state.is_open else ms(NOW),
        }
        query = steps.update().where(steps.c.action == kind).values(**now)
        world.write(lambda conn, query=query: conn.execute(query))


async def outcome(asking):
    found = (await asking.get(f"/api/v1/matches/cart/{SITE.id}/r1")).json()["match"]
    return found["state"], found["outcome"]


async def test_the_worst_step_decides_whatever_its_rank(world):
    alone = [
        ((state, rank), (StepStatus.DONE, Rank.WRITE)) for state in StepStatus for rank in Rank
    ]
    pairs = [((a, Rank.POST), (b, Rank.WRITE)) for a, b in product(StepStatus, repeat=2)]
    async with world.ask() as asking:
        for one, other in (*alone, *pairs):
            set_steps(world, one, other)
            worst = next(it for it in WORST_FIRST if it in (one[0], other[0]))
            wanted = WORST_FIRST[worst]
            if worst is StepStatus.DONE and one[1] is Rank.POST:
                wanted = ("ok", "Posted after 0 s")
            assert await outcome(asking) == wanted, (one, other)
