"""`python -m bot …` as a process of its own that starts at once, for tests of what it then does.

An interpreter that imports the bot takes a second of CPU, and so does the process in which the
daemon reads its rule files. So a worker of the suite starts one interpreter that imports all of it
and forks from that: each bot is a child of its test as any other, with its own arguments,
environment, folder and pipes, which can be stopped, frozen and killed.

What an interpreter does when it starts (encodings, the console script, what is imported) is tested
with real ones: `tests/cli/test_command_line.py`, `tests/cli/test_terminal_output.py`,
`tests/test_packaging.py`.
"""

import atexit
import ctypes
import gc
import inspect
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
LATE = ("bot.__main__", "bot.store.migrations")
"""What a bot imports only if it must."""

INHERITED = {"PYTHONPATH", "PYTHONTZPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
"""Variables of the interpreter that also work in a forked process."""

PR_SET_CHILD_SUBREAPER = 36


PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
REAL = subprocess.Popen


class Popen(REAL[Any]):
    """As in `subprocess`; forks `python -m …` and `python -c …` where that makes no difference."""

    def _execute_child(self, *given: Any) -> None:
        start = inspect.signature(REAL._execute_child).bind(self, *given).arguments
        environment = dict(os.environ if start["env"] is None else start["env"])
        if not _can_fork(start, environment):
            super()._execute_child(*given)
            return
        job = {
            "arguments": [os.fspath(it) for it in start["args"][1:]],
            "environment": environment,
            "folder": os.fspath(start["cwd"] or Path.cwd()),
            "session": start["start_new_session"],
        }
        pipes = [start[name] for name in PIPES]
        ends = [n if it == -1 else it for n, it in enumerate((pipes[0], pipes[3], pipes[5]))]
        self.pid = _forker().fork(job, ends)
        self._child_created = True
        self._close_pipe_fds(*pipes)


def run(command: Sequence[Any], *, timeout: float = 120, **options: Any) -> Any:
    """As `subprocess.run`, and what it printed is text."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with Popen(command, **(pipes | options)) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _can_fork(start: Mapping[str, Any], environment: Mapping[str, str]) -> bool:
    command = start["args"]
    return (
        sys.platform == "linux"
        and isinstance(command, list | tuple)
        and command[0] == sys.executable
        and command[1:2] in (["-m"], ["-c"], ("-m",), ("-c",))
        and not (start["preexec_fn"] or start["pass_fds"] or start["shell"])
        and not {it for it in environment if it.startswith(("PYTHON", "LC_"))} - INHERITED
        and environment.get("LANG", "C.UTF-8").upper().endswith("UTF-8")
    )


class Forker:
    """A process with the bot imported, and the way to it."""

    def __init__(self, way: socket.socket, process: "subprocess.Popen[Any] | None" = None) -> None:
        self._way, self._process = way, process
        self._lock = threading.Lock()

    def fork(self, job: Mapping[str, Any], ends: Sequence[int]) -> int:
        """The process of a job, now a child of this one; `ends` are its first three files."""
        with self._lock:
            socket.send_fds(self._way, [json.dumps(job).encode()], ends)
            return int(self._way.recv(100))

    def close(self) -> None:
        self._way.close()
        if self._process:
            self._process.wait()


_FORKERS: dict[int, Forker] = {}
"""By the process that uses it."""


def _forker() -> Forker:
    """The one of this process."""
    if found := _FORKERS.get(os.getpid()):
        return found
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with there:
        process = REAL([sys.executable, __file__], stdin=there)
    forker = _FORKERS[os.getpid()] = Forker(here, process)
    atexit.register(forker.close)
    return forker


def main() -> None:
    """Import the bot and fork from now on."""
    sys.path[0] = str(ROOT)
    import bot

    for module in pkgutil.walk_packages(bot.__path__, "bot."):
        if not module.name.startswith(LATE):
            import_module(module.name)
    import_module("mouseflow.simulator.server")
    from bot.store import in_memory_copy

    in_memory_copy("sqlite:///none.db").close()  # what is compiled once for all stores
    gc.collect()
    _fork_for(socket.socket(fileno=0))


def _fork_for(way: socket.socket) -> None:
    """Fork for each request until the other end is closed."""
    gc.freeze()
    while True:
        request, ends, _, _ = socket.recv_fds(way, 1_000_000, 3)
        if not request:
            return
        told, tell = os.pipe()
        between = os.fork()
        if not between:  # its child becomes one of the asking process, which is a subreaper
            if pid := os.fork():
                os.write(tell, b"%d" % pid)
                os._exit(0)
            _become(json.loads(request), ends)
        os.waitpid(between, 0)
        for it in (*ends, tell):
            os.close(it)
        with suppress(OSError):
            way.send(os.read(told, 100))
        os.close(told)


def _become(job: Mapping[str, Any], ends: Sequence[int]) -> NoReturn:
    """Be the process of that job."""
    if job["session"]:
        os.setsid()
    for number, end in enumerate(ends):
        os.dup2(end, number)
    os.closerange(3, max(1000, *ends) + 1)
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir(job["folder"])
    time.tzset()
    zoneinfo.reset_tzpath()
    tempfile.tempdir = None
    _open_standard_files()
    kind, what, *arguments = job["arguments"]
    paths = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:1] = [job["folder"] if kind == "-m" else "", *paths]
    sys.argv = [kind, *arguments]
    if "run" in arguments:  # it has other processes read its rule files
        _bring_along()
    program = partial(runpy.run_module, what, run_name="__main__", alter_sys=True)
    _leave(_status(program if kind == "-m" else partial(exec, what, {"__name__": "__main__"})))


def _open_standard_files() -> None:
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        file = open(  # noqa: SIM115 - until the end
            number, "w" if number else "r", encoding="utf-8", closefd=False,
            errors="backslashreplace" if number == 2 else "surrogateescape",
        )  # fmt: skip
        at_once = bool(os.environ.get("PYTHONUNBUFFERED"))
        if number:
            file.reconfigure(line_buffering=number == 2 or file.isatty(), write_through=at_once)
        setattr(sys, name, file)
        setattr(sys, f"__{name}__", file)


def _bring_along() -> None:
    """A process to fork from that is a child of this one, made while this one has one thread."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if not os.fork():
        here.close()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)  # the pipes of this process end with it
        _fork_for(there)
        os._exit(0)
    there.close()
    _FORKERS[os.getpid()] = Forker(here)
    subprocess.Popen = Popen  # type: ignore[misc]


def _status(program: Callable[[], object]) -> int:
    """Run it; how it ends, as an interpreter says it."""
    try:
        program()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException as error:
        traceback.print_exc()
        if isinstance(error, KeyboardInterrupt):
            return -signal.SIGINT
        return 1
    return 0


def _leave(status: int) -> NoReturn:
    """End as an interpreter does, but take no module apart."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    gc.collect()
    for file in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            file.flush()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


if __name__ == "__main__":
    main()
