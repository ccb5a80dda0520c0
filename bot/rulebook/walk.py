"""The compiled decision's loop: all columns' masks of one recording, the short way where it can."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from bot.mouseflow.models import Recording
from bot.rulebook.axes import Memo
from bot.rulebook.columns import Column, Cuts, Mask
from bot.subjects import RecordingSubject


@dataclass(frozen=True, slots=True)
class _Way:
    """The order of work: one fetch of plain values for the tables, one for the thresholds, and
    what is left to the columns themselves."""

    start: int
    texts: Callable[[Recording], tuple[Any, ...]]
    tables: tuple[Memo[Any, int], ...]
    figures: Callable[[Recording], tuple[Any, ...]]
    cuts: tuple[Cuts, ...]
    rest: tuple[Mask, ...]


def walk(columns: Sequence[Column], everything: int) -> Mask:
    """From a recording to the terms that no column refutes."""
    bare = _way(columns, everything)
    full = _way([_full(column) for column in columns], everything)

    def terms_of(way: _Way) -> Mask:
        start, texts, tables = way.start, way.texts, way.tables
        figures, cuts, rest = way.figures, way.cuts, way.rest

        def terms(subject: RecordingSubject) -> int:
            recording = subject.recording
            left = start
            for table, value in zip(tables, texts(recording), strict=False):
                left &= table[value]
            for (edges, table, missing), figure in zip(cuts, figures(recording), strict=False):
                if figure is None or figure != figure:  # NaN has no place among thresholds
                    left &= missing
                else:
                    left &= table[bisect_right(edges, figure)]
            for mask in rest:
                if not left:
                    break
                left &= mask(subject)
            return left

        return terms

    of_bare, of_full = terms_of(bare), terms_of(full)

    def either(subject: RecordingSubject) -> int:
        recording = subject.recording
        if recording.page_views is None and recording.entry_page:
            return of_bare(subject)
        return of_full(subject)

    return either


def _full(column: Column) -> Column:
    """The column as it serves a recording with its detail."""
    return column if column.always else Column(mask=column.mask)


def _way(columns: Sequence[Column], everything: int) -> _Way:
    tables = [(it.attribute, it.table) for it in columns if it.table is not None]
    cuts = [(it.attribute, it.cuts) for it in columns if it.cuts is not None]
    start, rest = everything, []
    for column in columns:
        if column.constant is not None:
            start &= column.constant
        elif column.table is None and column.cuts is None:
            rest.append(column.mask)
    return _Way(
        start=start,
        texts=_fetch([name for name, _ in tables]),
        tables=tuple(table for _, table in tables),
        figures=_fetch([name for name, _ in cuts]),
        cuts=tuple(edges for _, edges in cuts),
        rest=tuple(rest),
    )


def _fetch(names: Sequence[str]) -> Callable[[Recording], tuple[Any, ...]]:
    """All these attributes at once, as a tuple."""
    if not names:
        return lambda recording: ()
    if len(names) == 1:
        one = attrgetter(names[0])
        return lambda recording: (one(recording),)
    return attrgetter(*names)
