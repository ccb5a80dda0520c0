"""What docs/reference/simulator.md shows works; it names every switch, fault and scenario."""

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from mouseflow.simulator.middleware import Kind
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.scenarios import SCENARIOS
from mouseflow.simulator.sessions import Visitor

PAGE = (
    Path(__file__)
    .parents[3]
    .joinpath("docs", "reference", "simulator.md")
    .read_text(encoding="utf-8")
)
EXAMPLES = re.findall(r"```python run\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_has_examples():
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs(example):
    exec(compile(example, "docs/reference/simulator.md", "exec"), {})


@pytest.mark.parametrize(
    "name",
    [
        *(field.name for field in fields(Quirks)),
        *(field.name for field in fields(Visitor)),
        *get_args(Kind),
        *SCENARIOS,
    ],
)
def test_the_page_names_it(name):
    assert f"`{name}`" in PAGE
