"""
What the commands print to: standard output as a shell may have left it.

It may be closed, full, or in an encoding that lacks characters. Whoever prints need not know: a failure is an error of
its own, which nobody takes for one of Redis or of a socket.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO, cast

from gateway.errors import OutputError

_ESCAPED: Final = "gateway-json-escapes"


@contextlib.contextmanager
def guarded(*, needed: bool = True, as_json: bool = False) -> Iterator[None]:
    """
    Replace the standard streams for as long as the context lasts.

    Characters that standard output's encoding lacks become `?`; in JSON they become the escapes that mean them.

    Args:
        needed: Whether the command exists for what it prints; otherwise a closed standard output is an empty one.

    Raises:
        OutputError: Standard output is closed, or what was printed could not be written.
    """
    with contextlib.ExitStack() as stack:
        if sys.stderr is None:  # what is meant for it must not go elsewhere, and its number is not for a file or socket
            stack.enter_context(contextlib.redirect_stderr(stack.enter_context(_nowhere())))
        if sys.stdout is None:
            if needed:
                raise OutputError("standard output: is closed")
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(_nowhere())))
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors=_ESCAPED if as_json else "replace")
        output = cast(TextIO, _Output(sys.stdout))
        stack.enter_context(contextlib.redirect_stdout(output))
        yield
        output.flush()


def abandon() -> None:
    """Let what is still buffered go nowhere: the last flush, when the process ends, would fail too."""
    with contextlib.suppress(OSError, AttributeError):  # closed; or not a file, as in a test
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


class _Output:
    """A stream whose failures are `OutputError`; but for a reader that has gone, of which nothing need be said."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """See `TextIO`."""
        with _told():
            return self._stream.write(text)

    def flush(self) -> None:
        """See `TextIO`."""
        with _told():
            self._stream.flush()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output: cannot be written: {error.strerror}") from None


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Return the JSON escapes (RFC 8259, section 7) of what cannot be encoded; beyond U+FFFF, of both surrogates."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)), error.end


codecs.register_error(_ESCAPED, _escape)
