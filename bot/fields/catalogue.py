"""The catalogue: every field of every kind of subject, in one place.

Conditions, the JSON Schema, the docs, error texts and explanations all read it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bot.domain.subjects import Kind
from bot.fields.field import Field, named
from bot.fields.recordings import RECORDING_FIELDS
from bot.fields.reports import (
    CAMPAIGN_FIELDS,
    FORM_FIELDS,
    FUNNEL_FIELDS,
    PAGE_FIELDS,
    WEBSITE_FIELDS,
)

KINDS: Final[tuple[Kind, ...]] = (
    "recordings",
    "feedback",
    "funnels",
    "forms",
    "pages",
    "websites",
)

CATALOGUE: Final[Mapping[Kind, tuple[Field, ...]]] = MappingProxyType(
    {
        "recordings": RECORDING_FIELDS,
        "feedback": CAMPAIGN_FIELDS,
        "funnels": FUNNEL_FIELDS,
        "forms": FORM_FIELDS,
        "pages": PAGE_FIELDS,
        "websites": WEBSITE_FIELDS,
    }
)


def fields(kind: Kind) -> tuple[Field, ...]:
    """The fields that a rule watching this kind may use, in the order of the docs."""
    return CATALOGUE[kind]


def field(kind: Kind, name: str) -> Field:
    """The field of that name; raises KeyError where the kind has none."""
    return named(CATALOGUE[kind], name)


__all__ = ["CATALOGUE", "KINDS", "Field", "field", "fields"]
