"""Compares what the bot matched in a world with what it should have.

Time matters: a rule must match where its condition holds from the moment the session is over
until the bot has had time to see that; it may match at any moment at which its condition holds
and the docs let it decide. Between the two either is right.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from judge import LATE, figure, matches, phase, reads, watches, why_not
from world_history import History, Match, Recording, Span

MINUTE = 60.0
LATEST_READ = 2 * MINUTE
"""What a match rests on was read no longer ago than this; calls of its poll may take a minute."""

AGAIN = {"detail": 10 * MINUTE}
"""How often what fails is tried again, so how long after its end a trouble may last."""

NOTICED = 60 * MINUTE
"""A recording that is gone is looked for once an hour; until then its row may decide."""

MARKS = {"tag": "tags", "untag": "tags", "variable": "variables"}
"""Which field a mark changes, where the two have different names."""

ASKED = {"friction": "frictionmin", "visitor_type": "visitortype", "search": "search"}


@dataclass(frozen=True, slots=True)
class Difference:
    """Where bot and judge differ: a match missed, late, false, twice, or without its tag."""

    kind: str
    seed: int
    rule: str
    text: Any
    recording: str
    judge: str
    bot: str

    def __str__(self) -> str:
        head = f"{self.kind.upper()} in world {self.seed}: rule {self.rule} and {self.recording}"
        return f"{head}\n  rule   {self.text}\n  judge  {self.judge}\n  bot    {self.bot}"


def differences(told: History) -> Iterator[Difference]:
    """All differences of a world."""
    found: dict[tuple[str, str], list[Match]] = {}
    for match in told.matches:
        found.setdefault((match.rule, match.recording), []).append(match)
    for name, spans in told.rules.items():
        ours = [it for it in told.matches if it.rule == name]
        for judge, bot in limits(told, spans[0].what, ours) if len(spans) == 1 else ():
            yield Difference("limit", told.seed, name, spans[0].what, "all of these", judge, bot)
        for rec in told.recordings.values():
            made = found.get((name, rec.id), [])
            for kind, text, judge, bot in _compared(told, name, spans, rec, made):
                yield Difference(kind, told.seed, name, text, rec.id, judge, bot)


def counted(told: History) -> Counter[str]:
    """How many pairs of rule and recording were judged, and how many must match."""
    total: Counter[str] = Counter()
    for spans in told.rules.values():
        for rec in told.recordings.values():
            total["pairs"] += 1
            total["must"] += bool(must(told, spans, rec))
    return total + Counter(matches=len(told.matches), recordings=len(told.recordings))


def _compared(
    told: History, name: str, spans: list[Span], rec: Recording, made: list[Match]
) -> Iterator[tuple[str, Any, str, str]]:
    sure = must(told, spans, rec)
    if sure and (not made or made[0].at > sure[2] + LATEST_READ):
        text, since, until = sure
        when = f"held from {_time(since)} to {_time(until)}; {_story(rec)}"
        bot = f"matched at {_time(made[0].at)}" if made else "no match"
        yield "late" if made else "missed", text, when, bot
    if len(made) > 1:
        yield "double", spans[-1].what, "once, ever", f"matched {len(made)} times"
    for match in made:
        reasons = [why_never(told, spans, span, rec, match.at) for span in spans]
        if all(reasons):
            best = max(zip(spans, reasons, strict=True), key=lambda it: it[0].at(match.at))
            bot = f"matched at {_time(match.at)}"
            yield "false", best[0].what, f"{best[1]}; {_story(rec)}", bot
        wanted = f"bot-{name}"
        if match.acted and rec.deleted is None and not any(
            act == "tag" and what == wanted for _, act, what in rec.acts
        ):  # fmt: skip
            yield "undone", spans[-1].what, f"the tag {wanted} is set", "matched, but no such tag"


def must(told: History, spans: list[Span], rec: Recording) -> tuple[Any, float, float] | None:
    """The rule and the time in which its condition held, where it had to match; else None."""
    over = rec.last + told.settle
    first = must_from(told, spans, rec, max(over, rec.appeared))
    late = told.marks_noticed
    found = (
        must_from(told, spans, rec, at, late)
        for span in spans
        for at in marks(told, rec, span.what)
        if over < at and noted(told, span) < at and span.at(at)
    )
    return first or next(filter(None, found), None)


def marks(told: History, rec: Recording, rule: dict[str, Any]) -> list[float]:
    """When people marked the recording, in time, with something that the rule reads.

    The bot's own tags are no marks of people, and what was there before is no new mark.
    """
    asked = reads(rule)
    return [
        at
        for at, act, what in rec.acts
        if at <= rec.last + told.marks
        and MARKS.get(act, act) in asked
        and (at, act, what) not in rec.by_bot
        and told.view(rec, at - 0.001, rule) != told.view(rec, at, rule)
    ]


def noted(told: History, span: Span) -> float:
    """By when the rule's first poll has noted what is marked: right away, unless calls fail, or no
    detail can be read.
    """
    at, again = span.start, 3 * told.poll + 3 * MINUTE
    for each in sorted(told.broken.get("detail", ()), key=lambda it: it.start):
        if each.start <= at <= (each.end or told.end):
            at = (each.end or told.end) + again
    return at + told.longest_poll + (told.poll if told.calls_fail else 0)


def must_from(
    told: History, spans: list[Span], rec: Recording, moment: float, late: float = 0
) -> tuple[Any, float, float] | None:
    """The same, where it has to be decided from that moment on."""
    skew = abs(told.skew)
    since = max(moment - skew - 2, rec.appeared) if moment <= rec.last + told.settle else moment
    span = next((each for each in spans if each.at(since)), None)
    if span is None or heeded_never(told, span.what):
        return None
    until = decided(told, span.what, moment + skew, late)
    if until is None or not span.at(until) or (rec.deleted or until + 1) <= until:
        return None
    if rec.last < watched_since(told, rec, since) + skew + 5:
        return None
    lag = told.renamed_late
    if not all(watches(span.what, it, rec.site) for it in names(told, rec, since - lag, until)):
        return None
    points = [since, until, *(at for at in rec.moments if since < at < until)]
    if all(matches(span.what, told.view(rec, at, span.what)) for at in points):
        return span.what, since, until
    return None


def why_never(told: History, spans: list[Span], span: Span, rec: Recording, at: float) -> str:
    """Why a match at that moment is wrong by this rule; empty if it is right."""
    skew, rule = abs(told.skew), span.what
    if at < span.start - 1 or (span.end is not None and at > span.end + MINUTE):
        return "the rule was not in force"
    if at < rec.appeared - skew - MINUTE:
        return "there was no such recording"
    if rec.deleted is not None and at > rec.deleted + NOTICED:
        return f"it was deleted at {_time(rec.deleted)}"
    over = min(rec.last, rec.deleted or rec.last) + told.settle
    if phase(rule) == LATE and at < over - skew - told.longest_poll:
        return f"this rule waits until the session is over, at {_time(over)}"
    if rec.last < watched_since(told, rec, at) - skew - 5:
        return "it ended before the bot began to watch"
    past = decided(told, rule, max(over + skew, rec.appeared))
    marked = any(span.start <= when <= at for when in marks(told, rec, rule))
    held = any(may_be_held(told, each.what) for each in spans if each.start < span.start)
    if past is not None and past < span.start - 1 and not marked and not held:
        return f"it was decided at {_time(past)}, before this rule came at {_time(span.start)}"
    if not any(watches(rule, site, rec.site) for site in names(told, rec, at - 1000, at)):
        return "the rule does not watch that website"
    points = _moments(rec, at - LATEST_READ - skew, at + skew + MINUTE)
    why = [why_not(rule, told.view(rec, point, rule)) for point in points]
    return why[-1] if all(why) else ""


def decided(told: History, rule: dict[str, Any], since: float, late: float = 0) -> float | None:
    """When the bot must have decided what could be decided since then; None if never.

    `late`: so long it may take to look again, also after a trouble.
    """
    enough = 3 * told.poll + 3 * MINUTE
    for span in well(told, rule):
        begin = max(span.start, since) + late
        if begin + enough <= (told.end if span.end is None else span.end):
            return begin + enough
    return None


def well(told: History, rule: dict[str, Any]) -> list[Span]:
    """Times in which the bot ran and could ask whatever this rule needs."""
    needs = {"detail"} | {ASKED[name] for name in reads(rule) & ASKED.keys()}
    trouble = sorted(
        (
            (each.start, (each.end or told.end) + AGAIN.get(what, 0))
            for what in needs
            for each in told.broken.get(what, [])
        ),
    )
    found = []
    for span in told.well:
        end = told.end if span.end is None else span.end
        begin = span.start
        for start, stop in (*trouble, (end, end)):
            if begin < min(start, end):
                found.append(Span(begin, "well", min(start, end)))
            begin = max(begin, stop)
    return found


def heeded_never(told: History, rule: dict[str, Any]) -> bool:
    """Whether the API ignores a filter that the rule needs."""
    return any(ASKED[name] in told.ignored for name in reads(rule) & ASKED.keys())


def may_be_held(told: History, rule: dict[str, Any]) -> bool:
    """Whether the rule was on hold at some time: then its next version catches up, too."""
    asked = {ASKED[name] for name in reads(rule) & ASKED.keys()}
    return not asked.isdisjoint({*told.ignored, *told.broken})


def watched_since(told: History, rec: Recording, at: float) -> float:
    """From when on sessions count that end: the start, or the first rule for their website."""
    spans = sorted(
        (span.start, told.end if span.end is None else span.end)
        for each in told.rules.values()
        for span in each
        if any(watches(span.what, name, rec.site) for name in names(told, rec, 0, told.end))
    )
    first = told.well[0].start
    line = until = first
    if not spans or spans[0][0] > first:
        line = until = spans[0][0] if spans else at
    for start, end in spans:
        if start > until + 1 and start <= at:
            line = start
        until = max(until, end)
    return line - told.start if line == first else line


def names(told: History, rec: Recording, since: float, until: float) -> list[str]:
    """The names that the recording's website had in that time."""
    return [
        span.what
        for span in told.sites[rec.site]
        if span.start <= until and (span.end is None or span.end >= since)
    ]


def _moments(rec: Recording, since: float, until: float) -> list[float]:
    """Moments at which something may be different, the last one last."""
    points = [at + step for at in rec.moments for step in (-0.01, 0.01) if since < at < until]
    live = max(0.0, min(until, rec.last + 5) - since)
    points += [since + 5 * n for n in range(int(live // 5) + 1)]
    return [*sorted(points), until]


def _story(rec: Recording) -> str:
    """The recording's times and what people did to it."""
    acts = [f"{act} {what} at {_time(at)}" for at, act, what in rec.acts]
    told = f"began {_time(rec.start)}, last activity {_time(rec.last)}"
    return ", ".join([told, f"appeared {_time(rec.appeared)}", *acts])


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%d %H:%M:%S")


# Limits: bounds that hold in whatever order sessions were seen, since a session stands for all
# of its time until it is over.


def limits(told: History, rule: dict[str, Any], made: list[Match]) -> Iterator[tuple[str, str]]:
    """What `count`, `once_per` and `safety` forbid or demand of which matches had actions."""
    if "at_most" in rule.get("count", {}):
        return  # each session that counts is a match without actions
    if "count" in rule:
        yield from _counted(told, rule, made)
    elif "once_per" in rule:
        yield from _once(told, rule, made)
    elif "safety" in rule:
        yield from _safe(told, rule["safety"], made)
    elif any(not match.acted for match in made):
        yield "the rule has no limits", "matches without actions"


def _counted(told: History, rule: dict[str, Any], made: list[Match]) -> Iterator[tuple[str, str]]:
    count = rule["count"]
    least, within = count["at_least"], figure(count["within"]) or 0
    groups: dict[Any, list[Match]] = {}
    for it in made:
        groups.setdefault(grouped(told, rule, it, count["by"]), []).append(it)
    for name, group in groups.items():
        if not name:
            continue
        acted = sum(it.acted for it in group)
        spans = sorted((told.recordings[it.recording] for it in group), key=lambda rec: rec.last)
        runs = [spans[n : n + least] for n in range(len(spans) - least + 1)]
        sure = any(run[-1].last - min(rec.start for rec in run) <= within for run in runs)
        if acted > len(group) // least:
            yield f"at most {len(group) // least} of {len(group)} of {name}", f"{acted} acted"
        if sure and not acted:
            yield f"{least} within {count['within']} of {name}: one acts", "none acted"


def _once(told: History, rule: dict[str, Any], made: list[Match]) -> Iterator[tuple[str, str]]:
    ((name, window),) = rule["once_per"].items()
    within = figure(window) or 0

    def who(it: Match) -> tuple[Any, Recording]:
        return grouped(told, rule, it, name), told.recordings[it.recording]

    acted = [who(it) for it in made if it.acted]
    for n, (value, one) in enumerate(acted):
        for other, two in acted[n + 1 :]:
            span = max(one.last, two.last) - min(one.start, two.start)
            near = span + abs(told.skew) < within
            if value and value == other and near:
                yield f"once per {window}", f"acted for {one.id} and {two.id} of {value}"
    for value, one in (who(it) for it in made if not it.acted):
        near = any(
            other == value and max(one.start, two.start) - min(one.last, two.last) <= within
            for other, two in acted
        )
        if value and not near:
            yield f"no match of {value} had acted within the time", f"{one.id} did not act"


def grouped(told: History, rule: dict[str, Any], it: Match, name: str) -> Any:
    """The value by which a limit groups a match; None where it has none, or it has changed."""
    rec = told.recordings[it.recording]
    if name == "website":
        return rec.site
    field = {"visitor": "visitor_id", "page": "entry_page"}.get(name, name)
    then, after = (told.view(rec, at, rule)[field] for at in (it.at, it.at + MINUTE))
    return then if then == after else None


def _safe(told: History, safety: dict[str, Any], made: list[Match]) -> Iterator[tuple[str, str]]:
    most = int(safety["at_most"].split()[0])
    # What happened before the window is no flood, whenever it was caught up. A session stands for
    # all of its time, so one that began before the window and ended in it may count or not.
    ours = [(it, told.recordings[it.recording]) for it in sorted(made, key=lambda it: it.at)]
    sure = [(it, rec) for it, rec in ours if it.acted and rec.start > it.at - 3600]
    for n in range(len(sure) - most):
        run = sure[n : n + most + 1]
        happened = max(rec.last for _, rec in run) - min(rec.start for _, rec in run)
        found = run[-1][0].at - run[0][0].at
        if max(happened, found) < 3600:
            yield safety["at_most"], f"{len(run)} acted until {_time(run[-1][0].at)}"
    times = [it.at for it, rec in ours if it.acted and rec.last > it.at - 3600]
    first = next((it.at for it, _ in ours if not it.acted), None)
    if first is not None and sum(first - 3600 <= at <= first for at in times) < most:
        yield f"not paused before {most} had acted", f"paused at {_time(first)}"
