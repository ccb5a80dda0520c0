"""The figures of a subject in words: what a message says of it beside its rule."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import pairwise
from typing import Any

from bot.domain.subjects import Kind
from bot.fields.catalogue import KINDS, text_fields
from bot.fields.field import ITSELF
from bot.messages.text import clean, number

Values = Mapping[str, Any]

BRIEF: Mapping[Kind, tuple[tuple[str, str], ...]] = {
    "recordings": (),
    "feedback": (("new answers:", "new_responses"), ("in all:", "responses")),
    "funnels": (("converts", "conversion"), ("visitors:", "entered")),
    "forms": (("sent by", "completion"), ("visitors:", "visits")),
    "pages": (("views:", "views"), ("visit time", "visit_time")),
    "websites": (("", "status"), ("budget used", "budget_used")),
}
"""What a list says of each kind of subject: labels, and the figures behind them."""


def value_in_words(value: Any) -> str:
    """A figure as people read it; a dash for none."""
    if value is None or value in ("", ()):
        return "–"
    if type(value) in (int, float):
        return number(value)
    return clean(value)


def _recording_figures(shown: Values) -> Iterable[str]:
    if shown["duration"] is not None:
        pages = shown["pages"]
        on = f" on {number(pages)} page{'' if pages == 1 else 's'}" if pages else ""
        yield f"Active for {value_in_words(shown['duration'])}{on}."


def _campaign_figures(shown: Values) -> Iterable[str]:
    if shown["responses"] is not None:
        shares = shown["response_rate"] is not None and shown["impressions"]
        of = f", {shown['response_rate']} of {number(shown['impressions'])}" if shares else ""
        yield f"{number(shown['responses'])} answers in all{f'{of} impressions' if of else ''}."
    if shown["enabled"] is False:
        yield "The campaign is off."


def _funnel_figures(shown: Values) -> Iterable[str]:
    if shown["entered"] is not None and shown["conversion"] is not None:
        yield f"{number(shown['entered'])} visitors entered, {shown['conversion']} converted."
    steps = shown["steps"]
    losses = [
        (before["count"] - after["count"], before, after)
        for before, after in pairwise(steps)
        if before["count"] and after["count"] is not None and after["count"] < before["count"]
    ]
    if losses:
        lost, before, after = max(losses, key=lambda loss: loss[0])
        share = round(100 * lost / before["count"])
        yield (
            f"Biggest loss: {before['name']} → {after['name']}, {number(lost)} of "
            f"{number(before['count'])} visitors left ({share} %)."
        )


def _form_figures(shown: Values) -> Iterable[str]:
    if shown["submits"] and shown["success"] is not None:
        failed = max(shown["submits"] - shown["success"], 0)
        yield f"{number(failed)} of {number(shown['submits'])} attempts to send it failed."
    elif shown["completion"] is not None:
        yield f"{shown['completion']} of the visitors who began it sent it."
    dropped = [field for field in shown["fields"] if field["dropped"]]
    if dropped:
        worst = max(dropped, key=lambda field: field["dropped"])
        yield f"Most left at {worst['name']} ({number(worst['dropped'])} visitors)."


def _page_figures(shown: Values) -> Iterable[str]:
    figures = (
        ("views", "views"), ("render_time", "to render"), ("visit_time", "visit time"),
        ("engagement_time", "of activity"), ("scroll", "scrolled"),
    )  # fmt: skip
    told = [
        f"{value_in_words(shown[name])} {words}"
        for name, words in figures
        if shown[name] is not None
    ]
    if told:
        yield f"{value_in_words(shown['path'])} has {', '.join(told)}."


def _website_figures(shown: Values) -> Iterable[str]:
    if shown["status"] is not None:
        rate = shown["recording_rate"]
        of = f", {rate} of sessions" if rate is not None and shown["status"] == "Recording" else ""
        who = shown["stopped_by"]
        who = {"person": "somebody", "bot": "the bot"}.get(who, who)
        by = f" (by {who})" if who and shown["status"] == "Stopped" else ""
        yield f"Mouseflow says {shown['status']}{by}{of}."
    if shown["recordings_today"] is not None:
        yield f"{number(shown['recordings_today'])} recordings today."


FIGURES: Mapping[Kind, Callable[[Values], Iterable[str]]] = {
    "recordings": _recording_figures,
    "feedback": _campaign_figures,
    "funnels": _funnel_figures,
    "forms": _form_figures,
    "pages": _page_figures,
    "websites": _website_figures,
}
"""The sentences about each kind of subject."""

_FIGURE = r"((?:[^,]|,(?=\d))+)"  # 1,204 is one
_BOUND = re.compile(rf"(\w+) {_FIGURE}, (?:under|over|at least|at most) {_FIGURE}")
_HEADLINES: Mapping[str, str] = {
    field.name: field.headline
    for kind in KINDS
    for field in text_fields(kind).values()
    if field.headline
}


def with_limit(reason: str) -> str:
    """`18.2 % convert, limit 25 %` for `conversion 18.2 %, under 25 %`; else empty."""
    found = _BOUND.fullmatch(reason)
    words = _HEADLINES.get(found[1]) if found else None
    return f"{words.format(found[2])}, limit {found[3]}" if found and words else ""


def figure_of(reason: str) -> str:
    """`18.2 %` of `conversion 18.2 %, under 25 %`; else empty."""
    found = _BOUND.fullmatch(reason)
    return found[2] if found else ""


def then_and_now(reason: str, shown: Values) -> str:
    """`27.4 % convert now, limit 25 %. It began at 18.2 %.` for the reason why an alert began.

    Empty if the figure is not known or has no words.
    """
    found = _BOUND.fullmatch(reason)
    words = _HEADLINES.get(found[1]) if found else None
    now = shown.get(found[1]) if found else None
    if found is None or words is None or now is None:
        return ""
    return f"{words.format(value_in_words(now))} now, limit {found[3]}. It began at {found[2]}."


if missing := [kind for kind in KINDS if kind not in FIGURES or kind not in BRIEF]:
    raise TypeError(f"kinds of subjects without figures of a message: {', '.join(missing)}")


def in_words(line: str, names: Collection[str]) -> str:
    """The reason without the name of a field: `render time 3.5 s`; a status needs none at all."""
    name, mark, rest = line.partition(" ")
    if _HEADLINES.get(name) == ITSELF and name in names:
        return rest
    return f"{name.replace('_', ' ')}{mark}{rest}" if name in names else line
