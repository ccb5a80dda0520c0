"""Write a commented config.toml, a first rule file and its JSON Schema.

Existing files are never changed.
"""

import json
from argparse import ArgumentParser, Namespace
from importlib.resources import files
from pathlib import Path
from shlex import quote

from bot.errors import ConfigError

EXAMPLE = "mouseflow-bot init\nmouseflow-bot init /etc/mouseflow-bot"


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument(
        "directory",
        nargs="?",
        type=Path,
        default=Path(),
        help="folder to write to (default: this one)",
    )


def run(args: Namespace) -> int:
    """Write the files, or none of them."""
    texts = {args.directory / name: text for name, text in first_files().items()}
    if existing := [str(path) for path in texts if path.exists()]:
        raise ConfigError(f"these files already exist, nothing was written: {', '.join(existing)}")
    for path, text in texts.items():
        _write(path, text)
        print(f"wrote {path}")
    config = args.directory / "config.toml"
    print(f"\nnext: set the region and e-mail in {config}, then")
    for line in next_steps(config):
        print(f"  {line}")
    return 0


def next_steps(config: Path) -> list[str]:
    """The commands to run next, in the folder where `init` ran."""
    named = "" if config == Path("config.toml") else f" --config {quote(str(config))}"
    return [
        "export BOT_MOUSEFLOW__API_KEY=...",
        f"mouseflow-bot check --online{named}",
        f"mouseflow-bot test{named}",
        f"mouseflow-bot once --dry-run{named}",
        f"mouseflow-bot run{named}",
    ]


def first_files() -> dict[str, str]:
    """The text of each file by its path."""
    from bot.rules.files.schema import json_schema

    here = files("bot.cli") / "first"
    return {
        "config.toml": (here / "config.toml").read_text(encoding="utf-8"),
        "rules/first.yaml": (here / "first.yaml").read_text(encoding="utf-8"),
        "rules/rules.schema.json": json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n",
    }


def _write(path: Path, text: str) -> None:
    """Create the file; config.toml is readable for its owner only, as it may hold secrets."""
    mode = 0o600 if path.name == "config.toml" else 0o644
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode, exist_ok=False)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
