"""Counters of `once_per` and `count`: which values came up, and how often.

A value may be a visitor's id, so only its hash is stored.
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b

from sqlalchemy import ColumnElement, Connection, delete, func, select
from sqlalchemy.dialects.sqlite import insert

from bot.store.schema import ms, once, tallies


def once_seen(conn: Connection, rule: str, value: str, now: datetime) -> bool:
    """Whether the rule's match for this value is still remembered."""
    query = select(once.c.until).where(once.c.rule == rule, once.c.value == _hash(value))
    until = conn.execute(query).scalar_one_or_none()
    return until is not None and until > ms(now)


def once_mark(conn: Connection, rule: str, value: str, until: datetime) -> None:
    """Remember until then that the rule matched for this value."""
    write = insert(once).values(rule=rule, value=_hash(value), until=ms(until))
    conn.execute(
        write.on_conflict_do_update(
            index_elements=["rule", "value"], set_={"until": write.excluded.until}
        )
    )


def tally(
    conn: Connection, rule: str, value: str, subject: str, at: datetime, since: datetime
) -> int:
    """Count the subject under this value; returns the number of subjects since `since`.

    A subject counts once, however often this is called.
    """
    key = _hash(value)
    write = insert(tallies).values(rule=rule, value=key, subject=subject, at=ms(at))
    conn.execute(write.on_conflict_do_nothing())
    query = select(func.count()).where(*_tallied(rule, key, since), tallies.c.at <= ms(at))
    return conn.execute(query).scalar_one()


def tallied(conn: Connection, rule: str, value: str, since: datetime) -> Sequence[str]:
    """The subjects counted under this value since then, oldest first."""
    query = (
        select(tallies.c.subject)
        .where(*_tallied(rule, _hash(value), since))
        .order_by(tallies.c.at, tallies.c.subject)
    )
    return conn.execute(query).scalars().all()


def tally_clear(conn: Connection, rule: str, value: str) -> None:
    """Restart the count of this value, after its match."""
    conn.execute(delete(tallies).where(tallies.c.rule == rule, tallies.c.value == _hash(value)))


def _tallied(rule: str, key: bytes, since: datetime) -> tuple[ColumnElement[bool], ...]:
    return tallies.c.rule == rule, tallies.c.value == key, tallies.c.at >= ms(since)


def _hash(value: str) -> bytes:
    # Without the rule's id, so that a renamed rule still knows the values.
    return blake2b(value.encode(), digest_size=16).digest()
