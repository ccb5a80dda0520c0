"""The layout of YAML rule files: indentation and spaces made alike, every comment kept.

ruamel's round trip writes the whole file again. Its text is used only if it has the same values,
written in the same way, and the same comments; else the file stays as it is.
"""

import re
from collections import Counter
from io import StringIO

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bot.rules.syntax.nodes import Items, Keys, Node, Unreadable
from bot.rules.syntax.yaml import parse

WIDE = 100_000
"""Lines are never wrapped: where an author breaks a line is the author's choice."""

_COMMENT = re.compile(r"(?m)(?:^|(?<=\s))#.*$")
_BLANK_LINES = re.compile(r"\n{4,}")


class NotKept(Exception):
    """The new layout would lose or change something; what."""


def formatted(text: str) -> str:
    """The text in the common layout; raises Unreadable for what is no YAML, and NotKept."""
    before = parse(text, [])
    after = _BLANK_LINES.sub("\n\n\n", _written(text))
    try:
        same = _plain(before) == _plain(parse(after, []))
    except Unreadable as error:
        raise NotKept(f"line {error.line} could not be read back") from error
    if not same:
        raise NotKept("a value would change")
    if _comments(text) != _comments(after):
        raise NotKept("a comment would be lost or changed")
    return after


def _written(text: str) -> str:
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = WIDE
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = StringIO()
    try:
        yaml.dump(yaml.load(text), out)
    except (YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise NotKept(f"it can't be written: {type(error).__name__}") from error
    lines = (line.rstrip() for line in out.getvalue().splitlines())
    return "\n".join(lines).rstrip("\n") + "\n"


def _comments(text: str) -> Counter[str]:
    """The comments, and whatever in a text looks like one, without the spaces around them."""
    return Counter(found.strip() for found in _COMMENT.findall(text))


def _plain(node: Node) -> object:
    """The values as they are written, with the order of keys, without their places."""
    if isinstance(node, Items):
        return [_plain(item) for item in node.items]
    if isinstance(node, Keys):
        return [(entry.key, _plain(entry.node)) for entry in node]
    return node.value, node.source.strip(), node.quoted
