"""Each benchmark can be started, and its tables have a place in the docs."""

import importlib
import re
from pathlib import Path

import pytest

from bench import report
from bench.report import BENCHMARKS, PAGES, bars, compare

BENCH = Path(report.__file__).parent
SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in BENCH.glob("*.py")}
WRITTEN = sorted(
    {
        (name, page or "performance.md")
        for text in SOURCES.values()
        for name, page in re.findall(r'write\("([\w-]+)",[^\n]*?(?:"([\w-]+\.md)")?\)\n', text)
    }
)


@pytest.mark.parametrize("name", sorted({it.split()[0] for it in BENCHMARKS}))
def test_each_benchmark_that_make_bench_runs_can_be_started(name):
    assert callable(importlib.import_module(f"bench.{name}").main)


def test_make_bench_runs_every_benchmark_that_writes_a_table():
    writes = {name for name, text in SOURCES.items() if "write(" in text and "--write" in text}
    assert writes - {"report"} == {it.split()[0] for it in BENCHMARKS}


@pytest.mark.parametrize(("name", "page"), WRITTEN)
def test_each_table_has_its_place_in_the_docs(name, page):
    text = (PAGES / page).read_text(encoding="utf-8")
    assert (
        len(re.findall(rf"<!-- table: {name} -->\n.*?<!-- end of table -->", text, re.DOTALL)) == 1
    )


def test_the_table_of_that_name_is_replaced_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "PAGES", tmp_path)
    page = tmp_path / "page.md"
    empty = "<!-- table: a -->\n<!-- end of table -->\n"
    page.write_text(f"{empty}between\n{empty.replace(': a', ': b')}")
    report.write("b", "figures", "page.md")
    report.write("b", "better figures", "page.md")
    assert page.read_text() == (
        f"{empty}between\n<!-- table: b -->\nbetter figures\n<!-- end of table -->\n"
    )
    with pytest.raises(SystemExit, match="no place for the table c"):
        report.write("c", "figures", "page.md")


def test_only_a_ratio_that_is_clearly_worse_or_new_is_warned_of():
    before = {"calls": 2.0, "check": 1.0}
    assert compare({"calls": 1.6, "check": 3.0}, before) == []
    assert compare({"calls": 1.4, "check": 1.0, "start": 1.0}, before) == [
        "calls: 1.40, recorded 2.00",
        "start: 1.00, not recorded",
    ]


def test_bars_are_as_long_as_their_values():
    drawn = bars({"ours": 1.0, "theirs": 4.0}, "ms", width=8).splitlines()
    assert drawn == ["```text", "ours   ██       1 ms", "theirs ████████ 4 ms", "```"]
