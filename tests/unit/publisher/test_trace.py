"""The trace of an event: what is one, and what it costs where there is none."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gateway.decoder import EntryDecoder
from gateway.wire.v1 import event_text
from publisher import make_event
from publisher.event import F_TRACE
from publisher.trace import current_traceparent, is_traceparent

GOOD = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
BAD = [
    b"",
    GOOD[:-1],
    GOOD + b"-",
    GOOD + b"\n",
    GOOD.upper(),
    b"ff" + GOOD[2:],
    b"00-" + b"0" * 32 + GOOD[35:],
    GOOD[:36] + b"0" * 16 + GOOD[52:],
    GOOD.replace(b"-", b'"'),
]


def decoded(*more: bytes):
    fields = [*make_event("e", 1, to="all", message_id="m").fields, *more]
    return EntryDecoder(0).decode(b"1-0", fields)


def test_a_good_one_stands_in_the_frame():
    assert is_traceparent(GOOD)
    entry = decoded(F_TRACE, GOOD)
    assert entry.options is not None
    assert b'"traceparent":"' + GOOD + b'"' in event_text(entry, "e1")


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_one_in_the_log_is_as_good_as_none(bad):
    entry = decoded(F_TRACE, bad)
    assert entry.options is None  # so it takes the fast path
    assert b"traceparent" not in event_text(entry, "e1")


def test_without_a_span_an_entry_has_the_six_fields():
    assert current_traceparent() is None
    assert len(make_event("e", 1, to="all").fields) == 12


ABSENT = "import sys; sys.modules['opentelemetry'] = None\n"


def run(code):
    """Run code where OpenTelemetry is not installed; return what it prints."""
    return subprocess.run([sys.executable, "-c", ABSENT + code], check=True, capture_output=True, text=True).stdout


def test_a_publisher_and_what_delivers_do_without_opentelemetry():
    assert run("import gateway.wiring, publisher; print(len(publisher.make_event('e', 1, to='all').fields))") == "12\n"


def test_tracing_without_opentelemetry_says_what_to_install():
    code = """
from gateway.errors import ConfigError
from gateway.tracing import open_tracing
try:
    open_tracing('i')
except ConfigError as error:
    print(error)
"""
    said = run(code)
    assert "tracing.enabled" in said
    assert "tidegate[gateway,otel]" in said
