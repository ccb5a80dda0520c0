"""Each value of the API's answers is a field of rules, or the docs say why it is none."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct
from msgspec.structs import fields as attributes

from bot.domain.subjects import Site
from bot.fields.catalogue import SUBJECTS, field
from bot.reports.sources import read_website
from bot.rules.evaluate import rule_answer
from bot.rules.explain import why
from bot.rules.files.load import read
from mouseflow.models import (
    Campaign,
    Form,
    FormField,
    Funnel,
    FunnelStep,
    HeatmapPage,
    PageView,
    Recording,
    Report,
    WebsiteDetail,
)

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "rules.md"


@dataclass(frozen=True)
class Answer:
    """A row of the API: what of it each field reads, where their names differ."""

    model: type[Struct]
    kind: str
    item: str = ""
    named: str = ""

    @property
    def reads(self) -> dict[str, str]:
        return dict(pair.split(":") for pair in self.named.split())


ANSWERS = {
    "recording": Answer(
        Recording,
        "recordings",
        named="created:started screen_res:screen entry:entry_url token:shared language:lang "
        "page_views:page friction_score:friction",
    ),
    "page view": Answer(
        PageView,
        "recordings",
        item="page",
        named="website_page:path uri:query visit_time:time engagement_time:engagement",
    ),
    "campaign": Answer(
        Campaign,
        "feedback",
        named="campaign_id:campaign name:campaign trigger_type:trigger is_locked:locked "
        "report:responses",
    ),
    "campaign report": Answer(Report, "feedback"),
    "funnel": Answer(Funnel, "funnels", named="funnel_id:funnel name:funnel steps:step"),
    "funnel step": Answer(FunnelStep, "funnels", item="step"),
    "form": Answer(Form, "forms", named="form_id:form alias:form target:form fields:field"),
    "form field": Answer(
        FormField,
        "forms",
        item="field",
        named="alias:name target:name duration:time start_time:start",
    ),
    "page": Answer(HeatmapPage, "pages", named="display_url:path token:shared"),
    "website": Answer(WebsiteDetail, "websites", named="id:website name:website"),
}


def left_out() -> dict[tuple[str, str], str]:
    """Why each value is no field, by answer and value, from the table of the docs."""
    text = DOCS.read_text().split("### What no rule can name", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| ([a-z ]+) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    return {
        (of, name): why for of, names, why in rows for name in re.findall(r"`([a-z_]+)`", names)
    }


@pytest.mark.parametrize("of", ANSWERS)
def test_every_value_is_a_field_or_left_out_for_a_reason(of):
    answer, reasons = ANSWERS[of], left_out()
    declared = SUBJECTS[answer.kind].fields
    if answer.item:
        declared = next(it for it in declared if it.name == answer.item).parts
    known = {it.name for it in declared}
    assert set(answer.reads.values()) <= known
    for each in attributes(answer.model):
        if each.name == "bad_values":
            continue  # of the client: what it could not read
        is_field = answer.reads.get(each.name, each.name) in known
        assert is_field is not bool(reasons.get((of, each.name))), f"{of}: {each.name}"


def test_what_is_left_out_is_a_value_of_the_api():
    for of, name in left_out():
        assert name in {each.name for each in attributes(ANSWERS[of].model)}, f"{of}: {name}"


# The API document, L273-303.
WEBSITE = b"""{"id": "8fc2ace2", "name": "myshop.com", "created": "2013-08-18T19:37:07",
"status": "Recording", "readOnly": true, "domains": ["myshop.com", "checkout.myshop.com"],
"recordingRate": 100, "anonymizeIps": false, "disableKeystrokes": false,
"excludedIps": ["56.78.45.23", "120.340.210.*"], "mergeUrls": ["/search/*"], "isDemo": false}"""


def website(**changes):
    detail = msgspec.structs.replace(msgspec.json.decode(WEBSITE, type=WebsiteDetail), **changes)
    site = Site("8fc2ace2", "myshop.com", read_only=True)
    return read_website(site, detail, None, None, datetime(2026, 3, 10, 9, tzinfo=UTC))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("anonymize_ips", False),
        ("disable_keystrokes", False),
        ("read_only", True),
        ("is_demo", False),
        ("excluded_ips", ("56.78.45.23", "120.340.210.*")),
        ("merge_urls", ("/search/*",)),
        ("domains", ("myshop.com", "checkout.myshop.com")),
    ],
)
def test_a_websites_settings_are_read(name, value):
    assert field("websites", name).get(website()) == value


def test_a_rule_can_ask_whether_addresses_are_still_masked():
    text = """version: 1
rules:
  unmasked: {watch: websites, when: {anonymize_ips: false}, do: {slack: {}}}
"""
    (rule,) = read([("rules.yaml", text.encode())]).rules
    assert rule_answer(rule, website())
    assert not rule_answer(rule, website(anonymize_ips=True))
    assert not rule_answer(rule, website(anonymize_ips=None))
    assert why(rule, website()) == ("IP addresses are not masked",)
