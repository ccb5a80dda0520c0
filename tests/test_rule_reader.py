"""Rule files are read in a process of their own, which may take only so much time and memory."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import bot_process
import pytest

from bot.config.load import load_accounts
from bot.config.settings import allowed
from bot.errors import BotError, ConfigError, RuleErrors
from bot.rule_reader import (
    ProcessReader,
    RuleReader,
    end_process,
    read_configuration,
    start_process,
)
from bot.rules.files.actions import Allowed

GOOD = b"""
version: 1
rules:
  on-the-phone:
    watch: recordings
    when: {device: phone}
    do: {tag: phone}
"""
SLOW = b"version: 1\nrules:\n" + b"".join(b"  r%d:\n    watch: pages\n" % n for n in range(36_000))


def apart(**limits):
    return ProcessReader([], Allowed(delete=True), **limits)


def shown(error):
    return [f"{fault.file}:{fault.line}: {fault.message}" for fault in error.value.faults]


async def test_the_process_and_the_commands_say_the_same_of_every_file():
    files = [
        ("a.yaml", GOOD),
        ("b.toml", b"version = 1\n[rules.b]\nwatch = 'recording'\n"),
        ("c.yaml", GOOD.replace(b"on-the", b"in-the") + b"    tests: [{given: {device: phone}}]\n"),
        ("d.yaml", b"\xff"),
    ]
    here = RuleReader([], Allowed(delete=True))
    with pytest.raises(RuleErrors) as one:
        await here.read(files)
    with pytest.raises(RuleErrors) as other:
        await apart().read(files)
    assert one.value.faults == other.value.faults
    assert one.value.warnings == other.value.warnings
    assert await here.read(files[:1]) == await apart().read(files[:1])


async def test_a_file_that_takes_too_long_is_an_error_and_the_others_are_read():
    files = [("a.yaml", GOOD), ("slow.yaml", SLOW), ("z.yaml", b"rules: 1")]
    with pytest.raises(RuleErrors) as error:
        await apart(patience=timedelta(seconds=2)).read(files)
    said = shown(error)
    assert said[0] == "slow.yaml:1: this file could not be read: it took longer than 2 s"
    assert {line.partition(":")[0] for line in said} == {"slow.yaml", "z.yaml"}


async def test_a_file_that_takes_too_much_memory_is_an_error_and_the_others_are_read():
    files = [("a.yaml", GOOD), ("big.yaml", SLOW), ("z.yaml", b"rules: 1")]
    with pytest.raises(RuleErrors) as error:
        await apart(memory=60_000_000).read(files)
    said = shown(error)
    # Near its limit a process may also be busy with looking for memory until it is ended.
    why = "needs too much memory|ended with status|took longer"
    assert re.match(f"big.yaml:1: this file .*({why})", said[0])
    assert {line.partition(":")[0] for line in said} == {"big.yaml", "z.yaml"}


def children():
    own = os.getpid()
    return [int(pid) for pid in Path(f"/proc/self/task/{own}/children").read_text().split()]


needs_proc = pytest.mark.skipif(
    not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="no /proc"
)


@needs_proc
async def test_polls_go_on_while_a_big_file_is_read():
    before = children()
    reading = asyncio.create_task(apart().read([("a.yaml", SLOW[:300_000])]))
    while children() == before and not reading.done():  # noqa: ASYNC110 - nothing else tells
        await asyncio.sleep(0.01)
    (child,) = set(children()) - set(before)
    os.kill(child, signal.SIGSTOP)
    for _ in range(10):
        await asyncio.sleep(0.01)
    assert not reading.done()
    os.kill(child, signal.SIGCONT)
    with pytest.raises(RuleErrors):
        await reading


async def test_a_process_that_dies_costs_the_file_that_it_was_reading():
    with pytest.raises(RuleErrors) as error:
        await apart(cpu=2).read([("a.yaml", GOOD), ("slow.yaml", SLOW)])
    assert shown(error) == [
        "slow.yaml:1: this file could not be read: the process that read it ended with status -24"
    ]


@needs_proc
async def test_no_process_is_left_when_the_daemon_stops_while_it_reads():
    before = children()
    reading = asyncio.create_task(apart().read([("slow.yaml", SLOW)]))
    while children() == before:  # noqa: ASYNC110 - nothing else tells
        await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert children() == before


async def test_the_end_of_a_process_is_no_warning(caplog, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", bot_process.Popen)
    for _ in range(10):  # some have ended by themselves before they are ended
        assert len((await apart().read([("a.yaml", GOOD)])).rules) == 1
    assert [record.getMessage() for record in caplog.records] == []


async def test_without_a_process_nothing_is_said_of_the_files(monkeypatch):
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(BotError, match="no process can start") as error:
        await apart().read([("a.yaml", GOOD)])
    assert not isinstance(error.value, RuleErrors)
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(BotError, match=r"can't be read now: .* ended with status 1"):
        await apart().read([("a.yaml", GOOD)])


CONFIGURATION = """
[mouseflow]
region = "eu"
email = "bot@example.com"
api_key = "zq9-the-api-key"

[slack]
bot_token = "xoxb-1"
channels = {critical = "#incidents"}

[quiet]
hours = "20:00-07:00"
"""


async def configured(path):
    child = await start_process()
    try:
        return await read_configuration(child, path, [])
    finally:
        await end_process(child)


async def test_one_process_reads_the_configuration_and_then_the_rules(tmp_path, monkeypatch):
    monkeypatch.setenv("BOT_STORE__KEEP", "30d")
    path = tmp_path / "config.toml"
    path.write_text(CONFIGURATION)
    child = await start_process()
    accounts = await read_configuration(child, path, [])
    assert accounts == load_accounts(path, os.environ, [])
    assert accounts[""].store.keep == timedelta(days=30)
    reader = ProcessReader([], allowed(accounts[""]), started=[child])
    assert [rule.id for rule in (await reader.read([("a.yaml", GOOD)])).rules] == ["on-the-phone"]
    assert child.returncode is not None


async def test_the_process_and_the_commands_say_the_same_of_every_configuration(tmp_path):
    path = tmp_path / "config.toml"
    for text in ("", CONFIGURATION + "[web]\nlisten = 'x'\nports = 1\n", "[slack", "[accounts]\n"):
        path.write_text(text)
        with pytest.raises(ConfigError) as one:
            load_accounts(path, os.environ, [])
        with pytest.raises(ConfigError) as other:
            await configured(path)
        assert str(one.value) == str(other.value)


async def test_the_configuration_may_be_a_pipe():
    given, written = os.pipe()
    os.set_inheritable(given, True)
    os.write(written, CONFIGURATION.encode())
    os.close(written)
    try:
        accounts = await configured(Path(f"/dev/fd/{given}"))
    finally:
        os.close(given)
    assert accounts[""].mouseflow.email == "bot@example.com"


async def test_the_configuration_may_come_from_stdin(tmp_path):
    (tmp_path / "config.toml").write_text(CONFIGURATION)
    before = os.dup(0)
    with (tmp_path / "config.toml").open() as given:
        os.dup2(given.fileno(), 0)
    try:
        for _ in range(2):  # also at SIGHUP
            accounts = await configured(Path("/dev/stdin"))
            assert accounts[""].mouseflow.email == "bot@example.com"
    finally:
        os.dup2(before, 0)
        os.close(before)


async def test_a_configuration_that_takes_too_long_is_an_error(tmp_path):
    os.mkfifo(tmp_path / "config.toml")
    writes = os.open(tmp_path / "config.toml", os.O_RDWR)  # but nothing
    child = await start_process()
    try:
        with pytest.raises(BotError, match="takes too long"):
            await read_configuration(child, tmp_path / "config.toml", [], timedelta(seconds=1))
    finally:
        await end_process(child)
        os.close(writes)
    assert child.returncode is not None


async def test_without_a_process_nothing_is_said_of_the_configuration(monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(BotError, match=r"can't be read now: .* ended with status 1") as error:
        await configured(None)
    assert not isinstance(error.value, ConfigError)


async def test_what_else_the_process_prints_is_an_error_and_no_endless_wait(tmp_path, monkeypatch):
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho hello\ncat > /dev/null\n")
    other.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(other))
    async with asyncio.timeout(120):
        with pytest.raises(BotError, match="can't be read now"):
            await configured(None)


async def test_settings_of_another_version_are_an_error(tmp_path, monkeypatch):
    other = tmp_path / "python"
    gone = b"9\ncbot\nNo\n."  # as pickle writes a class that this version does not have
    other.write_bytes(b"#!/bin/sh\nprintf '" + gone.replace(b"\n", b"\\n") + b"'\n")
    other.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(other))
    with pytest.raises(BotError, match="another version; restart"):
        await configured(None)


def test_who_has_files_read_never_imports_what_reads_them(tmp_path):
    (tmp_path / "config.toml").write_text(CONFIGURATION)
    watch = """
import asyncio, sys
from pathlib import Path
from bot import daemon, supervisor
from bot.config.settings import allowed
from bot.rule_reader import ProcessReader, read_configuration, start_process

async def read():
    child = await start_process()
    accounts = await read_configuration(child, Path("config.toml"), [])
    reader = ProcessReader([], allowed(accounts[""]), started=[child])
    rules = await reader.read([("a.yaml", sys.stdin.buffer.read())])
    [action.restored(action.stored()) for rule in rules.rules for action in rule.do]
    return rules

assert len(asyncio.run(read()).rules) == 1
print([name for name in ("pydantic", "pydantic_core", "pydantic_settings", "bot.config.load",
    "bot.rules.files.actions", "bot.rules.files.load", "ruamel") if name in sys.modules])
"""
    command = [sys.executable, "-c", watch]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        command, input=GOOD, stdout=subprocess.PIPE, cwd=tmp_path, env=environment, check=True
    )
    assert done.stdout.strip() == b"[]"
