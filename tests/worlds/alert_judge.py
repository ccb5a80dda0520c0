"""Decides from the docs alone which alerts a world has, and compares them with what was said.

A second reading of `docs/explanation/levels.md` and `docs/reference/configuration.md`, written
without the bot's own code. It walks through the polls of a website as the API saw them.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from alert_worlds import POLL, AlertHistory, Subject
from judge import View, figure, in_hours, listed, matches
from world_history import Said, Span, Wrong

SOON = 90.0
"""A message is in its channel so many seconds after the poll that calls for it."""

GAP = 3600.0
"""After a longer time without polls `for` starts again."""

KEPT = 3600.0
"""A rule that is put back sooner keeps its state."""

ICONS = {"info": "🔵", "warning": "🔶", "critical": "🛑"}

ANOTHER_ALERT = ("when", "except", "over_last", "visitors")
"""An edit of these makes another alert."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something to be said: `fired`, `resolved` or `still`; optional where the docs are silent."""

    kind: str
    at: float
    optional: bool = False


@dataclass(slots=True)
class Level:
    """The state of one rule for one subject."""

    rule: dict[str, Any]
    since: float | None = None
    seen: float | None = None
    fired: float | None = None
    posted: float | None = None
    otherwise: int = 0
    edited: bool = False  # its condition was edited while it fired
    ran: float = 0.0  # when the rule was last in force
    counted: int | None = None  # responses at the last firing, of a rule on new ones


@dataclass(slots=True)
class Walk:
    """One walk through the polls of a website."""

    told: AlertHistory
    site: str
    levels: dict[tuple[str, str], Level] = field(default_factory=dict)
    events: dict[tuple[str, str], list[Event]] = field(default_factory=dict)
    true: dict[tuple[str, str], list[tuple[float, bool]]] = field(default_factory=dict)

    def go(self) -> "Walk":
        subjects = [it for it in self.told.subjects if it.site == self.site]
        polls = sorted(
            (at, kind)
            for kind in ("websites", "feedback")
            for at in self.told.polls.get((kind, self.site), [])
        )
        for at, kind in polls:
            self.disable(at)
            for name in self.in_order():
                rule = self.rule(name, at)
                if rule is None or rule["watch"] != kind:
                    continue
                for subject in subjects:
                    if subject.kind == kind:
                        self.look(name, rule, subject, at)
        return self

    def disable(self, at: float) -> None:
        """The alerts of a rule that was disabled end."""
        for since, name in self.told.disabled:
            if self.rule(name, since + 1) is None and since <= at:
                for (rule, subject), level in self.levels.items():
                    if rule == name and level.ran < since:
                        told = level.posted is not None and level.rule.get("resolved")
                        if told and not self.is_forgotten(name, level, since):
                            self.events[name, subject].append(Event("resolved", since))
                        self.levels[name, subject] = Level(level.rule, ran=since)

    def in_order(self) -> list[str]:
        """All rules; those that others wait for come first. They have lower numbers."""
        return sorted(self.told.rules, key=lambda name: int(name[1:]))

    def rule(self, name: str, at: float) -> dict[str, Any] | None:
        """The rule as it is in force at that moment."""
        found = [span.what for span in self.told.rules[name] if span.at(at)]
        return found[-1] if found else None

    def held(self, rule: dict[str, Any], at: float) -> bool:
        """Whether an alert fires for which this rule waits, or for which that one waits."""
        for other in listed(rule.get("not_while", [])):
            its = self.rule(other, at)
            if its is None:
                continue
            if any(
                level.posted is not None
                for (name, _), level in self.levels.items()
                if name == other
            ):
                return True
            if self.held(its, at):
                return True
        return False

    def is_forgotten(self, name: str, level: Level, at: float) -> bool:
        """Whether the rule has come back after so long that its state is lost."""
        gaps = (
            after.start - before.end
            for before, after in pairs(self.told.rules[name])
            if before.end is not None and before.end < after.start and level.ran < after.start <= at
        )
        return next(gaps, 0.0) >= KEPT

    def level(self, name: str, rule: dict[str, Any], subject: Subject, at: float) -> Level:
        """The state, with what edits and absence have made of it."""
        key = (name, subject.name)
        level = self.levels.setdefault(key, Level(rule, ran=at))
        if self.is_forgotten(name, level, at):
            level = Level(rule)
        elif any(level.rule.get(part) != rule.get(part) for part in ANOTHER_ALERT):
            was = level
            level = Level(rule, fired=was.fired, posted=was.posted, seen=was.seen)
            level.edited = was.fired is not None
        level.rule, level.ran = rule, at
        self.levels[key] = level
        return level

    def look(self, name: str, rule: dict[str, Any], subject: Subject, at: float) -> None:
        level = self.level(name, rule, subject, at)
        if level.seen is not None and at - level.seen > GAP:
            level.since = None
        level.seen = at
        view = self.view(subject, at)
        if "new_responses" in rule["when"]:
            self.count(name, rule, subject, at)
            return
        holds = matches(rule, view)
        self.true.setdefault((name, subject.name), []).append((at, holds))
        level.since = (level.since or at) if holds else None
        if level.edited:
            self.after_an_edit(name, rule, subject, at, level, holds=holds)
            return
        need = figure(rule["for"]) or 0 if "for" in rule else 0
        held = self.held(rule, at)
        if level.fired is None and level.since is not None and at - level.since >= need:
            level.fired = at
        if level.fired is None:
            return
        if level.posted is None and holds and not held:
            level.posted = at
            self.emit(name, subject, Event("fired", at))
        over = matches({"when": rule["until"]}, view) if "until" in rule else not holds
        level.otherwise = level.otherwise + 1 if over else 0
        if level.otherwise == 2:
            if level.posted is not None and rule.get("resolved"):
                self.emit(name, subject, Event("resolved", at))
            self.levels[name, subject.name] = Level(rule, since=level.since, seen=at, ran=at)

    def count(self, name: str, rule: dict[str, Any], subject: Subject, at: float) -> None:
        """It fires each time when enough responses came since; counting begins with a poll."""
        level, responses = self.levels[name, subject.name], subject.at(at)["responses"]
        if level.counted is None:
            level.counted = responses
        elif responses - level.counted >= rule["when"]["new_responses"]["min"]:
            level.counted = responses
            self.emit(name, subject, Event("fired", at))

    def after_an_edit(
        self, name: str, rule: dict[str, Any], subject: Subject, at: float, level: Level, *,
        holds: bool,
    ) -> None:  # fmt: skip
        """Another alert: it fires if the new condition holds; else the end is posted."""
        level.edited = False
        level.fired = None
        if level.posted is not None and rule.get("resolved"):
            self.emit(name, subject, Event("resolved", at, optional=holds))
        level.posted = None
        self.true[name, subject.name].pop()
        self.look(name, rule, subject, at)

    def view(self, subject: Subject, at: float) -> View:
        local = datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(self.told.zone))
        clock = {"hour": local.hour, "weekday": local.strftime("%a").lower()}
        return subject.at(at) | clock

    def emit(self, name: str, subject: Subject, event: Event) -> None:
        self.events.setdefault((name, subject.name), []).append(event)


def pairs(spans: list[Span]) -> list[tuple[Span, Span]]:
    return list(itertools.pairwise(spans))


def wrongs(told: AlertHistory) -> Iterator[Wrong]:
    """All that was missed or said wrongly in a world."""
    for site in dict.fromkeys(it.site for it in told.subjects):
        walk = Walk(told, site).go()
        host = next(it.name for it in told.subjects if it.site == site and it.kind == "websites")
        for name in told.rules:
            for subject in (it for it in told.subjects if it.site == site):
                if subject.kind == told.rules[name][0].what["watch"]:
                    said = [
                        each for each in told.said
                        if each.channel == f"#{name}" and host in first(each)
                        and subject.name in first(each)
                    ]  # fmt: skip
                    for kind, text in compared(told, walk, name, subject, said):
                        yield Wrong(
                            kind,
                            "alert",
                            told.seed,
                            f"rule {name}: {subject.name} on {host}: {text}",
                        )


def first(said: Said) -> str:
    """The first line: what has happened to what."""
    return said.text.partition("\n")[0]


def kind_of(said: Said) -> str:
    line = first(said)
    return "resolved" if "Resolved" in line else "still" if "Still firing" in line else "fired"


def compared(
    told: AlertHistory, walk: Walk, name: str, subject: Subject, said: list[Said]
) -> Iterator[tuple[str, str]]:
    """Each expected message has one, each message was expected; reminders keep their distance."""
    critical = all(span.what.get("severity") == "critical" for span in told.rules[name])
    closed = off_hours(told, name)
    quiet = closed if critical else [*told.quiet, *closed]
    left = [each for each in said if kind_of(each) != "still"]
    alone = True  # the beginning was posted by itself, not in a digest
    for event in walk.events.get((name, subject.name), []):
        if event.kind == "fired":
            alone = not any(span.start - SOON <= event.at <= (span.end or 0) for span in closed)
        either = event.optional or any(
            span.start - SOON <= event.at <= (span.end or 0) for span in quiet
        )
        until = soon(told, event.at)
        found = next(
            (it for it in left if kind_of(it) == event.kind and event.at - 2 <= it.at <= until),
            None,
        )
        if found is not None:
            left.remove(found)
            rule = walk.rule(name, event.at)
            icon = ICONS[rule.get("severity", "warning")] if rule else ""
            news = rule is not None and "new_responses" in rule["when"]
            if event.kind == "fired" and not (news or either) and not found.text.startswith(icon):
                yield "false", f"{icon} was meant at {when(event.at)}: {found.text!r}"
        elif not either and (alone or event.kind == "fired"):
            yield "missed", f"{event.kind} at {when(event.at)}, nothing was posted"
    for each in left:
        if not any(span.start <= each.at <= speaks(told, span.end or 0) + 600 for span in quiet):
            yield "false", f"at {when(each.at)}: {each.text!r}"
    for span in quiet:
        for each in said:
            rule = walk.rule(name, each.at)
            if span.what == "quiet" and rule and rule.get("severity") == "critical":
                continue
            if span.start + SOON < each.at < (span.end or 0) - 1:
                yield "false", f"in a quiet time, at {when(each.at)}: {each.text!r}"
    if not closed:  # else a digest may have told of the beginning
        yield from reminders(told, walk, name, subject, said, quiet=bool(quiet))


def reminders(
    told: AlertHistory, walk: Walk, name: str, subject: Subject, said: list[Said], *, quiet: bool
) -> Iterator[tuple[str, str]]:
    """Reminders come while an alert lasts, never more often than `remind`, and never too late."""
    spans = told.rules[name]
    last: Said | None = None
    for each in said:
        if kind_of(each) == "still":
            rule = walk.rule(name, each.at) or spans[-1].what
            every = figure(rule["remind"]) if "remind" in rule else None
            if every is None:
                yield "false", f"a reminder without remind at {when(each.at)}"
            elif last is None or kind_of(last) == "resolved":
                yield "false", f"a reminder of nothing at {when(each.at)}"
            elif each.at - last.at < every - SOON:
                yield "false", f"a reminder at {when(each.at)}, the last post was {when(last.at)}"
        last = each
    if quiet or len(spans) > 1 or "remind" not in spans[0].what or "not_while" in spans[0].what:
        return
    every = figure(spans[0].what["remind"]) or 0
    polls = walk.true.get((name, subject.name), [])
    posts = [each for each in said if kind_of(each) != "resolved"]
    for each in posts:
        due = each.at + every + 2 * POLL + SOON
        run = [(at, holds) for at, holds in polls if each.at - 2 <= at <= due + POLL]
        whole = all(holds for _, holds in run) and run[-1][0] >= due - 1
        gaps = [b[0] - a[0] for a, b in itertools.pairwise(run)]
        later = [it for it in said if each.at < it.at <= soon(told, due)]
        if whole and max(gaps, default=0) < 1.5 * POLL and not later:
            yield "missed", f"a reminder until {when(due)} after {when(each.at)}"


def soon(told: AlertHistory, at: float) -> float:
    """Until when a message must be out; a process that ends may leave it to the next one."""
    until = at + SOON
    for span in told.well:
        if span.end is not None and at <= span.end <= until:
            later = [it.start for it in told.well if it.start >= span.end]
            return min(later, default=told.end) + SOON
    return until


def speaks(told: AlertHistory, at: float) -> float:
    """When the bot can post what waited until then: at once, or after its next start."""
    begins = (
        max(at, it.start) for it in told.well if (it.end or told.end) - max(at, it.start) > SOON
    )
    return next(begins, told.end)


def off_hours(told: AlertHistory, name: str) -> list[Span]:
    """Times outside the rule's hours, in which what it has to say waits for a digest."""
    hours = {str(span.what["active"]) for span in told.rules[name] if "active" in span.what}
    found: list[Span] = []
    at = told.well[0].start // 60 * 60 - 60
    while hours and (at := at + 60) < told.end:
        if in_hours(told.zone, min(hours), at):
            continue
        if found and at - (found[-1].end or 0) < 90:
            found[-1] = Span(found[-1].start, "closed", at + 60)
        else:
            found.append(Span(at, "closed", at + 60))
    return found


def counted(told: AlertHistory) -> Counter[str]:
    """How much there was to judge."""
    polls = sum(map(len, told.polls.values()))
    kinds = Counter(kind_of(each) for each in told.said if each.channel != "#ops")
    return Counter(polls=polls) + kinds


def when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%d %H:%M:%S")
