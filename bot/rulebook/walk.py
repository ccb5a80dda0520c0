"""The compiled decision's loop: all columns' masks of one recording, the short way where it can."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from operator import and_, attrgetter
from typing import Any, NamedTuple

from bot.mouseflow.models import Recording
from bot.rulebook.axes import Column, Mask, Memo, length, weight
from bot.subjects import RecordingSubject

Fetch = Callable[[Recording], Any]


class _Look(NamedTuple):
    """One attribute's table, or the table of several attributes with few values each."""

    fetch: Fetch
    table: Memo[Any, int]


class _Figure(NamedTuple):
    """One number's place among its thresholds."""

    fetch: Fetch
    edges: list[float]
    masks: list[int]
    missing: int


class _Way(NamedTuple):
    """The order of work: what one look-up tells, then numbers among their thresholds, then what
    is left to the columns themselves. `start` is what their constants leave."""

    start: int
    looks: tuple[_Look, ...]
    figures: tuple[_Figure, ...]
    rest: tuple[Mask, ...]


def walk(columns: Sequence[Column], everything: int) -> Mask:
    """From a recording to the terms that no column refutes."""
    bare = _way(columns, everything)
    full = _way([_full(column) for column in columns], everything)

    def terms(subject: RecordingSubject) -> int:
        recording = subject.recording
        is_bare = recording.page_views is None and recording.entry_page
        left, looks, figures, rest = bare if is_bare else full
        for fetch, table in looks:
            left &= table[fetch(recording)]
            if not left:
                return 0
        for fetch, edges, masks, missing in figures:
            figure = fetch(recording)
            if figure is None or figure != figure:  # NaN has no place among thresholds
                left &= missing
            else:
                left &= masks[bisect_right(edges, figure)]
        for mask in rest:
            if not left:
                return 0
            left &= mask(subject)
        return left

    return terms


def _full(column: Column) -> Column:
    """The column as it serves a recording with its detail."""
    return column if column.always else Column(mask=column.mask, wants=column.wants)


def _way(columns: Sequence[Column], everything: int) -> _Way:
    start = reduce(and_, (it.constant for it in columns if it.constant is not None), everything)
    order = _telling_first([it for it in columns if it.constant is None], start)
    looks: dict[str, list[Column]] = {}
    for column in order:
        if column.table is not None:
            looks.setdefault("" if column.few else column.attribute, []).append(column)
    return _Way(
        start=start,
        looks=tuple(_together(some) if some[0].few else _merged(some) for some in looks.values()),
        figures=tuple(_Figure(attrgetter(it.attribute), *it.cuts) for it in order if it.cuts),
        rest=tuple(it.mask for it in order if it.cuts is None and it.table is None),
    )


def _telling_first(columns: Iterable[Column], open_terms: int) -> list[Column]:
    """The columns in an order that tends to leave no term early: each next one is that of which
    most terms want something that no earlier column was asked for."""
    left, order = list(columns), []
    while left:
        most = max(left, key=lambda it: (it.wants & open_terms).bit_count())
        left.remove(most)
        order.append(most)
        open_terms &= ~most.wants
    return order


def _merged(columns: Sequence[Column]) -> _Look:
    """One table in place of several about the same attribute."""
    fetch = attrgetter(columns[0].attribute)
    tables = _tables(columns)
    if len(tables) == 1:
        return _Look(fetch, tables[0])
    return _Look(fetch, Memo(lambda it: reduce(and_, (table[it] for table in tables)), length))


def _together(columns: Sequence[Column]) -> _Look:
    """One table over the values of several attributes, each of which has few."""
    tables = _tables(columns)
    if len(tables) == 1:
        return _merged(columns)

    def work(values: Sequence[Any]) -> int:
        pairs = zip(tables, values, strict=True)
        return reduce(and_, (table[value] for table, value in pairs))

    fetch = attrgetter(*(it.attribute for it in columns))
    return _Look(fetch, Memo(work, lambda values: sum(map(weight, values))))


def _tables(columns: Sequence[Column]) -> list[Memo[Any, int]]:
    return [column.table for column in columns if column.table is not None]
