"""`gateway instances`: who lives, how busy they are, and how far each is behind the log."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from gateway.settings import Settings
from gateway.store.groups import lags
from gateway.store.leases import RENEW_S, instances
from gateway.terminal.addresses import without_password
from gateway.terminal.quantities import duration, number, plural
from gateway.terminal.redis_tool import run_with_redis
from gateway.terminal.style import Style, printable, style_for, table

_COUNTS: Final = ("pid", "started_at", "connections", "events", "deliveries", "memory_entries")
_LAG_IS_MUCH: Final = 1_000

Lags = Mapping[int, Mapping[str, int | None]]


@dataclass(frozen=True, slots=True)
class Found:
    """
    What Redis knows of the instances.

    Attributes:
        live: Instance id → what its lease says.
        lags: Partition → instance id → entries not read yet; None where Redis cannot know.
    """

    live: Mapping[str, Mapping[str, str]]
    lags: Lags

    def orphans(self) -> list[str]:
        """Return the ids whose group is there and whose lease is not."""
        return sorted({name for groups in self.lags.values() for name in groups} - self.live.keys())


def show_instances(settings: Settings, *, as_json: bool) -> int:
    """
    Print the live instances, and the groups that have none.

    Raises:
        ConfigError: Redis cannot be reached.
    """

    async def run(redis: Redis) -> int:
        found = await find(redis, range(settings.log.partitions))
        now_ms = int(time.time() * 1000)
        if as_json:
            print(orjson.dumps(_as_json(found), option=orjson.OPT_INDENT_2).decode())
        else:
            place = without_password(settings.redis_url)
            print("\n".join(_lines(found, place, now_ms, style_for(sys.stdout))))
        return 0

    return run_with_redis(settings, run)


async def find(redis: Redis, partitions: Collection[int]) -> Found:
    """Ask Redis for the leases and the groups."""
    return Found(await instances(redis), {partition: await _lags(redis, partition) for partition in partitions})


async def _lags(redis: Redis, partition: int) -> Mapping[str, int | None]:
    try:
        return await lags(redis, partition)
    except ResponseError as error:
        if "no such key" in str(error):  # nobody has made the log yet
            return {}
        raise


def _as_json(found: Found) -> dict[str, Any]:
    def one(name: str) -> dict[str, Any]:
        facts = {key: value for key, value in found.live[name].items() if key not in {"token", "statistics"}}
        counts = {key: int(facts[key]) for key in _COUNTS if facts.get(key, "").isdigit()}
        return {"id": name, **facts, **counts, "lag": _lag(found, name)}

    return {
        "instances": [one(name) for name in sorted(found.live)],
        "groups_without_instance": [{"id": name, "lag": _lag(found, name)} for name in found.orphans()],
    }


def _lag(found: Found, name: str) -> list[int | None]:
    return [groups.get(name) for _, groups in sorted(found.lags.items())]


def _lines(found: Found, place: str, now_ms: int, style: Style) -> Iterator[str]:
    if found.live:
        headings = ("INSTANCE", "ADDRESS", "UPTIME", "CONNECTIONS", "EVENTS", "DELIVERIES", "LAG", "VERSION", "PROCESS")
        rows = [tuple(style(heading, "dim") for heading in headings)]
        rows += [_row(found, name, now_ms, style) for name in sorted(found.live)]
        yield from table(rows, right=frozenset((2, 3, 4, 5, 6)))
        yield ""
        connections = sum(int(facts.get("connections", 0)) for facts in found.live.values())
        summary = f"{plural(len(found.live), 'instance')}, {plural(connections, 'connection')}"
        yield style(f"{summary}; on {place}. The counts are up to {duration(RENEW_S)} old.", "dim")
    else:
        yield f"{style('No instance lives', 'bold')} on {place}."
    if orphans := found.orphans():
        yield ""
        yield style("Groups whose instance is gone; they are removed once unused for an hour:", "yellow")
        for name in orphans:
            yield f"  {printable(name)}  lag {_shown_lag(_lag(found, name), style)}"


def _row(found: Found, name: str, now_ms: int, style: Style) -> tuple[str, ...]:
    facts = found.live[name]
    started_at = facts.get("started_at", "")
    uptime = duration(max(0, now_ms - int(started_at)) / 1000) if started_at.isdigit() else "?"
    return (
        style(printable(name), "bold"),
        printable(facts.get("address", "?")),
        uptime,
        *(_count(facts.get(key, "")) for key in ("connections", "events", "deliveries")),
        _shown_lag(_lag(found, name), style),
        printable(facts.get("version", "?")),
        printable(f"{facts.get('pid', '?')} on {facts.get('host', '?').partition('/')[0]}"),
    )


def _count(text: str) -> str:
    return number(int(text)) if text.isdigit() else "?"


def _shown_lag(entries: list[int | None], style: Style) -> str:
    """Return the lag per partition; `?` where Redis cannot know, as after a deletion from the stream's middle."""
    shown = "/".join("?" if count is None else number(count) for count in entries)
    much = any(count is not None and count >= _LAG_IS_MUCH for count in entries)
    return style(shown, "red" if much else "green") if any(count is not None for count in entries) else shown
