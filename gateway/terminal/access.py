"""`gateway access`: the address rules of the whole cluster, shown and changed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

import orjson
from redis.asyncio import Redis

from gateway.address_rules import AddressRule
from gateway.errors import ConfigError
from gateway.settings import Settings
from gateway.store.access import stored_rules
from gateway.terminal.quantities import duration
from gateway.terminal.redis_tool import run_with_redis, unreachable
from gateway.terminal.style import Style, style_for, table
from gateway.wiring import publisher
from publisher.access import AccessAction
from publisher.errors import PublishError, PublishUnavailable, PublishUnknown

_COLOURS: Final = {True: "red", False: "green"}


def change_access(settings: Settings, action: AccessAction, network: str | None, *, lasts_s: float) -> int:
    """
    Change one rule on every gateway.

    Raises:
        ConfigError: Redis cannot be reached, or what is asked for is not well-formed.
    """
    if network is None:
        raise ConfigError("NETWORK", f"say what to {action}: a network such as 203.0.113.0/24, or an address")

    async def run(redis: Redis) -> int:
        tide = publisher(settings, redis)
        try:
            await tide.access(action, network, lasts_s=lasts_s)
        except (PublishUnavailable, PublishUnknown) as error:
            raise unreachable(settings, error) from None
        except PublishError as error:
            raise ConfigError("NETWORK", str(error)) from None
        finally:
            await tide.aclose()
        until = "" if action == "clear" else f" for {duration(lasts_s)}"
        done = {"block": "blocked", "allow": "allowed", "clear": "as the configuration has it"}[action]
        print(f"{network} is {done}{until}, on every gateway")
        return 0

    return run_with_redis(settings, run)


def show_access(settings: Settings, *, as_json: bool) -> int:
    """
    Print the rules that were given at run time.

    Raises:
        ConfigError: Redis cannot be reached.
    """

    async def run(redis: Redis) -> int:
        rules = await stored_rules(redis)
        if as_json:
            print(orjson.dumps([_as_json(rule) for rule in rules], option=orjson.OPT_INDENT_2).decode())
        else:
            print("\n".join(_lines(rules, style_for(sys.stdout))))
        return 0

    return run_with_redis(settings, run)


def _as_json(rule: AddressRule) -> dict[str, object]:
    return {"network": rule.network, "action": "block" if rule.blocks else "allow", "until": rule.until_ms}


def _lines(rules: Sequence[AddressRule], style: Style) -> Iterator[str]:
    if not rules:
        yield "No rules were given at run time; those of the configuration hold."
        return
    now_ms = time.time() * 1000
    yield from table(
        [
            (
                rule.network,
                style("block" if rule.blocks else "allow", _COLOURS[rule.blocks]),
                f"for another {duration(max(1.0, (rule.until_ms - now_ms) / 1000))}",
            )
            for rule in rules
        ]
    )
