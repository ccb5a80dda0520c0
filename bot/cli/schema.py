"""Print the JSON Schema of rule files; editors use it to complete and check them."""

import json
from argparse import ArgumentParser, Namespace

EXAMPLE = "mouseflow-bot schema > rules/rules.schema.json"


def options(parser: ArgumentParser) -> None:
    """Add nothing: the command has no options."""


def run(args: Namespace) -> int:
    """Print it."""
    from bot.rules.files.schema import json_schema

    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    return 0
