"""What `export` and `api` print and write, against the simulated account."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.cli.main import main
from bot.store import open_store
from mouseflow.simulator.scenarios import MYSHOP, session
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

Run = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    moment = datetime.now(UTC)
    with Simulator(seed=1, now=lambda: moment) as running:
        running.world.sites["quiet"] = website("quiet", "quiet.example", plan=Plan(per_day=0))
        running.add("myshop.com", session([("/=cmd", 20)], [(5, "=1+1")]), start=-900)
        running.add("myshop.com", "checkout-friction", start=-900)
        yield running


@pytest.fixture
def bot(
    sim: Simulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> Run:
    sim.behave(row_cap=10_000, offset="honoured", ignored_filters=frozenset())
    (tmp_path / "config.toml").write_text(
        f'[mouseflow]\nbase_url = "{sim.mouseflow_url}"\nemail = "{sim.email}"\n'
        f'api_key = "{sim.api_key}"\ntime_zone = "{sim.quirks.time_zone}"\n'
        'requests_per_second = 100\n[slack]\nbot_token = "xoxb-1"\nchannel = "#a"\n'
    )
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        try:
            found = main(arguments)
        except SystemExit as left:
            found = int(left.code or 0)
        shown = capfdbinary.readouterr()
        out, err = shown.out.decode(), shown.err.decode()
        assert found == code, out + err
        assert sim.api_key not in out + err
        return out, err

    return run


def reads(sim: Simulator) -> int:
    return sum(call.path.endswith("/recordings") for call in sim.calls)


def test_recordings_are_exported_with_friction_bands(bot: Run, sim: Simulator) -> None:
    out, _ = bot("export", "recordings", "--since", "2d", "--website", "myshop.com")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len({row["id"] for row in rows}) == len(rows) > 50
    assert {row["website"] for row in rows} == {"myshop.com"}
    for row in rows:
        friction = sim.friction(row["id"])
        band = max(each for each in (0, 0.5, 1, 2.5, 5) if each <= friction)
        assert float(row["friction_at_least"]) == band
    (odd,) = [row for row in rows if row["entry_page"] == "/=cmd"]
    assert odd["tags"] == "'=1+1"  # a spreadsheet would run it
    lines = bot("export", "recordings", "--since", "2d", "--format", "jsonl")[0].splitlines()
    exported = [json.loads(line) for line in lines]
    assert {row["id"] for row in exported} >= {row["id"] for row in rows}
    assert {"id": MYSHOP, "name": "myshop.com"} in [row["website"] for row in exported]
    assert {row["website_id"] for row in rows} == {MYSHOP}
    for row in (*rows, *(row for row in exported if row["website"]["id"] == MYSHOP)):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row["created"])
        assert row["playback_url"] == (
            f"https://app.mouseflow.com/websites/{MYSHOP}/recordings/{row['id']}/play"
        )


@pytest.mark.parametrize(
    ("what", "keys"),
    [
        ("pages", {"display_url", "views"}),
        ("funnels", {"funnel", "step", "count"}),
        ("forms", {"form_id", "field_target", "field_dropped"}),
        ("feedback", {"campaign", "responses"}),
        ("websites", {"name", "recording_rate"}),
    ],
)
def test_reports_are_exported_too(what: str, keys: set[str], bot: Run) -> None:
    out, _ = bot("export", what, "--website", MYSHOP, "--format", "jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows
    assert all(keys <= row.keys() for row in rows)


def test_an_interrupted_export_goes_on_after_the_last_whole_day(
    bot: Run, sim: Simulator, tmp_path: Path
) -> None:
    file = tmp_path / "week.csv"
    command = ("export", "recordings", "--since", "4d", "--website", MYSHOP, "--output", str(file))
    whole, _ = bot(*command[:-2])
    before = reads(sim)
    bot(*command)
    all_reads = reads(sim) - before
    assert file.read_text() == whole
    file.unlink()
    sim.fail("status", status=403, path="/recordings", skip=all_reads // 2, times=10_000)
    bot(*command, code=1)
    sim.faults.clear()
    assert not file.exists()
    before = reads(sim)
    _, err = bot(*command)
    assert reads(sim) - before < all_reads
    assert file.read_text() == whole
    assert re.search(r"wrote \d+ rows to", err)
    assert [each.name for each in tmp_path.iterdir() if ".part" in each.name] == []


@pytest.mark.parametrize("command", ["export recordings", "replay", "plan", "tune checkout"])
@pytest.mark.parametrize("since", ["0001-01-01", "9999-12-31"])
def test_years_that_no_session_has_are_wrong_usage(command: str, since: str, bot: Run) -> None:
    _, err = bot(*command.split(), "--since", since, code=2)
    assert "write a year from 1971 to 2999" in err


KILLED = """
import os, signal
from itertools import count
from pathlib import Path
from bot.cli import export
from bot.cli.main import main

def forked(file, die_at=0):
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    passed = count(1)
    def dying(work, every=1):
        calls = count(1)
        def one(*given, **named):
            if next(calls) % every == 0 and next(passed) == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return work(*given, **named)
        return one
    for name in ("replace", "unlink", "write_bytes"):
        setattr(Path, name, dying(getattr(Path, name)))
    export._Target.part_done = dying(export._Target.part_done)
    export._Target.write = dying(export._Target.write, every=3)
    os._exit(main([*ASKED, "--output", str(file)]))

ASKED = ["export", "recordings", "--since", "1d", "--website", "quiet.example"]
for kind in ("csv", "jsonl"):
    whole, file = Path(f"whole.{kind}"), Path(f"killed.{kind}")
    assert main([*ASKED, "--output", str(whole)]) == 0  # has everything imported for the others
    for killed in count():
        if forked(file, die_at=killed + 1) == 0:
            break
        assert forked(file) == 0
        assert file.read_bytes() == whole.read_bytes(), killed
        assert [each.name for each in Path().glob(f"killed.{kind}*")] == [file.name]
        file.unlink()
    print(kind, killed)
"""


def test_an_export_that_is_killed_goes_on_and_ends_like_one_that_is_not(
    bot: Run, sim: Simulator, tmp_path: Path
) -> None:
    for hours in range(8):
        sim.add("quiet.example", "checkout-friction", start=-3600 * (1 + 4 * hours))
    done = subprocess.run(
        [sys.executable, "-c", KILLED], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    kills = [int(line.split()[1]) for line in done.stdout.splitlines()]
    assert min(kills) >= 8


def test_a_device_is_never_replaced_by_an_export(bot: Run, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    _, told = bot("export", "websites", "--output", str(pipe), code=1)
    assert f"{pipe} is not a regular file; without --output rows go to standard output" in told
    assert pipe.is_fifo()


def test_a_list_that_is_cut_and_a_filter_that_is_ignored_are_errors(
    bot: Run, sim: Simulator
) -> None:
    command = ("export", "recordings", "--since", "1d", "--website", "myshop.com")
    sim.behave(ignored_filters=frozenset({"frictionmin"}))
    assert "ignores frictionmin" in bot(*command, code=1)[1]
    assert "did you mean myshop.com?" in bot(*command[:-1], "mysho.com", code=1)[1]
    bot("export", "recordings", "--since", "1d", "--until", "2d", code=2)
    bot("export", "visitors", code=2)


def test_a_request_by_hand_prints_the_json_as_it_came(bot: Run) -> None:
    sites = json.loads(bot("api", "GET", "/websites")[0])
    assert "myshop.com" in {site["name"] for site in sites}
    path = f"/websites/{MYSHOP}/recordings"
    by_name = json.loads(bot("api", "GET", "/websites/myshop.com/recordings?limit=1")[0])
    assert len(by_name["recordings"]) == 1
    told = bot("api", "GET", "/websites/shop.example", code=1)[1]
    assert "shop.example: the account has no such website" in told
    some = json.loads(bot("api", "GET", f"{path}?limit=3", "--field", "device=desktop")[0])
    assert len(some["recordings"]) == 3
    assert {row["device"] for row in some["recordings"]} == {"Desktop"}


@pytest.mark.parametrize(
    "command",
    [
        ("api", "GET", "/websites/twin.example"),
        ("export", "recordings", "--since", "1d", "--website", "Twin.example"),
    ],
)
def test_of_two_websites_of_one_name_neither_is_picked(
    bot: Run, sim: Simulator, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    for key in ("twin-a", "twin-b"):
        twin = website(key, "twin.example", plan=Plan(per_day=0))
        monkeypatch.setitem(sim.world.sites, key, twin)
    name = command[-1].rpartition("/")[2]
    told = f"2 websites are called {name}; name one by its id: twin-a, twin-b"
    assert told in " ".join(bot(*command, code=1)[1].split())


def test_all_of_a_list_comes_or_the_exit_code_says_no(bot: Run, sim: Simulator) -> None:
    day = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    path = f"/websites/{MYSHOP}/recordings?fromdate={day}"
    command = ("api", "GET", path, "--all")
    for cap in (10_000, 200):
        sim.behave(row_cap=cap)
        found = json.loads(bot(*command)[0])
        assert len({row["id"] for row in found["recordings"]}) == found["count"] > 400
    sim.behave(row_cap=60, offset="ignored")
    out, err = bot(*command, code=1)
    assert len(json.loads(out)["recordings"]) == 60
    assert "rows are missing" in err


def test_commands_that_may_take_long_show_that_they_work(
    bot: Run, sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []

    @contextmanager
    def busy(what: str) -> Iterator[None]:
        shown.append(what)
        yield

    monkeypatch.setattr("bot.cli.output.busy", busy)
    open_store("sqlite:///data/bot.db").close()
    bot("api", "GET", f"/websites/{MYSHOP}/recordings", "--all")
    bot("retry")
    bot("backup", "copy.db")
    bot("restore", "copy.db")
    assert shown == [
        f"reading /websites/{MYSHOP}/recordings",
        "requeueing dead letters",
        "copying the store",
        "restoring the store",
    ]


def test_writes_by_hand_need_to_be_meant(bot: Run, sim: Simulator, tmp_path: Path) -> None:
    made = sim.add("myshop.com", "purchase", start=-900)
    path = f"/websites/{MYSHOP}/recordings/{made}/tag?tag=by-hand"
    assert "add --write" in bot("api", "POST", path, code=2)[1]
    bot("api", "POST", path, "--write")
    assert "by-hand" in sim.tags(made)
    body = tmp_path / "rate.json"
    body.write_text('{"recordingRate": 40}')
    bot("api", "PUT", f"/websites/{MYSHOP}", "--write", "--body", str(body))
    assert json.loads(bot("api", "GET", f"/websites/{MYSHOP}")[0])["recordingRate"] == 40
    body.write_text("no json")
    assert "not JSON" in bot("api", "PUT", path, "--write", "--body", str(body), code=1)[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("GET", "websites"),
        ("GET", "//evil.example"),
        ("GET", "/websites/../account"),
        ("GET", "/websites/%2e%2e/account"),
        ("PATCH", "/websites"),
        ("GET", "/websites", "--field", "limit"),
        ("GET", "/websites", "--body", "-"),
    ],
)
def test_a_request_that_cannot_be_meant_is_wrong_usage(
    arguments: tuple[str, ...], bot: Run
) -> None:
    bot("api", *arguments, code=2)


def test_an_error_of_the_api_is_exit_code_1(bot: Run) -> None:
    _, err = bot("api", "GET", "/websites/nothing", code=1)
    assert "404" in err


def test_days_are_counted_once(bot: Run) -> None:
    day = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    once, _ = bot("export", "recordings", "--since", day, "--until", day, "--website", MYSHOP)
    ids = [row["id"] for row in csv.DictReader(io.StringIO(once))]
    assert len(ids) == len(set(ids)) > 0
