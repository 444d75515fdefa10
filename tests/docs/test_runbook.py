"""docs/operations.md: every command is run beside a gateway, every alert has its section, every name exists."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from publisher import Publisher
from tests.docs.markdown import ROOT, blocks, document, table_rows
from tests.support.clients import connected, settled
from tests.support.gateway import SECRET, GatewayProcess

PAGE = "docs/operations.md"
ALERTS = (
    *("TidegateDown", "TidegateNotReady", "TidegateLagHigh", "TidegateResyncs", "TidegateRedisErrors"),
    *("TidegateSlowSockets", "TidegateAuthFailures", "TidegateConnectionsNearLimit", "TidegateFileDescriptors"),
    *("TidegatePoison", "TidegateIdsAheadOfClock", "TidegateInboxBacklog"),
)


@dataclass(frozen=True)
class Command:
    """One line behind a `$`, and what the page shows of its output."""

    line: str
    sample: list[str]
    where: str

    def __str__(self) -> str:
        return self.line[:60]


def commands() -> list[Command]:
    found = []
    for block in blocks(PAGE, "console"):
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            line, *sample = part.splitlines()
            found.append(Command(line, sample, block.where))
    return found


@pytest.fixture
def shell(redis_url: str, tmp_path: Path):
    """Return what runs a line as an operator's shell would, on this machine, with this gateway."""
    binaries = tmp_path / "bin"
    binaries.mkdir()

    def script(name: str, text: str) -> None:
        path = binaries / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    script("gateway", f'exec {shlex.quote(sys.executable)} -m gateway "$@"')

    async def run(line: str, gateway: GatewayProcess, event_id: str) -> tuple[int, str]:
        (listening, *_) = gateway.log_events("listening")
        real = Path("/usr/bin/redis-cli")
        script("redis-cli", f'exec {real} -u {shlex.quote(redis_url)} "$@"')
        script("journalctl", f"exec cat {shlex.quote(str(gateway._log_path))}")
        line = line.replace("make bench", f"make -C {ROOT} -n bench")
        line = line.replace("8889", str(listening["port"])).replace("8890", str(listening["http_port"]))
        others = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        environ = {
            **others,
            "PATH": f"{binaries}:{os.environ['PATH']}:/usr/sbin",
            "PYTHONPATH": str(ROOT),
            "GATEWAY_REDIS__URL": redis_url,
            "GATEWAY_AUTH__SECRET": SECRET,
            "KEY": gateway.token("svc", scope="push"),
            "EVENT_ID": event_id,
            "no_proxy": "127.0.0.1",
        }
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", line), env=environ, cwd=tmp_path, stdout=-1, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()

    return run


async def test_every_command_works_beside_a_gateway(redis_url, shell):
    async with (
        GatewayProcess(redis_url, ready__canary_interval_s=1) as gateway,
        Publisher(redis_url) as tide,
        connected(gateway, "42") as client,
    ):
        event_id = await tide.publish("order.shipped", {"order": 7}, to="user:42")
        await tide.notify("42", title="Shipped")
        await settled(tide, client)
        done: dict[str, tuple[int, str]] = {}  # the page names some more than once
        for command in commands():
            if command.line not in done:
                done[command.line] = await shell(command.line, gateway, event_id)
            status, output = done[command.line]
            assert status == 0, f"{command.where}: {command.line}\n{output}"
            assert "not found" not in output, f"{command.where}: {output}"
            for name in {re.split(r"[ {]", line)[0] for line in command.sample if re.match("tidegate_|process_", line)}:
                assert name in output, f"{command.where}: {name} is not in\n{output}"


def test_there_are_commands_for_each_alert():
    sections = re.split(r"^### ", document(PAGE).partition("## Runbook")[2], flags=re.MULTILINE)[1:]
    by_title = {section.partition("\n")[0]: section for section in sections}
    assert set(ALERTS) <= set(by_title)
    for alert in ALERTS:
        assert all(word in by_title[alert] for word in ("**Means:**", "**Look:**", "```console", "**Do:**")), alert


def test_the_alerts_are_those_of_the_rules():
    rules = ROOT / "deploy/prometheus/alerts.yml"
    if rules.exists():  # it comes with another change
        assert set(re.findall(r"alert: (\w+)", rules.read_text())) == set(ALERTS)


def test_every_line_of_the_log_that_is_listed_is_written_so():
    source = "".join(path.read_text() for path in (ROOT / "gateway").rglob("*.py"))
    rows = [row for row in table_rows(PAGE) if row[1] in {"debug", "info", "warning", "error"}]
    assert len(rows) > 10
    for name, level, fields, _ in rows:
        calls = re.findall(rf'_log\.{level}\(\s*"{name}",?([^\n]*(?:\n +[a-z_]+=[^\n]*)*)', source)
        assert calls, f"no {level} {name}"
        written = " ".join(calls) + ("client= user= tenant= remote=" if "self._facts()" in " ".join(calls) else "")
        for field in fields.split(", "):
            assert f"{field}=" in written, f"{name} has no {field}"


def test_every_metric_that_the_page_speaks_of_is_in_a_table():
    listed = {row[0] for row in table_rows(PAGE)}
    named = set(re.findall(r"`((?:tidegate|process)_[a-z_]+)`", document(PAGE)))
    assert {name for name in named if not any(one.startswith(name) for one in listed)} == set()


def test_the_links_lead_to_headings():
    text = document(PAGE)
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors
