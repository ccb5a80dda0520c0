"""A step of the outbox that may be due, with the data of its match."""

from typing import NamedTuple


class DueStep(NamedTuple):
    """A waiting step and its match (`m_`): columns of the two tables."""

    id: int
    match_id: int
    key: str
    rank: int
    lane: str
    action: str
    params: str
    attempts: int
    admitted: int
    first_tried: int | None
    unknown_since: int | None
    m_rule: str
    m_website: str
    m_subject_key: str
    m_summary: str
    m_subject: bytes | None
    m_why: str
    m_matched: int
    m_happened: int
    m_posting: str


_COLUMNS = (f"matches.{f[2:]}" if f[:2] == "m_" else f"steps.{f}" for f in DueStep._fields)
SELECT_DUE_STEP = (
    f"SELECT {', '.join(_COLUMNS)} FROM steps JOIN matches ON matches.id = steps.match_id"  # noqa: S608
)
"""Selects the columns of DueStep; append a condition and an order."""
