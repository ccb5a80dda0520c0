"""What `check --online` says of credentials, websites, filters, scopes and channels."""

import json
import socket
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from bot.cli.main import main
from mouseflow.simulator.api_recordings import known_tags, known_variables
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website

RULES = """\
version: 1
rules:
  one:
    watch: recordings
    websites: [myshop.com]
    when: {friction: {min: 2}}
    do: {slack: {channel: "#ux"}}
  two:
    watch: recordings
    when: {pages: {min: 30}}
    do: {slack: {}}
"""


class Place:
    """A directory with a configuration for the simulated account."""

    def __init__(
        self, directory: Path, simulator: Simulator, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.directory, self.sim, self.capsys = directory, simulator, capsys
        (directory / "rules").mkdir()
        self.rules(RULES)
        self.config = (
            f'[mouseflow]\nbase_url = "{simulator.mouseflow_url}"\n'
            f'email = "{simulator.email}"\napi_key = "{simulator.api_key}"\n'
            f'requests_per_second = 50\ntime_zone = "{simulator.quirks.time_zone}"\n'
            f'[slack]\nbase_url = "{simulator.slack_url}"\n'
            f'bot_token = "{simulator.slack.token}"\nchannel = "#mouseflow"\n'
        )
        self.configure()

    def configure(self, *changes: tuple[str, str]) -> None:
        text = self.config
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (self.directory / "config.toml").write_text(text)

    def rules(self, text: str) -> None:
        (self.directory / "rules/rules.yaml").write_text(text)

    def check(self, code: int) -> list[str]:
        status = main(["check", "--online"])
        out, err = self.capsys.readouterr()
        assert (status, err) == (code, ""), out + err
        assert self.sim.api_key not in out
        assert self.sim.slack.token not in out
        lines = out.splitlines()
        self.checked = [line for line in lines if line.startswith("checked ")]
        return [line for line in lines if line not in self.checked]


@pytest.fixture
def place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    monkeypatch.chdir(tmp_path)
    sites = [website("w1", "myshop.com"), website("w2", "other.com")]
    with Simulator(sites=sites) as simulator:
        for name in ("ux", "mouseflow"):
            if simulator.slack.channel(f"#{name}") is None:
                simulator.slack.add_channel(name)
        yield Place(tmp_path, simulator, capsys)


def test_what_is_right_is_ok(place: Place) -> None:
    assert place.check(0) == ["ok: 2 rules in 1 file"]
    place.sim.add("myshop.com", "checkout-friction", start=-600)
    place.check(0)
    assert place.checked == [
        f"checked Mouseflow: {place.sim.mouseflow_url} as {place.sim.email}",
        "checked websites: myshop.com (Recording), other.com (Recording)",
        "checked clock: within a minute of Mouseflow's",
        "checked friction filter: works on myshop.com",
        "checked time zone: Europe/Copenhagen, as recordings of myshop.com show (+01:00)",
        "checked Slack: workspace Simulator as mouseflow-bot; scopes: "
        + ", ".join(sorted(place.sim.slack.scopes)),
        "checked channels: #mouseflow, #ux: the bot can post and look up posts",
        "checked buttons: none, since slack.app_token is not set",
    ]


@pytest.mark.parametrize(("off", "said"), [(2, "2 h ahead of"), (-2, "2 h behind")])
def test_a_wrong_clock_is_a_problem(
    place: Place, monkeypatch: pytest.MonkeyPatch, off: int, said: str
) -> None:
    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Wrong":
            return super().now(tz) + timedelta(hours=off)

    monkeypatch.setattr("bot.delivery.slack.datetime", Wrong)
    assert place.check(1)[0] == f"clock: this machine's is {said} Mouseflow's; set it, as by NTP"


def test_what_an_incoming_webhook_can_not_do_is_said(place: Place) -> None:
    token = f'bot_token = "{place.sim.slack.token}"\nchannel = "#mouseflow"\n'
    place.configure((token, f'webhook_url = "{place.sim.slack_url}/services/T/B/x"\n'))
    place.rules(RULES.replace('{channel: "#ux"}', "{}"))
    place.check(0)
    assert place.checked[-1] == (
        "checked Slack: an incoming webhook, which can't be tried without a post; buttons, edits "
        "and threads of alerts, and the search for lost posts need slack.bot_token"
    )


def test_what_was_checked_is_told_beside_what_is_wrong(place: Place) -> None:
    place.sim.slack.channels.pop("ux", None)
    place.rules(RULES.replace("#ux", "#nowhere"))
    (wrong,) = place.check(1)
    assert "#nowhere" in wrong
    assert place.checked[-2] == "checked channels: #mouseflow: the bot can post and look up posts"
    assert main(["check", "--online", "--json"]) == 1
    assert json.loads(place.capsys.readouterr().out)["checked"][0].startswith("Mouseflow: http")


def test_tags_and_variables_that_no_session_has_had_are_warned_about(place: Place) -> None:
    place.sim.add("myshop.com", "checkout-friction", start=-3600)
    site = place.sim.world.site("w1")
    good, key = known_tags(site)[0], known_variables(site)[0]
    place.rules(
        RULES.replace("{pages: {min: 30}}", f"{{tags: [{good}, {good}x, on-*, ours]}}")
        + f"""\
  three:
    watch: recordings
    websites: [myshop.com]
    when: {{variables: {{{key}: 1, {key}x: {{exists: true}}}}}}
    do: {{tag: ours}}
"""
    )
    location_of = "warning: rules/rules.yaml"
    assert [line for line in place.check(0) if line.startswith("warning")] == [
        f"{location_of}:8:3: rules.two: no session has had the tag {good}x so far; "
        f"did you mean {good}?",
        f"{location_of}:12:3: rules.three: no session has had the variable {key}x so far; "
        f"did you mean {key}?",
    ]


def test_a_tag_with_its_words_turned_is_the_one_that_was_meant(place: Place) -> None:
    place.sim.add("myshop.com", "checkout-friction", start=-3600)
    place.sim.add("myshop.com", "rage-on-product", start=-3600)
    place.rules(RULES.replace("{pages: {min: 30}}", "{tags: rage-click}"))
    own, online, _ = place.check(0)
    assert "Mouseflow's own tag is click-rage" in own + online
    assert "no session has had the tag rage-click so far; did you mean click-rage?" in own + online


def test_an_error_in_the_files_leaves_what_needs_no_rules_to_ask(place: Place) -> None:
    place.rules(RULES.replace("{pages: {min: 30}}", "{page: {min: 30}}"))
    place.configure((place.sim.slack.token, "xoxb-another"))
    wrong, token, note = place.check(1)
    assert "unknown part of page" in wrong
    assert token.startswith("slack.bot_token: ")
    assert note == (
        "warning: the rules have errors: their filters, names, websites and channels were not "
        "checked with Mouseflow and Slack; correct them and run this again"
    )
    assert place.checked[1] == ("checked websites: myshop.com (Recording), other.com (Recording)")


def test_refused_credentials_name_the_address_and_what_to_mend(place: Place) -> None:
    place.configure((place.sim.api_key, "another-key"))
    assert place.check(1) == [
        f"Mouseflow ({place.sim.mouseflow_url}) rejected the API key (401). "
        "Check mouseflow.email and mouseflow.api_key."
    ]


def test_an_address_where_nobody_answers_is_named(place: Place) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
        place.configure((place.sim.mouseflow_url, nobody))
        (said,) = place.check(1)
        assert said.startswith(f"Mouseflow ({nobody}) does not answer (GET /websites: ")
        assert "Check the address" in said
        for command in (["once"], ["plan"], ["replay", "--since", "1d"], ["explain", "one", "r1"]):
            assert main(command) == 1
            assert place.capsys.readouterr().err.splitlines()[-1] == said


def test_a_website_that_is_not_there_comes_with_the_one_that_was_meant(place: Place) -> None:
    place.rules(RULES.replace("myshop.com", "mysop.com"))
    assert place.check(1) == [
        "rules/rules.yaml:3:3: rules.one.websites: mysop.com: the account has no such website; "
        "did you mean myshop.com? It has myshop.com, other.com"
    ]


def test_a_channel_that_is_not_there_is_told_as_that(place: Place) -> None:
    place.rules(RULES.replace("#ux", "#mouseflo"))
    assert place.check(1) == [
        "Slack: there is no channel #mouseflo, or it is archived, or it is private and the bot is "
        "not in it; did you mean #mouseflow? (used by one)"
    ]


def test_a_token_that_is_wrong_is_said_once(place: Place) -> None:
    place.configure((place.sim.slack.token, "xoxb-another"))
    (said,) = place.check(1)
    assert said.startswith(
        "slack.bot_token: Slack rejected the request: invalid_auth (the token is wrong); "
    )
    assert "fix slack.bot_token" in said


def test_a_scope_without_which_nothing_is_posted_must_be_given(place: Place) -> None:
    place.sim.slack.scopes -= {"chat:write"}
    assert place.check(1) == [
        "Slack: the app lacks the scope chat:write and cannot post; add the scope and "
        "reinstall the app"
    ]


def test_a_token_for_buttons_that_is_wrong_is_a_problem(place: Place) -> None:
    right, wrong = 'app_token = "xapp-simulator-token"', 'app_token = "xapp-wrong"'
    place.configure(("[slack]\n", f"[slack]\n{right}\n"))
    assert place.check(0) == ["ok: 2 rules in 1 file"]
    place.configure(("[slack]\n", f"[slack]\n{wrong}\n"))
    (said,) = place.check(1)
    assert said.startswith("slack.app_token: Slack rejected the request: invalid_auth")
    assert "connections:write" in said
    place.configure(("[slack]\n", f"[slack]\n{wrong}\n"), (place.sim.slack.token, "xoxb-another"))
    assert [line.partition(":")[0] for line in place.check(1)] == [
        "slack.bot_token",
        "slack.app_token",
    ]


def test_where_the_bot_cannot_see_who_may_press_is_a_warning(place: Place) -> None:
    place.configure(("[slack]\n", '[slack]\napp_token = "xapp-simulator-token"\n'))
    place.sim.slack.scopes -= {"groups:read"}
    assert place.check(0)[0] == (
        "warning: Slack: the app lacks the scope groups:read: the bot can't see who is in a "
        "channel, so nobody there may press a button; add the scope, or set slack.users"
    )


def test_a_scope_without_which_posts_may_come_twice_is_a_warning(place: Place) -> None:
    place.sim.slack.scopes -= {"channels:history"}
    tail = (
        "the Slack app lacks the scope channels:history; until then a post may appear twice "
        "if its outcome is unknown (at-least-once)"
    )
    assert place.check(0) == [
        f"warning: Slack: #mouseflow: {tail} (used by slack.channel, two)",
        f"warning: Slack: #ux: {tail} (used by one)",
        "ok: 2 rules in 1 file",
    ]


def test_a_channel_without_the_bot_is_a_problem_unless_it_may_post_everywhere(
    place: Place,
) -> None:
    channel = place.sim.slack.channel("#ux")
    assert channel is not None
    channel.member = False
    said = "Slack: #ux: the bot is not in the channel; /invite it there"
    assert place.check(0)[0].startswith(f"warning: {said}")
    place.sim.slack.scopes -= {"chat:write.public"}
    assert place.check(1) == [f"{said} (used by one)"]


def test_a_filter_that_the_api_ignores_is_told(place: Place) -> None:
    place.sim.behave(ignored_filters=frozenset({"frictionmin"}))
    place.check(0)  # without recordings nothing is proved
    place.sim.add("myshop.com", "purchase", start=-3600)
    (said,) = place.check(1)
    assert said.startswith("Mouseflow: myshop.com: the API ignores the friction filter")


def test_a_wrong_time_zone_is_a_problem(place):
    place.sim.add("myshop.com", "checkout-friction", start=-60)
    place.configure(("Europe/Copenhagen", "Australia/Sydney"))
    [line] = [line for line in place.check(1) if "time_zone" in line]
    assert "Australia/Sydney is wrong" in line
    assert "+01:00" in line or "+02:00" in line


def test_another_zone_with_the_accounts_offset_is_no_problem(place):
    place.sim.add("myshop.com", "checkout-friction", start=-60)
    place.configure(("Europe/Copenhagen", "Europe/Berlin"))
    assert not [line for line in place.check(0) if "time_zone" in line]
