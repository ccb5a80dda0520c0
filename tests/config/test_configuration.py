"""What the configuration promises: precedence, every problem at once, and no secret shown."""

import os
import tempfile
import time
from dataclasses import FrozenInstanceError, replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.config.load import load, locate
from bot.config.settings import SECTIONS, allowed, keys, variable
from bot.errors import ConfigError
from bot.rules.files.actions import Allowed
from bot.rules.syntax import toml
from bot.rules.syntax.nodes import Keys

ENOUGH = {
    "BOT_MOUSEFLOW__REGION": "eu",
    "BOT_MOUSEFLOW__EMAIL": "ops@example.com",
    "BOT_MOUSEFLOW__API_KEY": "k3y-of-the-account",
}
FILE = """\
[mouseflow]
region = "eu"
email = "ops@example.com"
api_key = "from-the-file"
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path | None, environ: dict[str, str], *dirs: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ, dirs)
    return str(caught.value).splitlines()


def test_the_environment_alone_is_enough_and_the_rest_has_defaults() -> None:
    read = load(None, ENOUGH)
    assert read.mouseflow.region == "eu"
    assert read.mouseflow.api_key.get_secret_value() == "k3y-of-the-account"
    assert read.poll.recordings == timedelta(seconds=60)
    assert read.poll.settle == timedelta(minutes=35)
    assert read.poll.start == timedelta()
    assert read.store.url == "sqlite:///data/bot.db"
    assert read.web.address == ("127.0.0.1", 8080)
    assert not read.slack.configured


def test_the_environment_wins_over_secret_files_and_those_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, FILE + '[slack]\nchannel = "#file"\nops_channel = "#ops-file"\n')
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "bot_mouseflow__api_key").write_text("from-the-secret\n")
    (secrets / "bot_slack__channel").write_text("#secret")
    read = load(path, {"BOT_SLACK__CHANNEL": "#environment"}, [secrets])
    assert read.mouseflow.api_key.get_secret_value() == "from-the-secret"
    assert read.slack.channel == "#environment"
    assert read.slack.ops_channel == "#ops-file"


def test_the_first_directory_of_secrets_wins(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "BOT_MOUSEFLOW__API_KEY").write_text(f"{name}-key")
    rest = {name: value for name, value in ENOUGH.items() if "API_KEY" not in name}
    read = load(None, rest, [tmp_path / "none", tmp_path / "first", tmp_path / "second"])
    assert read.mouseflow.api_key.get_secret_value() == "first-key"


def test_every_problem_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """\
# the account
[mouseflow]
regoin = "eu"
email = "ops@example.com"
time_zone = "Europe/Nowhere"
base_url = "http://example.com"

[slak]
channel = "#x"

[poll]
settle = 35
recordings = "60"
feedback = "2d"

[rules]
paths = []
allow_delete = "perhaps"

[web]
listen = "8080"
""",
    )
    environ = {
        "BOT_LOG__LEVEL": "loud",
        "BOT_SLAK__CHANNEL": "#x",
        "BOT_MOUSEFLOW_API_KEY": "one underscore is missing",
    }
    assert problems(path, environ) == [
        f"{path}:2:2: mouseflow.api_key: missing; write it here or set BOT_MOUSEFLOW__API_KEY",
        f"{path}:3:1: mouseflow.regoin: unknown key; did you mean region?",
        f"{path}:5:1: mouseflow.time_zone: unknown time zone; use a name such as Europe/Copenhagen",
        f"{path}:6:1: mouseflow.base_url: plain http would expose the credentials; "
        "use https (http only for 127.0.0.1)",
        f"{path}:8:2: slak: unknown section; did you mean slack?",
        f"{path}:12:1: poll.settle: write a duration with a unit, such as 60s, 5m, 1h or 7d",
        f"{path}:13:1: poll.recordings: write a duration with a unit, such as 60s, 5m, 1h or 7d",
        f"{path}:14:1: poll.feedback: from 100ms to 1d",
        f"{path}:17:1: rules.paths: needs at least one",
        f"{path}:18:1: rules.allow_delete: write true or false",
        f'{path}:21:1: web.listen: write host:port, such as 127.0.0.1:8080, or "" to turn it off',
        "BOT_LOG__LEVEL: log.level: write one of debug, info, warning or error",
        "BOT_SLAK__CHANNEL: unknown setting; did you mean BOT_SLACK__CHANNEL?",
        "BOT_MOUSEFLOW_API_KEY: unknown setting; did you mean BOT_MOUSEFLOW__API_KEY?",
    ]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('[mouseflow]\nregion = "asia"', "write one of eu or us"),
        ('[mouseflow]\nemail = "a:b@example.com"', "write the e-mail address"),
        ('[mouseflow]\nbase_url = "http://localhost.example.com"', "plain http"),
        ('[mouseflow]\nbase_url = "ftp://example.com"', "full URL"),
        ('[mouseflow]\nbase_url = "https://me:pw@example.com"', "user or password"),
        ('[mouseflow]\nbase_url = "https://["', "full URL"),
        ('[mouseflow]\nbase_url = "https://example.com"\nregion = "eu"', "not both"),
        ('[mouseflow]\nshare_url = "https://example.com/"', "{token}"),
        ('[mouseflow]\nshare_url = "https://example.com/{token}/{id}"', "{token}"),
        ("[mouseflow]\nrequests_per_second = 0", "must be a number above 0 and at most 100"),
        ("[mouseflow]\nrequests_per_second = 1000", "must be a number above 0 and at most"),
        ('[mouseflow]\nchannel = "#x"', "did you mean slack.channel?"),
        ('[slack]\nbot_token = "xoxb-1"\nwebhook_url = "https://example.com"', "not both"),
        ('[slack]\nwebhook_url = "http://example.com/x"', "plain http"),
        ("[slack]\nchannel = 5", "write a text in quotes"),
        ("slack = 5", "write a table with keys"),
        ('[poll]\nstart = "yesterday"', 'write "now" or how far back'),
        ('[poll]\nsettle = "0s"', "write a duration with a unit"),
        ('[store]\nurl = "bot.db"', "write sqlite:///"),
        ('[store]\nurl = "mysql://localhost/x"', "write sqlite:///"),
        ('[store]\nkeep = "1d"', "at least 4d"),
        ('[web]\nlisten = "127.0.0.1:99999"', "host:port"),
        ('[log]\nformat = "xml"', "write one of auto, json or text"),
        (
            '[rules]\nholidays = ["25.12."]',
            "write days such as 2026-12-24, 12-25 (every year), or 12-24..01-01",
        ),
        ('[rules]\nholidays = ["2026-02-30"]', "write days such as 2026-12-24"),
        ('[rules]\npaths = "a"\nalow_delete = true', "did you mean allow_delete?"),
    ],
)
def test_a_wrong_value_is_explained_at_its_line(tmp_path: Path, lines: str, said: str) -> None:
    path = written(tmp_path, lines + "\n")
    rest = {
        name: value
        for name, value in ENOUGH.items()
        if name.split("__")[1].lower() not in lines
        and not (name.endswith("REGION") and "base_url" in lines)
    }
    (found,) = problems(path, rest)
    assert said in found
    last = lines.count("\n") + 1
    assert found.startswith(f"{path}:{last}:1: ")


def test_the_file_is_gone_through_before_what_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, FILE + '[log]\nlevel = "loud"\n')
    told = problems(Path("config.toml"), {"BOT_LOG__FORMAT": "xml"})
    assert [each.partition(": ")[0] for each in told] == ["config.toml:6:1", "BOT_LOG__FORMAT"]


def test_a_file_that_is_not_toml_is_named_with_line_and_column(tmp_path: Path) -> None:
    path = written(tmp_path, '[mouseflow]\nregion = "eu"\napi_key = s3cret"\n')
    assert problems(path, {}) == [
        f'{path}:3:11: text needs quotes: api_key = "…"; nothing else in this file was checked'
    ]
    path = written(tmp_path, "[mouseflow]\nregion: eu\n")
    (colon,) = problems(path, {})
    assert colon.startswith(f"{path}:2:7: TOML uses = instead of a colon: region = …; nothing else")
    (tmp_path / "other.toml").write_bytes(b"\xff\xfe")
    assert "UTF-8" in problems(tmp_path / "other.toml", {})[0]


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    (found,) = problems(tmp_path / "config.toml", ENOUGH)
    assert "no such file" in found


def test_without_credentials_each_missing_key_is_named() -> None:
    assert problems(None, {}) == [
        "mouseflow.api_key: missing; write it here or set BOT_MOUSEFLOW__API_KEY",
        "mouseflow.email: missing; write it here or set BOT_MOUSEFLOW__EMAIL",
        "mouseflow.region: missing; set eu or us, the account's region",
    ]


def test_empty_variables_mean_not_given_except_where_empty_says_something() -> None:
    empty = ENOUGH | {"BOT_SLACK__BOT_TOKEN": "", "BOT_SLACK__CHANNEL": " ", "BOT_WEB__LISTEN": ""}
    read = load(None, empty)
    assert read.slack.bot_token is None
    assert read.slack.channel is None
    assert read.web.address is None
    assert "missing" in problems(None, ENOUGH | {"BOT_MOUSEFLOW__API_KEY": "  "})[0]


@pytest.mark.parametrize("path", [path for path in keys() if path != ("web", "listen")])
def test_an_empty_variable_or_secret_leaves_what_the_file_says(
    tmp_path: Path, path: tuple[str, str]
) -> None:
    file = written(tmp_path, FILE + '[slack]\nbot_token = "xoxb-of-the-file"\n')
    assert load(file, {variable(path): "", "BOT_SLACK__BOT_TOKEN": ""}) == load(file, {})
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / variable(path).lower()).write_text("\n")
    assert load(file, {}, [tmp_path / "secrets"]) == load(file, {})


def test_who_asks_nobody_needs_no_key_but_everything_else_is_checked(tmp_path: Path) -> None:
    keyless = FILE.replace('api_key = "from-the-file"\n', "")
    read = load(written(tmp_path, keyless), {"BOT_MOUSEFLOW__API_KEY": ""}, offline=True)
    assert read.mouseflow.api_key.get_secret_value() == ""
    assert read.secrets() == ()
    assert load(written(tmp_path, FILE), {}, offline=True) == load(written(tmp_path, FILE), {})
    with pytest.raises(ConfigError, match="time_zone"):
        load(written(tmp_path, keyless + 'time_zone = "Nowhere"\n'), {}, offline=True)


def test_a_pasted_key_may_have_blanks_around_it() -> None:
    read = load(None, ENOUGH | {"BOT_MOUSEFLOW__API_KEY": " key\n"})
    assert read.mouseflow.api_key.get_secret_value() == "key"


def test_lists_numbers_and_switches_can_be_given_in_the_environment() -> None:
    read = load(
        None,
        ENOUGH
        | {
            "BOT_RULES__PATHS": "rules, more/rules.toml",
            "BOT_RULES__ALLOW_DELETE": "true",
            "BOT_RULES__HOLIDAYS": "2026-04-06, 02-29, 2026-05-01..2026-05-11",
            "BOT_MOUSEFLOW__REQUESTS_PER_SECOND": "0.5",
            "BOT_POLL__START": "1d12h",
            "bot_web__listen": "[::1]:9000",
        },
    )
    assert read.rules.paths == ("rules", "more/rules.toml")
    assert read.rules.allow_delete is True
    assert read.rules.holidays == ("2026-04-06", "02-29", "2026-05-01..2026-05-11")
    assert read.mouseflow.requests_per_second == 0.5
    assert read.poll.start == timedelta(hours=36)
    assert read.web.address == ("::1", 9000)


def test_variables_of_a_kubernetes_service_named_bot_are_not_ours() -> None:
    links = {
        "BOT_SERVICE_HOST": "10.0.0.1",
        "BOT_SERVICE_PORT": "80",
        "BOT_SERVICE_PORT_HTTP": "80",
        "BOT_PORT": "tcp://10.0.0.1:80",
        "BOT_PORT_80_TCP": "tcp://10.0.0.1:80",
        "BOT_PORT_80_TCP_ADDR": "10.0.0.1",
        "BOT_CONFIG": "/etc/bot.toml",
        "ROBOT_SLACK__CHANNEL": "#x",
    }
    assert load(None, ENOUGH | links) == load(None, ENOUGH)


def test_an_unknown_secret_file_is_an_error_and_others_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "bot_slack__tokn").write_text("xoxb-oops")
    (tmp_path / "database_password").write_text("not ours")
    (found,) = problems(None, ENOUGH, tmp_path)
    assert found == (
        f"{tmp_path / 'bot_slack__tokn'}: unknown setting; did you mean bot_slack__bot_token?"
    )


def test_settings_cannot_be_changed() -> None:
    read = load(None, ENOUGH)
    with pytest.raises(FrozenInstanceError):
        read.web.listen = "0.0.0.0:80"


SECRET = "zq9-SECRET-zq9"


@pytest.mark.parametrize("path", list(keys()), ids=".".join)
def test_no_value_is_ever_shown_wherever_a_secret_was_pasted(
    tmp_path: Path, path: tuple[str, str]
) -> None:
    for environ in (ENOUGH | {variable(path): SECRET}, {variable(path): SECRET}):
        try:
            shown = repr(replace(load(None, environ), log=None))
        except ConfigError as error:
            shown = f"{error} {error.__cause__!r} {error.__context__!s}"
        hidden = path[1] not in {"email", "channel", "ops_channel", "paths"}
        assert SECRET not in shown or not hidden
    file = written(tmp_path, f'[{path[0]}]\n{path[1]}x = "{SECRET}"\n')
    assert SECRET not in "\n".join(problems(file, {}))


def test_every_secret_value_is_known_to_who_strikes_them_out() -> None:
    read = load(
        None,
        ENOUGH
        | {
            "BOT_SLACK__BOT_TOKEN": "xoxb-1-a",
            "BOT_WEB__TOKEN": "web-token",
            "BOT_STORE__URL": "postgresql://bot:db%2Fpassword@db/bot",
        },
    )
    assert set(read.secrets()) == {
        "k3y-of-the-account",
        "b3BzQGV4YW1wbGUuY29tOmszeS1vZi10aGUtYWNjb3VudA==",
        "xoxb-1-a",
        "web-token",
        "db%2Fpassword",
        "db/password",
    }
    shown = f"{read!r} {read}"
    assert not [secret for secret in read.secrets() if secret in shown]


def keys_of(text: str) -> Keys:
    found = toml.parse(text)
    assert isinstance(found, Keys)
    return found


SECTION = st.sampled_from(["mouseflow", "slack", "poll", "x"])
KEY = st.sampled_from(["region", "channel", "settle", "a", "quoted key"])


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(SECTION, st.dictionaries(KEY, st.booleans(), min_size=1), min_size=1))
def test_every_key_is_found_on_the_line_where_it_is_written(
    tables: dict[str, dict[str, bool]],
) -> None:
    lines, places = [], {}
    for section, values in tables.items():
        lines += ["", f"# {section} region channel settle", f"[{section}]"]
        for key, value in values.items():
            lines.append(f'  "{key}" = {str(value).lower()}  # "{key}" too')
            places[section, key] = (len(lines), 3)
    for path, place in places.items():
        assert locate(keys_of("\n".join(lines)), path) == place


def test_a_key_of_a_table_on_one_line_or_with_dots_is_found() -> None:
    assert locate(keys_of("a.b = 1\n"), ("a", "b")) == (1, 3)
    assert locate(keys_of('x = 1\npoll = {settle = "5m"}\n'), ("poll", "settle")) == (2, 9)
    assert locate(keys_of('[rules]\npaths = [\n "a",\n]\nallow = 1\n'), ("rules", "allow")) == (
        5,
        1,
    )
    assert locate(keys_of('[rules]\npaths = [\n "a",\n]\n'), ("rules", "absent")) == (1, 2)
    assert locate(Keys(1, 1), ("rules",)) == (1, 1)


def test_the_configuration_says_what_rules_may_do() -> None:
    bare = allowed(load(None, ENOUGH))
    assert (bare.delete, bare.posts, bare.channel, bare.share_url) == (False, False, False, False)
    token = ENOUGH | {"BOT_SLACK__BOT_TOKEN": "xoxb-1", "BOT_RULES__ALLOW_DELETE": "true"}
    assert allowed(load(None, token)) == Allowed(
        delete=True, posts=True, channel=False, share_url=False, places=()
    )
    assert allowed(load(None, token | {"BOT_SLACK__CHANNEL": "#x"})).channel
    hook = ENOUGH | {"BOT_SLACK__WEBHOOK_URL": "https://hooks.slack.com/services/T/B/x"}
    assert allowed(load(None, hook)).channel
    shared = ENOUGH | {"BOT_MOUSEFLOW__SHARE_URL": "https://example.com/{token}"}
    assert allowed(load(None, shared)).share_url


def test_where_secrets_are_kept_elsewhere_rules_may_post() -> None:
    """On a developer's machine or in CI neither key nor token is there, and rules are checked."""
    keyless = {name: value for name, value in ENOUGH.items() if not name.endswith("KEY")}
    away = load(None, keyless, offline=True)
    assert (allowed(away, offline=True).posts, allowed(away).posts) == (True, False)
    planned = load(None, ENOUGH | {"BOT_SLACK__CHANNEL": "#x"}, offline=True)
    assert (allowed(planned, offline=True).posts, allowed(planned).posts) == (True, False)
    assert not allowed(load(None, ENOUGH), offline=True).posts


def test_settings_have_every_section_of_the_documentation() -> None:
    assert list(SECTIONS) == [
        "mouseflow", "slack", "notify", "rules", "poll", "quiet", "store", "web", "heartbeat",
        "log",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FILE + f"x = {'[' * 2000}{']' * 2000}\n", "5:45: nested too deeply; the limit is 40"),
        (FILE + f"x = {'9' * 5000}\n", "5:5: this number has too many digits"),
        (FILE + f"{'x.' * 5000}y = 1\n", "5:1: a key with too many parts"),
        (FILE + "# a comment\n" * 100_000, "1:1: the file is too big; it may have at most 1 MB"),
        ("# a comment \r[slack]\n" + FILE, "1:13: this invisible character (U+000D)"),
        (FILE + 'x = "a\\ud83d"\n', "5:7: this escape is no character"),
    ],
    ids=["deep", "digits", "parts", "big", "carriage-return", "half"],
)
def test_a_file_that_no_library_reads_is_an_error_with_a_place(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(text.encode())
    (found,) = problems(path, {})
    assert found.startswith(f"{path}:{said}")


def test_a_library_that_raises_anything_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.rules.syntax.toml.tomllib.loads", lambda _: {}[0])
    path = written(tmp_path, FILE)
    (found,) = problems(path, {})
    assert found.startswith(f"{path}:1:1: this TOML can't be read: internal error: KeyError at ")


def test_a_long_file_with_an_error_at_its_end_is_read_soon(tmp_path: Path) -> None:
    path = written(tmp_path, "# a comment\n" * 80_000 + FILE + "regoin = 1\n")
    began = time.process_time()
    (found,) = problems(path, {})
    assert found.startswith(f"{path}:80005:1: mouseflow.regoin: unknown key; did you mean region?")
    assert time.process_time() - began < 5


SECRET = "7f3c9a1be2d84650a9c1f0e7b6d5c4a3"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FILE + f'"{SECRET}" = "api_key"\n', "5:1: mouseflow.7f3c…: unknown key"),
        (f'"{SECRET}" = "api_key"\n' + FILE, "1:1: 7f3c…: unknown section"),
        (f"[{SECRET}]\nx = 1\n" + FILE, "1:2: 7f3c…: unknown section"),
        (FILE + f'"{SECRET}" = api_key\n', '5:38: text needs quotes: "7f3c…" = "…"'),
        (FILE + f"{SECRET}: api_key\n", "5:33: TOML uses = instead of a colon: 7f3c… = …"),
        (FILE + "requests_pr_second = 1\n", "5:1: mouseflow.requests_pr_second: unknown key; did"),
    ],
)
def test_a_secret_in_the_place_of_a_key_is_not_shown(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    (found,) = problems(path, {})
    assert found.startswith(f"{path}:{said}")
    assert SECRET not in found


def test_what_is_not_utf_8_in_the_environment_is_named() -> None:
    environ = ENOUGH | {
        "BOT_SLACK__CHANNEL": "#\udcff",
        "BOT_\udcfe": "x",
        "HOME": "/\udcff",
    }
    assert problems(None, environ) == [
        "BOT_SLACK__CHANNEL: not UTF-8 text; set it again",
        "BOT_\\xfe: not UTF-8 text; set it again",
    ]


def test_a_configuration_whose_name_is_not_utf_8_can_be_talked_about(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.toml"))
    assert problems(path, {})[0].startswith(f"{tmp_path}/\\xff.toml: no such file")
    path.write_text(FILE + "x = 1\n")
    assert problems(path, {}) == [f"{tmp_path}/\\xff.toml:5:1: mouseflow.x: unknown key"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("api_key = 12345", "mouseflow.api_key: write a text in quotes"),
        ("api_key = true", "mouseflow.api_key: write a text in quotes"),
        ('api_key = " "', "mouseflow.api_key: missing; write it here or set"),
        ("requests_per_second = nan", "must be a number above 0 and at most 100"),
        ("requests_per_second = inf", "must be a number above 0 and at most 100"),
        ("requests_per_second = -1", "must be a number above 0 and at most 100"),
    ],
)
def test_the_words_fit_the_wrong_value(tmp_path: Path, line: str, said: str) -> None:
    file = FILE.replace('api_key = "from-the-file"\n', "") if "api_key" in line else FILE
    path = written(tmp_path, file + line + "\n")
    (found,) = problems(path, {})
    assert said in found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")
def test_secrets_that_may_not_be_read_are_named_with_the_reason() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        secret = folder / "bot_slack__bot_token"
        secret.write_text("xoxb-1")
        secret.chmod(0o600)
        os.seteuid(65534)
        try:
            (said,) = problems(None, ENOUGH, folder)
            assert said.startswith(f"{secret}: can't be read: Permission denied. ")
            assert "This process is user 65534: chmod the file, or run as its owner" in said
            os.seteuid(0)
            for mode in (0o700, 0o744):
                folder.chmod(mode)
                os.seteuid(65534)
                (found,) = problems(None, ENOUGH, folder)
                assert found.startswith(str(folder))
                assert ": can't be read: Permission denied" in found
                os.seteuid(0)
        finally:
            os.seteuid(0)


@pytest.mark.parametrize(("text", "hours"), [("0s", 0), ("24h", 24), ("2d", 48)])
def test_late_marks_can_be_turned_off(text, hours):
    found = load(None, {**ENOUGH, "BOT_POLL__MARKS": text})
    assert found.poll.marks == timedelta(hours=hours)


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "[::]:80", "10.0.0.5:8080", "bot.example:80"])
def test_an_address_that_other_machines_reach_needs_a_token(tmp_path: Path, listen: str) -> None:
    text = FILE + f'[web]\nlisten = "{listen}"\n'
    with pytest.raises(ConfigError) as told:
        load(written(tmp_path, text), {})
    assert "web.token: missing; other machines reach web.listen" in str(told.value)
    assert load(written(tmp_path, text), {"BOT_WEB__TOKEN": "abc"}).web.address is not None


@pytest.mark.parametrize(
    "url", ["bot.example", "https://bot.example/bot", "https://u:p@bot.example"]
)
def test_a_public_address_is_a_whole_one_without_a_path(url: str) -> None:
    with pytest.raises(ConfigError) as told:
        load(None, {**ENOUGH, "BOT_WEB__PUBLIC_URL": url})
    assert "BOT_WEB__PUBLIC_URL" in str(told.value)
    assert url not in str(told.value) or "@" not in url
