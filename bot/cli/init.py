"""Write a commented config.toml, a first rule file and its JSON Schema.

With --pack it writes ready-made rule files instead of the first one; an existing config.toml
stays as it is. Existing files are never changed. Beside a running bot, which would act on new
rules at once, it writes no packs.
"""

import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from shlex import quote

from bot.cli.main import known_name
from bot.errors import BotError, ConfigError

EXAMPLE = (
    "mouseflow-bot init\n"
    "mouseflow-bot init --pack checkout --pack forms\n"
    "mouseflow-bot init /etc/mouseflow-bot"
)
CONFIG, SCHEMA = "config.toml", "rules/rules.schema.json"


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument(
        "directory",
        nargs="?",
        type=Path,
        default=Path(),
        help="folder to write to (default: this one)",
    )
    parser.add_argument(
        "--pack",
        action="append",
        default=[],
        metavar="NAME",
        help=f"rules to write: {', '.join(packs())}; may be repeated",
    )


def run(args: Namespace) -> int:
    """Write the files, or none of them."""
    from bot.cli import output

    config = args.directory / CONFIG
    if args.pack and _bot_runs(config):
        raise ConfigError(
            "a bot runs with this configuration and would act on the new rules at once; write them "
            "into another folder, such as mouseflow-bot init new --pack NAME, and edit them there"
        )
    texts = {args.directory / name: text for name, text in first_files(args.pack).items()}
    kept = {args.directory / CONFIG, args.directory / SCHEMA} if args.pack else set()
    existing = [path for path in texts if path.exists()]
    if refused := [str(path) for path in existing if path not in kept]:
        raise ConfigError(f"these files already exist, nothing was written: {', '.join(refused)}")
    for path, text in texts.items():
        if path in existing:
            output.line(f"kept  {path}")
        else:
            _write(path, text)
            output.line(f"wrote {path}")
    if config in existing:
        output.line()
        output.line("next: edit websites, channels and figures in the new rules, then")
        print("\n".join(f"  {line}" for line in next_steps(config)[2:-1]))
        return 0
    output.line()
    output.line(f"next: set the region and e-mail in {config}, then")
    print("\n".join(f"  {line}" for line in next_steps(config)))
    simulated = quote(str(config.with_name("simulator.toml")))
    trial = f"mouseflow-bot simulate > {simulated}"
    output.line(f"without an account: {trial}, and in a second terminal")
    print(f"  BOT_CONFIG={simulated} mouseflow-bot run")
    return 0


def _bot_runs(config: Path) -> bool:
    """Whether a daemon holds the lock of that configuration's store."""
    from bot.cli.context import secrets_dirs
    from bot.cli.healthcheck import sign_of, store_url_of

    if not config.exists():
        return False
    try:
        return sign_of(store_url_of(config, os.environ, secrets_dirs())) is not None
    except BotError:
        return False  # a database that can't be asked


def next_steps(config: Path) -> list[str]:
    """The commands to run next, in the folder where `init` ran."""
    named = "" if config == Path(CONFIG) else f" --config {quote(str(config))}"
    return [
        "export BOT_MOUSEFLOW__API_KEY=...",
        "export BOT_SLACK__BOT_TOKEN=...     # for Slack posts",
        f"mouseflow-bot check --online{named}",
        f"mouseflow-bot test{named}",
        f"mouseflow-bot once --dry-run{named}",
        f"mouseflow-bot run{named}",
    ]


def example_rules() -> Path:
    """The folder of the rule packs, in the wheel or in the checkout."""
    package = Path(__file__).parents[1]
    shipped = package / "example_rules"
    return shipped if shipped.is_dir() else package.parent / "rules"


def packs() -> Mapping[str, Path]:
    """The rule packs by name."""
    found = sorted(path for path in example_rules().iterdir() if path.suffix in (".yaml", ".toml"))
    return {path.stem: path for path in found}


def first_files(chosen: Sequence[str] = ()) -> dict[str, str]:
    """The text of each file by its path: the first rule, or the chosen packs.

    Raises ConfigError for a pack that does not exist.
    """
    from bot.rules.files.schema import json_schema

    here = files("bot.cli") / "first"
    known = packs()
    paths = [known[known_name(name, known, "there is no such pack", _known())] for name in chosen]
    rules = {f"rules/{path.name}": path.read_text(encoding="utf-8") for path in paths}
    first = {"rules/first.yaml": (here / "first.yaml").read_text(encoding="utf-8")}
    return {
        CONFIG: (here / "config.toml").read_text(encoding="utf-8"),
        **(rules or first),
        SCHEMA: json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n",
    }


def _known() -> str:
    return f"known: {', '.join(packs())}"


def _write(path: Path, text: str) -> None:
    """Create the file, readable for all whatever the umask.

    It holds no secret, and a container is another user.
    """
    try:
        new = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(exist_ok=False)
        for folder in new:
            folder.chmod(0o755)
        path.chmod(0o644)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
