"""Where relative paths count from: the place where they were written."""

from pathlib import Path

import pytest

from bot.cli.healthcheck import store_url_of
from bot.config.load import load

ENOUGH = {
    "BOT_MOUSEFLOW__REGION": "eu",
    "BOT_MOUSEFLOW__EMAIL": "ops@example.com",
    "BOT_MOUSEFLOW__API_KEY": "k3y-of-the-account",
}


def written(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_paths_in_the_file_and_the_defaults_count_from_the_files_folder(tmp_path: Path) -> None:
    here = tmp_path / "etc"
    bare = load(written(here, ""), ENOUGH)
    assert bare.rules.paths == (f"{here}/rules",)
    assert bare.store.url == f"sqlite:///{here}/data/bot.db"
    path = written(
        here,
        '[rules]\npaths = ["mine", "../common.yaml", "/srv/rules"]\n'
        '[store]\nurl = "sqlite:///state/bot.db?timeout=5"\n',
    )
    read = load(path, ENOUGH)
    assert read.rules.paths == (f"{here}/mine", f"{here}/../common.yaml", "/srv/rules")
    assert read.store.url == f"sqlite:///{here}/state/bot.db?timeout=5"


def test_absolute_places_stay_what_they_are(tmp_path: Path) -> None:
    for url in ("sqlite:////var/lib/bot.db", "postgresql://bot@db/bot", "sqlite:///:memory:"):
        path = written(tmp_path, f'[rules]\npaths = ["/rules"]\n[store]\nurl = "{url}"\n')
        read = load(path, ENOUGH)
        assert (read.rules.paths, read.store.url) == (("/rules",), url)


def test_paths_of_the_environment_and_of_secrets_count_from_where_the_bot_is_started(
    tmp_path: Path,
) -> None:
    path = written(tmp_path / "etc", '[rules]\npaths = ["mine"]\n')
    read = load(path, ENOUGH | {"BOT_RULES__PATHS": "rules,more"})
    assert read.rules.paths == ("rules", "more")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/bot_store__url").write_text("sqlite:///data/bot.db")
    read = load(path, ENOUGH, [tmp_path / "secrets"])
    assert read.store.url == "sqlite:///data/bot.db"
    assert load(None, ENOUGH).rules.paths == ("rules",)


def test_in_the_containers_root_the_defaults_are_rules_and_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With WORKDIR / these are /rules and /data/bot.db, which the image gives to the bot."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "")
    for path in (Path("config.toml"), None):
        read = load(path, ENOUGH)
        assert (read.rules.paths, read.store.url) == (("rules",), "sqlite:///data/bot.db")


@pytest.mark.parametrize(
    "text",
    [
        "",
        '[store]\nurl = "sqlite:///state/bot.db"\n',
        '[store]\nurl = "sqlite:////var/lib/bot.db"\n',
        '[store]\nurl = "sqlite:///state/bot.db?timeout=5"\n',
    ],
)
@pytest.mark.parametrize(
    "environ", [{}, {"BOT_STORE__URL": "sqlite:///x.db"}, {"BOT_STORE__URL": " "}]
)
def test_the_healthcheck_looks_where_the_daemon_works(
    tmp_path: Path, text: str, environ: dict[str, str]
) -> None:
    path = written(tmp_path / "etc", text)
    assert store_url_of(path, environ, []) == load(path, ENOUGH | environ).store.url
