"""Runs the tests that rule files hold, and writes their outcome for people and for CI."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as Xml

from bot.actions.notifier import Notifier
from bot.domain.subjects import Site, Subject, WebsiteSubject
from bot.errors import Fault, internal_error
from bot.fields.catalogue import made
from bot.fields.recordings import MONDAY_NOON
from bot.messages.message import plain
from bot.messages.templates import BadText
from bot.ports import Addresses, Task
from bot.rules.evaluate import Given, rule_answer
from bot.rules.explain import explain, lines, why
from bot.rules.model import Rule, RuleSet, RuleTest, Sample, applies

_WRITTEN_AS = {"unshare": "share"}
"""Kinds of steps that are written under another key."""

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test's outcome. `problems` say what was not as expected, `explanation` why."""

    __test__ = False  # not one of pytest's

    rule: str
    name: str
    file: str
    line: int
    column: int
    problems: tuple[str, ...] = ()
    explanation: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.problems

    @property
    def fault(self) -> Fault:
        """A test that has failed, as an error at its place."""
        path = f"rules.{self.rule}.tests"
        more = "; `mouseflow-bot test` shows why" if self.explanation else ""
        said = f"the test {self.name!r} fails: {'; '.join(self.problems)}{more}"
        return Fault(self.file, self.line, self.column, path, said)

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: {self.rule}: {self.name}: "
        if self.passed:
            return f"{place}passed"
        detail = "".join(f"\n    {line}" for line in self.explanation)
        return f"{place}{'; '.join(self.problems)}{detail}"


def run(ruleset: RuleSet, only: Iterable[str] = ()) -> list[TestResult]:
    """Every test of every rule, in file order; `only` names rules, none means all."""
    wanted = set(only)
    rules = [rule for rule in ruleset.written if not wanted or rule.id in wanted]
    return [_run(rule, test) for rule in rules for test in rule.tests]


def _run(rule: Rule, test: RuleTest) -> TestResult:
    """The test's outcome; an exception that nobody thought of fails this test alone."""
    try:
        problems, explanation = _outcome(rule, test)
    except Exception as error:
        problems, explanation = (f"can't run: {internal_error(error)}",), ()
    return TestResult(rule.id, test.name, rule.file, test.line, test.column, problems, explanation)


def _outcome(rule: Rule, test: RuleTest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What was not as expected, and why."""
    tried = made(rule.watch, _site(rule, test.given), test.given)
    past = Given(test.given.get("before", {}))
    matched = rule_answer(rule, tried, past, complete=True) is True
    problems: list[str] = []
    if matched != test.match:
        expected, found = ("a match", "none") if test.match else ("no match", "one")
        problems.append(f"expected {expected}, found {found}")
    elif matched:
        problems += _missing_actions(rule, test)
        problems += _missing_text(rule, test, tried)
    explanation = tuple(lines(explain(rule, tried, past, complete=True))) if problems else ()
    return tuple(problems), explanation


@dataclass(frozen=True, slots=True)
class Unwanted:
    """A rule that matches a sample which no rule may match, and why."""

    rule: str
    sample: str
    line: int
    why: tuple[str, ...]


def unwanted(rules: Iterable[Rule], samples: Sequence[Sample]) -> list[Unwanted]:
    """Every match of a rule with a sample of its kind and website."""
    found = []
    for rule in rules:
        for sample in samples:
            site = _site(rule, sample.given)
            if sample.watch != rule.watch or not applies(rule, site):
                continue
            tried = made(rule.watch, site, sample.given)
            past = Given(sample.given.get("before", {}))
            if rule_answer(rule, tried, past, complete=True) is True:
                why_it_is = tuple(why(rule, tried, complete=True))
                found.append(Unwanted(rule.id, sample.name, sample.line, why_it_is))
    return found


def _site(rule: Rule, given: Mapping[str, Any]) -> Site:
    """The website given, or one that the rule watches."""
    if "website" in given:
        return Site(given["website"], given["website"])
    watched = rule.websites[0] if rule.websites else "example.com"
    name = watched.replace("*", "www").replace("?", "x")
    return Site(name, name)


def _missing_actions(rule: Rule, test: RuleTest) -> list[str]:
    kinds = {action.kind for action in rule.do}
    kinds |= {_WRITTEN_AS[kind] for kind in kinds if kind in _WRITTEN_AS}
    return [f"the match causes no {kind}" for kind in test.actions if kind not in kinds]


def _missing_text(rule: Rule, test: RuleTest, tried: Subject) -> list[str]:
    if test.text is None:
        return []
    try:
        messages = _messages(rule, tried)
    except BadText as error:
        return [f"the text cannot be filled in: {error}"]
    if any(test.text.casefold() in message.casefold() for message in messages):
        return []
    said = " / ".join(messages) or "nothing"
    return [f"no message says {test.text!r}; they say: {said}"]


def _messages(rule: Rule, tried: Subject) -> list[str]:
    task = Task(
        key=f"{rule.id}/test",
        rule=rule.id,
        summary=rule.summary,
        severity=rule.severity,
        runbook=rule.runbook,
        owner=rule.owner,
        subject=tried if rule.too_few is None else WebsiteSubject(website=tried.website),
        matched=MONDAY_NOON,
        now=MONDAY_NOON,
        why=why(rule, tried, complete=True),
        results={"share": "token"},
    )
    posts = [action for action in rule.do if isinstance(action, Notifier)]
    found = [post.message(task, Addresses()) for post in posts]
    return ["\n".join(plain(each)) for each in found if each is not None]


def junit(results: Sequence[TestResult]) -> str:
    """The results as JUnit XML, one suite per rule."""
    root = Xml.Element("testsuites", {"name": "rules", **_counts(results)})
    for rule in dict.fromkeys(result.rule for result in results):
        of_rule = [result for result in results if result.rule == rule]
        suite = Xml.SubElement(root, "testsuite", {"name": _safe(rule), **_counts(of_rule)})
        for result in of_rule:
            case = Xml.SubElement(
                suite,
                "testcase",
                classname=_safe(rule),
                name=_safe(result.name),
                file=_safe(result.file),
                line=str(result.line),
            )
            if not result.passed:
                message = _safe("; ".join(result.problems))
                failure = Xml.SubElement(case, "failure", message=message)
                failure.text = _safe("\n".join(result.explanation))
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _counts(results: Sequence[TestResult]) -> dict[str, str]:
    failures = sum(not result.passed for result in results)
    return {"tests": str(len(results)), "failures": str(failures)}


def _safe(text: str) -> str:
    """The text without the characters that XML cannot hold."""
    return _NO_XML.sub("\ufffd", text)
