"""deploy/systemd: what systemd itself says of the units, and what the gateway says of what they contain."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from gateway.settings import Settings
from tests.docs.markdown import ROOT

UNITS = ROOT / "deploy" / "systemd"
NAMES = ["tidegate.service", "tidegate@.service"]

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


@pytest.fixture
def units(tmp_path):
    """A copy of the folder, with the program where this machine has one."""
    folder = tmp_path / "units"
    shutil.copytree(UNITS, folder)
    for name in NAMES:
        path = folder / name
        path.write_text(path.read_text().replace("/opt/tidegate/bin/gateway", sys.executable))
        dropins = folder / f"{name}.d"
        dropins.mkdir()
        shutil.copy(folder / "tls.conf", dropins)
    return folder


def analyzed(*arguments):
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@needs_systemd
@pytest.mark.parametrize("name", ["tidegate.service", "tidegate@1.service"])
def test_systemd_finds_no_fault(units, name):
    if "@1" in name:
        shutil.copy(units / "tidegate@.service", units / name)
    status, said = analyzed("verify", "--man=no", str(units / name))
    ours = [line for line in said.splitlines() if "tidegate" in line]
    assert (status, ours) == (0, []), said


@needs_systemd
def test_a_fault_would_be_found(units):
    path = units / "tidegate.service"
    path.write_text(path.read_text().replace("Type=notify", "Type=notifi").replace("ProtectHome=yes", "ProtectHom=yes"))
    _, said = analyzed("verify", "--man=no", str(path))
    assert "notifi" in said
    assert "ProtectHom" in said


@needs_systemd
@pytest.mark.parametrize("name", NAMES)
def test_little_is_left_to_an_intruder(units, name):
    """The scale goes from 0, nothing, to 10, everything; an ordinary service has 9.6."""
    status, said = analyzed("security", "--offline=yes", "--threshold=20", str(units / name))
    assert status == 0, said


@pytest.mark.parametrize("name", NAMES)
def test_the_time_to_stop_is_longer_than_the_drain(name):
    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)s$", (UNITS / name).read_text(), re.MULTILINE)
    assert int(stop) >= 2 * Settings.model_fields["shutdown"].default.drain_s + 20


@pytest.mark.parametrize(
    "path", [*(UNITS / name for name in NAMES), UNITS / "tidegate.env"], ids=lambda path: path.name
)
def test_every_variable_is_a_setting(path):
    names = re.findall(r"\b(GATEWAY_\w+?)__(\w+)=", path.read_text())
    assert names or path.name == "tidegate.service"
    for section, option in names:
        kind = Settings.model_fields[section.removeprefix("GATEWAY_").lower()].annotation
        assert option.lower() in kind.model_fields


def test_the_two_units_differ_only_in_what_makes_one_of_several():
    def directives(name):
        return [line for line in (UNITS / name).read_text().splitlines() if line and not line.startswith("#")]

    one, several = map(directives, NAMES)
    assert {line.partition("=")[0] for line in set(several) ^ set(one)} == {"Description", "Environment"}


def test_the_ports_of_the_template_are_those_that_nginx_knows():
    (ports,) = re.findall(r"^Environment=(.*)$", (UNITS / "tidegate@.service").read_text(), re.MULTILINE)
    patterns = re.findall(r"__PORT=(\d+)%i", ports)
    upstreams = (ROOT / "deploy" / "nginx" / "upstreams.conf").read_text()
    assert re.findall(r"server 127\.0\.0\.1:(\d+)", upstreams) == [f"{first}{n}" for first in patterns for n in (1, 2)]


def test_every_command_is_one_of_the_gateway():
    lines = [line for name in NAMES for line in (UNITS / name).read_text().splitlines() if line.startswith("ExecStart")]
    commands = [line.partition("bin/gateway ")[2].split() for line in lines]
    assert {command[1] for command in commands} == {"-c"}
    for name in {command[0] for command in commands}:
        done = subprocess.run(
            [sys.executable, "-m", "gateway", name, "--help"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        assert "--config FILE" in done.stdout
    assert len(lines) == 4
