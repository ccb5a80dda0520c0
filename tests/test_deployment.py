"""The files in deploy/: valid, alike, and fit for what `init` and the image give them."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

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
