"""Colours, and what is safe to print."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from gateway.terminal.style import Style, cut, plain_length, printable, style_for, table


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_only_a_terminal_is_painted(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert style_for(Screen())("x", "red") == "\x1b[31mx\x1b[0m"
    assert style_for(io.StringIO())("x", "red") == "x"


def test_a_terminal_may_ask_for_no_colour(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert not style_for(Screen()).coloured
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not style_for(Screen()).coloured


@given(st.text())
def test_nothing_printable_moves_the_cursor(text):
    assert printable(text).isprintable()


def test_escapes_name_what_they_stand_for():
    assert printable("a\x1b[2J\u202e\x9bé") == "a\\u001b[2J\\u202e\\u009bé"


@given(st.text(), st.integers(1, 50))
def test_what_is_cut_fits(text, longest):
    assert len(cut(text, longest)) <= longest
    assert cut(text, longest) == text or cut(text, longest).endswith("…")


def test_a_table_lines_up_what_is_painted():
    red = Style(coloured=True)("12", "red")
    lines = table([("NAME", "N"), ("a", red), ("long one", "3")], right=frozenset({1}))
    assert [plain_length(line) for line in lines] == [12, 12, 12]
    assert lines[2] == "long one   3"
