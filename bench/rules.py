"""How fast rules are decided, beside hand-written functions and published engines.

    python bench/rules.py              prints the table
    python bench/rules.py --write      and puts it into docs/explanation/performance.md

Engines in bench/requirements-bench.txt are measured where they are installed; use a throw-away
environment for them. Every engine's matches are compared with ours before anything is timed.
All run interleaved in one process; the figure is processor time, the best round, ours with cold
tables.
"""

import argparse
import gc
import itertools
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec

from bench import rule_engines as engines
from bench import traffic_and_rules as made
from bench.report import bars, in_turns, met, write
from bot.domain.subjects import RecordingSubject, Site
from bot.rules.index import RuleIndex
from mouseflow.models import Recording

SIZES = (10, 100, 1000)
SITE = Site("w1", "shop.example.com")
FETCHED = (
    *("device", "referrer_type", "browser", "os", "country", "variables", "tags"),
    *("entry_page", "duration", "pages", "page_views"),
)
GOAL_HAND = 1.5
GOAL_FASTER = {10: 1.5, 100: 4.0, 1000: 15.0}
GOAL_BYTES = {10: 4.0, 100: 6.0, 1000: 12.0}
GOAL_TENFOLD = 3.0


@dataclass(frozen=True)
class Engine:
    """An engine: how its rules and its records are made, and how many of each it can bear."""

    name: str
    package: str | None
    build: Callable[[list[tuple]], Callable]
    feed: Callable[[list[dict]], Any]
    most_at_ten: int | None = None  # so many recordings at 10 rules, fewer with more rules
    most_rules: int = 1000
    one_at_a_time: bool = True


def subjects(rows: list[dict]) -> list[RecordingSubject]:
    recordings = msgspec.json.Decoder(list[Recording]).decode(msgspec.json.encode(rows))
    return [RecordingSubject(website=SITE, recording=recording) for recording in recordings]


def handles(rows: list[dict]) -> list:
    from datalogic_py import DataHandle

    return [DataHandle(json.dumps(row)) for row in rows]


def activations(rows: list[dict]) -> list:
    from celpy import json_to_cel

    return [json_to_cel({**row, "pageViews": row["pageViews"] or []}) for row in rows]


def frame(rows: list[dict]):
    import polars

    return polars.DataFrame([_flat(row) for row in rows])


def _flat(row: dict) -> dict:
    views = row["pageViews"] or []
    tags = dict.fromkeys([*row["tags"], *(tag for view in views for tag in view["tags"])])
    return {
        **row,
        "allTags": list(tags),
        "paths": [view["websitePage"] for view in views],
        "pageViews": views,
    }


ENGINES = (
    Engine("mouseflow-bot", None, engines.ours, subjects),
    Engine("hand-written functions", None, engines.hand_written, subjects),
    Engine("datalogic-py", "datalogic-py", engines.datalogic, handles),
    Engine("evalidate", "evalidate", engines.evalidate, list),
    Engine("jmespath", "jmespath", engines.jmespath, list, most_at_ten=1000),
    Engine("rule-engine", "rule-engine", engines.rule_engine, list, most_at_ten=200),
    Engine("cel-python", "cel-python", engines.cel, activations, most_at_ten=50, most_rules=100),
    Engine("polars (whole table)", "polars", engines.polars, frame, one_at_a_time=False),
)


def installed() -> tuple[list[Engine], list[str]]:
    """The engines that can be measured here, and the names of the others."""
    here = [it for it in ENGINES if it.package is None or engines.version(it.package)]
    return here, [it.name for it in ENGINES if it not in here]


def measured(
    size: int, rows: list[dict], rounds: int, *, published: bool = True
) -> dict[str, float]:
    """Microseconds per recording of each engine at this number of rules, the median round."""
    rules = made.rules(size)
    run: list[tuple[Engine, Callable, Any, int]] = []
    want = [[int(rule.id[1:]) for rule in found] for found in engines.ours(rules)(subjects(rows))]
    for engine in installed()[0]:
        if size > engine.most_rules or (engine.package and not published):
            continue
        most = max(20, engine.most_at_ten * 10 // size) if engine.most_at_ten else len(rows)
        count = min(len(rows), most)
        records = engine.feed(rows[:count])
        matcher = engine.build(rules)
        found = matcher(records)
        if engine.package and [list(one) for one in found] != want[:count]:
            raise SystemExit(f"{engine.name} decides otherwise than we do at {size} rules")
        run.append((engine, matcher, records, count))
    took: dict[str, list[float]] = {engine.name: [] for engine, *_ in run}
    for _ in range(rounds):
        for engine, matcher, records, count in run:
            if engine.name == "mouseflow-bot":
                matcher = engine.build(rules)  # cold tables
            took[engine.name].append(_timed(matcher, records) / count * 1e6)
    return {name: statistics.median(each) for name, each in took.items()}


def _timed(matcher: Callable, records: Any) -> float:
    gc.collect()
    gc.disable()
    begun = time.process_time()
    matcher(records)
    took = time.process_time() - begun
    gc.enable()
    return took


def bytes_to_matches(rows: list[dict], rounds: int) -> dict[int, tuple[float, float]]:
    """Microseconds a row: bare decoding of a list page, and from its bytes to matches."""
    page = msgspec.json.encode([{k: v for k, v in row.items() if k != "pageViews"} for row in rows])
    decode = msgspec.json.Decoder(list[Recording]).decode

    def whole(index: RuleIndex) -> None:
        found = decode(page)
        index.sure_of_all([RecordingSubject(website=SITE, recording=it) for it in found])

    found: dict[int, tuple[float, float]] = {}
    for size in SIZES:
        bot_rules = engines.bot_rules(made.rules(size))
        bare, full = in_turns(
            rounds,
            lambda: _timed(decode, page),
            lambda rules=bot_rules: _timed(whole, engines.compiled(rules)),
        )
        found[size] = (bare / len(rows) * 1e6, full / len(rows) * 1e6)
    return found


def given_free(rows: list[dict], rounds: int) -> dict[str, float]:
    """Microseconds a row of what the table leaves out, and of fetching every attribute."""
    texts = [msgspec.json.encode(row) for row in rows]
    documents = [text.decode() for text in texts]
    decode = msgspec.json.Decoder(Recording).decode
    fetch = attrgetter(*FETCHED)
    recordings = list(map(decode, texts))
    work: dict[str, tuple[Callable, list]] = {
        "decoding": (lambda them: list(map(decode, them)), texts),
        "fetching": (lambda them: list(map(fetch, them)), recordings),
    }
    if engines.version("datalogic-py"):
        from datalogic_py import DataHandle

        work["parsing"] = (lambda them: list(map(DataHandle, them)), documents)
    took: dict[str, float] = {}
    for _ in range(rounds):
        for name, (run, given) in work.items():
            once = _timed(run, given) / len(rows) * 1e6
            took[name] = min(once, took.get(name, once))
    return took


def _notes(rows: list[dict], rounds: int) -> list[str]:
    free = given_free(rows, rounds)
    begun = time.process_time()
    engines.compiled(engines.bot_rules(made.rules(SIZES[-1])))
    built = (time.process_time() - begun) * 1e3
    return [
        f"Not in the table: compiling {SIZES[-1]:,} rules with their thresholds ({built:.0f} ms, "
        "once per rule set), and making each engine's records: decoding one recording from JSON "
        f"takes us {free['decoding']:.1f} µs"
        + (f", parsing it takes datalogic-py {free['parsing']:.1f} µs." if len(free) > 2 else "."),
        "",
        f"For scale: fetching all of the {len(FETCHED)} attributes that ten rules speak of takes "
        f"Python {free['fetching']:.2f} µs per recording, before the first look-up. We fetch one "
        "only while a rule is left that depends on it. An engine whose documents are parsed "
        "already makes one call per rule and fetches nothing in Python.",
    ]


def report(rows: list[dict], rounds: int) -> list[str]:
    """The tables and the goals beside the figures, as Markdown."""
    figures = {size: measured(size, rows, rounds) for size in SIZES}
    bytes_ = bytes_to_matches(rows, rounds)
    here, absent = installed()
    lines = [
        f"Python {platform.python_version()}, {len(rows):,} recordings, one in four with its page "
        "views; µs of processor time per recording, the median of "
        f"{rounds} interleaved rounds, our tables cold.",
        "",
        "| engine | " + " | ".join(f"{size:,} rules" for size in SIZES) + " |",
        "|---|" + "---:|" * len(SIZES),
    ]
    for engine in here:
        cells = [_figure(figures[size].get(engine.name)) for size in SIZES]
        name = engine.name
        if engine.package:
            name += f" {engines.version(engine.package)}"
        lines.append(f"| {name} | {' | '.join(cells)} |")
    hundred = {it.name: figures[100][it.name] for it in here if it.name in figures[100]}
    chart = {name: it for name, it in hundred.items() if it < 100}
    lines += [
        "",
        "At 100 rules:",
        "",
        bars(chart, "µs"),
        "",
        *_goals(figures, bytes_),
        "",
        *_notes(rows, rounds),
        "",
    ]
    if absent:
        lines.append(f"Not installed, so not measured: {', '.join(absent)}.")
    return lines


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}"


def _goals(figures: dict, bytes_: dict) -> list[str]:
    ours = {size: figures[size]["mouseflow-bot"] for size in SIZES}
    rows = [("goal", "asked", "measured", "")]
    ratio = ours[10] / figures[10]["hand-written functions"]
    rows.append(_goal("10 rules, against hand-written functions", GOAL_HAND, ratio, most=True))
    for size in SIZES:
        others = {
            engine.name: figures[size][engine.name]
            for engine in ENGINES
            if engine.package and engine.one_at_a_time and engine.name in figures[size]
        }
        if others:
            name = min(others, key=others.__getitem__)
            text = f"{size:,} rules, faster than the fastest published engine ({name})"
            rows.append(_goal(text, GOAL_FASTER[size], others[name] / ours[size], most=False))
    for few, many in itertools.pairwise(SIZES):
        text = f"{few:,} to {many:,} rules, growth of the time"
        rows.append(_goal(text, GOAL_TENFOLD, ours[many] / ours[few], most=True))
    for size, (bare, full) in bytes_.items():
        text = f"{size:,} rules, bytes of a list page to matches ({full:.1f} µs a row) against "
        text += f"bare decoding ({bare:.1f} µs)"
        rows.append(_goal(text, GOAL_BYTES[size], full / bare, most=True))
    head, *rest = (f"| {' | '.join(row)} |" for row in rows)
    return [head, "|---|---:|---:|---|", *rest]


def _goal(text: str, asked: float, got: float, *, most: bool) -> tuple[str, str, str, str]:
    good = got <= asked if most else got >= asked
    sign = "≤" if most else "≥"
    return text, f"{sign} {asked:g}×", f"{got:.2f}×", met(good)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="put the table into the docs")
    options = parser.parse_args()
    lines = report(made.rows(options.records), options.rounds)
    print("\n".join(lines))
    if options.write:
        write("rules", "\n".join(lines))


if __name__ == "__main__":
    main()
