"""A made-up match for each kind of subject, on which texts are tried before they are used."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from bot.domain.subjects import Kind
from bot.fields.catalogue import KINDS, sample
from bot.ports import Task

_NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)

SAMPLES: Mapping[Kind, Task] = MappingProxyType(
    {
        kind: Task(
            key=f"sample/{kind}",
            rule="sample-rule",
            summary="A sample",
            subject=sample(kind),
            matched=_NOON,
            now=_NOON + timedelta(minutes=3),
            why=("a reason",),
            results={"share": "T0KEN"},
        )
        for kind in KINDS
    }
)
"""One task for each kind of subject, with a value in every field."""
