"""The bad rule files and what the reader says of each; run it to write what it says now.

    python tests/rules/files/broken_files.py

Look at the difference before you commit it: expected.txt is what users read.
"""

from pathlib import Path

from bot.errors import RuleErrors
from bot.rules.files.load import read

FAULTS = Path(__file__).parent / "broken"
EXPECTED = FAULTS / "expected.txt"


def cases() -> list[Path]:
    """The bad files, by name."""
    return sorted(path for path in FAULTS.iterdir() if path.suffix in (".yaml", ".toml"))


def said(path: Path) -> str:
    """What the reader says of the file: its faults, or else its warnings."""
    try:
        found = read([(path.name, path.read_bytes())]).warnings
    except RuleErrors as error:
        found = error.faults
    return "".join(f"{fault}\n" for fault in found)


def expected() -> dict[str, str]:
    """The golden text of each file, by its name."""
    sections = EXPECTED.read_text(encoding="utf-8").split("=== ")[1:]
    return {name: text for name, _, text in (part.partition("\n") for part in sections)}


if __name__ == "__main__":
    EXPECTED.write_text(
        "".join(f"=== {path.name}\n{said(path)}" for path in cases()), encoding="utf-8"
    )
