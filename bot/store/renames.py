"""Rename a rule or a budget: everything stored under the old id moves to the new one."""

from datetime import datetime

from sqlalchemy import Column, Connection, delete, exists, update

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
        moved += _move(conn, column, old, new)
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
        moved += _move(conn, table.c.rule, old, new)
        conn.execute(delete(table).where(table.c.rule == old))
    moved += conn.execute(update(matches).where(matches.c.rule == old).values(rule=new)).rowcount
    _move(conn, watermarks.c.source, f"{COUNTING}{old}", f"{COUNTING}{new}")
    owned = update(ownership).where(ownership.c.owner == old).values(owner=new)
    moved += conn.execute(owned).rowcount
    if moved:
        record(conn, at, [Note(kind="rule.renamed", rule=new, text=f"was {old}")])
    return moved > 0


def _move(conn: Connection, column: Column[str], old: str, new: str) -> int:
    """Put the new name in the column, where no row of the same key has it; returns how many."""
    write = update(column.table).where(column == old).values({column: new})
    if column.primary_key:
        there = column.table.alias("there")
        rest = (key for key in column.table.primary_key.columns if key is not column)
        same = (there.c[key.name] == key for key in rest)
        write = write.where(~exists().where(there.c[column.name] == new, *same))
    return conn.execute(write).rowcount
