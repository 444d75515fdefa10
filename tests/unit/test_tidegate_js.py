"""The pure part of the JavaScript client: its tests are JavaScript."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

TESTS = Path(__file__).parent / "js" / "course.test.mjs"


def test_the_course_of_a_connection() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    command = [node, "--test", "--test-reporter=tap", str(TESTS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    assert "\n# fail 0" in done.stdout
