"""How fast a month is replayed, held against bare fetching and decoding of the same answers.

    python -m bench.replay [--write] [--days 30] [--recordings 370000] [--rounds 3]

The simulated account runs in a process of its own, and so does each contestant. The replay
judges every recording of the month by ten rules and writes its matches into a store on trial.
Its requests are noted, and the bare contestant sends the very same ones with the same client
and throws the decoded answers away. --write puts the figures into docs/explanation/performance.md.
"""

import argparse
import asyncio
import contextlib
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from bench.report import met, write

ROOT = Path(__file__).parents[1]
GOAL, MOST_MB = 0.5, 150
ZONE = "Europe/Copenhagen"
RULES = """\
version: 1
rules:
  checkout-friction: {watch: recordings, when: {friction: {min: 6}, saw_page: /checkout*, duration: {over: 60s}}, except: {tags: [internal, load-test]}, do: {tag: friction, slack: {channel: "#a", at_most: 10 per hour}}}
  returning-in-trouble: {watch: recordings, when: {visitor_type: returning, friction: {min: 7}}, do: {star: true}}
  phone-bounce: {watch: recordings, when: {device: phone, pages: {max: 1}, duration: {under: 5s}}, do: {tag: bounce}}
  long-visits: {watch: recordings, when: {duration: {over: 15m}, pages: {min: 25}}, do: {tag: long}}
  germans: {watch: recordings, when: {country: de, referrer_type: social, device: tablet}, do: {tag: de}}
  landing: {watch: recordings, when: {entry_page: /landing*, browser: opera}, do: {tag: landing}}
  bots: {watch: recordings, when: {user_agent: {matches: "(?i)bot|crawler"}}, do: {tag: bot}}
  dear-carts: {watch: recordings, when: {variables: {cart-value: {min: 5000}}}, do: {tag: dear}}
  night: {watch: recordings, when: {hour: {min: 2, max: 3}, os: linux}, do: {tag: night}}
  partners: {watch: recordings, when: {entry_url: "*utm_source=partner*", pages: {min: 3}}, do: {tag: partner}}
"""  # noqa: E501


def serve(per_day: int) -> None:
    """The simulated account, until it is ended."""
    from mouseflow.simulator.server import Simulator
    from mouseflow.simulator.site import website
    from mouseflow.simulator.traffic import Plan

    level = (1.0,) * 7
    plan = Plan(per_day=per_day, wobble=0.0, weekdays=level)
    with Simulator(seed=7, sites=[website("site-1", "myshop.com", plan=plan)]) as sim:
        print(json.dumps([sim.mouseflow_url, sim.email, sim.api_key]), flush=True)
        signal.pause()


def client(account: list[str]) -> Any:
    from bot.account import Account
    from mouseflow.client import AsyncMouseflow

    url, email, key = account
    return Account(AsyncMouseflow(url, email, key, requests_per_second=100_000, burst=1_000))


async def replay(given: dict[str, Any], noted: list[list[str]]) -> dict[str, Any]:
    """Judge the span; `noted` gets every request."""
    from bot.domain.subjects import Site
    from bot.polling.candidates import CountingClient
    from bot.polling.record_matches import Routing
    from bot.replay.evaluate_days import History
    from bot.replay.run import Progress
    from bot.replay.run import replay as run
    from bot.replay.select import Span
    from bot.rules.files.load import read
    from bot.store import open_store
    from mouseflow import Request

    class Noting:
        def __init__(self, real: Any) -> None:
            self.real = real

        async def send(self, request: Request[Any]) -> Any:
            noted.append([request.route, request.target])
            return await self.real.send(request)

    span = Span(*(datetime.fromisoformat(it) for it in given["span"]))
    rules = read([("rules.yaml", RULES.encode())]).rules
    api, zone = client(given["account"]), ZoneInfo(ZONE)
    with tempfile.TemporaryDirectory() as folder, open_store(f"sqlite:///{folder}/b.db") as store:
        counted = CountingClient(Noting(api))
        history = History(
            mouseflow=counted, store=store, zone=zone, settle=timedelta(minutes=35), span=span,
            now=span.until,
        )  # fmt: skip
        progress = Progress(
            since=span.since, until=span.until, apply=False, rules=(), websites=(), digest="",
            now=span.until,
        )  # fmt: skip
        await run(
            history, counted, [Site("site-1", "myshop.com")], rules, rules, Routing("#a", ZONE),
            progress, keep=lambda _it: None, tell=lambda _read, _of: None,
        )  # fmt: skip
    await api.client.aclose()
    tally = progress.tally
    matches = sum(tally.total(rule.id).matches for rule in rules)
    return {"read": tally.read, "matches": matches, "calls": tally.calls, "missed": tally.missed,
            "details": tally.details}  # fmt: skip


async def bare(given: dict[str, Any], requests: list[list[str]]) -> dict[str, Any]:
    """Send the same requests, decode the answers, keep nothing."""
    from mouseflow import Request, recordings

    page, one = recordings.list("w").read, recordings.detail("w", "r").read
    api = client(given["account"])
    rows = 0
    details = []
    for route, target in requests:
        path, _, query = target.partition("?")
        if "{recording-id}" in route:
            details.append(Request("GET", path, route, one))
            continue
        pairs = tuple(tuple(pair.split("=", 1)) for pair in query.split("&"))
        answer = await api.send(Request("GET", path, route, page, pairs))  # type: ignore[arg-type]
        rows += len(answer.recordings)
        del answer
    for start in range(0, len(details), 200):  # as many at once as the replay has under way
        await asyncio.gather(*map(api.send, details[start : start + 200]))
    await api.client.aclose()
    return {"rows": rows}


def contest(name: str, given: dict[str, Any]) -> None:
    """One contestant in this process; prints what it took."""
    noted: list[list[str]] = given.get("requests", [])
    began, cpu = time.perf_counter(), time.process_time()
    found = asyncio.run(replay(given, noted) if name == "replay" else bare(given, noted))
    found |= {
        "wall": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(found | ({"requests": noted} if name == "replay" else {})))


def run(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """The contestant in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.replay", "--contestant", name],
        input=json.dumps(given), stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextlib.contextmanager
def account(per_day: int) -> Iterator[list[str]]:
    """The simulated account in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.replay", "--serve", str(per_day)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def report(ours: dict[str, Any], theirs: dict[str, Any], days: float) -> str:
    """The figures as a table."""
    rate, bare_rate = ours["read"] / ours["wall"], ours["read"] / theirs["wall"]
    ratio = theirs["wall"] / ours["wall"]
    own = theirs["cpu"] / ours["cpu"]
    extra = (ours["cpu"] - theirs["cpu"]) / ours["read"] * 1e6
    return f"""Python {sys.version.split()[0]}, {ours["read"]:,} recordings of {days:g} days, ten rules, \
{ours["calls"]:,} calls ({ours["details"]:,} for details), {ours["matches"]:,} matches; the median of the rounds.

| | replay | bare fetching and decoding | ratio |
|---|---:|---:|---:|
| recordings a second, the account's answering included | {rate:,.0f} | {bare_rate:,.0f} | {ratio:.2f} |
| processor time of the bot alone, s | {ours["cpu"]:.1f} | {theirs["cpu"]:.1f} | {own:.2f} |
| most resident memory, MB | {ours["mb"]:.0f} | {theirs["mb"]:.0f} | |

| goal | asked | measured | |
|---|---:|---:|---|
| throughput against bare fetching and decoding | ≥ {GOAL} | {ratio:.2f} | {met(ratio >= GOAL)} |
| the same, counting the bot's own processor time alone | ≥ {GOAL} | {own:.2f} | {met(own >= GOAL)} |
| resident memory | < {MOST_MB} MB | {ours["mb"]:.0f} MB | {met(ours["mb"] < MOST_MB)} |

Judging, planning and writing cost {extra:.1f} µs of processor time a recording on top of fetching and decoding it.
"""  # noqa: E501


def main() -> int:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--recordings", type=int, default=370_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contestant", choices=("replay", "bare"), help=argparse.SUPPRESS)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return 0
    if args.contestant:
        contest(args.contestant, json.load(sys.stdin))
        return 0
    until = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    span = [(until - timedelta(days=args.days)).isoformat(), until.isoformat()]
    with account(round(args.recordings / args.days)) as where:
        given: dict[str, Any] = {"account": where, "span": span}
        # The first round warms the account's own memory up and tells the requests.
        requests = run("replay", given)["requests"]
        ours, theirs = [], []
        for _ in range(args.rounds):
            theirs.append(run("bare", given | {"requests": requests}))
            ours.append(run("replay", given))
    usual = {key: median(it[key] for it in ours) for key in ("wall", "cpu")}
    bare_usual = {key: median(it[key] for it in theirs) for key in ("wall", "cpu")}
    most = {"mb": max(it["mb"] for it in ours)}
    text = report(ours[0] | usual | most, theirs[0] | bare_usual, args.days)
    print(text)
    if args.write:
        write("replay", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
