"""Puts files that pages link to outside of docs/ (rules, deploy, CONTRIBUTING.md) into the site."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OUTSIDE = re.compile(r"\]\((?:\.\./)+(?=(?:rules|deploy)/|[A-Z]+\.md)([^)#]+)(#[^)]*)?\)")
TEXT = {".md"}
RUN = re.compile(r"^( *```[a-z]+) run$", re.MULTILINE)
"""The mark of an example that the tests run, which the site's Markdown doesn't know."""


def on_files(files: Any, config: Any) -> Any:
    """Add the files that are linked to, below `files/`."""
    from mkdocs.structure.files import File

    pages = [page.content_string for page in files.documentation_pages()]
    for path in {found[1] for page in pages for found in OUTSIDE.finditer(page)}:
        place = f"files/{path}.txt" if Path(path).suffix in TEXT else f"files/{path}"
        content = (ROOT / path).read_text(encoding="utf-8")
        files.append(File.generated(config, place, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead the links there, and leave out the marks of examples."""
    up = "../" * page.file.src_uri.count("/")

    def inside(found: re.Match[str]) -> str:
        text = ".txt" if Path(found[1]).suffix in TEXT else ""
        return f"]({up}files/{found[1]}{text})"

    return RUN.sub(r"\1", OUTSIDE.sub(inside, markdown))
