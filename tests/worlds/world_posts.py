"""Compares what a world's rules posted with what the docs promise of it.

Each rule that posts has a channel of its own. Written from `docs/reference/actions.md`,
`docs/reference/configuration.md` and `docs/explanation/levels.md`; what a rule matched is judged
in `world_verdicts.py`.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from judge import figure, in_hours, watches
from world_history import History, Match, Said, Span
from world_verdicts import MINUTE, Difference, heeded_never, well

WRITES = 15 * MINUTE
"""Posts wait so long for the tags of their match."""

LATE_ROWS = 5 * MINUTE
"""An alert about too few sessions waits so long for rows that come late."""


QUIET, OVER = "while it was quiet", " · over after "
"""How messages after a quiet time begin, and what lines of alerts say that ended in it."""


def unsaid(told: History) -> Iterator[Difference]:
    """Where posts and promises differ."""
    for name, spans in told.rules.items():
        rule = spans[0].what
        if len(spans) > 1 or "slack" not in rule["do"]:
            continue
        said = [each for each in told.said if each.channel == f"#{name}"]
        made = [it for it in told.matches if it.rule == name and it.acted]
        if "at_most" in rule.get("count", {}):
            found = _too_few(told, name, spans[0], said)
        else:
            found = _posts(told, rule, said, [it for it in made if it.recording in told.recordings])
        for judge, bot in (*_in_quiet(told, rule, said), *found):
            yield Difference("posts", told.seed, name, rule, "all of these", judge, bot)


def _in_quiet(told: History, rule: dict[str, Any], said: list[Said]) -> Iterator[tuple[str, str]]:
    for span in told.quiet:
        for each in said:
            inside = span.start + MINUTE < each.at < (span.end or 0) - 1
            if inside and rule.get("severity") != "critical":
                yield "nothing is posted in a quiet time", _line(each)


def _posts(
    told: History, rule: dict[str, Any], said: list[Said], made: list[Match]
) -> Iterator[tuple[str, str]]:
    own: dict[str, list[Said]] = {}
    many: list[tuple[Said, int]] = []
    for each in said:
        first = each.text.partition("\n")[0]
        if found := re.match(r"\S+ ([0-9,]+) (more|match|matches)\b", first):
            many.append((each, int(found[1].replace(",", ""))))
        elif found := re.search("/recordings/([0-9a-f]+)/play", each.text):
            own.setdefault(found[1], []).append(each)
    for recording, posts in own.items():
        if len(posts) > 1:
            yield "one post of a match", " and ".join(map(_line, posts))
        if not any(it.recording == recording for it in made):
            yield "only matches are posted", _line(posts[0])
    post, total = rule["do"]["slack"], sum(number for _, number in many)
    if told.quiet and rule.get("severity") != "critical":
        return
    yield from _out_of_hours(told, rule, said)
    if "digest" in post:
        if own:
            yield "all matches come in the digest", _line(next(iter(own.values()))[0])
        due = _digests(told, rule, post["digest"])
        # A post comes after what the rule writes, and these read the detail first.
        waits = {"variables", "share", "untag"} & rule["do"].keys() and "detail" in told.broken
        least = sum(it.at < due - 2 * MINUTE for it in made) if due and not waits else 0
        last = many[-1][0].at if many else told.end
        most = sum(it.at < last + MINUTE for it in made)
        if not least <= total <= most:
            yield f"digests tell of {least} to {most} matches", f"{total} in digests"
        return
    sure = [it for it in made if it.at < told.end - WRITES - 12 * MINUTE and _up(told, it.at)]
    waits = {"at_most", "active", "after_downtime"} & {*post, *rule}
    if not waits:
        for it in sure:
            if it.recording not in own:
                yield "each match is posted", f"no post of {it.recording}, matched {_time(it.at)}"
        return
    ended = "active" not in rule or in_hours(told.zone, rule["active"], told.end - WRITES)
    if ended and len(sure) == len(made) and len(own) + total != len(made):
        yield f"{len(made)} matches are posted or in digests", f"{len(own)} posts, {total} more"


def _out_of_hours(
    told: History, rule: dict[str, Any], said: list[Said]
) -> Iterator[tuple[str, str]]:
    """Outside its hours a rule posts nothing; a minute at their edges is open."""
    for each in said if "active" in rule else ():
        if not any(
            in_hours(told.zone, rule["active"], each.at + step) for step in (-MINUTE, MINUTE)
        ):
            yield f"posts in {rule['active']} alone", _line(each)


def _up(told: History, at: float) -> bool:
    """Whether the bot ran long enough after that moment to post, if need be after a restart."""
    return any((span.end or told.end) - max(span.start, at) > WRITES for span in told.well)


def _digests(told: History, rule: dict[str, Any], at: str) -> float | None:
    """The last time at which a digest was due that the bot could post, then or later."""
    zone = ZoneInfo(told.zone)
    day = datetime.fromtimestamp(told.well[0].start, zone).date()
    hour, minute = map(int, at.split(":"))
    found = None
    for n in range(4):
        moment = datetime.combine(day + timedelta(days=n), time(hour, minute), zone).timestamp()
        if told.well[0].start < moment and _open(told, rule, moment):
            found = moment
    return found


def _open(told: History, rule: dict[str, Any], since: float) -> bool:
    """Whether the bot ran for 5 minutes on end after that moment in which the rule may post.

    "A digest that is due … outside the hours waits too": until they begin.
    """
    for span in told.well:
        at = max(span.start, since)
        while at + 5 * MINUTE < (span.end or told.end):
            both = (at, at + 5 * MINUTE)
            if "active" not in rule or all(in_hours(told.zone, rule["active"], it) for it in both):
                return True
            at += MINUTE
    return False


def _too_few(told: History, name: str, span: Span, said: list[Said]) -> Iterator[tuple[str, str]]:
    """An alert while at most so many sessions came: neither without reason nor in silence."""
    rule = span.what
    most, within = rule["count"]["at_most"], figure(rule["count"]["within"]) or 0
    wait = told.settle + LATE_ROWS
    for site, spans in told.sites.items():
        names = [each.what for each in spans]
        posts = [each for each in said if any(_about(each, its) for its in names)]
        matched = [
            (told.recordings[it.recording], it.at)
            for it in told.matches
            if it.rule == name and it.recording in told.recordings
            and told.recordings[it.recording].site == site
        ]  # fmt: skip
        came = sorted(rec.last for rec, _ in matched)
        for at in (it.at for it in told.matches if it.rule == name and it.recording == site):
            bot = f"an alert at {_time(at)}"
            sure = [
                rec
                for rec, counted in matched  # at that moment, if it was still going on
                if at - within <= min(rec.last, counted)
                and max(rec.last, rec.appeared, *rec.moments) <= at - wait - MINUTE
            ]
            if len(sure) > most:
                yield f"{len(sure)} sessions came within {within:.0f} s", bot
            if at < span.start + within:
                yield "the bot has not watched for so long", bot
        fires = False
        for each in posts:
            head = each.text.partition("\n")[0]
            if QUIET not in head:  # else it tells of what was so before it
                resolved = "Resolved" in head
                if resolved and not fires:
                    yield "an end of nothing", _line(each)
                if not resolved and fires:
                    yield "an alert fires once", _line(each)
            fires = not _ends(each)
        quiet = told.quiet and rule.get("severity") != "critical"
        if len(names) > 1 or quiet or heeded_never(told, rule) or not watches(rule, names[0], site):
            continue
        for calm in well(told, rule):
            begin = max(span.start, calm.start)
            close = min(each.end or told.end for each in (span, calm))
            for start, end in pairwise([begin, *came, close]):
                since = max(begin, start + 0.001)
                due = since + within + wait + 6 * told.poll + 5 * MINUTE
                if due < min(end, close) and not _fires(posts, due):
                    yield f"nobody came from {_time(since)} to {_time(end)}", "no alert"


def _fires(posts: list[Said], at: float) -> bool:
    """Whether the last post before that moment says that the alert fires."""
    before = [each for each in posts if each.at <= at]
    return bool(before) and not _ends(before[-1])


def _ends(said: Said) -> bool:
    """Whether it tells of an end, or after a quiet time of what began and ended in it."""
    head, *lines = said.text.split("\n")
    told = [line for line in lines if line.startswith("• ")]
    passed = QUIET in head and all(OVER in line for line in told)
    return passed or "Resolved" in head


def _about(said: Said, name: str) -> bool:
    return said.text.partition("\n")[0].endswith(f"· {name}")


def _line(said: Said) -> str:
    return f"at {_time(said.at)}: {said.text[:120]!r}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%d %H:%M:%S")
