"""Commands of a configuration with several accounts: all of them, or the one that is named."""

import json
from datetime import UTC, datetime
from functools import partial

import pytest
from postgres_server import connected

from bot.cli import output
from bot.cli.main import main
from bot.store import open_store, outbox
from bot.store.audit import Note, record
from bot.store.matches import NewMatch, NewStep, PollOutcome, commit_poll
from bot.store.recordings import set_websites
from bot.store.rules import rules_loaded, snoozed_until

CONFIG = """\
[mouseflow]
region = "eu"
email = "ops@example.com"

[slack]
bot_token = "xoxb-1"
channel = "#mouseflow"

[accounts.shop.mouseflow]
api_key = "key-of-the-shop"

[accounts.outlet.mouseflow]
api_key = "key-of-the-outlet"
"""
RULES = """\
version: 1
rules:
  everywhere:
    watch: recordings
    when: {tags: a}
    do: {star: true}
    tests: [{given: {tags: [a]}, expect: match}]
  of-the-shop:
    accounts: [shop]
    watch: recordings
    when: {tags: b}
    do: {star: true}
    tests: [{given: {tags: [b]}, expect: match}]
"""


def failed_for_good(conn):
    """A star that the API refused."""
    now = datetime.now(UTC)
    key = "everywhere/w1/r1/star-1"
    star = NewStep(key=key, rank=0, lane="mouseflow:w1", kind="star", params="{}", due=now)
    match = NewMatch(
        rule="everywhere", kind="recordings", website="w1", subject_key="r1",
        match_key="everywhere/w1/r1", subject=b"{}", matched=now, why=(), steps=[star],
    )  # fmt: skip
    commit_poll(conn, PollOutcome(source="recordings", website="w1", at=now, matches=[match]))
    claimed = outbox.claim(conn, "mouseflow:w1", now, "token")
    outbox.give_up(conn, claimed, now, reason="403 refused", remedy="give it write access")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(CONFIG)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "all.yaml").write_text(RULES)
    return tmp_path


@pytest.fixture
def said(capsys):
    def run(*arguments, code=0):
        capsys.readouterr()
        assert main(list(arguments)) == code, capsys.readouterr()
        shown = capsys.readouterr()
        return shown.out + shown.err

    return run


def store_of(folder, name):
    (folder / "data").mkdir(exist_ok=True)
    return open_store(f"sqlite:///data/bot-{name}.db")


def test_a_command_about_one_account_names_those_to_choose_from(folder, said):
    for words in (["history"], ["budget"], ["once", "--dry-run"], ["backup"], ["retry"]):
        assert said(*words, code=1) == (
            "the configuration has several accounts (shop, outlet): add --account\n"
        )
    assert said("history", "--account", "shpo", code=1) == (
        "there is no account shpo; did you mean shop?\n"
    )
    one = CONFIG.partition("[accounts")[0].replace("[slack]", 'api_key = "k"\n[slack]')
    (folder / "config.toml").write_text(one)
    assert said("history", "--account", "shop", code=1) == (
        "there is no account shop: the configuration has no [accounts]\n"
    )


def test_history_and_snooze_are_about_the_named_account_alone(folder, said):
    now = datetime.now(UTC)
    for name in ("shop", "outlet"):
        with store_of(folder, name) as store:
            note = Note(kind="notice", text=f"news of {name}")
            store.do(lambda conn, note=note: record(conn, now, [note]))
            store.do(lambda conn: rules_loaded(conn, {"everywhere": "1"}, now))
    assert "news of shop" in said("history", "--account", "shop")
    assert "news of shop" not in said("history", "--account", "outlet")
    said("snooze", "--account", "outlet", "everywhere", "2h")
    until = {}
    for name in ("shop", "outlet"):
        with store_of(folder, name) as store:
            until[name] = store.do(lambda conn: snoozed_until(conn, "everywhere"))
    assert until["shop"] is None
    assert until["outlet"] is not None


def test_status_shows_all_accounts_also_one_without_a_store(folder, said):
    store_of(folder, "outlet").close()
    shown = said("status", code=1)
    assert shown.index("account shop") < shown.index("no store at")
    assert "\n\naccount outlet\n" in shown
    found = json.loads(said("status", "--json", code=1))["accounts"]
    assert "no store at" in found["shop"]["error"]
    assert found["outlet"]["daemon"]
    assert "account" not in said("status", "--account", "outlet").splitlines()[0]


def test_suggested_commands_are_about_the_same_account(folder, said):
    store_of(folder, "shop").close()
    done = said("backup", "--account", "shop", "copy.db")
    assert "mouseflow-bot restore --account shop copy.db, start the bot" in done
    one = CONFIG.partition("[accounts")[0].replace("[slack]", 'api_key = "k"\n[slack]')
    (folder / "config.toml").write_text(one)
    open_store("sqlite:///data/bot.db").close()
    assert "mouseflow-bot restore other.db, start the bot" in said("backup", "other.db")


def test_commands_are_given_their_account_once():
    output.about("shop")
    for text in ("mouseflow-bot retry 3", "mouseflow-bot retry --account shop 3"):
        assert output.named(text) == "mouseflow-bot retry --account shop 3"
    output.about("")
    assert output.named("mouseflow-bot retry 3") == "mouseflow-bot retry 3"


def test_status_of_all_accounts_suggests_commands_for_each(folder, said):
    for name in ("shop", "outlet"):
        with store_of(folder, name) as store:
            store.do(failed_for_good)
    shown = said("status")
    for name in ("shop", "outlet"):
        assert f"`mouseflow-bot retry --account {name}`" in shown
    assert "`mouseflow-bot retry`" not in shown


def test_check_lists_each_account_and_an_error_of_the_rules_once(folder, said):
    shown = said("check").splitlines()
    assert shown == ["account shop", "ok: 2 rules in 1 file", "account outlet",
                     "ok: 1 rule in 1 file"]  # fmt: skip
    assert said("check", "--account", "outlet") == "ok: 1 rule in 1 file\n"
    (folder / "rules" / "all.yaml").write_text(RULES.replace("[shop]", "[shpo]"))
    broken = said("check", code=1)
    assert broken.count("unknown account; did you mean shop?") == 1
    assert broken.endswith("account outlet\nnot ok: it has errors that are listed above\n")
    found = json.loads(said("check", "--json", code=1))
    assert {name: len(it["problems"]) for name, it in found["accounts"].items()} == {
        "shop": 1, "outlet": 1,
    }  # fmt: skip


def test_check_names_the_variable_of_the_account_that_lacks_a_key(folder, said):
    (folder / "config.toml").write_text(CONFIG.replace('api_key = "key-of-the-shop"', ""))
    shown = said("check")
    assert "(BOT_ACCOUNTS__SHOP__MOUSEFLOW__API_KEY)" in shown
    assert "BOT_MOUSEFLOW__API_KEY" not in shown


def test_check_warns_of_the_store_from_before_there_were_several(folder, said):
    (folder / "data").mkdir()
    open_store("sqlite:///data/bot.db").close()
    assert "set accounts.shop.store.url" in said("check")
    own = CONFIG + '[accounts.shop.store]\nurl = "sqlite:///data/bot.db"\n'
    (folder / "config.toml").write_text(own)
    store_of(folder, "outlet").close()
    assert "store.url" not in said("check")


def test_tests_of_all_rules_run_once_and_fmt_reads_all_files(folder, said):
    assert "2 tests of 2 rules: all passed" in said("test")
    assert "1 test of 1 rule: all passed" in said("test", "--account", "outlet")
    assert said("fmt", "--check") == "1 file unchanged\n"


def test_explain_says_whose_rule_it_is(folder, said):
    shown = said("explain", "--account", "outlet", "of-the-shop", "r1", code=1)
    assert shown == "of-the-shop is a rule of the account shop\n"


def test_healthcheck_is_well_while_an_account_runs_on_another_host_alone(
    folder, said, postgres_url
):
    own = CONFIG + f'[accounts.outlet.store]\nurl = "{postgres_url}"\n'
    (folder / "config.toml").write_text(own)
    with open_store(postgres_url, shared=True), connected(postgres_url) as admin:
        admin.execute("UPDATE mouseflow_bot_replicas SET host = 'elsewhere'")
        with store_of(folder, "shop"):
            shown = said("healthcheck")
            assert "shop: alive" in shown
            assert "outlet: unhealthy: no bot on this host shares the store" in shown
        said("healthcheck", code=1)


def test_healthcheck_is_well_while_one_account_runs(folder, said):
    assert "shop: unhealthy" in said("healthcheck", code=1)
    with store_of(folder, "shop"):
        shown = said("healthcheck")
        assert "shop: alive" in shown
        assert "outlet: unhealthy: the daemon is not running" in shown
        found = json.loads(said("healthcheck", "--json"))
        assert {name: it["healthy"] for name, it in found["accounts"].items()} == {
            "shop": True, "outlet": False,
        }  # fmt: skip
        assert said("healthcheck", "--account", "shop") == "alive\n"
        said("healthcheck", "--account", "outlet", code=1)
    said("healthcheck", "--account", "nobody", code=1)


def test_a_name_that_two_websites_have_is_not_guessed(folder, said):
    with store_of(folder, "shop") as store:
        names = {"8fc2ace2-75bc": "shop.com", "1b2c3d4e-55aa": "shop.com"}
        now = datetime.now(UTC)
        store.do(lambda conn: set_websites(conn, names, {}, now))
        notes = [Note(kind="notice", website=key, text=f"news of {key}") for key in names]
        store.do(lambda conn: record(conn, now, notes))
    history = partial(said, "history", "--account", "shop", "--website")
    assert history("shop.com", code=1) == (
        "2 websites are called shop.com; name one by its id: 8fc2ace2-75bc, 1b2c3d4e-55aa\n"
    )
    for which in ("8fc2ace2-75bc", "shop.com (8fc2ace2)"):
        shown = history(which)
        assert "news of 8fc2ace2-75bc" in shown
        assert "news of 1b2c3d4e-55aa" not in shown
