"""What Slack refuses in a message's blocks and metadata (docs.slack.dev, block kit reference)."""

import json
from typing import Any

# Longest text by block or element, in characters.
HEADER, SECTION, FIELD, BUTTON, URL, VALUE, ALT = 150, 3000, 2000, 75, 3000, 2000, 2000
BLOCKS, FIELDS, ACTIONS, CONTEXT, ID = 50, 10, 25, 10, 255
METADATA = 16_000  # bytes of JSON


def blocks_problem(blocks: Any) -> str:
    """Why Slack would answer `invalid_blocks`, or an empty text."""
    if not isinstance(blocks, list):
        return "blocks must be a list"
    if len(blocks) > BLOCKS:
        return f"no more than {BLOCKS} items allowed"
    seen: set[str] = set()
    for n, block in enumerate(blocks):
        problem = _block_problem(block)
        if problem:
            return f"{problem} [json-pointer:/blocks/{n}]"
        name = block.get("block_id")
        if name is not None and (name in seen or len(str(name)) > ID):
            return f"invalid block_id [json-pointer:/blocks/{n}]"
        seen.add(name or "")
        seen.discard("")
    return ""


def metadata_problem(metadata: Any) -> str:
    """The error Slack would answer for message metadata, or an empty text."""
    if metadata is None:
        return ""
    if not isinstance(metadata, dict) or not isinstance(metadata.get("event_type"), str):
        return "invalid_metadata_format"
    if not metadata["event_type"] or not isinstance(metadata.get("event_payload"), dict):
        return "invalid_metadata_format"
    return "metadata_too_large" if len(json.dumps(metadata)) > METADATA else ""


def _block_problem(block: Any) -> str:
    if not isinstance(block, dict):
        return "must be an object"
    kind = block.get("type")
    if kind == "header":
        return _text_problem(block.get("text"), HEADER, plain=True)
    if kind == "section":
        return _section_problem(block)
    if kind == "context":
        return _elements_problem(block, CONTEXT, _context_problem)
    if kind == "actions":
        return _elements_problem(block, ACTIONS, _button_problem)
    if kind in ("divider", "rich_text", "image", "markdown"):
        return ""
    return f"unsupported type: {kind}"


def _section_problem(block: dict[str, Any]) -> str:
    fields = block.get("fields", [])
    if "text" not in block and not fields:
        return "missing required field: text"
    if not isinstance(fields, list) or len(fields) > FIELDS:
        return f"no more than {FIELDS} fields allowed"
    problems = [_text_problem(field, FIELD) for field in fields]
    if "text" in block:
        problems.append(_text_problem(block["text"], SECTION))
    if "accessory" in block:
        problems.append(_button_problem(block["accessory"]))
    return next(filter(None, problems), "")


def _elements_problem(block: dict[str, Any], most: int, problem: Any) -> str:
    elements = block.get("elements")
    if not isinstance(elements, list) or not 0 < len(elements) <= most:
        return f"between 1 and {most} elements allowed"
    return next(filter(None, map(problem, elements)), "")


def _context_problem(element: Any) -> str:
    if isinstance(element, dict) and element.get("type") == "image":
        return "" if len(str(element.get("alt_text", ""))) <= ALT else "alt_text is too long"
    return _text_problem(element, SECTION)


def _button_problem(element: Any) -> str:
    if not isinstance(element, dict) or "type" not in element:
        return "missing required field: type"
    if element["type"] != "button":
        return ""
    if len(str(element.get("url", ""))) > URL:
        return f"must be less than {URL + 1} characters: url"
    if len(str(element.get("value", ""))) > VALUE:
        return f"must be less than {VALUE + 1} characters: value"
    return _text_problem(element.get("text"), BUTTON, plain=True)


def _text_problem(text: Any, most: int, *, plain: bool = False) -> str:
    allowed = ("plain_text",) if plain else ("plain_text", "mrkdwn")
    if not isinstance(text, dict) or text.get("type") not in allowed:
        return f"text must be an object of type {' or '.join(allowed)}"
    content = text.get("text")
    if not isinstance(content, str) or not content:
        return "must be more than 0 characters: text"
    return f"must be less than {most + 1} characters: text" if len(content) > most else ""
