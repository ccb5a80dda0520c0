"""Websites that people or rules changed: a budget leaves their change alone, and tells people."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, assert_never

import msgspec
from msgspec.structs import replace

from bot.budgets import texts
from bot.budgets.state import (
    BudgetContext,
    BudgetMark,
    BudgetStatus,
    budget_marks,
    last_by_a_rule,
    rename,
    set_budget_mark,
    step_of,
    waiting_switches,
)
from bot.budgets.switches import say
from bot.domain import budget as core
from bot.domain.budget import (
    BUDGET,
    RECORDING,
    STOPPED,
    Ownership,
    Switch,
)
from bot.domain.subjects import Site
from bot.polling.ops_messages import announce
from bot.rules.model import Budget
from bot.store import Connection
from bot.store.budgets import (
    ASIDE,
    budget_steps_done,
    disown,
    forget_budget_steps,
    forget_left,
    mark_budget_step,
    own,
)
from bot.store.budgets import owned as owned_switches
from bot.store.cancel import take_back_step


def respect_changes(
    conn: Connection, context: BudgetContext, budgets: Sequence[BudgetStatus]
) -> None:
    """Leave alone what people and rules have changed, and tell people."""
    context.owned = owned_switches(conn)
    forget_left(conn, [key for key, it in context.states.items() if not it.is_stopped])
    by_owner = {each.owner: each for each in budgets}
    for owned in list(context.owned.values()):
        state, site = context.states.get(owned.website), context.sites.get(owned.website)
        budget = by_owner.get(owned.owner)
        if budget and _release(conn, context, owned, budget):
            continue
        if not state or not site or context.busy(owned.website, owned.switch):
            continue
        if core.compare(owned, state) == "changed":
            if budget and _mouseflow_resumed(conn, budget, owned):
                continue
            if budget and budget.budget.resume and _is_as_resumed(owned, site, budgets):
                _disown(conn, context, owned, f"{state.status} again, by somebody else")
                act_again(conn, budget, owned)
                continue
            now_is = str(state.status) if owned.switch == "recording" else f"{state.rate} %"
            who = context.changed_by(owned.website, owned.switch)
            told = budget is not None
            _disown(conn, context, owned, f"{who} changed it to {now_is}", told=told)
            if budget:
                _intervened(conn, budget, site, owned, who, now_is)
    for each in budgets:
        _resume_taken_out(conn, each)
        for site in each.sites:
            _stopped_by_others(conn, each, site)
            _started_by_others(conn, each, site)


PERSON: Final = "website.person"

GONE = (
    "Two lists in a row lack it, and Mouseflow knows it no more. What it has used stays counted "
    "until the period ends"
)

NOT_CALLED_FOR = "not performed: the budget no longer calls for it"

KEEPS = timedelta(days=7)
"""A budget that is back in the rule files after this time at most takes back what it held."""


def follow_files(
    conn: Connection,
    budgets: Sequence[Budget],
    names: Mapping[str, str],
    ops: str | None,
    now: datetime,
) -> bool:
    """Release what budgets hold that are no longer in the files; True if there was any.

    `names` are the names of websites, by id. A notice goes to the ops channel. Budgets that were
    renamed or are back take back what they held. What another budget calls for, too, is its own.
    """
    for budget in budgets:
        for old in budget.was:
            rename(conn, old, budget.id, now)
    present = {budget.id for budget in budgets}
    marks = budget_marks(conn)
    for name in present & marks.keys():
        _take_back(conn, name, marks[name], now)
    holding = owned_switches(conn).values()
    lost = [each for each in holding if not each.rule and each.budget not in present]
    for name in marks.keys() - present:
        held = tuple(each for each in lost if each.budget == name)
        if held or not marks[name].removed:
            mark = msgspec.structs.replace(marks[name], removed=now, held=held)
            set_budget_mark(conn, name, mark)
            for key in waiting_switches(conn, name):
                take_back_step(conn, key, now, NOT_CALLED_FOR)
    for owned in lost:
        why = f"{owned.owner} is no longer in the rule files"
        if heir := next((it for it in budgets if _calls_for(conn, it, marks, owned)), None):
            reason = f"{why}, and {texts.owner(heir)} calls for it, too"
            own(conn, replace(owned, owner=texts.owner(heir), at=now, reason=reason))
            continue
        reason = f"{why}; {texts.stays(owned)}"
        disown(conn, owned.website, owned.switch, now, reason, leaves=True)
        site = Site(owned.website, names.get(owned.website, owned.website))
        title = f"{site.name} is in no budget now; {texts.stays(owned)}"
        back = f"If it is back within {KEEPS.days} days, it takes the website back. "
        back += f"If it was renamed, write was: {owned.budget} under its new id"
        announce(conn, title, (why, texts.had_set(owned), back), now, ops, site)
    return bool(lost)


def _calls_for(
    conn: Connection, budget: Budget, marks: Mapping[str, BudgetMark], owned: Ownership
) -> bool:
    """Whether a step of the budget has acted on the website with this switch, and still holds."""
    mark = marks.get(budget.id)
    if mark is None:
        return False
    done = budget_steps_done(conn, texts.owner(budget), mark.period)
    return any(
        (step.recording == "stop" if owned.switch == "recording" else step.rate is not None)
        and step.site_name(budget.recordings, owned.website) in done
        and core.in_force(step, budget.recordings, mark.used)
        for step in map(step_of, budget.steps)
    )


def _take_back(conn: Connection, name: str, mark: BudgetMark, now: datetime) -> None:
    if mark.removed is None:
        return
    taken = owned_switches(conn)
    for held in mark.held if now - mark.removed <= KEEPS else ():
        if (held.website, held.switch) not in taken:
            own(conn, replace(held, reason=f"{held.reason}; the budget is back in the rule files"))
    set_budget_mark(conn, name, msgspec.structs.replace(mark, removed=None, held=()))


def _release(
    conn: Connection, context: BudgetContext, owned: Ownership, status: BudgetStatus
) -> bool:
    """Release a website that left its budget or the account, and tell people."""
    site = context.sites.get(owned.website) or Site(owned.website, context.name(owned.website))
    if owned.website in context.gone:
        title = f"{site.name} is gone from the account"
        lines = [GONE]  # the same for rate and recording, so that one post goes out
        act_again(conn, status, owned)
    elif owned.website in context.sites and site not in status.sites and not status.budget.resume:
        title = f"{site.name} is no longer in the budget; {texts.stays(owned)}"
        lines = [texts.had_set(owned), "The bot won't change it any more"]
    else:
        return False
    leaves = owned.website not in context.gone
    _disown(conn, context, owned, title, leaves=leaves, told=True)
    say(conn, status, site, title, *lines)
    return True


def _mouseflow_resumed(conn: Connection, status: BudgetStatus, owned: Ownership) -> bool:
    """Whether Mouseflow, not a person, ended the stop: then the budget may stop it again.

    Mouseflow itself sets Paused and NotInstalled, and Recording after them.
    """
    context = status.context
    was = context.was_set_by_mouseflow(owned.website)
    rule = last_by_a_rule(
        context.switched[owned.website], owned.switch, context.states[owned.website]
    )
    if owned.switch != "recording" or was is None or rule:
        return False
    _disown(conn, context, owned, f"Mouseflow had set it to {was} and back to Recording")
    act_again(conn, status, owned, post_again=False)
    context.paused[owned.website] = was
    return True


def _is_as_resumed(owned: Ownership, site: Site, budgets: Sequence[BudgetStatus]) -> bool:
    """Whether somebody has started what the bot would start now: that decides about no period."""
    covering = (each for each in budgets if site in each.sites)
    return owned.switch == "recording" and not any(each.needs_stop for each in covering)


def act_again(
    conn: Connection, status: BudgetStatus, owned: Ownership, *, post_again: bool = True
) -> None:
    """Let the steps act again that set what is undone now; steps for the other switch stay."""
    _act_again_on(conn, status, owned.website, owned.switch, post_again=post_again)


def _act_again_on(
    conn: Connection, status: BudgetStatus, website: str, switch: Switch, *, post_again: bool
) -> None:
    recordings = status.budget.recordings
    keep = [
        step.name(recordings) for step in status.steps
        if step.switches and not step.sets(switch)
    ]  # fmt: skip
    forget_budget_steps(conn, status.owner, website, keep=keep, post_again=post_again)
    status.done = budget_steps_done(conn, status.owner, status.period.name, status.within)


def _resume_taken_out(conn: Connection, status: BudgetStatus) -> None:
    """Tell people that an edit leaves websites switched as they are."""
    if status.budget.resume or not (status.mark and status.mark.resume):
        return
    held = {each.website for each in status.context.owned.values() if each.owner == status.owner}
    sites = [site for site in status.sites if site.id in held]
    if sites:
        title = f"{texts.name(status.budget)}: The bot no longer undoes its changes"
        names = ", ".join(site.name for site in sites)
        say(conn, status, sites[0], title, f"resume is now false; as they are stay: {names}")


def _disown(
    conn: Connection,
    context: BudgetContext,
    owned: Ownership,
    reason: str,
    *,
    leaves: bool = False,
    told: bool = False,
) -> None:
    del context.owned[owned.website, owned.switch]
    disown(conn, owned.website, owned.switch, context.now, reason, leaves=leaves, told=told)


def _intervened(
    conn: Connection, status: BudgetStatus, site: Site, owned: Ownership, who: str, now_is: str
) -> None:
    _leave_alone(conn, status, site, owned.switch)
    title = texts.intervened(site.name, who, owned.switch, now_is)
    had, leaves = texts.had_set(owned), texts.LEFT_ALONE[owned.switch]
    say(conn, status, site, title, had, leaves, kind=PERSON, icon="🔵")


def _leave_alone(conn: Connection, status: BudgetStatus, site: Site, switch: Switch) -> None:
    now, name = status.context.now, mark_of(site, switch)
    mark_budget_step(conn, status.owner, status.period.name, name, now)
    status.done[name] = now


def mark_of(site: Site, switch: Switch) -> str:
    """The name under which the store keeps that the bot leaves the website's switch alone."""
    match switch:
        case "recording":
            return f"{ASIDE} {site.id}"
        case "recording_rate":
            return f"{ASIDE} {site.id} recording_rate"
        case _:
            assert_never(switch)


def left_alone(status: BudgetStatus, site: Site, switch: Switch) -> bool:
    """Whether somebody decides about the switch until the next period: it, or all recording."""
    return not status.done.keys().isdisjoint((mark_of(site, "recording"), mark_of(site, switch)))


def _started_by_others(conn: Connection, status: BudgetStatus, site: Site) -> None:
    """A website that was stopped already when its step acted, and now records again.

    Mouseflow may have started it: then the step acts. If it was somebody, a notice says so.
    """
    context, before = status.context, status.context.before.get(site.id)
    state = context.states.get(site.id)
    stops = [
        step.site_name(status.budget.recordings, site.id)
        for step in status.steps if step.recording == "stop"
    ]  # fmt: skip
    if (
        state is None
        or before is None
        or before.status is None
        or not state.switchable
        or not state.is_recording
        or status.done.keys().isdisjoint(stops)
        or not status.needs_stop
        or left_alone(status, site, "recording")
        or (site.id, "recording") in context.owned
        or context.busy(site.id, "recording")
    ):
        return
    if before.status.casefold() == RECORDING:
        return
    if before.status.casefold() != STOPPED:
        context.paused[site.id] = before.status
        _act_again_on(conn, status, site.id, "recording", post_again=False)
        return
    if any(each.owner.startswith(BUDGET) for each in context.switched[site.id]):
        return
    _leave_alone(conn, status, site, "recording")
    who = context.changed_by(site.id, "recording")
    title = texts.intervened(site.name, who, "recording", str(state.status))
    used = f"{texts.figure(status.used, status.budget)} used"
    say(conn, status, site, title, used, texts.LEFT_ALONE["recording"], kind=PERSON, icon="🔵")


def _stopped_by_others(conn: Connection, status: BudgetStatus, site: Site) -> None:
    """Tell people of a stop that is no budget's: when it happens, and when a period begins."""
    context = status.context
    state, before = context.states.get(site.id), context.before.get(site.id)
    owned = context.owned.get((site.id, "recording"))
    rule = owned.rule if owned else ""
    ours = (owned and not rule) or context.busy(site.id, "recording")
    if state is None or not state.is_stopped or ours or not status.stops:
        return
    was_recording = before and (before.status or "").casefold() == RECORDING
    if site.id in context.stopped if rule else was_recording:
        say(
            conn, status, site,
            f"{site.name} was stopped{f' by the rule {rule}' if rule else ', not by the bot'}",
            f"{texts.figure(status.used, status.budget)} used",
            f"It stays stopped until it is started by hand: {texts.ONLY_ITS_OWN}",
            kind=PERSON,
        )  # fmt: skip
    new_period = status.mark and status.mark.period != status.period.name
    if new_period and _had_stopped(conn, status):
        say(
            conn, status, site,
            f"{site.name} stays stopped in the new period",
            f"{f'The rule {rule}' if rule else 'Somebody else'} stopped it, and "
            f"{texts.ONLY_ITS_OWN}",
            kind=PERSON,
        )  # fmt: skip


def _had_stopped(conn: Connection, status: BudgetStatus) -> bool:
    """Whether a step that stops was reached in the last period."""
    last = status.mark.period if status.mark else ""
    done = budget_steps_done(conn, status.owner, last)
    shares = [f"{step.at:g}% of " for step in status.steps if step.recording == "stop"]
    return any(name.startswith(share) for name in done for share in shares)
