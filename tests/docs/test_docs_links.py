"""Every link inside the project leads somewhere, and the site has every page."""

from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_pages import PAGES, ROOT, anchors, blocks, links
from pictures import IMAGES, drawn
from ruamel.yaml import YAML


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        path, _, anchor = unquote(link).partition("#")
        if "://" in path:
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_the_site_has_every_page_once() -> None:
    settings = YAML(typ="safe", pure=True).load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = list(_leaves(settings["nav"]))
    docs = ROOT / "docs"
    assert sorted(listed) == sorted(str(page.relative_to(docs)) for page in docs.rglob("*.md"))
    assert settings["strict"]


def _leaves(nav):
    for entry in nav if isinstance(nav, list) else nav.values():
        if isinstance(entry, str):
            yield entry
        else:
            yield from _leaves(entry)


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "explanation" / "decisions"
    assert set(links(folder / "index.md")) == {page.name for page in folder.glob("0*.md")}


def test_the_pictures_show_what_the_bot_prints() -> None:
    for name, picture in drawn().items():
        assert (IMAGES / name).read_text(encoding="utf-8") == picture


def test_new_pages_have_a_title_and_short_lines() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text.startswith("# "), page
        if page.parent.name == "how-to" or page.name in ("tutorial.md", "index.md"):
            inside = {line for block in blocks(page) for line in block.text.splitlines()}
            wide = [
                line
                for line in text.splitlines()
                if len(line) > 100
                and not line.startswith(("|", "![", "- ["))
                and line not in inside
            ]
            assert wide == [], page
