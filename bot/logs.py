"""Logging: one pipeline for all records; secrets are redacted last.

The only module that configures structlog. JSON lines for programs, text on a terminal. The
events are listed in `docs/reference/operations.md`.
"""

import json
import logging
import os
import re
import shutil
import sys
import textwrap
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, TextIO

from bot.messages.text import prints_nothing


@contextmanager
def _without_terminal_libraries() -> Iterator[None]:
    """Within, imports leave out what only a terminal needs: a seventh of a command's start.

    structlog imports coloured tracebacks, and httpx its command line, with rich, click and
    pygments. A module that is None cannot be imported (Python's documentation, "The import
    system", 5.3.1), which both libraries take for "not installed".
    """
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    hidden = not sys.stderr.isatty() and "rich" not in sys.modules
    if hidden:
        sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules["rich"]


with _without_terminal_libraries():
    import structlog
    from structlog.stdlib import ProcessorFormatter
    from structlog.types import Processor

QUIET = (
    "httpx",
    "httpcore",
    "apscheduler",
    "slack_sdk",
    "aiohttp",
    "asyncio",
    "uvicorn",
    "alembic",
    "urllib3",
)
"""Libraries that log only warnings and worse: their other logs contain URLs with queries."""

STRUCK = "[redacted]"
_PATTERNS = re.compile(
    r"xox[a-z](?:\.xox[a-z])?-[\w-]+|xapp-[\w-]+"  # Slack's tokens
    r"|(?i:basic|bearer)\s+[\w+/=.~-]{8,}"
    r"|hooks\.slack\.com/(?:services|workflows|triggers)/[^\s\"'<>]+"
    r"|(?<=://)[^\s/@:]*:[^\s/@]+(?=@)"  # user and password in an address
)
_KEYS = re.compile(
    r"(?i)^(authorization|cookie|set-cookie)$|(^|[_-])(api_?key|token|password|secret|webhook_url)$"
)


class _Escapes(dict[int, str]):
    """Escapes what moves a terminal's cursor, fakes a line, reorders text or prints nothing."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        shown = letter
        if unicodedata.category(letter) in ("Cc", "Zl", "Zp") or prints_nothing(letter):
            shown = letter.encode("ascii", "backslashreplace").decode()
            shown = f"\\x{code:02x}" if code < 0x80 else shown
        if code < 0x3000:
            self[code] = shown
        return shown


_LINES = _Escapes({9: "\t", 10: "\n"})
_LINE = _Escapes({9: "\\t", 10: "\\n"})
_DEPTH = 6
_LONGEST = 8192


class Scrubber:
    """Redacts secrets in texts: what looks like one, and the values registered here."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._exact: re.Pattern[str] | None = None
        self._of: dict[str, frozenset[str]] = {}
        self.register(secrets)

    def register(self, secrets: Iterable[str], account: str = "") -> None:
        """Redact these values from now on, in place of those that the account had before.

        Values under four characters are ignored.
        """
        self._of[account] = frozenset(each for each in secrets if len(each) >= 4)
        known = sorted(frozenset().union(*self._of.values()), key=len, reverse=True)
        self._exact = re.compile("|".join(map(re.escape, known))) if known else None

    def text(self, text: str) -> str:
        """The text without secrets."""
        if self._exact is not None:
            text = self._exact.sub(STRUCK, text)
        return _PATTERNS.sub(STRUCK, text)

    def value(self, value: Any, depth: int = 0) -> Any:
        """A value of an event without secrets, as plain JSON values."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if depth > _DEPTH:
            return "..."
        if isinstance(value, Mapping):
            return {
                self.text(str(key)): STRUCK
                if _KEYS.search(str(key))
                else self.value(each, depth + 1)
                for key, each in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(each, depth + 1) for each in value]
        return self.text(value if isinstance(value, str) else str(value))


scrubber = Scrubber()
"""The process's scrubber: commands register the configured secrets at their start."""


def neutral(text: str, longest: int = _LONGEST) -> str:
    """The text on one line, safe for a terminal: control and hidden marks are escaped."""
    if len(text) > longest:
        text = text[:longest] + "..."
    return text.translate(_LINE)


def presentable(text: str) -> str:
    """A text of several lines for a terminal: without secrets, control marks escaped."""
    return scrubber.text(text).translate(_LINES)


def width(stream: TextIO) -> int:
    """Columns of the stream's terminal; 80 if it has none."""
    columns = shutil.get_terminal_size((0, 0)).columns  # COLUMNS, else standard output's terminal
    with suppress(OSError, ValueError):
        columns = columns or os.get_terminal_size(stream.fileno()).columns
    return columns or 80


class _Wrapper(textwrap.TextWrapper):
    """Wraps at words; a URL stays whole on a line of its own, so that a click opens it."""

    def _handle_long_word(
        self, reversed_chunks: list[str], cur_line: list[str], cur_len: int, width: int
    ) -> None:
        if "://" not in reversed_chunks[-1]:
            super()._handle_long_word(reversed_chunks, cur_line, cur_len, width)
        elif not cur_line:
            cur_line.append(reversed_chunks.pop())


def wrapped(text: str, hanging: str, stream: TextIO) -> list[str]:
    """The text in lines that fit the stream's terminal, all but the first after `hanging`."""
    wrapper = _Wrapper(width(stream), subsequent_indent=hanging, break_on_hyphens=False)
    return wrapper.wrap(text) or [""]


def _redacted(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Redact; the last step before writing, so that nothing is added after it."""
    return {**scrubber.value(event)}


def _neutralised(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: _neutral_value(value, key == "exception") for key, value in event.items()}


def _ordered(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put timestamp, level and event first."""
    return {key: event[key] for key in ("timestamp", "level", "event") if key in event} | {**event}


def _neutral_value(value: Any, lines: bool = False) -> Any:
    if isinstance(value, str):
        return value.translate(_LINES) if lines else neutral(value)
    if isinstance(value, dict):
        return {neutral(key): _neutral_value(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_neutral_value(each) for each in value]
    return value


class _Stderr:
    """Standard error as it is at each line: a sign of work on the terminal replaces it."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure(style: str = "auto", level: str = "info", stream: TextIO | None = None) -> None:
    """Send every record to `stream` (standard error); `style` is auto, json or text."""
    terminal = (stream or sys.stderr).isatty()
    as_json = style == "json" or (style == "auto" and not terminal)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    target = logging.StreamHandler(stream or _Stderr())
    target.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                ProcessorFormatter.remove_processors_meta,
                *(_json() if as_json else _text(stream or sys.stderr)),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [target]
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("mouseflow").setLevel(logging.ERROR)  # the bot logs its outages itself
    logging.captureWarnings(capture=True)
    warnings.simplefilter("default", DeprecationWarning)


@contextmanager
def hushed(name: str) -> Iterator[None]:
    """Silence that logger and those below it."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _json() -> list[Processor]:
    return [
        structlog.processors.ExceptionRenderer(
            # Local variables contain tokens and personal data.
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
        ),
        _redacted,
        _neutralised,
        _ordered,
        structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
    ]


def _text(stream: TextIO) -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        _redacted,
        _neutralised,
        partial(_line, terminal=stream if stream.isatty() else None),
    ]


_FIRST = ("account", "website", "rule", "recording")
_IN_STEP = ("action", "lane")
"""What a terminal does not show beside `step`, which names both."""
_ID = re.compile(r"\b([0-9a-f]{8})(?:[0-9a-f]{12,}|(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b")
_COLOURS = {"debug": "2", "warning": "33", "error": "31", "critical": "31"}


def _line(_: object, __: str, event: MutableMapping[str, Any], *, terminal: TextIO | None) -> str:
    """`14:00:05  deliver.done  rule=cart recording=baa8d784 seconds=0.2`, for people.

    The time is local; ids are cut to what commands accept. On a terminal the line lacks the date
    and empty values, and wraps at words.
    """
    at = datetime.fromisoformat(event.pop("timestamp")).astimezone()
    level, name = event.pop("level"), event.pop("event")
    event.pop("logger", None)
    trace = event.pop("exception", "")
    label = "" if level == "info" else f"{level}: "
    keys = [*(key for key in _FIRST if key in event), *(key for key in event if key not in _FIRST)]
    if terminal:
        hidden = _IN_STEP if "step" in event else ()
        keys = [key for key in keys if key not in hidden and event[key] not in ("", [], {})]
    values = " ".join(f"{key}={_short(event[key])}" for key in keys)
    clock = f"{at:%H:%M:%S}" if terminal else f"{at:%Y-%m-%d %H:%M:%S}"
    text = "  ".join(filter(None, (clock, f"{label}{name}", values)))
    if terminal:
        text = "\n".join(wrapped(text, " " * 10, terminal))
        if not os.environ.get("NO_COLOR"):
            bold = f"\x1b[1m{name}\x1b[0m"
            shown = f"\x1b[{_COLOURS[level]}m{label}\x1b[0m{bold}" if label else bold
            text = text.replace(f"{label}{name}", shown, 1)
    return text + (trace and f"\n{trace}")


def _short(value: Any) -> str:
    plain = isinstance(value, str) and value and not re.search(r'[\s="]', value)
    text = value if plain else json.dumps(value, ensure_ascii=False, default=str)
    return _ID.sub(r"\1", text)
