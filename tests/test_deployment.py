"""The files in deploy/: valid, alike, and fit for what `init` and the image give them."""

import configparser
import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import kubernetes_validate
import pytest
from jsonschema.validators import validator_for
from ruamel.yaml import YAML

from bot.cli.init import first_files, packs
from bot.cli.main import main
from bot.config.settings import keys

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
YAML_READER = YAML(typ="safe", pure=True)
SECRETS = {"bot_mouseflow__api_key", "bot_slack__bot_token"}
USER = 65532


def documents(name):
    return list(YAML_READER.load_all((DEPLOY / name).read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def pod():
    (stateful, _) = documents("kubernetes.yaml")
    return stateful["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def unit():
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read(DEPLOY / "mouseflow-bot.service")
    return parser


@pytest.mark.parametrize("number", [0, 1])
def test_the_kubernetes_manifests_are_valid(number):
    kubernetes_validate.validate(documents("kubernetes.yaml")[number], "1.30", strict=True)


@pytest.mark.parametrize(
    ("file", "schema"),
    [
        (DEPLOY / "compose.yaml", "compose-spec"),
        *((file, "github-workflows") for file in ROOT.glob(".github/workflows/*")),
        *((file, "github-issue-forms") for file in ROOT.glob(".github/ISSUE_TEMPLATE/*")),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_compose_file_workflows_and_issue_forms_fit_their_schemas(file, schema):
    shipped = f"check_jsonschema/builtin_schemas/vendor/{schema}.json"
    rules = json.loads(Path(distribution("check-jsonschema").locate_file(shipped)).read_text())
    faults = validator_for(rules)(rules).iter_errors(YAML_READER.load(file))
    assert [fault.message for fault in faults] == []


def instructions(name):
    """What follows each instruction of that name in the Dockerfile's first stage."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    (_, stage, _) = re.split(r"(?m)^FROM .*$", text)
    return re.findall(rf"(?m)^{name} (.+)$", stage)


def sent_to_docker(path):
    """Whether .dockerignore lets that file through: the last line that fits decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        above = (path, *path.parents[:-1])
        if any(fnmatch.fnmatch(str(each), pattern.removeprefix("**/")) for each in above):
            sent = line.startswith("!")
    return sent


def test_the_image_is_built_from_what_it_copies(tmp_path):
    """The step that makes the wheel runs, beside nothing but the files copied before."""
    source = tmp_path / "src"
    for line in instructions("COPY"):
        *names, to = line.split()
        for name in names:
            found = [ROOT / name] if (ROOT / name).is_file() else sorted((ROOT / name).rglob("*"))
            folder = ROOT if len(names) > 1 else ROOT / name
            for file in filter(Path.is_file, found):
                if sent_to_docker(file.relative_to(ROOT)):
                    copy = source / to / file.relative_to(folder)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, copy)
    steps = [shlex.split(part) for run in instructions("RUN") for part in run.split(" && ")]
    needed = {words[i + 1] for words in steps for i, word in enumerate(words) if word == "-r"}
    needed |= {line.partition("=")[2] for line in instructions("ARG")}
    assert all((source / name).is_file() for name in needed - {"$REQUIREMENTS"})
    (step,) = [words for words in steps if words[:2] == ["pip", "wheel"]]
    step[step.index("/tmp/wheel")] = str(tmp_path / "wheel")
    told = subprocess.run(
        [sys.executable, "-m", *step], cwd=source, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    (wheel,) = (tmp_path / "wheel").iterdir()
    packed = set(zipfile.ZipFile(wheel).namelist())
    ours = {
        str(Path("bot/example_rules", each.name) if name == "rules" else each.relative_to(ROOT))
        for name in ("bot", "mouseflow", "rules")
        for each in (ROOT / name).rglob("*")
        if each.is_file() and "__pycache__" not in each.parts
    }
    assert ours - packed == {"mouseflow/LICENSE", "mouseflow/pyproject.toml"}


def test_the_secrets_have_the_names_of_configuration_keys():
    known = {f"bot_{section}__{key}" for section, key in keys()}
    assert known >= SECRETS
    (compose,) = documents("compose.yaml")
    assert set(compose["secrets"]) == SECRETS
    assert set(compose["services"]["mouseflow-bot"]["secrets"]) == SECRETS
    for name in ("mouseflow-bot.service", "kubernetes.yaml"):
        text = (DEPLOY / name).read_text()
        assert set(re.findall(r"(bot_[a-z_]+__[a-z_]+)[:=]", text)) == SECRETS, name


def test_the_image_finds_what_is_mounted(pod):
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"USER {USER}:{USER}" in dockerfile
    assert "WORKDIR /\n" in dockerfile
    places = {"/config.toml", "/rules", "/data"}
    (compose,) = documents("compose.yaml")
    service = compose["services"]["mouseflow-bot"]
    assert {mount.split(":")[1] for mount in service["volumes"]} == places
    (container,) = pod["containers"]
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == places | {"/tmp", "/run/secrets"}
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == USER


def test_the_rules_of_init_fit_a_config_map():
    """It holds 1 MiB. With `kubectl apply` an annotation of 256 KiB would hold its text again."""
    written = first_files(tuple(packs()))
    rules = "".join(text for name, text in written.items() if name.startswith("rules/"))
    assert 2**18 < len(rules.encode()) < 2**20
    guide = (ROOT / "docs/how-to/kubernetes.md").read_text()
    assert "configmap mouseflow-bot-rules --from-file=rules/ --dry-run=client" in guide
    assert "| kubectl replace -f -" in guide


def test_nothing_is_stopped_before_it_may_take_its_time(pod, unit):
    (compose,) = documents("compose.yaml")
    assert compose["services"]["mouseflow-bot"]["stop_grace_period"] == "30s"
    assert pod["terminationGracePeriodSeconds"] == 30
    assert unit["Service"]["TimeoutStopSec"] == "30"


def test_the_service_starts_again_whatever_happens(unit):
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert unit["Service"]["Restart"] == "on-failure"
    assert int(unit["Service"]["RestartSec"]) >= 10


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_no_fault_in_the_unit(tmp_path):
    text = (DEPLOY / "mouseflow-bot.service").read_text()
    copy = tmp_path / "mouseflow-bot.service"
    copy.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text))
    told = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stderr) == (0, "")


def test_rules_of_a_config_map_are_read_once(tmp_path, capsys, monkeypatch):
    """Kubernetes mounts a ConfigMap as links into a hidden folder, which it swaps as a whole."""
    monkeypatch.chdir(tmp_path)
    hidden = tmp_path / "rules" / "..2026_11_29"
    hidden.mkdir(parents=True)
    shutil.copy(ROOT / "rules" / "checkout.yaml", hidden)
    (tmp_path / "rules" / "..data").symlink_to(hidden.name)
    (tmp_path / "rules" / "checkout.yaml").symlink_to("..data/checkout.yaml")
    assert main(["check", "rules"]) == 0
    assert "ok: 5 rules in 1 file" in capsys.readouterr().out.splitlines()
