"""Control calls: announced in the log, and revocations remembered."""

from __future__ import annotations

import json
import time

import pytest

from publisher import PublishError

REVOKED = "tg:{events:0}:revoked"


async def test_a_kick_is_a_control_event(url, open_publisher, entries):
    await open_publisher(url).kick("42", tenant="acme", reason="spam")
    ((_, fields),) = entries()
    assert (fields["k"], fields["e"], fields["to"], fields["t"]) == ("control", "kick", '["user:42"]', "acme")
    assert json.loads(fields["d"]) == {"code": 4403, "reason": "spam"}


async def test_a_kick_may_name_a_client(url, open_publisher, entries):
    await open_publisher(url).kick(client="c-1", code=4409)
    ((_, fields),) = entries()
    assert fields["to"] == '["client:c-1"]'


async def test_a_revoked_token_is_announced_and_remembered(server, url, open_publisher, entries):
    event_id = await open_publisher(url).revoke(jti="t-1", tenant="acme", lasts_s=1000)
    ((entry_id, fields),) = entries()
    assert event_id.startswith(entry_id)
    assert (fields["k"], fields["e"], fields["to"]) == ("control", "revoke", '["all"]')
    assert json.loads(fields["d"]) == {"jti": "t-1"}
    with server.client() as client:
        ((member, until),) = client.zrange(REVOKED, 0, -1, withscores=True)
        assert json.loads(member) == ["acme", "jti", "t-1"]
        assert abs(until - (time.time() + 1000) * 1000) < 20_000
        assert client.execute_command("PEXPIRETIME", REVOKED) == int(until)


async def test_a_revoked_user_is_announced_and_remembered(server, url, open_publisher, entries):
    await open_publisher(url, partitions=4).revoke(user="42")
    ((_, fields),) = entries()
    data = json.loads(fields["d"])
    assert fields["to"] == '["user:42"]'
    with server.client() as client:
        ((member, until),) = client.zrange(REVOKED, 0, -1, withscores=True)
    assert json.loads(member) == ["default", "user", "42", data["issued_before"]]
    assert abs(until - data["issued_before"] - 7 * 24 * 3600 * 1000) < 20_000


async def test_the_set_lives_as_long_as_its_last_member(server, url, open_publisher):
    tide = open_publisher(url)
    await tide.revoke(jti="long", lasts_s=5000)
    await tide.revoke(jti="short", lasts_s=50)
    with server.client() as client:
        assert 4900 < client.ttl(REVOKED) <= 5000


async def test_revoking_again_for_a_shorter_time_does_not_shorten(server, url, open_publisher):
    tide = open_publisher(url)
    await tide.revoke(jti="t", lasts_s=5000)
    await tide.revoke(jti="t", lasts_s=50)
    with server.client() as client:
        ((_, until),) = client.zrange(REVOKED, 0, -1, withscores=True)
    assert until > (time.time() + 4000) * 1000


async def test_expired_members_are_dropped(server, url, open_publisher):
    with server.client() as client:
        client.zadd(REVOKED, {'["default","jti","old"]': time.time() * 1000 - 60_000})
        await open_publisher(url).revoke(jti="new")
        assert client.zrange(REVOKED, 0, -1) == ['["default","jti","new"]']


async def test_a_revocation_that_cannot_be_announced_is_not_remembered(server, url, open_publisher):
    with server.client() as client:
        client.config_set("min-replicas-to-write", 1)
        try:
            with pytest.raises(PublishError):
                await open_publisher(url, retries=0).revoke(jti="t")
        finally:
            client.config_set("min-replicas-to-write", 0)
        assert client.dbsize() == 0


@pytest.mark.parametrize("options", [{}, {"jti": "a", "user": "b"}, {"user": ""}, {"jti": "a", "lasts_s": 0}])
async def test_a_bad_revocation_is_not_sent(url, open_publisher, entries, options):
    with pytest.raises(PublishError):
        await open_publisher(url).revoke(**options)
    assert entries() == []
