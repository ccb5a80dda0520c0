"""Pictures of the status page's pages, and the page of the docs that shows them.

    python tests/docs/web_pictures.py [FOLDER [NAME …]]

writes `docs/images/web` and `docs/reference/web-pages.md`; with FOLDER all pictures, or those of
these names, whole and in all colours, there instead. It needs Debian's packages `chromium`,
`fonts-dejavu-core` and `pngquant`, and shows the shop group of `tests/web/shop_group.py`.
"""

import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from textwrap import fill

DOCS = Path(__file__).parents[2] / "docs"
IMAGES = DOCS / "images" / "web"
PAGE = DOCS / "reference" / "web-pages.md"
WIDTHS, SCHEMES = (1280, 390), ("light", "dark")
TALLEST = {1280: 1000, 390: 1500}
"""How much of a page is shown, in pixels."""
COLOURS = (64, 48, 32, 24, 16)
ENOUGH = 48_000
"""Bytes: a picture has as many colours as fit into them."""
SHOWN = {
    "overview": (
        "Overview",
        "Is all well? If not: what, since when, and what to do. Here a Slack channel is archived"
        " and actions have failed for good.",
    ),
    "first-run": (
        "Overview of a bot that has just started",
        "What it waits for, and how to see at once what the rules would match.",
    ),
    "accounts": (
        "Overview of several accounts",
        "Which run, and what each needs; one of them does not run.",
    ),
    "account-down": ("An account that does not run", "Why, and where the others are."),
    "rules": (
        "Rules",
        "Which rule can’t deliver, fires, is snoozed, silent or disabled; problems first.",
    ),
    "rule": (
        "A rule",
        "Is it about as busy as usual, since when it was edited, and do people find it useful.",
    ),
    "rule-snoozed": ("A snoozed rule", "Until when, and how to end it."),
    "rule-too-few": (
        "A rule about too few sessions",
        "What it has counted, website by website.",
    ),
    "reports": ("Weekly reports", "When each is due, and what the latest ones said."),
    "budgets": (
        "Budgets",
        "Will each last to the end of its period; its steps and the days they are expected on.",
    ),
    "activity": ("Activity", "What the bot did, held back or failed to do, and why."),
    "queue": (
        "Queue",
        "Does anything wait or need a hand: lanes, messages held back on purpose, actions that"
        " failed for good with their remedy.",
    ),
    "recording": (
        "A recording",
        "Its path, why each rule matched or did not, and what became of each action.",
    ),
    "match": ("A match", "The same for one rule."),
    "count": ("A count", "All matches that a message about many stands for."),
    "digest": ("A digest", "The matches that were held back for it."),
    "login": ("Login", "Reading needs none."),
    "login-wrong": ("Login with a wrong token", "How long to wait before the next attempt."),
    "error": ("The store can’t be read", "What still works, and how to find out."),
    "missing": ("No such page", "And the way back."),
}
"""Each page with its heading and what it is for."""


def _picture(name: str, heading: str, width: int, scheme: str) -> str:
    return f"![{heading}, {scheme}, {width} px wide](../images/web/{name}-{width}-{scheme}.png)"


def page() -> str:
    """The page of the docs that shows all pictures."""
    parts = [
        "# The status page in pictures",
        "After this page you know what each page of [the status page](web.md) is for. An invented"
        " shop group:\nsix websites, nine rules, two budgets. `make pictures` draws them.",
    ]
    for name, (heading, purpose) in SHOWN.items():
        rows = [
            "| " + " | ".join(_picture(name, heading, width, scheme) for scheme in SCHEMES) + " |"
            for width in WIDTHS
        ]
        parts.append(
            "\n".join(
                [
                    f"## {heading}",
                    "",
                    fill(purpose, 100),
                    "",
                    "| light | dark |",
                    "|---|---|",
                    *rows,
                ]
            )
        )
    return "\n\n".join(parts) + "\n"


def small(picture: bytes) -> bytes:
    """The picture with few colours."""
    drawn = b""
    for colours in COLOURS:
        command = ["pngquant", "--speed", "1", "--nofs", "--strip", str(colours), "-"]
        drawn = subprocess.run(command, input=picture, capture_output=True, check=True).stdout
        if len(drawn) < ENOUGH:
            break
    return drawn


def main(folder: str = "", *names: str) -> None:
    """Write them."""
    sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("web", "polling", "reports")]
    from playwright.sync_api import sync_playwright
    from shop_group import CHROMIUM, ERRORS, NOON, host_of, log_in, pages

    target = Path(folder) if folder else IMAGES
    target.mkdir(parents=True, exist_ok=True)
    if not folder:
        for old in target.iterdir():
            old.unlink()
        PAGE.write_text(page(), encoding="utf-8")
    with (
        tempfile.TemporaryDirectory() as temporary,
        pages(Path(temporary)) as addresses,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        shop = host_of(addresses["overview"])
        for width, scheme in product(WIDTHS, SCHEMES):
            size = {"width": width, "height": 844 if width < 500 else 800}
            context = browser.new_context(
                viewport=size, color_scheme=scheme, timezone_id="Europe/Copenhagen",
                locale="en-GB",
            )  # fmt: skip
            shot = context.new_page()
            shot.clock.set_fixed_time(NOON)
            log_in(shot, shop)
            for name in names or SHOWN:
                if name == "login-wrong":
                    for _ in range(4):
                        log_in(shot, host_of(addresses[name]), "not the token")
                else:
                    answer = shot.goto(addresses[name], wait_until="load")
                    if answer.status != ERRORS.get(name, 200):
                        sys.exit(f"{name}: status {answer.status}")
                path = target / f"{name}-{width}-{scheme}.png"
                if folder:
                    shot.screenshot(path=path, full_page=True)
                    continue
                tall = shot.evaluate("document.documentElement.scrollHeight")
                clip = {"x": 0, "y": 0, "width": width, "height": min(tall, TALLEST[width])}
                path.write_bytes(small(shot.screenshot(full_page=True, clip=clip)))
            context.close()
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
