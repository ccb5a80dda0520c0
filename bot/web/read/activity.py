"""The activity: what the bot just did, held back or failed to do, and why."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Literal
from zoneinfo import ZoneInfo

from bot.actions import ACTIONS
from bot.domain.budget import BUDGET, midnight
from bot.domain.step import OWN_RULE
from bot.domain.subjects import Severity
from bot.messages.text import capital, clean
from bot.store.audit import KINDS, AuditKind, history
from bot.store.audit import Entry as Written
from bot.store.matches_now import outcomes_of
from bot.web.read.world import World, plain
from bot.web.tail import action_of
from bot.web.views import Activity, Entry, State
from bot.weekly import SOURCE

PAGE = 50

Filter = Literal["match", "held", "failed", "budget", "people", "bot"]

FILTERS: Mapping[str, tuple[str, ...]] = {
    "match": ("match",),
    "held": ("suppressed", "step.folded", "step.withheld", "level.held"),
    "failed": ("step.dead", "step.postponed", "step.interrupted", "match.not_stored"),
    "budget": ("budget", "website"),
    "people": ("rule.snoozed", "rule.snooze_ended", "rule.resumed", "rule.edited", "step.retried",
               "step.cancelled", "website.person", "press"),
    "bot": ("notice", "poll", "rules", "rule"),
    "done": ("step.done",),
}  # fmt: skip
"""What people choose from, with the kinds of entries that each means."""

TOLD_WITH_THE_MATCH = ("step.done", "suppressed", "poll.cost")
"""What is left out unless asked for: the entry of the match says what became of it."""

FILTER_NAMES = {
    "match": "Matches",
    "held": "Held back",
    "failed": "Failed and retried",
    "budget": "Budgets",
    "people": "People",
    "bot": "The bot itself",
    "done": "Single actions",
}


def activity(
    seen: World,
    *,
    kind: str = "",
    rule: str = "",
    website: str = "",
    since: date | None = None,
    before: int | None = None,
    limit: int = PAGE,
    whole: bool = False,
) -> Activity:
    """Read the entries that meet all filters; `whole`: leave nothing out.

    `website` is a name or an id; of several websites of the name it is the first.
    """
    conn, facts = seen.conn, seen.facts
    ids = [key for key in seen.names if website == seen.name(key)]
    ids += [key for key, name in seen.names.items() if website in (key, clean(name))]
    start = midnight(since, facts.zone) if since else None
    found: list[Written] = []
    if not website or ids:
        for each in FILTERS.get(kind, ("",)):
            without = () if each or whole else TOLD_WITH_THE_MATCH
            found += history(
                conn, kind=each, rule=rule, website=ids[0] if ids else "", since=start,
                before=before, limit=limit + 1, without=without,
            )  # fmt: skip
    found = sorted({entry.id: entry for entry in found}.values(), key=lambda entry: -entry.id)
    page = found[:limit]
    # What the bot posts about itself has an entry of its own: the notice.
    shown = [entry for entry in page if (entry.rule, entry.kind) != (OWN_RULE, "match")]
    return Activity(
        frame=seen.frame,
        entries=tuple(entry_of(entry, seen) for entry in shown),
        older=page[-1].id if len(found) > limit else None,
        keep_days=facts.settings.store.keep.days,
        rules=tuple(sorted(seen.rules)),
        websites=tuple(sorted(map(seen.name, seen.names))),
    )


def day_of(text: str, zone: ZoneInfo, now: datetime) -> date | None:
    """The day that a form names; None for none, raises ValueError for what is no day."""
    if not text:
        return None
    day = date.fromisoformat(text)
    return min(day, now.astimezone(zone).date())


OF_SEVERITY: Mapping[Severity, State] = {"info": "info", "warning": "warn", "critical": "crit"}

_WORDS: Mapping[AuditKind, tuple[State | Literal["person", "message", "bot"], str]] = {
    "match": ("warn", "matched"),
    "suppressed": ("off", "was held back"),
    "step.done": ("ok", "done"),
    "step.dead": ("crit", "failed for good"),
    "step.postponed": ("wait", "is retried later"),
    "step.interrupted": ("wait", "was interrupted"),
    "step.folded": ("message", "goes into a digest"),
    "step.withheld": ("off", "was held back"),
    "step.retried": ("person", "was requeued"),
    "step.cancelled": ("person", "was cancelled"),
    "step.erased": ("off", "was erased"),
    "step.put_off": ("wait", "waits"),
    "step.rebuilt": ("bot", "follows the edited rule"),
    "step.superseded": ("off", "is no longer needed"),
    "match.not_stored": ("crit", "could not be stored"),
    "rule.snoozed": ("person", "was snoozed"),
    "rule.snooze_ended": ("person", "is no longer snoozed"),
    "rule.resumed": ("person", "runs again"),
    "rule.edited": ("person", "was edited"),
    "rule.paused": ("warn", "was paused"),
    "rules.loaded": ("bot", "Rules loaded"),
    "rules.reload_failed": ("warn", "Rule files have errors"),
    "notice": ("bot", ""),
    "website.person": ("person", "was changed by somebody"),
    "website.note": ("bot", "has news of a website"),
    "website.held": ("info", "changed a website"),
    "website.released": ("info", "let go of a website"),
    "website.listed": ("bot", "compared the list of websites"),
    "website.renamed": ("bot", "sees a website under another name"),
    "budget.step": ("info", "acts"),
    "budget.period": ("bot", "begins a period"),
    "budget.edited": ("person", "was edited"),
    "rule.renamed": ("person", "has a new name"),
    "level.held": ("bot", "keeps its state"),
    "level.no_history": ("bot", "has not enough history yet"),
    "level.not_recorded": ("bot", "does not know: recording was off or throttled"),
    "poll.truncated": ("warn", "A list could not be read to its end"),
    "poll.undetailed": ("warn", "A detail could not be read"),
    "poll.unreadable": ("warn", "A row could not be read"),
    "poll.cost": ("bot", "needed calls"),
    "poll.bad_value": ("warn", "A value could not be read"),
    "press": ("person", "pressed a button"),
}

if missing := [kind for kind in KINDS if kind not in _WORDS]:
    raise TypeError(f"kinds of entries without words: {missing}")


def quotes_visitors(step: str) -> bool:
    """Whether what the step with this key says may come from visitors: only that it was done is
    shown then. Of an action that this version does not know nobody can tell.
    """
    model = ACTIONS.get(action_of(step))
    return model is None or model.quotes_visitors


def entry_of(entry: Written, seen: World) -> Entry:
    """An entry in words. Notes of single visitors' values are left out."""
    state, verb = _WORDS.get(entry.kind, ("bot", entry.kind.replace(".", ": ").replace("_", " ")))
    action = action_of(entry.step).replace("_", " ")
    subject, text = _said(entry, action, verb)
    reason = "" if entry.kind == "notice" else plain(entry.text)
    if entry.kind == "step.done" and quotes_visitors(entry.step):
        reason = ""
    watched = seen.rules.get(entry.rule)
    if entry.kind == "match":
        state = OF_SEVERITY[watched.severity] if watched else "info"
    if entry.kind == "match":
        reason = _with_outcome(reason, entry, seen)
    recording = entry.subject if watched and watched.watch == "recordings" else None
    return Entry(
        seq=entry.id,
        at=entry.at,
        kind=entry.kind,
        state=state,
        subject=subject,
        text=text,
        reason=capital(reason) if reason.partition(" ")[0].isalpha() else reason,
        rule_id=entry.rule if entry.rule in seen.rules else "",
        website=seen.name(entry.website),
        recording_id=recording or None,
        severity=watched.severity if watched and entry.kind == "match" else None,
    )


def _said(entry: Written, action: str, verb: str) -> tuple[str, str]:
    if entry.kind == "notice":
        return "", f"Notice: {plain(entry.text)}"
    if entry.rule.startswith(BUDGET):
        verb = "acts" if entry.kind == "match" else verb
        name = entry.rule.removeprefix(BUDGET)
        return name, f"{action} {verb}".strip() if action else verb
    if entry.rule.startswith(SOURCE):
        verb = "weekly report" if entry.kind == "match" else verb
        return entry.rule.removeprefix(SOURCE), verb
    if entry.step:
        return entry.rule, f"{action} {verb}"
    return entry.rule, verb


def _with_outcome(why: str, entry: Written, seen: World) -> str:
    """Why it matched, and what became of it."""
    told = outcomes_of(seen.conn, entry)
    held = [plain(text) for kind, _, text in told if kind == "suppressed"]
    done = list(
        dict.fromkeys(
            f"{action_of(step)} done" if quotes_visitors(step) else plain(text)
            for kind, step, text in told
            if kind != "suppressed"
        )
    )
    then = f"Held back: {held[-1]}" if held and not done else ", ".join(done)
    return ". ".join(capital(part) for part in (why, then) if part)
