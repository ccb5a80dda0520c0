"""The commands on a store in PostgreSQL: the same as on SQLite, or words that say what to use."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from postgres_server import PASSWORD

from bot.cli.main import main
from bot.domain.pulse import Pulse
from bot.store import open_store
from bot.store.audit import Note, history, record
from bot.store.rules import rules_loaded, snoozed_until

NOW = datetime.now(UTC)


@pytest.fixture
def place(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("BOT_"):
            monkeypatch.delenv(name)
    (tmp_path / "config.toml").write_text(
        '[mouseflow]\nregion = "eu"\nemail = "ops@example.com"\napi_key = "the-key-itself"\n'
        f'[store]\nurl = "{postgres_url}"\n'
    )
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "rage.yaml").write_text(
        "version: 1\nrules:\n"
        "  rage: {watch: recordings, when: {friction: {min: 0.5}}, do: {star: true}}\n"
    )
    with open_store(postgres_url) as store:
        store.do(lambda conn: record(conn, NOW, [Note(kind="test", text="a line")]))
        store.do(lambda conn: rules_loaded(conn, {"rage": "1"}, NOW))
    return tmp_path


def test_what_people_look_at_is_read_beside_the_daemon(
    place: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["healthcheck"]) == 1
    assert "the daemon is not running" in capsys.readouterr().err
    with open_store(postgres_url) as store:
        now = datetime.now(UTC).timestamp()
        store.beat(Pulse(now, now).written())
        store.do(history)
        assert main(["healthcheck"]) == 0
        assert capsys.readouterr().out == "alive\n"
        assert main(["healthcheck", "--within", "-1"]) == 1
        assert "no heartbeat" in capsys.readouterr().err
        store.beat(Pulse(now - 3600, now).written())
        store.do(history)
        assert main(["healthcheck"]) == 1
        assert "polls are stuck" in capsys.readouterr().err
        store.beat(Pulse(now, now).written())
        store.do(history)
        assert main(["status"]) == 0
        assert "daemon: alive" in capsys.readouterr().out
        assert main(["history"]) == 0
        assert "a line" in capsys.readouterr().out
        assert main(["snooze", "rage", "2h"]) == 0
        assert store.do(lambda conn: snoozed_until(conn, "rage")) is not None


def test_backup_and_restore_say_what_to_use(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backup", "copy.dump"]) == 1
    assert "pg_dump --format=custom --file=copy.dump" in capsys.readouterr().err
    assert main(["restore", "copy.dump"]) == 1
    assert "pg_restore --clean --if-exists" in capsys.readouterr().err
    assert not (place / "copy.dump").exists()


def test_move_says_what_it_did_and_no_password(
    place: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["move", postgres_url, f"sqlite:///{place}/new.db", "--json"]) == 0
    told = capsys.readouterr().out
    assert json.loads(told)["rows"]["audit"] == 1
    assert PASSWORD not in told
    assert main(["move", f"sqlite:///{place}/new.db", postgres_url]) == 1
    told = capsys.readouterr().err
    assert "is not empty" in told
    assert PASSWORD not in told


def test_check_accepts_the_address_and_shows_no_password(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check"]) == 0
    with (place / "config.toml").open("a") as config:
        config.write('keep = "1d"\n')
    assert main(["check"]) == 1
    told = capsys.readouterr()
    assert PASSWORD not in told.out + told.err
