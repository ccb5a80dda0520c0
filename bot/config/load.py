"""Read the configuration from file, environment and secret files, and report every problem.

For each key the environment (`BOT_SECTION__KEY`) wins over a secret file
(`bot_section__key`), that over config.toml, and that over the default. What is set for one of
several accounts (`accounts.NAME.section.key`) wins over what is set for all of them. Relative paths
in the file are relative to its folder, others to the working directory.
"""

import difflib
import os
import re
import select
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from itertools import chain
from pathlib import Path
from stat import S_ISFIFO
from typing import Any, get_type_hints
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, create_model
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict
from pydantic_settings import PydanticBaseSettingsSource as Source

from bot.config.accounts import clashes, variable_of
from bot.config.settings import SECTIONS, Settings, keys, variable
from bot.domain.accounts import (
    ACCOUNT,
    ACCOUNTS,
    PREFIX,
    SHARED,
    folded,
    named_accounts,
    scoped,
    url_of_account,
)
from bot.errors import ConfigError
from bot.rules.files.disk import shown
from bot.rules.syntax import toml
from bot.rules.syntax.nodes import MAX_BYTES, Empty, Keys, Node, Unreadable, decoded, plain
from bot.written import Secret
from mouseflow import proxies
from mouseflow.proxies import is_loopback

_SQLITE = "sqlite:///"


def beside(folder: Path, path: str) -> str:
    """The path relative to the working directory."""
    return path if folder == Path() else str(folder / path)


def url_beside(folder: Path, url: str) -> str:
    """The store's URL with its SQLite file relative to the working directory; else as it is."""
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


class _Given(BaseSettings):
    """What is written, to be checked: it has the fields of `Settings` that are sections."""

    model_config = SettingsConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        enable_decoding=False,
    )

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: Source, *_: Source, **__: Source
    ) -> tuple[Source, ...]:
        """Only what `_settings` passes in: nothing else is read."""
        return (init_settings,)


def _sections() -> type[_Given]:
    types = get_type_hints(Settings, include_extras=True)
    sections: dict[str, Any] = {}
    for each in fields(Settings):
        make = each.default_factory
        default = ... if make is MISSING else Field(default_factory=make)
        sections[each.name] = (types[each.name], default)
    return create_model("_Sections", __base__=_Given, **{it: sections[it] for it in SECTIONS})


_Sections = _sections()


class _Named(EnvSettingsSource):
    """Settings under names such as BOT_SLACK__CHANNEL, from any mapping of names to texts."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = {name.lower(): value for name, value in values.items()}
        super().__init__(_Sections)

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
class _Layer:
    """The settings of one source: the file, secret files or variables; for all accounts or one.

    `names` are the variables or secret files, each with where it is; None for the file, in which
    the settings are under `scope`.
    """

    values: Mapping[str, Any]
    scope: tuple[str, ...] = ()
    names: Mapping[str, str] | None = None

    def sets(self, path: tuple[str, ...]) -> bool:
        """Whether it sets the key, or the value that holds it."""
        node: object = self.values
        for part in path:
            if not isinstance(node, Mapping):
                break
            if part not in node:
                return False
            node = node[part]
        return True

    def name(self, path: tuple[str, ...]) -> str:
        """The variable or secret file that sets it; empty if there is none."""
        for length in range(len(path), 0, -1):
            wanted = variable(path[:length])
            for name, place in (self.names or {}).items():
                if name.upper() == wanted:
                    return place
        return ""


@dataclass(frozen=True, slots=True)
class _Origins:
    """Where the settings of an account come from; later layers win."""

    file: Path | None
    written: Keys
    layers: Sequence[_Layer]
    scope: tuple[str, ...] = ()

    def layer(self, path: tuple[str, ...]) -> _Layer | None:
        """The layer that has set the key; None for a default."""
        return next((each for each in reversed(self.layers) if each.sets(path)), None)

    def place(self, path: tuple[str, ...]) -> _Place:
        layer = self.layer(path)
        if layer is not None and layer.names is not None:
            return _Place(layer.name(path))
        if self.file is None:
            return _Place("")
        scope = layer.scope if layer is not None else self.scope
        return _Place(shown(self.file), *locate(self.written, scope + path))

    def named(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """The key as its source calls it: under the account, or for all of them."""
        layer = self.layer(path)
        return (layer.scope if layer is not None else self.scope) + path

    def from_file(self, path: tuple[str, ...]) -> bool:
        """Whether the value is from the file; true for a default, too, if there is a file."""
        layer = self.layer(path)
        return self.file is not None and (layer is None or layer.names is None)


def load(
    path: Path | None,
    environ: Mapping[str, str],
    secrets_dirs: Iterable[Path] = (),
    *,
    offline: bool = False,
) -> Settings:
    """The settings of a configuration with one account; arguments and errors of `load_accounts`."""
    accounts = load_accounts(path, environ, secrets_dirs, offline=offline)
    if len(accounts) > 1:
        raise ConfigError(f"the configuration has several accounts: {', '.join(accounts)}")
    return next(iter(accounts.values()))


def load_accounts(
    path: Path | None,
    environ: Mapping[str, str],
    secrets_dirs: Iterable[Path] = (),
    *,
    offline: bool = False,
) -> dict[str, Settings]:
    """The settings of that file (None: no file), environment and directories of secret files.

    By account, in the order of the file; "" is the one of a configuration without `[accounts]`.
    Commands that send nothing (`offline`) need no API key; it is empty if not given. Raises
    ConfigError whose text lists every problem, one per line, and shows no values.
    """
    problems: list[str] = []
    file = _written(path) if path is not None else Keys(1, 1)
    written = {entry.key: plain(entry.node) for entry in file}
    secret_values, secret_places = _secret_files(secrets_dirs, problems)
    variables = _encodable(environ, problems)
    # Variables win over secret files.
    sources = (secret_places, {name: name for name in variables})
    given = (_given(secret_values), _given(variables))
    tables = _tables(written.pop(ACCOUNTS), path, file, problems) if ACCOUNTS in written else None
    names = list(tables) if tables else named_accounts(chain(*given))
    if path is not None and tables is None and names:
        for values, places in zip(given, sources, strict=True):
            problems += _without_table(values, places, path)
    else:
        for places in reversed(sources):
            problems += _unknown_names(places, names)
    layers = [_Layer(written)]
    layers += [
        _Layer(_named(values), (), {name: places[name] for name in values})
        for values, places in zip(given, sources, strict=True)
    ]
    found: list[tuple[_Place, str]] = []
    accounts: dict[str, Settings] = {}
    origins: dict[str, _Origins] = {}
    for name in names if names or tables == {} else ("",):
        scope = (ACCOUNTS, name) if name else ()
        own = _own_layers(name, (tables or {}).get(name, {}), given, sources) if name else []
        origins[name] = its = _Origins(path, file, [*layers, *own], scope)
        found += [
            (its.place((section,)), f"{ACCOUNTS}.{name}.{section}: {_SHARED} [{section}]")
            for section in SHARED
            if any(layer.sets((section,)) for layer in own)
        ]
        try:
            accounts[name] = _settings(its, offline=offline)
        except ValidationError as error:
            details = error.errors(include_url=False)
            found += [(its.place(_path(each)), _problem(each, its)) for each in details]
    if not found:
        for name, key, said in clashes(accounts):
            found.append((origins[name].place(key), f"{'.'.join((ACCOUNTS, name, *key))}: {said}"))
    found.sort(key=lambda each: (each[0].line == 0, each))
    problems = [f"{place}{said}" for place, said in dict.fromkeys(found)] + problems
    problems += [
        f"{secret_places[name]}: it is empty"
        for name, value in secret_values.items()
        if not value and any(name.upper() in said for _, said in found)
    ]
    if not found and not offline:
        found_in = (network_problems(each, environ) for each in accounts.values())
        problems += dict.fromkeys(chain.from_iterable(found_in))
    if problems:
        raise ConfigError("\n".join(problems))
    return {name: each.of_account(name, names) for name, each in accounts.items()}


def _settings(origins: _Origins, *, offline: bool) -> Settings:
    """The settings of one account; raises ValidationError."""
    merged: dict[str, Any] = {"mouseflow": {}}
    for layer in origins.layers:
        kept = _without_others(merged, layer.values) if layer.scope else merged
        merged = _merged(kept, layer.values)
    if offline:
        _do_without_key(merged)
    read = _Sections(**merged)
    given = {name: getattr(read, name) for name in SECTIONS}
    chose = origins.layer(("web", "listen")) is not None
    return _anchored(Settings(**given, chose_address=chose), origins)


def _tables(
    node: object, path: Path | None, file: Keys, problems: list[str]
) -> dict[str, dict[str, Any]]:
    """What the file has for each account; notes what is no account."""
    tables: dict[str, dict[str, Any]] = {}
    if path is None or not isinstance(node, dict) or not node:
        problems.append(f"{_in_file(path, file, (ACCOUNTS,))}{ACCOUNTS}: {_WRITE_ACCOUNTS}")
        return {}
    for name, table in node.items():
        here = f"{_in_file(path, file, (ACCOUNTS, name))}{ACCOUNTS}.{_masked(name)}: "
        if not ACCOUNT.fullmatch(name):
            problems.append(f"{here}write a name of small letters, digits, - and single _")
        elif same := next((it for it in tables if folded(it) == folded(name)), ""):
            problems.append(f"{here}its variables would be those of {same}; choose another name")
        elif not isinstance(table, dict):
            problems.append(here + _WRITE_ACCOUNTS)
        else:
            tables[name] = table
    return tables


_WRITE_ACCOUNTS = "write a table for each account, such as [accounts.shop.mouseflow]"
_SHARED = "all accounts share it; write it under"


def _in_file(path: Path | None, file: Keys, key: tuple[str, ...]) -> _Place:
    return _Place("") if path is None else _Place(shown(path), *locate(file, key))


def _own_layers(
    account: str,
    table: Mapping[str, Any],
    given: Iterable[Mapping[str, str]],
    sources: Iterable[Mapping[str, str]],
) -> list[_Layer]:
    """The layers of one account."""
    scope = (ACCOUNTS, account)
    layers = [_Layer(table, scope)]
    for values, places in zip(given, sources, strict=True):
        own = {scoped(name)[1]: name for name in values if scoped(name)[0] == folded(account)}
        named = _named({rest: values[name] for rest, name in own.items()})
        layers.append(_Layer(named, scope, {rest: places[name] for rest, name in own.items()}))
    return layers


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
        merged["mouseflow"] = account | {"api_key": Secret("")}


def _anchored(settings: Settings, origins: _Origins) -> Settings:
    """Make paths from the file and defaults relative to the file's folder.

    An account without a store of its own has one beside the common one.
    """
    rules, store = settings.rules, settings.store
    folder = origins.file.parent if origins.file is not None else Path()
    if origins.from_file(("rules", "paths")):
        paths = tuple(beside(folder, path) for path in rules.paths)
        rules = replace(rules, paths=paths)
    url = url_beside(folder, store.url) if origins.from_file(("store", "url")) else store.url
    own = origins.layer(("store", "url"))
    if origins.scope and (own is None or not own.scope):
        url = url_of_account(url, origins.scope[1])
    return replace(settings, rules=rules, store=replace(store, url=url))


def _encodable(environ: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """The bot's variables; adds those that are not UTF-8 to the problems."""
    values: dict[str, str] = {}
    for name, value in environ.items():
        if shown(name + value) == name + value:
            values |= {name: value} if _is_ours(name) else {}
        elif _is_ours(name):
            problems.append(f"{shown(name)}: not UTF-8 text; set it again")
    return values


LONGEST_WAIT = 30.0
"""Seconds to wait for what is written into a pipe."""


def read_start(path: Path, most: int = MAX_BYTES + 1) -> bytes:
    """Up to `most` bytes of a file, a device or a pipe; raises OSError.

    Waits for those who write into the pipe, as in `<(sops -d …)`; when they are gone, or were never
    there, it is an error, not an endless wait.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    ready, end = select.poll(), time.monotonic() + LONGEST_WAIT
    ready.register(descriptor, select.POLLIN)
    found = bytearray()
    try:
        while len(found) < most:
            try:
                part = os.read(descriptor, most - len(found))
            except BlockingIOError:
                if not ready.poll(max(end - time.monotonic(), 0) * 1000):
                    raise OSError(0, f"nothing came for {LONGEST_WAIT:g} s") from None
                continue
            if not part:
                break
            found += part
        if not found and S_ISFIFO(os.fstat(descriptor).st_mode):
            raise OSError(0, "nobody writes into this pipe; what came out of it is gone")
    finally:
        os.close(descriptor)
    return bytes(found)


def _written(path: Path) -> Keys:
    """The file as nodes; raises ConfigError with the place."""
    name = shown(path)
    try:
        root = toml.parse(decoded(read_start(path)))
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
        raise ConfigError(
            f"{name}:{error.line}:{error.column}: {_masked(error.message)}; "
            "nothing else in this file was checked"
        ) from None
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
                    if _is_setting(name):
                        problems.append(f"{shown(file)}: can't be read: it is not a file")
                    continue
                data = read_start(file, _SECRET_FILE_LIMIT + 1)
                if len(data) > _SECRET_FILE_LIMIT:
                    problems.append(f"{shown(file)}: too big for a secret")
                    continue
                values[name] = data.decode().strip()
            except OSError as error:
                problems.append(f"{shown(file)}: can't be read: {error.strerror}{_help(error)}")
            except UnicodeDecodeError:
                problems.append(f"{shown(file)}: not UTF-8 text")
            else:
                places[name] = shown(file)
    return values, places


def _is_setting(name: str) -> bool:
    rest = scoped(name)[1]
    return _names_place(rest) or rest.upper() in map(variable, keys())


# Kubernetes sets these in every container next to a service called "bot".
_SERVICE_LINK = re.compile(r"BOT_(?:\w+_)?(?:SERVICE_(?:HOST|PORT)|PORT)(?:_\w+)?$")


def _is_ours(name: str) -> bool:
    upper = name.upper()
    return upper.startswith(PREFIX) and upper != "BOT_CONFIG" and not _SERVICE_LINK.match(upper)


def _unknown_names(places: Mapping[str, str], accounts: Sequence[str]) -> Iterator[str]:
    """What is wrong with names of variables or of secret files, each given with its place."""
    of = {folded(each): each for each in accounts}
    known = [variable(path) for path in keys()]
    for name, place in places.items():
        account, rest = scoped(name)
        if account and account not in of:
            near = difflib.get_close_matches(account, of, 1)
            meant = f"; did you mean {of[near[0]]}?" if near else ""
            yield f"{place}: unknown account {account.lower()}{meant}"
        elif rest.upper() not in known and not _names_place(rest):
            near = difflib.get_close_matches(rest.upper(), known, 1)
            meant = near[0] if near else ""
            if meant and account:
                meant = meant.replace(PREFIX, variable((ACCOUNTS, account, "")), 1)
            shown = meant if place == name else meant.lower()
            yield f"{place}: unknown setting" + (f"; did you mean {shown}?" if near else "")


def _without_table(values: Iterable[str], places: Mapping[str, str], path: Path) -> Iterator[str]:
    """An error for each variable or secret file of an account that the file does not have."""
    for name in values:
        if account := scoped(name)[0].lower():
            remedy = f"write it in {path.name}, or remove this"
            yield f"{places[name]}: no [{ACCOUNTS}.{account}]; {remedy}"


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


_INSTEAD = {
    "mouseflow": ({"region", "base_url"},),
    "slack": ({"bot_token", "webhook_url"}, {"app_token", "webhook_url"}),
}
"""Keys of which an account's own one replaces the other one of all accounts."""


def _without_others(before: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The sections without the keys in whose place the account has other ones."""
    left = dict(before)
    for section, pairs in _INSTEAD.items():
        had, has = before.get(section), own.get(section)
        if isinstance(had, dict) and isinstance(has, dict):
            gone = {key for pair in pairs for key in pair - set(has) if pair & set(has)}
            left[section] = {key: value for key, value in had.items() if key not in gone}
    return left


_UNKNOWN = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
"""A section, and a key of one."""
_PLAIN = {
    "string_type": "write a text in quotes",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
    "float_type": "write a number",
    "float_parsing": "write a number",
    "tuple_type": 'write a list, such as ["rules"]',
    "too_short": "needs at least one",
    "dataclass_type": "write a table with keys",
}


def _path(detail: ErrorDetails) -> tuple[str, ...]:
    return tuple(str(part) for part in detail["loc"])


def _problem(detail: ErrorDetails, origins: _Origins) -> str:
    path = _path(detail)
    named = origins.named(path)
    said = _words(path, detail, variable_of(named))
    name = ".".join(named)
    unknown = detail["type"] in _UNKNOWN and "did you mean" not in said
    return f"{_masked(name) if unknown else name}: {said}"


def _words(path: tuple[str, ...], detail: ErrorDetails, name: str) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _UNKNOWN:
        return ("unknown key" if len(path) > 1 else "unknown section") + _suggestion(path)
    blank = kind.endswith("_type") and path in _REQUIRED and detail["input"] is None
    if kind == "missing" or blank:
        return f"missing; write it here or set {name}" if len(path) > 1 else "missing"
    if kind == "literal_error":
        return f"write one of {str(context['expected']).replace(chr(39), '')}"
    if kind == "value_error":
        return str(context["error"])
    return _PLAIN.get(kind, detail["msg"])


_REQUIRED = {("mouseflow", "email"), ("mouseflow", "api_key")}


def _suggestion(path: tuple[str, ...]) -> str:
    """The closest key of the same section, else of any."""
    section, key = path[0], path[-1]
    beside = [k for s, k in keys() if s == section] if len(path) > 1 else list(SECTIONS)
    if near := difflib.get_close_matches(key, beside, 1):
        return f"; did you mean {near[0]}?"
    everywhere = {k: f"{s}.{k}" for s, k in keys()}
    if near := difflib.get_close_matches(key, everywhere, 1, 0.8):
        return f"; did you mean {everywhere[near[0]]}?"
    return ""
