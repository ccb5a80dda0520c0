"""Kills the bot at random moments under load and faults; counts what was lost or doubled.

python tests/delivery/crash_storm.py [KILLS [SEED]]     1000 kills by default
"""

import hashlib
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from crash_matrix import SITE, Cell, Scenario, World, slack_effect, step_states
from sqlalchemy import select

from bot.store import open_store
from bot.store.schema import steps

LOAD = Scenario(
    [
        ("tag", {"tag": "seen"}),
        ("star", {}),
        ("watched", {}),
        ("variables", {"values": {"found": "yes"}}),
        ("share", {}),
        ("slack", {"channel": ""}),
        ("webhook", {"url": ""}),
    ],
    slack_effect(1),
)
A_ROUND = 3
"""New recordings between two kills."""

FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 429, "retry_after": 1},
    {"kind": "html"},
    {"kind": "half"},
    {"kind": "close"},
    {"kind": "close_after"},
)
WRITES: tuple[dict[str, Any], ...] = (
    {"side": "mouseflow", "method": "POST"},
    {"side": "mouseflow", "method": "PUT"},
    {"side": "slack", "path": "chat.postMessage"},
    {"side": "slack", "path": "conversations.history"},
)
"""Where the faults happen: at writes, and where a post is looked up."""

RECEIVER = ("status", "close", "close_after")
"""How the receiver of webhooks fails."""

WRONG = ("lost", "doubled", "only logged", "unsettled")
COUNTED = ("kills", "faults", "recordings", "effects", *WRONG)
LEFT = select(steps.c.action, steps.c.state, steps.c.fault).where(steps.c.state != "done")
DONE = select(steps.c.key).where(steps.c.state == "done")

UNTIL_SETTLED = 30
"""Runs an hour apart at the end, until nothing waits."""


def storm(kills: int, folder: Path, seed: int = 1, faulty: float = 0.7, url: str = "") -> Counter:
    """Kill so often, then let the bot finish; what was performed, lost and doubled.

    `faulty` is the share of the runs with a fault of Mouseflow or Slack, `url` a store elsewhere
    than in the folder.
    """
    chance, counts = random.Random(seed), Counter()
    with World(folder).open() as world:
        cell = Cell(
            "storm", "", folder / "storm.db", [], world.channel(), world.sim.world.site(SITE).id
        )
        cell.elsewhere = url
        while counts["kills"] < kills:
            cell.recordings += world.recordings(A_ROUND)
            cell.channel = world.channel()  # where no post waits for the pace of the last one
            # The point is drawn, and how often it is passed before it kills.
            point, passes = chance.choice(list(LOAD.points)), chance.randrange(6)
            job = world.job(cell, LOAD, kill_at=point, passes=passes)
            if chance.random() < faulty:
                fault = chance.choice(FAULTS) | chance.choice(WRITES)
                world.sim.fail(**fault, times=chance.randint(1, 2), skip=chance.randrange(3))
                counts["faults"] += 1
            if chance.random() < faulty / 2:
                world.hook_faults.append(chance.choice(RECEIVER))
                counts["faults"] += 1
            job["recordings"] = cell.recordings[-20:]
            counts["kills"] += world.run([job])[0] != 0
            world.sim.advance(60)
            if len(cell.recordings) % 300 == 0:
                print(dict(counts), file=sys.stderr)
        world.sim.faults.clear()
        world.hook_faults.clear()
        for _ in range(UNTIL_SETTLED):
            world.run([world.job(cell, LOAD, polls=2)])
            world.sim.advance(3600)
            if set(step_states(cell.url)) == {"done"}:
                break
        _count(world, cell, counts)
    return counts


def _count(world: World, cell: Cell, counts: Counter) -> None:
    """Compare what each step should have done, and what the store says, with the world."""
    posts = Counter(message.metadata["event_payload"]["key"] for message in _messages(world))
    with open_store(cell.url, read_only=True) as store:
        logged = set(store.do(lambda conn: conn.execute(DONE).scalars().all()))
        left = Counter(store.do(lambda conn: map(tuple, conn.execute(LEFT))))
    for (action, state, fault), number in left.most_common(20):
        print(f"left: {number} {action} {state}: {fault}", file=sys.stderr)
    for recording in cell.recordings:
        effect = world.sim.effect(recording)
        match = f"rule/{cell.website}/{recording}"
        post = hashlib.sha256(f"{match}/slack-6".encode()).hexdigest()[:32]
        site, visit, _ = world.sim.world.inspect(recording)
        there = {
            "tag-1": "seen" in effect.tags,
            "star-2": bool(effect.starred),
            "watched-3": bool(effect.watched),
            "variables-4": (site.marks[visit.ref].variables or {}).get("found") == "yes",
            "share-5": bool(effect.token),
            "slack-6": post in posts,
            "webhook-7": any(f"/{recording}/" in key for key in world.hooks),
        }
        counts["effects"] += sum(there.values())
        counts["lost"] += len(there) - sum(there.values())
        counts["only logged"] += sum(
            f"{match}/{step}" in logged for step, done in there.items() if not done
        )
        counts["doubled"] += max(posts[post] - 1, 0)
        # The others are safe to repeat.
        counts["doubled"] += effect.calls.get("share", 0) > 1
    counts["recordings"] = len(cell.recordings)
    counts["unsettled"] = sum(state != "done" for state in step_states(cell.url))


def _messages(world: World) -> list[Any]:
    return [message for message in world.sim.slack.messages if message.metadata]


def main() -> None:
    kills = int(sys.argv[1]) if sys.argv[1:] else 1000
    seed = int(sys.argv[2]) if sys.argv[2:] else 1
    with tempfile.TemporaryDirectory() as folder:
        counts = storm(kills, Path(folder), seed)
    print(", ".join(f"{counts[name]:,} {name}" for name in COUNTED))
    raise SystemExit(any(counts[name] for name in WRONG))


if __name__ == "__main__":
    main()
