"""The log: a line is one event, whatever is in it."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

NASTY = "a\nb\r\x1b[31mc\x9b2J\x85\u2028\u202e\u200b\ufeff\x00d"
FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u2028\u2029\u202a-\u202e\ufeff]")
SCRIPT = """
import logging, sys
from gateway import logs
import structlog

logs.configure({level!r}, {style!r})
log = structlog.get_logger()
NASTY = {nasty!r}


def fail():
    secret_local = "canary" + "-local"
    raise ValueError(NASTY)


log.debug("happened", text=NASTY, listed=[NASTY, {{NASTY: NASTY}}], number=1, long="x" * 5_000)
try:
    fail()
except ValueError:
    log.exception("failed")
logging.getLogger("asyncio").error("said %s", NASTY)
logging.getLogger("asyncio").error("cannot be %d", "shown")
logging.getLogger("asyncio").info("too quiet")
"""


def written(style: str, level: str = "debug") -> str:
    """Return what a process of its own writes: the log is set up once for each."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(level=level, style=style, nasty=NASTY)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=True,
    )
    assert done.stdout == b""
    return done.stderr.decode()


@pytest.mark.parametrize("style", ["json", "console"])
def test_nothing_in_a_line_can_end_it_or_move_a_cursor(style: str) -> None:
    text = written(style)
    assert FORBIDDEN.search(text) is None
    assert "\\u001b[31mc" in text or "\\\\u001b[31mc" in text
    assert "canary" not in text.replace('"canary" +', "")


def test_json_is_one_object_a_line() -> None:
    events = [json.loads(line) for line in written("json").splitlines()]
    assert [event["event"] for event in events] == ["happened", "failed", "library_log", "library_log"]
    assert events[0]["text"].startswith("a\\u000ab\\u000d\\u001b[31mc\\u009b2J")
    assert len(events[0]["long"]) == 300
    assert events[1]["exception"].splitlines()[0] == "  | Traceback (most recent call last):"
    assert events[2]["logger"] == "asyncio"
    assert events[3]["message"] == "(cannot be shown)"


def test_the_console_s_lines_begin_with_a_time_or_a_margin() -> None:
    for line in written("console").splitlines():
        assert re.match(r"20\d\d-\d\d-\d\d.* \[\w+ *\] [a-z_]+|  \| ", line), line


def test_a_level_holds_back_what_is_below_it() -> None:
    assert [json.loads(line)["level"] for line in written("json", "error").splitlines()] == ["error"] * 3
    assert logging.getLogger().level == logging.WARNING  # nothing of it concerns this process
