"""Draws docs/images/*.svg from what the bot printed and posted; run it to write them.

python tests/docs/pictures.py

`quarter-*.json` (of `bench/quarter.py`) are payloads that the bot posted, as those of
`tests/messages/payloads` are; `demo.txt` is an excerpt of what `mouseflow-bot demo` printed.
"""

import io
import json
import re
import textwrap
from collections.abc import Iterator
from html import escape
from pathlib import Path

from rich.console import Console

from bot.cli.output import _coloured

PAYLOADS = Path(__file__).parents[1] / "messages" / "payloads"
SHOWN = (
    "recording",
    "recording-two-rules",
    "after-star",
    "count",
    "digest",
    "scheduled-of-several",
    "after-quiet",
    "report-weekly",
    "funnel",
    "feedback-acknowledged",
    "funnel-reminder",
    "funnel-resolved",
    "answers",
    "budget-95",
    "budget-100",
    "ops-channel",
    "ops-outage",
    "ops-dead-letters",
    "ops-rule-paused",
)
"""The payloads that docs/reference/messages.md shows."""
IMAGES = Path(__file__).parents[2] / "docs" / "images"
WIDTH, LEFT, SIZE = 640, 72, 15
COLUMNS = 100
MONO = "DejaVu Sans Mono, Menlo, Consolas"
_FONT = "font-family=\"-apple-system,'Segoe UI',Helvetica,Arial,sans-serif\""
_MARK = re.compile(r"<(?P<url>[^|>]+)\|(?P<label>[^>]+)>|\*(?P<bold>[^*]+)\*")
_FRAME = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" {font}>
<title>A Slack message of mouseflow-bot</title>
<rect x="0.5" y="0.5" width="{inner}" height="{lower}" rx="8" fill="#fff" stroke="#ddd"/>
<rect x="20" y="18" width="38" height="38" rx="8" fill="#5e35b1"/>
<text x="39" y="44" font-size="20" font-weight="bold" fill="#fff" text-anchor="middle">m</text>
<text x="72" y="32" font-size="15" font-weight="bold" fill="#1d1c1d">mouseflow-bot\
<tspan dx="8" font-size="11" font-weight="normal" fill="#616061">APP  12:43</tspan></text>
{body}
</svg>
"""


def message(payload: dict) -> str:
    """The payload as Slack shows it, as SVG."""
    lines, y = [], 34
    for block in payload["blocks"]:
        if block["type"] == "actions":
            lines += _buttons(block["elements"], y + 12)
            y += 44
            continue
        small = block["type"] == "context"
        size, fill, step = (12.5, "#616061", 20) if small else (SIZE, "#1d1c1d", 22)
        texts = [it["text"] for it in block["elements"]] if small else [block["text"]["text"]]
        for text in "\n".join(texts).replace("<@U1>", "@kim").split("\n"):
            for line in _wrapped(text, (WIDTH - LEFT - 20) / (size * 0.51)):
                y += step
                style = f'font-size="{size}" fill="{fill}"'
                lines.append(f'<text x="{LEFT}" y="{y}" {style}>{line}</text>')
    height = y + 20
    return _FRAME.format(
        width=WIDTH, height=height, inner=WIDTH - 1, lower=height - 1, font=_FONT,
        body="\n".join(lines),
    )  # fmt: skip


def _buttons(elements: list[dict], y: int) -> Iterator[str]:
    """Buttons in a row: the first link is green; a menu is three dots."""
    x = LEFT
    for button in elements:
        label = "•••" if button["type"] == "overflow" else button["text"]["text"]
        wide = 28 + 8.5 * len(label)
        fill, ink = ("#007a5a", "#fff") if button.get("style") else ("#fff", "#1d1c1d")
        yield (
            f'<rect x="{x}" y="{y}" width="{wide}" height="30" rx="5" fill="{fill}" '
            f'stroke="{fill if button.get("style") else "#bbb"}"/>'
            f'<text x="{x + wide / 2}" y="{y + 20}" font-size="14" font-weight="bold" '
            f'fill="{ink}" text-anchor="middle">{escape(label)}</text>'
        )
        x += wide + 8


def _wrapped(text: str, most: float) -> Iterator[str]:
    """The line in lines of at most so many characters, as SVG."""
    line, used = "", 0.0
    for word, style in _words(text):
        wide = 1.15 if style else 1.0  # bold letters are wider
        if used and used + wide * len(word.rstrip()) > most:
            yield line
            line, used = "", 0.0
            word = word.lstrip()
        shown = escape(word)
        line += f"<tspan {style}>{shown}</tspan>" if style else shown
        used += wide * len(word)
    yield line


def _words(text: str) -> Iterator[tuple[str, str]]:
    """Each word with the space before it, and its style."""
    at = 0
    plain = text.replace("*<", "<").replace(">*", ">")
    for found in [*_MARK.finditer(plain), None]:
        end = len(plain) if found is None else found.start()
        yield from ((word, "") for word in _SPACED.findall(plain[at:end]))
        if found is None:
            return
        at = found.end()
        style = 'font-weight="bold"'
        if found["bold"] is None:
            style = "" if found["url"].startswith("!") else 'font-weight="bold" fill="#1264a3"'
        label = found["bold"] or found["label"]
        yield from ((word, style) for word in _SPACED.findall(label))


_SPACED = re.compile(r"\s*\S+\s*$|\s*\S+|\s+$|\s+")


def terminal(text: str, title: str) -> str:
    """The output as a terminal shows it, as SVG without fonts of other hosts."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for line in text.splitlines():
        start = re.match(r"(?: *│)? *", line)[0]
        for part in textwrap.wrap(line, COLUMNS, subsequent_indent=start) or [""]:
            console.print(_coloured(part), soft_wrap=True)
    made = console.export_svg(title=title, unique_id="demo")
    return re.sub(r"\s*@font-face \{.*?\}", "", made, flags=re.DOTALL).replace("Fira Code", MONO)


def drawn() -> dict[str, str]:
    """Each picture by its file's name."""
    return {
        **{
            f"message-{name}.svg": message(
                json.loads((PAYLOADS / f"{name}.json").read_text(encoding="utf-8"))
            )
            for name in SHOWN
        },
        **{
            path.with_suffix(".svg").name: message(json.loads(path.read_text(encoding="utf-8")))
            for path in sorted(IMAGES.glob("quarter-*.json"))
        },
        "demo.svg": terminal((IMAGES / "demo.txt").read_text(encoding="utf-8"), "make demo"),
    }


if __name__ == "__main__":
    for name, picture in drawn().items():
        (IMAGES / name).write_text(picture, encoding="utf-8")
