"""The overview: is all well, and if not, what, since when, and what to do."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from bot.budgets.state import SITES, SiteMark, budget_marks
from bot.domain.budget import midnight
from bot.domain.causes import SLACK, service
from bot.fields.catalogue import text_fields
from bot.messages.figures import in_words, with_limit
from bot.messages.text import clean
from bot.polling import outages
from bot.polling.watermark import SOURCE, without_detail
from bot.rules.needs import fires_early
from bot.store.budgets import owned
from bot.store.dead_letters import queue_figures
from bot.store.matches_now import matches_now
from bot.store.overview import (
    FiringAlert,
    counts_between,
    firing_alerts,
    lags,
    lanes_now,
    last_polls,
    messages_since,
    newest_recording,
    recordings_between,
    recordings_by_hour,
)
from bot.store.presses import acknowledged
from bot.store.recordings import all_watermarks, watermark
from bot.store.sharing import Replica
from bot.web.read.budgets import budget_of
from bot.web.read.rules import waiting_sessions
from bot.web.read.world import DAY, INSTANT, Span, World, match_of, plain
from bot.web.views import Bot, Day, Firing, Overview, Paging, Website

LATEST = 5


def overview(seen: World, span: Span) -> Overview:
    """Read it with this page of the websites."""
    conn, facts = seen.conn, seen.facts
    polled = last_polls(conn, SOURCE)
    lanes = [lane for lane in lanes_now(conn, seen.now) if service(lane.lane) == SLACK]
    rules = list(seen.rules)
    found = matches_now(conn, rules=rules, limit=LATEST) if rules else []
    marks = budget_marks(conn).items()
    failing = {
        each.what.partition(" of ")[2]: plain(each.reason)
        for each in outages.written(watermark(conn, outages.OUTAGES, "")).failing
    }
    websites, paging = _websites(seen, polled, failing, span)
    waiting, settles = waiting_sessions(seen)
    early = (it.id for it in seen.rules.values() if it.watch == SOURCE and fires_early(it))
    return Overview(
        frame=seen.frame,
        problems=seen.problems,
        firing=tuple(firing_of(each, seen) for each in firing_alerts(conn) if each.rule in rules),
        day=_day(seen),
        websites=websites,
        paging=paging,
        polled=sum(
            site in polled and seen.shown.get(site, site) not in failing for site in facts.sites()
        ),
        budgets=tuple(budget_of(conn, key, it, seen) for key, it in marks if not it.removed),
        matches=tuple(match_of(each, seen) for each in found),
        rules=len(rules),
        channels=len(lanes),
        channels_failing=sum(bool(lane.cause) for lane in lanes),
        last_poll_at=max(polled.values(), default=None),
        started_at=facts.started,
        recordings_seen=facts.recordings_seen(),
        waiting_sessions=waiting,
        next_settled_at=settles,
        early_rules=tuple(sorted(early)),
        bots=tuple(_bot(each, seen) for each in facts.store.sharing.replicas(conn)),
    )


def _bot(it: Replica, seen: World) -> Bot:
    return Bot(
        host=clean(it.host),
        process=it.process,
        version=it.version,
        started_at=it.started,
        leads=it.leads,
        other_rules=it.differs,
        websites=tuple(sorted(map(seen.name, it.websites))),
        queues=len(it.lanes),
    )


def firing_of(alert: FiringAlert, seen: World) -> Firing:
    """An alert in words."""
    rule = seen.rules.get(alert.rule)
    found = matches_now(
        seen.conn, rules=[alert.rule], website=alert.website, subject_key=alert.subject_key, limit=1
    )
    names = text_fields(rule.watch) if rule else ()
    known = acknowledged(seen.conn, alert.rule, alert.website, alert.subject_key, alert.since)
    return Firing(
        rule_id=alert.rule,
        summary=clean(rule.summary or rule.id) if rule else alert.rule,
        severity=rule.severity if rule else "warning",
        website=seen.name(alert.website),
        text=clean("; ".join(with_limit(it) or in_words(it, names) for it in found[0].why))
        if found
        else "",
        since=alert.since,
        acknowledged_by=clean(known.name) if known else None,
        acknowledged_at=known.at if known else None,
    )


def _day(seen: World) -> Day:
    conn, now, meter = seen.conn, seen.now, seen.facts.meter
    counts = counts_between(conn, seen.rules, [now - 2 * DAY, now - DAY, now + INSTANT])
    took = lags(conn, now - DAY)
    sent, digests = messages_since(conn, now - DAY)
    return Day(
        matches=sum(today for _, today in counts.values()),
        matches_before=sum(before for before, _ in counts.values()),
        messages=sent,
        digests=digests,
        waiting=queue_figures(conn, now).pending,
        lag_median=took[len(took) // 2] if took else None,
        lag_p95=took[min(len(took) - 1, len(took) * 95 // 100)] if took else None,
        requests_per_second=meter.per_second(),
        limit=seen.facts.settings.mouseflow.requests_per_second,
        throttled=meter.refused(),
    )


def _websites(
    seen: World, polled: Mapping[str, datetime], failing: Mapping[str, str], span: Span
) -> tuple[tuple[Website, ...], Paging]:
    conn = seen.conn
    midnight_here = midnight(seen.now.astimezone(seen.facts.zone).date(), seen.facts.zone)
    marks = {
        website: msgspec.json.decode(text, type=SiteMark)
        for (source, website), (text, _at) in all_watermarks(conn).items()
        if source == SITES
    }
    holders = {website: held.owner for (website, _switch), held in owned(conn).items()}
    known = seen.facts.sites()
    wait = without_detail(conn)
    today = recordings_between(conn, midnight_here, seen.now + INSTANT)

    def worst_first(site: str) -> tuple[bool, int, str]:
        name = seen.shown.get(site, site)
        return name not in failing, -today.get(site, 0), name

    shown, paging = span.of(sorted(known, key=worst_first))
    found = []
    for website in shown:
        mark = marks.get(website)
        per_hour = recordings_by_hour(conn, website, midnight_here, seen.now + INSTANT)
        found.append(
            Website(
                id=website,
                name=seen.name(website),
                status=mark.status if mark else None,
                recording_rate=mark.rate if mark else None,
                set_by=holders.get(website, "").partition(":")[2],
                read_only=known[website],
                last_poll_at=polled.get(website),
                newest_recording_at=newest_recording(conn, website),
                per_hour=tuple(per_hour),
                today=sum(per_hour),
                requests_per_hour=seen.facts.meter.per_hour(website),
                without_detail=wait.get(website, 0),
                error=failing.get(seen.shown.get(website, ""), ""),
            )
        )
    return tuple(found), paging
