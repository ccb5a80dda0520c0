"""The compiled decision's loop: all columns' masks of one recording, the short way where it can."""

from bisect import bisect_right
from collections.abc import Callable, Hashable, Sequence
from functools import reduce
from operator import and_, attrgetter
from typing import Any, NamedTuple

from bot.mouseflow.models import Recording
from bot.rulebook.axes import Column, Cuts, Mask, Memo, length, weight
from bot.subjects import RecordingSubject


class _Way(NamedTuple):
    """The order of work: values of few choices looked up together, then texts one by one, then
    numbers among their thresholds, and what is left to the columns themselves."""

    start: int
    choices: Callable[[Recording], Hashable]
    chosen: Memo[Hashable, int]
    texts: Callable[[Recording], tuple[Any, ...]]
    tables: tuple[Memo[Any, int], ...]
    figures: Callable[[Recording], tuple[Any, ...]]
    cuts: tuple[Cuts, ...]
    rest: tuple[Mask, ...]


def walk(columns: Sequence[Column], everything: int) -> Mask:
    """From a recording to the terms that no column refutes."""
    bare = _way(columns, everything)
    full = _way([_full(column) for column in columns], everything)

    def terms(subject: RecordingSubject) -> int:
        recording = subject.recording
        is_bare = recording.page_views is None and recording.entry_page
        left, choices, chosen, texts, tables, figures, cuts, rest = bare if is_bare else full
        left &= chosen[choices(recording)]
        for table, value in zip(tables, texts(recording), strict=False):
            left &= table[value]
        if not left:
            return 0
        for (edges, table, missing), figure in zip(cuts, figures(recording), strict=False):
            if figure is None or figure != figure:  # NaN has no place among thresholds
                left &= missing
            else:
                left &= table[bisect_right(edges, figure)]
        for mask in rest:
            if not left:
                return 0
            left &= mask(subject)
        return left

    return terms


def _full(column: Column) -> Column:
    """The column as it serves a recording with its detail."""
    return column if column.always else Column(mask=column.mask)


def _way(columns: Sequence[Column], everything: int) -> _Way:
    tables: dict[str, list[Memo[Any, int]]] = {}
    few: list[tuple[str, Memo[Any, int]]] = []
    cuts: list[tuple[str, Cuts]] = []
    start, rest = everything, []
    for column in columns:
        if column.constant is not None:
            start &= column.constant
        elif column.cuts is not None:
            cuts.append((column.attribute, column.cuts))
        elif column.table is None:
            rest.append(column.mask)
        elif column.few:
            few.append((column.attribute, column.table))
        else:
            tables.setdefault(column.attribute, []).append(column.table)
    return _Way(
        start=start,
        choices=_fetch([name for name, _ in few]),
        chosen=_together([table for _, table in few]),
        texts=_fetch(list(tables)),
        tables=tuple(map(_merged, tables.values())),
        figures=_fetch([name for name, _ in cuts]),
        cuts=tuple(edges for _, edges in cuts),
        rest=tuple(rest),
    )


def _merged(tables: Sequence[Memo[Any, int]]) -> Memo[Any, int]:
    """One table in place of several about the same attribute."""
    if len(tables) == 1:
        return tables[0]
    return Memo(lambda value: reduce(and_, (table[value] for table in tables)), length)


def _together(tables: Sequence[Memo[Any, int]]) -> Memo[Any, int]:
    """One table over the values of several attributes, each of which has few."""

    def work(values: Sequence[Any]) -> int:
        pairs = zip(tables, values, strict=True)
        return reduce(and_, (table[value] for table, value in pairs), -1)

    return Memo(work, lambda values: sum(map(weight, values)))


def _fetch(names: Sequence[str]) -> Callable[[Recording], tuple[Any, ...]]:
    """All these attributes at once, as a tuple."""
    if not names:
        return lambda recording: ()
    if len(names) == 1:
        one = attrgetter(names[0])
        return lambda recording: (one(recording),)
    return attrgetter(*names)
