"""Weekly reports: when each is due, and what the latest ones said."""

from collections.abc import Iterable

import msgspec

from bot.messages.text import clean
from bot.messages.weekly import RuleWeek, Week, in_words
from bot.rules.model import Report
from bot.store.matches_now import MatchNow, weekly_reports
from bot.web.read.world import World, outcome_of
from bot.web.views import PlannedReport, Reports, WeeklyReport
from bot.weekly import SOURCE

MOST = 50
"""Reports of one name that the page shows, of all websites."""


def reports(seen: World) -> Reports:
    """Read them."""
    conn, facts = seen.conn, seen.facts
    found = [
        _written(each, params, report, seen)
        for report in facts.rules().reports
        for each, params in weekly_reports(conn, f"{SOURCE}{report.id}", MOST)
    ]
    found.sort(key=lambda it: (it.at, it.website), reverse=True)
    return Reports(frame=seen.frame, planned=tuple(planned(seen)), reports=tuple(found))


def planned(seen: World) -> Iterable[PlannedReport]:
    """The reports of the rule files, the one that is due next first."""
    facts = seen.facts
    zone, channel = facts.settings.mouseflow.time_zone, facts.settings.slack.channel
    found = (
        PlannedReport(
            id=each.id,
            summary=clean(each.summary or each.id),
            place=clean(each.channel or channel or ""),
            websites=tuple(map(clean, each.websites)),
            next_at=each.at.following(seen.now, zone),
            file="/".join(each.file.split("/")[-2:]),
            line=each.line,
        )
        for each in facts.rules().reports
    )
    return sorted(found, key=lambda it: it.next_at)


class _Params(msgspec.Struct):
    week: Week | None = None


def _written(match: MatchNow, params: str, report: Report, seen: World) -> WeeklyReport:
    """A report as it was posted."""
    try:
        week = msgspec.json.decode(params, type=_Params).week
    except msgspec.MsgspecError:
        week = None  # another version wrote it
    zone = seen.facts.settings.mouseflow.time_zone
    headline, lines = in_words(week, zone) if week else ("", ())
    state, outcome, _at, _lag = outcome_of(match, seen)
    return WeeklyReport(
        key=match.key,
        report=report.id,
        website=week.several if week and week.several else seen.name(match.website),
        at=match.matched,
        state=state,
        outcome="Posted" if state == "ok" else outcome,
        headline=headline,
        lines=tuple(map(clean, lines)),
        week=week and msgspec.structs.replace(week, rules=_by_matches(week)),
    )


def _by_matches(week: Week) -> tuple[RuleWeek, ...]:
    return tuple(sorted(week.rules, key=lambda it: -it.matches))
