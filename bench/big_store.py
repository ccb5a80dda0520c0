"""How long commands take on the store of a big account.

    python -m bench.big_store [--recordings 1000000] [--write]

A million recordings of 200 websites, 200,000 matches of 100 rules, two actions and two audit
entries each; 4,000 actions wait, 4,000 have failed. Seconds, with the start of the process;
`retry` of thousands pauses after each batch, so that the daemon can write. --write puts the table
into docs/explanation/performance.md.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.report import write
from bench.stalls import multiply, rules_text
from bot.store import open_store

WEBSITES, RULES = 200, 100
COMMANDS = (
    "status",
    "status --json",
    "history",
    "history --rule rule-7",
    "history --recording r777",
    "budget",
    "snooze rule-5 1h",
    "retry rule-3",
    "cancel rule-4",
    "retry",
)


def build(store, recordings: int) -> None:
    """Rows as polls and delivery leave them, copied within the database."""
    from bench.delivery import Slack, Tag, fill

    matches = recordings // 5
    now = int(datetime.now(UTC).timestamp() * 1000)
    span = int(timedelta(days=80).total_seconds() * 1000)
    at = f"{now} - {span} + {span} * n / {matches}"
    fill(store, 1, [Tag(), Slack()])

    def copy(conn) -> None:
        run = conn.exec_driver_sql
        run(
            "INSERT INTO recordings (website, id, created, last_activity, fingerprint, settled)"
            f" VALUES ('site-000', 'r0', {now - span}, {now - span}, '0123456789abcdef', 1)"
        )
        multiply(conn, "recordings", recordings, website=f"printf('site-%03d', n % {WEBSITES})",
                 id="'r' || n", created=f"{now} - {span} + {span} * n / {recordings}")  # fmt: skip
        rule, website = f"'rule-' || (n % {RULES})", f"printf('site-%03d', n % {WEBSITES})"
        multiply(conn, "matches", matches, id="n + 1", key="t.key || n", rule=rule,
                 website=website, subject_key="'r' || n", matched=at, happened=at)  # fmt: skip
        state = (
            f"CASE WHEN n > {matches - 2000} THEN 'pending' "
            f"WHEN n > {matches - 4000} THEN 'dead' ELSE 'done' END"
        )
        for n, step in enumerate(("tag", "slack")):
            run("CREATE TEMP TABLE one AS SELECT * FROM steps WHERE action = ? LIMIT 1", (step,))
            multiply(conn, "one", matches, id=f"n * 2 + {n} + 10", key="t.key || n",
                     match_id="n + 1", state=state, created=at, due=at,
                     ended=f"CASE WHEN n <= {matches - 2000} THEN {at} END")  # fmt: skip
            run("INSERT INTO steps SELECT * FROM one WHERE id >= 10")
            run("DROP TABLE one")
        for kind in ("match", "step.done"):
            run("DELETE FROM audit WHERE kind = 'one'")
            run("CREATE TEMP TABLE one AS SELECT * FROM audit LIMIT 1")
            multiply(conn, "one", matches, kind=f"'{kind}'", rule=rule, website=website,
                     subject="'r' || n", at=at)  # fmt: skip
            columns = "at, kind, rule, website, subject, step, text, details"
            run(f"INSERT INTO audit ({columns}) SELECT {columns} FROM one WHERE rowid > 1")
            run("DROP TABLE one")
        mark = f'{{"since":"2026-01-01T00:00:00Z","polled":"{datetime.now(UTC):%FT%TZ}"}}'
        watermark = "INSERT INTO watermarks VALUES ('recordings', ?, ?, ?)"
        for n in range(WEBSITES):
            run(watermark, (f"site-{n:03}", mark, now))
        state = "INSERT OR IGNORE INTO rule_states (rule, digest) VALUES (?, 'x')"
        for n in range(RULES):
            run(state, (f"rule-{n}",))

    store.do(copy)


def processor_time() -> float:
    """Seconds that the processes which have ended so far have computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(recordings: int) -> list[tuple[str, float, float]]:
    """Seconds that each command takes: of processor time, of the clock."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rules.yaml").write_text(rules_text(RULES))
        environment = {
            "PATH": os.environ["PATH"],
            "BOT_MOUSEFLOW__BASE_URL": "http://127.0.0.1:1",
            "BOT_MOUSEFLOW__EMAIL": "ops@example.com",
            "BOT_MOUSEFLOW__API_KEY": "k",
            "BOT_SLACK__BOT_TOKEN": "xoxb-1",
            "BOT_SLACK__CHANNEL": "#alerts",
            "BOT_RULES__PATHS": str(folder / "rules.yaml"),
            "BOT_STORE__URL": f"sqlite:///{folder}/bot.db",
        }
        with open_store(environment["BOT_STORE__URL"]) as store:
            build(store, recordings)
        print(f"{(folder / 'bot.db').stat().st_size / 2**20:,.0f} MiB", file=sys.stderr)
        found = []
        for command in COMMANDS:
            began, before = time.perf_counter(), processor_time()
            done = subprocess.run(
                [sys.executable, "-m", "bot", *command.split()],
                cwd=folder, env=environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
            found.append((command, processor_time() - before, time.perf_counter() - began))
            print(f"{command}: {found[-1][1]:.2f} s, exit {done.returncode} "
                  f"{done.stderr[-300:]}{done.stdout[:80]!r}", file=sys.stderr)  # fmt: skip
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    lines = [
        f"| `{command}` | {cpu:.2f} | {clock:.2f} |"
        for command, cpu, clock in measured(options.recordings)
    ]
    head = f"| with {options.recordings:,} recordings | processor time, s | clock, s |"
    table = "\n".join([head, "|---|---:|---:|", *lines, ""])
    print(table)
    if options.write:
        write("big_store", table)


if __name__ == "__main__":
    main()
