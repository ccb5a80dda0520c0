"""Decides from the docs alone what rules about figures have to say, and compares that with posts.

A second reading of `docs/explanation/levels.md` and the tables of `docs/reference/rules.md`. It
has the API's answers as the bot could see them, and takes from what was posted only what fires.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from figure_worlds import HOST, POLL, Answer, FigureHistory
from judge import View, figure, listed, operator, some
from world_history import Said, Wrong

SOON = 120.0
DAY = 86_400.0
GAP = max(3600.0, 3 * POLL)
"""After a longer time without polls `for` starts again."""

ANOTHER_ALERT = ("when", "except", "over_last", "visitors")
ENOUGH = 10
"""With so many visitors it is certain that a filter can be proved."""

PROVED = 3600 + 2 * POLL
"""A filter that could not be proved is asked again each hour."""

FILTERS = {
    "device": "device", "browser": "browser", "os": "os", "country": "country",
    "screen": "screenres", "referrer_type": "referrer", "visitor_type": "visitortype",
    "search": "search", "saw_page": "funnel", "entry_page": "entry", "exit_page": "exit",
}  # fmt: skip
BOUNDS = {"friction": "friction", "duration": "visit", "pages": "pages"}
PAST = ("drops_by", "rises_by")
SHARES = ("conversion", "completion", "visit_time", "engagement_time", "render_time", "scroll")
USUAL = ("below_usual", "above_usual")

Verdict = bool | None
Possible = frozenset[Verdict]
UNKNOWN: Possible = frozenset({None})


@dataclass(frozen=True, slots=True)
class Look:
    """One poll as a rule saw it: its subjects by their ids, now and in the last four weeks."""

    at: float
    rule: dict[str, Any]
    zone: ZoneInfo
    subjects: dict[str, View]
    weeks: tuple[dict[str, View], ...] = ()

    def day(self, at: float) -> date:
        """The account's day then."""
        return datetime.fromtimestamp(at, self.zone).date()

    @property
    def visitors(self) -> int:
        names = ("entered", "visits", "views")
        return sum(view[name] for view in self.subjects.values() for name in names if name in view)


def query(rule: dict[str, Any]) -> dict[str, str]:
    """The API's filters for the visitors of a rule."""
    found: dict[str, str] = {}
    for name, test in rule.get("visitors", {}).items():
        if name in BOUNDS:
            for end, bound in test.items():
                number = figure(bound) or 0
                found[BOUNDS[name] + end] = f"{number * 1000 if name == 'duration' else number:g}"
        elif name == "tags":
            found["tags"] = ",".join(listed(test))
        elif name == "variables":
            found["vars"] = ",".join(f"{key}={value}" for key, value in test.items())
        elif name in ("watched", "starred"):
            found[{"starred": "star"}.get(name, name)] = str(int(test))
        else:
            found[FILTERS[name]] = str(test)
    return found


def asked(rule: dict[str, Any], answer: Answer, zone: ZoneInfo, weeks: int = 0) -> bool:
    """Whether this is an answer to the question that the rule asks, or did so many weeks ago."""
    given = {key: value.casefold() for key, value in answer.query.items() if key != "limit"}
    since, until = given.pop("fromdate", None), given.pop("todate", None)
    if given != {key: value.casefold() for key, value in query(rule).items()}:
        return False
    if since is None:
        return "over_last" not in rule and not weeks
    today = datetime.fromtimestamp(answer.at, zone).date()
    days = timedelta(seconds=figure(rule.get("over_last", "30d")) or 0)
    today -= timedelta(weeks=weeks)
    tomorrow = (today + timedelta(days=1)).isoformat()
    return date.fromisoformat(since) == today - days and until in (None, tomorrow)


# Figures


def share(part: float, whole: float) -> float | None:
    return 100 * part / whole if whole else None


def funnel(row: dict[str, Any]) -> View:
    counts = [step["count"] for step in row["steps"]]
    steps = [
        {
            "name": step["name"],
            "count": step["count"],
        }
        | (
            {}  # the first step has no step before it
            if before is None
            else {"conversion": share(step["count"], before), "dropped": before - step["count"]}
        )
        for before, step in zip([None, *counts], row["steps"], strict=False)
    ]
    return {
        "called": row["name"], "funnel": [row["name"], row["funnelId"]], "entered": counts[0],
        "completed": counts[-1], "conversion": share(counts[-1], counts[0]), "step": steps,
    }  # fmt: skip


def form(row: dict[str, Any], reports: dict[str, Any]) -> View:
    fields = reports.get(row["formId"])
    return {
        "called": row["alias"], "form": [row["alias"], row["formId"]], "url": row["url"],
        **{name: row[name] for name in ("visits", "interactions", "submits", "success")},
        "completion": share(row["success"], row["interactions"]),
        "field": fields and [
            {
                "name": each["alias"] or each["target"], "type": each["type"],
                "interactions": each["interactions"], "time": each["duration"] / 1000,
                "start": each["startTime"] / 1000,
                **{name: each[name] for name in ("refills", "blanks", "dropped")},
            }
            for each in fields["fields"]
        ],
    }  # fmt: skip


def page(row: dict[str, Any]) -> View:
    return {
        "called": row["displayUrl"], "path": row["displayUrl"], "title": row["title"],
        **{name: row[name] for name in ("views", "clicks", "scroll", "fold", "height", "size")},
        "visit_time": row["visitTime"] / 1000, "engagement_time": row["engagementTime"] / 1000,
        "render_time": row["renderTime"] / 1000, "shared": "token" in row,
    }  # fmt: skip


def looks(told: FigureHistory, name: str) -> list[Look]:
    """What the rule saw, poll by poll, while it was in force."""
    zone, found = ZoneInfo(told.zone), list[Look]()
    for answer in told.answers:
        span = next((each for each in told.rules[name] if each.at(answer.at)), None)
        if span is None or answer.kind != span.what["watch"] or answer.one:
            continue
        if not asked(span.what, answer, zone):
            continue
        if found and answer.at - found[-1].at < 60 and found[-1].rule is span.what:
            continue  # asked again within the same poll
        rule, weeks = span.what, tuple[dict[str, View], ...]()
        if [*comparisons(rule["when"], USUAL), *comparisons(rule.get("except", {}), USUAL)]:
            weeks = tuple(week(told, rule, answer.at, number) for number in range(1, 5))
        found.append(Look(answer.at, rule, zone, subjects(told, answer, rule), weeks))
    return found


def subjects(told: FigureHistory, answer: Answer, rule: dict[str, Any]) -> dict[str, View]:
    """The subjects of an answer by their ids, with the reports that came beside it."""
    zone = ZoneInfo(told.zone)
    match answer.kind:
        case "funnels":
            return {row["funnelId"]: funnel(row) for row in answer.body}
        case "forms":
            reports = {
                it.one: it.body for it in told.answers
                if it.one and answer.at <= it.at < answer.at + 60 and asked(rule, it, zone)
            }  # fmt: skip
            return {row["formId"]: form(row, reports) for row in answer.body}
        case _:
            return {row["displayUrl"]: page(row) for row in answer.body["pages"]}


# Conditions: yes, no or unknown


def both(values: list[Verdict]) -> Verdict:
    """All of them: one no is a no, else one unknown is unknown."""
    return False if False in values else None if None in values else True


def negated(value: Verdict) -> Verdict:
    return None if value is None else not value


def one_of(values: list[Verdict]) -> Verdict:
    return negated(both([negated(each) for each in values]))


def whole(rule: dict[str, Any], view: View, past: dict[str, Verdict]) -> Verdict:
    """The rule's condition: all of `when`, none of `except`."""
    out = [entry(key, test, view, past) for key, test in rule.get("except", {}).items()]
    return both([mapping(rule["when"], view, past), negated(one_of(out))])


def mapping(condition: dict[str, Any], view: View, past: dict[str, Verdict]) -> Verdict:
    return both([entry(key, test, view, past) for key, test in condition.items()])


def entry(key: str, test: Any, view: View, past: dict[str, Verdict]) -> Verdict:
    if key in ("any", "all"):
        found = [mapping(each, view, past) for each in test]
        return one_of(found) if key == "any" else both(found)
    if key == "not":
        return negated(mapping(test, view, past))
    if key in ("step", "field") and isinstance(test, dict):
        if view[key] is None:
            return None
        return one_of([mapping(test, item, past) for item in view[key]])
    if isinstance(test, dict) and any(name in PAST + USUAL for name in test):
        return past[f"{key} {test}"]
    if key not in view:
        return False
    if view[key] is None:
        return None
    if isinstance(test, dict):
        return all(operator(key, name, wanted, view[key]) for name, wanted in test.items())
    return some(key, test, view[key])


def comparisons(
    condition: dict[str, Any], names: tuple[str, ...] = PAST + USUAL
) -> Iterator[tuple[str, dict[str, Any]]]:
    """All tests against the past or the usual."""
    for key, test in condition.items():
        if key in ("any", "all"):
            for each in test:
                yield from comparisons(each, names)
        elif key == "not":
            yield from comparisons(test, names)
        elif isinstance(test, dict) and any(name in names for name in test):
            yield key, test


def against(
    key: str,
    test: dict[str, Any],
    who: str,
    look: Look,
    seen: list[Look],
    *,
    earlier: bool,
    api: bool,
) -> Possible:
    """What a comparison with the past may say, by what was seen at that time.

    `earlier`: other rules may have let the bot see it before this rule did; `api`: the API
    has told of that day.
    """
    value, back = look.subjects[who][key], look.at - (figure(test["against"]) or 0)
    if value is None:
        return UNKNOWN
    day = look.day(back)  # figures begin at midnight
    near = [it for it in seen if abs(it.at - back) <= 1.5 * POLL and look.day(it.at) == day]
    before = [it for it in seen if it.at < back - 1.5 * POLL]
    found: set[Verdict] = set()
    for it in near:
        past = it.subjects.get(who, {}).get(key)
        if not past:
            found |= {True, False, None}
        elif "drops_by" in test:
            found.add(value <= past * (1 - (figure(test["drops_by"]) or 0) / 100) + 1e-9)
        else:
            found.add(value >= past * (1 + (figure(test["rises_by"]) or 0) / 100) - 1e-9)
    if not any(it.at <= back for it in near) or not any(it.at >= back for it in near):
        found.add(None)
    if ((before or api) and None in found) or earlier:
        found |= {True, False, None}
    return frozenset(found)


def unusual(key: str, test: dict[str, Any], who: str, look: Look) -> Verdict:
    """What a comparison with the usual says: the median of the same days of the last four weeks."""
    value = look.subjects[who][key]
    past = sorted(
        views[who][key] for views in look.weeks if views.get(who, {}).get(key) is not None
    )
    if value is None or len(past) < 3:
        return None
    middle = past[1:3] if len(past) == 4 else past[1:2]
    share = (figure(test.get("below_usual", test.get("above_usual"))) or 0) / 100
    so = {
        value != it and (value <= share * it if "below_usual" in test else value >= share * it)
        for it in middle
    }
    return so.pop() if len(so) == 1 else None


def week(told: FigureHistory, rule: dict[str, Any], at: float, weeks: int) -> dict[str, View]:
    """What the API answered on that day, until then, about the same days so many weeks before."""
    zone = ZoneInfo(told.zone)
    day = datetime.fromtimestamp(at, zone).date()
    answers = [
        it for it in told.answers
        if at - DAY < it.at <= at + 60 and it.kind == rule["watch"] and not it.one
        and asked(rule, it, zone, weeks) and datetime.fromtimestamp(it.at, zone).date() == day
    ]  # fmt: skip
    return subjects(told, answers[-1], rule) if answers else {}


def possible(
    rule: dict[str, Any], who: str, look: Look, seen: list[Look], *, earlier: bool, api: bool
) -> Possible:
    """What the condition may be at that look, for one subject."""
    tests = [*comparisons(rule["when"]), *comparisons(rule.get("except", {}))]
    options = {
        f"{key} {test}": frozenset({unusual(key, test, who, look)})
        if any(name in USUAL for name in test)
        else against(key, test, who, look, seen, earlier=earlier, api=api and key in SHARES)
        for key, test in tests
    }
    view = look.subjects[who]
    return frozenset(
        whole(rule, view, dict(zip(options, chosen, strict=True)))
        for chosen in itertools.product(*options.values())
    )


# Time


@dataclass(slots=True)
class Walk:
    """What is known of a rule and a subject, look after look."""

    fires: bool = False
    edited: bool = False  # its condition was edited while it fired
    rule: dict[str, Any] | None = None
    at: float = 0
    last: Possible = UNKNOWN
    least: float = 0  # for so long it has been true, at least and at most
    most: float = 0
    no: int = 0  # so often it was surely not so, in a row; `maybe` so often perhaps
    maybe: int = 0
    absent: int = 0
    wrong: list[tuple[str, str]] = field(default_factory=list)

    def restarted(self) -> None:
        self.least = self.most = 0
        self.no = self.maybe = self.absent = 0
        self.last = UNKNOWN

    def look(
        self, look: Look, holds: Possible, said: list[str], *, disabled: bool, held: bool
    ) -> None:
        """One look, and what was posted between it and the next one.

        `disabled`: the rule was disabled in between; `held`: it may be on hold.
        """
        when, rule = clock(look.at), look.rule
        need = figure(rule["for"]) or 0 if "for" in rule else 0
        if look.at - self.at > GAP:
            self.least = self.most = 0
            self.last = UNKNOWN
        passed = look.at - self.at if self.at else 0
        if True in holds:
            self.most += passed if self.last != frozenset({False}) else 0
            sure = holds == self.last == frozenset({True})
            self.least = self.least + passed if sure else self.least
        if False in holds:
            self.least = 0
        if holds == frozenset({False}):
            self.most = 0
        self.no = self.no + 1 if holds == frozenset({False}) else self.no if None in holds else 0
        self.maybe = self.maybe + 1 if False in holds else self.maybe if None in holds else 0
        if holds == frozenset({True}):
            self.maybe = 0
        self.at, self.last = look.at, holds
        due = holds == frozenset({True}) and self.least >= need
        may = True in holds and self.most >= need
        over = not held and (self.no >= 2 or self.absent >= 2)
        shown = f"{when}: {sorted(map(str, holds))}, true for {self.least:.0f}-{self.most:.0f} s"
        for kind in said:
            if kind == "fired":
                if self.fires and not self.edited:
                    self.wrong.append(("false", f"it fires twice, {shown}"))
                elif not may:
                    self.wrong.append(("false", f"it fires, {shown}"))
                self.fires, self.edited = True, False
                self.no, over = 0, not held and self.absent >= 2  # what was so before ends nothing
            else:
                if not self.fires:
                    self.wrong.append(("false", f"an end of nothing, {shown}"))
                elif not (disabled or self.edited or self.maybe + self.absent >= 2):
                    self.wrong.append(("false", f"it ends, {shown}"))
                self.fires = self.edited = False
                self.no = self.maybe = 0
        if self.edited and holds == frozenset({False}) and not said:
            self.wrong.append(("missed", f"edited, and its end was not posted, {shown}"))
            self.fires = self.edited = False
        elif self.edited and due and not said:
            self.wrong.append(("missed", f"edited, and it does not fire again, {shown}"))
            self.edited = False
        elif not self.fires and due and not said:
            self.wrong.append(("missed", f"it does not fire, {shown}"))
            self.fires = True
        elif self.fires and not self.edited and over:
            self.wrong.append(("missed", f"it does not end, {shown}"))
            self.fires = False


def wrongs(told: FigureHistory) -> Iterator[Wrong]:
    """All that was missed or said wrongly in a world."""
    for name in told.rules:
        for who, walk in walked(told, name).items():
            for kind, text in walk.wrong:
                yield Wrong(
                    kind,
                    "figure",
                    told.seed,
                    f"rule {name}: {who}, {told.rules[name][-1].what}: {text}",
                )


def walked(told: FigureHistory, name: str) -> dict[str, Walk]:
    """The rule's walks, one for each subject."""
    seen, spans = looks(told, name), told.rules[name]
    walks: dict[str, Walk] = {}
    said = [each for each in told.said if each.channel == f"#{name}"]
    known = dict.fromkeys(who for look in seen for who in look.subjects)
    heard: set[int] = set()
    for who in known:
        walk = walks[who] = Walk()
        names: set[str] = set()
        for n, look in enumerate(seen):
            rule, until = look.rule, seen[n + 1].at if n + 1 < len(seen) else told.end + 1
            if walk.rule is not None and walk.rule is not rule:
                changed(told, name, walk, look)
            walk.rule = rule
            there = who in look.subjects
            names |= {look.subjects[who]["called"]} if there else set()
            walk.absent = 0 if there else walk.absent + 1
            if not there and not walk.at:
                continue
            holds = UNKNOWN
            if there:
                same = [it for it in seen[:n] if query(it.rule) == query(rule)
                        and it.rule.get("over_last") == rule.get("over_last")
                        and keeps(it.rule, rule)]  # fmt: skip
                past, api = shared_past(told, look, same), told_by_api(told, look)
                holds = possible(rule, who, look, same, earlier=past, api=api)
            filtered = "visitors" in rule or "over_last" in rule
            few = filtered and any(
                it.visitors < ENOUGH for it in seen[: n + 1] if it.at >= look.at - PROVED
            )
            if on_hold(told, rule):
                holds = UNKNOWN
            elif few:
                holds |= UNKNOWN
            if walk.fires and any(
                [*comparisons(rule[key], PAST)] for key in ("when", "except") if key in rule
            ):
                holds |= {False, None}  # its end compares with what was before the alert
            ours = [
                (k, each) for k, each in enumerate(said)
                if look.at - 2 <= each.at < until - 2 and about(each, names)
            ]  # fmt: skip
            heard |= {k for k, _ in ours}
            stopped = any(each.end and look.at < each.end < until for each in spans)
            held = few or on_hold(told, rule)
            kinds = [kind_of(each) for _, each in ours]
            walk.look(look, holds, kinds, disabled=stopped, held=held)
            if walk.absent >= 2 and not held:
                walk.restarted()
    lost = Walk()
    lost.wrong = [
        ("false", f"unexpected at {clock(each.at)}: {first(each)}")
        for k, each in enumerate(said) if k not in heard
    ]  # fmt: skip
    return walks | {"nobody": lost}


def keeps(earlier: dict[str, Any], rule: dict[str, Any]) -> bool:
    """Whether the history has what the rule compares: of pages only what some rule compared."""

    def compared(one: dict[str, Any]) -> set[str]:
        return {key for part in ("when", "except") for key, _ in comparisons(one.get(part, {}))}

    return rule["watch"] != "pages" or compared(rule) <= compared(earlier)


def changed(told: FigureHistory, name: str, walk: Walk, look: Look) -> None:
    """What an edit, or a time in which the rule was disabled, makes of its state."""
    assert walk.rule is not None
    off = not any(
        each.at(at) for at in between(told, name, walk.at, look.at) for each in told.rules[name]
    )
    if off or any(walk.rule.get(part) != look.rule.get(part) for part in ANOTHER_ALERT):
        walk.restarted()
        walk.edited = walk.fires and not off
        walk.fires = walk.fires and not off


def between(told: FigureHistory, name: str, since: float, until: float) -> list[float]:
    """Moments at which the rule had just ended and may be away."""
    return [
        each.end + 0.5 for each in told.rules[name] if each.end and since < each.end + 0.5 < until
    ]


def told_by_api(told: FigureHistory, look: Look) -> bool:
    """Whether the API has told of the earlier days that a share or average is compared with."""
    tests = [test for key in ("when", "except") for _, test in comparisons(look.rule.get(key, {}))]
    zone, rule = ZoneInfo(told.zone), look.rule
    day = datetime.fromtimestamp(look.at, zone).date()
    days = timedelta(seconds=figure(rule.get("over_last", "30d")) or 0)
    backs = [timedelta(seconds=figure(it["against"]) or 0) for it in tests if "against" in it]
    firsts = {(day - days - back).isoformat() for back in backs}
    return any(
        look.at - DAY < it.at <= look.at + 60 and it.kind == rule["watch"] and not it.one
        and it.query.get("fromdate") in firsts and query(rule).items() <= it.query.items()
        for it in told.answers
    )  # fmt: skip


def shared_past(told: FigureHistory, look: Look, seen: list[Look]) -> bool:
    """Whether other rules asked the same before this one did."""
    first_seen = seen[0].at if seen else look.at
    zone = ZoneInfo(told.zone)
    return any(
        it.at < first_seen - 60 and it.kind == look.rule["watch"] and asked(look.rule, it, zone)
        for it in told.answers
    )


def on_hold(told: FigureHistory, rule: dict[str, Any]) -> bool:
    """Whether the API ignores a filter that the rule needs."""
    return not told.ignored.isdisjoint(query(rule))


def about(said: Said, names: set[str]) -> bool:
    return any(first(said).endswith(f" · {name} · {HOST}") for name in names if name)


def first(said: Said) -> str:
    return said.text.partition("\n")[0]


def kind_of(said: Said) -> str:
    line = first(said)
    return "resolved" if "Resolved" in line or "Ended after" in line else "fired"


def counted(told: FigureHistory) -> Counter[str]:
    """How much there was to judge."""
    return Counter(looks=len(told.answers)) + Counter(
        kind_of(each) for each in told.said if each.channel != "#ops"
    )


def clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%d %H:%M:%S")
