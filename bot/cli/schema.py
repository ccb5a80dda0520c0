"""Prints the JSON Schema of rule files, with which editors complete and check while you write."""

import json
from argparse import ArgumentParser, Namespace

EXAMPLE = "mouseflow-bot schema > rules/rules.schema.json"


def options(parser: ArgumentParser) -> None:
    """The schema is always the same."""


def run(args: Namespace) -> int:
    """Print it."""
    from bot.rules.files.schema import json_schema

    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    return 0
