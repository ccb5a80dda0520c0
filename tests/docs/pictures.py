"""Draws docs/images/*.svg from what the bot printed and posted; run it to write them.

python tests/docs/pictures.py

`message.json` is a payload that the bot posted to the simulator, `demo.txt` an excerpt of what
`mouseflow-bot demo` printed.
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
            y += 12
            for button in block["elements"]:
                label = button["text"]["text"]
                wide = 24 + 8 * len(label)
                lines.append(
                    f'<rect x="{LEFT}" y="{y}" width="{wide}" height="30" rx="5" fill="#007a5a"/>'
                    f'<text x="{LEFT + wide / 2}" y="{y + 20}" font-size="14" font-weight="bold" '
                    f'fill="#fff" text-anchor="middle">{escape(label)}</text>'
                )
            y += 32
            continue
        small = block["type"] == "context"
        texts = [it["text"] for it in block["elements"]] if small else [block["text"]["text"]]
        for text in "\n".join(texts).split("\n"):
            y += 20 if small else 22
            style = (
                f'font-size="{12.5 if small else SIZE}" fill="{"#616061" if small else "#1d1c1d"}"'
            )
            lines.append(f'<text x="{LEFT}" y="{y}" {style}>{"".join(_spans(text))}</text>')
    height = y + 20
    return _FRAME.format(
        width=WIDTH, height=height, inner=WIDTH - 1, lower=height - 1, font=_FONT,
        body="\n".join(lines),
    )  # fmt: skip


def _spans(text: str) -> Iterator[str]:
    at = 0
    bold = False
    for found in _MARK.finditer(text.replace("*<", "<").replace(">*", ">")):
        text = found.string
        yield escape(text[at : found.start()])
        at = found.end()
        bold = found["bold"] is not None
        label = found["bold"] or found["label"]
        if bold:
            yield f'<tspan font-weight="bold">{escape(label)}</tspan>'
        elif found["url"].startswith("!"):
            yield escape(label)
        else:
            yield f'<tspan font-weight="bold" fill="#1264a3">{escape(label)}</tspan>'
    yield escape(text[at:])


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
    payload = json.loads((IMAGES / "message.json").read_text(encoding="utf-8"))
    return {
        "message.svg": message(payload),
        "demo.svg": terminal((IMAGES / "demo.txt").read_text(encoding="utf-8"), "make demo"),
    }


if __name__ == "__main__":
    for name, picture in drawn().items():
        (IMAGES / name).write_text(picture, encoding="utf-8")
