"""One configuration for several accounts: what they share, what is theirs, and every error."""

from datetime import timedelta
from pathlib import Path

import pytest

from bot.config.load import load, load_accounts
from bot.errors import ConfigError

TWO = """\
[mouseflow]
region = "eu"
email = "ops@example.com"

[slack]
bot_token = "xoxb-common"
channel = "#mouseflow"
ops_channel = "#ops"

[accounts.shop.mouseflow]
api_key = "key-of-the-shop"

[accounts.shop.slack]
channel = "#shop"

[accounts.outlet.mouseflow]
base_url = "https://api.example.com"
email = "outlet@example.com"
api_key = "key-of-the-outlet"

[accounts.outlet.slack]
webhook_url = "https://hooks.slack.com/services/T/B/x"

[accounts.outlet.poll]
recordings = "5m"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path | None, environ: dict[str, str], *dirs: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_accounts(path, environ, dirs)
    return str(caught.value).splitlines()


def test_an_account_has_the_common_settings_and_its_own_over_them(tmp_path: Path) -> None:
    accounts = load_accounts(written(tmp_path, TWO), {})
    assert list(accounts) == ["shop", "outlet"]
    shop, outlet = accounts.values()
    assert (shop.account, outlet.account) == ("shop", "outlet")
    assert shop.accounts == outlet.accounts == ("shop", "outlet")
    assert shop.mouseflow.region == "eu"
    assert shop.mouseflow.email == "ops@example.com"
    assert shop.mouseflow.api_key.get_secret_value() == "key-of-the-shop"
    assert (shop.slack.channel, outlet.slack.channel) == ("#shop", "#mouseflow")
    assert (shop.poll.recordings, outlet.poll.recordings) == (
        timedelta(seconds=60),
        timedelta(minutes=5),
    )


def test_one_of_two_keys_that_exclude_each_other_replaces_the_common_one(tmp_path: Path) -> None:
    outlet = load_accounts(written(tmp_path, TWO), {})["outlet"]
    assert outlet.mouseflow.region is None
    assert outlet.mouseflow.base_url == "https://api.example.com"
    assert outlet.slack.bot_token is None
    assert outlet.slack.webhook_url is not None


def test_each_account_has_a_store_beside_the_common_one(tmp_path: Path) -> None:
    accounts = load_accounts(written(tmp_path, TWO), {})
    stores = [each.store.url for each in accounts.values()]
    assert stores == [f"sqlite:///{tmp_path}/data/bot-{name}.db" for name in accounts]
    environ = {"BOT_STORE__URL": "sqlite:////var/bot.db?cache=shared"}
    elsewhere = load_accounts(written(tmp_path, TWO), environ)
    assert elsewhere["shop"].store.url == "sqlite:////var/bot-shop.db?cache=shared"
    own = TWO + '[accounts.shop.store]\nurl = "sqlite:///data/bot.db"\n'
    kept = load_accounts(written(tmp_path, own), environ)
    assert kept["shop"].store.url == f"sqlite:///{tmp_path}/data/bot.db"


def test_variables_and_secret_files_name_an_account_and_win_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, TWO.replace("accounts.shop.", "accounts.my-shop."))
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "bot_accounts__my_shop__mouseflow__api_key").write_text("secret\n")
    (secrets / "bot_accounts__outlet__mouseflow__api_key").write_text("unused")
    environ = {
        "BOT_ACCOUNTS__OUTLET__MOUSEFLOW__API_KEY": "variable",
        "BOT_ACCOUNTS__OUTLET__NOTIFY__ONCALL": "pagerduty://x",
        "BOT_SLACK__CHANNEL": "#common",
    }
    accounts = load_accounts(path, environ, [secrets])
    keys = [each.mouseflow.api_key.get_secret_value() for each in accounts.values()]
    assert keys == ["secret", "variable"]
    assert list(accounts["outlet"].notify) == ["oncall"]
    assert not accounts["my-shop"].notify
    # What is set for one account wins over what is set for all, wherever either is.
    assert accounts["my-shop"].slack.channel == "#shop"
    assert accounts["outlet"].slack.channel == "#common"


def test_the_environment_alone_can_have_several_accounts() -> None:
    environ = {
        "BOT_MOUSEFLOW__REGION": "eu",
        "BOT_MOUSEFLOW__EMAIL": "ops@example.com",
        "BOT_ACCOUNTS__SHOP__MOUSEFLOW__API_KEY": "one",
        "BOT_ACCOUNTS__OUTLET__MOUSEFLOW__API_KEY": "two",
    }
    assert list(load_accounts(None, environ)) == ["outlet", "shop"]


def test_a_variable_of_an_account_that_the_file_lacks_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path, "[mouseflow]\nregion = 'eu'\nemail = 'a@b.c'\napi_key = 'k'\n")
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "bot_accounts__outlet__mouseflow__api_key").write_text("one")
    environ = {"BOT_ACCOUNTS__SHOP__MOUSEFLOW__API_KEY": "two"}
    with pytest.raises(ConfigError) as failed:
        load_accounts(path, environ, [secrets])
    remedy = f"write it in {path.name}, or remove this"
    assert str(failed.value).splitlines() == [
        f"{secrets}/bot_accounts__outlet__mouseflow__api_key: no [accounts.outlet]; {remedy}",
        f"BOT_ACCOUNTS__SHOP__MOUSEFLOW__API_KEY: no [accounts.shop]; {remedy}",
    ]


def test_errors_name_the_account_and_the_place_and_common_ones_come_once(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """\
[mouseflow]
region = "eu"
email = "ops@example.com"
time_zone = "Europe/Nowhere"

[accounts.shop.mouseflow]
api_kye = "secret-of-the-shop-that-nobody-sees"

[accounts.shop.slak]
channel = "#x"

[accounts.shop.web]
listen = ""

[accounts.outlet]
poll = 3
""",
    )
    environ = {"BOT_ACCOUNTS__OUTLET__POLL__SETTEL": "x", "BOT_ACCOUNTS__SHPO__POLL__SETTLE": "1m"}
    name = str(path)
    assert problems(path, environ) == [
        f"{name}:4:1: mouseflow.time_zone: unknown time zone; use a name such as Europe/Copenhagen",
        f"{name}:6:16: accounts.shop.mouseflow.api_key: missing; write it here or set "
        "BOT_ACCOUNTS__SHOP__MOUSEFLOW__API_KEY",
        f"{name}:7:1: accounts.shop.mouseflow.api_kye: unknown key; did you mean api_key?",
        f"{name}:9:16: accounts.shop.slak: unknown section; did you mean slack?",
        f"{name}:12:16: accounts.shop.web: all accounts share it; write it under [web]",
        f"{name}:15:11: accounts.outlet.mouseflow.api_key: missing; write it here or set "
        "BOT_ACCOUNTS__OUTLET__MOUSEFLOW__API_KEY",
        f"{name}:16:1: accounts.outlet.poll: write a table with keys",
        "BOT_ACCOUNTS__OUTLET__POLL__SETTEL: unknown setting; did you mean "
        "BOT_ACCOUNTS__OUTLET__POLL__SETTLE?",
        "BOT_ACCOUNTS__SHPO__POLL__SETTLE: unknown account shpo; did you mean shop?",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("accounts = 3\n", "1:1: accounts: write a table for each account, such as"),
        ("[accounts]\n", "1:2: accounts: write a table for each account, such as"),
        ("[accounts]\nshop = 3\n", "2:1: accounts.shop: write a table for each account, such as"),
        ("[accounts.Shop]\n", "1:11: accounts.Shop: write a name of small letters, digits,"),
        ("[accounts.a__b]\n", "1:11: accounts.a__b: write a name of small letters, digits,"),
        (
            "[accounts.a-b]\n[accounts.a_b]\n",
            "2:11: accounts.a_b: its variables would be those of a-b; choose another name",
        ),
    ],
)
def test_what_can_be_no_account_is_an_error(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    assert any(line.startswith(f"{path}:{said}") for line in problems(path, {}))


def test_two_accounts_never_share_a_store_or_a_key(tmp_path: Path) -> None:
    shared = TWO.replace("key-of-the-outlet", "key-of-the-shop").replace(
        'base_url = "https://api.example.com"\n', ""
    )
    shared += '[accounts.outlet.store]\nurl = "sqlite:///data/../data/bot-shop.db"\n'
    path = written(tmp_path, shared)
    assert problems(path, {}) == [
        f"{path}:18:1: accounts.outlet.mouseflow.api_key: is the key of shop; both would act in "
        "one account",
        f"{path}:26:1: accounts.outlet.store.url: is the store of shop; each account needs its own",
    ]
    url = "postgresql://bot:{}@db.example.com/bot"
    path = written(tmp_path, TWO + f'[store]\nurl = "{url.format("secret")}"\n')
    assert problems(path, {}) == [
        f"{path}:27:1: accounts.outlet.store.url: is the store of shop; each account needs its own",
    ]
    database = "postgresql://bot@db.example.com/{}"
    for own in ("outlet", "bot?options=-csearch_path%3Doutlet"):
        other = {"BOT_ACCOUNTS__OUTLET__STORE__URL": database.format(own)}
        assert load_accounts(path, other)["shop"].store.url == url.format("secret")


def test_one_account_may_have_a_name_and_several_are_no_single_one(tmp_path: Path) -> None:
    one = TWO.partition("[accounts.outlet.mouseflow]")[0]
    assert load(written(tmp_path, one), {}).account == "shop"
    with pytest.raises(ConfigError, match="several accounts: shop, outlet"):
        load(written(tmp_path, TWO), {})


def test_without_accounts_there_is_one_without_a_name(tmp_path: Path) -> None:
    text = TWO.partition("[accounts.")[0].replace("[slack]", 'api_key = "a-key"\n[slack]')
    (only,) = load_accounts(written(tmp_path, text), {}).items()
    assert only[0] == only[1].account == ""
    assert only[1].accounts == ()
    assert only[1].store.url == f"sqlite:///{tmp_path}/data/bot.db"
