"""Run every benchmark and write its tables into the docs; or run a few and compare their ratios.

    python -m bench.report [NAME …]    # hours; names of `BENCHMARKS` for some of them
    python -m bench.report --short     # a minute: warns of a ratio that has become worse
    python -m bench.report --short --record

A table stands between `<!-- table: NAME -->` and `<!-- end of table -->` and is replaced by its
benchmark. The ratios of the short run are measured in one run, medians of several rounds in which
both sides take turns; bench/recorded.json has those to compare with.
"""

import argparse
import importlib.metadata
import json
import logging
import os
import platform
import re
import sqlite3
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "explanation"
RECORDED = Path(__file__).with_name("recorded.json")
WORSE = 0.75
"""A ratio below so much of the recorded one is warned of."""

BENCHMARKS = (
    "rules --write",
    "decoding --write",
    "polling --write",
    "polling --late",
    "latency --write",
    "calls --write",
    "delivery --write",
    "replicas --write",
    "pace --write",
    "unusual --write",
    "replay --write",
    "stalls --write",
    "big_store --write",
    "pages --write",
    "pages --open --write",
    "start --write",
    "check --write",
    "scaling --write",
    "soak --write soak",
    "soak --days 30 --websites 5 --per-day 6700 --every 1h --write million",
    "soak --real --per-day 2000 --write soak-real",
    "soak --real --websites 500 --rules 1000 --write many",
    "outages --write",
    "quarter --every 1h --write",
)
"""What is run, in the order of the docs. `outages` needs root."""


def write(name: str, text: str, page: str = "performance.md") -> None:
    """Put the text between the markers of that name; they must be there once."""
    path = PAGES / page
    part = re.compile(
        rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end of table -->)", re.DOTALL
    )
    made, count = part.subn(
        lambda it: f"{it[1]}{text.strip()}\n{it[2]}", path.read_text(encoding="utf-8")
    )
    if count != 1:
        raise SystemExit(f"{path} has no place for the table {name}")
    path.write_text(made, encoding="utf-8")


def met(good: bool) -> str:
    """How a goal's last column says it."""
    return "met" if good else "**missed**"


def bars(values: Mapping[str, float], unit: str, width: int = 40) -> str:
    """The values as bars of text, the longest `width` wide."""
    most, room = max(values.values()), max(map(len, values))
    drawn = {name: "█" * (round(width * it / most) or bool(it)) for name, it in values.items()}
    lines = [
        f"{name:<{room}} {drawn[name]:<{width}} {figure(value)} {unit}"
        for name, value in values.items()
    ]
    return "\n".join(["```text", *(line.rstrip() for line in lines), "```"])


def figure(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def memory() -> float:
    """Resident memory of this process, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def machine() -> str:
    """Where the figures come from, as Markdown."""
    cpu = re.search(r"model name\s*: (.*)", _read("/proc/cpuinfo"))
    total = re.search(r"MemTotal:\s*(\d+)", _read("/proc/meminfo"))
    versions = (
        f"{name} {importlib.metadata.version(name)}"
        for name in ("aiohttp", "httpx", "msgspec", "pydantic", "sqlalchemy")
    )
    rows = {
        "processor": f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{int(total[1]) / 2**20:.0f} GB" if total else "unknown",
        "system": f"{platform.system()} {platform.release()}",
        "Python, SQLite": f"{platform.python_version()}, {sqlite3.sqlite_version}",
        "libraries": ", ".join(versions),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "load while this was written": f"{os.getloadavg()[0]:.1f}",
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _read(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""


def in_turns(rounds: int, *sides: Callable[[], float]) -> list[float]:
    """The median of what each side measures; they take turns, so that a busy machine hits all."""
    measured: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, found in zip(sides, measured, strict=True):
            found.append(side())
    return [statistics.median(found) for found in measured]


def short() -> dict[str, float]:
    """A few ratios; more is better in each."""
    from bench import calls, check, decoding, delivery, rules, traffic_and_rules

    made = traffic_and_rules.rows(2_000)
    figures = {size: rules.measured(size, made, 3, published=False) for size in (10, 100)}
    page = {gaps: decoding.measured(2_000, gaps=gaps) for gaps in (False, True)}
    settled = delivery.on_sqlite(delivery.InTurn(), rounds=5)
    theirs, ours = calls.small(300)
    files = check.files(200, 10)
    checked, hashed = in_turns(3, lambda: check.once(files, 200, 0), check.yardstick)
    return {
        f"{size} rules: hand-written functions / ours": each["hand-written functions"]
        / each["mouseflow-bot"]
        for size, each in figures.items()
    } | {
        "a list page: bare parse / ours": page[False],
        "a list page with gaps: bare parse / ours": page[True],
        "delivery: ours / bare transactions a second": settled.ratio,
        "a call: httpx's transport / ours": theirs / ours,
        "check of 200 rules: plain YAML parse / ours": hashed / checked,
    }


def compare(now: Mapping[str, float], before: Mapping[str, float]) -> list[str]:
    """Warnings about what has become worse, or is not recorded."""
    found = []
    for name, value in now.items():
        if name not in before:
            found.append(f"{name}: {value:.2f}, not recorded")
        elif value < WORSE * before[name]:
            found.append(f"{name}: {value:.2f}, recorded {before[name]:.2f}")
    return found


def _short(record: bool) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    now = short()
    before = json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.exists() else {}
    print("| ratio | now | recorded |\n|---|---:|---:|")
    for name, value in now.items():
        print(f"| {name} | {value:.2f} | {before.get(name, '–')} |")
    sign = "::warning title=bench::" if os.environ.get("GITHUB_ACTIONS") else "warning: "
    for text in compare(now, before):
        print(f"{sign}{text}")
    if record:
        rounded = {name: round(value, 2) for name, value in now.items()}
        RECORDED.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")


def run_all(names: Sequence[str]) -> Iterable[str]:
    """Run them one after another; yields the commands that failed."""
    write("machine", machine())
    for command in BENCHMARKS:
        if names and command.split()[0] not in names:
            continue
        print(f"python -m bench.{command}", flush=True)
        done = subprocess.run([sys.executable, "-m", *f"bench.{command}".split()], cwd=ROOT)
        if done.returncode:
            yield command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[[], *{it.split()[0] for it in BENCHMARKS}])
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--record", action="store_true", help="keep the ratios of --short")
    args = parser.parse_args()
    if args.short:
        _short(args.record)
        return
    if failed := list(run_all(args.names)):
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
