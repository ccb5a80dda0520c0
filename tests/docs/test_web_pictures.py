"""The docs show every page of the status page, and stay small."""

from web_pictures import IMAGES, PAGE, SCHEMES, SHOWN, WIDTHS, page

HEAVIEST, ALL = 48_000, 2_500_000
"""Bytes of one picture, and of all."""


def test_the_docs_show_each_page_at_each_width_in_each_scheme():
    assert PAGE.read_text(encoding="utf-8") == page()
    names = {f"{it}-{width}-{scheme}.png" for it in SHOWN for width in WIDTHS for scheme in SCHEMES}
    assert {it.name for it in IMAGES.iterdir()} == names


def test_the_pictures_are_small():
    sizes = {it.name: it.stat().st_size for it in IMAGES.iterdir()}
    assert {name: size for name, size in sizes.items() if size > HEAVIEST} == {}
    assert sum(sizes.values()) < ALL
