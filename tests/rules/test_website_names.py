"""Website names in rules and budgets: `*` is the only wildcard."""

import pytest

from bot.budgets.members import covered
from bot.domain.subjects import Site
from bot.rules.files.load import read
from bot.rules.model import applies

SHOPS = [
    Site(id="1", name="Shop [EU]"),
    Site(id="2", name="Shop E"),
    Site(id="3", name="Shop ?EU?"),
]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ("Shop [EU]", ["Shop [EU]"]),
        ("shop [eu]", ["Shop [EU]"]),
        ("Shop ?EU?", ["Shop ?EU?"]),
        ("Shop ?", []),
        ("Shop [*", ["Shop [EU]"]),
        ("*E*", ["Shop [EU]", "Shop E", "Shop ?EU?"]),
        ("2", ["Shop E"]),
        ("Shop", []),
    ],
)
def test_a_star_is_the_only_wildcard_of_website_names(wanted, names):
    text = f"""version: 1
rules:
  one:
    {{watch: recordings, websites: ["{wanted}"], when: {{pages: {{min: 1}}}}, do: {{star: true}}}}
budgets:
  all:
    {{websites: ["{wanted}"], recordings: 9, period: day, steps: {{80%: {{recording: stop}}}}}}
"""
    found = read([("rules.yaml", text.encode())])
    assert [site.name for site in SHOPS if applies(found.rules[0], site)] == names
    assert [site.name for site in covered(found.budgets[0], SHOPS)] == names
