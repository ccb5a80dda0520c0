"""Kills, freezes and restarts bots that share a store, under load; counts what was lost or doubled.

python tests/end_to_end/replica_storm.py [BLOWS [SEED [BOTS [MINUTES]]]]

By default 300 blows to 3 bots, and no longer than 90 minutes. It takes the pace of the machine: a
blow waits until some bot is at work, and visitors wait while many posts do. Says, too, how soon
after a blow the others had taken over, counting the seconds in which one of them was at work. Ends
with 1 if anything was lost or done twice.
"""

import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime
from itertools import pairwise
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
CHANNELS = ("#checkout-alerts", "#mouseflow")
BLOWS = ("kill", "kill", "freeze", "freeze", "stop")
LONGEST = 40.0
"""Seconds of a freeze at most: well above those after which others take over."""

SETTLED = 180.0
"""How many seconds pass without a post before those that wait count as lost."""

WAITING = 100
"""How many posts may wait: more than twice as many would be folded into digests."""


class Storm:
    """The bots, and when each frozen one wakes up."""

    def __init__(self, folder: Path, sim: Simulator, url: str, bots: int, seed: int) -> None:
        self.sim, self.chance = sim, random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.visits: list[str] = []
        self.bots = []
        self.wakes: dict[int, float] = {}
        self.began: dict[int, int] = {}
        self.hit: dict[str, tuple[float, int]] = {}
        self.working: list[tuple[float, frozenset[int]]] = []
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

    def start(self, number: int) -> None:
        log = self.bots[number].log
        self.began[number] = log.stat().st_size if log.exists() else 0
        self.bots[number].start()

    def at_work(self, number: int) -> bool:
        """Whether the bot has started since its last blow, and is not frozen."""
        log = self.bots[number].log
        if number in self.wakes or not log.exists():
            return False
        with log.open("rb") as since:
            since.seek(self.began[number])
            return b'"daemon.started"' in since.read()

    def blow(self) -> None:
        number = self.chance.randrange(len(self.bots))
        bot, kind = self.bots[number], self.chance.choice(BLOWS)
        at_work, name = self.at_work(number), str(bot.process.pid)
        if number in self.wakes:
            if kind == "kill":
                bot.kill()
                del self.wakes[number]
                self.start(number)
                self.counts["kills of a frozen one"] += 1
            return
        if kind == "freeze" and len(self.wakes) + 1 < len(self.bots):
            bot.tell(signal.SIGSTOP)
            self.wakes[number] = time.monotonic() + self.chance.uniform(0.2, LONGEST)
        elif kind == "kill":
            bot.kill()
        else:
            kind = "stop"
            bot.stop()
        if kind != "stop" and at_work:
            self.hit[name] = time.time(), number
        if kind != "freeze":
            self.start(number)
        self.counts[f"{kind}s"] += 1

    def run(self, blows: int, minutes: int) -> Counter[str]:
        for number in range(len(self.bots)):
            self.start(number)
        everyone = range(len(self.bots))
        self.sim.wait_until(lambda: all(map(self.at_work, everyone)), timeout=600)
        last = time.monotonic() + 60 * minutes
        while sum(self.counts.values()) < blows and time.monotonic() < last:
            if self.left() < WAITING:
                self.visit()
            time.sleep(self.chance.uniform(0.2, 2.5))
            self.wake()
            print(dict(self.counts), f"{self.left()} left", file=sys.stderr)
            working = frozenset(filter(self.at_work, everyone))
            self.working.append((time.time(), working))
            if self.chance.random() < 0.8 and working:
                self.blow()
                working = frozenset(filter(self.at_work, everyone))
                self.working.append((time.time(), working))
        self.wake(all_of_them=True)
        left, end = self.left(), time.monotonic() + SETTLED
        while left and time.monotonic() < end:
            time.sleep(1)
            if (now := self.left()) != left:
                left, end = now, time.monotonic() + SETTLED
        for bot in self.bots:
            bot.stop()
        self.count()
        return self.counts

    def left(self) -> int:
        found = self.posts()
        return 2 * len(self.visits) - len(found)

    def posts(self) -> Counter[str]:
        """How often each post is there, without what the bot says of itself."""
        return Counter(
            f"{channel} {each.metadata}"
            for channel in CHANNELS
            for each in self.sim.slack.in_channel(channel)
        )

    def count(self) -> None:
        effects = [self.sim.effect(visit) for visit in self.visits]
        posts = self.posts()
        self.counts["visits"] = len(self.visits)
        self.counts["lost"] = self.left() + sum("friction" not in it.tags for it in effects)
        self.counts["lost"] += sum(not it.token for it in effects)
        self.counts["doubled"] = sum(posts.values()) - len(posts)
        self.counts["doubled"] += sum(it.calls.get("share", 0) > 1 for it in effects)
        self.counts["taken over"] = sum(len(bot.events("replica.taken_over")) for bot in self.bots)
        self.counts["lost bots"] = len(self.losses())
        self.counts["internal errors"] = sum(
            "internal" in bot.log.read_text() or "Traceback" in bot.log.read_text()
            for bot in self.bots
        )

    def losses(self) -> list[float | None]:
        """Of each bot that the others gave up: how long one of them was at work since the blow.

        None for a bot that was not at work when it was hit.
        """
        told = [event for bot in self.bots for event in bot.events("replica.lost")]
        found: list[float | None] = []
        for event in told:
            hit = self.hit.get(str(event["process"]).split()[0])
            at = datetime.fromisoformat(str(event["timestamp"])).timestamp()
            found.append(None if hit is None else self.attended(*hit, at))
        return found

    def attended(self, since: float, victim: int, until: float) -> float:
        """For how many seconds another bot was at work."""
        return sum(
            min(after, until) - max(at, since)
            for (at, working), (after, _) in pairwise([*self.working, (until, frozenset())])
            if working - {victim} and after > since and at < until
        )


def main() -> None:
    given = [*map(int, sys.argv[1:])]
    blows, seed, bots, minutes = [*given, *(300, 1, 3, 90)[len(given) :]]
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
    if took := [each for each in storm.losses() if each is not None]:
        longest = ", ".join(f"{each:.0f}" for each in sorted(took)[-5:])
        print(f"taken over after {statistics.median(took):.0f} s, the longest: {longest} s")
    raise SystemExit(bool(counts["lost"] or counts["doubled"]))


if __name__ == "__main__":
    main()
