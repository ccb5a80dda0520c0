"""Everything under the rules' paths is read or named, and nothing there takes long."""

import os
import tempfile
import time
from pathlib import Path

import pytest

from bot.errors import ConfigError, RuleErrors
from bot.rules.files.disk import signature
from bot.rules.files.load import ALLOWED, load

RULE = """version: 1
rules:
  {}:
    watch: recordings
    when: {{friction: {{min: 2.5}}}}
    do: {{star: true}}
"""


@pytest.fixture
def rules(tmp_path):
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "a.yaml").write_text(RULE.format("a"))
    return folder


def ids(*paths):
    return [rule.id for rule in load(paths, ALLOWED).rules]


def told(*paths):
    with pytest.raises((RuleErrors, ConfigError)) as caught:
        load(paths, ALLOWED)
    return str(caught.value).splitlines()


def test_a_file_of_any_size_is_refused_without_reading_it_whole(rules):
    big = rules / "big.yaml"
    with big.open("wb") as opened:
        opened.truncate(6_000_000_000)
    began = time.process_time()
    assert told(rules) == [f"{big}:1:1: the file is too big; it may have at most 1 MB"]
    assert time.process_time() - began < 1


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null"])
def test_a_device_is_no_rule_file(path):
    assert told(path) == [f"{path}:1:1: can't be read: it is not a file"]


def test_a_pipe_is_no_rule_file_and_nobody_waits_for_it(rules):
    pipe = rules / "pipe.yaml"
    os.mkfifo(pipe)
    assert told(pipe) == [f"{pipe}:1:1: can't be read: it is not a file"]
    assert told(rules) == [f"{pipe}:1:1: this is not a file"]


def test_a_folder_with_very_many_files_is_refused(rules):
    for number in range(2_001):
        (rules / f"{number}.yaml").touch()
    assert f"{rules}:1:1: more than 2,000 files and folders; is this the path?" in told(rules)


def test_a_large_file_with_very_many_errors_is_parsed_once(rules, monkeypatch):
    monkeypatch.setattr("bot.rules.files.load.MOST_PARSED", 50_000)
    text = "version: 1\nrules:\n" + "  'a\n" * 20_000
    (rules / "quotes.yaml").write_text(text)
    (said,) = told(rules)
    assert said.endswith("the rest of this file was not checked")


def test_linked_folders_are_read_and_loops_end(rules, tmp_path):
    shared = tmp_path / "shared"
    (shared / "deep").mkdir(parents=True)
    (shared / "b.yaml").write_text(RULE.format("b"))
    (shared / "deep/c.yaml").write_text(RULE.format("c"))
    (shared / "deep/back").symlink_to(rules)
    (shared / "again").symlink_to(shared)
    (rules / "team").symlink_to(shared)
    (rules / "once-more").symlink_to(rules / "team")
    (rules / ".hidden").symlink_to(shared)
    assert ids(rules) == ["a", "b", "c"]


def test_what_is_no_file_and_where_links_lead_nowhere_are_errors_beside_all_others(rules):
    (rules / "b.yaml").write_text(RULE.format("b").replace("friction", "frction"))
    (rules / "c.yaml").symlink_to("gone.yaml")
    (rules / "d.yaml").mkdir()
    (rules / "e").symlink_to("nowhere")
    (rules / "f").symlink_to("f")
    (rules / "notes.txt").touch()
    said = told(rules)
    assert len(said) == 5
    assert "did you mean friction?" in said[0]
    assert said[1:] == [
        f"{rules}/c.yaml:1:1: can't be read: No such file or directory",
        f"{rules}/d.yaml:1:1: this is not a file",
        f"{rules}/e:1:1: can't be read: No such file or directory",
        f"{rules}/f:1:1: can't be read: Too many levels of symbolic links",
    ]


@pytest.fixture
def as_nobody():
    """A folder of another user than the one who reads it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "a.yaml").write_text(RULE.format("a"))
        (folder / "team").mkdir()
        if os.geteuid():
            yield folder
            return
        os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")
def test_what_may_not_be_read_is_an_error_with_its_path(as_nobody):
    folder = as_nobody
    assert ids(folder) == ["a"]

    def set_modes(file, team, whole):
        os.seteuid(0)
        (folder / "a.yaml").chmod(file)
        (folder / "team").chmod(team)
        folder.chmod(whole)
        os.seteuid(65534)

    why = "can't be read: Permission denied; chmod it, or run as its owner"
    set_modes(0o600, 0o700, 0o755)
    unreadable = signature([folder])
    assert told(folder) == [
        f"{folder}/a.yaml:1:1: {why}",
        f"{folder}/team:1:1: {why}",
    ]
    set_modes(0o644, 0o755, 0o755)
    assert signature([folder]) != unreadable
    set_modes(0o644, 0o755, 0o700)
    assert told(folder) == [f"{folder}:1:1: {why}"]
    assert signature([folder]) != unreadable


def test_a_name_that_is_not_utf_8_is_an_error_that_can_be_shown(rules):
    Path(os.fsdecode(os.fsencode(rules) + b"/\xff\xfe.yaml")).write_text(RULE.format("b"))
    (said,) = told(rules)
    assert said == f"{rules}/\\xff\\xfe.yaml:1:1: the name is not UTF-8; rename it"
    said.encode()


def test_a_change_with_the_same_size_and_time_is_seen(rules):
    file = rules / "a.yaml"
    os.utime(file, (1, 1))
    before = signature([rules])
    file.write_text(file.read_text().replace("2.5", "3.5"))
    os.utime(file, (1, 1))
    assert signature([rules]) != before


def test_the_same_content_again_is_no_change(rules):
    before = signature([rules])
    text = (rules / "a.yaml").read_text()
    (rules / "a.yaml").unlink()
    (rules / "a.yaml").write_text(text)
    assert signature([rules]) == before


def test_a_change_among_very_large_files_is_seen(rules, monkeypatch):
    monkeypatch.setattr("bot.rules.files.disk.MOST_HASHED", 10)
    before = signature([rules])
    other = rules / "other"
    other.write_text((rules / "a.yaml").read_text().replace("2.5", "3.5"))
    state = (rules / "a.yaml").stat()
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    other.rename(rules / "a.yaml")
    assert signature([rules]) != before


def test_a_path_that_comes_and_goes_is_a_change(rules):
    before = signature([rules])
    rules.rename(rules.with_name("elsewhere"))
    assert signature([rules]) != before
