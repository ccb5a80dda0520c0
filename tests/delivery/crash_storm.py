"""Kills the bot at random moments under load and faults; counts what was lost or doubled.

python tests/delivery/crash_storm.py [KILLS [SEED]]     1000 kills by default
"""

import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from crash_matrix import SITE, Cell, Scenario, World, slack_effect, step_states

LOAD = Scenario(
    [
        ("tag", {"tag": "seen"}),
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
            job["recordings"] = cell.recordings[-20:]
            counts["kills"] += world.run([job])[0] != 0
            world.sim.advance(60)
        world.sim.faults.clear()
        for _ in range(UNTIL_SETTLED):
            world.run([world.job(cell, LOAD, polls=2)])
            world.sim.advance(3600)
            if set(step_states(cell.url)) == {"done"}:
                break
        _count(world, cell, counts)
    return counts


def _count(world: World, cell: Cell, counts: Counter) -> None:
    effects = [world.sim.effect(recording) for recording in cell.recordings]
    posts = Counter(json.dumps(message.metadata) for message in world.sim.slack.messages)
    counts["recordings"] = len(effects)
    counts["lost"] = sum("seen" not in effect.tags for effect in effects)
    counts["lost"] += sum(not effect.token for effect in effects)
    counts["lost"] += len(effects) - len(posts)
    called = " ".join(world.hooks)
    counts["lost"] += sum(f"/{recording}/" not in called for recording in cell.recordings)
    counts["doubled"] = sum(posts.values()) - len(posts)
    counts["doubled"] += sum(effect.calls.get("share", 0) > 1 for effect in effects)
    counts["unsettled"] = sum(state != "done" for state in step_states(cell.url))


def main() -> None:
    kills = int(sys.argv[1]) if sys.argv[1:] else 1000
    seed = int(sys.argv[2]) if sys.argv[2:] else 1
    with tempfile.TemporaryDirectory() as folder:
        counts = storm(kills, Path(folder), seed)
    print(
        ", ".join(f"{counts[name]} {name}" for name in ("kills", "faults", "recordings", "lost")),
        end=", ",
    )
    print(f"{counts['doubled']} doubled, {counts['unsettled']} unsettled")
    raise SystemExit(bool(counts["lost"] or counts["doubled"] or counts["unsettled"]))


if __name__ == "__main__":
    main()
