"""Rules: which one fires, is stuck, snoozed, paused or silent, and what one of them does."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from statistics import median
from typing import Literal

from bot.actions.base import Action
from bot.actions.notifier import Notifier
from bot.actions.variables import Variables
from bot.domain.budget import midnight
from bot.domain.subjects import Site
from bot.messages.text import clean, lasting, number, on_behalf
from bot.polling.watermark import SOURCE
from bot.reports.absence import last_count
from bot.rules.explain import Part as Asked
from bot.rules.explain import written
from bot.rules.model import Rule as WrittenRule
from bot.rules.model import applies, rules_by_website
from bot.rules.needs import fires_early
from bot.store.audit import history
from bot.store.limits import open_window
from bot.store.matches_now import matches_now
from bot.store.overview import (
    FiringAlert,
    costs_since,
    counts_between,
    firing_alerts,
    last_matches,
    waiting_digest,
)
from bot.store.presses import acknowledged, precision
from bot.store.recordings import live_sessions
from bot.store.rules import acted_within, matches_since
from bot.store.troubles import waiting_rules
from bot.web.read.reports import planned
from bot.web.read.world import DAY, INSTANT, Span, World, match_of, place_of, plain
from bot.web.views import (
    Limit,
    Part,
    Rule,
    RuleAction,
    RuleRow,
    Rules,
    Snooze,
    State,
    TooFew,
    Useful,
)

DAYS = 14
LONG = 30
SILENT = timedelta(days=28)
LATEST = 10
MOST_SITES = 100
_ORDER: Mapping[str, int] = {"problem": 0, "paused": 1, "firing": 2, "snoozed": 3, "disabled": 10}
_States = tuple[Literal["firing", "problem", "snoozed", "paused", "silent", "disabled"], ...]
STATES = ("firing", "problem", "snoozed", "paused", "silent", "disabled")


def rules(seen: World, span: Span, *, state: str = "") -> Rules:
    """Read a page of those in the state ("" for all).

    Problems first, then by their last match, the disabled ones at the end.
    """
    facts = seen.facts
    now = _Now.of(seen, facts.rules().written)
    early = datetime.min.replace(tzinfo=seen.now.tzinfo)
    ordered = sorted(now.rules, key=lambda it: now.last.get(it.id) or early, reverse=True)
    ordered.sort(key=lambda it: min((_ORDER.get(each, 9) for each in now.states(it)), default=9))
    shown, paging = span.of([it for it in ordered if not state or state in now.states(it)])
    waiting, settles = waiting_sessions(seen)
    return Rules(
        frame=seen.frame,
        total=len(ordered),
        rules=tuple(_rows(seen, shown, now, days_back(seen, DAYS))),
        paging=paging,
        counts={name: sum(name in now.states(it) for it in ordered) for name in STATES},
        waiting_sessions=waiting,
        next_settled_at=settles,
        file_errors=tuple(map(plain, seen.rejected.faults)) if seen.rejected else (),
        reports=tuple(planned(seen)),
    )


def rule(seen: World, key: str) -> Rule | None:
    """Read one rule; None if there is none of that name."""
    conn, facts = seen.conn, seen.facts
    about = next((each for each in facts.rules().written if each.id == key), None)
    if about is None:
        return None
    edges = days_back(seen, LONG)
    (row,) = _rows(seen, [about], _Now.of(seen, [about]), edges)
    zone = facts.zone
    edits = history(conn, kind="rule.edited", rule=key, since=edges[0], limit=LONG)
    per_day = dict(zip((edge.astimezone(zone).date() for edge in edges), row.per_day, strict=False))
    when, excepts = written(about)
    due, count = waiting_digest(conn, key)
    limit = about.safety
    hour = limit.window if limit else DAY
    return Rule(
        frame=seen.frame,
        row=row,
        runbook=about.runbook if about.runbook.startswith(("https://", "http://")) else "",
        owner=plain(about.owner),
        file=place_of(about).rpartition(":")[0],
        line=about.line,
        per_day=per_day,
        usual=_usual(per_day, seen.now.astimezone(zone).date()),
        condition=_part(when),
        excepts=_part(excepts) if excepts else None,
        actions=_together(map(in_words, about.do)),
        more=tuple(_more(about)),
        waits=not fires_early(about),
        digest_at=due,
        digest_count=count,
        safety_used=acted_within(conn, key, hour, seen.now, seen.now) if limit else None,
        safety_limit=f"{number(limit.times)} in {lasting(hour)}" if limit else "",
        edited_at=tuple(edit.at for edit in reversed(edits)),
        limits=tuple(_limits(about, seen)),
        too_few=tuple(_too_few(about, seen)),
        matches=tuple(
            match_of(each, seen) for each in matches_now(conn, rules=[key], limit=LATEST)
        ),
        matches_kept=matches_since(conn, key, datetime.fromtimestamp(0, seen.now.tzinfo)),
    )


def days_back(seen: World, days: int) -> list[datetime]:
    """The beginnings of that many days in the account's zone, the last of them today, and now."""
    zone = seen.facts.zone
    today = seen.now.astimezone(zone).date()
    first = today - timedelta(days=days - 1)
    return [*(midnight(first + timedelta(days=n), zone) for n in range(days)), seen.now + INSTANT]


@dataclass(frozen=True, slots=True)
class _Now:
    """How all of some rules are: when each matched last, what fires, what can't be delivered."""

    rules: Sequence[WrittenRule]
    last: Mapping[str, datetime]
    firing: Mapping[str, Sequence[FiringAlert]]
    stuck: Mapping[str, str]
    found: Mapping[str, tuple[State, str, datetime | None, _States]]

    @classmethod
    def of(cls, seen: World, about: Sequence[WrittenRule]) -> "_Now":
        """Read it."""
        last = last_matches(seen.conn, [rule.id for rule in about])
        firing: dict[str, list[FiringAlert]] = {}
        for alert in firing_alerts(seen.conn):
            firing.setdefault(alert.rule, []).append(alert)
        waits = waiting_rules(seen.conn).items()
        stuck = {rule: key for key, waiting in waits for rule in waiting}
        found = {it.id: _state(it, seen, firing, stuck, last.get(it.id)) for it in about}
        return cls(about, last, firing, stuck, found)

    def states(self, rule: WrittenRule) -> _States:
        """All states of the rule that hold."""
        return self.found[rule.id][3]


def _rows(
    seen: World, about: Sequence[WrittenRule], at: _Now, edges: list[datetime]
) -> list[RuleRow]:
    conn, now = seen.conn, seen.now
    ids = [rule.id for rule in about]
    per_day = counts_between(conn, ids, edges, seen.facts.counted)
    lately = counts_between(conn, ids, [now - DAY, now + INSTANT])
    costs: dict[str, int] = {}
    for _website, counts in costs_since(conn, now - DAY):
        for key, count in counts.items():
            costs[key] = costs.get(key, 0) + count
    live = _waiting_for(about, seen)
    useful = precision(conn)
    rows = []
    for each in about:
        state, text, until, states = at.found[each.id]
        waiting, oldest = live.get(each.id, (0, None))
        rows.append(
            RuleRow(
                id=each.id,
                summary=clean(each.summary or each.id),
                severity=each.severity,
                watch=each.watch,
                websites=tuple(map(clean, each.websites)),
                state=state,
                state_text=text,
                states=states,
                state_until=until,
                state_reason=_reason(each, seen, text, at.firing, at.stuck),
                per_day=tuple(per_day[each.id]),
                last_24h=lately[each.id][0],
                last_match_at=at.last.get(each.id),
                requests_per_hour=costs.get(each.id, 0) / 24,
                waiting_sessions=waiting,
                next_settled_at=oldest + seen.facts.settings.poll.settle if oldest else None,
                useful=Useful(useful=found.useful, of=found.of)
                if (found := useful.get(each.id))
                else None,
                snooze=_snooze(each, seen),
            )
        )
    return rows


DISABLED, PAUSED, STUCK, FIRING = "Disabled", "Paused", "Can’t deliver", "Firing"
SNOOZED = "Snoozed"


def _reason(
    rule: WrittenRule,
    seen: World,
    state: str,
    firing: Mapping[str, Sequence[FiringAlert]],
    stuck: Mapping[str, str],
) -> str:
    """Why the rule is in this state; empty where the state says it."""
    if state == DISABLED:
        return f"disabled: true in {place_of(rule)}"
    if state == PAUSED:
        return plain(seen.states[rule.id].paused_why)
    if state == SNOOZED and (snooze := _snooze(rule, seen)) is not None:
        return on_behalf(snooze.by, snooze.because).lstrip(" :")
    if state == STUCK:
        return next((it.title for it in seen.problems if it.key == stuck[rule.id]), "")
    return _firing(firing[rule.id], seen) if state == FIRING else ""


def _firing(alerts: Sequence[FiringAlert], seen: World) -> str:
    """Where it fires, or who knows."""
    if len(alerts) > 1:
        return f"{len(alerts)} alerts"
    (alert,) = alerts
    known = acknowledged(seen.conn, alert.rule, alert.website, alert.subject_key, alert.since)
    return f"acknowledged by {clean(known.name)}" if known else seen.name(alert.website)


def _state(
    rule: WrittenRule,
    seen: World,
    firing: Collection[str],
    stuck: Collection[str],
    last: datetime | None,
) -> tuple[State, str, datetime | None, _States]:
    if rule.disabled:
        return "off", DISABLED, None, ("disabled",)
    kept = seen.states.get(rule.id)
    paused = kept is not None and kept.paused_at is not None
    snooze = _snooze(rule, seen)
    silent = last is None or last < seen.now - SILENT
    held = {
        "firing": rule.id in firing,
        "problem": rule.id in stuck and not paused,
        "snoozed": snooze is not None,
        "paused": paused,
        "silent": silent,
    }
    states: _States = tuple(name for name, holds in held.items() if holds)  # type: ignore[misc]
    if paused:
        return "warn", PAUSED, None, states
    if held["problem"]:
        return "warn", STUCK, None, states
    if snooze is not None:
        return "snoozed", SNOOZED, snooze.until, states
    if held["firing"]:
        return "firing", FIRING, None, states
    if last is None:
        return "off", "No match yet", None, states
    return ("off", "Silent for 4 weeks", None, states) if silent else ("ok", "Active", None, states)


def _snooze(rule: WrittenRule, seen: World) -> Snooze | None:
    """The rule's snooze, if it has not ended."""
    kept = seen.states.get(rule.id)
    if kept is None or kept.snoozed_until is None or kept.snoozed_until <= seen.now:
        return None
    return Snooze(until=kept.snoozed_until, by=kept.snoozed_by, because=kept.snoozed_because)


def _usual(per_day: Mapping[date, int], today: date) -> float | None:
    """The median of the same weekday over four weeks, as far as the rule has matched so long."""
    began = next((day for day, count in per_day.items() if count), today)
    weeks = (today - timedelta(weeks=n) for n in range(1, 5))
    before = [per_day[day] for day in weeks if day >= began and day in per_day]
    return median(before) if before else None


def waiting_sessions(seen: World) -> tuple[int, datetime | None]:
    """How many sessions are not over yet, and when the first of them is."""
    live = live_sessions(seen.conn)
    found = [live[website] for website in seen.facts.sites() if website in live]
    oldest = min((at for _, at in found), default=None)
    settles = oldest + seen.facts.settings.poll.settle if oldest else None
    return sum(count for count, _ in found), settles


def _sites(rule: WrittenRule, seen: World) -> list[Site]:
    """The watched websites to which the rule applies, by name."""
    known = (Site(site, seen.names.get(site, site)) for site in seen.facts.sites())
    return sorted((site for site in known if applies(rule, site)), key=lambda site: site.name)


def _waiting_for(
    about: Iterable[WrittenRule], seen: World
) -> dict[str, tuple[int, datetime | None]]:
    """How many sessions must be over before each rule judges them, and since when the first was."""
    live = live_sessions(seen.conn)
    late = [it for it in about if not it.disabled and it.watch == SOURCE and not fires_early(it)]
    sites = [Site(it, seen.names.get(it, it)) for it in seen.facts.sites() if it in live]
    found: dict[str, tuple[int, datetime | None]] = {}
    for website, watching in rules_by_website(late, sites).items():
        count, oldest = live[website]
        for rule in watching:
            before, since = found.get(rule.id, (0, None))
            found[rule.id] = before + count, min(since or oldest, oldest)
    return found


def _limits(rule: WrittenRule, seen: World) -> Iterable[Limit]:
    """The rule's limits where they count now."""
    for each in rule.do:
        if not isinstance(each, Notifier) or each.limit is None:
            continue
        channel = seen.facts.settings.slack.channel or ""
        where = each.posts_to(channel)
        lane = f"{each.service}:{where}"
        limit, window = each.limit, open_window(seen.conn, rule.id, lane)
        yield Limit(
            place=clean(where or each.service),
            used=window.used if window and window.began > seen.now - limit.window else 0,
            at_most=limit.times,
            within=limit.window.total_seconds(),
        )


def _too_few(rule: WrittenRule, seen: World) -> Iterable[TooFew]:
    """What a rule about too few sessions has counted, website by website."""
    few = rule.too_few
    if few is None or rule.disabled:
        return
    firing = {it.website: it.since for it in firing_alerts(seen.conn) if it.rule == rule.id}
    for site in _sites(rule, seen)[:MOST_SITES]:
        last = last_count(seen.conn, rule, few, site, seen.facts.settings.poll.settle)
        yield TooFew(
            website=seen.name(site.id),
            sessions=last.sessions if last else None,
            at_most=few.at_most,
            within=few.within.total_seconds(),
            counted_at=last.at if last else None,
            known_from=last.known_from if last else None,
            firing_since=firing.get(site.id),
        )


def _part(asked: Asked) -> Part:
    return Part(text=clean(asked.text), cost=asked.note, parts=tuple(map(_part, asked.parts)))


def in_words(action: Action) -> RuleAction:
    """An action in words, without addresses and secrets."""
    name = action.kind.replace("_", " ")
    if isinstance(action, Notifier):
        place = action.posts_to("the default channel")
        limit = action.limit
        words = "" if place is None else place or "the webhook’s channel"
        if limit:
            over = "the rest in a digest" if limit.overflow == "digest" else "the rest is dropped"
            words += f", at most {limit.times} in {lasting(limit.window)}, {over}"
        return RuleAction(action=name, text=clean(words))
    if isinstance(action, Variables):
        return RuleAction(action=name, text=clean(", ".join(action.values)))
    given = ((each, getattr(action, each.name)) for each in fields(action))
    shown = [_shown(value) for each, value in given if value != each.default]
    return RuleAction(action=name, text=clean(", ".join(filter(None, shown)) or "yes"))


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, timedelta):
        return lasting(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def _together(actions: Iterable[RuleAction]) -> tuple[RuleAction, ...]:
    """One for each kind of action: two tags are `friction, checkout`."""
    texts: dict[str, list[str]] = {}
    for each in actions:
        texts.setdefault(each.action, []).append(each.text)
    return tuple(RuleAction(action=name, text=", ".join(said)) for name, said in texts.items())


def _more(rule: WrittenRule) -> Iterable[RuleAction]:
    """What else limits when the rule acts."""
    if rule.held_for:
        yield RuleAction(action="Fires after", text=lasting(rule.held_for))
    if rule.remind:
        yield RuleAction(action="Reminds every", text=lasting(rule.remind))
    if rule.not_while:
        yield RuleAction(action="Waits while this fires", text=", ".join(rule.not_while))
    if rule.once_per:
        window = lasting(rule.once_per.window)
        yield RuleAction(action="Once per", text=f"{rule.once_per.field} in {window}")
    if rule.count:
        count = rule.count
        yield RuleAction(action="Counts", text=f"{count.at_least} in {lasting(count.within)}")
    if rule.too_few:
        few = rule.too_few
        yield RuleAction(
            action="Fires with", text=f"at most {few.at_most} in {lasting(few.within)}"
        )
