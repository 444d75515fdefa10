"""
What the shell's commands share: their common options, JSON from the command line, and what they print.

What is stored stays stored: no trouble with the output changes the exit status, or ends in a traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import Any, Final

from publisher import json_text
from publisher.address import DEFAULT_TENANT
from publisher.errors import PublishError, PublishIncomplete, PublishUnknown
from publisher.location import redis_url
from publisher.sync import Publisher

INTERRUPTED: Final = 130
"""The exit status after Ctrl-C: 128 + SIGINT, as shells count."""

FLAGS: Final = ("--help", "--receipt")
"""The options, of all commands, that take no value."""


def accept_every_character() -> None:
    """Let standard output print a replacement for what its encoding has no bytes for; standard error does already."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the gateways' log is."""
    parser.add_argument("--tenant", default=DEFAULT_TENANT)
    parser.add_argument("--partitions", type=int, default=1, help="how many the gateways are configured with")
    parser.add_argument(
        "--redis",
        metavar="URL",
        help="default: $TIDEGATE_REDIS_URL, $GATEWAY_REDIS__URL, the server of `make run`, or this machine's",
    )


def first_word(arguments: list[str]) -> int | None:
    """Return where the first argument stands that is neither an option nor an option's value; None without one."""
    is_value = False
    for place, argument in enumerate(arguments):
        if is_value:
            is_value = False
        elif not argument.startswith("-") or argument == "-":
            return place
        else:
            short = argument == "-h" or any(flag.startswith(argument) for flag in FLAGS)  # argparse takes beginnings
            is_value = not short and "=" not in argument
    return None


def read_data(text: str, parser: argparse.ArgumentParser, *, from_stdin: bool = False) -> Any:
    """Return the value of JSON text, or of what standard input has where that may be and the text is `-`."""
    try:
        return json_text.loads(_stdin() if from_stdin and text == "-" else text.encode(errors="surrogateescape"))
    except json_text.TooDeep as error:
        parser.error(f"the data is {error}")
    except OSError as error:
        parser.error(f"standard input cannot be read: {error.strerror}")
    except ValueError as error:
        parser.error(f"the data is not JSON: {error}")


def _stdin() -> bytes:
    if sys.stdin is None:
        raise OSError(0, "it is closed")
    return sys.stdin.buffer.read()


def open_publisher(options: argparse.Namespace, parser: argparse.ArgumentParser) -> Publisher:
    """Return the publisher that the common options describe."""
    try:
        return Publisher(redis_url(options.redis), partitions=options.partitions)
    except ValueError as error:
        parser.error(str(error))


def print_ids(ids: list[str]) -> None:
    """Print what was stored, one id a line; on standard error where that does not work."""
    try:
        if sys.stdout is None:
            raise OSError(0, "standard output is closed")
        print("\n".join(ids), flush=True)
    except OSError as error:
        say(f"publisher: stored as {', '.join(dict.fromkeys(ids))}, but it could not be printed: {error.strerror}")
        _give_up_stdout()


def _give_up_stdout() -> None:
    """Let what is still in the buffer go nowhere: Python writes it at the exit, and would fail again."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def report(error: PublishError, key: str | None = None) -> int:
    """Say why something was not stored, and under which key to repeat it; return the exit status."""
    say(f"publisher: {error}")
    if isinstance(error, PublishUnknown):
        key = error.key or key
    if key is not None and isinstance(error, PublishUnknown | PublishIncomplete):
        say(f"publisher: repeat it with --key {key}: nothing is stored twice")
    return 1


def say(line: str) -> None:
    """Print a line on standard error, if there is one."""
    if sys.stderr is not None:  # or else `print` would take standard output
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr, flush=True)
