"""What a rule may ask of one field's value: one class per operator, and the registry of them all.

`Operator` lists the questions that every operator answers. A new operator is one class and its
name in the list at the end of its file: the reader, the evaluator, the index, explanations, the
JSON Schema and the docs read that registry and ask the class.
"""

from collections.abc import Iterator
from typing import Final

from bot.fields.field import Field
from bot.rules.operators import figures, past, texts, yes_no
from bot.rules.operators.base import Operator


def registry(*operators: type[Operator]) -> tuple[type[Operator], ...]:
    """The operators; raises TypeError for one that leaves a question unanswered."""
    keys: set[str] = set()
    for operator in operators:
        unanswered = operator.__abstractmethods__ | ({"keys"} - {*dir(operator)})
        if unanswered:
            raise TypeError(f"{operator.__name__} does not say: {', '.join(sorted(unanswered))}")
        taken = operator.instead_of.keys.keys() if operator.instead_of else set()
        if keys & (operator.keys.keys() - taken):
            raise TypeError(f"{operator.__name__} has a key that another operator has")
        keys |= operator.keys.keys()
    return operators


OPERATORS: Final = registry(
    *texts.OPERATORS, *figures.OPERATORS, *yes_no.OPERATORS, *past.OPERATORS
)
"""Every operator, in the order in which messages, the schema and the docs name them."""


def fitting(about: Field, *, single_item: bool = False) -> Iterator[type[Operator]]:
    """The operators with keys that fit the field, or the part of one single item."""
    for operator in OPERATORS:
        if operator.keys and operator.fits(about) and not (single_item and operator.has_history):
            yield operator


def operator_keys(about: Field, *, single_item: bool = False) -> dict[str, str]:
    """The keys that fit the field, with their meanings."""
    found = fitting(about, single_item=single_item)
    return {key: meaning for it in found for key, meaning in it.keys.items()}


def plain_operator(about: Field) -> type[Operator]:
    """The operator that a bare value means."""
    (found,) = (it for it in OPERATORS if not it.keys and it.fits(about))
    return found
