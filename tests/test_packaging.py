"""The wheel holds what it needs, and works beside other people's code."""

import ast
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CLIENT = {"httpx", "msgspec"}
SIMULATOR = CLIENT | {"starlette", "uvicorn", "pytest"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The files of the wheel, in a folder that works as PYTHONPATH."""
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel"))) as archive:
        archive.extractall(site)
    return site


def build(kind, folder, source=ROOT):
    """The file that this build made."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


def run(*arguments, path, cwd, timeout=300):
    """Run Python where only the standard library, the dependencies and `path` are importable."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_the_sdist_holds_all_that_its_tests_need_and_builds_alike(tmp_path):
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(build("sdist", tmp_path / name))
    assert made[0].read_bytes() == made[1].read_bytes()
    with tarfile.open(made[0]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    needed = {f"{folder}/" for folder in ("bench", "deploy", "docs", "mouseflow", "rules", "tests")}
    assert all(any(name.startswith(folder) for name in held) for folder in needed)
    locks = {f"requirements{kind}.txt" for kind in ("", "-build", "-dev", "-postgres")}
    assert locks | {"Makefile", "CHANGELOG.md", "config.example.toml", ".ci/run"} <= held


COMMAND = "import sys; from mouseflow_bot import main; sys.exit(main())"


def test_the_wheel_holds_the_packages_and_the_example_rules(wheel):
    assert {each.name for each in wheel.iterdir() if not each.name.endswith(".dist-info")} == {
        "bot",
        "mouseflow",
        "mouseflow_bot.py",
    }
    shipped = {each.name for each in (wheel / "bot" / "example_rules").iterdir()}
    assert shipped == {each.name for each in (ROOT / "rules").iterdir()}
    assert (wheel / "bot" / "py.typed").exists()
    assert (wheel / "mouseflow" / "py.typed").exists()


def test_the_version_is_that_of_the_changelog_and_its_description_needs_no_checkout(wheel):
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (newest, *_) = re.findall(r"^## (\S+)", changelog, re.MULTILINE)
    (info,) = wheel.glob("*.dist-info")
    metadata = (info / "METADATA").read_text(encoding="utf-8")
    assert f"\nVersion: {newest}\n" in metadata
    assert "make demo" in metadata
    assert re.findall(r"\]\((?!https?://)", metadata) == []


def test_the_example_rules_of_the_wheel_are_found_in_an_empty_folder(wheel, tmp_path):
    code = "from bot.cli.init import example_rules; print(example_rules())"
    found = run("-c", code, path=[wheel], cwd=tmp_path)
    assert found.stdout.strip() == str(wheel / "bot" / "example_rules")
    (tmp_path / "rules").mkdir()
    assert run("-c", code, path=[wheel], cwd=tmp_path).stdout == found.stdout  # not a user's own
    assert run("-c", code, path=[ROOT], cwd=tmp_path).stdout.strip() == str(ROOT / "rules")


def test_the_installed_command_checks_the_example_rules(wheel, tmp_path):
    rules = str(wheel / "bot" / "example_rules")
    checked = run("-c", COMMAND, "check", rules, path=[wheel], cwd=tmp_path)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("name", ["bot", "mouseflow"])
def test_a_module_that_shadows_a_package_is_named_in_one_line(wheel, tmp_path, name):
    foreign = tmp_path / f"{name}.py"
    foreign.write_text("raise SystemExit('imported')")
    told = run("-c", COMMAND, "--version", path=[tmp_path, wheel], cwd=wheel.parent)
    assert told.returncode == 1
    assert told.stdout == ""
    (line,) = told.stderr.splitlines()
    assert line.startswith(f"mouseflow-bot: {foreign} shadows {wheel / name}")


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "import mouseflow; mouseflow.AsyncMouseflow; import mouseflow.simulator.server"),
        ("-m", "mouseflow.simulator", "--help"),
    ],
)
def test_the_client_and_the_simulator_work_beside_anybodys_bot(wheel, tmp_path, arguments):
    (tmp_path / "bot.py").write_text("raise SystemExit('imported')")
    done = run(*arguments, path=[wheel], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "file",
    sorted(ROOT.joinpath("mouseflow").rglob("*.py")),
    ids=lambda file: str(file.relative_to(ROOT)),
)
def test_mouseflow_imports_only_its_few_dependencies(file):
    allowed = SIMULATOR if "simulator" in file.parts else CLIENT
    assert imported(file) - sys.stdlib_module_names - {"mouseflow"} <= allowed


def imported(file: Path) -> set[str]:
    """The top-level names that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add(str(node.module).partition(".")[0])
    return found


def test_the_client_is_built_alone_from_the_same_folder(wheel, tmp_path):
    for name in ("sdist", "source", "alone", "again"):
        (tmp_path / name).mkdir()
    with tarfile.open(build("sdist", tmp_path / "sdist", ROOT / "mouseflow")) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (unpacked,) = (tmp_path / "source").iterdir()
    found = []
    for folder, source in (("alone", ROOT / "mouseflow"), ("again", unpacked)):
        with zipfile.ZipFile(build("wheel", tmp_path / folder, source)) as archive:
            found.append({name: archive.read(name) for name in archive.namelist()})
            archive.extractall(tmp_path / f"site-{folder}")
    assert found[0].keys() == found[1].keys()
    files = {name: data for name, data in found[0].items() if ".dist-info/" not in name}
    ours = {each for each in (wheel / "mouseflow").rglob("*") if each.suffix in (".py", ".typed")}
    assert files == {str(each.relative_to(wheel)): each.read_bytes() for each in ours}
    metadata = next(data for name, data in found[0].items() if name.endswith("/METADATA")).decode()
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    assert {
        line.split()[1].split("<")[0].split(">")[0] for line in needed if "extra" not in line
    } == CLIENT
    assert (ROOT / "mouseflow" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


ONLY = """
import sys
from importlib.metadata import packages_distributions

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(name)

owners = packages_distributions().items()
BLOCKED = {name for name, (owner, *_) in owners if owner.lower() not in ALLOWED}
sys.meta_path.insert(0, Nothing())
import mouseflow
for name in mouseflow.__all__:
    getattr(mouseflow, name)
with mouseflow.Mouseflow("http://127.0.0.1:9", "a@b", "key", tries=1) as api:
    try:
        list(api.websites())
    except mouseflow.errors.Unreachable as error:
        print(type(error).__name__)
"""
HTTPX = {"httpx", "httpcore", "h11", "anyio", "sniffio", "idna", "certifi", "typing_extensions"}


def test_the_client_alone_needs_httpx_and_msgspec_and_nothing_else(tmp_path):
    (tmp_path / "wheel").mkdir()
    with zipfile.ZipFile(build("wheel", tmp_path / "wheel", ROOT / "mouseflow")) as archive:
        archive.extractall(tmp_path / "site")
    allowed = {"msgspec", "mouseflow-client", *HTTPX}
    done = run("-c", f"ALLOWED = {allowed!r}\n{ONLY}", path=[tmp_path / "site"], cwd=tmp_path)
    assert done.stdout.strip() == "Unreachable", done.stderr
