"""The policy over the wire: production denies, claims and scopes grant, and refused commands change nothing."""

from __future__ import annotations

from typing import Any

from publisher import Publisher
from tests.support.clients import Client, connected, settled
from tests.support.gateway import PRODUCTION_POLICY, running_gateway

ACTIONS: list[tuple[str, dict[str, Any]]] = [
    ("join_group", {"group_id": "x"}),
    ("subscribe", {"topic": "x"}),
    ("add_tag", {"tag": "x"}),
    ("send_message", {"to": "x", "content": 1}),
    ("send_message", {"group_id": "x", "content": 1}),
]


async def codes(client: Client) -> list[int]:
    """Try each action; return the codes, 0 for success."""
    replies = [await client.send(command, data) for command, data in ACTIONS]
    return [reply.data.get("code", 0) for reply in replies]


async def test_production_denies_what_no_claim_grants(redis_url: str, tide: Publisher) -> None:
    async with (
        running_gateway(redis_url, **PRODUCTION_POLICY) as gateway,
        connected(
            gateway, "42", claims={"groups": ["y"], "tags": ["y"], "topics": ["y"], "scope": "admin x"}
        ) as client,
    ):
        assert await codes(client) == [403] * 5
        for kind in ("group", "topic", "tag", "user"):
            await tide.publish("secret", kind, to=f"{kind}:x")
        await settled(tide, client)
        assert client.events == []


async def test_production_grants_what_the_claims_name(redis_url: str) -> None:
    claims = {"groups": ["x"], "tags": ["x"], "topics": ["x"]}
    async with (
        running_gateway(redis_url, **PRODUCTION_POLICY) as gateway,
        connected(gateway, "42", claims=claims) as client,
    ):
        assert await codes(client) == [0, 0, 0, 403, 0]
        for command, field in (("leave_group", "group_id"), ("unsubscribe", "topic"), ("remove_tag", "tag")):
            await client.send(command, {field: "x"})
        assert await codes(client) == [0, 0, 0, 403, 0]  # one may come back


async def test_to_be_named_in_the_claims_for_one_kind_grants_nothing_of_another(redis_url: str) -> None:
    async with running_gateway(redis_url, **PRODUCTION_POLICY) as gateway:
        async with connected(gateway, "x", claims={"groups": ["x"]}) as client:
            assert await codes(client) == [0, 403, 403, 403, 0]
        async with connected(gateway, "42", claims={"topics": ["x"]}) as client:
            assert await codes(client) == [403, 0, 403, 403, 403]
        async with connected(gateway, "42", claims={"tags": ["x"]}) as client:
            assert await codes(client) == [403, 403, 0, 403, 403]


async def test_a_scope_grants_what_the_policy_says(redis_url: str) -> None:
    policy: dict[str, Any] = {
        "policy__join_group": ({"allow": "scope:ops"},),
        "policy__send_to_user": ({"allow": "scope:mail"},),
        "policy__subscribe": ({"pattern": "x", "allow": "scope:news"}, {"allow": "anyone"}),
        "policy__add_tag": ({"allow": "nobody"},),
        "policy__send_to_group": ({"allow": "scope:ops"},),
    }
    async with running_gateway(redis_url, **policy) as gateway:
        async with connected(gateway, claims={"scope": "ops news"}) as client:
            assert await codes(client) == [0, 0, 403, 403, 0]
        async with connected(gateway, claims={"scope": ["mail", "op", "ops2", "OPS"]}) as client:
            assert await codes(client) == [403, 403, 403, 0, 403]
            assert (await client.send("subscribe", {"topic": "y"})).type == "ack"


async def test_the_first_rule_whose_pattern_matches_the_whole_name_decides(redis_url: str) -> None:
    rules = (
        {"pattern": "public/*", "allow": "anyone"},
        {"pattern": "public/secret", "allow": "nobody"},  # too late
        {"pattern": "team-?", "allow": "anyone"},
        {"pattern": "team-*", "allow": "nobody"},
    )
    async with running_gateway(redis_url, policy__subscribe=rules) as gateway, connected(gateway) as client:
        for topic, allowed in {
            "public/a": True,
            "public/secret": True,
            "public/": True,
            "xpublic/a": False,
            "team-1": True,
            "team-12": False,
            "Public/a": False,
            "other": False,
        }.items():
            assert (await client.send("subscribe", {"topic": topic})).type == ("ack" if allowed else "error"), topic


async def test_only_members_may_send_to_a_group(redis_url: str, tide: Publisher) -> None:
    async with (
        running_gateway(redis_url) as gateway,
        connected(gateway, "1") as member,
        connected(gateway, "2") as outsider,
    ):
        await member.send("join_group", {"group_id": "g"})
        message = {"group_id": "g", "content": "x"}
        assert (await outsider.send("send_message", message)).data["code"] == 403
        await outsider.send("join_group", {"group_id": "g"})
        assert (await outsider.send("send_message", message)).type == "ack"
        await outsider.send("leave_group", {"group_id": "g"})
        assert (await outsider.send("send_message", message)).data["code"] == 403
        await settled(tide, member)
        assert len(member.events) == 1


async def test_to_join_is_not_to_be_allowed_to_send(redis_url: str) -> None:
    policy: dict[str, Any] = {"policy__send_to_group": ({"allow": "scope:speaker"},)}
    async with running_gateway(redis_url, **policy) as gateway, connected(gateway) as client:
        await client.send("join_group", {"group_id": "g"})
        assert (await client.send("send_message", {"group_id": "g", "content": "x"})).data["code"] == 403
