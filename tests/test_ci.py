"""`.ci/run` tests with a browser, or says in one line that there is none."""

import shutil
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).parents[1] / ".ci" / "run"
REFUSES = 'echo "E: Unable to locate package chromium" >&2; exit 100'
INSTALLS = 'if [ "$1" = install ]; then ln -s "$(command -v make)" "${0%/*}/chromium"; fi'
BREAKS = 'if [ "$1" = update ]; then exit 100; fi; ' + INSTALLS


@pytest.fixture
def ci(tmp_path):
    """Run it where only these programs are: make notes its targets, apt-get does as it is told."""
    for name in ("bash", "dirname", "timeout", "ln"):
        (tmp_path / name).symlink_to(shutil.which(name))

    def program(name, text):
        (tmp_path / name).write_text(f"#!{tmp_path / 'bash'}\n{text}\n")
        (tmp_path / name).chmod(0o755)

    def run(apt_get, *browsers):
        program("make", 'echo "make $*"')
        program("id", "echo 0")
        program("apt-get", apt_get)
        for name in browsers:
            program(name, "")
        command = [tmp_path / "bash", RUN]
        return subprocess.run(
            command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.parametrize(
    "given", [(INSTALLS,), (BREAKS,), (REFUSES, "chromium"), (REFUSES, "google-chrome")]
)
def test_it_tests_with_the_browser_that_is_there_or_can_be_installed(ci, given):
    done = ci(*given)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("make --jobs 2 test check\n")


@pytest.mark.parametrize(
    ("apt_get", "last"), [(REFUSES, "E: Unable to locate package chromium"), ("true", "")]
)
def test_without_a_browser_it_fails_in_one_line(ci, apt_get, last):
    done = ci(apt_get)
    told = f".ci/run: no Chromium here, and it can't be installed: {last}\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)
