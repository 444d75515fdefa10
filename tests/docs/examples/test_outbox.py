"""The outboxes: what is committed is in the log once, whenever and however often the relay is killed."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import random
import signal
import sqlite3
import sys
import threading

import psycopg
import pytest

from publisher import PublishError
from publisher.sync import Publisher
from tests.docs.examples.conftest import FOLDER, started
from tests.support.clients import connected
from tests.support.postgres_server import PostgresServer, postgres_folder
from tests.support.redis_server import RedisServer
from tests.support.terminal import run
from tests.support.waiting import wait_until

KILLS = 10
ORDERS = 100  # before each of them


class Sqlite:
    """outbox_sqlite.py and its database."""

    name = "outbox_sqlite"

    def __init__(self, folder):
        self.example = example(self.name)
        self.arguments = (str(folder / "shop.db"),)
        self.environ = {}

    def connect(self):
        return contextlib.closing(self.example.connect(*self.arguments))

    @contextlib.contextmanager
    def transaction(self):
        with self.connect() as db, db:
            yield db

    async def set_up(self, environ):
        """The example makes its tables when it connects."""


class Postgres:
    """outbox_postgres.py and its database: a fresh one for each test."""

    name = "outbox_postgres"

    def __init__(self, server):
        self.example = example(self.name)
        with psycopg.connect(server.url, autocommit=True) as db:
            name = f"shop{db.execute('SELECT count(*) FROM pg_database').fetchone()[0]}"
            db.execute(f"CREATE DATABASE {name}")
        self.environ = {"DATABASE_URL": server.url.replace("/postgres?", f"/{name}?")}
        self.arguments = ()

    def connect(self):
        return psycopg.connect(self.environ["DATABASE_URL"], autocommit=True)

    @contextlib.contextmanager
    def transaction(self):
        with self.connect() as db, db.transaction():
            yield db

    async def set_up(self, environ):
        await command(self, environ, "setup")


def example(name):
    """Return an example as a module."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def command(shop, environ, *arguments):
    """Run one of the example's commands to its end."""
    line = [sys.executable, f"{shop.name}.py", *shop.arguments, *arguments]
    done = await run(line, cwd=FOLDER, environ={**environ, **shop.environ})
    assert done.status == 0, done.err
    return done.out


@pytest.fixture(scope="module")
def postgres():
    if postgres_folder() is None:
        pytest.skip("needs PostgreSQL")
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
async def shop(request, tmp_path, environ):
    made = Sqlite(tmp_path) if request.param == "sqlite" else Postgres(request.getfixturevalue("postgres"))
    await made.set_up(environ)
    return made


def relaying(shop, environ):
    return started(shop.name, *shop.arguments, environ={**environ, **shop.environ})


def waiting(shop):
    """Return how many events are in the outbox."""
    with shop.connect() as db:
        return db.execute("SELECT count(*) FROM outbox").fetchone()[0]


def place_orders(shop, count):
    """Place orders, one after the other; of every tenth the transaction fails at its end."""
    placed = []
    with shop.connect() as db:
        for number in range(count):
            if number % 10 == 9:
                with pytest.raises(ZeroDivisionError):
                    fail_to_order(shop)
            else:
                placed.append(shop.example.place_order(db, "ada", f"item {number}"))
    return placed


def fail_to_order(shop):
    with shop.transaction() as db:
        shop.example.put(db, "order.placed", {"order": None}, to="user:ada")
        raise ZeroDivisionError


async def test_every_order_reaches_its_customer_once_though_the_relay_is_killed_again_and_again(
    gateway, shop, environ, logged
):
    dice = random.Random(KILLS)
    placed = []
    async with connected(gateway, "ada") as ada:
        for _ in range(KILLS):
            async with relaying(shop, environ) as relay:
                placing = asyncio.create_task(asyncio.to_thread(place_orders, shop, ORDERS))
                goal = len(logged()) + dice.randint(1, ORDERS // 2)  # somewhere in a batch, or between two
                await wait_until(lambda goal=goal: len(logged()) >= goal, 30)
                os.kill(relay.pid, signal.SIGKILL)
            placed += await placing
        async with relaying(shop, environ):
            await wait_until(lambda: waiting(shop) == 0, 60)
        pushes = await ada.received(len(placed))
    assert [frame.data["order"] for frame in pushes] == placed
    assert len(set(logged())) == len(logged()) == len(placed) == KILLS * ORDERS * 9 // 10


async def test_what_was_published_but_not_deleted_is_stored_once(shop, environ, redis_url, logged):
    """The one moment that matters, exactly: killed after the publishing, before the deleting."""
    place_orders(shop, 5)
    with shop.connect() as db, Publisher(redis_url) as tide:
        rows = db.execute("SELECT key, event, address FROM outbox ORDER BY id").fetchall()
        for order, (key, event, address) in enumerate(rows[:3], 1):
            tide.publish(event, {"order": order}, to=address, key=key, message_id=key)
    before = logged()
    async with relaying(shop, environ):
        await wait_until(lambda: waiting(shop) == 0, 30)
    assert len(before) == 3
    assert logged() == [key for key, *_ in rows]


async def test_an_order_and_its_event_are_committed_together_or_not_at_all(shop):
    with shop.connect() as db:
        assert shop.example.place_order(db, "ada", "tea")
    assert waiting(shop) == 1
    with pytest.raises((sqlite3.IntegrityError, psycopg.errors.NotNullViolation)):
        order_for_nobody(shop)
    with pytest.raises(ZeroDivisionError):
        fail_to_order(shop)
    assert waiting(shop) == 1


def order_for_nobody(shop):
    with shop.transaction() as db:
        shop.example.put(db, "order.placed", {}, to="user:ada")
        shop.example.place_order(db, None, "tea")


async def test_an_event_that_could_never_be_sent_undoes_the_order(shop):
    with shop.connect() as db:
        with pytest.raises(PublishError):
            shop.example.place_order(db, "", "tea")  # `user:` is no address
        assert db.execute("SELECT count(*) FROM orders").fetchone()[0] == waiting(shop) == 0


def test_who_opens_a_new_file_while_another_makes_it_waits(tmp_path):
    shop = Sqlite(tmp_path)
    with contextlib.closing(sqlite3.connect(*shop.arguments, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        made = threading.Timer(0.3, other.execute, ["COMMIT"])
        made.start()
        assert place_orders(shop, 1)
        made.join()
    assert waiting(shop) == 1


async def test_orders_wait_in_the_outbox_until_redis_is_back(shop, environ):
    with RedisServer() as server:
        async with relaying(shop, {**environ, "TIDEGATE_REDIS_URL": server.url}) as relay:
            server.kill()
            assert "1" in await command(shop, environ, "ada", "tea")
            await relay.shows("Redis", err=True, timeout_s=30)
            assert waiting(shop) == 1
            server.start()
            await wait_until(lambda: waiting(shop) == 0, 30)
        with server.client() as client:
            assert client.xlen("tg:{events:0}") == 1


async def test_two_relays_lose_nothing_and_repeat_nothing(shop, environ, logged):
    async with relaying(shop, environ) as first, relaying(shop, environ):
        placed = await asyncio.to_thread(place_orders, shop, 100)
        os.kill(first.pid, signal.SIGKILL)
        placed += await asyncio.to_thread(place_orders, shop, 50)
        await wait_until(lambda: waiting(shop) == 0, 30)
    assert len(set(logged())) == len(logged()) == len(placed)
