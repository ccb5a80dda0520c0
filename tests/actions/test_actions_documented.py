"""The documents say all that there is, and nothing that there is not."""

import json
import re
from pathlib import Path

import msgspec
import pytest
from action_world import World, again, unshared

from bot.actions import WRITTEN
from bot.actions.webhook import KEY, SIGNATURE, TIMESTAMP, Body, body
from bot.fields.catalogue import KINDS, text_fields
from bot.messages.template_check import SAMPLES, check_text
from bot.messages.template_variables import COMMON, LINKS
from bot.messages.templates import FILTERS, TESTS
from bot.ports import Addresses

DOCS = Path(__file__).parents[2] / "docs"
ACTIONS = (DOCS / "reference" / "actions.md").read_text()
MESSAGES = (DOCS / "reference" / "messages.md").read_text()


def section(text, title):
    return text.split(f"\n{title}\n", 1)[1].split("\n## ", 1)[0]


@pytest.mark.parametrize("spec", WRITTEN.values(), ids=lambda spec: spec.key)
def test_every_action_has_a_section_with_its_example(spec):
    assert spec.example in section(ACTIONS, f"## {spec.key}")


def test_no_section_is_about_an_action_that_is_not_there():
    assert re.findall(r"^## (.+)$", ACTIONS, re.MULTILINE) == list(WRITTEN)


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_is_documented_in_its_kinds_section_with_its_privacy(kind):
    part = re.split(r"\n##", MESSAGES.split(f"`watch: {kind}`", 1)[1])[0]
    for name, field in text_fields(kind).items():
        (row,) = re.findall(rf"^\| `{name}` \| .*", part.partition("Each item")[0], re.MULTILINE)
        assert row.endswith(" (personal) |") is field.personal
    for name, meaning in LINKS.get(kind, {}).items():
        assert f"| `{name}` | {meaning} |" in part


def test_the_example_of_a_text_is_a_good_one():
    text = re.search(r"text: \|\n((?: {6}.*\n)+)", MESSAGES)[1]
    assert check_text(re.sub(r"^ {6}", "", text, flags=re.MULTILINE), "recordings") == []


def test_every_common_name_filter_and_test_is_documented():
    for name, meaning in COMMON.items():
        assert f"| `{name}` | {meaning} |" in MESSAGES
    assert re.findall(r"^\| `(\w+)` \|", section(MESSAGES, "## Filters"), re.MULTILINE) == list(
        FILTERS
    )
    for name in TESTS:
        assert re.search(rf"`(is )?{name}\b", section(MESSAGES, "## Tests"))


def test_the_webhooks_example_is_what_is_really_sent():
    example = json.loads(ACTIONS.split("```json", 1)[1].split("```", 1)[0])
    addresses = Addresses(share_url="https://share.example.com/{token}")
    assert example == json.loads(body(SAMPLES["recordings"], addresses))


def test_every_key_and_header_of_a_webhook_is_documented():
    for name in Body.__struct_fields__:
        assert f"| `{name}` |" in ACTIONS
    for header in (KEY, TIMESTAMP, SIGNATURE):
        assert f"| `{header}` |" in ACTIONS
    assert msgspec.json.schema(Body)


async def test_the_action_of_the_guide_works_as_the_page_shows_it():
    page = (DOCS / "how-to" / "write-an-action.md").read_text()
    names = {"__name__": "bot.actions.handled"}
    exec(page.split("```python\n", 1)[1].split("```", 1)[0], names)
    spec = names["HANDLED"]
    assert spec.example in page
    assert spec.steps(False) == ()
    (action,) = spec.steps(True)
    world = World()
    await action.perform(unshared(), world.ports)
    await action.perform(again(unshared()), world.ports)
    assert world.account.recording["starred"]
    assert world.account.recording["watched"]
