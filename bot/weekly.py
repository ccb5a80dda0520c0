"""The weekly reports of rule files: what they tell is gathered when they are due, and posted once.

A report about several websites is one message. All but the share of sessions with friction comes
from the store; that costs five calls for each website.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from zoneinfo import ZoneInfo

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from bot.actions.slack import Weekly
from bot.budgets.state import budget_marks
from bot.domain.subjects import Site, WebsiteSubject, written
from bot.errors import BotError, StoreError, internal_error
from bot.messages import ops as messages
from bot.messages.ops import Notice
from bot.messages.weekly import BudgetWeek, RuleWeek, Trend, Week, together
from bot.polling.context import PollContext
from bot.polling.list_reader import narrowed, of_days
from bot.polling.ops_messages import announce
from bot.polling.server_facts import friction_is_ignored
from bot.polling.watermark import SOURCE as WATCHED
from bot.polling.watermark import Watermark
from bot.rules.model import Report, RuleSet, applies, names_site
from bot.store import Connection
from bot.store.matches import NewMatch, NewStep, add_match
from bot.store.overview import alerts_of, last_matches, matches_of, pages_of
from bot.store.presses import precision
from bot.store.recordings import set_watermark, watermark, watermarks_below
from bot.store.rules import rule_states
from mouseflow import recordings

log = structlog.get_logger(__name__)

WEEK = timedelta(days=7)

LATE = timedelta(days=2)
"""A report that is later than this, after a downtime, is left out."""

FRICTION = 2.5
"""The friction from which on a session counts as a bad one."""

SILENT = 4 * WEEK

AGAIN = timedelta(minutes=5)
"""How soon a report that failed is tried again; the wait doubles up to `SELDOM`."""

SELDOM = timedelta(hours=4)

FAILING = "reports failing"
"""The source under which the store keeps the reports that fail."""

SOURCE = "report/"
"""How the source begins under which the store keeps when a report was due last."""


class Due(Struct, frozen=True):
    """A report about a website that must be posted now; `at` is when it was due."""

    report: Report
    site: Site
    at: datetime


class Failing(msgspec.Struct, frozen=True):
    """A report that fails, with what failed first, and when it is tried again."""

    report: str
    site: str
    name: str
    due: datetime
    since: datetime
    again: datetime
    tries: int
    reason: str


async def post_reports(
    rules: RuleSet, sites: Sequence[Site], context: PollContext, now: datetime
) -> int:
    """Post the reports that are due; returns how many. A new report begins with its next time.

    One that fails is tried again later, and the others are posted; people are told once.
    """
    asked, zone = _asked(rules.reports, sites), context.zone.key
    marks, failing = await context.store.read(
        lambda conn: (watermarks_below(conn, SOURCE), _failing(conn))
    )
    due, unknown = due_reports(asked, now, zone, marks)
    if unknown:
        await context.store.run(lambda conn: _note(conn, unknown, now))
    ready: dict[str, list[Gathered]] = {}
    without: dict[str, list[str]] = {}
    failed = list[tuple[Due, str]]()
    for each in due:
        about = {"report": each.report.id, "website": each.site.name}
        known = failing.get((each.report.id, each.site.id))
        if known is not None and now < known.again <= now + SELDOM:
            without.setdefault(each.report.id, []).append(each.site.name or each.site.id)
            continue
        try:
            trend = await _trend(each, context)
            work = partial(_week, ruleset=rules, due=each, trend=trend, zone=context.zone)
            found = await context.store.read(work)
        except StoreError:
            raise
        except Exception as error:  # one website's unexpected data must not stop the others
            reason = internal_error(error)
            if known is None or known.reason != reason:
                log.exception("report.failed", **about)
            failed.append((each, reason))
            without.setdefault(each.report.id, []).append(each.site.name or each.site.id)
        else:
            ready.setdefault(each.report.id, []).append(found)
    for report, those in ready.items():
        await context.store.run(partial(_post, those, without.get(report, ()), context, now))
        names = ", ".join(each.due.site.name for each in those)
        log.info("report.posted", report=those[0].due.report.id, website=names)
    posted = len(ready)
    if failing or failed:
        told = partial(_tell, rules, sites, failed, context.routing.ops, now)
        posted += await context.store.run(told)
    return posted


def _failing(conn: Connection) -> dict[tuple[str, str], Failing]:
    text = watermark(conn, FAILING, "")
    found = msgspec.json.decode(text, type=tuple[Failing, ...]) if text else ()
    return {(it.report, it.site): it for it in found}


def _tell(
    rules: RuleSet,
    sites: Sequence[Site],
    failed: Sequence[tuple[Due, str]],
    ops: str | None,
    now: datetime,
    conn: Connection,
) -> int:
    """Note what fails, and tell people what is new and what has ended; returns how many messages.

    A report that nobody asks for any more is forgotten.
    """
    asked = {(report.id, site.id) for report, site in _asked(rules.reports, sites)}
    notices = dict[tuple[str, Callable[..., Notice]], list[Failing]]()
    still = dict[tuple[str, str], Failing]()
    for key, it in _failing(conn).items():
        mark = watermark(conn, f"{SOURCE}{it.report}/{it.site}", "")
        if key in asked and mark is not None and datetime.fromisoformat(mark) < it.due:
            still[key] = it
        elif key in asked:
            ended = messages.report_left_out if now - it.due > LATE else messages.report_works
            notices.setdefault((it.report, ended), []).append(it)
    for due, reason in failed:
        key = due.report.id, due.site.id
        known = still.get(key)
        tries = known.tries + 1 if known else 1
        it = Failing(
            *key, due.site.name, due.at, known.since if known else now,
            now + min(AGAIN * 2 ** min(tries - 1, 10), SELDOM), tries, reason,
        )  # fmt: skip
        still[key] = it
        if known is None:
            notices.setdefault((it.report, messages.report_failed), []).append(it)
    set_watermark(conn, FAILING, "", msgspec.json.encode([*still.values()]).decode(), now)
    for (report, notice), those in notices.items():
        said = notice(report, [it.name for it in those], those[0].reason, those[0].since)
        announce(conn, said.title, said.lines, now, ops)
    return len(notices)


def due_reports(
    asked: Sequence[tuple[Report, Site]], now: datetime, zone: str, marks: Mapping[str, str]
) -> tuple[list[Due], list[Due]]:
    """The reports that are due, and those whose last time is to be noted without a post.

    `marks` says of each when it was due last: `_key` -> ISO 8601. Nothing is posted for a report
    that is new, was left out for longer than `LATE`, or was noted by a clock that was ahead.
    """
    found, unknown = list[Due](), list[Due]()
    reports = {report.id: report for report, _ in asked}
    latest = {name: report.at.latest(now, zone) for name, report in reports.items()}
    for report, site in asked:
        at = latest[report.id]
        mark = marks.get(_key(report, site))
        noted = datetime.fromisoformat(mark) if mark else None
        if noted is None or (noted < at and now - at > LATE) or noted > now:
            unknown.append(Due(report, site, at))
        elif noted < at:
            found.append(Due(report, site, at))
    return found, unknown


def _asked(reports: Iterable[Report], sites: Iterable[Site]) -> list[tuple[Report, Site]]:
    """Each report with each website that it is about."""
    return [
        (report, site)
        for report, site in product(reports, sites)
        if not report.websites or names_site(report.websites, site)
    ]


def _key(report: Report, site: Site) -> str:
    return f"{report.id}/{site.id}"


def _source(report: Report, site: Site) -> str:
    return f"{SOURCE}{_key(report, site)}"


def _note(conn: Connection, reports: Iterable[Due], now: datetime) -> None:
    for due in reports:
        set_watermark(conn, _source(due.report, due.site), "", due.at.isoformat(), now)


def _post(
    found: Sequence["Gathered"],
    without: Sequence[str],
    context: PollContext,
    now: datetime,
    conn: Connection,
) -> None:
    """Put the report into the outbox and note that, in one transaction.

    It says that it is `without` the websites of these names.
    """
    first = found[0].due
    week, site = found[0].week, first.site
    if len(found) > 1:
        weeks = [(each.due.site.name or each.due.site.id, each.week) for each in found]
        lasted = _median([it for each in found for it in each.lasted])
        week, site = together(weeks, lasted), Site("", "")
    week = replace(week, without=tuple(without))
    action = Weekly(channel=first.report.channel, week=Weekly.kept(week))
    subject = WebsiteSubject(website=site)
    key = f"{_source(first.report, first.site)}/{first.at:%Y%m%dT%H%M%S}"
    step = NewStep(
        key=f"{key}/{action.kind}-1",
        rank=action.rank,
        lane=action.lane(subject, context.routing.channel),
        kind=action.kind,
        params=action.stored(),
        due=now,
    )
    match = NewMatch(
        rule=f"{SOURCE}{first.report.id}",
        kind="digest",
        website=site.id,
        subject_key=site.id,
        match_key=key,
        subject=written(subject),
        matched=now,
        steps=[step],
        summary=first.report.summary or first.report.id,
        severity="info",
    )
    add_match(conn, match)
    _note(conn, [each.due for each in found], now)


class Gathered(Struct, frozen=True):
    """What is known of the week of one website; `lasted` is how long each ended alert did."""

    due: Due
    week: Week
    lasted: Sequence[timedelta]


def _median(lasted: Sequence[timedelta]) -> timedelta | None:
    return sorted(lasted)[len(lasted) // 2] if lasted else None


def _week(
    conn: Connection, ruleset: RuleSet, due: Due, trend: Trend | None, zone: ZoneInfo
) -> Gathered:
    """What the store knows of the website's week."""
    rules, site = ruleset.rules, due.site.id
    # The same time on the clock, also across a change of the clocks: as the last report ended.
    local = due.at.astimezone(zone)
    since, earlier = ((local - weeks * WEEK).astimezone(UTC) for weeks in (1, 2))
    now = matches_of(conn, site, since, due.at)
    before = matches_of(conn, site, earlier, since)
    last = last_matches(conn, [rule.id for rule in rules])
    useful = precision(conn)
    alerts = alerts_of(conn, site, since, due.at)
    by_id = {rule.id: rule for rule in rules}
    states, mark = rule_states(conn), watermark(conn, WATCHED, site)
    joined = mark is not None and msgspec.json.decode(mark, type=Watermark).since > earlier
    found = []
    for rule in rules:
        if applies(rule, due.site):
            known = useful.get(rule.id)
            began = states[rule.id].since if rule.id in states else None
            new = joined or (began is not None and began > earlier)
            # A rule about too few sessions counts those that come.
            told = (rule.id, "websites" if rule.too_few else rule.watch)
            found.append(
                RuleWeek(
                    rule=rule.id,
                    summary=rule.summary or rule.id,
                    matches=now.get(told, 0),
                    before=before.get(told, 0) if before and not new else None,
                    new=new,
                    useful=known.useful if known else None,
                    rated=known.of if known else 0,
                    silent=last.get(rule.id, due.at) < due.at - SILENT,
                )
            )
    matched = [each.summary for each in found if each.new and each.matches]
    firing = [by_id[rule].summary or rule for rule in alerts.firing if rule in by_id]
    week = Week(
        since=since,
        until=due.at,
        rules=tuple(found),
        fired=alerts.fired,
        ended=len(alerts.lasted),
        lasted=_median(alerts.lasted),
        firing=tuple(firing),
        pages=pages_of(conn, site, since, due.at),
        budgets=tuple(_budgets(conn, ruleset, due.site)),
        trend=trend,
        new=(due.site.name or site,) if joined and matched else tuple(matched),
    )
    return Gathered(due, week, alerts.lasted)


def _budgets(conn: Connection, ruleset: RuleSet, site: Site) -> Iterable[BudgetWeek]:
    names = {budget.id: budget.summary or budget.id for budget in ruleset.budgets}
    for name, mark in budget_marks(conn).items():
        if mark.removed is None and any(line.id == site.id for line in mark.websites):
            yield BudgetWeek(
                name=names.get(name, name), used=mark.used, of=mark.recordings, ends=mark.ends
            )


async def _trend(due: Due, context: PollContext) -> Trend | None:
    """How many sessions reached the friction, by the API; None where it can't be asked."""
    last = due.at.astimezone(context.zone).date()
    counts = []
    try:
        if await friction_is_ignored(context.mouseflow, due.site.id, of_days(last - WEEK, last)):
            return None
        for end in (last, last - WEEK):
            for friction in (None, FRICTION):
                days = of_days(end - WEEK, end)
                filters = days if friction is None else narrowed(days, friction=friction)
                page = await context.mouseflow.send(recordings.list(due.site.id, filters, limit=1))
                counts.append(page.count)
    except BotError as error:
        log.warning("report.without_friction", website=due.site.name, reason=str(error))
        return None
    return Trend(
        friction=FRICTION,
        sessions=counts[0],
        high=counts[1],
        sessions_before=counts[2],
        high_before=counts[3],
    )
