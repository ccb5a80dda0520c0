"""How long `check` takes to read and lint a big rule set: python bench/check.py [RULES] [FILES].

Prints the median processor time of five runs. Half of the files are YAML, half TOML; each rule
has conditions, exceptions, four actions and two tests.
"""

import statistics
import sys
import time

from bot.rulebook.read import read

GOAL = 2.0

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


def seconds(content: list[tuple[str, bytes]], rules: int) -> float:
    """One run; the outcome is looked at so that a fast failure is no success."""
    start = time.process_time()
    found = read(content)
    took = time.process_time() - start
    if len(found.rules) != rules or found.warnings:
        raise SystemExit(f"read {len(found.rules)} rules, {len(found.warnings)} warnings")
    return took


def main() -> None:
    """Measure and print."""
    rules, count = (int(arg) for arg in (*sys.argv[1:3], *("1000", "50")[len(sys.argv) - 1 :]))
    content = files(rules, count)
    size = sum(len(data) for _, data in content)
    median = statistics.median(seconds(content, rules) for _ in range(5))
    print(
        f"check: {rules:,} rules in {count} files ({size / 1000:,.0f} kB): {median:.2f} s "
        f"(goal: under {GOAL:.0f} s for 1,000 in 50)"
    )
    print(f"the YAML half alone: {_half(content, '.yaml'):.2f} s, ", end="")
    print(f"the TOML half alone: {_half(content, '.toml'):.2f} s")


def _half(content: list[tuple[str, bytes]], suffix: str) -> float:
    own = [(name, data) for name, data in content if name.endswith(suffix)]
    start = time.process_time()
    read(own)
    return time.process_time() - start


if __name__ == "__main__":
    main()
