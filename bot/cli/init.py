"""Writes a commented config.toml, a first rule file and the JSON Schema beside it.

Nothing that is there already is touched.
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
        "directory", nargs="?", type=Path, default=Path(), help="where to write (default: here)"
    )


def run(args: Namespace) -> int:
    """Write the files, or none of them."""
    wanted = {args.directory / name: text for name, text in first_files().items()}
    if there := [str(path) for path in wanted if path.exists()]:
        raise ConfigError(f"already there, nothing was written: {', '.join(there)}")
    for path, text in wanted.items():
        _write(path, text)
        print(f"wrote {path}")
    config = args.directory / "config.toml"
    print(f"\nnext: write the account's region and e-mail into {config}, then")
    for line in next_steps(config):
        print(f"  {line}")
    return 0


def next_steps(config: Path) -> list[str]:
    """What to type now, from where `init` was called."""
    named = "" if config == Path("config.toml") else f" --config {quote(str(config))}"
    return [
        "export BOT_MOUSEFLOW__API_KEY=...",
        f"mouseflow-bot check --online{named}",
        f"mouseflow-bot test{named}",
        f"mouseflow-bot once --dry-run{named}",
        f"mouseflow-bot run{named}",
    ]


def first_files() -> dict[str, str]:
    """The text of each file by its place."""
    from bot.rules.files.schema import json_schema

    here = files("bot.cli") / "first"
    return {
        "config.toml": (here / "config.toml").read_text(encoding="utf-8"),
        "rules/first.yaml": (here / "first.yaml").read_text(encoding="utf-8"),
        "rules/rules.schema.json": json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n",
    }


def _write(path: Path, text: str) -> None:
    """For the owner's eyes alone where it may come to hold a secret."""
    mode = 0o600 if path.name == "config.toml" else 0o644
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode, exist_ok=False)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
