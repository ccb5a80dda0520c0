"""Rules: which one fires, is stuck, snoozed, paused or silent, and what one of them does."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from statistics import median
from typing import Literal

from bot.actions.base import Action
from bot.actions.notifier import Notifier
from bot.actions.variables import Variables
from bot.domain.budget import midnight
from bot.messages.text import clean, lasting, number
from bot.rules.explain import Part as Asked
from bot.rules.explain import written
from bot.rules.model import Rule as WrittenRule
from bot.rules.needs import fires_early
from bot.store import Connection
from bot.store.overview import (
    costs_since,
    counts_between,
    firing_alerts,
    last_matches,
    matches_now,
    waiting_digest,
)
from bot.store.presses import precision
from bot.store.recordings import live_sessions
from bot.store.rules import acted_within, matches_since
from bot.store.troubles import waiting_rules
from bot.web.facts import Facts
from bot.web.read.world import DAY, INSTANT, World, match_of, plain, world
from bot.web.views import Part, Rule, RuleAction, RuleRow, Rules, State, Useful

DAYS = 14
LONG = 30
SILENT = timedelta(days=28)
LATEST = 10
_ORDER: Mapping[str, int] = {"problem": 0, "paused": 1, "firing": 2, "snoozed": 3}
_States = tuple[Literal["firing", "problem", "snoozed", "paused", "silent"], ...]


def rules(conn: Connection, facts: Facts) -> Rules:
    """Read all of them, problems first, then by their last match."""
    seen = world(conn, facts)
    rows = _rows(seen, seen.rules.values(), days_back(seen, DAYS))
    early = datetime.min.replace(tzinfo=seen.now.tzinfo)
    rows.sort(key=lambda row: row.last_match_at or early, reverse=True)
    rows.sort(key=lambda row: min((_ORDER.get(each, 9) for each in row.states), default=9))
    names = ("firing", "problem", "snoozed", "paused", "silent")
    waiting, oldest = _waiting(seen)
    settles = oldest + facts.settings.poll.settle if oldest else None
    return Rules(
        frame=seen.frame,
        total=len(rows),
        rules=tuple(rows),
        counts={name: sum(name in row.states for row in rows) for name in names},
        waiting_sessions=waiting,
        next_settled_at=settles,
        file_errors=tuple(map(plain, seen.rejected.faults)) if seen.rejected else (),
    )


def rule(conn: Connection, facts: Facts, key: str) -> Rule | None:
    """Read one rule; None if there is none of that name."""
    seen = world(conn, facts)
    about = seen.rules.get(key)
    if about is None:
        return None
    edges = days_back(seen, LONG)
    (row,) = _rows(seen, [about], edges)
    zone = facts.zone
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
        file="/".join(about.file.split("/")[-2:]),
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


def _rows(seen: World, about: Iterable[WrittenRule], edges: list[datetime]) -> list[RuleRow]:
    conn, now = seen.conn, seen.now
    about = list(about)
    ids = [rule.id for rule in about]
    per_day = counts_between(conn, ids, edges, seen.facts.counted)
    lately = counts_between(conn, ids, [now - DAY, now + INSTANT])
    last = last_matches(conn, ids)
    firing = {alert.rule for alert in firing_alerts(conn)}
    costs: dict[str, int] = {}
    for _website, counts in costs_since(conn, now - DAY):
        for key, count in counts.items():
            costs[key] = costs.get(key, 0) + count
    stuck = {rule for waiting in waiting_rules(conn).values() for rule in waiting}
    useful = precision(conn)
    rows = []
    for each in about:
        state, text, until, states = _state(each, seen, firing, stuck, last.get(each.id))
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
                per_day=tuple(per_day[each.id]),
                last_24h=lately[each.id][0],
                last_match_at=last.get(each.id),
                requests_per_hour=costs.get(each.id, 0) / 24,
                useful=Useful(useful=found.useful, of=found.of)
                if (found := useful.get(each.id))
                else None,
            )
        )
    return rows


def _state(
    rule: WrittenRule, seen: World, firing: set[str], stuck: set[str], last: datetime | None
) -> tuple[State, str, datetime | None, _States]:
    kept = seen.states.get(rule.id)
    paused = kept is not None and kept.paused_at is not None
    snoozed = kept.snoozed_until if kept and kept.snoozed_until else None
    is_snoozed = snoozed is not None and snoozed > seen.now
    silent = last is None or last < seen.now - SILENT
    held = {
        "firing": rule.id in firing,
        "problem": rule.id in stuck and not paused,
        "snoozed": is_snoozed,
        "paused": paused,
        "silent": silent,
    }
    states: _States = tuple(name for name, holds in held.items() if holds)  # type: ignore[misc]
    if paused:
        return "warn", "Paused", None, states
    if held["problem"]:
        return "warn", "Can’t deliver", None, states
    if is_snoozed:
        return "snoozed", "Snoozed", snoozed, states
    if held["firing"]:
        return "firing", "Firing", None, states
    if last is None:
        return "off", "No match yet", None, states
    return ("off", "Silent for 4 weeks", None, states) if silent else ("ok", "Active", None, states)


def _usual(per_day: Mapping[date, int], today: date) -> float | None:
    """The median of the same weekday over four weeks, as far as the rule has matched so long."""
    began = next((day for day, count in per_day.items() if count), today)
    weeks = (today - timedelta(weeks=n) for n in range(1, 5))
    before = [per_day[day] for day in weeks if day >= began and day in per_day]
    return median(before) if before else None


def _waiting(seen: World) -> tuple[int, datetime | None]:
    live = live_sessions(seen.conn)
    found = [live[website] for website in seen.facts.sites() if website in live]
    return sum(count for count, _ in found), min((at for _, at in found), default=None)


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
    shown = [_shown(value) for value in action.model_dump(exclude_defaults=True).values()]
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
