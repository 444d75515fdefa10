"""`python -m publisher` where output, input or replies go wrong, and options before `notify`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from publisher import Cursor
from publisher.__main__ import _parser as publish_parser
from publisher.__main__ import main
from publisher.notify_command import _parser as notify_parser
from publisher.shell import FLAGS, first_word
from tests.support.tcp_proxy import TcpProxy

REPOSITORY = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "publisher"]
NOTIFICATION = ["notify", "42", "--title", "t"]


def sh(line, *arguments, **environ):
    """Run a line of shell in which `"$@"` is the command."""
    return subprocess.run(
        ["sh", "-c", line, "sh", *COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=REPOSITORY,
        env=os.environ | environ,
        timeout=60,
    )


def log_of(server):
    with server.client() as client:
        return client.xrange("tg:{events:0}")


@pytest.mark.parametrize("end", ["> /dev/full", ">&-"])
@pytest.mark.parametrize("what", [["all", "e", "1"], NOTIFICATION])
def test_what_is_stored_but_cannot_be_printed_is_a_success(redis_server, redis_url, end, what):
    done = sh(f'"$@" {end}; echo "status $?" >&2', *what, "--redis", redis_url)
    ((entry_id, _),) = log_of(redis_server)
    said = done.stderr.decode()
    assert f"publisher: stored as {entry_id}" in said
    assert "but it could not be printed: " in said
    assert said.count("\n") == 2
    assert said.endswith("status 0\n")


def test_without_any_output_it_is_a_success_as_well(redis_server, redis_url):
    done = sh('"$@" >&- 2>&-', "all", "e", "1", "--redis", redis_url)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert len(log_of(redis_server)) == 1


def test_ctrl_c_while_it_reads_ends_it_quietly():
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", _SAYS_WHEN_IT_READS, "all", "e", "-"],
        stdin=reading,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
    ) as process:
        assert process.stdout.readline() == b"reads\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    os.close(reading)
    os.close(writing)
    assert (process.returncode, out, err) == (130, b"", b"")


# Says when the command begins to read.
_SAYS_WHEN_IT_READS = """
import sys
class Buffer:
    def read(self):
        print("reads", flush=True)
        return real.read()
class Stdin:
    buffer = Buffer()
real, sys.stdin = sys.stdin.buffer, Stdin()
from publisher.__main__ import main
sys.exit(main())
"""


def test_standard_input_that_is_closed_is_wrong_usage():
    done = sh('"$@" <&-', "all", "e", "-")
    assert done.returncode == 2
    assert b"standard input cannot be read: it is closed" in done.stderr


@pytest.mark.parametrize("environ", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
@pytest.mark.parametrize("arguments", [["--help"], ["notify", "--help"]])
def test_a_terminal_without_utf_8_can_be_helped(environ, arguments):
    done = sh('"$@"', *arguments, PYTHONCOERCECLOCALE="0", **environ)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"usage: python -m publisher")


@pytest.mark.parametrize("before", [[], ["--tenant=acme"], ["--tenant", "acme", "--key", "notify"], ["--title", "x"]])
def test_options_may_stand_before_notify(redis_server, redis_url, before):
    assert main(["--redis", redis_url, *before, *NOTIFICATION]) == 0
    ((_, fields),) = log_of(redis_server)
    assert (fields["k"], fields["to"]) == ("notify", '["user:42"]')


@pytest.mark.parametrize("before", [[], ["--key", "notify"], ["--receipt"], ["--rec", "--collapse", "notify"]])
def test_notify_elsewhere_is_a_word_like_any_other(redis_server, redis_url, before):
    assert main(["--redis", redis_url, *before, "all", "notify", "1"]) == 0
    ((_, fields),) = log_of(redis_server)
    assert (fields["e"], fields["to"]) == ("notify", '["all"]')


@pytest.mark.parametrize("parser", [publish_parser(), notify_parser()])
def test_all_options_but_the_flags_take_a_value(parser):
    flags = [name for action in parser._actions if action.nargs == 0 for name in action.option_strings]
    assert {name for name in flags if name.startswith("--")} <= set(FLAGS)


def test_without_a_word_there_is_none():
    assert [first_word(given) for given in ([], ["-h"], ["--redis"], ["--redis", "x"])] == [None] * 4


@pytest.mark.parametrize("what", [["all", "e", "1"], NOTIFICATION, ["notify", "1,2", "--title", "t"]])
def test_what_is_unknown_can_be_repeated_under_the_key_that_is_printed(redis_server, redis_url, capsys, what):
    with TcpProxy(redis_server.port) as proxy:
        arguments = [*what, "--redis", proxy.url]
        proxy.lose_replies(4)
        assert main(arguments) == 1
        ((entry_id, _),) = log_of(redis_server)
        (key,) = re.findall(r"repeat it with --key (\w+): nothing is stored twice", capsys.readouterr().err)
        assert main([*arguments, "--key", key]) == 0
    assert str(Cursor.parse(capsys.readouterr().out.split()[0])).startswith(entry_id)
    assert len(log_of(redis_server)) == 1


@pytest.mark.parametrize("what", [["all", "e", "["], ["notify", "42", "--title", "t", "--data", "["]])
def test_data_that_is_nested_too_deep_is_json_all_the_same(capsys, what):
    with pytest.raises(SystemExit):
        main([*what[:-1], "[" * 65 + "]" * 65])
    assert "error: the data is nested more than 64 levels deep\n" in capsys.readouterr().err
