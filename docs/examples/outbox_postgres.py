"""
A transactional outbox in PostgreSQL: an order and its event are committed together, or neither is.

    export DATABASE_URL=postgresql://…
    python outbox_postgres.py setup        creates the tables
    python outbox_postgres.py              the relay: takes events from the outbox to the log
    python outbox_postgres.py ada tea      places an order

The relay may be killed at any moment, and there may be several: the others wait, and one of them takes over.
"""

import os
import sys
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.types.json import Jsonb

from publisher import PublishUnavailable, PublishUnknown, make_event, redis_url
from publisher.sync import Publisher

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (id bigserial PRIMARY KEY, customer text NOT NULL, item text NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
    id bigserial PRIMARY KEY,
    key text NOT NULL,
    event text NOT NULL,
    data jsonb NOT NULL,
    address text NOT NULL
);
"""
DAY_S = 86_400
BATCH = 100
THE_RELAY = 0x71DE  # any number that nobody else in the database locks


def connect() -> psycopg.Connection:
    return psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)


# The service


def place_order(db: psycopg.Connection, customer: str, item: str) -> int:
    """Store an order and what its customer is told, in one transaction."""
    with db.transaction():
        (order,) = db.execute(
            "INSERT INTO orders (customer, item) VALUES (%s, %s) RETURNING id", (customer, item)
        ).fetchone()
        put(db, "order.placed", {"order": order, "item": item}, to=f"user:{customer}")
    return order


def put(db: psycopg.Connection, event: str, data: Any, *, to: str) -> None:
    """Write an event into the outbox, within the caller's transaction, and wake the relay when that commits."""
    make_event(event, data, to=to)  # raises for what could never be sent, while it can still be undone
    db.execute(
        "INSERT INTO outbox (key, event, data, address) VALUES (%s, %s, %s, %s)",
        (str(uuid4()), event, Jsonb(data), to),
    )
    db.execute("NOTIFY outbox")


# The relay


def relay(db: psycopg.Connection, tide: Publisher) -> int:
    """Publish the oldest events, in order, then delete them; return how many."""
    rows = db.execute("SELECT id, key, event, data, address FROM outbox ORDER BY id LIMIT %s", (BATCH,)).fetchall()
    for _, key, event, data, address in rows:
        tide.publish(event, data, to=address, key=key, message_id=key)
    # Only now: killed before this, it publishes them again, and the keys make that once. By their ids, for an
    # earlier number may be committed later, while we are at it.
    db.execute("DELETE FROM outbox WHERE id = ANY(%s)", ([row[0] for row in rows],))
    return len(rows)


def run_relay() -> None:
    """Relay for ever, as soon as no other does."""
    with connect() as db, Publisher(redis_url(), key_ttl_s=DAY_S) as tide:  # a relay may be down for a day
        db.execute("SELECT pg_advisory_lock(%s)", (THE_RELAY,))  # let go when the session ends, however it ends
        db.execute("LISTEN outbox")
        while True:
            try:
                idle = relay(db, tide) == 0
            except (PublishUnavailable, PublishUnknown) as error:
                print(error, file=sys.stderr)
                idle = True
            if idle:
                list(db.notifies(timeout=1, stop_after=1))


if __name__ == "__main__":
    if len(sys.argv) == 1:
        run_relay()
    else:
        with connect() as db:
            print(db.execute(SCHEMA).statusmessage if sys.argv[1:] == ["setup"] else place_order(db, *sys.argv[1:]))
