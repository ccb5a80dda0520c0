"""Turn recordings that people called not useful into tests of the rule, without personal data."""

import asyncio
import json
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.errors import ConfigError, Gone
from bot.messages.text import counted

if TYPE_CHECKING:
    from bot.config import Settings
    from bot.domain.subjects import RecordingSubject
    from bot.rules.model import Rule, RuleSet

EXAMPLE = "mouseflow-bot learn checkout-friction\nmouseflow-bot learn checkout-friction --write"


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("rule", metavar="RULE", help="the rule's id")
    parser.add_argument("--write", action="store_true", help="write the tests into the rule file")
    parser.set_defaults(paths=[], usage_error=parser.error)


def run(args: Namespace) -> int:
    """Print the tests, or write them."""
    from bot.cli import context, output
    from bot.replay.select import rule_named
    from bot.replay.tune import knobs
    from bot.store.presses import useless

    settings = context.settings(args)
    rules = context.rules(args, settings)
    rule = rule_named(rules.written, args.rule, rules.elsewhere)
    if rule.watch != "recordings":
        args.usage_error(f"{rule.id} watches {rule.watch}; only recordings can be learnt from")
    with context.existing_store(settings, read_only=True) as store:
        found = store.do(lambda conn: useless(conn, rule.id))
    known = {test.name for test in rule.tests}
    new = [(site, key) for site, key in found if _name(key) not in known]
    if not new:
        output.line(f"no message of {rule.id} was called not useful since its tests were written")
        return 0
    with output.busy("asking Mouseflow"):
        learnt = asyncio.run(_learn(settings, rules, rule, new))
    if gone := len(new) - len(learnt):
        are = "is" if gone == 1 else "are"
        output.line(f"{counted(gone, 'recording')} {are} no longer in Mouseflow and left out")
    for each in learnt:
        for name in each.left_out:
            output.line(f"{each.name}: {name} is personal and left out")
        if not each.given:
            output.line(f"{each.name}: no test, because nothing else that the rule asks is known")
    learnt = [each for each in learnt if each.given]
    if not learnt:
        return 0
    if not args.write:
        for each in learnt:
            for line in each.toml(rule).splitlines() if _is_toml(rule) else [each.line]:
                output.line(line)
        return 0
    written(Path(rule.file), rule, learnt)
    tests = counted(len(learnt), "test")
    output.line(f"{rule.file}: {tests} added; change the rule until `mouseflow-bot test` passes")
    if knobs(rule):
        output.line(f"`mouseflow-bot tune {rule.id}` suggests a threshold that avoids them")
    return 0


@dataclass(frozen=True, slots=True)
class Learnt:
    """A test that the rule should pass. `left_out` are the personal fields that it asks about."""

    name: str
    given: Mapping[str, Any]
    left_out: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The test as an item of `tests`, in YAML."""
        return f"- {json.dumps(self.test, ensure_ascii=False)}"

    @property
    def test(self) -> Mapping[str, Any]:
        """The test by the keys of a rule file."""
        return {"name": self.name, "given": self.given, "expect": "no match"}

    def toml(self, rule: "Rule") -> str:
        """The test as a table of the rule's TOML file."""
        table = f"[rules.{json.dumps(rule.id)}]"
        return _with_toml(table, rule, [self]).removeprefix(table).strip()


async def _learn(
    settings: "Settings", rules: "RuleSet", rule: "Rule", found: Iterable[tuple[str, str]]
) -> list[Learnt]:
    """A test for each recording that is still there."""
    from bot.cli.history_context import account, utc
    from bot.domain.subjects import Site
    from bot.polling.server_facts import own_tags
    from bot.replay.explain_one import ask
    from mouseflow import recordings

    learnt = []
    async with account(settings) as api:
        for website, recording in found:
            site = Site(website, "")
            try:
                detail = await api.send(recordings.detail(website, recording))
            except Gone:
                continue
            zone, tags = settings.mouseflow.time_zone, own_tags(rules.rules)
            seen = await ask(api, site, detail, rule, tags, zone, utc())
            learnt.append(test_of(rule, seen.subject))
    return learnt


def _name(recording: str) -> str:
    return f"not useful: {recording[:8]}"


def test_of(rule: "Rule", subject: "RecordingSubject") -> Learnt:
    """What the rule asks about this recording, as a test that expects no match."""
    from bot.domain.subjects import Band
    from bot.fields.field import TextKind
    from bot.fields.recordings import PAGE
    from bot.rules.evaluate import field_of
    from bot.rules.model import leaves

    asked = {field.name: field for leaf in leaves(rule.condition)
             for field in [field_of(leaf, "recordings")]}  # fmt: skip
    given: dict[str, Any] = {}
    left_out = []
    for name, field in asked.items():
        value = field.get(subject)
        if field.made_of == PAGE.made_of and field.text is not TextKind.TAG:  # may be the session's
            if subject.recording.page_views:
                given["pages"] = [_page(view) for view in subject.recording.page_views]
        elif isinstance(value, Band):
            if value.low > 0:
                given[name] = value.low
        elif value is not None and field.personal:
            left_out.append(name)
        elif value is not None:
            given[name] = f"{value}ms" if field.type == "duration" else _plain(value)
    return Learnt(_name(subject.key), given, tuple(left_out))


def _page(view: Any) -> dict[str, Any]:
    """A page view, without its query and title."""
    from bot.fields.normal import path

    page: dict[str, Any] = {"path": path(view.website_page or view.uri or "/")}
    if view.tags:
        page["tags"] = list(view.tags)
    if view.visit_time is not None:
        page["time"] = f"{view.visit_time}ms"
    return page


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | frozenset | set) else value


def written(file: Path, rule: "Rule", learnt: Sequence[Learnt]) -> None:
    """Write the tests behind those of the rule; raises ConfigError if the file can't take them.

    What is there stays as it is, and the new file must say the same with these tests.
    """
    from msgspec.structs import replace

    from bot.cli import fmt
    from bot.errors import RuleErrors
    from bot.rules.files.load import read

    raw = file.read_bytes()
    text = raw.decode()
    before = text.replace("\r\n", "\n")
    if _is_toml(rule):
        after = _with_toml(before, rule, learnt)
    else:
        after = with_tests(before, rule, [each.line for each in learnt])
    if text.count("\r\n") == text.count("\n"):
        after = after.replace("\n", "\r\n")
    try:
        again = read([(rule.file, after.encode())]).rules if after else ()
    except RuleErrors:
        again = ()
    wanted = [*(test.name for test in rule.tests), *(each.name for each in learnt)]
    made = next((each for each in again if each.id == rule.id), None)
    same = made is not None and replace(made, tests=(), line=0, column=0) == replace(
        rule, tests=(), line=0, column=0
    )
    if made is None or not same or [test.name for test in made.tests] != wanted:
        raise ConfigError(
            f"{rule.file}:{rule.line}: this file can't be changed safely; without --write the "
            "tests are printed, to paste into the rule"
        )
    if fault := fmt.replaced(file, raw, after.encode()):
        raise ConfigError(f"{rule.file}: left as it is: {fault}")


def _is_toml(rule: "Rule") -> bool:
    return rule.file.lower().endswith(".toml")


def _with_toml(text: str, rule: "Rule", learnt: Sequence[Learnt]) -> str:
    """The TOML file with these tests behind those of the rule; empty if it is written otherwise."""
    from bot.rules.syntax.toml import spelled, with_items

    tests = [{key: spelled(value) for key, value in each.test.items()} for each in learnt]
    return with_items(text, ("rules", rule.id, "tests"), tests)


def with_tests(text: str, rule: "Rule", tests: Sequence[str]) -> str:
    """The YAML file with these tests at the end of the rule; empty if it is written otherwise."""
    lines = text.split("\n")
    start = rule.line
    indent = _indent(lines[start - 1])
    end = start
    for number in range(start, len(lines)):
        if lines[number].strip() and _indent(lines[number]) <= indent:
            break
        if lines[number].strip() and not lines[number].lstrip().startswith("#"):
            end = number + 1
    inner = [
        line for line in lines[start:end] if line.strip() and not line.lstrip().startswith("#")
    ]
    if not inner:
        return ""
    deep = " " * _indent(inner[0])
    at = next(
        (n for n in range(start, end) if re.match(rf"{deep}tests:\s*(#.*)?$", lines[n])), None
    )
    if at is None:
        added = [f"{deep}tests:", *(f"{deep}  {test}" for test in tests)]
        return "\n".join((*lines[:end], *added, *lines[end:]))
    items = next((line for line in lines[at + 1 : end] if line.lstrip().startswith("- ")), "")
    last = at + 1
    for number in range(at + 1, end):
        deeper = _indent(lines[number]) > len(deep) or lines[number].lstrip().startswith("- ")
        if lines[number].strip() and not deeper:
            break
        if lines[number].strip():
            last = number + 1
    added = [f"{' ' * _indent(items)}{test}" for test in tests]
    return "\n".join((*lines[:last], *added, *lines[last:]))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
