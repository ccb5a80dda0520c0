"""The reference page of the client, made from its docstrings; run it to write the page.

python tests/mouseflow/reference_page.py
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import mouseflow
from mouseflow import feedback, forms, funnels, heatmaps, recordings, websites
from mouseflow.lists import AccountLists

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "client-reference.md"
MODULES = (websites, recordings, heatmaps, funnels, forms, feedback)
HEAD = """\
# Reference of the Mouseflow client

After this page you know every function of `mouseflow`, with an example of each. The examples use
`api`, a [`Mouseflow`](api-client.md), and the ids of a website, a recording and so on. With
`AsyncMouseflow`, write `await api.send(...)` and `async for`.

`make generate` writes this page from the docstrings.
"""


def functions(module: Any) -> Iterator[FunctionType]:
    """The public functions of a module, in the order of its source."""
    for name, item in vars(module).items():
        if inspect.isfunction(item) and item.__module__ == module.__name__ and name[0] != "_":
            yield item


def lists() -> Iterator[FunctionType]:
    """The methods that both clients have for whole lists."""
    for name, item in vars(AccountLists).items():
        if inspect.isfunction(item) and name[0] != "_" and name != "send":
            yield item


def example(item: Any) -> str:
    """The example in the docstring, as Python."""
    lines = (inspect.getdoc(item) or "").splitlines()
    return "\n".join(line[4:] for line in lines if line.startswith((">>> ", "... ")))


def entry(title: str, item: Any) -> str:
    """A function's heading, text and example."""
    text = (inspect.getdoc(item) or "").split("\n")
    prose = "\n".join(line for line in text if not line.startswith((">>> ", "... ")))
    prose = re.sub(r"\n{3,}", "\n\n", prose).strip()
    return f"### {title}\n\n{prose}\n\n```python\n{example(item)}\n```\n"


def arguments(item: Any) -> str:
    """The names of the arguments, as they are passed."""
    names = []
    star = False
    for name, parameter in inspect.signature(item).parameters.items():
        if name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            star = True
            names.append("*")
        names.append(name if parameter.default is parameter.empty else f"{name}=…")
    return ", ".join(names)


def models() -> Iterator[str]:
    """What the package exports, each in a line."""
    for name in mouseflow.__all__:
        item = getattr(mouseflow, name)
        if inspect.isclass(item) or inspect.isfunction(item):
            yield f"| `{name}` | {(inspect.getdoc(item) or '').splitlines()[0]} |"


def page() -> str:
    """The whole page."""
    parts = [HEAD, "## Whole lists\n"]
    parts += [entry(f"`api.{it.__name__}({arguments(it)})`", it) for it in lists()]
    for module in MODULES:
        name = module.__name__.rpartition(".")[2]
        parts.append(f"## `{name}`\n")
        parts += [entry(f"`{name}.{it.__name__}({arguments(it)})`", it) for it in functions(module)]
    parts.append("## Names of the package\n\n| name | |\n|---|---|\n" + "\n".join(models()) + "\n")
    return re.sub(r" ?\((?:the API document, )?L[\d, L-]+\)", "", "\n".join(parts))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
