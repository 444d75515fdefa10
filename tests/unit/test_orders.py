"""Orders: control events close connections and are remembered; what is not understood is poison, never fatal."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any, cast

import orjson
import pytest
from structlog.testing import capture_logs

from gateway.clients import Census
from gateway.connection import Connection
from gateway.decoder import EntryDecoder
from gateway.entry import Entry
from gateway.errors import PoisonEntry
from gateway.explain import Explainer
from gateway.fanout import Fanout
from gateway.hub import Hub
from gateway.identity import identity_from_claims
from gateway.log import Log
from gateway.members import Members
from gateway.metrics import Metrics
from gateway.orders import Orders
from gateway.profiles import Snapshot
from gateway.questions import Respondent
from gateway.revocations import Revocations
from gateway.services import ConnectionLimits, Services, Tasks
from gateway.session import State
from gateway.wire.v1 import TextWire
from publisher import Event, make_event
from publisher.control import make_kick, make_revocation
from publisher.event import CLIENTS, EXPLAIN, KICK, KIND_CONTROL, KIND_STATE, REVOKE
from tests.support.entries import EPOCH
from tests.support.transport import frames_in

FAR = time.time() + 3_600
LIMITS = ConnectionLimits(
    max_message_bytes=65_536,
    max_event_bytes=262_144,
    messages_per_s=50,
    messages_burst=100,
    addresses=100,
    pending_commands=64,
    handshake_timeout_s=10,
    auth_timeout_s=10,
    stall_timeout_s=10,
    ping_interval_s=25,
    heartbeat_timeout_s=60,
)


class Wire:
    """The socket of a connection, in memory: refuses a reason that no close frame can hold."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed: list[tuple[int, str]] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self, code: int, reason: str) -> None:
        assert len(reason.encode()) <= 123
        self.closed.append((code, reason))

    def ping(self) -> None: ...

    def abort(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def unsent(self) -> int:
        return 0

    def events(self) -> list[str]:
        """Return the types of the frames written."""
        return [orjson.loads(payload)["type"] for payload, _ in frames_in(b"".join(self.written))]


class Gateway:
    """The core of a gateway, with connections whose sockets are in memory."""

    def __init__(self) -> None:
        self.log = Log(partitions=1, retention_ms=10**12, max_entries=100, max_bytes=10**9)
        self.log.reset(0, EPOCH, (0, 0))
        self.hub = Hub()
        self.revocations = Revocations()
        self.poison: list[PoisonEntry] = []
        self.orders = Orders(self.hub, self.revocations, max_token_lifetime_s=100, on_poison=self.poison.append)
        self.fanout = Fanout(self.log, self.hub, obey=self.orders.obey)
        unused = cast(Any, None)
        self.services = Services(
            instance_id="gw",
            log=self.log,
            hub=self.hub,
            fanout=self.fanout,
            policy=unused,
            authenticator=unused,
            revocations=self.revocations,
            publisher=unused,
            metrics=Metrics(),
            limits=LIMITS,
            tasks=Tasks(),
            backfill=unused,
            chat=unused,
        )
        self.services.members = Members(self.services, unused, partitions=1, keep_s=100)
        self.text = TextWire(lambda _partition: EPOCH, self.poison.append)
        self._decoder = EntryDecoder(0)
        self._ms = 0

    def connect(self, user: str = "42", *, tenant: str = "default", **claims: Any) -> tuple[Connection, Wire]:
        socket = Wire()
        self.services.members.profiles.hold((tenant, user)).take(Snapshot({}, None))
        connection = Connection(self.services, socket, client_id=secrets.token_hex(8), remote="", wire=self.text, now=0)
        identity = identity_from_claims({"sub": user, "tenant": tenant, "exp": FAR, **claims}, b"digest")
        connection.authenticated(identity, None, 0)
        return connection, socket

    def entry(self, event: Event) -> Entry:
        self._ms += 1
        return self._decoder.decode(b"%d-0" % self._ms, list(event.fields))

    def deliver(self, *events: Event) -> None:
        self.fanout.deliver([self.entry(event) for event in events], now_ms=1)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with capture_logs():
        yield Gateway()


def control(name: str, data: Any, to: str = "user:42") -> Event:
    return make_event(name, data, to=to, kind=KIND_CONTROL)


# Kicks


def test_kick_closes_the_users_connections(gateway: Gateway) -> None:
    sockets = [gateway.connect()[1] for _ in range(2)]
    gateway.deliver(make_kick("42"))
    assert [socket.closed for socket in sockets] == [[(4403, "kicked")]] * 2


def test_kick_has_the_code_and_the_reason_given(gateway: Gateway) -> None:
    _, socket = gateway.connect()
    gateway.deliver(make_kick("42", code=4409, reason="elsewhere"))
    assert socket.closed == [(4409, "elsewhere")]


def test_kick_of_one_client_leaves_the_users_others(gateway: Gateway) -> None:
    connection, socket = gateway.connect()
    _, other = gateway.connect()
    gateway.deliver(make_kick(None, client=connection.client_id))
    assert (len(socket.closed), other.closed) == (1, [])


@pytest.mark.parametrize("who", [{"user": "43"}, {"tenant": "acme"}])
def test_kick_leaves_others(gateway: Gateway, who: dict[str, Any]) -> None:
    _, socket = gateway.connect(**who)
    gateway.deliver(make_kick("42"))
    assert socket.closed == []


def test_kick_has_its_place_between_events(gateway: Gateway) -> None:
    connection, socket = gateway.connect()
    gateway.deliver(make_event("before", 1, to="all"), make_kick("42"), make_event("behind", 1, to="all"))
    assert socket.events() == ["welcome", "before"]
    assert connection.state is State.CLOSING


def test_kicked_connection_receives_nothing_more(gateway: Gateway) -> None:
    _, socket = gateway.connect()
    gateway.deliver(make_kick("42"))
    gateway.deliver(make_event("later", 1, to="all"))
    assert socket.events() == ["welcome"]
    assert gateway.hub.unfiltered == {}


def test_kick_is_not_replayed(gateway: Gateway) -> None:
    gateway.deliver(make_kick("42"))
    cursor = f"0-0.0.{EPOCH}"
    connection, _ = gateway.connect()
    connection.close(1000)
    again = Connection(gateway.services, Wire(), client_id=secrets.token_hex(8), remote="", wire=gateway.text, now=0)
    identity = connection.identity
    assert identity is not None
    again.authenticated(identity, cursor, 0)
    assert again.state is State.ACTIVE


# Revocations


def test_revoked_token_closes_its_connections(gateway: Gateway) -> None:
    _, socket = gateway.connect(jti="j1")
    _, other = gateway.connect(jti="j2")
    gateway.deliver(make_revocation(jti="j1").event)
    assert (socket.closed, other.closed) == ([(4403, "revoked")], [])


def test_revoked_user_is_closed_with_every_token_issued_before(gateway: Gateway) -> None:
    _, old = gateway.connect(iat=time.time() - 10)
    _, new = gateway.connect(iat=time.time() + 10)
    gateway.deliver(make_revocation(user="42").event)
    assert (len(old.closed), new.closed) == (1, [])


def test_revocation_is_remembered(gateway: Gateway) -> None:
    gateway.deliver(make_revocation(jti="j1").event, make_revocation(user="43").event)
    assert len(gateway.revocations) == 2


def test_revocation_is_forgotten_when_no_token_can_live_so_long(gateway: Gateway) -> None:
    gateway.deliver(make_revocation(jti="j1").event)
    now_ms = int(time.time() * 1000)
    assert gateway.revocations.prune(now_ms + 90_000) == 0
    assert gateway.revocations.prune(now_ms + 101_000) == 1


@pytest.mark.parametrize("who", [{"jti": "j1", "tenant": "acme"}, {"jti": "j1", "user": "43", "tenant": "acme"}])
def test_revocation_leaves_other_tenants(gateway: Gateway, who: dict[str, Any]) -> None:
    _, socket = gateway.connect(**who)
    gateway.deliver(make_revocation(jti="j1").event, make_revocation(user="42").event)
    assert socket.closed == []


# What is not understood


@pytest.mark.parametrize(
    "order",
    [
        control("dance", {}),
        control(KICK, None),
        control(KICK, []),
        control(KICK, {"code": 1006}),
        control(KICK, {"code": 3999}),
        control(KICK, {"code": 5000}),
        control(KICK, {"code": True}),
        control(KICK, {"code": "4403"}),
        control(KICK, {"code": 10**30}),
        control(KICK, {"reason": "x" * 124}),
        control(KICK, {"reason": "ü" * 62}),
        control(REVOKE, {}),
        control(REVOKE, {"user": "42"}),
        control(REVOKE, {"user": "42", "issued_before": None}),
        control(REVOKE, {"user": "42", "issued_before": "soon"}),
        control(REVOKE, {"user": "42", "issued_before": []}),
        control(EXPLAIN, {}),
        control(EXPLAIN, {"request": "r", "user": "42", "entry": "1-0", "partition": 99}),
        control(EXPLAIN, {"request": "r", "user": "42", "entry": "x", "partition": 0}),
        control(EXPLAIN, {"request": "r", "user": "42", "entry": "1-0", "partition": None}),
        control(CLIENTS, {"request": "r"}),
        control(CLIENTS, {"first": 1}),
        control(CLIENTS, {"request": "r", "first": None}),
        control(CLIENTS, {"request": "r", "ids": 7}),
    ],
)
def test_malformed_order_is_poison_and_harms_nobody(gateway: Gateway, order: Event) -> None:
    respondent = Respondent(cast(Any, None), "i", gateway.services.tasks)
    gateway.orders.add(EXPLAIN, respondent.order(Explainer(gateway.services).answer))
    gateway.orders.add(CLIENTS, respondent.order(Census(gateway.services).clients))
    connection, socket = gateway.connect()
    gateway.deliver(order, make_event("after", 1, to="all"))
    assert [poison.entry_id for poison in gateway.poison] == [b"1-0"]
    assert (connection.state, socket.events()) == (State.ACTIVE, ["welcome", "after"])


@pytest.mark.parametrize("text", [b"{", b"", b"\xff", b"1e999"])
def test_order_that_is_no_json_is_poison(gateway: Gateway, text: bytes) -> None:
    order = control(KICK, {})
    fields = list(order.fields)
    fields[11] = text
    gateway.orders.obey(EntryDecoder(0).decode(b"1-0", fields))
    assert len(gateway.poison) == 1


def test_a_state_that_nobody_takes_note_of_is_pushed_and_no_poison(gateway: Gateway) -> None:
    _, socket = gateway.connect()
    gateway.deliver(make_event("mood", {"a": 1}, to="user:42", kind=KIND_STATE))
    assert socket.events() == ["welcome", "mood"]
    assert gateway.poison == []


def test_orders_can_be_added(gateway: Gateway) -> None:
    obeyed: list[dict[str, Any]] = []
    gateway.orders.add("dance", lambda _entry, data: obeyed.append(data))
    gateway.deliver(control("dance", {"steps": 3}))
    assert obeyed == [{"steps": 3}]
