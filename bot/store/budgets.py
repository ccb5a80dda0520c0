"""The budgets' ledger, the steps done in each period, and the switches that the bot owns."""

from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, delete, select, update

from bot.actions.recording import CHANGED
from bot.domain.budget import SWITCHES, Ownership, Switch
from bot.domain.step import StepStatus
from bot.store.audit import AuditKind, Note, record
from bot.store.recordings import (
    forget_watermark,
    set_watermark,
    watermark,
    watermarks_of,
    website_names,
)
from bot.store.rules import LONGEST_WAIT
from bot.store.schema import (
    budget_steps,
    moment,
    moment_or_none,
    ms,
    ownership,
    steps,
    watermarks,
)
from bot.store.statements import Value, execute, execute_for, execute_many, upsert


def keep_highest(conn: Connection, website: str, counts: Mapping[date, int], at: datetime) -> None:
    """Save how many recordings each day has used; the highest number wins."""
    rows: list[dict[str, Value]] = [
        {"website": website, "day": day.isoformat(), "highest": count, "at": ms(at)}
        for day, count in counts.items()
    ]
    if rows:
        execute_many(conn, _KEEP_HIGHEST, rows)


_KEEP_HIGHEST = (
    "INSERT INTO ledger (website, day, highest, at) VALUES (:website, :day, :highest, :at)"
    " ON CONFLICT (website, day) DO UPDATE SET highest = excluded.highest, at = excluded.at"
    " WHERE excluded.highest > ledger.highest"
)


def used(
    conn: Connection, websites: Iterable[str], first: date, last: date
) -> dict[str, dict[date, int]]:
    """website -> day -> the recordings used, from `first` to `last` inclusive."""
    days = {"first": first.isoformat(), "last": last.isoformat()}
    found: dict[str, dict[date, int]] = {}
    for website, day, highest in execute_for(conn, _USED, days, tuple(websites)):
        found.setdefault(website, {})[date.fromisoformat(day)] = highest
    return found


_USED = (
    "SELECT website, day, highest FROM ledger"
    " WHERE website IN (:ids) AND day >= :first AND day <= :last"
)


def newest_day(conn: Connection, latest: date) -> date | None:
    """The newest day with a recording, up to `latest`."""
    found = execute(conn, _NEWEST_DAY, {"latest": latest.isoformat()}).fetchone()[0]
    return None if found is None else date.fromisoformat(found)


_NEWEST_DAY = "SELECT max(day) FROM ledger WHERE highest > 0 AND day <= :latest"


def budget_steps_done(
    conn: Connection, budget: str, period: str, within: tuple[datetime, datetime] | None = None
) -> dict[str, datetime]:
    """The budget's steps that acted in this period, and when.

    With when it begins and ends, also what the budget has left alone since then, whatever its
    period was called: an edit may have ended that one.
    """
    begins, ends = map(ms, within) if within else (0, 0)
    which: dict[str, Value] = {"budget": budget, "period": period, "begins": begins, "ends": ends}
    done = execute(conn, _DONE, which | {"aside": f"{ASIDE} %"})
    return {step: moment(at) for step, at in done}


ASIDE = "aside"
"""The first word of what stands among the steps for a website that is left alone."""

_DONE = (
    "SELECT step, at FROM budget_steps WHERE budget = :budget"
    " AND (period = :period OR (step LIKE :aside AND at >= :begins AND at < :ends)) ORDER BY at"
)


def mark_budget_step(conn: Connection, budget: str, period: str, step: str, at: datetime) -> bool:
    """The step acts now; False if it has acted in this period already."""
    write = upsert(budget_steps).values(budget=budget, period=period, step=step, at=ms(at))
    added = write.on_conflict_do_nothing().returning(budget_steps.c.step)
    return conn.execute(added).first() is not None


def forget_budget_steps(
    conn: Connection,
    budget: str,
    website: str,
    *,
    keep: Collection[str] = (),
    post_again: bool = True,
) -> None:
    """Let the budget's steps act on the website again, except those named in `keep`.

    In every period: one that seems over may go on, once an edit or a wrong clock is put right.
    Steps that have acted on no other website post again, if asked to.
    """
    column, mine = budget_steps.c, f" @{website}"
    about = column.budget == budget
    query = select(column.period, column.step)
    acted = conn.execute(query.where(about, column.step.endswith(mine, autoescape=True))).all()
    for period, name in acted:
        step = name.removesuffix(mine)
        if step in keep:
            continue
        here = (about, column.period == period)
        conn.execute(delete(budget_steps).where(*here, column.step == name))
        others = query.where(*here, column.step.startswith(f"{step} @", autoescape=True))
        if post_again and conn.execute(others).first() is None:
            conn.execute(delete(budget_steps).where(*here, column.step == step))


def owned(conn: Connection) -> dict[tuple[str, Switch], Ownership]:
    """What the bot has set and may undo, by website and switch."""
    found: dict[tuple[str, Switch], Ownership] = {}
    for key, owner, at, reason, set_to, before in execute(conn, _OWNED, {}):
        website, _, name = key.partition(" ")
        switch = next(each for each in SWITCHES if each == name)
        found[website, switch] = Ownership(
            website=website,
            switch=switch,
            owner=owner,
            at=moment(at),
            reason=reason,
            set_to=set_to,
            before=before,
        )
    return found


_OWNED = "SELECT website, owner, at, reason, status, rate FROM ownership"


def own(conn: Connection, held: Ownership) -> None:
    """Save that the bot has set this."""
    values = {
        "owner": held.owner,
        "at": ms(held.at),
        "reason": held.reason,
        "status": held.set_to,
        "rate": held.before,
    }
    write = upsert(ownership).values(website=_row(held.website, held.switch), **values)
    conn.execute(write.on_conflict_do_update(index_elements=["website"], set_=values))
    if held.switch == "recording":
        forget_watermark(conn, LEFT, held.website)
    said = f"{held.switch} set to {held.set_to}: {held.reason}"
    record(conn, held.at, [_note(conn, "website.held", held.website, held.owner, said)])


LEFT = "budget-left"
"""The watermark source for websites that nobody has started since their budget was gone."""


def disown(
    conn: Connection,
    website: str,
    switch: Switch,
    at: datetime,
    reason: str,
    *,
    leaves: bool = False,
    told: bool = False,
) -> bool:
    """End the ownership (`reason`: undone, or somebody changed it); False if there was none.

    `leaves`: the website stays as the bot has set it. `told`: the caller writes the audit entry.
    """
    held = owned(conn).get((website, switch))
    if held is None:
        return False
    conn.execute(delete(ownership).where(ownership.c.website == _row(website, switch)))
    if leaves and switch == "recording":
        set_watermark(conn, LEFT, website, held.owner, at)
    if not told:
        said = f"{switch}: {reason}"
        record(conn, at, [_note(conn, "website.released", website, held.owner, said)])
    return True


class StepOutcome(Struct, frozen=True):
    """What became of a step in the outbox: `ended` is None while it is open."""

    status: StepStatus
    result: str | None
    fault: str
    ended: datetime | None


def step_outcome(conn: Connection, key: str) -> StepOutcome | None:
    """What became of the step; None if there is no such step."""
    columns = steps.c.state, steps.c.result, steps.c.fault, steps.c.ended
    row = conn.execute(select(*columns).where(steps.c.key == key)).first()
    if row is None:
        return None
    return StepOutcome(StepStatus(row.state), row.result, row.fault, moment_or_none(row.ended))


def supersede(conn: Connection, key: str, now: datetime) -> None:
    """A new step tries again what this dead letter could not do, so it needs nobody any more."""
    dead = (steps.c.key == key, steps.c.state == StepStatus.DEAD)
    write = update(steps).where(*dead).values(state=StepStatus.WITHHELD, ended=ms(now))
    if conn.execute(write).rowcount:
        record(conn, now, [Note(kind="step.superseded", step=key, text="a new step tries again")])


class Switching(Struct, frozen=True):
    """A step of the outbox that sets a switch of a website, as far as it has begun.

    `owner` is a rule or a budget, `to` as a Change has it. `ended` is None while it is under
    way; `result` is what the action left.
    """

    key: str
    switch: Switch
    owner: str
    to: str
    ended: datetime | None
    result: str | None


_BEGUN = (
    "SELECT steps.key, action, rule, params, ended, result"
    " FROM matches JOIN steps ON steps.match_id = matches.id"
    " WHERE matches.website = :website AND matches.subject_key = :website"
    " AND matches.matched >= :matched AND action IN ('recording', 'recording_rate')"
    " AND ((state IN ('pending', 'sending') AND (attempts > 0 OR unknown_since IS NOT NULL))"
    " OR (state = 'done' AND ended >= :since)) ORDER BY ended, steps.id"
)


def switchings(conn: Connection, website: str, since: datetime) -> tuple[Switching, ...]:
    """Changes of the website's switches since then, oldest first, and those under way."""
    values: dict[str, Value] = {
        "website": website,
        "since": ms(since),
        # No step waits longer than that, so older matches need not be read.
        "matched": ms(since - LONGEST_WAIT),
    }
    return tuple(
        Switching(
            key=key,
            switch=action,
            owner=rule,
            to=str(next(iter(msgspec.json.decode(params).values()))),
            ended=moment_or_none(ended),
            result=result,
        )
        for key, action, rule, params, ended, result in execute(conn, _BEGUN, values)
    )


POLLED = "budget-websites"
"""The watermark source for websites at the last poll of the budgets."""


def who_stopped(conn: Connection, website: str, now: datetime) -> str | None:
    """The budget or rule that stopped the website, which is stopped; None for somebody else."""
    query = select(watermarks.c.at).where(
        watermarks.c.source == POLLED, watermarks.c.website == website
    )
    polled = conn.execute(query).scalar_one_or_none()
    # What the last poll of the budgets has seen is in the ownership.
    since = now - timedelta(days=90) if polled is None else moment(polled)
    last = [
        each
        for each in switchings(conn, website, since)
        if each.switch == "recording" and (each.ended is None or each.result == CHANGED)
    ]
    if last:
        return last[-1].owner if last[-1].to == "stop" else None
    held = owned(conn).get((website, "recording"))
    return held.owner if held else watermark(conn, LEFT, website)


def forget_left(conn: Connection, recording: Collection[str]) -> None:
    """Forget what stopped these websites, which record."""
    for website in watermarks_of(conn, LEFT).keys() & set(recording):
        forget_watermark(conn, LEFT, website)


def visitors(conn: Connection, website: str, since: datetime) -> dict[datetime, float]:
    """The website's visitors by hour, for the hours in which it recorded."""
    rows = execute(conn, _HOURS, {"website": website, "since": ms(since)})
    return {_hour(at): value for at, value in rows}


_HOURS = (
    "SELECT at, value FROM figures WHERE kind = 'visitors' AND website = :website"
    " AND subject = '' AND name = 'visitors' AND at >= :since"
)
_hour = lru_cache(maxsize=2_048)(moment)


def add_visitors(conn: Connection, website: str, hours: Mapping[datetime, float]) -> None:
    """Add visitors to the hours, by their beginning."""
    if hours:
        rows: list[dict[str, Value]] = [
            {"website": website, "at": ms(at), "value": count} for at, count in hours.items()
        ]
        execute_many(conn, _ADD_HOURS, rows)


_ADD_HOURS = (
    "INSERT INTO figures (kind, website, subject, name, at, value)"
    " VALUES ('visitors', :website, '', 'visitors', :at, :value)"
    " ON CONFLICT (kind, website, subject, name, at)"
    " DO UPDATE SET value = figures.value + excluded.value"
)


def drop_visitors(conn: Connection, website: str, first: datetime, last: datetime) -> None:
    """Delete the hours from `first` to `last`: they were not recorded completely."""
    after, until = ms(first - timedelta(hours=1)), ms(last)
    execute(conn, _DROP_HOURS, {"website": website, "after": after, "last": until})


_DROP_HOURS = (
    "DELETE FROM figures WHERE kind = 'visitors' AND website = :website"
    " AND at > :after AND at <= :last"
)


def _row(website: str, switch: Switch) -> str:
    """The key of the website's switch; ids have no spaces."""
    return f"{website} {switch}"


def _note(conn: Connection, kind: AuditKind, website: str, owner: str, text: str) -> Note:
    name = website_names(conn).get(website)
    said = f"{name}: {text}" if name else text
    return Note(kind=kind, website=website, rule=owner, text=said)
