"""Gateways that write inboxes die at random: each notification is in each inbox once, and the count is right."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter

import pytest

from gateway.store.connection import connect
from gateway.store.inbox import Inbox, inbox_rules
from publisher import Publisher, PublishError
from publisher.event import KIND_NOTIFY
from publisher.keys import inbox_work, stream
from tests.e2e.failures.scene import PATIENCE_S
from tests.support.clients import connected
from tests.support.gateway import GatewayProcess
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

USERS = [str(number) for number in range(150)]
RULES = inbox_rules(partitions=1, maxlen=1_000_000, max_entries=10_000, retention_days=30)


class Notifier:
    """
    Notifies in a hurry.

    Attributes:
        promised: User → how many notifications were acknowledged.
    """

    def __init__(self, tide: Publisher, chance: random.Random) -> None:
        self.promised: Counter[str] = Counter()
        self.in_doubt = 0
        self._tide = tide
        self._chance = chance

    @contextlib.asynccontextmanager
    async def going_on(self):
        """Notify for as long as the context lasts."""
        ended = asyncio.Event()
        task = asyncio.create_task(self._go_on(ended), name="notifier")
        try:
            yield
        finally:
            ended.set()
            await task

    async def _go_on(self, ended: asyncio.Event) -> None:
        while not ended.is_set():
            users = self._chance.sample(USERS, self._chance.choice((1, 3, 120)))
            try:
                await self._tide.notify(users, title="t")
                self.promised.update(users)
            except PublishError:
                self.in_doubt += 1
            await asyncio.sleep(0.002)


async def _is_idle(redis) -> bool:
    work = inbox_work(0)
    return await redis.xlen(work) == 0 and (await redis.xpending(work, "projector"))["pending"] == 0


@pytest.mark.parametrize("seed", [1])
async def test_each_notification_is_written_once_though_gateways_are_killed(server: RedisServer, seed: int) -> None:
    chance = random.Random(seed)
    redis = connect(server.url, 10)
    boxes = Inbox(redis, RULES, timeout_s=10)
    settings = {"inbox__max_entries": 10_000}
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(redis.aclose)
        gateways = [await stack.enter_async_context(GatewayProcess(server.url, **settings)) for _ in range(3)]
        tide = await stack.enter_async_context(Publisher(server.url, timeout_s=PATIENCE_S))
        notifier = Notifier(tide, chance)
        async with notifier.going_on():
            for _ in range(5):
                before = sum(notifier.promised.values())
                await wait_until(lambda before=before: sum(notifier.promised.values()) > before + 1_000, 60)
                victim = chance.choice(gateways)
                victim.kill()
                await victim.start()
        gateways[0].kill()  # the last one does not come back: its work is claimed by the others
        await wait_until(lambda: _is_idle(redis), 60)
        assert notifier.in_doubt == 0
        for user in USERS:
            page = await boxes.page("default", user, page=1, size=10_000)
            assert (page.total, page.unread) == (notifier.promised[user],) * 2, user
            assert (await boxes.check("default", user)).right
        await _check_what_was_told(redis, notifier)
        async with connected(gateways[1], "0") as client:
            assert (await client.send("mark_read", {"all": True})).data["unread_count"] == 0


async def _check_what_was_told(redis, notifier: Notifier) -> None:
    """Each user was told each number once, counting up; and the log has what the inboxes have."""
    told: dict[bytes, list[int]] = {}
    pushed = 0
    for _, fields in await redis.xrange(stream(0)):
        if fields[b"e"] == b"unread_count":
            told.setdefault(fields[b"to"], []).append(int(fields[b"d"][len(b'{"unread_count":') : -1]))
        elif fields.get(b"k") == KIND_NOTIFY:
            pushed += fields[b"to"].count(b"user:")
    for user in USERS:
        assert told.get(b'["user:%b"]' % user.encode(), []) == list(range(1, notifier.promised[user] + 1))
    assert pushed == sum(notifier.promised.values())
