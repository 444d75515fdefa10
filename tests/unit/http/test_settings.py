"""The settings of the HTTP API."""

from __future__ import annotations

import pytest

from gateway.errors import ConfigError
from gateway.settings import load
from tests.docs.markdown import ROOT

HASH = "0" * 64
KEY = {"name": "billing", "hash": HASH}


def problem_of(**settings):
    with pytest.raises(ConfigError) as caught:
        load(**settings)
    return str(caught.value)


def test_the_example_file_states_the_defaults():
    example = load(ROOT / "etc/gateway.yaml").http
    assert example == load().http


def test_it_is_on_by_default_and_its_documentation_in_dev_mode_only():
    assert load().http.enabled
    assert load().http.port == 8890
    assert not load().http_docs
    assert load(mode="dev").http_docs
    assert not load(mode="dev", http={"docs": False}).http_docs


def test_it_listens_where_the_sockets_do_unless_told():
    assert load(listen={"host": "10.0.0.1"}).http_host == "10.0.0.1"
    assert load(listen={"host": "10.0.0.1"}, http={"host": "127.0.0.1"}).http_host == "127.0.0.1"


def test_dev_mode_is_for_this_machine_only():
    assert "http.host" in problem_of(mode="dev", http={"host": "10.0.0.1"})


@pytest.mark.parametrize("hash", ["", "0" * 63, "Z" * 64, "a-key-in-the-clear"])
def test_a_key_that_is_not_hashed_is_refused_and_not_shown(hash):
    problem = problem_of(http={"api_keys": [{**KEY, "hash": hash}]})
    assert "http.api_keys.0.hash" in problem
    assert not hash or hash not in problem


def test_a_key_belongs_to_one_tenant():
    assert load(http={"api_keys": [{**KEY, "tenant": "acme"}]}).http.api_keys[0].tenant == "acme"
    assert "tenant" in problem_of(http={"api_keys": [{**KEY, "tenant": "a b"}]})


def test_keys_differ():
    assert "same name" in problem_of(http={"api_keys": [KEY, {**KEY, "hash": "1" * 64}]})
    assert "same hash" in problem_of(http={"api_keys": [KEY, {**KEY, "name": "other"}]})


def test_an_unknown_option_of_a_key_is_answered_with_those_there_are():
    assert "name, hash, tenant" in problem_of(http={"api_keys": [{**KEY, "scope": "push"}]})
