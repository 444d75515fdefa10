"""The fan-out and its subscribers: everybody gets what is meant for them, once and in order, whatever pauses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.decoder import EntryDecoder
from gateway.entry import Entry, RawEntry
from gateway.errors import PoisonEntry
from gateway.fanout import Fanout
from gateway.filters import compiled
from gateway.hub import Hub
from gateway.log import Log
from gateway.subscriber import MAX_WRITE_BYTES, Hold, Subscriber, Wire
from gateway.wire.v1 import DeflateWire, TextWire
from tests.support.entries import EPOCH, Source
from tests.support.transport import Receiver, frames_in, inflated

TENANTS = ["default", "acme"]
ADDRESSES = ["all", "user:1", "group:a", "group:b", "tag:x"]
SIZES = [0, 0, 300, 9_000, 40_000]
REGIONS = [None, "eu", "us"]
FILTERS: list[dict[str, Any] | None] = [None, {"region": "eu"}, {"region": ["us", "eu"]}, {"region": "us", "pad": ""}]


@dataclass(frozen=True)
class Sent:
    """One event of the model; `k` numbers them."""

    k: int
    seq: int
    tenant: str
    to: list[str]
    exclude: list[str]
    low: bool
    collapse: str | None
    expires_at: int | None
    poison: bool
    fields: dict[str, Any]

    def is_for(self, held: dict[str, int], filters: dict[str, dict[str, Any]]) -> bool:
        return any(
            address in held and held[address] < self.seq and self.passes(filters.get(address)) for address in self.to
        ) and not any(address in held for address in self.exclude)

    def passes(self, wanted: dict[str, Any] | None) -> bool:
        if wanted is None:
            return True
        return not self.poison and all(
            name in self.fields and self.fields[name] in (value if isinstance(value, list) else [value])
            for name, value in wanted.items()
        )


@dataclass
class Expected:
    """What the model expects of one receiver: `must` and `may` hold what was not received yet."""

    receiver: Receiver
    addresses: dict[str, int] = field(default_factory=dict)
    filters: dict[str, dict[str, Any]] = field(default_factory=dict)
    older: dict[int, str] = field(default_factory=dict)
    must: set[int] = field(default_factory=set)
    may: set[int] = field(default_factory=set)
    last: float = float("-inf")
    got: set[int] = field(default_factory=set)
    checked: int = 0
    holds: list[Hold] = field(default_factory=list)


EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "tenant": st.sampled_from([*TENANTS[:1] * 3, TENANTS[1]]),
            "to": st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=3, unique=True),
            "exclude": st.sampled_from([[], [], [], ["tag:x"], ["user:1", "group:b"]]),
            "low": st.sampled_from([False, False, True]),
            "collapse": st.sampled_from([None, None, None, "k1", "k2"]),
            "expires_in": st.sampled_from([None, None, None, 0, 5]),
            "poison": st.sampled_from([False] * 5 + [True]),
            "size": st.sampled_from(SIZES),
            "region": st.sampled_from(REGIONS),
            "leave": st.none() | st.none() | st.tuples(st.integers(0, 7), st.sampled_from(ADDRESSES)),
        }
    )
    # Most events are plain, so that runs come about.
    | st.builds(
        lambda to, size, region: {"tenant": "default", "to": [to], "size": size, "region": region},
        st.sampled_from(ADDRESSES),
        st.sampled_from(SIZES),
        st.sampled_from(REGIONS),
    ),
    min_size=1,
    max_size=8,
)
WHO = st.integers(0, 7)


class Delivery(RuleBasedStateMachine):
    """Subscribers with transports that fill up and empty at any time, against sets of event numbers."""

    memory_entries = 10_000

    def __init__(self) -> None:
        super().__init__()
        self.log = Log(partitions=1, retention_ms=10**12, max_entries=self.memory_entries, max_bytes=10**12)
        self.log.reset(0, EPOCH, (0, 0))
        self.hub = Hub()
        self.fanout = Fanout(self.log, self.hub, obey=self.obey)
        self.text = TextWire(lambda _partition: EPOCH, lambda _poison: None)
        self.deflate = DeflateWire(self.text)
        self.source = Source()
        self.now_ms = 1_000
        self.sent: list[Sent] = []
        self.everybody: list[Expected] = []
        self.fetched = -(10**6)

    def one(self, who: int) -> Expected:
        return self.everybody[who % len(self.everybody)]

    # Who there is.

    @initialize()
    def begin(self) -> None:
        self.connect("default", True, None, ["all", "user:1"])

    @precondition(lambda self: len(self.everybody) < 6)
    @rule(
        tenant=st.sampled_from(TENANTS),
        text=st.booleans(),
        room=st.sampled_from([None, None, 0, 700, 50_000]),
        addresses=st.lists(st.sampled_from(ADDRESSES), min_size=1, unique=True),
    )
    def connect(self, tenant: str, text: bool, room: int | None, addresses: list[str]) -> None:
        receiver = Receiver(self.fanout, self.text if text else self.deflate, tenant=tenant, room=room)
        expected = Expected(receiver)
        self.everybody.append(expected)
        for address in addresses:
            self.hub.add(receiver, address, self.fanout.position)
            expected.addresses[address] = self.log.head

    @rule(who=WHO, address=st.sampled_from(ADDRESSES))
    def join(self, who: int, address: str) -> None:
        one = self.one(who)
        self.hub.add(one.receiver, address, self.fanout.position)
        one.addresses.setdefault(address, self.log.head)
        one.may |= {event.k for event in self.of(one.must) if address in event.exclude}
        one.must -= one.may

    @rule(who=WHO, address=st.sampled_from(ADDRESSES), back=st.integers(0, 20))
    def join_since(self, who: int, address: str, back: int) -> None:
        one = self.one(who)
        since = one.addresses.get(address, self.log.head)
        after = max(self.log.base - 1, self.log.head - back)
        missed = [
            event
            for event in self.sent
            if after < event.seq <= since
            and event.tenant == one.receiver.tenant
            and address in event.to
            and not any(
                one.addresses.get(a, event.seq) < event.seq and event.passes(one.filters.get(a))
                for a in event.to
                if a != address
            )
        ]
        self.join(who, address)
        one.receiver.replay(self.log, address, after, self.now_ms)
        one.last = float("-inf")
        one.addresses[address] = min(after, since)
        self.expect(one, missed, everything=one.addresses, filters=one.filters, lagging=True)
        self.check(one)

    @rule(who=WHO, address=st.sampled_from(ADDRESSES), wanted=st.sampled_from(FILTERS))
    def subscribe(self, who: int, address: str, wanted: dict[str, Any] | None) -> None:
        one = self.one(who)
        self.join(who, address)
        was = one.filters.get(address)
        self.hub.refilter(one.receiver, address, None if wanted is None else compiled(wanted))
        one.filters.pop(address, None)
        if wanted is not None:
            one.filters[address] = wanted
        if was != wanted:  # which of the two judges what has not been written yet is decided when it is
            self.unsettle(one)
            waiting = [event for event in self.sent if event.tenant == one.receiver.tenant and address in event.to]
            if one.receiver.lagging:
                one.may |= {event.k for event in waiting} - one.got - one.must

    def unsettle(self, one: Expected) -> None:
        """Let what is not written yet be for it or not."""
        gone = {k for k, address in one.older.items() if address not in one.addresses or address in one.filters}
        one.may |= {event.k for event in self.of(one.must) if not event.is_for(one.addresses, one.filters)}
        one.may |= gone & one.must
        for key in ("k1", "k2"):  # a newer one that is for it no longer may have taken its place
            if any(event.collapse == key for event in self.of(one.may)):
                one.may |= {event.k for event in self.of(one.must) if event.collapse == key}
        one.must -= one.may

    @rule(who=WHO, address=st.sampled_from(ADDRESSES))
    def leave(self, who: int, address: str) -> None:
        one = self.one(who)
        assert self.hub.remove(one.receiver, address) is (one.addresses.pop(address, None) is not None)
        one.filters.pop(address, None)
        self.unsettle(one)
        excluded = [event for event in self.sent if address in event.exclude]  # decided when it is written
        one.may |= {event.k for event in excluded if event.tenant == one.receiver.tenant} - one.got - one.must

    # What the transport does.

    @rule(who=WHO, room=st.sampled_from([None, 0, 700, 50_000]))
    def becomes_slower_or_faster(self, who: int, room: int | None) -> None:
        self.one(who).receiver.room = room

    @rule(who=WHO)
    def pause(self, who: int) -> None:
        receiver = self.one(who).receiver
        if not receiver.paused:
            receiver.pause(self.fanout.position)

    @rule(who=WHO)
    def resume(self, who: int) -> None:
        one = self.one(who)
        one.receiver.buffered = 0
        if one.receiver.paused:
            one.receiver.resume(self.log, self.now_ms)
            self.check(one)

    # What the gateway does.

    @rule(who=WHO)
    def hold(self, who: int) -> None:
        one = self.one(who)
        one.holds.append(one.receiver.hold(self.log))

    @precondition(lambda self: any(one.holds for one in self.everybody))
    @rule(which=st.integers(0, 7), count=st.integers(0, 3), size=st.sampled_from(SIZES))
    def release(self, which: int, count: int, size: int) -> None:
        held = [one for one in self.everybody if one.holds]
        one = held[which % len(held)]
        hold = one.holds.pop(which % len(one.holds))
        older = []
        for _ in range(count):
            self.fetched += 1
            address = next((a for a in one.addresses if a not in one.filters), "all")
            older.append(self.source.entry(data={"k": self.fetched, "pad": "x" * size}, to=address))
        if hold in one.receiver.held:
            fetched = {orjson.loads(entry.data)["k"]: entry.to[0] for entry in older}
            one.older |= fetched
            if all(address in one.addresses and address not in one.filters for address in fetched.values()):
                one.must |= fetched.keys()
            else:
                one.may |= fetched.keys()
            one.last = float("-inf")
        one.receiver.release(hold, older, self.log, self.now_ms)
        self.check(one)

    @rule(who=WHO)
    def skip_to_head(self, who: int) -> None:
        one = self.one(who)
        one.receiver.skip_to_head(self.log)
        one.must.clear()
        one.may.clear()

    @rule(ms=st.integers(1, 10))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms
        for one in self.everybody:
            expired = {event.k for event in self.of(one.must | one.may) if self.is_expired(event)}
            one.must -= expired
            one.may -= expired

    @rule(batch=EVENTS)
    def deliver(self, batch: list[dict[str, Any]]) -> None:
        raw = [self.raw(spec, self.log.head + at) for at, spec in enumerate(batch, start=1)]
        entries = [EntryDecoder(0).decode(*entry) for entry in raw]
        lagging = {id(one): one.receiver.lagging for one in self.everybody}
        self.leaving = {
            entry.id: spec["leave"] for entry, spec in zip(entries, batch, strict=True) if spec.get("leave")
        }
        first = len(self.sent)
        self.sent += [
            self.as_sent(entry, spec, seq)
            for seq, (entry, spec) in enumerate(zip(entries, batch, strict=True), start=self.log.head + 1)
            if not spec.get("leave")
        ]
        self.new = self.sent[first:]
        self.expected_at = {id(one): (dict(one.addresses), dict(one.filters)) for one in self.everybody}
        self.settled = {id(one): self.log.head for one in self.everybody}
        self.obeyed: list[bytes] = []
        self.fanout.deliver(self.source.read(raw, self.fanout.wanted), self.now_ms)
        assert self.obeyed == list(self.leaving)
        for one in self.everybody:
            was_or_is = lagging[id(one)] or one.receiver.lagging
            everything, filters = self.expected_at[id(one)]
            self.expect(one, self.unsettled(one), everything=everything, filters=filters, lagging=was_or_is)
            self.check(one)

    def obey(self, order: Entry) -> None:
        """Take an address from a receiver, in the middle of a read: what comes behind is not for it."""
        self.obeyed.append(order.id)
        who, address = self.leaving[order.id]
        one = self.one(who)
        if address not in one.addresses:
            return
        before = [event for event in self.unsettled(one) if event.seq < order.seq]
        everything, filters = self.expected_at[id(one)]
        self.expect(one, before, everything=everything, filters=filters, lagging=True)
        one.may |= one.must & {event.k for event in before}
        one.must -= one.may
        del everything[address]
        filters.pop(address, None)
        self.settled[id(one)] = order.seq
        self.leave(who, address)

    def unsettled(self, one: Expected) -> list[Sent]:
        """Return what the read that is being delivered has for a receiver's tenant since its last order."""
        return [
            event for event in self.new if event.tenant == one.receiver.tenant and event.seq > self.settled[id(one)]
        ]

    # The model.

    def raw(self, spec: dict[str, Any], k: int) -> RawEntry:
        expires_in = spec.get("expires_in")
        return self.source.raw(
            data=self.fields(spec, k),
            to=spec["to"],
            tenant=spec["tenant"],
            exclude=spec.get("exclude", []),
            priority="low" if spec.get("low") else "normal",
            collapse=spec.get("collapse"),
            kind=b"control" if spec.get("leave") else b"event",
            expires_at=None if expires_in is None else self.now_ms + expires_in,
            text=b"{" if spec.get("poison") else None,
        )

    def fields(self, spec: dict[str, Any], k: int) -> dict[str, Any]:
        region = {} if spec["region"] is None else {"region": spec["region"]}
        return {"k": k, "pad": "x" * spec["size"], **region}

    def as_sent(self, entry: Entry, spec: dict[str, Any], seq: int) -> Sent:
        options = entry.options
        return Sent(
            k=seq,
            seq=seq,
            tenant=spec["tenant"],
            to=spec["to"],
            exclude=spec.get("exclude", []),
            low=bool(spec.get("low")),
            collapse=spec.get("collapse"),
            expires_at=None if options is None else options.expires_at,
            poison=bool(spec.get("poison")),
            fields=self.fields(spec, seq),
        )

    def of(self, numbers: set[int]) -> list[Sent]:
        return [event for event in self.sent if event.k in numbers]

    def is_expired(self, event: Sent) -> bool:
        return event.expires_at is not None and event.expires_at <= self.now_ms

    def expect(
        self,
        one: Expected,
        events: list[Sent],
        *,
        everything: dict[str, int],
        filters: dict[str, dict[str, Any]],
        lagging: bool,
    ) -> None:
        """Expect those of `events` that are for a holder of `everything` who wants of it what `filters` let pass."""
        new = [event for event in events if event.is_for(everything, filters) and not self.is_expired(event)]
        optional = {event.k for event in new if event.poison or (event.low and lagging)}
        one.may |= optional
        one.must |= {event.k for event in new} - optional
        one.may -= one.must
        for key in ("k1", "k2"):
            same = [event.k for event in self.of(one.must | one.may) if event.collapse == key]
            one.may |= set(same[:-1])
        one.must -= one.may

    def check(self, one: Expected) -> None:
        """Compare what arrived since the last check with what is expected."""
        receiver = one.receiver
        for data in receiver.received[one.checked :]:
            k = data["k"]  # type: ignore[index]
            assert k in one.must or k in one.may, f"{k} is not for it, or came twice"
            assert k > one.last, f"{k} came behind {one.last}"
            assert not any(self.is_expired(event) or event.poison for event in self.of({k}))
            one.must.discard(k)
            one.may.discard(k)
            one.got.add(k)
            one.last = k
        one.checked = len(receiver.received)
        if receiver.fell_out:
            assert self.log.base > 1
            self.hub.remove_all(receiver)
            self.everybody.remove(one)
            self.connect("default", True, None, ["all"])

    @invariant()
    def who_is_live_has_everything(self) -> None:
        for one in self.everybody:
            if not one.receiver.lagging:
                assert one.must == set()
                one.may.clear()

    @invariant()
    def addresses_are_those_of_the_model(self) -> None:
        for one in self.everybody:
            assert one.receiver.addresses == one.addresses
            assert one.receiver.filters == {address: compiled(wanted) for address, wanted in one.filters.items()}

    @invariant()
    def what_was_written_was_counted(self) -> None:
        live_and_late = self.fanout.delivered + self.log.outcomes.caught_up
        assert sum(self.log.outcomes.delivered.counts.values()) == live_and_late

    def teardown(self) -> None:
        for one in list(self.everybody):
            one.receiver.room = None
            for hold in one.holds:
                one.receiver.release(hold, [], self.log, self.now_ms)
            one.receiver.buffered = 0
            if one.receiver.paused:
                one.receiver.resume(self.log, self.now_ms)
            self.check(one)
            if not one.receiver.fell_out:
                assert not one.receiver.lagging
                assert one.must == set(), "never came"


class DeliveryFromLittleMemory(Delivery):
    """The same where memory holds little: who lags too long falls out, and never misses anything silently."""

    memory_entries = 12


TestDelivery = Delivery.TestCase
TestDeliveryFromLittleMemory = DeliveryFromLittleMemory.TestCase


# One at a time


@dataclass
class Scene:
    """A log, a hub and a fan-out, with what was obeyed and what was poison."""

    max_entries: int = 10_000

    def __post_init__(self) -> None:
        self.log = Log(partitions=1, retention_ms=10**12, max_entries=self.max_entries, max_bytes=10**12)
        self.log.reset(0, EPOCH, (0, 0))
        self.hub = Hub()
        self.obeyed: list[tuple[Entry, int]] = []
        self.obey: Callable[[Entry], None] = lambda _order: None
        self.fanout = Fanout(self.log, self.hub, obey=self.carry_out)
        self.poison: list[PoisonEntry] = []
        self.text = TextWire(lambda _partition: EPOCH, self.poison.append)
        self.deflate = DeflateWire(self.text)
        self.source = Source()

    def carry_out(self, order: Entry) -> None:
        self.obeyed.append((order, self.fanout.position))
        self.obey(order)

    def receiver(self, *addresses: str, wire: Wire | None = None, room: int | None = None, **who: str) -> Receiver:
        receiver = Receiver(self.fanout, wire or self.text, room=room, **who)
        for address in addresses or ("all",):
            self.hub.add(receiver, address, self.fanout.position)
        return receiver

    def deliver(self, *specs: dict[str, Any], now_ms: int = 1_000) -> None:
        raw = [self.source.raw(**spec) for spec in specs]
        self.fanout.deliver(self.source.read(raw, self.fanout.wanted), now_ms)


def event(data: Any, to: str | list[str] = "all", **options: Any) -> dict[str, Any]:
    return {"data": data, "to": to, **options}


PAD = "x" * 10_000


@pytest.mark.parametrize(
    "specs",
    [
        [event(1), event(2), event(3)],
        [event(1), event(2, "user:1"), event(3)],
        [event(1), event(2, exclude="tag:x"), event(3)],
    ],
)
def test_what_one_read_brings_leaves_in_one_write(specs: list[dict[str, Any]]) -> None:
    scene = Scene()
    one = scene.receiver("all", "user:1")
    scene.deliver(*specs)
    assert one.received == [1, 2, 3]
    assert len(one.writes) == 1


def test_tenants_with_the_same_audience_in_one_read_are_kept_apart() -> None:
    scene = Scene()
    one, other = scene.receiver(), scene.receiver(tenant="acme")
    scene.deliver(event(1), event(2, tenant="acme"), event(3))
    assert (one.received, other.received) == ([1, 3], [2])


def test_frame_is_made_once_for_everybody() -> None:
    scene = Scene()
    one, two = scene.receiver(), scene.receiver()
    scene.deliver(event(1))
    assert one.writes[0] is two.writes[0] is scene.log.entry(1).frame


def test_frame_that_nobody_wants_is_never_made() -> None:
    scene = Scene()
    scene.receiver("user:1")
    scene.deliver(event(1, "user:2"))
    assert scene.log.entry(1).frame is None


def test_frames_are_counted() -> None:
    scene = Scene()
    scene.receiver("all"), scene.receiver("all", "user:1")
    scene.deliver(event(1), event(2))
    scene.deliver(event(3), event(4, "user:1"))
    assert scene.fanout.delivered == 4 + 3


def test_compressed_frames_say_what_plain_ones_say() -> None:
    scene = Scene()
    plain, deflated = scene.receiver(), scene.receiver(wire=scene.deflate)
    scene.deliver(event({"ü": [1, 2.5, None]}), event(PAD), event("", exclude="tag:x"))
    texts = [payload for data in plain.writes for payload, _ in frames_in(data)]
    compressed = [frame for data in deflated.writes for frame in frames_in(data)]
    assert all(is_compressed for _, is_compressed in compressed)
    assert [inflated(payload) for payload, _ in compressed] == texts


def test_poison_is_skipped_and_told_once() -> None:
    scene = Scene()
    one, two = scene.receiver(), scene.receiver(wire=scene.deflate)
    scene.deliver(event(1), event(2, text=b"{broken"), event(3))
    assert (one.received, two.received) == ([1, 3], [1, 3])
    assert [poison.entry_id for poison in scene.poison] == [b"2-0"]


def test_expired_event_is_not_sent() -> None:
    scene = Scene()
    one = scene.receiver()
    scene.deliver(event(1, expires_at=1_000), event(2, expires_at=1_001), now_ms=1_000)
    assert one.received == [2]


@pytest.mark.parametrize("options", [{"priority": "low"}, {"collapse": "k"}])
def test_who_keeps_up_goes_without_nothing(options: dict[str, str]) -> None:
    scene = Scene()
    one = scene.receiver()
    scene.deliver(event(1, **options), event(2, **options))
    assert one.received == [1, 2]


@pytest.mark.parametrize(
    "pads",
    [
        pytest.param([event([number, PAD]) for number in range(20)], id="one run"),
        pytest.param([event([number, PAD], exclude="tag:x") for number in range(20)], id="twenty runs"),
        pytest.param([event([99, ""], "user:9"), *(event([n, PAD]) for n in range(20))], id="a run behind another"),
        pytest.param([event([number, PAD * 9]) for number in range(20)], id="large frames"),
    ],
)
def test_write_holds_no_more_than_its_measure_or_one_frame(pads: list[dict[str, Any]]) -> None:
    scene = Scene()
    one = scene.receiver()
    scene.deliver(*pads)
    assert [data[0] for data in one.received] == list(range(20))  # type: ignore[index]
    assert len(one.writes) > 1


def test_long_names_count_in_a_write() -> None:
    scene = Scene()
    one = scene.receiver()
    entries = [scene.source.entry(data=number) for number in range(500)]
    for entry in entries:
        entry.event, entry.message_id = b"e" * 500, b"m" * 1000
    scene.fanout.deliver(entries, 1_000)
    assert one.received == list(range(500))
    assert max(map(len, one.writes)) <= MAX_WRITE_BYTES


def test_stalled_subscriber_costs_one_write() -> None:
    scene = Scene()
    one = scene.receiver(room=0)
    for _ in range(10):
        scene.deliver(*(event(PAD) for _ in range(20)))
    assert one.buffered <= MAX_WRITE_BYTES


def test_subscriber_that_pauses_within_a_read_goes_on_where_it_paused() -> None:
    scene = Scene()
    slow, quick = scene.receiver(room=0), scene.receiver()
    scene.deliver(*(event([number, PAD]) for number in range(10)))
    assert len(slow.received) < 10
    assert len(quick.received) == 10
    slow.room = None
    slow.resume(scene.log, 1_000)
    assert slow.received == quick.received


def test_subscriber_that_lags_is_passed_by() -> None:
    scene = Scene()
    one = scene.receiver()
    one.pause(scene.fanout.position)
    scene.deliver(event(1))
    scene.deliver(event(2), event(3, "user:1"))
    assert one.received == []


def test_read_that_is_larger_than_memory_reaches_who_keeps_up() -> None:
    scene = Scene(max_entries=2)
    written: list[bytes] = []
    one = Subscriber("default", scene.text, written.append)
    scene.hub.add(one, "all", 0)
    scene.deliver(*(event([number, PAD], exclude="tag:x") for number in range(10)))
    assert len(frames_in(b"".join(written))) == 10


def test_order_has_its_place_between_events() -> None:
    scene = Scene()
    one = scene.receiver("all", "group:a")

    def close(_order: Entry) -> None:
        one.take(b"".join(one.outbox))
        one.outbox.clear()
        scene.hub.remove_all(one)

    scene.obey = close
    scene.deliver(event(1, "group:a"), event({}, kind=b"control"), event(2, "group:a"))
    assert one.received == [1]


def test_who_joins_by_an_order_has_what_stands_behind_it_in_the_same_read() -> None:
    """Nobody wanted it when it was decoded."""
    scene = Scene()
    one = scene.receiver("user:1")
    scene.obey = lambda _order: scene.hub.add(one, "group:a", scene.fanout.position)
    scene.deliver(event(1, "group:a"), event({}, kind=b"control"), event(2, "group:a"), event(3, "group:a"))
    assert one.received == [2, 3]
    assert [scene.log.entry(seq).seq for seq in (1, 2, 3, 4)] == [1, 2, 3, 4]


def test_order_is_not_delivered() -> None:
    scene = Scene()
    one = scene.receiver()
    scene.deliver(event({}, kind=b"control"))
    assert [order.id for order, _ in scene.obeyed] == [b"1-0"]
    assert one.received == []


def test_state_is_delivered_and_taken_note_of() -> None:
    scene = Scene()
    one = scene.receiver()
    scene.deliver(event(1, kind=b"state"))
    assert [order.id for order, _ in scene.obeyed] == [b"1-0"]
    assert one.received == [1]


def test_what_is_ephemeral_reaches_who_is_there_and_is_never_replayed() -> None:
    scene = Scene()
    there = scene.receiver()
    lagging = scene.receiver(room=0)
    scene.deliver(event(1))
    assert lagging.paused
    scene.deliver(event(2, kind=b"ephemeral"), event(3))
    lagging.resume(scene.log, 1_000)
    assert there.received == [1, 2, 3]
    assert lagging.received == [1, 3]


def test_who_joins_by_an_order_replays_no_less_than_it_missed() -> None:
    scene = Scene()
    scene.deliver(event(1))
    scene.deliver(event(2), event({}, kind=b"control"), event(3))
    assert scene.obeyed[0][1] == 1  # what stands in outboxes has not been written


def test_position_is_the_head_between_reads() -> None:
    scene = Scene()
    scene.receiver()
    scene.deliver(event(1), event(2, "user:1"))
    assert scene.fanout.position == scene.log.head == 2


def test_empty_read_changes_nothing() -> None:
    scene = Scene()
    scene.deliver()
    assert (scene.log.head, scene.fanout.position) == (0, 0)


class TestBytesAreCounted:
    """By the fan-out and by whoever catches up, and each byte once."""

    @pytest.mark.parametrize("room", [None, 2_000])
    def test_whatever_way_they_took(self, room: int | None) -> None:
        log = Log(partitions=1, retention_ms=600_000, max_entries=1_000, max_bytes=1 << 30)
        log.reset(0, EPOCH, (0, 0))
        hub = Hub()
        fanout = Fanout(log, hub, obey=lambda _entry: None)
        text = TextWire(lambda _number: EPOCH, lambda _poison: None)
        source = Source()
        wires: list[Wire] = [text, text, DeflateWire(text)]
        receivers = [Receiver(fanout, wire, room=room) for wire in wires]
        for receiver in receivers:
            hub.add(receiver, "all", log.head)
        for read in range(6):
            fanout.deliver([source.entry(data=["x" * 700, n]) for n in range(3)], read)  # one run
            mixed = [source.entry(data=["y" * 9_000, n], priority="low" if n % 2 else "normal") for n in range(6)]
            fanout.deliver(mixed, read)  # more than one write
        for receiver in receivers:
            receiver.room = None
            receiver.resume(log, 10)
        assert not any(receiver.lagging for receiver in receivers)
        assert log.outcomes.bytes_written == sum(len(data) for each in receivers for data in each.writes) > 0
