"""The generated blocks of the docs, made from the catalogue; run it to write them.

python tests/rules/files/rules_docs.py
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from bot.actions import WRITTEN
from bot.actions.webhook import body
from bot.fields.catalogue import KINDS, fields, text_fields
from bot.fields.field import Field
from bot.fields.recordings import FRICTION_TAGS
from bot.messages.template_check import SAMPLES
from bot.messages.template_variables import COMMON, LINKS
from bot.ports import Addresses
from bot.rules.files.keys import BUDGET_KEYS, FILE_KEYS, REPORT_KEYS, RULE_KEYS, TEST_KEYS, Key
from bot.rules.files.lints import LINTS
from bot.rules.files.load import FORMATS
from bot.rules.operators import OPERATORS

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs" / "reference"
RULES, MESSAGES, ACTIONS = (DOCS / f"{name}.md" for name in ("rules", "messages", "actions"))
BLOCK = re.compile(r"<!-- table: (\S+) -->\n.*?<!-- end of table -->", re.DOTALL)


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _code(text: str) -> str:
    return f"`{text}`"


def _field_rows(found: Iterable[Field], prefix: str = "") -> Iterable[list[str]]:
    for field in found:
        kind = (
            field.type if not field.unit or field.unit == "ms" else f"{field.type} ({field.unit})"
        )
        words = f"; one of {', '.join(map(_code, field.choices))}" if field.choices else ""
        marks = "; personal data" if field.personal else ""
        yield [
            _code(f"{prefix}{field.name}"),
            kind,
            f"{field.meaning}{words}{marks}",
            ", ".join(map(_code, field.examples)),
            field.source.value
            + (f" (`{', '.join(field.api_filter.names)}`)" if field.api_filter else ""),
        ]
        yield from _field_rows(field.parts, f"{prefix}{field.name}: ")


def _keys(keys: Iterable[Key]) -> str:
    rows = (
        [
            _code(key.name) + (" (needed)" if key.required else ""),
            key.meaning,
            _code(key.example),
            "all" if key.kinds == KINDS else ", ".join(key.kinds),
        ]
        for key in keys
    )
    return table(("key", "meaning", "example", "for"), rows)


def tables() -> Mapping[str, str]:
    """Every generated table by its name."""
    heads = ("field", "type", "meaning", "examples", "known from")
    made = {f"fields-{kind}": table(heads, _field_rows(fields(kind))) for kind in KINDS}
    made["file-keys"] = _keys(FILE_KEYS)
    made["rule-keys"] = _keys(RULE_KEYS)
    made["budget-keys"] = _keys(BUDGET_KEYS)
    made["report-keys"] = _keys(REPORT_KEYS)
    made["test-keys"] = _keys(TEST_KEYS)
    made["operators"] = table(
        ("operator", "holds where"),
        (
            [_code(key), text]
            for operator in OPERATORS
            if not operator.instead_of
            for key, text in operator.keys.items()
        ),
    )
    made["actions"] = table(
        ("action", "for", "what it does", "example"),
        (
            [_code(spec.key), ", ".join(spec.subjects), spec.about, _code(spec.example)]
            for spec in WRITTEN.values()
        ),
    )
    made["friction-tags"] = table(
        ("tag", "what happened"), ([_code(tag), text] for tag, text in FRICTION_TAGS.items())
    )
    made["packs"] = table(("pack", "catches", "when it is noise"), _packs())
    made["warnings"] = table(
        ("id", "what it finds"), ([_code(lint), text] for lint, text in LINTS.items())
    )
    return made


def _packs() -> Iterable[list[str]]:
    """The second and third line of each rule pack say what it catches and when it is noise."""
    for path in sorted((ROOT / "rules").iterdir()):
        if path.suffix in FORMATS:
            catches, noise = path.read_text(encoding="utf-8").splitlines()[1:3]
            yield [
                f"[{path.stem}](../../rules/{path.name})",
                catches.removeprefix("# Catches: "),
                noise.removeprefix("# Noise: "),
            ]


def message_tables() -> Mapping[str, str]:
    """Every generated table of docs/reference/messages.md by its name."""
    heads = ("name", "meaning")
    made = {"names-common": table(heads, _named(COMMON))}
    for kind in KINDS:
        found = text_fields(kind)
        made[f"names-{kind}"] = table(heads, (*_named(LINKS.get(kind, {})), *_text_rows(found)))
        for name, field in found.items():
            if field.parts:
                parts = {part.text_name: part for part in field.parts if part.in_texts}
                made[f"names-{kind}-{name}"] = table(("part", "meaning"), _text_rows(parts))
    return made


def action_tables() -> Mapping[str, str]:
    """Every generated block of docs/reference/actions.md by its name."""
    addresses = Addresses(share_url="https://share.example.com/{token}")
    content = msgspec.json.format(body(SAMPLES["recordings"], addresses), indent=2).decode()
    rows = (
        [
            _code(spec.key),
            "all" if spec.subjects == KINDS else ", ".join(spec.subjects),
            spec.about,
        ]
        for spec in WRITTEN.values()
    )
    return {
        "keys": table(("key", "fits", "what it does"), rows),
        "webhook-body": f"```json\n{content}\n```\n",
    }


def pages() -> Mapping[Path, Mapping[str, str]]:
    """The pages with generated blocks, and those blocks by name."""
    return {RULES: tables(), MESSAGES: message_tables(), ACTIONS: action_tables()}


def _named(names: Mapping[str, str]) -> Iterable[list[str]]:
    return ([_code(name), meaning] for name, meaning in names.items())


def _text_rows(found: Mapping[str, Field]) -> Iterable[list[str]]:
    for name, field in found.items():
        personal = " (personal)" if field.personal else ""
        yield [_code(name), f"{field.text_meaning or field.meaning}{personal}"]


def filled(text: str, made: Mapping[str, str]) -> str:
    """The document with these tables; raises KeyError for an unknown table."""
    return BLOCK.sub(
        lambda found: f"<!-- table: {found[1]} -->\n{made[found[1]]}<!-- end of table -->",
        text,
    )


if __name__ == "__main__":
    for page, made in pages().items():
        page.write_text(filled(page.read_text(encoding="utf-8"), made), encoding="utf-8")
