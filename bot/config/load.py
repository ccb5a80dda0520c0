"""Read the configuration from file, environment and secret files, and report every problem.

For each key the environment (`BOT_SECTION__KEY`) wins over a secret file
(`bot_section__key`), that over config.toml, and that over the default. Relative paths in the
file are relative to its folder, others to the working directory.
"""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource

from bot.config.settings import PREFIX, Settings, keys, variable
from bot.errors import ConfigError
from bot.rules.files.disk import shown
from bot.rules.syntax import toml
from bot.rules.syntax.nodes import MAX_BYTES, Empty, Keys, Node, Unreadable, decoded, plain
from mouseflow import proxies
from mouseflow.proxies import is_loopback

_SQLITE = "sqlite:///"


def beside(folder: Path, path: str) -> str:
    """The path relative to the working directory."""
    return path if folder == Path() else str(folder / path)


def url_beside(folder: Path, url: str) -> str:
    """The same for the file in a store's URL; other URLs are unchanged."""
    if not url.startswith(_SQLITE) or url.startswith(f"{_SQLITE}:memory:"):
        return url
    file, mark, query = url.removeprefix(_SQLITE).partition("?")
    return f"{_SQLITE}{beside(folder, file)}{mark}{query}"


def locate(root: Keys, path: tuple[str, ...]) -> tuple[int, int]:
    """Line and column, from 1, of the key; of its table if absent."""
    line, column = 1, 1
    node: Node = root
    for part in path:
        entry = node.entries.get(part) if isinstance(node, Keys) else None
        if entry is None:
            break
        line, column, node = entry.line, entry.column, entry.node
    return line, column


_SECRET_FILE_LIMIT = 64 * 1024


class _Named(EnvSettingsSource):
    """Settings under names such as BOT_SLACK__CHANNEL, from any mapping of names to texts."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = {name.lower(): value for name, value in values.items()}
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._values


def _named(values: Mapping[str, str]) -> dict[str, Any]:
    """The settings by section; unknown names are reported elsewhere."""
    known = {variable(path) for path in keys()}
    return _Named(
        {
            name: value
            for name, value in values.items()
            if name.upper() in known or _names_place(name)
        }
    )()


def _names_place(name: str) -> bool:
    """Whether it is the address of a place, which has a name of its own."""
    return len(name) > len(_PLACES) and name.upper().startswith(_PLACES)


_PLACES = variable(("notify", ""))


@dataclass(frozen=True, slots=True, order=True)
class _Place:
    """Where a setting was written, in reading order."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.file:
            return ""
        return f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: "


@dataclass(frozen=True, slots=True)
class _Origins:
    """Where settings come from: environment and secret files win over the file."""

    file: Path | None
    written: Keys
    named: Sequence[Mapping[str, str]]

    def name(self, path: tuple[str, ...]) -> str | None:
        """The variable or secret file that set it; None for the file or a default."""
        wanted = variable(path)
        for names in self.named:
            for name, origin in names.items():
                if name.upper() == wanted:
                    return origin
        return None

    def place(self, path: tuple[str, ...]) -> _Place:
        name = self.name(path)
        if name is not None or self.file is None:
            return _Place(name or "")
        return _Place(shown(self.file), *locate(self.written, path))


def load(
    path: Path | None,
    environ: Mapping[str, str],
    secrets_dirs: Iterable[Path] = (),
    *,
    offline: bool = False,
) -> Settings:
    """The settings of that file (None: no file), environment and directories of secret files.

    Commands that send nothing (`offline`) need no API key; it is empty if not given. Raises
    ConfigError whose text lists every problem, one per line, and shows no values.
    """
    problems: list[str] = []
    file = _written(path) if path is not None else Keys(1, 1)
    written = {entry.key: plain(entry.node) for entry in file}
    secret_values, secret_places = _secret_files(secrets_dirs, problems)
    variables = _encodable(environ, problems)
    for names in ({name: name for name in variables}, secret_places):
        problems += _unknown_names(names)
    secret_values, variables = _given(secret_values), _given(variables)
    places = [{name: name for name in variables}, {it: secret_places[it] for it in secret_values}]
    origins = _Origins(path, file, places)
    merged = _merged({"mouseflow": {}}, written, _named(secret_values), _named(variables))
    if offline:
        _do_without_key(merged)
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        details = error.errors(include_url=False)
        found = sorted(
            ((origins.place(_path(each)), _problem(each)) for each in details),
            key=lambda each: (each[0].line == 0, each),
        )
        problems = [f"{place}{said}" for place, said in found] + problems
        raise ConfigError("\n".join(problems)) from None
    if not offline:
        problems += network_problems(settings, environ)
    if problems:
        raise ConfigError("\n".join(problems))
    return _anchored(settings, origins)


def network_problems(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """What is wrong with proxies and certificates in the environment.

    Nothing, if Mouseflow is a simulator on this machine, which is reached without them.
    """
    base = settings.mouseflow.base_url
    local = base is not None and is_loopback(urlsplit(base).hostname or "")
    return [] if local else list(proxies.problems(environ))


def _given(values: Mapping[str, str]) -> dict[str, str]:
    """Without empty values, as from `${TOKEN:-}`; but an empty `web.listen` means off."""
    off = variable(("web", "listen"))
    return {name: it for name, it in values.items() if it.strip() or name.upper() == off}


def _do_without_key(merged: dict[str, Any]) -> None:
    account = merged["mouseflow"]
    if isinstance(account, dict) and not str(account.get("api_key") or "").strip():
        merged["mouseflow"] = account | {"api_key": SecretStr("")}


def _anchored(settings: Settings, origins: _Origins) -> Settings:
    """Make paths from the file and defaults relative to the file's folder."""
    if origins.file is None:
        return settings
    folder, rules, store = origins.file.parent, settings.rules, settings.store
    if origins.name(("rules", "paths")) is None:
        paths = tuple(beside(folder, path) for path in rules.paths)
        rules = rules.model_copy(update={"paths": paths})
    if origins.name(("store", "url")) is None:
        store = store.model_copy(update={"url": url_beside(folder, store.url)})
    return settings.model_copy(update={"rules": rules, "store": store})


def _encodable(environ: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """The bot's variables; adds those that are not UTF-8 to the problems."""
    values: dict[str, str] = {}
    for name, value in environ.items():
        if shown(name + value) == name + value:
            values |= {name: value} if _is_ours(name) else {}
        elif _is_ours(name):
            problems.append(f"{shown(name)}: not UTF-8 text; set it again")
    return values


def _written(path: Path) -> Keys:
    """The file as nodes; raises ConfigError with the place."""
    name = shown(path)
    try:
        with path.open("rb") as opened:  # perhaps a pipe, as from `<(sops -d …)`
            data = opened.read(MAX_BYTES + 1)
        root = toml.parse(decoded(data))
    except FileNotFoundError:
        creates = "; `mouseflow-bot init` creates one" if path.name == "config.toml" else ""
        raise ConfigError(f"{name}: no such file{creates}") from None
    except OSError as error:
        raise ConfigError(f"{name}: can't be read: {error.strerror}{_help(error)}") from None
    except ValueError:  # a NUL in its name
        raise ConfigError(f"{name}: not a file name") from None
    except Empty:
        return Keys(1, 1)
    except Unreadable as error:
        raise ConfigError(f"{name}:{error.line}:{error.column}: {_masked(error.message)}") from None
    return root if isinstance(root, Keys) else Keys(1, 1)


def _help(error: OSError) -> str:
    """What to do about it, if that is known."""
    if not isinstance(error, PermissionError):
        return ""
    return f". This process is user {os.geteuid()}: chmod the file, or run as its owner (--user)"


_LIKE_A_SECRET = re.compile(r"[^\s\"'=:;,.]{16,}")


def _masked(text: str) -> str:
    """The text, with the first characters only of long words that are no settings."""
    known = {name for pair in keys() for name in pair}
    return _LIKE_A_SECRET.sub(lambda it: it[0] if it[0] in known else f"{it[0][:4]}…", text)


def _secret_files(
    directories: Iterable[Path], problems: list[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Values and places by name; the first directory wins."""
    values: dict[str, str] = {}
    places: dict[str, str] = {}
    for directory in directories:
        try:
            files = sorted(directory.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            problems.append(f"{shown(directory)}: can't be read: {error.strerror}")
            continue
        for file in files:
            name = file.name.lower()
            if not name.startswith(PREFIX.lower()) or name in values:
                continue
            try:
                if not file.is_file():
                    continue
                with file.open(encoding="utf-8") as opened:
                    values[name] = opened.read(_SECRET_FILE_LIMIT).strip()
            except OSError as error:
                problems.append(f"{shown(file)}: can't be read: {error.strerror}{_help(error)}")
            except UnicodeDecodeError:
                problems.append(f"{shown(file)}: not UTF-8 text")
            else:
                places[name] = shown(file)
    return values, places


# Kubernetes sets these in every container next to a service called "bot".
_SERVICE_LINK = re.compile(r"BOT_(?:\w+_)?(?:SERVICE_(?:HOST|PORT)|PORT)(?:_\w+)?$")


def _is_ours(name: str) -> bool:
    upper = name.upper()
    return upper.startswith(PREFIX) and upper != "BOT_CONFIG" and not _SERVICE_LINK.match(upper)


def _unknown_names(places: Mapping[str, str]) -> Iterator[str]:
    known = [variable(path) for path in keys()]
    for name, place in places.items():
        if name.upper() not in known and not _names_place(name):
            near = difflib.get_close_matches(name.upper(), known, 1)
            shown = [known if place == name else known.lower() for known in near]
            yield f"{place}: unknown setting" + "".join(f"; did you mean {it}?" for it in shown)


def _merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers win, key by key."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for section, values in layer.items():
            before = merged.get(section)
            if isinstance(before, dict) and isinstance(values, dict):
                merged[section] = before | values
            else:
                merged[section] = values
    return merged


_PLAIN = {
    "string_type": "write a text in quotes",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
    "float_type": "write a number",
    "float_parsing": "write a number",
    "tuple_type": 'write a list, such as ["rules"]',
    "too_short": "needs at least one",
    "model_type": "write a table with keys",
}


def _path(detail: ErrorDetails) -> tuple[str, ...]:
    return tuple(str(part) for part in detail["loc"])


def _problem(detail: ErrorDetails) -> str:
    path = _path(detail)
    said = _words(path, detail)
    name = ".".join(path)
    unknown = detail["type"] == "extra_forbidden" and "did you mean" not in said
    return f"{_masked(name) if unknown else name}: {said}"


def _words(path: tuple[str, ...], detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return ("unknown key" if len(path) > 1 else "unknown section") + _suggestion(path)
    blank = kind.endswith("_type") and path in _REQUIRED and detail["input"] is None
    if kind == "missing" or blank:
        return f"missing; write it here or set {variable(path)}" if len(path) > 1 else "missing"
    if kind == "literal_error":
        return f"write one of {str(context['expected']).replace(chr(39), '')}"
    if kind == "value_error":
        return str(context["error"])
    return _PLAIN.get(kind, detail["msg"])


_REQUIRED = {("mouseflow", "email"), ("mouseflow", "api_key")}


def _suggestion(path: tuple[str, ...]) -> str:
    """The closest key of the same section, else of any."""
    section, key = path[0], path[-1]
    beside = (
        [k for s, k in keys() if s == section] if len(path) > 1 else list(Settings.model_fields)
    )
    if near := difflib.get_close_matches(key, beside, 1):
        return f"; did you mean {near[0]}?"
    everywhere = {k: f"{s}.{k}" for s, k in keys()}
    if near := difflib.get_close_matches(key, everywhere, 1, 0.8):
        return f"; did you mean {everywhere[near[0]]}?"
    return ""
