"""The OpenAPI document of the JSON API, made of the same table as its routes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from mouseflow import __version__


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a path or a query."""

    name: str
    place: Literal["path", "query"]
    about: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class View:
    """What one path answers."""

    path: str
    type: type
    about: str
    parameters: Sequence[Parameter] = ()


class Error(msgspec.Struct):
    """Why a request was refused."""

    error: str
    message: str


_ERRORS = {
    "400": "The host name is not known.",
    "404": "There is no such thing.",
    "422": "A parameter can't be understood.",
    "503": "The store can't be read now.",
}


def document(views: Iterable[View]) -> dict[str, Any]:
    """The whole document."""
    views = list(views)
    types = [view.type for view in views]
    schemas, parts = msgspec.json.schema_components(
        [*types, Error], ref_template="#/components/schemas/{name}"
    )
    *answers, error = schemas
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mouseflow-bot",
            "version": __version__,
            "description": "What the status page shows. Instants are in UTC; null is unknown.",
        },
        "paths": {
            f"/api/v1/{view.path}": {"get": _operation(view, answer, error)}
            for view, answer in zip(views, answers, strict=True)
        },
        "components": {"schemas": parts},
    }


def _operation(view: View, answer: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    names = [part[1:-1] for part in view.path.split("/") if part.startswith("{")]
    path = [
        Parameter(name, "path", "Its id.", {"type": "string", "minLength": 1}) for name in names
    ]
    return {
        "operationId": view.path.replace("/", "_").replace("{", "").replace("}", ""),
        "summary": view.about,
        "parameters": [
            {
                "name": each.name,
                "in": each.place,
                "required": each.place == "path",
                "description": each.about,
                "schema": each.schema,
            }
            for each in (*path, *view.parameters)
        ],
        "responses": {
            "200": {"description": view.about, "content": _content(answer)},
            **{
                code: {"description": about, "content": _content(error)}
                for code, about in _ERRORS.items()
            },
        },
    }


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
