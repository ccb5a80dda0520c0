"""Take back steps that wait: when a person says so, and when their rule no longer has them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, delete, func, select, text, update

from bot.actions import ACTIONS, IRREVERSIBLE
from bot.domain.step import StepStatus
from bot.store.audit import AuditKind, of_step, record
from bot.store.digests import step_ended
from bot.store.presses import show_outcome
from bot.store.rules import rule_states
from bot.store.schema import digests, matches, ms, steps

AT_ONCE = 100
"""How many steps one transaction takes back, so that other work does not wait long."""

_IRREVERSIBLE = tuple(sorted(IRREVERSIBLE))
_RESTORING = tuple(sorted(kind for kind, each in ACTIONS.items() if each.restores))
_SWITCHING = tuple(sorted(kind for kind, each in ACTIONS.items() if each.switches))
_PENDING = text("steps.state = 'pending'")


class Waiting(Struct, frozen=True):
    """What `cancel` finds: `steps` that wait, `running` ones, `restoring` ones that it leaves."""

    steps: int
    running: int
    restoring: int


def waiting(conn: Connection, ids: Collection[int], rules: Collection[str]) -> Waiting:
    """How many steps of these ids and rules are not done yet."""
    those = _named(ids, rules)

    def count(*more: ColumnElement[bool]) -> int:
        query = select(func.count()).select_from(steps.join(matches)).where(*more)
        return conn.execute(query).scalar_one()

    running = count((steps.c.id.in_(ids) | matches.c.rule.in_(rules)), _SENDING)
    left = count(matches.c.rule.in_(rules), _WAITS, steps.c.action.in_(_RESTORING))
    return Waiting(count(those, _WAITS), running, left)


_WAITS = steps.c.state == StepStatus.PENDING
_SENDING = steps.c.state == StepStatus.SENDING


def known_steps(conn: Connection, ids: Collection[int]) -> frozenset[int]:
    """Those of the ids whose step waits or runs."""
    query = select(steps.c.id).where(steps.c.id.in_(ids), _WAITS | _SENDING)
    return frozenset(conn.execute(query).scalars())


def rules_waiting(conn: Connection) -> frozenset[str]:
    """The rules and budgets that steps wait for."""
    query = select(matches.c.rule).distinct().join(steps, steps.c.match_id == matches.c.id)
    return frozenset(conn.execute(query.where(_PENDING)).scalars())


def cancel(
    conn: Connection, now: datetime, *, ids: Collection[int] = (), rules: Collection[str] = ()
) -> int:
    """Take back steps with these ids, or of these rules; call it again until it returns 0.

    What ends a share is left, unless its id is given: else a recording would stay public. A
    delete of the same match goes too: it needs all other steps to have succeeded.
    """
    query = select(steps.c.id, steps.c.match_id).join(matches, matches.c.id == steps.c.match_id)
    # What can't be undone comes first, so that nothing cut off in between lets it run.
    query = query.where(_PENDING, _named(ids, rules)).order_by(steps.c.rank.desc(), steps.c.id)
    found = conn.execute(query.limit(AT_ONCE)).all()
    with_them = select(steps.c.id).where(
        _PENDING,
        steps.c.match_id.in_({row.match_id for row in found}),
        steps.c.action.in_(_IRREVERSIBLE),
    )
    taken = {*conn.execute(with_them).scalars(), *(row.id for row in found)}
    _take_back(conn, sorted(taken, reverse=True), now, "step.cancelled", "cancelled by hand")
    return len(taken)


def take_back_step(conn: Connection, key: str, now: datetime, reason: str) -> bool:
    """Take back one step that waits; False if it runs, has ended, or may have taken effect."""
    never_sent = steps.c.unknown_since.is_(None)
    query = select(steps.c.id).where(steps.c.key == key, _PENDING, never_sent)
    found = conn.execute(query).scalar_one_or_none()
    if found is None:
        return False
    _take_back(conn, [found], now, "step.withheld", reason)
    return True


def take_back_posts(
    conn: Connection, rule: str, subject_key: str, matched: datetime, now: datetime, reason: str
) -> None:
    """Take back what waits of what the rule matched then, but not what may be out."""
    query = select(steps.c.id).join(matches, matches.c.id == steps.c.match_id)
    of_match = matches.c.rule == rule, matches.c.subject_key == subject_key
    never_sent = steps.c.unknown_since.is_(None) & steps.c.look_since.is_(None)
    query = query.where(_PENDING, never_sent, *of_match, matches.c.matched == ms(matched))
    _take_back(conn, conn.execute(query).scalars().all(), now, "step.withheld", reason)


def _named(ids: Collection[int], rules: Collection[str]) -> ColumnElement[bool]:
    of_rules = matches.c.rule.in_(rules) & steps.c.action.not_in(_RESTORING)
    return steps.c.id.in_(ids) | of_rules


def take_back_unwanted(
    conn: Connection,
    wanted: Mapping[str, Collection[tuple[str, str]]],
    covers: Callable[[str, str], bool],
    changed: Collection[str],
    now: datetime,
) -> int:
    """Take back what the rules as they are now no longer ask for; returns how many steps.

    That is what can't be undone, of rules that are `changed` or gone, and switches that their
    rule no longer sets. `wanted` has each rule's actions: kind and parameters; `covers` tells
    whether a rule watches a website, by its id.
    """
    once_rules = rule_states(conn)
    query = (
        select(steps.c.id, steps.c.action, steps.c.params, matches.c.rule, matches.c.website)
        .join(matches, matches.c.id == steps.c.match_id)
        .where(_PENDING, steps.c.action.in_((*_IRREVERSIBLE, *_SWITCHING)))
        .order_by(steps.c.id)
    )
    gone: dict[str, list[int]] = {}
    for row in conn.execute(query):
        if row.rule not in once_rules:
            continue  # a budget's: it takes care of its own
        has = row.rule in wanted and (row.action, row.params) in wanted[row.rule]
        if not has:
            why = f"the rule {row.rule} is gone, or no longer has the action {row.action}"
        elif not covers(row.rule, row.website):
            why = f"the rule {row.rule} no longer watches the website"
        elif row.rule in changed and row.action in _IRREVERSIBLE:
            why = f"the rule {row.rule} was edited before this ran"
        else:
            continue
        gone.setdefault(f"not performed: {why}", []).append(row.id)
    for why, ids in gone.items():
        _take_back(conn, ids, now, "step.withheld", why)
    return sum(map(len, gone.values()))


def _take_back(
    conn: Connection, ids: Sequence[int], now: datetime, kind: AuditKind, reason: str
) -> None:
    for step in ids:
        row = conn.execute(_ABOUT.where(steps.c.id == step)).one()
        ended = {"state": StepStatus.WITHHELD, "ended": ms(now), "fault": reason}
        conn.execute(update(steps).where(steps.c.id == step).values(**ended))
        conn.execute(delete(digests).where(digests.c.step_id == step))
        step_ended(conn, row.match_id)
        show_outcome(conn, row.key, now, reason)
        unsure = "; an earlier attempt may have taken effect" if row.unknown_since else ""
        note = of_step(kind, row, f"{reason}{unsure}")
        record(conn, now, [note])


_ABOUT = select(
    steps.c.key,
    steps.c.match_id,
    steps.c.unknown_since,
    matches.c.rule,
    matches.c.website,
    matches.c.subject_key,
).join(matches, matches.c.id == steps.c.match_id)
