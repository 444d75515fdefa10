"""Where Redis is, when nobody says."""

from __future__ import annotations

import socket

from publisher import redis_url

BOTH = {"TIDEGATE_REDIS_URL": "redis://one", "GATEWAY_REDIS__URL": "redis://two"}


def test_what_is_given_comes_first(tmp_path):
    assert redis_url("redis://given", environ=BOTH, folder=tmp_path) == "redis://given"


def test_then_the_environment_of_the_publisher_and_then_of_the_gateway(tmp_path):
    assert redis_url(environ=BOTH, folder=tmp_path) == "redis://one"
    assert redis_url(environ={"GATEWAY_REDIS__URL": "redis://two"}, folder=tmp_path) == "redis://two"
    assert redis_url("", environ={**BOTH, "TIDEGATE_REDIS_URL": ""}, folder=tmp_path) == "redis://two"


def test_then_the_dev_server_of_the_folder(tmp_path, monkeypatch):
    (tmp_path / ".tidegate").mkdir()
    monkeypatch.chdir(tmp_path)  # a unix socket's path is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(".tidegate/redis.sock")
        assert redis_url(environ={}) == f"unix://{tmp_path}/.tidegate/redis.sock"


def test_a_file_of_that_name_is_no_server(tmp_path):
    (tmp_path / ".tidegate").mkdir()
    (tmp_path / ".tidegate" / "redis.sock").touch()
    assert redis_url(environ={}, folder=tmp_path) == "redis://127.0.0.1:6379/0"


def test_at_last_this_machine(tmp_path):
    assert redis_url(environ={}, folder=tmp_path) == "redis://127.0.0.1:6379/0"
