"""What docs/reference/api-client.md shows is what happens."""

import inspect
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from pathlib import Path

import pytest

from mouseflow import Mouseflow, SessionFilters, errors, recordings
from mouseflow.client import AsyncMouseflow
from mouseflow.simulator.scenarios import MYSHOP
from mouseflow.simulator.server import Simulator

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "api-client.md").read_text(encoding="utf-8")
SCRIPT = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]


def test_the_script_is_short_and_prints_the_friction_band_of_yesterdays_recordings(tmp_path):
    assert len([line for line in SCRIPT.splitlines() if line.strip()]) <= 10
    script = tmp_path / "bands.py"
    script.write_text(SCRIPT, encoding="utf-8")
    moment = datetime.now(UTC)
    with Simulator(seed=1, now=lambda: moment) as sim:  # stands still: nothing is live
        sim.behave(row_cap=200)
        settings = {"BASE_URL": sim.mouseflow_url, "EMAIL": sim.email, "API_KEY": sim.api_key}
        settings = {f"MOUSEFLOW_{name}": value for name, value in settings.items()}
        run = subprocess.run(
            [sys.executable, script, "myshop.com"],
            env=settings | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"},
            capture_output=True,
            text=True,
            check=False,
        )
        counts = _counts(sim, date.today())  # noqa: DTZ011 - as the script does
    assert run.stderr == ""
    printed = [line.split(" ", 1) for line in run.stdout.splitlines()]
    bands = Counter(band for _recording, band in printed)
    assert len({recording for recording, _band in printed}) == counts[None] > 0
    reached = 0
    for threshold in ("5.0", "2.5", "1.0", "0.5"):
        reached += bands[threshold]
        assert reached == counts[float(threshold)]
    assert bands["under 0.5"] == counts[None] - reached
    assert reached > 0


def _counts(sim, today):
    days = {"fromdate": today - timedelta(days=1), "todate": today}
    with Mouseflow(sim.mouseflow_url, sim.email, sim.api_key) as api:
        return {
            threshold: api.send(
                recordings.list(MYSHOP, SessionFilters(frictionmin=threshold, **days), limit=1)
            ).count
            for threshold in (None, 0.5, 1.0, 2.5, 5.0)
        }


@pytest.mark.parametrize(
    "module", ["websites", "recordings", "heatmaps", "funnels", "forms", "feedback"]
)
def test_every_function_of_a_resource_is_in_the_table(module):
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{module}` |")]
    code = import_module(f"mouseflow.{module}")
    own = {
        name
        for name, item in inspect.getmembers(code, inspect.isfunction)
        if item.__module__ == code.__name__ and not name.startswith("_")
    }
    assert set(re.findall(r"`(\w+)`", line)) - {module} == own


def test_every_option_and_its_default_is_in_the_table():
    signature = inspect.signature(AsyncMouseflow)
    ports = {"clock", "monotonic", "sleep", "random"}
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and name not in ports:
            (line,) = [line for line in PAGE.splitlines() if f"`{name}`" in line and "|" in line]
            default = {None: "none", "": chr(34) * 2}.get(
                parameter.default
            ) or f"{parameter.default:g}"
            assert default in line.split("|")[2]


def test_every_error_is_in_the_table():
    table = PAGE.split("## Errors")[1]
    for name, item in inspect.getmembers(errors, inspect.isclass):
        if issubclass(item, errors.MouseflowError) and item is not errors.BadAnswer:
            assert f"`{name}`" in table
