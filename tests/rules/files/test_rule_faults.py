"""Bad rule files: every fault is found, at its place, in words that say what to mend."""

import re

import pytest
from broken_files import cases, expected, said

JARGON = re.compile(
    r"valid under|validator|pydantic|Input should|\bstr\b|\bint\b|\bdict\b|NoneType|Errno|type=",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", cases(), ids=lambda path: path.name)
def test_each_bad_file_is_told_exactly_what_is_wrong(path):
    assert said(path) == expected()[path.name]


@pytest.mark.parametrize("path", cases(), ids=lambda path: path.name)
def test_each_line_names_file_line_and_column_and_has_no_jargon(path):
    lines = said(path).splitlines()
    assert lines, "a bad file about which nothing is said"
    for line in lines:
        assert re.match(rf"{re.escape(path.name)}:[1-9]\d*:[1-9]\d*: \S", line)
        assert not JARGON.search(line.split(": ", 1)[1])


def test_there_are_bad_files_enough_in_both_formats():
    assert len(cases()) >= 60
    assert sum(path.suffix == ".toml" for path in cases()) >= 20
