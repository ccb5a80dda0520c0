"""Reads the configuration and rule files for the daemon, in a process of its own.

Reading rules takes seconds for a big file, and what a file may still do to a parser nobody knows.
So polls and deliveries go on meanwhile, and a file that takes too long or too much memory is an
error at that file. And what only reads files, such as pydantic, takes no memory for months.
"""

import asyncio
import gc
import os
import pickle
import resource
import signal
import sys
import traceback
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO

from msgspec import Struct

from bot.actions.base import Allowed
from bot.config import Settings
from bot.errors import BotError, ConfigError, Fault, RuleErrors
from bot.rules.files import disk
from bot.rules.model import RuleSet

PATIENCE = timedelta(seconds=60)
"""How long one file may take. The slowest known file of 1 MB takes 5 s."""

MEMORY = 512_000_000
"""Bytes that reading all files may take. The greediest known file of 1 MB takes 160 MB."""

MOST_CPU = 600
"""Seconds of CPU for all files; ends a process whose daemon was killed."""

MOST_STUCK = 3
"""Files that may fail in this way before the others are left unread."""


@dataclass(frozen=True, slots=True)
class RuleReader:
    """Reads rule files in this process, at once: for commands, which do nothing else meanwhile."""

    paths: Sequence[str | Path]
    allowed: Allowed

    async def signature(self) -> disk.Signature:
        """A value that changes when the files do."""
        return disk.signature(self.paths)

    async def contents(self) -> disk.Contents:
        """What is in the files; raises ConfigError."""
        return disk.contents(self.paths)

    async def read(
        self, files: disk.Files, unread: Iterable[Fault] = (), *, whole: bool = True
    ) -> RuleSet:
        """The rules, whose tests pass; raises RuleErrors with every error of every file.

        `whole`: there are no other rule files.
        """
        from bot.rules.files.load import read  # a daemon has another process for it

        return read(files, allowed=self.allowed, unread=unread, tested=True, whole=whole)


@dataclass(frozen=True, slots=True)
class ProcessReader(RuleReader):
    """Reads rule files in another process, and looks at the disk in another thread."""

    patience: timedelta = PATIENCE
    memory: int = MEMORY
    cpu: int = MOST_CPU
    started: list[Process] = field(default_factory=list)

    async def signature(self) -> disk.Signature:
        """A value that changes when the files do."""
        return await asyncio.to_thread(disk.signature, self.paths)

    async def contents(self) -> disk.Contents:
        """What is in the files; raises ConfigError."""
        return await asyncio.to_thread(disk.contents, self.paths)

    async def read(
        self, files: disk.Files, unread: Iterable[Fault] = (), *, whole: bool = True
    ) -> RuleSet:
        """The rules, whose tests pass; raises RuleErrors with every error of every file.

        Raises BotError if no process can read them now.
        """
        stuck: list[Fault] = []
        while True:
            left = [it for it in files if it[0] not in {fault.file for fault in stuck}]
            faults = (*unread, *stuck)
            if len(stuck) == MOST_STUCK:
                raise RuleErrors(faults)
            limits = (self.memory, self.cpu)
            answer = await self._ask(_Request(tuple(left), self.allowed, faults, whole, *limits))
            if isinstance(answer, Fault):
                stuck.append(answer)
            elif answer.rules is None:
                raise RuleErrors(answer.faults, answer.warnings)
            else:
                return answer.rules

    async def end_process(self) -> None:
        """End a process that `read` has not used."""
        while self.started:
            await end_process(self.started.pop())

    async def _ask(self, request: "_Request") -> "_Answer | Fault":
        """The answer of a process, or the error of the file that was too much for it."""
        child = self.started.pop() if self.started else await start_process()
        try:
            return await self._answer(child, request)
        finally:
            await end_process(child)

    async def _answer(self, child: Process, request: "_Request") -> "_Answer | Fault":
        loop, patience = asyncio.get_running_loop(), self.patience.total_seconds()
        name = ""
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()) as limit:  # until it has begun
                asking, answers = await _ask(child, request)
                asking.close()
                while line := await answers.readline():
                    limit.reschedule(loop.time() + patience)
                    if line == _DONE:
                        return _unpacked(await answers.read())
                    name = request.files[int(line)][0]
                status = await child.wait()
                reason = f"the process that read it ended with status {status}"
                if status == _NO_MEMORY:
                    reason = "it needs too much memory"
        except TimeoutError:
            reason = f"it took longer than {patience:g} s"
        if not name:
            raise BotError(f"the rule files can't be read now: {reason}")
        return Fault(name, 1, 1, "", f"this file could not be read: {reason}")


async def start_process() -> Process:
    """A process that reads files; it is ready after half a second. Raises BotError."""
    try:
        stdin = os.dup(0)  # the configuration may be /dev/stdin
        try:
            os.set_inheritable(stdin, True)
            read = f"from bot.rule_reader import main; main({stdin})"
            return await asyncio.create_subprocess_exec(
                sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {read}",
                stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True,
                close_fds=False,  # it may be another pipe, too, as from `<(sops -d …)`
            )  # fmt: skip
        finally:
            os.close(stdin)
    except OSError as error:
        raise BotError(f"no process can start to read files: {error}") from error


async def read_configuration(
    child: Process,
    path: Path | None,
    secrets_dirs: Iterable[Path],
    patience: timedelta | None = None,
) -> dict[str, Settings]:
    """What `load_accounts` returns, or raises, for this file and our environment.

    The process may read rule files afterwards. Raises BotError if this takes longer than
    `patience`, as with a pipe whose other end sends nothing.
    """
    try:
        async with asyncio.timeout(patience.total_seconds() if patience else None):
            asking, answers = await _ask(child, _Configuration(path, tuple(secrets_dirs)))
            length = int(await answers.readline())
            packed = await answers.readexactly(length)
    except TimeoutError:
        raise BotError("the configuration can't be read now: it takes too long") from None
    except (ValueError, asyncio.IncompleteReadError):
        asking.close()  # else it waits for the rule files
        status = await child.wait()
        reason = f"the process that read it ended with status {status}"
        raise BotError(f"the configuration can't be read now: {reason}") from None
    try:
        accounts, error = pickle.loads(packed)  # noqa: S301 - from a process of our own
    except Exception as wrong:  # whatever reading the other version's values may raise
        reason = "the bot on the disk is another version; restart"
        raise BotError(f"the configuration can't be read now: {reason}") from wrong
    if error is not None:
        raise error
    found: dict[str, Settings] = accounts
    return found


async def _ask(
    child: Process, request: object
) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
    """Send the request; its answer can be read now."""
    if child.stdin is None or child.stdout is None:
        raise TypeError("the process has no pipes")
    with suppress(ConnectionError):  # its exit status says more
        child.stdin.write(pickle.dumps(request))
        await child.stdin.drain()
    return child.stdin, child.stdout


def _unpacked(packed: bytes) -> "_Answer":
    """The answer; without the garbage collector, which would walk every rule made so far."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        answer: _Answer = pickle.loads(packed)  # noqa: S301 - from a process of our own
    finally:
        if collecting:
            gc.enable()
    return answer


async def end_process(child: Process) -> None:
    """End the process, whatever it does."""
    if child.returncode is None:
        # Not `child.kill`, which first asks whether the process has ended. If it has, asyncio
        # finds nothing to wait for, and logs an unknown process.
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
    await child.wait()


class Start(Struct, frozen=True):
    """The rules to start with, and the files that they are in.

    `errors` is what is wrong with the files on the disk, if these rules are not all of theirs:
    `incomplete` if they are those of the files without an error, else they were active before.
    """

    rules: RuleSet
    files: disk.Files
    errors: tuple[str, ...] = ()
    incomplete: bool = False


async def rules_at_start(reader: RuleReader, kept: Callable[[], Awaitable[disk.Files]]) -> Start:
    """The rules of the files; if they have errors, those of `kept`, which were active before.

    If these can't be used either, then every file without an error. Raises RuleErrors or
    ConfigError if nothing can run.
    """
    files: disk.Files = ()
    try:
        found = await reader.contents()
        files = found.files
        return Start(await reader.read(files, found.faults), files)
    except (RuleErrors, ConfigError) as error:
        first = error
    errors = tuple(str(first).splitlines())
    if before := await kept():
        with suppress(RuleErrors):
            return Start(await reader.read(before), before, errors)
    faults = first.faults if isinstance(first, RuleErrors) else ()
    while files := [it for it in files if it[0] not in {fault.file for fault in faults}]:
        try:
            rules = await reader.read(files, whole=False)
            return Start(rules, files, errors, incomplete=True)
        except RuleErrors as error:
            faults = error.faults
    raise first


def without_secrets(files: disk.Files, rules: RuleSet) -> disk.Files:
    """The files for the store, without the secrets of actions.

    None if one of these can't be found in their text.
    """
    each = [do for rule in rules.written for do in rule.do]
    each += [do for budget in rules.budgets for step in budget.steps for do in step.do]
    instead = {old.encode(): new.encode() for do in each for old, new in do.secrets.items()}
    if not all(any(secret in content for _, content in files) for secret in instead):
        return ()
    for secret in sorted(instead, key=len, reverse=True):  # one may be the beginning of another
        files = [(name, content.replace(secret, instead[secret])) for name, content in files]
    return files


class _Configuration(Struct, frozen=True):
    path: Path | None
    secrets_dirs: tuple[Path, ...]


class _Request(Struct, frozen=True):
    files: disk.Files
    allowed: Allowed
    unread: tuple[Fault, ...]
    whole: bool
    memory: int
    cpu: int


class _Answer(Struct, frozen=True):
    """The rules; None if there are errors."""

    rules: RuleSet | None
    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()


_DONE = b"done\n"
_NO_MEMORY = 70
"""The exit status of a process that has run out of memory."""


def main(stdin: int) -> None:
    """Read requests on stdin, and answer on stdout. `stdin` is a copy of the daemon's own.

    The configuration may be asked for first: its answer comes after its length. Then the rules: the
    number of each file comes when it is read, then the answer.
    """
    gc.disable()  # the process ends soon; rules are very many objects, none of them garbage
    asked = 0
    with suppress(OSError):  # a process that inherits no copy has no other stdin
        os.fstat(stdin)
        asked = os.dup(0)
        os.dup2(stdin, 0)
        os.close(stdin)
    with os.fdopen(asked, "rb") as requests:
        try:
            _answer_all(requests)
        except MemoryError:
            sys.exit(_NO_MEMORY)


def _answer_all(requests: IO[bytes]) -> None:
    request: _Configuration | _Request = pickle.load(requests)  # noqa: S301 - the daemon's
    if isinstance(request, _Configuration):
        answer = pickle.dumps(_accounts(request))
        sys.stdout.buffer.write(b"%d\n%s" % (len(answer), answer))
        sys.stdout.buffer.flush()
        from bot.rules.files import load  # noqa: F401 - ready before the rules are asked for

        with suppress(EOFError):
            _read_rules(pickle.load(requests))  # noqa: S301 - the daemon's
    else:
        _read_rules(request)


def _accounts(request: _Configuration) -> tuple[dict[str, Settings], Exception | None]:
    from bot.config.load import load_accounts

    try:
        return load_accounts(request.path, os.environ, request.secrets_dirs), None
    except ConfigError as error:
        return {}, ConfigError(str(error))
    except Exception:
        return {}, RuntimeError(traceback.format_exc())


def _read_rules(request: _Request) -> None:
    from bot.rules.files.load import read

    _limit(request.memory, request.cpu)
    numbers = {name: number for number, (name, _) in enumerate(request.files)}

    def say(line: bytes) -> None:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()

    try:
        rules = read(
            request.files,
            allowed=request.allowed,
            unread=request.unread,
            tested=True,
            whole=request.whole,
            begin=lambda name: say(b"%d\n" % numbers[name]),
        )
        answer = _Answer(rules)
    except RuleErrors as error:
        answer = _Answer(None, error.faults, error.warnings)
    say(_DONE + pickle.dumps(answer))


def _limit(memory: int, cpu: int) -> None:
    """Let everything else go first, and end if this becomes too much."""
    with suppress(OSError):
        os.nice(10)
    with suppress(OSError):  # if memory runs out, the system ends this process and not the daemon
        Path("/proc/self/oom_score_adj").write_text("1000")
    for limit, most in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CPU, cpu)):
        hard = resource.getrlimit(limit)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (least, hard))
