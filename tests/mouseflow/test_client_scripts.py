"""The scripts and examples of the docs run, type-check and stay short."""

import ast
import re
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from reference_page import MODULES, PAGE, example, functions, lists, page

from mouseflow import (
    Mouseflow,
    PageFilters,
    SessionFilters,
    feedback,
    forms,
    funnels,
    heatmaps,
    recordings,
    websites,
)
from mouseflow.simulator.scenarios import MYSHOP, session
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.sessions import Visitor

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "how-to" / "scripts.md").read_text(encoding="utf-8")
SCRIPTS = dict(re.findall(r"## .*`(\w+\.py)`\n(?:.*\n)*?```python\n((?:.*\n)*?)```", TEXT))
ARGUMENTS = {
    "delete.py": ["myshop.com", "load-test", "--yes"],
    "tail.py": ["myshop.com", "1"],
    "visitor.py": ["myshop.com", "anna"],
    "audit.py": [],
}
PRINTED = {
    "export.py": r"\n\w{32},20\d\d-.*,(2\.5|5\.0)\r?\n",
    "funnel.py": r"20\d\d-\d\d-\d\d phone .* \d+ \d+",
    "responses.py": r"    20\d\d-\d\d-\d\d \d+",
    "delete.py": r"2 recordings have the tag load-test\n\.\.",
    "tail.py": r"20\d\d-",
    "pages.py": r"\d+ views .* % scrolled  /",
    "forms.py": r"\d+ left before",
    "visitor.py": r'"visitor_name": "anna".*"page_views": \[\{',
    "tags.py": r"\d+ \w+",
    "audit.py": r"records keystrokes|stores whole IP",
}


@pytest.fixture(scope="module")
def sim():
    # A minute ahead: what begins in it is new to a live tail.
    with Simulator(seed=1, now=lambda: datetime.now(UTC) + timedelta(minutes=1)) as running:
        yield running


@pytest.fixture
def api(sim):
    with Mouseflow(
        sim.mouseflow_url, sim.email, sim.api_key, requests_per_second=1000, burst=100
    ) as client:
        yield client


def test_there_are_ten_scripts_under_twenty_lines():
    assert len(SCRIPTS) == 10
    for name, text in SCRIPTS.items():
        assert len([line for line in text.splitlines() if line.strip()]) < 20, name


def test_the_scripts_are_clean_in_mypys_strict_mode(tmp_path):
    for name, text in SCRIPTS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--follow-imports=silent",
         "--config-file", "/dev/null", "--scripts-are-modules",
         *(str(tmp_path / name) for name in SCRIPTS)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"MYPYPATH": str(ROOT), "PATH": "/usr/bin"},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_prints_what_it_is_for(name, sim, api, monkeypatch, capsys):
    monkeypatch.setenv("MOUSEFLOW_BASE_URL", sim.mouseflow_url)
    monkeypatch.setenv("MOUSEFLOW_EMAIL", sim.email)
    monkeypatch.setenv("MOUSEFLOW_API_KEY", sim.api_key)
    monkeypatch.setattr(sys, "argv", [name, *ARGUMENTS.get(name, ["myshop.com"])])
    made = [sim.add("myshop.com", "checkout-friction", start=-20) for _ in range(2)]
    if name == "delete.py":
        for _ in api.send_all(recordings.tag(MYSHOP, each, "load-test") for each in made):
            pass
    if name == "visitor.py":
        sim.add("myshop.com", session([("/", 20)], visitor=Visitor(name="anna")), start=-900)
    fast = SCRIPTS[name].replace("from_env()", "from_env(requests_per_second=1000, burst=100)")
    exec(compile(fast, name, "exec"), {"__name__": "__main__"})
    assert re.search(PRINTED[name], capsys.readouterr().out, re.DOTALL), name


def test_the_reference_page_is_what_the_docstrings_say():
    assert page() == PAGE.read_text(encoding="utf-8"), "run `make generate`"


@pytest.mark.parametrize("item", [it for module in MODULES for it in functions(module)],
                         ids=lambda it: f"{it.__module__[10:]}.{it.__name__}")  # fmt: skip
def test_the_example_of_a_function_runs(item, sim, api):
    text = example(item)
    assert text, "every function has an example"
    names = world(sim, api)
    exec(compile(text, item.__name__, "exec"), names)
    name = f"{item.__module__[10:]}.{item.__name__}"
    assert name in {ast.unparse(node.func) for node in ast.walk(ast.parse(text))
                    if isinstance(node, ast.Call)}  # fmt: skip


@pytest.mark.parametrize(
    "item", [it for it in lists() if it.__name__ != "follow"], ids=lambda it: it.__name__
)
def test_the_example_of_a_list_runs(item, sim, api):
    text = example(item)
    assert text, "every list has an example"
    exec(compile(text, item.__name__, "exec"), world(sim, api))


def world(sim, api):
    """What the examples speak of, made anew for each."""
    recording = sim.add("myshop.com", "checkout-friction", start=-900)
    made = api.send(feedback.create(MYSHOP, {"name": "Survey", "steps": []}))
    read = made or api.send(feedback.list(MYSHOP))[-1]
    funnel = api.send(funnels.create(MYSHOP, "Two pages", [("Home", "/"), ("Cart", "/cart")]))
    form = api.send(forms.list(MYSHOP))[0]
    return {
        "api": api, "site": MYSHOP, "recording": recording, "page": "/cart", "funnel": funnel.id,
        "form": form.id, "form_page": form.url, "target": form.target, "campaign": read.campaign_id,
        "read": read, "settings": api.send(websites.detail(MYSHOP)), "msgspec": msgspec,
        "websites": websites, "recordings": recordings, "heatmaps": heatmaps, "funnels": funnels,
        "forms": forms, "feedback": feedback, "SessionFilters": SessionFilters,
        "PageFilters": PageFilters, "timedelta": timedelta, "date": date,
    }  # fmt: skip
