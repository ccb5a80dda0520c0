"""The worlds run the daemon that the end-to-end tests run on a virtual clock."""

import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "end_to_end"))


def pytest_terminal_summary(terminalreporter):
    """The totals of all worlds, also where they ran in several processes."""
    total: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call" and "tests/worlds" in report.nodeid:
                total += Counter(dict(report.user_properties))
    if total:
        told = ", ".join(f"{number:,} {name}" for name, number in sorted(total.items()))
        terminalreporter.write_line(f"worlds: {told}")
