"""The weekly report in words: what rules found, where, and what needs attention."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import reduce
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from bot.messages import links
from bot.messages.message import MOST_ITEMS, PLACE, Line, Message, Part, line_of, span_of
from bot.messages.text import and_more, clean, cut, lasting, number
from bot.ports import Addresses, Task

ICON = "📊"

FEW_RATED, HARDLY_USEFUL = 5, 50
"""A rule with so many rated messages of which fewer percent were useful needs attention."""


class RuleWeek(Struct, frozen=True, kw_only=True):
    """A rule's matches in the week and in the one before; `useful` of its `rated` messages were.

    `before` is None where nobody watched then, or (`new`) not for all of that week; `silent`: it
    has matched nothing for four weeks.
    """

    rule: str
    summary: str
    matches: int
    before: int | None = None
    new: bool = False
    useful: int | None = None
    rated: int = 0
    silent: bool = False


class BudgetWeek(Struct, frozen=True, kw_only=True):
    """A budget that counts the website: how much is used, and when it runs out, if it does."""

    name: str
    used: int
    of: int
    ends: datetime | None = None


class Trend(Struct, frozen=True, kw_only=True):
    """How many sessions there were, and how many reached this friction; the week before, too.

    `without`: of so many websites of a report the figures are unknown.
    """

    friction: float
    sessions: int
    high: int
    sessions_before: int
    high_before: int
    without: int = 0


class Week(Struct, frozen=True, kw_only=True):
    """All that a weekly report tells. `lasted` is the median of the alerts that ended.

    `websites` are the matches on each, of a report about several, `without` those whose figures
    could not be read. `new` are websites and rules with matches that were not watched for all of
    the week before.
    """

    since: datetime
    until: datetime
    rules: tuple[RuleWeek, ...] = ()
    fired: int = 0
    ended: int = 0
    lasted: timedelta | None = None
    firing: tuple[str, ...] = ()
    pages: tuple[tuple[str, int], ...] = ()
    budgets: tuple[BudgetWeek, ...] = ()
    trend: Trend | None = None
    websites: tuple[tuple[str, int], ...] = ()
    without: tuple[str, ...] = ()
    new: tuple[str, ...] = ()

    @property
    def several(self) -> str:
        """`6 websites`, of a report about several; else empty."""
        return f"{number(len(self.websites))} websites" if self.websites else ""


def together(weeks: Sequence[tuple[str, Week]], lasted: timedelta | None) -> Week:
    """The weeks of several websites (name, week) as one; `lasted` is the median of all alerts.

    The share of sessions with friction is that of the websites for which it is known.
    """
    all_of = [week for _, week in weeks]
    rules: dict[str, RuleWeek] = {}
    pages = Counter[str]()
    for week in all_of:
        for each in week.rules:
            rules[each.rule] = _sum(rules[each.rule], each) if each.rule in rules else each
        pages.update(dict(week.pages))
    trends = [week.trend for week in all_of if week.trend is not None]
    trend = reduce(_sum_of_trends, trends) if trends else None
    counts = [(name, sum(each.matches for each in week.rules)) for name, week in weeks]
    return Week(
        since=all_of[0].since,
        until=all_of[0].until,
        rules=tuple(rules.values()),
        fired=sum(week.fired for week in all_of),
        ended=sum(week.ended for week in all_of),
        lasted=lasted,
        firing=tuple(dict.fromkeys(name for week in all_of for name in week.firing)),
        pages=tuple(pages.most_common()),
        budgets=tuple({each.name: each for week in all_of for each in week.budgets}.values()),
        trend=trend and replace(trend, without=len(all_of) - len(trends)),
        websites=tuple(sorted(counts, key=lambda it: -it[1])),
        new=tuple(dict.fromkeys(name for week in all_of for name in week.new)),
    )


def _sum(one: RuleWeek, other: RuleWeek) -> RuleWeek:
    before = [each.before for each in (one, other) if each.before is not None]
    new = one.new or other.new
    known = sum(before) if before and not new else None
    return replace(one, matches=one.matches + other.matches, before=known, new=new)


def _sum_of_trends(one: Trend, other: Trend) -> Trend:
    return Trend(
        friction=one.friction,
        sessions=one.sessions + other.sessions,
        high=one.high + other.high,
        sessions_before=one.sessions_before + other.sessions_before,
        high_before=one.high_before + other.high_before,
    )


def weekly(task: Task, addresses: Addresses, week: Week) -> Message:
    """The report: the week's matches against the week before, then a line for each subject."""
    headline, lines = in_words(week, addresses.zone)
    shown = sorted((each for each in week.rules if each.matches), key=lambda it: -it.matches)
    page, site = links.page(addresses, ""), task.subject.website
    return Message(
        icon=ICON,
        headline=headline,
        url=page or links.website(task.subject, addresses),
        place=week.several or cut(clean(site.name or site.id), PLACE),
        why=tuple(map(line_of, lines)),
        items=tuple(_rule(each, addresses) for each in shown[:MOST_ITEMS]),
        more=sum(each.matches for each in shown[MOST_ITEMS:]),
        links=(("Open overview", page),) if page else (),
        context=(span_of(week.since, week.until, task.now, addresses),),
        account=addresses.account,
    )


def in_words(week: Week, zone: str) -> tuple[str, tuple[str, ...]]:
    """The headline and the lines of the report; what each rule matched follows."""
    total = sum(each.matches for each in week.rules)
    before = [each.before for each in week.rules if each.before is not None]
    change = _change(total, sum(before)) if before and not week.new else ""
    counted = f"{number(total)} match{'' if total == 1 else 'es'}" if total else "no matches"
    lines = (
        _without(week.without),
        _not_compared(week.new),
        _alerts(week),
        _trend(week.trend, len(week.websites)),
        _websites(week.websites),
        _pages(week.pages),
        *_budgets(week.budgets, zone),
        *_worth_a_look(week.rules),
    )
    compared = f", {change} the week before" if change else ""
    return f"{_week_of(week, zone)}: {counted}{compared}", tuple(filter(None, lines))


def _week_of(week: Week, zone: str) -> str:
    """`Week 47`, of the last whole day of the week that the report covers."""
    last = (week.until - timedelta(days=1)).astimezone(ZoneInfo(zone)).date()
    return f"Week {last.isocalendar().week}"


def _change(now: int, before: int) -> str:
    """`12 % fewer than`, `as many as`; empty if there is nothing to compare with."""
    if not before:
        return ""
    percent = round(100 * (now - before) / before)
    if not percent:
        return "as many as"
    return f"{number(abs(percent))} % {'more' if percent > 0 else 'fewer'} than"


def _without(websites: Sequence[str]) -> str:
    if not websites:
        return ""
    their = "its" if len(websites) == 1 else "their"
    return (
        f"Without {_few(websites)}: {their} figures could not be read. The bot retries for 2 days."
    )


def _not_compared(new: Sequence[str]) -> str:
    are = "is" if len(new) == 1 else "are"
    return f"No comparison with the week before: {_few(new)} {are} new." if new else ""


def _few(names: Sequence[str]) -> str:
    return f"{', '.join(clean(name, 60) for name in names[:3])}{and_more(len(names) - 3)}"


def _alerts(week: Week) -> str:
    if not week.fired and not week.firing:
        return ""
    told = f"{number(week.fired)} alert{'' if week.fired == 1 else 's'} fired"
    if week.ended:
        told += f", {number(week.ended)} ended"
        told += f" (median {lasting(week.lasted)})" if week.lasted else ""
    names = ", ".join(clean(name, 80) for name in week.firing[:3])
    more = and_more(len(week.firing) - 3)
    return f"{told}.{f' Firing now: {names}{more}.' if names else ''}"


def _trend(trend: Trend | None, websites: int) -> str:
    """`Friction 2.5+ in 4.2 % of 1,000 sessions`, and on how many websites if not on all."""
    if trend is None or not trend.sessions:
        return ""
    known = f"{number(websites - trend.without)} of {number(websites)} websites"
    where = f" on {known}" if trend.without else ""
    share = 100 * trend.high / trend.sessions
    told = (
        f"Friction {number(trend.friction)}+ in {number(round(share, 1))} % of "
        f"{number(trend.sessions)} sessions{where}"
    )
    if not trend.sessions_before:
        return f"{told}."
    before = 100 * trend.high_before / trend.sessions_before
    return (
        f"{told}, {number(round(before, 1))} % of {number(trend.sessions_before)} the week before."
    )


def _pages(pages: Sequence[tuple[str, int]]) -> str:
    told = ", ".join(f"{number(count)} on {clean(page, 60)}" for page, count in pages[:3])
    return f"Where rules matched most: {told}." if told else ""


def _websites(websites: Sequence[tuple[str, int]]) -> str:
    told = ", ".join(f"{number(count)} on {clean(name, 60)}" for name, count in websites[:3])
    return f"By website: {told}{and_more(len(websites) - 3)}." if told else ""


def _budgets(budgets: Iterable[BudgetWeek], zone: str) -> list[str]:
    return [
        f"{clean(each.name, 80)}: {number(int(100 * each.used / each.of))} % used "
        f"({number(each.used)} of {number(each.of)})"
        + (f", runs out {_day(each.ends, zone)}." if each.ends and each.used < each.of else ".")
        for each in budgets
        if each.of
    ]


def _day(at: datetime, zone: str) -> str:
    local = at.astimezone(ZoneInfo(zone))
    return f"{local.day} {local:%b}"


def _worth_a_look(rules: Iterable[RuleWeek]) -> list[str]:
    """Rules that people call useless, or that no longer match."""
    found = []
    for each in rules:
        useless = each.rated - (each.useful or 0)
        if each.rated >= FEW_RATED and 100 * useless > (100 - HARDLY_USEFUL) * each.rated:
            found.append(
                f"Worth a look: {each.rule}, {number(useless)} of {number(each.rated)} messages "
                "were not useful. Make it stricter, or disable it."
            )
        elif each.silent:
            found.append(f"Worth a look: {each.rule} has matched nothing for 4 weeks.")
    return found[:MOST_ITEMS]


def _rule(each: RuleWeek, addresses: Addresses) -> Line:
    """`142 Frustrated visitor in the checkout · 31 % fewer than the week before · 91 % useful`."""
    url = links.page(addresses, "rules", each.rule)
    change = "" if each.before is None else _change(each.matches, each.before)
    useful = ""
    if each.rated and each.useful is not None:
        useful = f"{100 * each.useful // each.rated} % useful"
    told = (f"{change} the week before" if change else "", useful)
    rest = tuple(Part(f" · {line}") for line in told if line)
    return (Part(f"{number(each.matches)} × "), Part(clean(each.summary), url=url), *rest)
