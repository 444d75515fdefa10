"""The address rules that were given at run time, as an instance loads them when it starts, and after a gap."""

from __future__ import annotations

import time
from typing import Any, Final

import structlog
from redis.asyncio import Redis

from gateway.address_rules import AddressRule, AddressRules
from gateway.store import keys
from publisher.access import canonical_network

_log = structlog.get_logger()

_PARTITION: Final = 0  # all of them, because each concerns every instance
_ACTIONS: Final = {"block": True, "allow": False}


async def load_rules(redis: Redis, into: AddressRules) -> None:
    """Replace the rules by those that are stored. What the log changes meanwhile is newer: then look again."""
    while True:
        version = into.version
        rules = await stored_rules(redis)
        if into.version == version:
            into.replace(rules)
            return


async def stored_rules(redis: Redis) -> list[AddressRule]:
    """Return every stored rule that has not ended."""
    now_ms = int(time.time() * 1000)
    reply: Any = await redis.zrangebyscore(keys.access_rules(_PARTITION), now_ms, "+inf", withscores=True)
    rules = []
    for member, score in reply:
        try:
            action, _, network = member.decode().partition(" ")
            rules.append(AddressRule(canonical_network(network), _ACTIONS[action], int(float(score))))
        except (ValueError, LookupError, OverflowError):
            _log.error("poison_rule", member=repr(member)[:100])  # one must not keep the others from being loaded
    return rules
