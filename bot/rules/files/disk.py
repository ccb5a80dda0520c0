"""Which rule files there are, and what they hold: regular files of at most 1 MB."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from bot.errors import ConfigError, Fault
from bot.rules.syntax.nodes import MAX_BYTES

SUFFIXES = frozenset({".yaml", ".yml", ".toml"})

MOST_FILES = 2_000
"""Files and folders that are looked at under the paths."""

MOST_HASHED = 8_000_000
"""Bytes of all files that are read to see a change; with more, times and inodes must do."""

MOST_READ = 16_000_000
"""Bytes of all files together; the files after them are errors."""

Files = Sequence[tuple[str, bytes]]
"""Rule files as (name to show, content)."""

Signature = tuple[tuple[str, str], ...]
"""Names of the files, each with a digest of its content; it differs if a file has changed."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Names and bytes of the rule files, and errors for what can't be read, by its path."""

    files: Files
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class _Unread:
    """A path that can't be read, and why."""

    path: Path
    reason: str

    @property
    def fault(self) -> Fault:
        return Fault(shown(self.path), 1, 1, "", self.reason)


_Found = Path | _Unread


def shown(path: str | Path) -> str:
    """The path for people and for the store, with bytes that are not UTF-8 as `\\xff`."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def read_bytes(path: Path) -> bytes:
    """The content of a regular file, up to one byte more than 1 MB; raises OSError."""
    if not S_ISREG(path.stat().st_mode):
        raise OSError(0, "it is not a file")
    with path.open("rb") as opened:
        return opened.read(MAX_BYTES + 1)


def contents(paths: Sequence[str | Path]) -> Contents:
    """What the rule files under these paths hold, in order of their names.

    Raises ConfigError for no rule files: an empty folder is probably a wrong mount or checkout,
    not a wish for no rules.
    """
    files: list[tuple[str, bytes]] = []
    faults: list[Fault] = []
    left = MOST_READ
    for each in _found(paths):
        content = _content(each, left)
        if isinstance(content, _Unread):
            faults.append(content.fault)
        else:
            files.append(content)
            left -= len(content[1])
    if not files and not faults:
        places = ", ".join(map(shown, paths))
        raise ConfigError(f"{places}: no rule files (.yaml, .yml or .toml)")
    return Contents(tuple(files), tuple(faults))


def signature(paths: Sequence[str | Path]) -> Signature:
    """A value that changes when a file is written, added, removed or becomes readable."""
    marks: list[tuple[str, str]] = []
    left = MOST_HASHED
    for each in _found(paths):
        if isinstance(each, _Unread):
            marks.append((str(each.path), each.reason))
            continue
        try:
            state = each.stat()
            left -= min(state.st_size, MAX_BYTES)
            mark = (
                hashlib.sha256(read_bytes(each)).hexdigest()
                if left >= 0
                else f"{state.st_dev} {state.st_ino} {state.st_ctime_ns} {state.st_mtime_ns} "
                f"{state.st_size}"
            )
        except OSError as error:
            mark = _why_unread(error)
        marks.append((str(each), mark))
    return tuple(marks)


def _content(each: _Found, most: int) -> tuple[str, bytes] | _Unread:
    if isinstance(each, _Unread):
        return each
    try:
        content = read_bytes(each)
    except OSError as error:
        return _Unread(each, _why_unread(error))
    if len(content) > most:
        return _Unread(each, f"the rule files have more than {MOST_READ // 1_000_000} MB in all")
    return shown(each), content


def _why_unread(error: OSError) -> str:
    """Why a file or folder can't be read, and what to do about it if that is known."""
    advice = "; chmod it, or run as its owner" if isinstance(error, PermissionError) else ""
    return f"can't be read: {error.strerror or type(error).__name__}{advice}"


def _found(paths: Sequence[str | Path]) -> list[_Found]:
    """Every rule file under these paths, and what can't be read there."""
    found: dict[Path, _Found] = {}
    for path in map(Path, paths):
        try:
            is_folder = S_ISDIR(path.stat().st_mode)
            listed = list(path.iterdir()) if is_folder else []
        except FileNotFoundError:
            found[path] = _Unread(path, "no such rule file or directory")
            continue
        except OSError as error:
            found[path] = _Unread(path, _why_unread(error))
            continue
        each = _inside(path, listed) if is_folder else iter([_named(path)])
        found |= {(it.path if isinstance(it, _Unread) else it): it for it in each}
    return list(found.values())


def _named(path: Path) -> _Found:
    """The file, unless its name can't be shown."""
    if shown(path) == str(path):
        return path
    return _Unread(path, "the name is not UTF-8; rename it")


def _inside(folder: Path, listed: list[Path]) -> Iterator[_Found]:
    """The rule files in the folder and in all folders below, in order of their names.

    Linked folders count; a folder that is reached twice is read once, so loops end.
    """
    entries = sorted(listed, reverse=True)
    seen = {folder.resolve()}
    looked_at = 0
    while entries:
        path = entries.pop()
        if path.name.startswith("."):
            continue
        looked_at += 1
        if looked_at > MOST_FILES:
            yield _Unread(folder, f"more than {MOST_FILES:,} files and folders; is this the path?")
            return
        is_rule_file = path.suffix.lower() in SUFFIXES
        try:
            mode = path.stat().st_mode
            if S_ISDIR(mode) and not is_rule_file:
                real = path.resolve()
                if real not in seen:
                    seen.add(real)
                    entries += sorted(path.iterdir(), reverse=True)
                continue
        except OSError as error:
            removed = isinstance(error, FileNotFoundError) and not path.is_symlink()
            if not removed:
                yield _Unread(path, _why_unread(error))
            continue
        if is_rule_file:
            yield _named(path) if S_ISREG(mode) else _Unread(path, "this is not a file")
