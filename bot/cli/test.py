"""Run the tests in rule files and show why a test fails.

With paths it runs those rule files instead of the configured ones and needs no configuration.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from bot.errors import ConfigError
from bot.messages.text import counted

if TYPE_CHECKING:
    from bot.rules.model import Sample

EXAMPLE = (
    "mouseflow-bot test\nmouseflow-bot test rules/checkout.yaml --junit report.xml\n"
    "mouseflow-bot test --quiet-on ordinary.yaml"
)


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="rule files or folders")
    parser.add_argument(
        "--rule", action="append", default=[], metavar="ID", help="only this rule; may be repeated"
    )
    parser.add_argument(
        "--junit", type=Path, metavar="FILE", help="also write the results as JUnit XML"
    )
    parser.add_argument(
        "--quiet-on", type=Path, metavar="FILE", help="also fail if a rule matches a sample in FILE"
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def run(args: Namespace) -> int:
    """Run them; 1 if one fails, a rule matches a sample, or there is nothing to run."""
    from dataclasses import asdict

    from bot.cli import context, output
    from bot.replay.select import rule_named
    from bot.rules import tests

    use_config = context.configured(args) and not args.paths
    rules = context.every_rule(args, context.meant(args, offline=True) if use_config else {})
    for rule in args.rule:
        rule_named(rules.written, rule, rules.elsewhere)
    results = tests.run(rules, only=args.rule)
    failed = [result for result in results if not result.passed]
    samples = _samples(args.quiet_on) if args.quiet_on else ()
    chosen = [rule for rule in rules.written if not args.rule or rule.id in args.rule]
    loud = tests.unwanted(chosen, samples)
    if args.junit:
        _write(args.junit, tests.junit(results))
    if args.json:
        tried = [{**asdict(result), "passed": result.passed} for result in results]
        output.document({"tests": tried, "unwanted": [asdict(each) for each in loud]})
    else:
        for result in failed:
            for line in str(result).splitlines():
                output.line(line)
        tested = len({result.rule for result in results})
        if results:
            outcome = f"{len(failed)} failed" if failed else "all passed"
            tried_rules = counted(tested, "rule")
            output.line(f"{counted(len(results), 'test')} of {tried_rules}: {outcome}")
        else:
            rule_count = counted(len(chosen), "rule")
            output.line(f"no tests found in {rule_count}; write them under tests:")
        for each in loud:
            output.line(
                f"{args.quiet_on}:{each.line}: {each.sample}: unwanted match of {each.rule}: "
                f"{'; '.join(each.why)}"
            )
        if args.quiet_on:
            said = f"{len(loud)} unwanted" if loud else "no match"
            output.line(f"{counted(len(samples), 'sample')}: {said}")
    return 1 if failed or loud or not (results or samples) else 0


def _samples(path: Path) -> "tuple[Sample, ...]":
    from bot.rules.files.disk import read_bytes, shown
    from bot.rules.files.load import read_samples

    try:
        return read_samples(shown(path), read_bytes(path))
    except OSError as error:
        raise ConfigError(f"{shown(path)}: can't be read: {error.strerror}") from None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
