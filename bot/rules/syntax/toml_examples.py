"""The examples in a message as TOML writes them: `{ min = 2.5 }` for `{min: 2.5}`.

Messages serve both formats; their examples are YAML, the shorter of the two.
"""

import re

from bot.rules.syntax.nodes import Items, Keys, Node, Unreadable
from bot.rules.syntax.yaml import parse

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_INSIDE = r"""(?:[^{}"']|"[^"]*"|'[^']*')*"""
_MAPPING = rf"\{{[\w%-]+: {_INSIDE}(?:\{{{_INSIDE}\}}{_INSIDE})*\}}"
_LIST = r"\[[^\[\]=]+\]"
_EXAMPLE = re.compile(
    rf"(?P<key>[a-z_]+): (?P<value>{_MAPPING}|{_LIST})"
    rf"|(?<!\{{)(?P<mapping>{_MAPPING})"
    rf"|(?<=such as )(?P<list>{_LIST})|(?<=write )(?P<written>{_LIST})|(?<=list: )(?P<of>{_LIST})"
    r"|(?:(?<=such as )|(?<=write )|(?<=add )|(?<=, or ))(?P<word>[a-z_]+): "
    r"(?P<text>no match|[\w/*.%'-]+)"
)
_PROSE = frozenset({"list", "words"})
"""Words before a colon in plain sentences."""


def in_toml(message: str) -> str:
    """The message with its examples in TOML."""
    return _EXAMPLE.sub(_translated, message).replace(", without dashes", ", not a list")


def _translated(found: re.Match[str]) -> str:
    parts = found.groupdict()
    key = parts["key"] or parts["word"]
    value = next(
        parts[name]
        for name in ("value", "mapping", "list", "written", "of", "text")
        if parts[name] is not None
    )
    try:
        written = _toml(parse(value))
    except Unreadable:
        return found[0]
    if key in _PROSE:
        return f"{key}: {written}"
    return f"{key} = {written}" if key else written


def _toml(node: Node) -> str:
    if isinstance(node, Items):
        return f"[{', '.join(map(_toml, node.items))}]"
    if isinstance(node, Keys):
        pairs = (f"{_key(entry.key)} = {_toml(entry.node)}" for entry in node)
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(node.value, bool):
        return str(node.value).lower()
    if isinstance(node.value, str):
        quote = "'" if '"' in node.value or "\\" in node.value else '"'
        return f"{quote}{node.value}{quote}"
    return node.source


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else f'"{name}"'
