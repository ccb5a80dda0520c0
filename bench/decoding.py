"""How fast a page of the recordings list is read, held against a bare parse of the same bytes.

    python -m bench.decoding [--rows 10000] [--write]

One line for rows as the API document shows them and one for rows full of empty strings, which
read as None. The ratio is bare time / our time: 1 is as fast as a parse into plain dictionaries.
--write puts the table into docs/explanation/performance.md.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import msgspec

from bench.report import in_turns, met, write
from mouseflow import recordings

GOAL, GOAL_WITH_GAPS = 1.0, 0.8
ROUNDS = 15


def row(number: int, *, gaps: bool) -> dict[str, Any]:
    """A row with the keys of the document's sample (L736-769), every value its own."""
    values: dict[str, Any] = {
        "id": f"{number:032x}",
        "created": f"2026-03-01T09:{number % 60:02}:08.5452158+01:00",
        "lastActivity": f"2026-03-01T10:{number % 60:02}:59.1706692+01:00",
        "duration": 1000 + number,
        "pages": 1 + number % 20,
        "country": "de",
        "city": f"Town {number}",
        "isp": f"Provider {number % 300}",
        "ip": f"213.252.{number % 256}.###",
        "lang": "de-DE",
        "userAgent": f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/{number % 99}.0.2454.94",
        "browser": "Chrome",
        "browserVersion": "45.0.2454.94",
        "os": "Windows",
        "osVersion": "10",
        "device": "Desktop",
        "referrer": f"https://www.google.de/search?q={number}",
        "referrerType": "Search",
        "screenRes": "1920x1200",
        "entry": f"https://shop.myshop.com/landing?id={number}",
        "entryPage": "/landing",
        "tags": ["form-interact", "submit"] if number % 3 else [],
        "variables": [f"cart-value={number}"] if number % 5 == 0 else [],
        "watched": False,
        "starred": False,
        "lng": 10.4979,
        "lat": 52.3022,
        "visitorId": f"{number * 7:032x}",
        "playbackUrl": f"/websites/47ed74ad/recordings/{number:032x}/play",
    }
    return values | ({"region": "", "city": "", "isp": "", "referrer": ""} if gaps else {})


def _timed(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _measured(number: int, *, gaps: bool) -> list[float]:
    """Seconds of a bare parse and of ours."""
    rows = [row(n, gaps=gaps) for n in range(number)]
    body = msgspec.json.encode({"recordings": rows, "chart": {"2026-03-01": 1}, "count": number})
    read = recordings.list("w").read
    page = read(body)
    assert len(page.recordings) == number
    assert not page.unreadable
    return in_turns(
        ROUNDS,
        lambda: _timed(lambda: msgspec.json.decode(body)),
        lambda: _timed(lambda: read(body)),
    )


def measured(number: int, *, gaps: bool) -> float:
    """The ratio."""
    bare, ours = _measured(number, gaps=gaps)
    return bare / ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    lines = [
        f"{args.rows:,} rows, processor time a row, the median of {ROUNDS} rounds.",
        "",
        "| rows | bare parse | ours | ratio | goal | |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name, gaps, goal in (("as documented", False, GOAL), ("with gaps", True, GOAL_WITH_GAPS)):
        bare, ours = _measured(args.rows, gaps=gaps)
        each = [f"{it * 1e6 / args.rows:.2f} µs" for it in (bare, ours)]
        ratio = bare / ours
        cells = [name, *each, f"{ratio:.2f}", f"≥ {goal:g}", met(ratio >= goal)]
        lines.append(f"| {' | '.join(cells)} |")
    print("\n".join(lines))
    if args.write:
        write("decoding", "\n".join(lines))


if __name__ == "__main__":
    main()
