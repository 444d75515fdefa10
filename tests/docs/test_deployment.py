"""docs/deployment.md: what it names exists."""

from __future__ import annotations

import re
import subprocess
import sys

from gateway.settings import Settings, load
from tests.docs.markdown import ROOT, blocks, document
from tests.support.gateway import SECRET

PAGE = "docs/deployment.md"


def test_every_folder_of_deploy_is_mentioned():
    for folder in (ROOT / "deploy").iterdir():
        assert f"deploy/{folder.name}/" in document(PAGE), folder.name


def test_the_commands_check_and_serve_exist():
    (block,) = blocks(PAGE, "sh")
    commands = re.findall(r"^gateway (\w+) -c", block.text, re.MULTILINE)
    assert commands == ["check", "serve"]
    for name in commands:
        done = subprocess.run(
            [sys.executable, "-m", "gateway", name, "--help"], cwd=ROOT, check=True, capture_output=True, text=True
        )
        assert "--config" in done.stdout


def test_the_configuration_is_one_that_a_gateway_takes(tmp_path):
    (block,) = blocks(PAGE, "yaml")
    path = tmp_path / "gateway.yaml"
    path.write_text(block.text)
    assert load(path, auth={"secret": SECRET}).listen.trusted_proxies == ("10.0.3.0/24",)


def test_every_setting_that_is_named_exists():
    names = set(re.findall(r"`(\w+)\.(\w+)`", document(PAGE)))
    sections = Settings.model_fields
    settings = {(section, option) for section, option in names if section in sections}
    assert {("auth", "secret"), ("shutdown", "drain_s")} <= settings
    for section, option in settings:
        assert option in sections[section].annotation.model_fields, f"{section}.{option}"


def test_the_ports_are_the_defaults():
    page = document(PAGE)
    assert f"| {Settings.model_fields['listen'].default.port} |" in page
    assert f"| {Settings.model_fields['http'].default.port} |" in page
