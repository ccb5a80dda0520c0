"""What people see in a terminal: width, colour, encoding, help and completion, as real commands."""

import codecs
import contextlib
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from datetime import UTC, datetime, timedelta, timezone
from fcntl import ioctl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.cli.main import COMMANDS, main
from bot.cli.output import ago, line, moment
from bot.cli.simulate import EXAMPLE, show_posts
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.slack import post_message

ROOT = Path(__file__).parents[2]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
WIDTHS = (60, 80, 120)


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BOT_")}
    kept |= {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **more}
    return {
        name: value for name, value in kept.items() if name not in ("COLUMNS", "NO_COLOR")
    } | more


def in_terminal(*arguments, cwd, columns=80, program=("-m", "bot"), **more):
    """What the command writes to a terminal that is so wide."""
    mine, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, *program, *arguments],
        cwd=cwd, env=environment(**more), stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    # Reading fails with EIO once the terminal's other side is closed.
    with contextlib.suppress(OSError), os.fdopen(mine, "rb", buffering=0) as screen:
        while piece := screen.read(65536):
            shown += piece
    assert process.wait(60) in (0, 1, 2)
    return shown.decode().replace("\r\n", "\n")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/mine.yaml").write_text(
        "version: 1\nrules:\n  one:\n    watch: recordings\n"
        "    when: {frction: {min: 2}, saw_page: /checkout*}\n    do: {star: true}\n"
        "  two:\n    watch: recordings\n    when: {friction: {min: 200}}\n    do: {star: true}\n"
        "    tests: [{name: no friction, given: {friction: 1}, expect: match}]\n"
    )
    return tmp_path


@pytest.mark.parametrize("columns", WIDTHS)
def test_lines_wrap_at_words_and_fit_the_terminal(place, columns):
    shown = ESCAPES.sub("", in_terminal("check", "rules", cwd=place, columns=columns))
    assert max(map(len, shown.splitlines())) <= columns
    words = " ".join(shown.split())
    assert "unknown field; did you mean friction?" in words
    assert "[friction-scale]" in words


@pytest.mark.parametrize("columns", WIDTHS)
def test_the_help_of_every_command_fits_the_terminal(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    for command in ((), *((name,) for name in COMMANDS)):
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        shown = capsys.readouterr().out
        wide = [it for it in shown.splitlines() if len(it) > columns and "://" not in it]
        assert wide == [], command
        assert f"usage: {' '.join(('mouseflow-bot', *command))}" in shown


def test_an_example_that_wraps_can_still_be_pasted(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit):
        main(["simulate", "--help"])
    example = capsys.readouterr().out.partition("example:\n")[2]
    pasted = example.replace("\\\n", "").splitlines()
    commands = [" ".join(it.split()) for it in pasted if not it.lstrip().startswith("#")]
    assert commands == [line.partition("  #")[0].rstrip() for line in EXAMPLE.splitlines()]


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explain", "a-rule", "r1", "--config", "nowhere/there/is/one/config.toml"],
         "`mouseflow-bot init` creates one"),
        (["check", "--nothing-like-this"], "there is no option --nothing-like-this; see"),
    ],
)  # fmt: skip
def test_errors_fit_the_terminal(columns, arguments, said, tmp_path):
    shown = ESCAPES.sub("", in_terminal(*arguments, cwd=tmp_path, columns=columns))
    assert max(map(len, shown.splitlines())) <= columns
    assert said in " ".join(shown.split())


def test_an_address_stays_whole_in_every_width(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    address = "https://app.mouseflow.com/websites/w1/recordings/baa8d784e852e66328b38db2/play"
    line(f"[Watch recording] {address} and more", "    │ ")
    line("x" * 100, "    │ ")
    shown = ESCAPES.sub("", capsys.readouterr().out).splitlines()
    assert shown[:3] == ["    │ [Watch recording]", f"    │ {address}", "    │ and more"]
    assert max(map(len, shown[3:])) <= 60


def test_what_is_not_there_is_no_alarm(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for number in (0, 1, 10):
        line(f"{number} dead letters")
        assert ("\x1b[31m" in capsys.readouterr().out) is (number > 0)


def test_the_simulators_messages_wrap_behind_their_edge(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    simulator = Simulator()
    post_message(simulator.slack, {"channel": "#ops", "text": "word " * 30})
    show_posts(simulator, {}, "")
    shown = capsys.readouterr().err.splitlines()
    assert shown[:2] == ["", "#ops"]
    assert all(each.startswith("  │ word") and len(each) <= 60 for each in shown[2:])
    assert len(shown) == 5


def test_a_pipe_gets_whole_lines_without_colour(place):
    told = subprocess.run(
        [sys.executable, "-m", "bot", "check", "rules"],
        cwd=place, env=environment(COLUMNS="40"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "\x1b" not in told.stdout + told.stderr
    assert max(map(len, (told.stdout + told.stderr).splitlines())) > 60


def test_colours_are_for_terminals_and_no_color_turns_them_off(place):
    arguments = ("test", "rules/mine.yaml", "--rule", "two")
    (place / "rules/mine.yaml").write_text(
        (place / "rules/mine.yaml").read_text().replace("frction", "friction")
    )
    assert "\x1b[31m✗" in in_terminal(*arguments, cwd=place)
    assert "\x1b[3" not in in_terminal(*arguments, cwd=place, NO_COLOR="1")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_an_encoding_that_lacks_a_symbol_gets_another(place, encoding):
    told = subprocess.run(
        [sys.executable, "-m", "bot", "test", "rules/mine.yaml", "--rule", "two"],
        cwd=place, env=environment(PYTHONIOENCODING=encoding), capture_output=True, check=False,
    )  # fmt: skip
    assert told.returncode == 1
    assert b"Traceback" not in told.stderr
    codecs.decode(told.stdout, encoding)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chekc"], "no command chekc; did you mean check? See mouseflow-bot --help"),
        (["export", "recording"], "websites; did you mean recordings? See mouseflow-bot export"),
        (["check", "--onlin"], "there is no option --onlin; did you mean --online?"),
        (["healthcheck", "now"], "unexpected argument now"),
        (["--versoin"], "there is no option --versoin; did you mean --version?"),
        (["-x"], "there is no option -x; see mouseflow-bot --help"),
        (["history", "--since", "yesterday"], "--since: yesterday: write 2h, 7d, or a time"),
        ([], "usage: mouseflow-bot"),
    ],
)
def test_what_is_misspelt_is_named_with_what_was_meant(arguments, said, capsys):
    try:
        code = main(arguments)
    except SystemExit as left:
        code = left.code
    error = capsys.readouterr().err
    assert code == 2
    assert said in error
    assert len(arguments) < 2 or f"usage: mouseflow-bot {arguments[0]}" in error
    assert "required: COMMAND" not in error


def test_help_of_help_is_the_help(capsys):
    for arguments in (["help", "help"], ["help"], ["--help"], ["help", "--help"]):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 0
        assert "see it work, no account needed" in " ".join(capsys.readouterr().out.split())


def test_help_of_a_command_can_be_asked_for_in_words(capsys):
    for arguments in (["help", "check"], ["check", "--help"]):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 0
    shown = capsys.readouterr().out
    half = len(shown) // 2
    assert shown[:half] == shown[half:]


@pytest.mark.parametrize("argument", ["\udcff", "half \ud83d"])
def test_an_argument_that_is_not_text_is_refused(argument, capsys):
    assert main(["history", "--rule", argument]) == 1
    assert "is not valid UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_a_shell_names_the_command(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "mouseflow-bot" in capsys.readouterr().out


def completed(line, tmp_path):
    """What the shell would be offered at the end of the line."""
    out = tmp_path / "offered"
    subprocess.run(
        [sys.executable, "-m", "bot"],
        env=environment(
            _ARGCOMPLETE="1", _ARGCOMPLETE_IFS=" ", _ARGCOMPLETE_STDOUT_FILENAME=str(out),
            COMP_LINE=line, COMP_POINT=str(len(line)), COMP_TYPE="9",
        ),
        check=True, capture_output=True,
    )  # fmt: skip
    return {word.strip() for word in out.read_text().split()}


def test_commands_and_options_are_completed(tmp_path):
    assert completed("mouseflow-bot sn", tmp_path) == {"snooze"}
    assert completed("mouseflow-bot ", tmp_path) >= set(COMMANDS)
    assert completed("mouseflow-bot check --on", tmp_path) == {"--online"}


@given(
    st.integers(86_400, 4_102_444_800).map(lambda at: datetime.fromtimestamp(at, UTC)),
    st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
def test_a_printed_moment_is_the_same_instant_in_every_zone(at, zone):
    printed = moment(at.astimezone(zone))
    assert datetime.strptime(printed, "%Y-%m-%d %H:%M:%SZ").replace(tzinfo=UTC) == at


BUSY = """
from bot.cli import output
with output.busy("asking Mouseflow", after={after}):
    pass
print("the answer")
"""


def test_a_long_command_shows_that_it_works_and_leaves_nothing_of_it_behind(tmp_path):
    program = tmp_path / "busy.py"
    for after, shows in ((0, True), (60, False)):
        program.write_text(BUSY.format(after=after))
        shown = in_terminal(program=[str(program)], cwd=tmp_path)
        assert ("asking Mouseflow" in shown) is shows
        assert shown.endswith("the answer\n")
    piped = subprocess.run(
        [sys.executable, program], env=environment(), capture_output=True, text=True, check=True
    )
    assert (piped.stdout, piped.stderr) == ("the answer\n", "")


def test_a_log_line_does_not_break_into_the_sign_of_work(tmp_path):
    program = tmp_path / "busy.py"
    program.write_text(
        "import structlog\nfrom bot import logs\nfrom bot.cli import output\n"
        "logs.configure()\n"
        "with output.busy('polling', after=0):\n"
        "    structlog.get_logger().info('poll.decided', website='myshop.com')\n"
    )
    shown = ESCAPES.sub("", in_terminal(program=[str(program)], cwd=tmp_path))
    (line,) = [it for it in shown.split("\n") if "poll.decided" in it]
    assert re.fullmatch(r"(.*\r)?\d\d:\d\d:\d\d  poll.decided  website=myshop.com *", line)


@pytest.mark.parametrize("command", ["schema", "completion bash", "check"])
def test_a_full_disk_is_no_internal_error(command, tmp_path):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "bot", *command.split()],
            cwd=tmp_path, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "the output: No space left on device\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_output_is_no_internal_error(closed, tmp_path):
    """As a service manager may start it. No file may take the number of the closed one."""
    script = "import sys; from bot.cli.main import main; code = main(['schema']);" + (
        "print(open('opened', 'w').fileno() > 2, file=open('said', 'w')); sys.exit(code)"
    )
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, script],
        cwd=tmp_path, env=environment(), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "said").read_text() == "True\n"


def test_what_happened_just_now_is_not_in_the_future():
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    assert ago(now + timedelta(milliseconds=300), now) == "0s ago"
    assert ago(now - timedelta(milliseconds=300), now) == "0s ago"
    assert ago(now + timedelta(seconds=1), now) == "in 1s"
