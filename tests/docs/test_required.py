"""What CONTRIBUTING.md says of tests that need a program which may be missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT
from tests.support.required import VARIABLE

EXAMPLE = """
import pytest

def test_in_its_body():
    pytest.skip("needs a program")

@pytest.mark.skipif(True, reason="needs another one")
def test_by_a_mark():
    pass

def test_for_another_reason():
    pytest.skip("not on a Tuesday")
"""


@pytest.mark.parametrize(("value", "outcome"), [("1", "1 failed, 1 skipped, 1 error"), ("", "3 skipped")])
def test_a_skip_for_want_of_a_program_fails_where_all_is_required(tmp_path: Path, value, outcome):
    (tmp_path / "test_example.py").write_text(EXAMPLE)
    alone = tmp_path / "pytest.ini"  # without the plugins of this project, which take seconds to start
    alone.write_text("[pytest]\n")
    options = ("-c", str(alone), "-p", "tests.support.required", "-p", "no:cacheprovider")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", VARIABLE: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f" {outcome} in " in done.stdout, done.stdout + done.stderr
