"""How long `check` takes to read and lint a big rule set.

    python -m bench.check [--rules 1000] [--files 50] [--write]

The median processor time of five runs. Half of the files are YAML, half TOML; each rule has
conditions, exceptions, four actions and two tests. The same rules are read once more with a slip
in each, which is what an author waits for. --write puts the figures into
docs/explanation/performance.md.
"""

import argparse
import platform
import re
import statistics
import time

from ruamel.yaml import YAML

from bench.report import met, write
from bot.errors import RuleErrors
from bot.rules.files.load import read

GOAL = 1.5

YAML_RULE = """\
  checkout-friction-{n}:
    summary: Frustrated visitors in the checkout, part {n}
    watch: recordings
    websites: [shop-{n}.example.com]
    when:
      friction: {{min: {friction}}}
      saw_page: /checkout/{n}*
      duration: {{over: {n}s}}
    except:
      tags: [internal, load-test]
    do:
      tag: [friction, "checkout-{n}"]
      star: true
      share: {{expires: 7d}}
      slack: {{channel: "#checkout-alerts", at_most: 10 per hour}}
    once_per: {{visitor: 1d}}
    tests:
      - name: slow and cross
        given: {{friction: 30, duration: 2h, pages: [/cart, /checkout/{n}]}}
        expect: match
      - name: just under
        given: {{friction: 0.1, duration: 95s, pages: [/checkout]}}
        expect: no match
"""
TOML_RULE = """\
[rules.checkout-friction-{n}]
summary = "Frustrated visitors in the checkout, part {n}"
watch = "recordings"
websites = ["shop-{n}.example.com"]
when = {{ friction = {{ min = {friction} }}, saw_page = "/checkout/{n}*", duration.over = "{n}s" }}
except = {{ tags = ["internal", "load-test"] }}
once_per = {{ visitor = "1d" }}
[rules.checkout-friction-{n}.do]
tag = ["friction", "checkout-{n}"]
star = true
share = {{ expires = "7d" }}
slack = {{ channel = "#checkout-alerts", at_most = "10 per hour" }}
[[rules.checkout-friction-{n}.tests]]
name = "slow and cross"
given = {{ friction = 30, duration = "2h", pages = ["/cart", "/checkout/{n}"] }}
expect = "match"
[[rules.checkout-friction-{n}.tests]]
name = "just under"
given = {{ friction = 0.1, duration = "95s", pages = ["/checkout"] }}
expect = "no match"
"""


def files(rules: int, count: int) -> list[tuple[str, bytes]]:
    """So many rules, all different, spread over so many files."""
    made = []
    for index in range(count):
        kind = ("yaml", "toml")[index % 2]
        head = {"yaml": "version: 1\nrules:\n", "toml": "version = 1\n"}[kind]
        form = {"yaml": YAML_RULE, "toml": TOML_RULE}[kind]
        own = range(index, rules, count)
        text = head + "".join(form.format(n=n + 1, friction=1 + n / 100) for n in own)
        made.append((f"rules/part-{index}.{kind}", text.encode()))
    return made


def wrong(content: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """The same files with an unknown field in each rule."""
    return [(name, data.replace(b"duration", b"duraton")) for name, data in content]


def seconds(content: list[tuple[str, bytes]], rules: int, faults: int) -> float:
    """The median of five runs; the outcome is looked at so that a fast failure is no success."""
    return statistics.median(once(content, rules, faults) for _ in range(5))


def once(content: list[tuple[str, bytes]], rules: int, faults: int) -> float:
    start = time.process_time()
    try:
        found, told = read(content), 0
    except RuleErrors as error:
        found, told = None, len(error.faults)
    took = time.process_time() - start
    if told != faults or (found and (len(found.rules) != rules or found.warnings)):
        raise SystemExit(f"{told} faults instead of {faults}, or rules that are missing")
    return took


def yardstick() -> float:
    """Seconds that a bare YAML parse of 200 rules takes."""
    text = "rules:\n" + "".join(YAML_RULE.format(n=n, friction=n) for n in range(200))
    start = time.process_time()
    YAML(typ="safe", pure=True).load(text)
    return time.process_time() - start


def measured(rules: int, count: int) -> str:
    """The figures as Markdown."""
    content = files(rules, count)
    size = sum(len(data) for _, data in content)
    whole = seconds(content, rules, 0)
    slips = wrong(content)
    told = sum(len(re.findall(rb"duraton", data)) for _, data in slips)
    rows = [
        ("all of them", f"{whole:.2f} s"),
        ("the YAML half alone", f"{_half(content, '.yaml', rules):.2f} s"),
        ("the TOML half alone", f"{_half(content, '.toml', rules):.2f} s"),
        (f"all of them with {told:,} slips, each told", f"{seconds(slips, rules, told):.2f} s"),
    ]
    lines = [
        f"Python {platform.python_version()}, {rules:,} rules in {count} files "
        f"({size / 1000:,.0f} kB); processor time, the median of 5 runs.",
        "",
        "| read and checked | takes |",
        "|---|---:|",
        *(f"| {what} | {took} |" for what, took in rows),
        "",
        f"Goal for all of them: under {GOAL} s: {met(whole < GOAL)}.",
    ]
    return "\n".join(lines) + "\n"


def _half(content: list[tuple[str, bytes]], suffix: str, rules: int) -> float:
    own = [(name, data) for name, data in content if name.endswith(suffix)]
    return seconds(own, rules // 2, 0)


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--files", type=int, default=50)
    parser.add_argument(
        "--write", action="store_true", help="also into docs/explanation/performance.md"
    )
    args = parser.parse_args()
    text = measured(args.rules, args.files)
    print(text)
    if args.write:
        write("check", text)


if __name__ == "__main__":
    main()
