"""
A transactional outbox in SQLite: an order and its event are committed together, or neither is.

    python outbox_sqlite.py shop.db            the relay: takes events from the outbox to the log
    python outbox_sqlite.py shop.db ada tea    places an order

The relay may be killed at any moment. What it had published but not yet deleted it publishes again, under the same
key: it is stored once.
"""

import contextlib
import sqlite3
import sys
import time
from typing import Any
from uuid import uuid4

import orjson

from publisher import PublishUnavailable, PublishUnknown, make_event, redis_url
from publisher.sync import Publisher

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL, item TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL,
    event TEXT NOT NULL,
    data TEXT NOT NULL,
    address TEXT NOT NULL
);
"""
DAY_S = 86_400
BATCH = 100


def connect(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=30)
    with contextlib.suppress(sqlite3.OperationalError):  # locked: for this, SQLite does not wait; the next one does it
        db.execute("PRAGMA journal_mode = WAL")  # the relay's reading does not block the service
    db.executescript(SCHEMA)
    return db


# The service


def place_order(db: sqlite3.Connection, customer: str, item: str) -> int:
    """Store an order and what its customer is told, in one transaction."""
    with db:
        order = db.execute("INSERT INTO orders (customer, item) VALUES (?, ?)", (customer, item)).lastrowid
        put(db, "order.placed", {"order": order, "item": item}, to=f"user:{customer}")
    return order


def put(db: sqlite3.Connection, event: str, data: Any, *, to: str) -> None:
    """Write an event into the outbox, within the caller's transaction."""
    make_event(event, data, to=to)  # raises for what could never be sent, while it can still be undone
    db.execute(
        "INSERT INTO outbox (key, event, data, address) VALUES (?, ?, ?, ?)",
        (str(uuid4()), event, orjson.dumps(data).decode(), to),
    )


# The relay


def relay(db: sqlite3.Connection, tide: Publisher) -> int:
    """Publish the oldest events, in order, then delete them; return how many."""
    rows = db.execute("SELECT id, key, event, data, address FROM outbox ORDER BY id LIMIT ?", (BATCH,)).fetchall()
    for _, key, event, data, address in rows:
        tide.publish(event, orjson.loads(data), to=address, key=key, message_id=key)
    with db:  # only now: killed before this, it publishes them again, and the keys make that once
        db.executemany("DELETE FROM outbox WHERE id = ?", [(row[0],) for row in rows])
    return len(rows)


def run_relay(path: str) -> None:
    """Relay for ever. One relay keeps the order; several lose nothing either."""
    db = connect(path)
    with Publisher(redis_url(), key_ttl_s=DAY_S) as tide:  # a relay may be down for a day
        while True:
            try:
                idle = relay(db, tide) == 0
            except (PublishUnavailable, PublishUnknown) as error:
                print(error, file=sys.stderr)
                idle = True
            if idle:
                time.sleep(0.2)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        run_relay(sys.argv[1])
    else:
        print(place_order(connect(sys.argv[1]), *sys.argv[2:]))
