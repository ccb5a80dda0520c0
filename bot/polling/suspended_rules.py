"""Rules that wait for a filter: since when, and what they have not decided meanwhile.

They catch up with that once the filter works again (`bot/replay/backfill.py`).
"""

from collections.abc import Iterable, Mapping, Set
from datetime import datetime, timedelta

from bot.polling.candidates import Evaluation
from bot.polling.filter_checks import FILTERS, Filter
from bot.polling.live_sessions import LAG, LiveSessions
from bot.polling.session import last_activity
from bot.polling.site_rules import SiteRules
from bot.polling.watermark import Watermark

MOST_LATE = 1_000
"""Recordings to remember for a rule that catches up, beside the time from which it does."""


def counting_from(
    rules: SiteRules, before: Watermark | None, since: datetime, settle: timedelta
) -> dict[str, datetime]:
    """From when on sessions count for each rule that needs a filter.

    What had ended by the poll before a rule came is decided without it.
    """
    known = before.asking if before else None
    came = since if before is None or known is None else max(since, before.polled - settle)
    asking = rules.needing(FILTERS)
    return {
        rule.id: next((known[it] for it in (rule.id, *rule.was) if known and it in known), came)
        for rule in rules.final.rules
        if rule.id in asking
    }


def undecided_since(
    rules: SiteRules,
    suspended: Iterable[Filter],
    before: Watermark | None,
    since: datetime,
    asking: Mapping[str, datetime],
    settle: timedelta,
) -> dict[str, datetime]:
    """The rules that a filter suspends by now, each with the time from which it must catch up.

    The filter worked in the poll before, unless it was ignored since it was last proved to work.
    Sessions that were live then had not been decided.
    """
    polled, proved = (before.polled, before.proved) if before else (since, {})
    found: dict[str, datetime] = {}
    for name in suspended:
        worked = min(polled, proved.get(name, polled))
        for rule in rules.asking[name]:
            at = max(since, worked - settle - LAG, asking[rule])
            found[rule] = min(at, found.get(rule, at))
    return found


def still_waiting(rules: SiteRules, before: Watermark | None) -> dict[str, datetime]:
    """The rules that had to catch up before this poll, each with the time since when."""
    known = before.waiting if before else {}
    return {
        rule.id: known[name]
        for rule in rules.final.rules
        for name in (rule.id, *rule.was)
        if name in known
    }


def undecided_before(
    rules: SiteRules,
    waiting: Mapping[str, datetime],
    asking: Mapping[str, datetime],
    before: Watermark | None,
    live: LiveSessions,
    ended: Iterable[Evaluation],
    marked: Iterable[Evaluation],
    asked: Mapping[str, Set[str]],
) -> dict[str, dict[str, datetime]]:
    """What these rules have not decided though it ended before they began to wait.

    What was undecided when they began, and what has been evaluated without them since: sessions
    that `ended`, and those marked later that the rule was `asked` about.
    """
    known, late = (before.waiting, before.late) if before else ({}, {})
    ended_at, marked_at = _times(ended), _times(marked)
    open_ = {key: it.at for key, it in live.sessions.items() if it.at}
    found: dict[str, dict[str, datetime]] = {}
    for rule in rules.final.rules:
        if (since := waiting.get(rule.id)) is None:
            continue
        names = {rule.id, *rule.was}
        older = {key: at for name in names for key, at in late.get(name, {}).items()}
        undecided = ended_at if names & known.keys() else open_ | ended_at
        older |= {key: at for key, at in undecided.items() if at >= asking.get(rule.id, at)}
        about = asked.get(rule.id, frozenset())
        older |= {key: at for key, at in marked_at.items() if key in about}
        older = {key: at for key, at in older.items() if at < since}
        if older:
            found[rule.id] = most_recent(older)
    return found


def most_recent(late: Mapping[str, datetime]) -> dict[str, datetime]:
    """As many of these recordings as are remembered for a rule, each with its last activity."""
    return dict(sorted(late.items(), key=lambda it: it[1])[-MOST_LATE:])


def _times(evaluations: Iterable[Evaluation]) -> dict[str, datetime]:
    """When the last activity of each was, by the recording's id."""
    rows = (each.candidate.row for each in evaluations)
    return {row.id: at for row in rows if (at := last_activity(row))}
