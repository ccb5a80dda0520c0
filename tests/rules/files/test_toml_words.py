"""In TOML files the examples of messages are TOML that could be written so."""

import re
import tomllib

import pytest
from broken_files import expected

from bot.rules.syntax.location import in_toml


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ("write a mapping such as {visitor: 1d}", 'write a mapping such as { visitor = "1d" }'),
        ("such as share: {expires: 7d}", 'such as share = { expires = "7d" }'),
        ("a list: [a, b]", 'a list: ["a", "b"]'),
        ("write [sat, sun]", 'write ["sat", "sun"]'),
        ("{matches: '^a\\d$'} is it", "{ matches = '^a\\d$' } is it"),
        ("steps such as {95%: {recording_rate: 25}}",
         'steps such as { "95%" = { recording_rate = 25 } }'),
        ("such as country: de, {exists: false}", 'such as country = "de", { exists = false }'),
        ("conditions such as a: {min: 2}, without dashes",
         "conditions such as a = { min = 2 }, not a list"),
    ],
)  # fmt: skip
def test_examples_are_translated(message, wanted):
    assert in_toml(message) == wanted


@pytest.mark.parametrize(
    "message",
    [
        "the key given is missing: the values to test the rule with",
        "delete needs allow_delete = true under [rules] in the configuration",
        "Slack is not configured; set bot_token or webhook_url under [slack]",
        "write {{ country }}",
        "for wants its {% endfor %}",
        "write each rule under its id, such as checkout-friction: {…}",
        'write a channel such as "#alerts", or its id such as C0123ABCD',
    ],
)
def test_all_else_stays(message):
    assert in_toml(message) == message


def test_no_message_about_a_toml_file_has_a_yaml_example():
    told = [line for name, text in expected().items() if name.endswith(".toml")
            for line in text.splitlines()]  # fmt: skip
    assert len(told) > 40
    assert not [line for line in told if re.search(r"(?<!\{)\{\w+:|: \{\w", line)]


def test_every_example_that_is_translated_is_toml():
    found = 0
    for line in "\n".join(expected().values()).splitlines():
        for example in re.findall(r"\b\w+ = \{ [^{}]* \}", in_toml(line)):
            tomllib.loads(example)
            found += 1
    assert found > 10
