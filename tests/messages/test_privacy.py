"""Personal data leaves the bot only where a rule's own text names it."""

import pytest
from msgspec.structs import replace

from bot.actions.slack import Slack
from bot.actions.webhook import body
from bot.fields.catalogue import fields, sample
from bot.messages.template_check import SAMPLES
from bot.ports import Addresses
from bot.rules import model as c
from bot.rules.explain import why
from bot.rules.operators.texts import NoneOf, OneOf, Pattern
from bot.rules.operators.yes_no import Exists

PERSONAL = [field for field in fields("recordings") if field.personal]
SECRET = "https://secret.example/of-a-visitor"
every_personal_field = pytest.mark.parametrize("field", PERSONAL, ids=lambda field: field.name)


def subject_with_secret(field):
    keyed = field.type == "variables"
    return field.give(sample("recordings"), (("plan", SECRET),) if keyed else SECRET)


def conditions_on(field):
    """Conditions on the field that the secret meets."""
    key = "plan" if field.type == "variables" else None
    others = OneOf((f"{SECRET}-not",))
    for wants in (OneOf((SECRET,)), Pattern("secret"), NoneOf(others.values), Exists()):
        yield c.Test(field.name, wants, key)
    yield c.Not(c.Test(field.name, others, key))


def rule_with(condition):
    return c.Rule(id="r", watch="recordings", when=condition, do=())


def test_isp_and_user_agent_are_personal_like_every_trace_of_a_visitor():
    assert {field.name for field in PERSONAL} == {
        "entry_url", "ip", "isp", "referrer", "search", "user_agent", "variables", "visitor_id",
        "visitor_name",
    }  # fmt: skip


@every_personal_field
def test_a_reason_says_that_a_personal_field_matches_but_never_its_value(field):
    for condition in conditions_on(field):
        (reason,) = why(rule_with(condition), subject_with_secret(field))
        assert reason.endswith("as the rule asks")
        assert "secret" not in reason


@every_personal_field
def test_slack_and_webhooks_show_a_personal_value_only_where_the_text_names_it(field):
    subject = subject_with_secret(field)
    for condition in conditions_on(field):
        reasons = why(rule_with(condition), subject)
        task = replace(SAMPLES["recordings"], subject=subject, why=reasons)
        for text in (None, "{{ why | join }}"):
            post = Slack(channel="#a", text=text).message(task, Addresses())
            assert "secret" not in str(post)
        assert b"secret" not in body(task, Addresses())
    if not field.in_texts:
        return
    part = "['plan']" if field.type == "variables" else ""
    named = Slack(channel="#a", text=f"{{{{ {field.text_name}{part} }}}}")
    assert "secret.example" in str(named.message(task, Addresses()))
