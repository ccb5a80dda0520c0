"""The worlds run the daemon that the end-to-end tests run on a virtual clock."""

import os
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "end_to_end"))


def pytest_generate_tests(metafunc):
    """Each world is a test: those of CI, or the seeds that the environment names.

    Those of CI were chosen from the first ones of each kind (50 of alerts, 20 of figures, 16 of
    budgets, 12 of traffic) by branch coverage: together they take every branch of the bot that all
    of those take. Of recordings they are the first ones, but those that take longest.
    """
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", named() or metafunc.module.IN_CI)


def named():
    """`SEED` alone, or as many as `WORLDS` says from `FROM` on; none if neither is set."""
    if one := os.environ.get("SEED"):
        return [int(one)]
    first = int(os.environ.get("FROM", "0"))
    return range(first, first + int(os.environ.get("WORLDS", "0")))


def pytest_terminal_summary(terminalreporter):
    """The totals of all worlds, also where they ran in several processes."""
    total: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call" and "tests/worlds" in report.nodeid:
                total += Counter(dict(report.user_properties))
    if total:
        if "WORLDS" in os.environ:
            first, last = named()[0], named()[-1]
            terminalreporter.write_line(f"seeds {first} to {last}; go on with FROM={last + 1}")
        told = ", ".join(f"{number:,} {name}" for name, number in sorted(total.items()))
        terminalreporter.write_line(f"worlds: {told}")
