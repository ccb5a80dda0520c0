"""How fast a page of the recordings list is read, held against a bare parse of the same bytes.

    python bench/decoding.py [ROWS]

Prints one line for rows as the API document shows them and one for rows full of empty
strings, which read as None. The ratio is bare time / our time: 1 is as fast as a parse into
plain dictionaries. The goal is at least 1, and 0.8 for rows full of empty strings.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

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


def fastest(work: Callable[[], object]) -> float:
    """The shortest of some rounds, in seconds: what the others add is the machine's noise."""
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def measure(number: int, *, gaps: bool) -> float:
    """Prints one line and gives the ratio."""
    rows = [row(n, gaps=gaps) for n in range(number)]
    body = msgspec.json.encode({"recordings": rows, "chart": {"2026-03-01": 1}, "count": number})
    read = recordings.list("w").read
    page = read(body)
    assert len(page.recordings) == number
    assert not page.unreadable
    ours = fastest(lambda: read(body))
    bare = fastest(lambda: msgspec.json.decode(body))
    kind = "rows with gaps" if gaps else "documented rows"
    ours_each, bare_each = ours * 1e6 / number, bare * 1e6 / number
    goal = GOAL_WITH_GAPS if gaps else GOAL
    print(
        f"{kind:16} {number} rows, {len(body) / 1e6:.1f} MB: ours {ours_each:.2f} µs a row, "
        f"bare parse {bare_each:.2f} µs a row, ratio {bare / ours:.2f} (goal {goal})"
    )
    return bare / ours


def main() -> int:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    ratios = [measure(number, gaps=gaps) for gaps in (False, True)]
    return 0 if ratios[0] >= GOAL and ratios[1] >= GOAL_WITH_GAPS else 1


if __name__ == "__main__":
    sys.exit(main())
