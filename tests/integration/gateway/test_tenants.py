"""
A hundred tenants with the same users, groups, tags and topics on two instances, doing whatever there is to do: nobody
gets, or reads, anything of another's.

`OPERATIONS` is the table of what can be done. Whoever adds a way to send or to read adds a line: an operation puts
`scene.mark(tenant)` into all it writes, and hands back all that it read.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from publisher import Publisher
from tests.support.clients import Client, connected, settled
from tests.support.gateway import RunningGateway, make_token, running_gateway

TENANTS = [f"t{number}" for number in range(100)]
ROUNDS = 12
USERS = ("1", "2")
NAMES = {"groups": ["g"], "tags": ["v"], "topics": ["x"]}
MARK = re.compile(r"mark-(t\d+)-\d+")


@dataclass
class Scene:
    """
    Everybody, and what each tenant has to have seen.

    Attributes:
        clients: Two of each tenant.
        expected: What user 1 of each tenant must get.
    """

    gateways: tuple[RunningGateway, RunningGateway]
    tide: Publisher
    http: httpx.AsyncClient
    chance: random.Random
    clients: dict[str, list[Client]] = field(default_factory=dict)
    expected: dict[str, set[str]] = field(default_factory=dict)
    cursors: list[str] = field(default_factory=list)
    _numbers: Any = field(default_factory=itertools.count)

    def mark(self, tenant: str, *, to_user_1: bool = False) -> str:
        """Return a new text of a tenant's own."""
        mark = f"mark-{tenant}-{next(self._numbers)}"
        if to_user_1:
            self.expected.setdefault(tenant, set()).add(mark)
        return mark

    def other(self, tenant: str) -> str:
        """Return another tenant."""
        return self.chance.choice([name for name in self.clients if name != tenant])

    def service(self, tenant: str) -> dict[str, str]:
        """Return the credential of a tenant's service."""
        return {"Authorization": f"Bearer {make_token('svc', tenant=tenant, scope='push')}"}

    async def call(self, tenant: str, method: str, path: str, **options: Any) -> httpx.Response:
        """Call the HTTP API for a tenant."""
        return await self.http.request(method, path, headers=self.service(tenant), **options)


Operation = Callable[[Scene, str], Awaitable[str]]


async def publish(scene: Scene, tenant: str) -> str:
    to = scene.chance.choice(["all", "user:1", "group:g", "tag:v", "topic:x"])
    await scene.tide.publish("e", scene.mark(tenant, to_user_1=True), to=to, tenant=tenant)
    return ""


async def publish_to_a_client_of_another(scene: Scene, tenant: str) -> str:
    foreign = scene.clients[scene.other(tenant)][0].client_id
    own = scene.mark(tenant, to_user_1=True)
    await scene.tide.publish("e", own, to=[f"client:{foreign}", "user:1"], tenant=tenant)
    return ""


async def publish_under_one_key(scene: Scene, tenant: str) -> str:
    mark = scene.mark(tenant, to_user_1=True)
    # The same key as others' in the same moment: for each tenant another event.
    await scene.tide.publish("e", mark, to="user:1", tenant=tenant, key=f"order-{mark.rpartition('-')[2]}")
    await scene.tide.publish("e", scene.mark(tenant), to="user:1", tenant=tenant, key="the-same-for-all")
    return ""


async def push_by_http(scene: Scene, tenant: str) -> str:
    path, target = scene.chance.choice(
        [
            ("all", {}),
            ("user", {"user_id": "1"}),
            ("group", {"group_id": "g"}),
            ("tag", {"tag": "v"}),
            ("topic", {"topic": "x"}),
        ]
    )
    body = {**target, "event": "e", "data": scene.mark(tenant, to_user_1=True)}
    answer = await scene.call(tenant, "POST", f"/message/push/{path}", json=body)
    assert answer.status_code == 202, answer.text
    return answer.text


async def push_into_another_by_http(scene: Scene, tenant: str) -> str:
    body = {"event": "e", "data": scene.mark(tenant), "tenant": scene.other(tenant)}
    answer = await scene.call(tenant, "POST", "/message/push/all", json=body)
    assert answer.status_code == 403
    return answer.text


async def kick_a_client_of_another(scene: Scene, tenant: str) -> str:
    foreign = scene.clients[scene.other(tenant)][0].client_id
    answer = await scene.call(tenant, "POST", f"/api/v1/clients/{foreign}/kick")
    assert answer.status_code == 202  # in its own tenant, where there is no such connection
    return answer.text


async def revoke_a_stranger(scene: Scene, tenant: str) -> str:
    answer = await scene.call(tenant, "POST", "/api/v1/tokens/somebody-s/revoke")
    assert answer.status_code == 202
    return answer.text


async def chat(scene: Scene, tenant: str) -> str:
    sender = scene.clients[tenant][1]
    target = scene.chance.choice([{"group_id": "g"}, {"to": "1"}])
    reply = await sender.send("send_message", {**target, "content": scene.mark(tenant, to_user_1=True)})
    assert reply.type == "ack", reply
    return json.dumps(reply.data)


async def join_and_leave(scene: Scene, tenant: str) -> str:
    client = scene.clients[tenant][1]
    since = scene.chance.choice([None, *scene.cursors[-50:]])  # a position is everybody's; what is read there is not
    name = scene.chance.choice(["x", "y"])
    data = {"topic": name} | ({"since": since} if since else {})
    read = []
    for kind, arguments in (("unsubscribe", {"topic": name}), ("subscribe", data), ("get_client_info", None)):
        read.append(await client.send(kind, arguments))
    return json.dumps([reply.data for reply in read])


async def resume(scene: Scene, tenant: str) -> str:
    cursor = scene.chance.choice(scene.cursors or [scene.clients[tenant][0].cursor])
    gateway = scene.chance.choice(scene.gateways)
    claims = {"tenant": tenant, **NAMES}
    async with connected(gateway, "1", cursor=cursor, claims=claims) as client:
        await client.send("ping")
        read = json.dumps([frame.data for frame in client.frames])
        scene.cursors.append(client.cursor)
    return read


async def notify_and_read_the_inbox(scene: Scene, tenant: str) -> str:
    await scene.tide.notify("1", title=scene.mark(tenant, to_user_1=True), tenant=tenant)
    foreign = scene.chance.choice([client for other in scene.clients.values() for client in other[:1]])
    ids = [frame.id for frame in foreign.frames if frame.type == "notification"][-1:]
    own = {"Authorization": f"Bearer {make_token('1', tenant=tenant)}"}
    read = [await scene.http.get("/api/v1/notifications", headers=own)]
    read += [await scene.http.get(f"/api/v1/notifications/{notification}", headers=own) for notification in ids]
    read.append(await scene.call(tenant, "GET", "/api/v1/notifications?user_id=1&page_size=100"))
    return " ".join(answer.text for answer in read)


async def mark_read(scene: Scene, tenant: str) -> str:
    return json.dumps((await scene.clients[tenant][0].send("mark_read", {"all": True})).data)


async def read_the_history(scene: Scene, tenant: str) -> str:
    reply = await scene.clients[tenant][0].send("get_history", {"group_id": "g", "limit": 100})
    answer = await scene.call(tenant, "GET", "/api/v1/groups/g/history?limit=100")
    return json.dumps(reply.data) + answer.text


async def change_members(scene: Scene, tenant: str) -> str:
    member = scene.mark(tenant)
    read = [await scene.call(tenant, "PUT", f"/api/v1/groups/crew/members/{member}")]
    read.append(await scene.call(tenant, "GET", "/api/v1/groups/crew/members?page_size=1000"))
    read.append(await scene.call(tenant, "GET", f"/api/v1/users/{member}/groups"))
    assert [answer.status_code for answer in read] == [200] * 3, [answer.text for answer in read]
    assert member in read[1].text
    return " ".join(answer.text for answer in read)


async def be_online(scene: Scene, tenant: str) -> str:
    user = scene.mark(tenant)
    async with connected(scene.chance.choice(scene.gateways), user, claims={"tenant": tenant, **NAMES}) as client:
        foreign = next(iter(scene.clients[scene.other(tenant)])).client_id
        read = [(await client.send("get_presence", {"group_id": "g"})).data]
        read.append((await client.send("get_online_status", {"user_ids": ["1", user, foreign]})).data)
        for path in ("/api/v1/users/online?page_size=1000", "/api/v1/groups/g/presence", "/message/clients"):
            read.append((await scene.call(tenant, "GET", path)).text)
    return json.dumps(read)


async def read_a_receipt_of_another(scene: Scene, tenant: str) -> str:
    other = scene.other(tenant)
    event = await scene.tide.publish("e", scene.mark(other), to="user:2", tenant=other, receipt=True)
    answer = await scene.call(tenant, "GET", f"/api/v1/receipts/{event}")
    assert answer.status_code == 404, answer.text
    return answer.text


OPERATIONS: dict[str, Operation] = {
    "notify and read the inbox": notify_and_read_the_inbox,
    "mark read": mark_read,
    "read the history": read_the_history,
    "change members": change_members,
    "be online": be_online,
    "read a receipt of another": read_a_receipt_of_another,
    "publish": publish,
    "publish to a client of another": publish_to_a_client_of_another,
    "publish under one key": publish_under_one_key,
    "push by HTTP": push_by_http,
    "push into another by HTTP": push_into_another_by_http,
    "kick a client of another": kick_a_client_of_another,
    "revoke a stranger": revoke_a_stranger,
    "chat": chat,
    "join and leave": join_and_leave,
    "resume": resume,
}


@contextlib.asynccontextmanager
async def together(redis_url: str, chance: random.Random, tenants: Sequence[str]) -> AsyncIterator[Scene]:
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        # All of them at once are slow, on a slow machine.
        kept: dict[str, Any] = {"history__groups": ["*"], "presence__groups": ["*"], "redis__timeout_s": 60}
        gateways = (await enter(running_gateway(redis_url, **kept)), await enter(running_gateway(redis_url, **kept)))
        http = await enter(httpx.AsyncClient(base_url=gateways[0].http_url, trust_env=False, timeout=60))
        scene = Scene(gateways, await enter(Publisher(redis_url, timeout_s=60)), http, chance)
        for tenant in tenants:
            claims = {"tenant": tenant, **NAMES}
            scene.clients[tenant] = [
                await enter(connected(chance.choice(gateways), user, claims=claims)) for user in USERS
            ]
        yield scene


def foreign_marks(tenant: str, text: str) -> list[str]:
    return [found[0] for found in MARK.finditer(text) if found[1] != tenant]


async def test_no_tenant_gets_or_reads_anything_of_another(redis_url: str) -> None:
    seed = random.randrange(10**9)
    chance = random.Random(seed)
    print(f"seed {seed}")
    async with together(redis_url, chance, TENANTS) as scene:

        async def live(tenant: str) -> None:
            for name in chance.choices(list(OPERATIONS), k=ROUNDS):
                read = await OPERATIONS[name](scene, tenant)
                assert foreign_marks(tenant, read) == [], (seed, name)

        await asyncio.gather(*map(live, TENANTS))
        for tenant, clients in scene.clients.items():
            await settled(scene.tide, *clients, tenant=tenant)
            for client in clients:
                seen = json.dumps([frame.data for frame in client.frames])
                assert foreign_marks(tenant, seen) == [], (seed, tenant)
                assert (await client.send("ping")).type == "pong"  # nobody else closed it
            seen = json.dumps([frame.data for frame in clients[0].frames])
            assert {mark for mark in scene.expected.get(tenant, set()) if mark not in seen} == set(), (seed, tenant)
        assert sum(map(len, scene.expected.values())) > 2 * len(TENANTS)


async def test_every_operation_is_run_for_two_tenants_at_least(redis_url: str) -> None:
    chance = random.Random(1)
    async with together(redis_url, chance, TENANTS[:5]) as scene:
        for name, operation in OPERATIONS.items():
            for tenant in TENANTS[:2]:
                assert foreign_marks(tenant, await operation(scene, tenant)) == [], name
