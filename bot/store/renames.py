"""Rename a rule or a budget: everything stored under the old id moves to the new one."""

from datetime import datetime

from sqlalchemy import Connection, delete, update

from bot.store.audit import Note, record
from bot.store.recordings import COUNTING
from bot.store.schema import (
    budget_steps,
    digests,
    levels,
    matches,
    once,
    ownership,
    rule_states,
    tallies,
    watermarks,
    windows,
)

_KEPT_BY_RULE = (rule_states, windows, digests, once, tallies, levels)


def rename_budget(conn: Connection, old: str, new: str, at: datetime) -> bool:
    """Move what the budget owns and has done from one owner's name to another one.

    False if nothing is stored under the old name.
    """
    moved = 0
    for column in (budget_steps.c.budget, ownership.c.owner, matches.c.rule):
        write = update(column.table).where(column == old).values({column: new})
        moved += conn.execute(write.prefix_with("OR IGNORE")).rowcount
    conn.execute(delete(budget_steps).where(budget_steps.c.budget == old))
    if moved:
        record(conn, at, [Note(kind="rule.renamed", rule=new, text=f"was {old}")])
    return moved > 0


def rename_rule(conn: Connection, old: str, new: str, at: datetime) -> bool:
    """Move everything; False if nothing is stored under the old id.

    What the new id already has stays. Keys of matches and steps keep the old id, since they are
    permanent, and so do existing audit entries.
    """
    moved = 0
    for table in _KEPT_BY_RULE:
        write = update(table).where(table.c.rule == old).values(rule=new)
        moved += conn.execute(write.prefix_with("OR IGNORE")).rowcount
        conn.execute(delete(table).where(table.c.rule == old))
    moved += conn.execute(update(matches).where(matches.c.rule == old).values(rule=new)).rowcount
    source = watermarks.c.source
    counting = update(watermarks).where(source == f"{COUNTING}{old}")
    conn.execute(counting.values(source=f"{COUNTING}{new}").prefix_with("OR IGNORE"))
    owned = update(ownership).where(ownership.c.owner == old).values(owner=new)
    moved += conn.execute(owned).rowcount
    if moved:
        record(conn, at, [Note(kind="rule.renamed", rule=new, text=f"was {old}")])
    return moved > 0
