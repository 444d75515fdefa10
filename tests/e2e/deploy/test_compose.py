"""deploy/compose: no engine runs here, so its files are read as an engine would, and what can be run is run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gateway.settings import load
from tests.docs.markdown import ROOT
from tests.support.gateway import GatewayProcess
from tests.support.nginx import nginx_binary
from tests.support.redis_server import free_port
from tests.support.waiting import wait_until

FOLDER = ROOT / "deploy" / "compose"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
GATEWAYS = [name for name in SERVICES if name.startswith("gateway-")]
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+(-[\w.-]+)?")


def instructions():
    """Return the Dockerfile's instructions with their arguments, continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", (FOLDER / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name.upper(), rest) for name, _, rest in (line.strip().partition(" ") for line in lines)]


def arguments(name):
    return [rest for one, rest in instructions() if one == name]


def last_stage():
    every = instructions()
    return every[max(number for number, (name, _) in enumerate(every) if name == "FROM") :]


# The Dockerfile, with the rules of hadolint that matter here


def test_only_known_instructions_are_used():
    known = {
        "FROM",
        "WORKDIR",
        "RUN",
        "COPY",
        "ENV",
        "USER",
        "EXPOSE",
        "HEALTHCHECK",
        "STOPSIGNAL",
        "ENTRYPOINT",
        "CMD",
    }
    assert {name for name, _ in instructions()} <= known  # no ADD, no MAINTAINER, nothing misspelt


def test_every_base_is_pinned_and_every_stage_but_the_last_has_a_name():
    bases = [one.split() for one in arguments("FROM")]
    assert [PINNED.fullmatch(base[0]) is not None for base in bases] == [True] * len(bases)
    assert [len(base) for base in bases] == [3] * (len(bases) - 1) + [1]
    assert len({base[0] for base in bases}) == 1  # the environment's interpreter is the base's


def test_it_does_not_run_as_root():
    (user,) = [rest for name, rest in last_stage() if name == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    order = [name for name, _ in last_stage()]
    assert "RUN" not in order[order.index("USER") :]


def test_the_gateway_gets_the_signals_itself():
    assert json.loads(arguments("ENTRYPOINT")[0]) == ["gateway"]
    assert json.loads(arguments("CMD")[-1]) == ["serve"]
    assert arguments("STOPSIGNAL") == ["SIGTERM"]


def test_nothing_is_left_of_the_build():
    assert all("--no-cache-dir" in run for run in arguments("RUN") if "pip install" in run)
    assert not any("apt-get" in run for run in arguments("RUN"))
    assert [one for name, one in last_stage() if name == "COPY"] == ["--from=build /opt/tidegate /opt/tidegate"]


def test_what_is_copied_exists_and_is_not_ignored():
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    copied = [part for one in arguments("COPY") if not one.startswith("--from") for part in one.split()[:-1]]
    assert copied
    for name in (part.removeprefix("./") for part in copied):
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored


def test_the_build_needs_no_more_of_the_repository(tmp_path):
    """What pyproject.toml names besides the packages."""
    text = (ROOT / "pyproject.toml").read_text()
    named = re.findall(r'^(?:readme|license-files) = \[?"(\w[\w.]+)"', text, re.MULTILINE)
    copied = " ".join(arguments("COPY"))
    assert len(named) == 2
    assert all(name in copied for name in named)


async def test_the_health_check_tells_a_gateway_that_lives_from_none(redis_url):
    (check,) = arguments("HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    command[0] = sys.executable
    async with GatewayProcess(redis_url) as gateway:
        environ = {**os.environ, "GATEWAY_LISTEN__PORT": str(gateway.port)}

        def status() -> int:
            return subprocess.run(command, env=environ, timeout=60, check=False, capture_output=True).returncode

        await wait_until(lambda: status() == 0)  # not at once where one of the two pauses for longer than it waits
        gateway.kill()
        assert status() == 1


# compose.yaml


def test_the_services_are_what_a_deployment_needs():
    assert set(SERVICES) == {"redis", "gateway-1", "gateway-2", "nginx", "prometheus", "grafana"}
    assert set(COMPOSE) <= {"name", "services", "networks", "volumes", "x-gateway", "x-gateway-settings"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_a_pinned_image_restarts_and_can_be_asked_how_it_is(name):
    service = SERVICES[name]
    known = {
        *("image", "build", "restart", "depends_on", "networks", "stop_grace_period", "read_only", "tmpfs", "cap_drop"),
        *("security_opt", "ulimits", "environment", "volumes", "command", "ports", "healthcheck"),
    }
    assert set(service) <= known
    assert PINNED.fullmatch(service["image"])
    assert service["restart"] == "unless-stopped"
    assert "healthcheck" in service or name in GATEWAYS  # whose image has one
    assert set(service.get("depends_on", ())) <= set(SERVICES)
    assert set(service["networks"]) <= set(COMPOSE["networks"])


@pytest.mark.parametrize("name", SERVICES)
def test_every_file_and_volume_that_is_mounted_exists(name):
    for mount in SERVICES[name].get("volumes", ()):
        source, target, *_ = mount.split(":")
        if source.startswith("."):
            assert (FOLDER / source).is_file()
            assert mount.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]
        assert target.startswith("/")


def test_what_is_built_is_there():
    build = SERVICES["gateway-1"]["build"]
    assert (FOLDER / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()


def test_every_variable_that_is_filled_in_is_in_the_example():
    example = set(re.findall(r"^(\w+)=", (FOLDER / ".env.example").read_text(), re.MULTILINE))
    assert set(re.findall(r"\$\{(\w+):\?", (FOLDER / "compose.yaml").read_text())) == example
    assert "${" not in re.sub(r"\$\{\w+:\?set it in \.env\}", "", (FOLDER / "compose.yaml").read_text())
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("name", GATEWAYS)
def test_a_gateway_takes_its_environment(monkeypatch, name):
    for variable in [one for one in os.environ if one.startswith("GATEWAY_")]:
        monkeypatch.delenv(variable)
    for variable, value in SERVICES[name]["environment"].items():
        monkeypatch.setenv(variable, re.sub(r"\$\{\w+:\?[^}]*\}", "x" * 48, value))
    settings = load(None)
    assert settings.instance.id == name
    subnet = COMPOSE["networks"]["inner"]["ipam"]["config"][0]["subnet"]
    assert settings.listen.trusted_proxies == (subnet,)
    assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) >= 2 * settings.shutdown.drain_s + 10


def test_only_nginx_and_a_console_on_loopback_are_reached_from_outside():
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {"nginx": ["8080:8080"], "grafana": ["127.0.0.1:3000:3000"]}


def test_redis_is_started_with_the_recommended_file_and_a_password():
    command = SERVICES["redis"]["command"]
    assert command[:2] == ["redis-server", "/etc/redis/tidegate.conf"]
    assert "--requirepass" in command
    assert "../redis/redis.conf:/etc/redis/tidegate.conf:ro" in SERVICES["redis"]["volumes"]


def test_prometheus_and_nginx_know_every_gateway():
    (job,) = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert job["static_configs"][0]["targets"] == [f"{name}:8890" for name in GATEWAYS]
    servers = re.findall(r"server (gateway-\d):(\d+)", (FOLDER / "nginx.conf").read_text())
    assert servers == [(name, port) for port in ("8889", "8890") for name in GATEWAYS]


@pytest.mark.skipif(nginx_binary() is None, reason="needs nginx")
def test_nginx_finds_no_fault_in_its_configuration(tmp_path):
    text = (FOLDER / "nginx.conf").read_text()
    for old, new in {
        "/etc/nginx/tidegate/": f"{ROOT}/deploy/nginx/",
        "/run/nginx.pid": f"{tmp_path}/nginx.pid",
        "listen 8080": f"listen 127.0.0.1:{free_port()}",
        "\nhttp {\n": f"\nhttp {{\n    proxy_temp_path {tmp_path}/p;\n    client_body_temp_path {tmp_path}/b;\n"
        f"    fastcgi_temp_path {tmp_path}/f;\n    uwsgi_temp_path {tmp_path}/u;\n    scgi_temp_path {tmp_path}/s;\n",
    }.items():
        assert old in text
        text = text.replace(old, new)
    for number, name in enumerate(GATEWAYS, 1):
        text = text.replace(f"{name}:", f"127.0.0.{number}:")
    locations = (ROOT / "deploy/nginx/locations.conf").read_text().replace("/var/log/nginx/", f"{tmp_path}/")
    (tmp_path / "locations.conf").write_text(locations)
    text = text.replace(f"{ROOT}/deploy/nginx/locations.conf", f"{tmp_path}/locations.conf")
    (tmp_path / "nginx.conf").write_text(text)
    done = subprocess.run(
        [str(nginx_binary()), "-t", "-p", str(tmp_path), "-c", "nginx.conf", "-e", str(tmp_path / "e.log")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_grafana_finds_its_dashboard_and_its_data_source():
    (provider,) = yaml.safe_load((FOLDER / "grafana-dashboards.yaml").read_text())["providers"]
    targets = [mount.split(":")[1] for mount in SERVICES["grafana"]["volumes"]]
    assert str(Path(provider["options"]["path"]) / "tidegate.json") in targets
    (source,) = yaml.safe_load((FOLDER / "grafana-datasource.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"


def test_the_commands_of_the_comments_are_those_of_the_files():
    text = (FOLDER / "Dockerfile").read_text()
    command = shlex.split(re.findall(r"docker build .*", text)[0])
    assert (ROOT / command[command.index("-f") + 1]).is_file()
