"""Run the tests in rule files and show why a test fails.

With paths it runs those rule files instead of the configured ones and needs no configuration.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from bot.errors import ConfigError

EXAMPLE = "mouseflow-bot test\nmouseflow-bot test rules/checkout.yaml --junit report.xml"


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="rule files or folders")
    parser.add_argument(
        "--rule", action="append", default=[], metavar="ID", help="only this rule; may be repeated"
    )
    parser.add_argument(
        "--junit", type=Path, metavar="FILE", help="also write the results as JUnit XML"
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def run(args: Namespace) -> int:
    """Run them; 1 if one fails or there is none."""
    from dataclasses import asdict

    from bot.cli import context, output
    from bot.replay.select import rule_named
    from bot.rules import tests

    use_config = context.configured(args) and not args.paths
    settings = context.settings(args, offline=True) if use_config else None
    rules = context.rules(args, settings, offline=True)
    for rule in args.rule:
        rule_named(rules.rules, rule)
    results = tests.run(rules, only=args.rule)
    failed = [result for result in results if not result.passed]
    if args.junit:
        _write(args.junit, tests.junit(results))
    if args.json:
        output.document([{**asdict(result), "passed": result.passed} for result in results])
    else:
        for result in failed:
            for line in str(result).splitlines():
                output.line(line)
        tested = len({result.rule for result in results})
        output.line(
            f"{output.counted(len(results), 'test')} of {output.counted(tested, 'rule')}: "
            + (f"{len(failed)} failed" if failed else "all passed" if results else "no tests found")
        )
    return 1 if failed or not results else 0


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
