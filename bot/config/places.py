"""Finds the line and column of a key in a TOML text."""

import tomllib
from typing import Any


def locate(text: str, path: tuple[str, ...]) -> tuple[int, int]:
    """Line and column, from 1, of that key in a TOML text that parses; of its table if absent.

    tomllib keeps no positions, so growing prefixes are parsed until one has the key.
    """
    while path and not _has(tomllib.loads(text), path):
        path = path[:-1]
    if not path:
        return 1, 1
    lines = text.splitlines(keepends=True)
    begin = 0
    for end in range(1, len(lines) + 1):
        try:
            parsed = tomllib.loads("".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue
        if _has(parsed, path):
            return _within(lines, begin, end, path[-1])
        begin = end
    return 1, 1


def _within(lines: list[str], begin: int, end: int, key: str) -> tuple[int, int]:
    for number in range(begin, end):
        column = lines[number].find(key)
        if column >= 0:
            return number + 1, column + 1
    return end, 1


def _has(data: Any, path: tuple[str, ...]) -> bool:
    for part in path:
        if not isinstance(data, dict) or part not in data:
            return False
        data = data[part]
    return True
