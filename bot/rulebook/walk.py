"""The compiled decision's loop: all columns' masks of one recording, the short way where it can."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from operator import and_, attrgetter, or_
from typing import Any, NamedTuple, TypeVar

from bot.mouseflow.models import Recording
from bot.rulebook.axes import Column, Mask, Memo, length, weight
from bot.subjects import RecordingSubject

T = TypeVar("T")

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
            if not left:
                return 0
        for mask in rest:
            left &= mask(subject)
            if not left:
                return 0
        return left

    return terms


def _full(column: Column) -> Column:
    """The column as it serves a recording with its detail."""
    return column if column.always else Column(mask=column.mask, wants=column.wants)


def _way(columns: Sequence[Column], everything: int) -> _Way:
    start = reduce(and_, (it.constant for it in columns if it.constant is not None), everything)
    by_table: dict[str, list[Column]] = {}
    figures, rest = [], []
    for column in columns:
        if column.table is not None:
            by_table.setdefault("" if column.few else column.attribute, []).append(column)
        elif column.cuts is not None:
            figures.append((_Figure(attrgetter(column.attribute), *column.cuts), column.wants))
        elif column.constant is None:
            rest.append((column.mask, column.wants))
    looks = [(_look(some), reduce(or_, (it.wants for it in some))) for some in by_table.values()]
    return _Way(
        start=start,
        looks=_telling_first(looks, start),
        figures=_telling_first(figures, start),
        rest=_telling_first(rest, start),
    )


def _telling_first(steps: Iterable[tuple[T, int]], terms: int) -> tuple[T, ...]:
    """The steps, each with the terms that want something of it, in an order that tends to leave
    no term early: next is always the one wanted by most terms that no earlier one could refute."""
    todo, order, spared = list(steps), [], terms
    while todo:
        most = max(todo, key=lambda it: (it[1] & spared).bit_count())
        todo.remove(most)
        order.append(most[0])
        spared = spared & ~most[1] or terms  # once each had its chance, all have another
    return tuple(order)


def _look(columns: Sequence[Column]) -> _Look:
    """One table in place of the several of these columns."""
    return _together(columns) if len(columns) > 1 and columns[0].few else _merged(columns)


def _merged(columns: Sequence[Column]) -> _Look:
    """One table about one attribute."""
    fetch = attrgetter(columns[0].attribute)
    tables = _tables(columns)
    if len(tables) == 1:
        return _Look(fetch, tables[0])
    return _Look(fetch, Memo(lambda it: reduce(and_, (table[it] for table in tables)), length))


def _together(columns: Sequence[Column]) -> _Look:
    """One table over the values of several attributes, each of which has few."""
    tables = _tables(columns)

    def work(values: Sequence[Any]) -> int:
        pairs = zip(tables, values, strict=True)
        return reduce(and_, (table[value] for table, value in pairs))

    fetch = attrgetter(*(it.attribute for it in columns))
    return _Look(fetch, Memo(work, lambda values: sum(map(weight, values))))


def _tables(columns: Sequence[Column]) -> list[Memo[Any, int]]:
    return [column.table for column in columns if column.table is not None]
