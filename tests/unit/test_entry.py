"""Entries: what the publisher writes is what the gateway reads, and what is neither is poison."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decoder import EntryDecoder
from gateway.entry import (
    Entry,
    Options,
    audience_of,
    footprint_of,
    join_id,
    partition_of,
    position_of,
    split_id,
    unpack,
)
from gateway.errors import PoisonEntry
from publisher import make_event
from publisher.address import KINDS

FIELDS = {b"v": b"1", b"t": b"acme", b"to": b'["user:1","all"]', b"e": b"note", b"m": b"m-1", b"d": b'{"a":1}'}
NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
PRINTABLE = NAMES.filter(str.isprintable)
ADDRESSES = st.one_of(st.just("all"), st.builds("{}:{}".format, st.sampled_from(KINDS), NAMES))


def flat(fields: dict[bytes, bytes]) -> list[bytes]:
    return [part for field in fields.items() for part in field]


def decoded(changes: dict[bytes, bytes] | None = None, *, without: bytes = b"") -> Entry:
    fields = {name: value for name, value in {**FIELDS, **(changes or {})}.items() if name != without}
    return read(b"5-0", flat(fields))


def read(entry_id: bytes, fields: list[bytes], partition: int = 0) -> Entry:
    """Decode an entry as one of a read, which must be what decoding it alone gives."""
    decoder = EntryDecoder(partition)
    alone = decoder.decode(entry_id, fields)
    first, again = decoder.decode_all([(entry_id, fields)] * 2)
    assert parts(first) == parts(again) == parts(alone)
    return again


def options_of(**changes: bytes) -> Options | None:
    return decoded({name.encode(): value for name, value in changes.items()}).options


def parts(entry: Entry) -> tuple[Any, ...]:
    return (entry.tenant, entry.to, entry.event, entry.message_id, entry.data, entry.options)


# Reading


def test_plain_entry_is_read() -> None:
    entry = read(b"5-7", flat(FIELDS), 3)
    assert (entry.id, entry.partition) == (b"5-7", 3)
    assert parts(entry) == ("acme", ("user:1", "all"), b"note", b"m-1", b'{"a":1}', None)


def test_plain_entry_has_no_frame_yet() -> None:
    entry = decoded()
    assert (entry.frame, entry.deflated) == (None, None)


@given(st.permutations(list({**FIELDS, b"p": b"low"}.items())))
def test_fields_are_read_in_any_order(order: list[tuple[bytes, bytes]]) -> None:
    assert parts(EntryDecoder(0).decode(b"5-0", flat(dict(order)))) == parts(decoded({b"p": b"low"}))


def test_fields_of_later_versions_are_ignored() -> None:
    assert parts(decoded({b"zz": b"\xff"})) == parts(decoded())


def test_payload_is_not_looked_at() -> None:
    assert decoded({b"d": b"{broken", b"e": b"\xff"}).data == b"{broken"


def test_repeated_addresses_count_once() -> None:
    assert decoded({b"to": b'["all","user:1","all"]'}).to == ("all", "user:1")


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"x": b'["tag:a","user:2"]'}, {"exclude": ("tag:a", "user:2")}),
        ({"k": b"control"}, {"kind": b"control"}),
        ({"k": b"notify"}, {"kind": b"notify"}),
        ({"k": b"ephemeral"}, {"kind": b"ephemeral"}),
        ({"exp": b"1234567890123"}, {"expires_at": 1234567890123}),
        ({"p": b"low"}, {"low": True}),
        ({"c": b"order-7"}, {"collapse": b"order-7"}),
    ],
)
def test_option_is_read(fields: dict[str, bytes], options: dict[str, Any]) -> None:
    none = {"exclude": (), "kind": b"event", "expires_at": None, "low": False, "collapse": None}
    assert options_of(**fields) == Options(**{**none, **options})


@pytest.mark.parametrize("fields", [{"k": b"event"}, {"p": b"normal"}, {"x": b"[]"}])
def test_option_that_says_nothing_is_none(fields: dict[str, bytes]) -> None:
    assert options_of(**fields) is None


# Sharing


def test_audiences_and_tenants_are_shared() -> None:
    decoder = EntryDecoder(0)
    first, second = (decoder.decode(b"%d-0" % ms, flat({**FIELDS, b"m": b"%d" % ms})) for ms in (1, 2))
    assert first.to is second.to
    assert first.tenant is second.tenant


def test_long_audiences_are_not_kept() -> None:
    decoder = EntryDecoder(0)
    fields = flat({**FIELDS, b"to": orjson.dumps([f"user:{number}" for number in range(101)])})
    assert decoder.decode(b"1-0", fields).to is not decoder.decode(b"2-0", fields).to


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.decoder._MAX_CACHED", 4)
    decoder = EntryDecoder(0)
    for number in range(50):
        decoder.decode(b"1-0", flat({**FIELDS, b"to": b'["user:%d"]' % number, b"t": b"t%d" % number}))
        assert len(decoder._audiences) <= 4
        assert len(decoder._tenants) <= 4


# Left packed


@pytest.mark.parametrize(
    ("changes", "wanted", "packed"),
    [
        ({b"to": b'["user:1"]'}, {}, True),
        ({b"to": b'["user:1"]'}, {"acme": {"user:2"}, "other": {"user:1"}}, True),
        ({b"to": b'["all"]'}, {"acme": {"user:2"}}, True),
        ({b"to": b'["user:1"]'}, {"acme": {"user:1"}}, False),
        ({b"to": b'["user:1"]'}, None, False),
        ({b"to": b'["user:1","user:2"]'}, {}, False),
        ({b"to": b'["user:\\u0031"]'}, {"acme": {"user:2"}}, False),
        ({b"to": '["user:é"]'.encode()}, {}, False),
        ({b"to": b'[ "user:1" ]'}, {}, False),
        ({b"to": b'["user:1"]', b"k": b"control"}, {}, False),
        ({b"to": b'["user:1"]', b"x": b"[]"}, {}, True),
        ({b"to": b'["user:1"]', b"x": b'["tag:a"]'}, {}, False),
    ],
)
def test_what_is_for_one_address_that_nobody_has_is_left_packed(
    changes: dict[bytes, bytes], wanted: dict[str, set[str]] | None, packed: bool
) -> None:
    seen = EntryDecoder(0)
    seen.decode(b"1-0", flat(FIELDS))  # a tenant's first entry is always decoded
    (item,) = seen.decode_all([(b"5-0", flat({**FIELDS, **changes}))], wanted)
    assert isinstance(item, tuple) is packed


@given(name=st.from_regex(r"[ !#-\[\]-~]{1,256}", fullmatch=True), kind=st.sampled_from(KINDS))
def test_what_was_packed_is_the_same_entry(name: str, kind: str) -> None:
    decoder = EntryDecoder(3)
    fields = flat({**FIELDS, b"to": orjson.dumps([f"{kind}:{name}"])})
    decoder.decode(b"1-0", fields)
    entry = decoder.decode(b"5-7", fields)
    decoder._audiences.clear()
    (item,) = decoder.decode_all([(b"5-7", fields)], {})
    assert isinstance(item, tuple)
    assert (audience_of(item), partition_of(item), position_of(item)) == ((entry.tenant, entry.to), 3, (5, 7))
    assert (audience_of(entry), partition_of(entry), position_of(entry)) == ((entry.tenant, entry.to), 3, (5, 7))
    for slot in Entry.__slots__:
        assert getattr(unpack(item), slot) == getattr(entry, slot)


@pytest.mark.parametrize("to", [b'["user:"]', b'["planet:x"]', b'["user:\x01"]', b'["all:1"]', b"[]]", b'"user:1"'])
def test_poison_is_not_left_packed(to: bytes) -> None:
    decoder = EntryDecoder(0)
    decoder.decode(b"1-0", flat(FIELDS))
    with pytest.raises(PoisonEntry):
        decoder.decode_all([(b"5-0", flat({**FIELDS, b"to": to}))], {})


USERS = [f"user:{number}" for number in range(6)]
ODD_CHANGES = [
    *({b"t": b"unseen"}, {b"p": b"low"}, {b"k": b"control"}, {b"x": b"[]"}),
    *({b"to": b'["user:1","user:2"]'}, {b"to": b'["user:\\u0031"]'}),
]


def reads(changes: list[dict[bytes, bytes]]) -> st.SearchStrategy[list[tuple[bytes, list[bytes]]]]:
    return st.lists(
        st.builds(
            lambda user, changes, n: (b"5-%d" % n, flat({**FIELDS, b"to": b'["%s"]' % user.encode(), **changes})),
            st.sampled_from(USERS),
            st.sampled_from(changes),
            st.integers(0, 9),
        ),
        min_size=1,
        max_size=40,
    )


@given(
    raw=reads([{}, {b"t": b"other"}, {b"to": b'["all"]'}]) | reads([{}] * 9 + ODD_CHANGES),
    wanted=st.dictionaries(st.sampled_from(["acme", "other"]), st.sets(st.sampled_from(USERS[:3]))),
)
def test_a_long_read_is_decoded_as_its_entries_are(
    raw: list[tuple[bytes, list[bytes]]], wanted: dict[str, set[str]]
) -> None:
    at_once, one_by_one = EntryDecoder(0), EntryDecoder(0)
    for tenant in (b"acme", b"other"):
        for decoder in (at_once, one_by_one):
            decoder.decode(b"1-0", flat({**FIELDS, b"t": tenant}))
    items = at_once.decode_all(raw, wanted)
    singly = [item for one in raw for item in one_by_one.decode_all([one], wanted)]
    for item, single in zip(items, singly, strict=True):
        unpacked, other = (unpack(x) if isinstance(x, tuple) else x for x in (item, single))
        assert (unpacked.id, *parts(unpacked)) == (other.id, *parts(other))
        # What was decoded before is known, and not packed: only what somebody wants has to be decoded.
        if not isinstance(single, tuple) and single.to[0] in wanted.get(single.tenant, ()):
            assert not isinstance(item, tuple)


def long_read(**changes: bytes) -> list[tuple[bytes, list[bytes]]]:
    """Return a read of twenty entries, of which one, in the middle, is changed."""
    raw = [(b"5-%d" % n, flat({**FIELDS, b"to": b'["user:%d"]' % n})) for n in range(20)]
    raw[10] = (b"5-10", flat({**FIELDS, b"to": b'["user:10"]', **{name.encode(): it for name, it in changes.items()}}))
    return raw


def test_of_a_long_read_only_what_somebody_wants_is_decoded() -> None:
    decoder = EntryDecoder(0)
    decoder.decode(b"1-0", flat(FIELDS))
    items = decoder.decode_all([*long_read(), *long_read()], {"acme": {"user:7"}, "other": {"user:8"}})
    seven, again = (item for item in items if not isinstance(item, tuple))
    assert (seven.id, seven.to, again.id) == (b"5-7", ("user:7",), b"5-7")
    assert seven.to is again.to  # shared, by which the fan-out knows a run


@pytest.mark.parametrize(
    "changes",
    [
        {"v": b"2"},
        {"t": b"No Tenant"},
        {"to": b'["user:"]'},
        {"to": b"[]]"},
        {"to": b""},
        {"to": b'["user:1"]\n["user:2"]['},
        {"to": b'["planet:1"]'},
        {"to": '["user:\x01é"]'.encode()},
        {"exp": b"soon"},
    ],
)
def test_poison_in_a_long_read_is_found(changes: dict[str, bytes]) -> None:
    decoder = EntryDecoder(0)
    decoder.decode(b"1-0", flat(FIELDS))
    with pytest.raises(PoisonEntry):
        decoder.decode_all(long_read(**changes), {})


def test_a_field_of_another_name_in_a_long_read_is_found() -> None:
    decoder = EntryDecoder(0)
    decoder.decode(b"1-0", flat(FIELDS))
    raw = long_read()
    raw[10][1][10] = b"dd"
    with pytest.raises(PoisonEntry, match="missing"):
        decoder.decode_all(raw, {})


# Poison


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({b"v": b"2"}, "version"),
        ({b"v": b""}, "version"),
        ({b"t": b""}, "tenant"),
        ({b"t": b"a b"}, "tenant"),
        ({b"t": b"\xff"}, "tenant"),
        ({b"t": b"x" * 65}, "tenant"),
        ({b"to": b""}, "not JSON"),
        ({b"to": b"user:1"}, "not JSON"),
        ({b"to": b'["user:1"'}, "not JSON"),
        ({b"to": b"\xff"}, "not JSON"),
        ({b"to": b"[" * 2000}, "not JSON"),
        ({b"to": b'"user:1"'}, "list of addresses"),
        ({b"to": b'{"user:1":1}'}, "list of addresses"),
        ({b"to": b"[7]"}, "list of addresses"),
        ({b"to": b'[["user:1"]]'}, "list of addresses"),
        ({b"to": b'["user:1",null]'}, "list of addresses"),
        ({b"to": b'["role:x"]'}, "list of addresses"),
        ({b"to": b'["user:"]'}, "list of addresses"),
        ({b"to": b'["user:\\u0000"]'}, "list of addresses"),
        ({b"x": b"user:1"}, "not JSON"),
        ({b"x": b'["nobody"]'}, "list of addresses"),
        ({b"exp": b""}, "expiry"),
        ({b"exp": b"soon"}, "expiry"),
        ({b"exp": b"-1"}, "expiry"),
        ({b"exp": b"1.5"}, "expiry"),
        ({b"exp": b"9" * 17}, "expiry"),
        ({b"exp": "٣".encode()}, "expiry"),
        ({b"k": b"martian"}, "kind"),
        ({b"k": b""}, "kind"),
    ],
)
def test_malformed_entry_is_poison(changes: dict[bytes, bytes], problem: str) -> None:
    with pytest.raises(PoisonEntry, match=problem) as refusal:
        decoded(changes)
    assert refusal.value.entry_id == b"5-0"


@pytest.mark.parametrize("name", list(FIELDS))
def test_missing_field_is_poison_and_named(name: bytes) -> None:
    with pytest.raises(PoisonEntry, match=f"'{name.decode()}' is missing"):
        decoded(without=name)


@pytest.mark.parametrize("fields", [[], [b"v"], flat(FIELDS)[:-1]])
def test_odd_or_no_fields_are_poison(fields: list[bytes]) -> None:
    with pytest.raises(PoisonEntry):
        EntryDecoder(0).decode(b"5-0", fields)


@given(st.lists(st.one_of(st.sampled_from([*FIELDS, *FIELDS.values()]), st.binary(max_size=8)), max_size=16))
def test_any_fields_are_an_entry_or_poison(fields: list[bytes]) -> None:
    with contextlib.suppress(PoisonEntry):
        EntryDecoder(0).decode(b"5-0", fields)


# Both sides


@given(
    event=PRINTABLE,
    data=st.recursive(st.none() | st.booleans() | st.integers() | NAMES, lambda kids: st.lists(kids, max_size=3)),
    to=st.lists(ADDRESSES, min_size=1, max_size=5, unique=True),
    exclude=st.lists(ADDRESSES, max_size=3, unique=True),
    tenant=st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True),
    expires_in=st.none() | st.integers(1, 10**6),
    priority=st.sampled_from(["normal", "low"]),
    collapse=st.none() | PRINTABLE,
    seed=st.randoms(use_true_random=False),
)
def test_what_the_publisher_writes_is_read(
    event: str,
    data: Any,
    to: list[str],
    exclude: list[str],
    tenant: str,
    expires_in: int | None,
    priority: Any,
    collapse: str | None,
    seed: random.Random,
) -> None:
    made = make_event(
        *(event, data),
        to=to,
        exclude=exclude,
        tenant=tenant,
        expires_in=expires_in,
        priority=priority,
        collapse=collapse,
    )
    pairs = list(zip(made.fields[::2], made.fields[1::2], strict=True))
    as_written = read(b"5-0", list(made.fields))
    seed.shuffle(pairs)
    assert parts(EntryDecoder(0).decode(b"5-0", flat(dict(pairs)))) == parts(as_written)
    assert as_written.tenant == tenant
    assert as_written.to == tuple(to)
    assert as_written.event.decode() == event
    assert as_written.message_id.decode() == made.message_id
    assert as_written.data == dict(pairs)[b"d"]
    options = as_written.options or Options((), b"event", None, False, None)
    assert options.exclude == tuple(exclude)
    assert (options.expires_at is not None) == (expires_in is not None)
    assert (options.low, options.collapse) == (priority == "low", None if collapse is None else collapse.encode())


# Values


@given(st.tuples(st.integers(0, 2**63), st.integers(0, 2**64 - 1)))
def test_id_round_trips(position: tuple[int, int]) -> None:
    assert split_id(join_id(position)) == position


@pytest.mark.parametrize(("now_ms", "expired"), [(999, False), (1000, True), (1001, True)])
def test_event_is_expired_from_its_time_on(now_ms: int, expired: bool) -> None:
    options = options_of(exp=b"1000")
    assert options is not None
    assert options.expired(now_ms) is expired


def test_event_without_expiry_never_expires() -> None:
    options = options_of(p=b"low")
    assert options is not None
    assert not options.expired(2**62)


@pytest.mark.parametrize(("addresses", "excluded"), [({"tag:a": 0}, True), ({"tag:b": 0}, False), ({}, False)])
def test_one_excluded_address_excludes(addresses: dict[str, int], excluded: bool) -> None:
    assert decoded({b"x": b'["user:9","tag:a"]'}).excludes(addresses) is excluded


def test_size_grows_with_payload_and_audience() -> None:
    small = decoded()
    assert footprint_of([decoded({b"d": b"1" * 1000})]) >= footprint_of([small]) + 1000
    many = decoded({b"to": orjson.dumps([f"user:{n}" for n in range(1000)])})
    assert footprint_of([many, small]) >= 2 * footprint_of([small]) + 100_000


def test_size_of_what_is_packed_is_the_same() -> None:
    raw = [(b"5-0", flat({**FIELDS, b"to": to})) for to in (b'["all"]', b'["group:a"]')]
    entry, packed = EntryDecoder(0).decode_all(raw, {})
    assert isinstance(packed, tuple)
    assert footprint_of([packed]) == footprint_of([unpack(packed)]) == footprint_of([entry])
