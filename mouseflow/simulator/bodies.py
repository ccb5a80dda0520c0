"""What the API document lets writes set: one table of types for each kind of thing.

A body with another type or a value outside an enumeration answers 400 and changes nothing.
Unknown keys are ignored.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mouseflow.simulator.world import ApiError

Check = Callable[[str, Any], None]


def checked(body: Mapping[str, Any], table: Mapping[str, Check], at: str = "") -> dict[str, Any]:
    """The known keys of the body, all of the right type; raises ApiError 400."""
    known = {key: value for key, value in body.items() if key in table}
    for key, value in known.items():
        table[key](f"{at}.{key}" if at else key, value)
    return known


def required(body: Mapping[str, Any], *keys: str, at: str = "") -> None:
    """These keys must be there, as texts that are not empty; raises ApiError 400."""
    for key in keys:
        if not isinstance(body.get(key), str) or not body[key]:
            raise ApiError(400, f"{at}.{key} is required." if at else f"{key} is required.")


def _refuse(name: str, wanted: str) -> ApiError:
    return ApiError(400, f"{name} must be {wanted}.")


def text(name: str, value: Any) -> None:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise _refuse(name, "a text that is not empty")


def any_text(name: str, value: Any) -> None:
    """A text, perhaps empty."""
    if not isinstance(value, str):
        raise _refuse(name, "a text")


def texts(name: str, value: Any) -> None:
    """A list of texts."""
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise _refuse(name, "a list of texts")


def some_texts(name: str, value: Any) -> None:
    """A list of at least one text."""
    texts(name, value)
    if not value:
        raise _refuse(name, "a list of at least one text")


def flag(name: str, value: Any) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise _refuse(name, "true or false")


def percent(name: str, value: Any) -> None:
    """A whole number of 0 to 100."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 100:
        raise _refuse(name, "a whole number between 0 and 100")


def whole(name: str, value: Any) -> None:
    """A whole number, or one as a text: the document types `width` both ways (L291, L321)."""
    digits = value.isdecimal() if isinstance(value, str) else isinstance(value, int)
    if not digits or isinstance(value, bool):
        raise _refuse(name, "a whole number")


def trigger_value(name: str, value: Any) -> None:
    """A number or a text: typed as a text (L3445), a number in the samples (L3320)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | None):
        raise _refuse(name, "a number or a text")


def one_of(*choices: str) -> Check:
    """One of these; tables and samples of the document differ in case and spaces (L3444, L3319)."""
    known = {_folded(each) for each in choices}

    def check(name: str, value: Any) -> None:
        if not isinstance(value, str) or _folded(value) not in known:
            raise _refuse(name, f"one of {', '.join(choices)}")

    return check


def _folded(word: str) -> str:
    return word.replace(" ", "").casefold()


def objects(table: Mapping[str, Check], needed: Iterable[str] = ()) -> Check:
    """A list of objects with these keys."""
    needed = tuple(needed)

    def check(name: str, value: Any) -> None:
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise _refuse(name, "a list of objects")
        for number, each in enumerate(value):
            required(each, *needed, at=f"{name}[{number}]")
            checked(each, table, f"{name}[{number}]")

    return check


WEBSITE: Mapping[str, Check] = {
    "name": text,
    "domains": some_texts,
    "recordingRate": percent,
    "alignment": one_of("Center", "Left", "Right", "Flexible"),
    "width": whole,
    "pageIdentifiers": texts,
    "encoding": text,
    "anonymizeIps": flag,
    "disableKeystrokes": flag,
    "excludedIps": texts,
    "mergeUrls": texts,
}
"""L318-327; `recordingStatus` is apart (L511, L573)."""

FUNNEL: Mapping[str, Check] = {
    "name": text,
    "steps": objects({"name": text, "url": text}, ("name", "url")),
}
"""Name and URL are mandatory (L2411)."""

FORM: Mapping[str, Check] = {
    "url": text,
    "target": text,
    "alias": any_text,
    "fields": objects({"target": text, "alias": any_text, "type": text}, ("target",)),
}
"""URL and target are mandatory (L2985)."""

_RULE = one_of(
    "Equals", "StartsWith", "EndsWith", "Regex", "NotEquals", "NotStartsWith", "NotEndsWith"
)
_ANSWER: Mapping[str, Check] = {"answerId": any_text, "value": any_text}

CAMPAIGN: Mapping[str, Check] = {
    "name": text,
    "enabled": flag,
    "showBranding": flag,
    "triggerType": one_of(
        "Page Load", "Delay", "Scroll", "Inactivity", "Mouse Leaves Page", "Manual"
    ),
    "triggerValue": trigger_value,
    "screenPosition": one_of("Bottom right", "Bottom left", "Top right", "Top left"),
    "backgroundColor": any_text,
    "foregroundColor": any_text,
    "scope": one_of("User", "Session"),
    "startMinimized": flag,
    "canBeDiscarded": flag,
    "pageRules": objects({"type": _RULE, "value": any_text}),
    "segments": objects({"type": one_of("Language", "VisitorType", "Device"), "value": any_text}),
    "steps": objects(
        {
            "stepId": any_text,
            "type": one_of("Radio", "Text", "textArea", "Success", "nps"),
            "text": any_text,
            "buttonText": any_text,
            "randomize": flag,
            "answers": objects(_ANSWER),
        }
    ),
    "notification": any_text,
}
"""L3441-3486, L3638."""
