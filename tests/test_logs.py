"""What log lines promise: one pipeline, no secret, nothing a visitor can bend."""

import io
import json
import logging
import re
import sys
import time
import warnings
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import structlog

from bot import logs

ROOT = Path(__file__).parents[1]
SECRETS = ("zq9-the-api-key", "web token with blanks")


@pytest.fixture(params=["json", "text"])
def lines(request: pytest.FixtureRequest, own_logging: None) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(request.param, "info", stream)
    logs.scrubber.register(SECRETS)
    return stream


@pytest.fixture
def own_logging():
    root = logging.getLogger()
    before = root.handlers[:], root.level
    filters = warnings.filters[:]
    yield
    root.handlers[:], level = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    warnings.filters[:] = filters
    structlog.reset_defaults()
    logs.scrubber.register(())


def leak() -> None:
    visitor = "jane@example.com"
    raise KeyError("xoxb-222-in-a-message zq9-the-api-key", len(visitor))


def test_no_secret_is_written_wherever_it_hides(lines: io.StringIO) -> None:
    log = structlog.get_logger("bot.test")
    log.info("poll.started", headers={"Authorization": "Basic dXNlcjpwYXNzd29yZA=="})
    log.info("poll.started", note="Bearer abcdefgh12345678", deep=[{"a": ("zq9-the-api-key",)}])
    log.info("zq9-the-api-key", url="https://me:hunter2@example.com/x")
    log.info("poll.started", api_key="open-sesame-1", **{"zq9-the-api-key": 1})
    log.info("x", hook="https://hooks.slack.com/services/T0/B0/abcdef", t="web token with blanks")
    logging.getLogger("slack_sdk").warning("got %s", "xoxp-3-3", extra={"token": "open-sesame-2"})
    try:
        leak()
    except KeyError:
        log.exception("poll.failed", request=KeyError("zq9-the-api-key"))
    out = lines.getvalue()
    hidden = (*SECRETS, "dXNlcj", "abcdefgh1234", "hunter2", "open-sesame", "xox", "abcdef")
    assert [secret for secret in hidden if secret in out] == []
    assert out.count(logs.STRUCK) >= 12
    assert "leak" in out  # the trace itself is there,
    assert "jane" not in out  # but no value of a variable


def test_a_visitors_text_stays_on_its_line_and_off_the_terminal(lines: io.StringIO) -> None:
    hostile = "a\x1b[2J\nlevel=error\rfake\u202egnp.exe\x9b31m\u2028end"
    structlog.get_logger("bot.test").info("poll.decided", page=hostile)
    out = lines.getvalue()
    assert out.count("\n") == 1
    for mark in ("\x1b", "\r", "\u202e", "\x9b", "\u2028"):
        assert mark not in out


def test_what_prints_nothing_is_escaped(lines: io.StringIO) -> None:
    unseen = "\u00ad\u061c\u115f\u180e\u200b\u200c\u2060\u2800\ufeff\ufff9\ufdd0\ud83d\U000e0041"
    structlog.get_logger("bot.test").info("poll.decided", page=f"/p{unseen}ay é 東 😀")
    assert [mark for mark in unseen if mark in lines.getvalue()] == []
    assert "é 東 😀" in lines.getvalue()
    assert logs.neutral("\u200b\U000e0041\x1b") == r"\u200b\U000e0041\x1b"


def test_a_huge_value_does_not_make_a_huge_line(lines: io.StringIO) -> None:
    structlog.get_logger("bot.test").info("poll.decided", agent="x" * 1_000_000)
    assert len(lines.getvalue()) < 10_000


def test_chatty_libraries_are_quiet_and_their_warnings_come_through(lines: io.StringIO) -> None:
    logging.getLogger("httpx").info("HTTP Request: GET https://example.com/?ip=1.2.3.4")
    logging.getLogger("apscheduler.executors.default").info("Running job")
    logging.getLogger("apscheduler.scheduler").warning("skipped")
    assert "1.2.3.4" not in lines.getvalue()
    assert "Running" not in lines.getvalue()
    assert "skipped" in lines.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


RECORDING = "baa8d784e852e66328b38db24018548d"
WEBSITE = "8fc2ace2-75bc-8ba4-b424-c8916670b990"


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_gets_short_lines_in_local_time(
    own_logging: None, monkeypatch: pytest.MonkeyPatch, no_color: str
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    logs.configure("auto", "info", stream := Terminal())
    log = structlog.get_logger("bot.test")
    log.info(
        "deliver.done", seconds=0.25, step=f"k/{WEBSITE}/{RECORDING}/tag-1", recording=RECORDING,
        rule="cart", reason="two words", action="tag", lane=f"mouseflow:{WEBSITE}", changed=[],
    )  # fmt: skip
    log.warning("poll.failed", why=None)
    shown = stream.getvalue()
    monkeypatch.undo()
    time.tzset()
    assert ("\x1b[" in shown) is (not no_color)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d  deliver\.done  rule=cart recording=baa8d784 seconds=0\.25 "
        r'step=k/8fc2ace2/baa8d784/tag-1 reason="two words"',
        lines[0],
    )
    assert datetime.now(timezone(timedelta(hours=2))).strftime("%H:") == lines[0][:3]
    assert lines[1][8:] == "  warning: poll.failed  why=null"


def test_a_long_line_wraps_at_words_on_a_terminal_alone(
    own_logging: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    for stream in (Terminal(), io.StringIO()):
        logs.configure("text", "info", stream)
        structlog.get_logger("bot.test").warning("poll.failed", reason="some words " * 12)
        lines = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).splitlines()
        if stream.isatty():
            assert [line[:10] for line in lines[1:]] == [" " * 10] * 3
            assert max(map(len, lines)) <= 60
            assert " ".join(" ".join(lines).split()).count("some words") == 12
        else:
            assert len(lines) == 1


def test_json_lines_begin_with_when_how_bad_and_what(own_logging: None) -> None:
    stream = io.StringIO()
    logs.configure("auto", "info", stream)
    with structlog.contextvars.bound_contextvars(rule="checkout"):
        structlog.get_logger("bot.poll").info("poll.decided", count=3)
    structlog.get_logger("bot.poll").debug("poll.idle")
    (line,) = stream.getvalue().splitlines()
    read = json.loads(line)
    assert list(read)[:3] == ["timestamp", "level", "event"]
    assert (read["event"], read["rule"], read["count"]) == ("poll.decided", "checkout", 3)
    assert read["logger"] == "bot.poll"


def test_python_warnings_become_log_lines(lines: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning(UserWarning("old thing"), UserWarning, "x.py", 1)
    assert "old thing" in lines.getvalue()


def test_a_text_for_people_keeps_its_lines_and_loses_its_secrets(own_logging: None) -> None:
    logs.scrubber.register(["zq9-the-api-key"])
    assert logs.presentable("one\ntwo\x1b[0m zq9-the-api-key") == "one\ntwo\\x1b[0m [redacted]"


def test_a_short_secret_does_not_strike_out_words(own_logging: None) -> None:
    logs.scrubber.register(["a", "abc"])
    assert logs.presentable("abacus abc") == "abacus abc"


def test_the_longest_of_nested_secrets_is_struck_out_whole() -> None:
    scrubber = logs.Scrubber(["secret", "secret-and-more"])
    assert scrubber.text("x secret-and-more y") == "x [redacted] y"


def test_standard_error_is_where_records_go(
    capsys: pytest.CaptureFixture[str], own_logging: None
) -> None:
    logs.configure("json", "warning", sys.stderr)
    structlog.get_logger("bot.x").warning("x.y")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "x.y"


def test_the_docs_list_every_log_event():
    # Some functions choose the level (`tell`) or repeat nothing (`_warn`) before they log.
    call = re.compile(r'\b(?:log\.\w+|tell|_warn)\(\s*"([a-z]+\.[a-z_]+)"')
    sources = [path.read_text() for path in (ROOT / "bot").rglob("*.py")]
    emitted = {event for source in sources for event in call.findall(source)}
    table = (
        (ROOT / "docs" / "reference" / "operations.md").read_text().split("### Log events", 1)[1]
    )
    listed = set(re.findall(r"`([a-z]+\.[a-z_]+)`", table.split("\n## ", 1)[0]))
    assert emitted == listed
