"""Kills, freezes and restarts bots that share a store, under load; counts what was lost or doubled.

python tests/end_to_end/replica_storm.py [BLOWS [SEED [BOTS [MINUTES]]]]

By default 300 blows to 3 bots, and no longer than 30 minutes.
"""

import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parents[1]))

from daemon_world import Daemon
from postgres_server import Server, connected, create_database

from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

SITES = [f"shop-{number}.com" for number in range(6)]
RULE = """
version: 1
rules:
  checkout:
    watch: recordings
    when: {saw_page: /checkout*}
    do:
      tag: friction
      share: true
      slack: [{channel: "#checkout-alerts"}, {channel: "#mouseflow"}]
"""
BLOWS = ("kill", "kill", "freeze", "freeze", "stop")
LONGEST = 40.0
"""Seconds of a freeze at most: well above those after which others take over."""

SETTLED = 180.0


class Storm:
    """The bots, and when each frozen one wakes up."""

    def __init__(self, folder: Path, sim: Simulator, url: str, bots: int, seed: int) -> None:
        self.sim, self.chance = sim, random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.visits: list[str] = []
        self.bots = []
        self.wakes: dict[int, float] = {}
        for number in range(bots):
            (folder / str(number)).mkdir()
            self.bots.append(Daemon(folder / str(number), sim, RULE, BOT_STORE__URL=url))

    def visit(self) -> None:
        name = self.chance.choice(SITES)
        self.visits.append(self.sim.add(name, "checkout-friction", start=-79.5, calm_for=80))

    def wake(self, *, all_of_them: bool = False) -> None:
        for number, at in list(self.wakes.items()):
            if all_of_them or time.monotonic() > at:
                self.bots[number].tell(signal.SIGCONT)
                del self.wakes[number]

    def blow(self) -> None:
        number = self.chance.randrange(len(self.bots))
        bot, kind = self.bots[number], self.chance.choice(BLOWS)
        if number in self.wakes:
            if kind == "kill":
                bot.kill()
                del self.wakes[number]
                bot.start()
                self.counts["kills of a frozen one"] += 1
            return
        if kind == "freeze" and len(self.wakes) + 1 < len(self.bots):
            bot.tell(signal.SIGSTOP)
            self.wakes[number] = time.monotonic() + self.chance.uniform(0.2, LONGEST)
        elif kind == "kill":
            bot.kill()
            bot.start()
        else:
            kind = "stop"
            bot.stop()
            bot.start()
        self.counts[f"{kind}s"] += 1

    def run(self, blows: int, minutes: int) -> Counter[str]:
        for bot in self.bots:
            bot.start()
        self.sim.wait_until(lambda: all(bot.events("daemon.started") for bot in self.bots))
        last = time.monotonic() + 60 * minutes
        while sum(self.counts.values()) < blows and time.monotonic() < last:
            self.visit()
            time.sleep(self.chance.uniform(0.2, 2.5))
            self.wake()
            print(dict(self.counts), f"{self.left()} left", file=sys.stderr)
            if self.chance.random() < 0.8:
                self.blow()
        self.wake(all_of_them=True)
        end = time.monotonic() + SETTLED
        while time.monotonic() < end and self.left():
            time.sleep(1)
        for bot in self.bots:
            bot.stop()
        self.count()
        return self.counts

    def left(self) -> int:
        found = self.posts()
        return 2 * len(self.visits) - len(found)

    def posts(self) -> Counter[str]:
        return Counter(f"{each.channel} {each.metadata}" for each in self.sim.slack.messages)

    def count(self) -> None:
        effects = [self.sim.effect(visit) for visit in self.visits]
        posts = self.posts()
        self.counts["visits"] = len(self.visits)
        self.counts["lost"] = self.left() + sum("friction" not in it.tags for it in effects)
        self.counts["lost"] += sum(not it.token for it in effects)
        self.counts["doubled"] = sum(posts.values()) - len(posts)
        self.counts["doubled"] += sum(it.calls.get("share", 0) > 1 for it in effects)
        self.counts["taken over"] = sum(len(bot.events("replica.taken_over")) for bot in self.bots)
        self.counts["lost bots"] = sum(len(bot.events("replica.lost")) for bot in self.bots)
        self.counts["internal errors"] = sum(
            "internal" in bot.log.read_text() or "Traceback" in bot.log.read_text()
            for bot in self.bots
        )


def main() -> None:
    given = [*map(int, sys.argv[1:])]
    blows, seed, bots, minutes = [*given, *(300, 1, 3, 30)[len(given) :]]
    server = Server()
    sites = [website(str(uuid4()), name, plan=Plan(per_day=0)) for name in SITES]
    try:
        with connected(server.url):
            url = create_database(server.url, "storm")
        folder = Path(tempfile.mkdtemp(prefix="replica-storm-"))
        with Simulator(seed=seed, sites=sites) as sim:
            storm = Storm(folder, sim, url, bots, seed)
            try:
                counts = storm.run(blows, minutes)
            finally:
                for bot in storm.bots:
                    if bot.process is not None:
                        bot.tell(signal.SIGCONT)
                        bot.kill()
    finally:
        server.remove()
    print(", ".join(f"{number} {name}" for name, number in counts.items()), f"({folder})")
    raise SystemExit(bool(counts["lost"] or counts["doubled"]))


if __name__ == "__main__":
    main()
