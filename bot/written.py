"""What people write in files: how each value is checked, said without the library that does it.

Pydantic checks rule files and the configuration. The types of `do` and of settings are plain
dataclasses, and what is annotated here tells pydantic the rest once it is there. So a daemon, which
has files read by another process, uses these types and never imports pydantic.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field
from typing import Annotated, Any, ClassVar, dataclass_transform


class Wrong(ValueError):
    """What is wrong with a value, in words for the person who wrote it."""


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """Reads a value after its type was checked, or `before`; `read` raises ValueError.

    `among`: `read` is also given the values of the table's earlier keys, without faulty ones; then
    the type was checked. `schema` is the JSON Schema of what may be written; None for that of the
    type. Pydantic calls the methods.
    """

    read: Callable[..., Any] = _as_it_is
    before: bool = False
    among: bool = False
    schema: Mapping[str, Any] | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core import core_schema as core

        if self.among:
            return core.with_info_after_validator_function(self._read_among, handler(source))
        if self.before:
            return core.no_info_before_validator_function(self.read, handler(source))
        return core.no_info_after_validator_function(self.read, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Callable[[Any], Any]) -> Any:
        return handler(schema) if self.schema is None else dict(self.schema)

    def _read_among(self, value: Any, info: Any) -> Any:
        return self.read(value, info.data)


@dataclass(frozen=True, slots=True, eq=False)
class Length:
    """How many values a list may have."""

    least: int
    most: int | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        limits = {"min_length": self.least, "max_length": self.most}
        given = {name: limit for name, limit in limits.items() if limit is not None}
        return handler(source) | given


@dataclass(frozen=True, slots=True, eq=False)
class _Strict:
    """Only the type itself: a number or text is no `true`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        return handler(source) | {"strict": True}


YesNo = Annotated[bool, _Strict()]
"""`true` or `false`, and nothing like it."""


def key(meaning: str, *, default: Any = MISSING, shown: Any = MISSING, **more: Any) -> Any:
    """A key, with its description in the JSON Schema; it may be left out if it has a default.

    `shown` is the default that the JSON Schema tells.
    """
    told: dict[str, Any] = {"description": meaning}
    if shown is not MISSING:
        told["json_schema_extra"] = {"default": shown}
    return field(default=default, metadata=told, **more)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field, key))
class Written:
    """A mapping or table as written in a file. Each subclass is a frozen dataclass."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {
        "extra": "forbid",
        "hide_input_in_errors": True,
    }

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(frozen=True, kw_only=True)(cls)


class Secret:
    """A text that is shown nowhere by accident."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        """The text itself."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Secret('**********')" if self._value else "Secret('')"

    __str__ = __repr__

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core import core_schema as core

        def read(value: Any, text: Callable[[Any], str]) -> Secret:
            return value if isinstance(value, cls) else cls(text(value))

        return core.no_info_wrap_validator_function(read, core.str_schema())
