"""The short profile of `make chaos`, as CI runs it; and what the command owes to whoever breaks it off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.required import VARIABLE
from tests.support.waiting import wait_until_sync

_ROOT = Path(__file__).parents[2]
_COMMAND = [sys.executable, "-m", "tests.chaos"]
_SHORT_PROFILE_TIMEOUT_S = 600  # three minutes on a machine of its own


@pytest.mark.timeout(_SHORT_PROFILE_TIMEOUT_S + 60)
@pytest.mark.skipif(not os.environ.get(VARIABLE), reason="takes three minutes: make chaos, or CI")
def test_the_short_profile_passes(tmp_path: Path) -> None:
    report = tmp_path / "chaos.json"
    done = subprocess.run(
        [*_COMMAND, "--json", str(report)], cwd=_ROOT, capture_output=True, text=True, timeout=_SHORT_PROFILE_TIMEOUT_S
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert json.loads(report.read_text())["passed"]


def test_an_unknown_scenario_is_refused_with_the_names_of_the_others() -> None:
    done = subprocess.run([*_COMMAND, "--only", "earthquake"], cwd=_ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "earthquake" in done.stderr
    assert "kill-gateway" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_process_behind(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [*_COMMAND, "--only", "rolling"], cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until_sync(lambda: len(_started_by(process.pid)) >= 3, 60)  # Redis and two gateways
        children = _started_by(process.pid)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130, errors
        wait_until_sync(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    finally:
        process.kill()
        process.communicate()


def _started_by(pid: int) -> list[int]:
    paths = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in paths for child in path.read_text().split()]
