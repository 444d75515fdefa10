"""Control events: kicks and revocations."""

from __future__ import annotations

import json
import time

import pytest

from publisher import PublishError
from publisher.control import make_kick, make_revocation


def fields_of(event):
    return dict(zip(event.fields[::2], event.fields[1::2], strict=True))


def test_a_kick_goes_to_the_user_it_closes():
    fields = fields_of(make_kick("42", tenant="acme", reason="spam"))
    assert fields[b"k"] == b"control"
    assert fields[b"e"] == b"kick"
    assert fields[b"t"] == b"acme"
    assert fields[b"to"] == b'["user:42"]'
    assert json.loads(fields[b"d"]) == {"code": 4403, "reason": "spam"}


def test_a_kick_may_name_one_client():
    assert fields_of(make_kick(None, client="c-1", code=4409))[b"to"] == b'["client:c-1"]'


@pytest.mark.parametrize(
    ("user", "options"),
    [
        (None, {}),
        ("42", {"client": "c"}),
        ("", {}),
        ("a\nb", {}),
        (7, {}),
        ("42", {"code": 1006}),
        ("42", {"code": "4403"}),
        ("42", {"reason": "ü" * 62}),
        ("42", {"reason": "a\n"}),
        ("42", {"tenant": ""}),
    ],
)
def test_a_bad_kick_is_refused(user, options):
    with pytest.raises(PublishError):
        make_kick(user, **options)


def test_the_longest_reason_fits_a_close_frame():
    assert make_kick("42", reason="ü" * 61 + "x")


def test_a_revoked_token_is_announced_to_all():
    revocation = make_revocation(jti="t-1", tenant="acme", lasts_s=60)
    fields = fields_of(revocation.event)
    assert (fields[b"to"], fields[b"k"], fields[b"e"]) == (b'["all"]', b"control", b"revoke")
    assert json.loads(fields[b"d"]) == {"jti": "t-1"}
    assert json.loads(revocation.member) == ["acme", "jti", "t-1"]
    assert revocation.lasts_s == 60


def test_a_revoked_user_loses_the_tokens_issued_until_now():
    before = int(time.time() * 1000)
    revocation = make_revocation(user="42")
    data = json.loads(fields_of(revocation.event)[b"d"])
    assert data["user"] == "42"
    assert before <= data["issued_before"] <= time.time() * 1000
    assert json.loads(revocation.member) == ["default", "user", "42", data["issued_before"]]
    assert fields_of(revocation.event)[b"to"] == b'["user:42"]'
    assert revocation.lasts_s == 7 * 24 * 3600


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"jti": "a", "user": "b"},
        {"jti": ""},
        {"user": "\x00"},
        {"jti": "a", "lasts_s": 0},
        {"jti": 7},
        {"jti": "a", "lasts_s": float("nan")},
        {"jti": "a", "lasts_s": True},
        {"jti": "a", "tenant": "a b"},
    ],
)
def test_a_bad_revocation_is_refused(options):
    with pytest.raises(PublishError):
        make_revocation(**options)
