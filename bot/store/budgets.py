"""The budgets' ledger, the steps done in each period, and which websites the bot holds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert

from bot.store.audit import Note, record
from bot.store.tables import budget_steps, ledger, ownership
from bot.store.times import moment, ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """The bot changed this website's recording and may change it back.

    `owner` is the budget (or rule) that did, `status` and `rate` (percent) are what the
    website showed after the change; anything else seen later is a person's doing.
    """

    website: str
    owner: str
    at: datetime
    reason: str
    status: str
    rate: int | None = None


def keep_highest(conn: Connection, website: str, counts: Mapping[date, int], at: datetime) -> None:
    """Remember how many recordings each day has; a smaller count than before changes nothing.

    Counts shrink when recordings are deleted, what was used stays used.
    """
    rows = [
        {"website": website, "day": day.isoformat(), "highest": count, "at": ms(at)}
        for day, count in counts.items()
    ]
    if not rows:
        return
    write = insert(ledger)
    conn.execute(
        write.on_conflict_do_update(
            index_elements=["website", "day"],
            set_={"highest": write.excluded.highest, "at": write.excluded.at},
            where=write.excluded.highest > ledger.c.highest,
        ),
        rows,
    )


def used(
    conn: Connection, websites: Iterable[str], first: date, last: date
) -> dict[str, dict[date, int]]:
    """website -> day -> the highest count seen, from `first` to `last` inclusive."""
    query = select(ledger.c.website, ledger.c.day, ledger.c.highest).where(
        ledger.c.website.in_(tuple(websites)),
        ledger.c.day >= first.isoformat(),
        ledger.c.day <= last.isoformat(),
    )
    found: dict[str, dict[date, int]] = {}
    for row in conn.execute(query):
        found.setdefault(row.website, {})[date.fromisoformat(row.day)] = row.highest
    return found


def budget_steps_done(conn: Connection, budget: str, period: str) -> dict[str, datetime]:
    """The budget's steps that have acted in this period, and when."""
    query = select(budget_steps.c.step, budget_steps.c.at).where(
        budget_steps.c.budget == budget, budget_steps.c.period == period
    )
    return {row.step: moment(row.at) for row in conn.execute(query)}


def mark_budget_step(conn: Connection, budget: str, period: str, step: str, at: datetime) -> bool:
    """The step acts now; False if it has acted in this period already."""
    write = insert(budget_steps).values(budget=budget, period=period, step=step, at=ms(at))
    return conn.execute(write.on_conflict_do_nothing()).rowcount == 1


def owned(conn: Connection) -> dict[str, Ownership]:
    """The websites whose recording the bot has changed, by their id."""
    return {
        row.website: Ownership(
            website=row.website,
            owner=row.owner,
            at=moment(row.at),
            reason=row.reason,
            status=row.status,
            rate=row.rate,
        )
        for row in conn.execute(select(ownership))
    }


def own(conn: Connection, held: Ownership) -> None:
    """Remember that the bot changed the website."""
    values = {
        "owner": held.owner,
        "at": ms(held.at),
        "reason": held.reason,
        "status": held.status,
        "rate": held.rate,
    }
    write = insert(ownership).values(website=held.website, **values)
    conn.execute(write.on_conflict_do_update(index_elements=["website"], set_=values))
    record(conn, held.at, [_note("website.held", held.website, held.owner, held.reason)])


def disown(conn: Connection, website: str, at: datetime, reason: str) -> bool:
    """The bot no longer holds the website (`reason`: undone, or a person stepped in)."""
    held = owned(conn).get(website)
    if held is None:
        return False
    conn.execute(delete(ownership).where(ownership.c.website == website))
    record(conn, at, [_note("website.released", website, held.owner, reason)])
    return True


def _note(kind: str, website: str, owner: str, text: str) -> Note:
    return Note(kind=kind, website=website, rule=owner, text=text)
