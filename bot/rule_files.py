"""The rule files on the disk: which they are, what they hold, whether they have changed."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from bot.errors import ConfigError
from bot.rulebook.read import read
from bot.rulebook.read_do import Allowed
from bot.rulebook.rules import RuleSet

SUFFIXES = frozenset({".yaml", ".yml", ".toml"})

Signature = tuple[tuple[str, int, int], ...]
"""Names, times and sizes: another one means that some file has changed."""


def found(paths: Sequence[str | Path]) -> list[Path]:
    """Every rule file under these paths, in order of their names.

    Raises ConfigError for a path that is not there.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            try:
                files += sorted(_inside(path))
            except OSError as error:
                raise ConfigError(f"{path}: can't be read ({error.strerror})") from error
        elif path.exists():
            files.append(path)
        else:
            raise ConfigError(f"{path}: there is no such rule file or directory")
    return list(dict.fromkeys(files))


def contents(paths: Sequence[str | Path]) -> list[tuple[str, bytes]]:
    """Names and contents of the files; raises ConfigError where one can't be read, or none is.

    A folder that is empty is a mount or a checkout gone wrong rather than a wish for no rules.
    """
    read_so_far = []
    for file in found(paths):
        try:
            read_so_far.append((str(file), file.read_bytes()))
        except OSError as error:
            raise ConfigError(f"{file}: can't be read ({error.strerror})") from error
    if not read_so_far:
        places = ", ".join(map(str, paths))
        raise ConfigError(f"{places}: no rule files there (.yaml, .yml or .toml)")
    return read_so_far


def load(paths: Sequence[str | Path], allowed: Allowed) -> RuleSet:
    """The rule set of these paths; raises RuleErrors with every fault, ConfigError for a path.

    `allowed` is what the configuration lets rules do.
    """
    return read(contents(paths), allowed=allowed)


def signature(paths: Sequence[str | Path]) -> Signature:
    """Changes when a file is written, added or removed; cheap enough to ask every few seconds."""
    marks = []
    for file in found(paths):
        try:
            state = file.stat()
        except FileNotFoundError:
            continue  # removed between the two looks: the next one says so
        marks.append((str(file), state.st_mtime_ns, state.st_size))
    return tuple(marks)


def _inside(directory: Path) -> Iterator[Path]:
    for path in directory.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(directory).parts)
        if path.suffix.lower() in SUFFIXES and path.is_file() and not hidden:
            yield path
