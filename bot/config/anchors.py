"""Relative places of a configuration file count from the folder that the file is in."""

from pathlib import Path

_SQLITE = "sqlite:///"


def beside(folder: Path, path: str) -> str:
    """The path as seen from where the bot is started."""
    return path if folder == Path() else str(folder / path)


def url_beside(folder: Path, url: str) -> str:
    """The same for the file in a store's URL; any other URL stays what it is."""
    if not url.startswith(_SQLITE) or url.startswith(f"{_SQLITE}:memory:"):
        return url
    file, mark, query = url.removeprefix(_SQLITE).partition("?")
    return f"{_SQLITE}{beside(folder, file)}{mark}{query}"
