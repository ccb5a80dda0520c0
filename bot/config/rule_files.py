"""The rule set that the configuration names: files found, read and checked together."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bot.config.sections import Settings
from bot.errors import ConfigError
from bot.rulebook.read import FORMATS, read
from bot.rulebook.read_do import Allowed
from bot.rulebook.rules import RuleSet

_MOST = 16 * 1024 * 1024
"""More bytes of a file are not worth reading: the reader refuses it long before."""


def rule_set(settings: Settings) -> RuleSet:
    """The configured rules; raises ConfigError or RuleErrors with every problem."""
    return read(rule_files(map(Path, settings.rules.paths)), allowed=allowed(settings))


def allowed(settings: Settings) -> Allowed:
    """What this configuration lets rules do."""
    return Allowed(
        delete=settings.rules.allow_delete,
        posts=settings.slack.configured,
        # A webhook posts to the channel that Slack tied it to.
        channel=settings.slack.channel is not None or settings.slack.webhook_url is not None,
        share_url=settings.mouseflow.share_url is not None,
    )


def rule_files(paths: Iterable[Path]) -> list[tuple[str, bytes]]:
    """(name, content) of every rule file under these paths, each once, in a stable order.

    Folders are searched whole but for hidden files. Raises ConfigError where a path does not
    exist, cannot be read, or where there is no rule file at all.
    """
    paths = list(paths)
    problems: list[str] = []
    found: dict[Path, tuple[str, bytes]] = {}
    for path in paths:
        for file in _under(path, problems):
            try:
                with file.open("rb") as opened:
                    found.setdefault(file.resolve(), (str(file), opened.read(_MOST)))
            except OSError as error:
                problems.append(f"{file}: cannot be read: {error.strerror}")
    if not found and not problems:
        problems.append(f"{_listed(paths)}: no rule files there (.yaml, .yml or .toml)")
    if problems:
        raise ConfigError("\n".join(problems))
    return list(found.values())


def _under(path: Path, problems: list[str]) -> Iterator[Path]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
            if file.suffix.lower() in FORMATS and not hidden and file.is_file():
                yield file
    elif path.exists():
        yield path
    else:
        problems.append(f"{path}: no such file or folder (rules.paths)")


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))
