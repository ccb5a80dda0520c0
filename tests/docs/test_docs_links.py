"""Every link inside the project leads somewhere, and the site has every page."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_pages import PAGES, ROOT, anchors, blocks, links
from msgspec.structs import replace
from pictures import IMAGES, drawn
from ruamel.yaml import YAML

from bot.cli.init import example_rules
from bot.messages import compose
from bot.messages.template_check import SAMPLES
from bot.ports import Addresses
from bot.rules.files.load import ALLOWED, load


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


def test_the_demo_in_the_readme_is_one_of_these_rules_and_words() -> None:
    shown = (IMAGES / "demo.txt").read_text(encoding="utf-8")
    rules = {it.id: it for it in load([example_rules()], ALLOWED).rules}
    assert set(re.findall(r"with (\d+) rules|of (\d+) rules", shown)) == {
        (str(len(rules)), ""), ("", str(len(rules))),
    }  # fmt: skip
    matched = dict(re.findall(r"^\d\d:\d\d:\d\dZ  (\S+) matched \S+: (.*)$", shown, re.MULTILINE))
    assert len(matched) > 8
    assert set(matched) <= set(rules)
    (posted,) = re.findall(r"· Rule (\S+)", shown)
    task = replace(SAMPLES["recordings"], why=tuple(matched[posted].split("; ")))
    reasons = compose.match(task, Addresses()).why[0]
    assert f"│ {''.join(part.text for part in reasons)}\n" in shown


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
