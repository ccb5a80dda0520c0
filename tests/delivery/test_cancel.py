"""`cancel` takes back what waits, all of it or nothing, and leaves what must not be lost."""

import json

import pytest
from delivery_world import NOW, SECOND, Bench, Delete, Post, Share, Write, match

from bot.cli.main import main
from bot.errors import Refused, TryLater
from bot.store import open_store
from bot.store.audit import history
from bot.store.dead_letters import steps_of, waiting_steps

CONFIG = """
[mouseflow]
region = "eu"
email = "ops@example.com"
[store]
url = "sqlite:///bot.db"
"""


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules").mkdir()
    (tmp_path / "config.toml").write_text(CONFIG)
    with open_store(f"sqlite:///{tmp_path}/bot.db") as store:
        yield Bench(store)


def states(bench, key="r1", rule="rule"):
    return [step.state for step in bench.store.do(lambda conn: steps_of(conn, f"{rule}/w1/{key}"))]


async def test_what_waits_for_a_rule_never_runs(bench, capsys):
    bench.add(match("r1", Write(name="w"), Post(name="p"), Delete(name="d")))
    bench.add(match("r2", Write(name="other"), rule="another"))
    assert main(["cancel", "Rule"]) == 0
    assert capsys.readouterr().out == "cancelled 3 actions\n"
    await bench.drain_for(60 * SECOND, SECOND)
    assert bench.world.done == ["other"]
    assert states(bench) == ["withheld"] * 3
    notes = bench.store.do(lambda conn: history(conn, kind="step.cancelled"))
    assert [note.text for note in notes] == ["cancelled by hand"] * 3
    assert main(["cancel", "rule"]) == 1  # nothing of that name is left
    assert "unknown rule" in capsys.readouterr().err


async def test_one_action_by_its_number_takes_the_delete_along(bench, capsys):
    bench.add(match("r1", Write(name="w"), Post(name="p"), Delete(name="d")))
    first = bench.store.do(waiting_steps)[0]
    assert main(["cancel", str(first.id), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cancelled"] == 2
    await bench.drain_for(60 * SECOND, SECOND)
    assert bench.world.done == ["p"]


async def test_the_end_of_a_share_stays_unless_it_is_named(bench, capsys):
    bench.add(match("r1", Share(name="s", expires=60 * SECOND)))
    await bench.drain()
    bench.add(match("r2", Write(name="w")))
    assert main(["cancel", "rule"]) == 0
    assert "1 end of shares still to come" in capsys.readouterr().out
    (left,) = bench.store.do(waiting_steps)
    assert left.action == "unshare"
    assert main(["cancel", str(left.id)]) == 0
    assert bench.store.do(waiting_steps) == []


async def test_an_unknown_name_changes_nothing(bench, capsys):
    bench.add(match("r1", Write(name="w")))
    assert main(["cancel", "rule", "999"]) == 1
    assert "999: no such waiting action" in capsys.readouterr().err
    assert main(["cancel", "rule", "rul"]) == 1
    assert "did you mean rule?" in capsys.readouterr().err
    assert states(bench) == ["pending"]


async def test_an_attempt_that_may_have_worked_is_named(bench):
    bench.add(match("r1", Write(name="w")))
    bench.world.fail("w", TryLater("cut off", unknown=True))
    await bench.drain()
    assert main(["cancel", "rule"]) == 0
    (note,) = bench.store.do(lambda conn: history(conn, kind="step.cancelled"))
    assert note.text == "cancelled by hand; an earlier attempt may have taken effect"


async def test_a_cancelled_digest_makes_room_for_a_new_one(bench):
    hour = {"times": 1, "window_ms": 3_600_000}
    posts = [Post(name=f"p{n}", at_most=hour) for n in range(4)]
    bench.add(*(match(f"r{n}", posts[n]) for n in range(2)))
    await bench.drain()
    (digest,) = bench.store.do(waiting_steps)
    assert main(["cancel", str(digest.id)]) == 0
    bench.add(*(match(f"r{n}", posts[n]) for n in range(2, 4)))
    await bench.drain()
    (other,) = bench.store.do(waiting_steps)
    assert (other.action, other.id > digest.id) == ("digest", True)


def test_thousands_are_cancelled_in_pieces(bench):
    bench.add(*(match(f"r{n}", Write(name=f"w{n}"), at=NOW) for n in range(1000)))
    assert main(["cancel", "rule"]) == 0
    assert bench.store.do(waiting_steps) == []


async def test_retry_tries_what_is_held_at_once(bench):
    bench.add(match("r1", Post(name="p")))
    bench.world.fail("p", Refused("is_archived", "unarchive it", code="is_archived"))
    await bench.drain()
    await bench.drain()
    assert bench.world.done == []
    assert main(["retry"]) == 0
    await bench.drain()
    assert bench.world.done == ["p"]
