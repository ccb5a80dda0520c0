"""One column of the compiled decision: how a recording's field becomes a mask of terms.

A column answers twice. `mask` is the verdict with what is known now. `pair`, where the field may
not be known yet, gives the terms that hold whatever comes, and those that still may.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any

from bot.rulebook.axes import (
    Axis,
    Column,
    Memo,
    Pair,
    existence,
    length,
    lengths,
    segments,
)
from bot.rulebook.bags import Bag
from bot.rulebook.conditions import Bounds, Numbers
from bot.rulebook.fields import Field, page
from bot.rulebook.operators import sees, texts_of
from bot.rulebook.page_columns import items, journeys
from bot.rulebook.recording_values import entry, knows_pages
from bot.rulebook.terms import Leaf
from bot.subjects import Band, RecordingSubject

Wanted = Mapping[Leaf, tuple[int, int]]
"""The tests of one field, each with the terms that want it met, and not met."""


def column(about: Field, wants: Wanted, everything: int) -> Column:
    """The column of a recording's field."""
    axis: Axis[Any] = Axis(wants, everything)
    if about.name == "journey":
        return journeys(about, axis)
    if about.type == "items":
        return items(about, axis)
    if about.name == "saw_page":
        return _paths(about, axis)
    if about.type in ("texts", "variables"):
        return _bag(about, axis)
    if about.numeric and about.source != "asked":
        return _figures(about, axis)
    return _single(about, axis)


def _single(about: Field, axis: Axis[Any]) -> Column:
    """One value: a text, a flag, or a band of friction."""
    work = _text_work(about, axis) if about.type == "text" else _plain_work(about, axis)
    long = length if about.type == "text" else None
    answers: Memo[Any, Pair] = Memo(work, long)
    table: Memo[Any, int] = Memo(lambda raw: axis.mask[answers[raw][0]], long)
    raw, known = about.raw, about.known
    if known is None:
        attribute = about.attribute
        return Column(
            wants=axis.wants,
            mask=lambda it: table[raw(it)],
            attribute=attribute,
            table=table if attribute else None,
            always=bool(attribute),
            few=bool(about.choices) or about.type == "flag",
        )
    silent = axis.mask[0]

    def mask(subject: RecordingSubject) -> int:
        value = raw(subject)
        return table[value] if value or known(subject) else silent

    def pair(subject: RecordingSubject) -> Pair:
        return axis.pair[answers[raw(subject)]] if known(subject) else axis.unknown

    bare: Memo[Any, int] = Memo(lambda value: table[value] if value else silent, long)
    attribute = "entry_page" if about.name == "entry_page" else about.attribute
    return Column(
        wants=axis.wants,
        mask=mask,
        pair=pair,
        attribute=attribute,
        table=bare if attribute else None,
    )


def _text_work(about: Field, axis: Axis[Any]) -> Callable[[Any], Pair]:
    bag = Bag(axis.leaves, about)

    def work(raw: Any) -> Pair:
        bits = 0
        for text in texts_of(about.clean(raw)):
            bits |= bag.bits(text)
        met = bag.met(bits)
        return met, axis.every_leaf & ~met

    return work


def _plain_work(about: Field, axis: Axis[Any]) -> Callable[[Any], Pair]:
    tests = [(sees(about, leaf.wants), 1 << j) for j, leaf in enumerate(axis.leaves)]

    def work(raw: Any) -> Pair:
        value: Band | bool | None = about.clean(raw)  # type: ignore[assignment]
        met = failed = 0
        for see, bit in tests:
            answer = see(value)
            if answer:
                met |= bit
            elif answer is False:
                failed |= bit
        return met, failed

    return work


def _figures(about: Field, axis: Axis[Any]) -> Column:
    """A number: its place among the thresholds says everything."""
    tests = [
        (leaf.wants, 1 << j)
        for j, leaf in enumerate(axis.leaves)
        if isinstance(leaf.wants, Numbers | Bounds)
    ]
    there, absent = existence(axis.leaves)
    cuts, table = segments(tests, lambda bits: axis.mask[bits | there])
    missing, silent = axis.mask[absent], axis.mask[0]
    raw, known = about.raw, about.known

    def mask(subject: RecordingSubject) -> int:
        figure = raw(subject)
        if figure is None or figure != figure:
            return missing if known is None or known(subject) else silent
        return table[bisect_right(cuts, figure)]

    def pair(subject: RecordingSubject) -> Pair:
        if known is not None and not known(subject):
            return axis.unknown
        now = mask(subject)
        return now, now

    if known is None:
        cuts_of_row, attribute = (cuts, table, missing), about.attribute
    else:  # a row without the figure leaves it open; the detail's page views may tell it
        cuts_of_row, attribute = (cuts, table, silent), about.name
    return Column(
        wants=axis.wants,
        mask=mask,
        pair=pair if known else None,
        attribute=attribute,
        cuts=cuts_of_row if attribute else None,
        always=known is None and bool(attribute),
    )


def _bag(about: Field, axis: Axis[Any]) -> Column:
    """Tags and variables: a set of texts, with those of the page views where they count."""
    bag = Bag(axis.leaves, about)
    each: Memo[str, int] = Memo(bag.bits, length)

    def together(texts: tuple[str, ...]) -> int:
        bits = 0
        for text in texts:
            bits |= each[text]
        return bits

    own: Memo[tuple[str, ...], int] = Memo(together, lengths)
    masks: Memo[int, int] = Memo(lambda bits: axis.mask[bag.met(bits)])
    if about.type == "variables":
        table: Memo[Any, int] = Memo(lambda texts: masks[together(texts)], lengths)
        return Column(
            wants=axis.wants,
            mask=lambda it: table[it.recording.variables],
            attribute="variables",
            table=table,
            always=True,
        )
    masks_so_far: Memo[int, int] = Memo(lambda bits: axis.mask[bag.so_far(bits)[0]])
    pairs: Memo[int, Pair] = Memo(lambda bits: axis.pair[bag.so_far(bits)])

    def mask(subject: RecordingSubject) -> int:
        recording = subject.recording
        bits = own[recording.tags]
        if recording.page_views is None:
            # What is not known to be absent may still come; a verdict takes it for a no.
            return masks_so_far[bits]
        for view in recording.page_views:
            if view.tags:
                bits |= own[view.tags]
        return masks[bits]

    def pair(subject: RecordingSubject) -> Pair:
        if subject.recording.page_views is None:
            return pairs[own[subject.recording.tags]]
        now = mask(subject)
        return now, now

    bare: Memo[Any, int] = Memo(lambda texts: masks_so_far[together(texts)], lengths)
    return Column(wants=axis.wants, mask=mask, pair=pair, attribute="tags", table=bare)


def _paths(about: Field, axis: Axis[Any]) -> Column:
    """The paths of all pages seen."""
    bag = Bag(axis.leaves, about)
    each: Memo[str | None, int] = Memo(lambda raw: bag.bits(page(raw) or ""), length)
    masks: Memo[int, int] = Memo(lambda bits: axis.mask[bag.met(bits)])
    masks_so_far: Memo[int, int] = Memo(lambda bits: axis.mask[bag.so_far(bits)[0]])
    pairs: Memo[int, Pair] = Memo(lambda bits: axis.pair[bag.so_far(bits)])

    def bits_of(subject: RecordingSubject) -> int:
        bits = each[entry(subject)]
        for view in subject.recording.page_views or ():
            bits |= each[view.website_page or view.uri]
        return bits

    def mask(subject: RecordingSubject) -> int:
        bits = bits_of(subject)
        return masks[bits] if knows_pages(subject) else masks_so_far[bits]

    def pair(subject: RecordingSubject) -> Pair:
        bits = bits_of(subject)
        if knows_pages(subject):
            return masks[bits], masks[bits]
        return pairs[bits]

    if bag.asks_absence:  # then it matters whether the entry page was the only one
        return Column(wants=axis.wants, mask=mask, pair=pair)
    bare: Memo[Any, int] = Memo(lambda raw: masks[each[raw]], length)
    return Column(wants=axis.wants, mask=mask, pair=pair, attribute="entry_page", table=bare)
