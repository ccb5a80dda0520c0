"""The JSON Schema of rule files for editors, made from the catalogue and the actions."""

from collections.abc import Iterable, Mapping
from typing import assert_never, get_args

from pydantic import TypeAdapter

from bot.actions import WRITTEN
from bot.actions.base import Spec
from bot.domain.calendar import SCHEDULE_PATTERN
from bot.domain.step import OWN_RULE
from bot.domain.subjects import Kind, Severity
from bot.fields.catalogue import ALERTS, COUNT_BY, KINDS, ONCE_PER, WEBSITE, fields, visitor_filters
from bot.fields.field import WEEKDAYS, Field, TextKind
from bot.fields.recordings import PAGE
from bot.messages.text import RATE_PATTERN
from bot.rules.files.keys import (
    BEFORE,
    BUDGET_KEYS,
    FILE_KEYS,
    OF_FEW,
    RECORDINGS,
    REPORT_KEYS,
    RULE_KEYS,
    SHARED,
    TEST_KEYS,
    VAR,
    Key,
    required,
)
from bot.rules.files.lints import LINTS
from bot.rules.operators import fitting, operator_keys, plain_operator
from bot.rules.syntax.nodes import plain
from bot.rules.syntax.values import (
    FLAG,
    LENGTH,
    TEXT,
    Schema,
    any_case,
    chosen,
    one_or_more,
    scalar_schema,
)
from bot.rules.syntax.yaml import parse, scalar

RATE: Schema = {"type": "string", "pattern": RATE_PATTERN}


def active_pattern() -> str:
    """Days, hours or both, as `active` takes them."""
    day = f"(?:{'|'.join(map(any_case, WEEKDAYS))})[a-zA-Z]*"
    days = rf"{day}(?:-{day})?(?:,{day}(?:-{day})?)*"
    hours = r"[0-9]{1,2}(?::[0-9]{2})?-[0-9]{1,2}(?::[0-9]{2})?"
    return rf"^\s*(?:{days}|(?:{days}\s+)?{hours})\s*$"


def visitors(about: Field) -> Schema:
    """A value of the API filter that serves the field."""
    if about.served.is_range:
        bound = scalar_schema(about)
        return _object({"min": bound, "max": bound}) | {"minProperties": 1}
    if about.type == "flag":
        return FLAG
    if about.type == "variables":
        return {"type": "object", "minProperties": 1, "additionalProperties": TEXT}
    if about.served.is_list:
        return one_or_more(TEXT)
    if about.choices:
        return chosen(about, star=False)
    return {
        "type": "string",
        "pattern": f"^{about.api_filter.pattern if about.api_filter else ''}$",
    }


ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"


def json_schema() -> Schema:
    """The whole schema as a plain dictionary (draft 2020-12)."""
    definitions: Schema = {
        "rule": _rule(),
        "budget": _budget(),
        "report": _report(),
        "silence": one_or_more({"enum": list(LINTS)}),
        VAR: {
            **_object({VAR: TEXT}, (VAR,)),
            "description": "the list of that name under vars",
        },
    }
    definitions |= _operator_definitions()
    for kind in KINDS:
        definitions[f"when-{kind}"] = _when(kind)
        definitions[f"given-{kind}"] = _given(kind)
        definitions[f"do-{kind}"] = _do(kind)
        definitions[f"tests-{kind}"] = _tests(kind)
    for spec in WRITTEN.values():
        value, inner = _written(spec)
        definitions[f"action-{spec.key}"] = value
        definitions |= inner
    values = {
        "version": {"const": 1},
        "rules": _by_id("rule", taken=OWN_RULE),
        "budgets": _by_id("budget"),
        "reports": _by_id("report"),
        "accounts": one_or_more(TEXT),
        "vars": {"type": "object", "additionalProperties": one_or_more(TEXT)},
        "silence": _ref("silence"),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mouseflow-bot rule file",
        **_object(_described(FILE_KEYS, values), required(FILE_KEYS)),
        "patternProperties": {f"^{SHARED}": True},
        "anyOf": [{"required": [key]} for key in ("rules", "budgets", "reports", "vars")],
        "$defs": definitions,
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _object(properties: Schema, needed: Iterable[str] = ()) -> Schema:
    found: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    needed = list(needed)
    return found | ({"required": needed} if needed else {})


def _by_id(name: str, taken: str = "") -> Schema:
    return {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": ID_PATTERN} | ({"not": {"const": taken}} if taken else {}),
        "additionalProperties": _ref(name),
    }


def _described(keys: Iterable[Key], values: Mapping[str, Schema]) -> Schema:
    """Each key's value with what it means and an example."""
    return {
        key.name: {
            **values[key.name],
            "description": key.meaning,
            "examples": [_example(key.example)],
        }
        for key in keys
    }


def _example(source: str) -> object:
    """An example of the catalogue as data."""
    return plain(parse(source)) if source[0] in "{[" else scalar(source)


def _rule() -> Schema:
    values: dict[str, Schema] = {
        "summary": TEXT,
        "severity": {"enum": list(get_args(Severity))},
        "runbook": {"type": "string", "pattern": "^https?://"},
        "owner": TEXT,
        "disabled": FLAG,
        "watch": {"enum": list(KINDS)},
        "accounts": one_or_more(TEXT),
        "websites": _or_list(one_or_more(TEXT)),
        "when": {"type": "object", "minProperties": 1},
        "except": {"type": "object", "minProperties": 1},
        "do": {"type": "object", "minProperties": 1},
        "once_per": _object(dict.fromkeys(ONCE_PER, LENGTH))
        | {"minProperties": 1, "maxProperties": 1},
        "count": {
            "anyOf": [
                _object(
                    {
                        "at_least": {"type": "integer", "minimum": 2},
                        "within": LENGTH,
                        "by": {"enum": list(COUNT_BY)},
                    },
                    ("at_least", "within"),
                ),
                _object(
                    {"at_most": {"type": "integer", "minimum": 0}, "within": LENGTH},
                    ("at_most", "within"),
                ),
            ]
        },
        "safety": _object({"at_most": RATE}, ("at_most",)),
        "active": {"type": "string", "pattern": active_pattern()},
        "after_downtime": _object({"act_up_to": LENGTH, "older": {"enum": ["digest", "drop"]}}),
        "for": LENGTH,
        "until": {"type": "object", "minProperties": 1},
        "remind": LENGTH,
        "resolved": FLAG,
        "not_while": one_or_more(TEXT),
        "over_last": LENGTH,
        "visitors": {"type": "object"},
        "was": one_or_more(TEXT),
        "tests": {"type": "array", "minItems": 1},
        "silence": _ref("silence"),
    }
    rule = _object(_described(RULE_KEYS, values), required(RULE_KEYS))
    return rule | {"allOf": [_watching(kind) for kind in KINDS]}


def _watching(kind: Kind) -> Schema:
    """What a rule that watches this kind may say."""
    unfit = [
        key.name
        for key in RULE_KEYS
        if kind not in key.kinds and not (kind in RECORDINGS and key.name in OF_FEW)
    ]
    when = _ref(f"when-{kind}")
    then: Schema = {
        "when": when,
        "except": when,
        "until": when,
        "do": _ref(f"do-{kind}"),
        "tests": _ref(f"tests-{kind}"),
    }
    then |= dict.fromkeys(unfit, False)
    if "visitors" not in unfit:
        then["visitors"] = _object(
            {it: visitors(about) for it, about in visitor_filters(kind).items()}
        )
    what: Schema = {"properties": then}
    if kind in RECORDINGS:
        few = {"required": ["count"], "properties": {"count": {"required": ["at_most"]}}}
        what["dependentSchemas"] = dict.fromkeys(OF_FEW, few)
    return {
        "if": {"properties": {"watch": {"const": kind}}, "required": ["watch"]},
        "then": what,
    }


def _when(kind: Kind) -> Schema:
    this = _ref(f"when-{kind}")
    several: Schema = {"type": "array", "items": this, "minItems": 1}
    groups: Schema = {
        "any": several | {"description": "at least one of these holds"},
        "all": several | {"description": "each of these holds"},
        "not": this | {"description": "this does not hold"},
    }
    properties = {field.name: _described_field(field, _asked(field)) for field in fields(kind)}
    return _object(properties | groups) | {"minProperties": 1}


def _described_field(field: Field, value: Schema) -> Schema:
    unit = f" ({field.unit})" if field.unit and field.unit != "ms" else ""
    examples = [_example(example) for example in field.examples]
    return value | {"description": field.meaning + unit, "examples": examples}


def _asked(field: Field, *, part: bool = False) -> Schema:
    """All that may be written about one field, or about one part of an item."""
    if field.type == "items":
        parts = {each.name: _described_field(each, _asked(each, part=True)) for each in field.parts}
        return _object(parts) | {"minProperties": 1}
    value = plain_operator(field).schema(field)[""]
    operators = _ref(_operators_of(field, part=part))
    if field.ordered:
        return value
    lists = [_ref(VAR)] if field.type in ("text", "texts", "variables") else []
    several = {"anyOf": [*value.get("anyOf", [value]), *lists, operators]}
    if field.type == "variables":
        return {"type": "object", "minProperties": 1, "additionalProperties": several}
    return several


def _operators_of(field: Field, *, part: bool) -> str:
    """Names the definition of the operators that fit the field; many fields share one."""
    has_history = any(it.has_history for it in fitting(field, single_item=part))
    which = "-of-news" if field.news_of else "-of-an-alert" if has_history else ""
    match field.text:
        case TextKind.VERSION | TextKind.MOMENT | TextKind.SEARCH:
            return f"{field.text.name.lower()}-operators{which}"
        case (
            TextKind.PLAIN
            | TextKind.ADDRESS
            | TextKind.COUNTRY
            | TextKind.IP
            | TextKind.TAG
            | TextKind.WEEKDAY
            | TextKind.REFERRER
            | TextKind.LANGUAGE
            | TextKind.PATH
        ):
            return f"{field.type}-operators{which}"
        case _:
            assert_never(field.text)


def _operator_definitions() -> Schema:
    every = [(field, False) for kind in KINDS for field in fields(kind) if not field.parts]
    every += [(it, True) for kind in KINDS for field in fields(kind) for it in field.parts]
    found: Schema = {}
    for it, part in every:
        name, operators = _operators_of(it, part=part), _operator_object(it, part=part)
        if found.setdefault(name, operators) != operators:
            raise TypeError(f"{it.name} has other operators than fields of {name}")
    return found


def _operator_object(field: Field, *, part: bool) -> Schema:
    operators = list(fitting(field, single_item=part))
    values = {key: value for it in operators for key, value in it.schema(field).items()}
    meanings = operator_keys(field, single_item=part)
    if field.type in ("text", "texts", "variables"):
        values = {key: _or_list(value) for key, value in values.items()}
    properties = {key: values[key] | {"description": meanings[key]} for key in meanings}
    needed = {key: list(others) for it in operators for key, others in it.needs.items()}
    found = _object(properties) | {"minProperties": 1}
    return found | ({"dependentRequired": needed} if needed else {})


def _or_list(value: Schema) -> Schema:
    """The texts, or the name of a list under `vars`, where a list may stand."""
    several = value.get("anyOf", ())
    if not any(each.get("type") == "array" for each in several):
        return value
    return value | {"anyOf": [*several, _ref(VAR)]}


def _do(kind: Kind) -> Schema:
    fitting = {
        spec.key: _ref(f"action-{spec.key}") for spec in WRITTEN.values() if kind in spec.subjects
    }
    return _object(fitting) | {"minProperties": 1}


def _written(spec: Spec) -> tuple[Schema, Schema]:
    """The schema of an action's value, and the definitions it refers to."""
    value = TypeAdapter(spec.written).json_schema()
    inner = value.pop("$defs", {})
    example = plain(parse(spec.example))
    examples = list(example.values()) if isinstance(example, dict) else []
    return value | {"description": spec.about, "examples": examples}, inner


def _tests(kind: Kind) -> Schema:
    values: dict[str, Schema] = {
        "name": TEXT,
        "given": _ref(f"given-{kind}"),
        "expect": {
            "anyOf": [
                {"enum": ["match", "no match"]},
                _object({"match": FLAG, "actions": one_or_more(TEXT), "text": TEXT})
                | {"minProperties": 1},
            ]
        },
    }
    test = _object(_described(TEST_KEYS, values), required(TEST_KEYS))
    return {"type": "array", "items": test, "minItems": 1}


def _given(kind: Kind) -> Schema:
    known = {field.name: _given_value(field) for field in fields(kind)}
    known.setdefault(WEBSITE, TEXT)
    if kind in ALERTS:
        numeric = {field.name: scalar_schema(field) for field in fields(kind) if field.numeric}
        known[BEFORE] = _object(numeric) | {"description": "figures of the past"}
    return _object(known) | {"minProperties": 1}


def _given_value(field: Field) -> Schema:
    """What a rule's test may give for the field."""
    if field.gives_views:
        several: Schema = one_or_more({"anyOf": [TEXT, _item(PAGE)]})
        return {"anyOf": [scalar_schema(field), *several["anyOf"]]} if field.numeric else several
    match field.type:
        case "items":
            return one_or_more(_item(field))
        case "variables":
            return {"type": "object", "additionalProperties": TEXT}
        case "flag":
            return FLAG
        case "texts":
            return {"anyOf": [TEXT, {"type": "array", "items": TEXT}]}
        case "text" | "number" | "duration" | "percent":
            return scalar_schema(field)
        case "moment":
            raise TypeError(f"{field.name}: a rule's test can't give a moment")
        case _:
            assert_never(field.type)


def _item(field: Field) -> Schema:
    return _object({part.name: _given_value(part) for part in field.parts}) | {"minProperties": 1}


def _report() -> Schema:
    channel = _object({"channel": {"type": "string"}})
    values: dict[str, Schema] = {
        "summary": TEXT,
        "accounts": one_or_more(TEXT),
        "websites": _or_list(one_or_more(TEXT)),
        "at": {"type": "string", "pattern": SCHEDULE_PATTERN},
        "do": _object({"slack": channel}, ("slack",)),
    }
    return _object(_described(REPORT_KEYS, values), required(REPORT_KEYS))


def _budget() -> Schema:
    written = r"^\s*(?:[1-9][0-9]?(?:\.[0-9]+)?|100(?:\.0+)?)\s*%?\s*$"
    rate = {"type": ["number", "string"], "minimum": 1, "maximum": 100, "pattern": written}
    values: dict[str, Schema] = {
        "summary": TEXT,
        "accounts": one_or_more(TEXT),
        "websites": _or_list(one_or_more(TEXT)),
        "recordings": {"type": "integer", "minimum": 1},
        "period": {"enum": ["day", "week", "month"]},
        "starts_on": {"type": "integer", "minimum": 1, "maximum": 31},
        "steps": {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": r"^[0-9]+(\.[0-9]+)?\s*%?$"},
            "additionalProperties": _ref("do-websites"),
        },
        "resume": FLAG,
        "pace": {"anyOf": [FLAG, _object({"min": rate, "max": rate})]},
        "was": one_or_more(TEXT),
    }
    budget = _object(_described(BUDGET_KEYS, values), required(BUDGET_KEYS))
    return budget | {"anyOf": [{"required": ["steps"]}, {"required": ["pace"]}]}
