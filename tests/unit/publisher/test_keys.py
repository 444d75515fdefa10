"""Keys: one slot per partition, no two meanings under one name."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from redis.crc import key_slot

from publisher import is_tenant, keys

TENANTS = st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True).filter(is_tenant)
KEYS = st.text(min_size=1, max_size=40)


@given(st.integers(0, 1023), TENANTS, KEYS)
def test_all_keys_of_a_partition_are_in_one_slot(partition, tenant, key):
    names = [keys.stream(partition), keys.epoch(partition), keys.revocations(partition)]
    names += [keys.idempotency(partition, tenant, key), keys.history(partition, tenant, key)]
    names += [named(partition, tenant, key) for named in (keys.idempotency, keys.notify_idempotency)]
    names += [keys.inbox_work(partition)]
    names += [named(partition, tenant, key) for named in (keys.inbox, keys.inbox_order, keys.inbox_unread)]
    names += [named(partition, tenant, key) for named in (keys.members, keys.memberships)]
    assert len({key_slot(name.encode("utf-8", "surrogatepass")) for name in names}) == 1


@given(st.tuples(TENANTS, KEYS), st.tuples(TENANTS, KEYS))
def test_no_two_groups_or_users_share_a_key(one, other):
    assert (keys.members(0, *one) == keys.members(0, *other)) == (one == other)
    assert (keys.memberships(0, *one) == keys.memberships(0, *other)) == (one == other)
    assert keys.members(0, *one) != keys.memberships(0, *other)


@given(st.tuples(TENANTS | st.just("default"), KEYS), st.tuples(TENANTS | st.just("default"), KEYS))
def test_no_two_tenants_share_an_idempotency_key(one, other):
    assert (keys.idempotency(0, *one) == keys.idempotency(0, *other)) == (one == other)


@given(st.tuples(TENANTS | st.just("default"), KEYS), st.tuples(TENANTS | st.just("default"), KEYS))
def test_no_two_groups_share_a_history(one, other):
    assert (keys.history(0, *one) == keys.history(0, *other)) == (one == other)


@given(st.tuples(TENANTS, KEYS), st.tuples(TENANTS, KEYS))
@example(("default", "42"), ("default", "42:unread"))
@example(("default", "42:unread"), ("default", "42%3Aunread"))
def test_no_two_users_share_a_key_of_an_inbox(one, other):
    named = (keys.inbox, keys.inbox_order, keys.inbox_unread)
    of_one, of_other = ({name(0, *owner) for name in named} for owner in (one, other))
    assert len(of_one) == 3
    assert of_one == of_other if one == other else of_one.isdisjoint(of_other)


@given(st.integers(0, 1023), TENANTS, KEYS)
def test_a_key_of_an_inbox_names_its_owner(partition, tenant, user):
    for named in (keys.inbox, keys.inbox_order, keys.inbox_unread):
        assert keys.inbox_owner(named(partition, tenant, user)) == (tenant, user)


@given(st.text(), st.integers(1, 64))
def test_a_partition_is_one_of_them(address, partitions):
    try:
        address.encode()
    except UnicodeEncodeError:
        return
    assert 0 <= keys.partition_of(address, partitions) < partitions


def test_the_names_that_others_rely_on():
    assert keys.stream(3) == "tg:{events:3}"
    assert keys.epoch(3) == "tg:{events:3}:epoch"
    assert keys.idempotency(0, "default", "order-7") == "tg:{events:0}:key:order-7"
    assert keys.revocations(0) == "tg:{events:0}:revoked"
    assert keys.history(0, "default", "chat-1") == "tg:history:{events:0}:default:chat-1"
    assert keys.inbox_work(3) == "tg:{events:3}:inbox"
    assert keys.inbox(3, "acme", "42") == "tg:inbox:{events:3}:acme:42"
    assert keys.inbox_order(3, "acme", "42") == "tg:inbox:{events:3}:acme:42:order"
    assert keys.inbox_unread(3, "acme", "42") == "tg:inbox:{events:3}:acme:42:unread"
    assert keys.members(1, "acme", "ops") == "tg:members:{events:1}:acme:group:ops"
    assert keys.memberships(1, "acme", "42") == "tg:members:{events:1}:acme:user:42"
