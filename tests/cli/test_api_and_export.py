"""`api` sends one call as it is; `export` prints recordings that a spreadsheet can take."""

import csv
import io
import json
import os

import pytest

from bot.cli.main import main
from mouseflow.simulator.scenarios import MYSHOP, session
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website


@pytest.fixture
def sim(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("BOT_"):
            monkeypatch.delenv(name)
    sites = [website(MYSHOP, "myshop.com"), website("w2", "other.com")]
    with Simulator(sites=sites) as simulator:
        (tmp_path / "config.toml").write_text(
            f'[mouseflow]\nbase_url = "{simulator.mouseflow_url}"\nemail = "{simulator.email}"\n'
            f'api_key = "{simulator.api_key}"\nrequests_per_second = 100\n'
            f'time_zone = "{simulator.quirks.time_zone}"\n'
        )
        yield simulator


@pytest.fixture
def run(capsys):
    def run(*arguments, code=0):
        assert main(list(arguments)) == code, capsys.readouterr()
        return capsys.readouterr()

    return run


def test_a_call_is_printed_as_json(sim, run):
    assert [row["name"] for row in json.loads(run("api", "/websites").out)] == [
        "myshop.com", "other.com",
    ]  # fmt: skip
    made = sim.add("myshop.com", "checkout-friction", start=-600)
    answer = run("api", "get", f"/websites/{MYSHOP}/recordings?limit=5", "-q", "frictionmin=2.5")
    assert [row["id"] for row in json.loads(answer.out)["recordings"]] == [made]
    (call,) = [call for call in sim.calls if call.path.endswith("/recordings")]
    assert call.query == "limit=5&frictionmin=2.5"


def test_only_a_call_that_may_write_writes(sim, run, capsys):
    made = sim.add("myshop.com", "purchase", start=-600)
    place = f"/websites/{MYSHOP}/recordings/{made}/tag"
    with pytest.raises(SystemExit) as stopped:
        main(["api", "POST", place, "-q", "tag=seen"])
    assert stopped.value.code == 2
    assert "POST changes something in Mouseflow; add --write" in capsys.readouterr().err
    assert sim.tags(made) == set(sim.tags(made)) - {"seen"}
    assert run("api", "POST", place, "-q", "tag=seen", "--write").out == ""
    assert "seen" in sim.tags(made)
    run("api", "PUT", f"/websites/{MYSHOP}", "--data", '{"recordingRate": 50}', "--write")
    assert json.loads(run("api", f"/websites/{MYSHOP}").out)["recordingRate"] == 50


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["websites"], "write the path behind the host"),
        (["https://elsewhere.example/websites"], "write the path behind the host"),
        (["/websites/../x"], "write the path behind the host"),
        (["FETCH", "/websites"], "the method is one of GET, POST, PUT, DELETE"),
        (["/websites", "-q", "limit"], "write KEY=VALUE"),
        (["/websites", "--data", "{"], "not JSON"),
    ],
)
def test_what_is_no_call_is_wrong_usage(sim, capsys, words, said):
    with pytest.raises(SystemExit) as stopped:
        main(["api", *words])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
    assert not sim.calls


def test_what_the_api_rejects_is_said(sim, run):
    assert "404" in run("api", "/websites/none", code=1).err


def test_recordings_are_exported_with_their_friction_band(sim, run):
    cross = sim.add("myshop.com", "checkout-friction", start=-600)
    calm = sim.add("other.com", "purchase", start=-1200)
    sim.add("myshop.com", "purchase", start=-3 * 86400)
    rows = list(csv.DictReader(io.StringIO(run("export", "--since", "1d").out)))
    assert {row["id"] for row in rows} == {cross, calm}
    (row,) = [row for row in rows if row["id"] == cross]
    assert (row["friction_at_least"], row["friction_below"]) == ("2.5", "5.0")
    assert row["website"] == "myshop.com"
    assert row["url"].endswith(f"/websites/{MYSHOP}/recordings/{cross}/play")
    assert row["created"].endswith("Z")
    only = run("export", "--since", "1d", "--website", "other.com", "--jsonl").out
    (line,) = map(json.loads, only.splitlines())
    assert (line["id"], line["friction_at_least"]) == (calm, None)
    assert set(line) == set(rows[0])


def test_an_ignored_friction_filter_leaves_the_band_empty(sim, run):
    sim.add("myshop.com", "checkout-friction", start=-600)
    sim.behave(ignored_filters=frozenset({"frictionmin"}))
    (row,) = csv.DictReader(io.StringIO(run("export").out))
    assert (row["friction_at_least"], row["friction_below"]) == ("", "")


def test_an_export_has_no_personal_data_and_no_formula(sim, run):
    story = session([("/cart?email=jane@example.com", 20)], [(5, "=cmd()")])
    who = sim.add("myshop.com", story, start=-600)
    text = run("export").out
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["id"] == who
    assert row["entry_page"] == "/cart"
    assert "jane" not in text
    assert not any(value.startswith("=") for value in row.values())


def test_an_unknown_website_is_named(sim, run):
    assert "did you mean other.com?" in run("export", "--website", "othr.com", code=1).err
