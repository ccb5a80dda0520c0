"""A rule's severity decides icon and channel; its runbook is one click away."""

import json

import pytest
from posting_world import posting, visit

from bot.actions.webhook import body
from bot.config.load import load
from bot.config.settings import allowed, channels
from bot.errors import ConfigError, RuleErrors
from bot.messages.template_check import SAMPLES
from bot.ports import Addresses
from bot.rules.files.actions import Allowed
from bot.rules.files.load import read

RULE = """
pay:
  summary: Error on the payment page
  severity: critical
  runbook: https://wiki.example/pay?a=1&b=2
  watch: recordings
  when: {tags: js-error}
  do: {slack: {}}
"""
ENOUGH = {
    "BOT_MOUSEFLOW__REGION": "eu",
    "BOT_MOUSEFLOW__EMAIL": "ops@example.com",
    "BOT_MOUSEFLOW__API_KEY": "key",
    "BOT_SLACK__BOT_TOKEN": "xoxb-1",
}
INCIDENTS = Allowed(channel=False, channels=(("critical", "#incidents"),))


def loaded(text, may=INCIDENTS):
    body = "".join(f"  {line}\n" for line in text.strip().splitlines())
    return read([("r.yaml", f"version: 1\nrules:\n{body}".encode())], allowed=may).rules


async def test_a_critical_rule_has_its_icon_and_its_runbook_in_the_message():
    async with posting(RULE) as world:
        world.match(visit("r1", "/PAY"))
        await world.deliver()
        [post] = world.posts()
    assert post.text.startswith("🛑 Error on the payment page · myshop.com")
    assert post.blocks[0]["text"]["text"].startswith("🛑 *<")
    assert post.blocks[-1]["elements"][0]["text"].endswith(
        " · Rule pay · <https://wiki.example/pay?a=1&amp;b=2|Runbook>"
    )


@pytest.mark.parametrize(("severity", "icon"), [("info", "🔵"), ("warning", "🔶")])
async def test_each_severity_has_its_icon(severity, icon):
    async with posting(RULE.replace("critical", severity)) as world:
        world.match(visit("r1", "/PAY"))
        await world.deliver()
        assert world.posts()[0].text.startswith(icon)


async def test_the_more_severe_of_two_rules_leads_the_message():
    two = RULE.replace("pay:", "low:").replace("critical", "info").replace("Error", "News") + RULE
    async with posting(two) as world:
        world.match(visit("r1", "/PAY"))
        await world.deliver()
        [post] = world.posts()
    assert post.text.startswith("🛑 Error on the payment page")
    assert "🔵 Also *News on the payment page*" in str(post.blocks)


async def test_a_digest_keeps_the_severity():
    async with posting(RULE.replace("{slack: {}}", "{slack: {at_most: 1 per hour}}")) as world:
        world.match(visit("r1", "/PAY"), visit("r2", "/PAY"))
        await world.deliver()
        world.wait(hours=1)
        await world.deliver()
    digest = world.posts()[1]
    assert digest.text.startswith("🛑 1 more")
    assert digest.blocks[-1]["elements"][0]["text"].endswith("|Runbook>")


async def test_an_own_text_may_link_the_runbook():
    text = '{text: "<{{ runbook }}|What to do> {{ severity }}"}'
    async with posting(RULE.replace("{slack: {}}", f"{{slack: {text}}}")) as world:
        world.match(visit("r1", "/PAY"))
        await world.deliver()
        [post] = world.posts()
    assert post.text == "<https://wiki.example/pay?a=1&amp;b=2|What to do> critical"


def test_rules_of_a_severity_post_where_the_configuration_says():
    here = RULE.replace("slack: {}", 'slack: [{}, {channel: "#pay"}]')
    [rule] = loaded(here)
    assert [action.channel for action in rule.do] == ["#incidents", "#pay"]
    with pytest.raises(RuleErrors, match="set a channel here"):
        loaded(RULE.replace("critical", "info"))


def test_the_configuration_names_channels_in_the_file_or_in_a_variable(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('[slack.channels]\ncritical = "#incidents"\ninfo = "#ux"\n')
    variable = ENOUGH | {"BOT_SLACK__CHANNELS": "critical=#incidents, info=#ux"}
    settings = load(None, variable)
    assert load(file, ENOUGH).slack.channels == settings.slack.channels
    [rule] = loaded(RULE, allowed(settings))
    assert channels(settings, [rule]) == ["#incidents"]


@pytest.mark.parametrize("wrong", ["#incidents", "urgent=#x", "critical=", "critical=#a b"])
def test_channels_of_anything_else_are_an_error(wrong):
    with pytest.raises(ConfigError, match=r"slack.channels: write a"):
        load(None, ENOUGH | {"BOT_SLACK__CHANNELS": wrong})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("severity: urgent", "severity must be one of info, warning or critical"),
        ("severity: criticall", "did you mean critical?"),
        ("runbook: wiki", "write an address that begins with https://"),
        ("runbook: 'https://x.example/<!channel>'", "write an address that begins with https://"),
    ],
)
def test_a_wrong_severity_or_runbook_is_an_error(line, said):
    wrong = RULE.replace("  severity: critical\n", "").replace(
        "  runbook", f"  {line}\n  runbook", 1
    )
    if line.startswith("runbook"):
        wrong = wrong.replace("  runbook: https://wiki.example/pay?a=1&b=2\n", "")
    with pytest.raises(RuleErrors, match=said.replace("?", r"\?")):
        loaded(wrong)


def test_a_webhook_gets_both():
    sent = json.loads(body(SAMPLES["recordings"], Addresses()))
    assert (sent["severity"], sent["runbook"]) == ("warning", None)
