"""
`gateway tail`: the log live, for people or as JSON lines.

Reads the streams themselves, so it needs no gateway and no consumer group, and goes on when Redis comes back.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import orjson
from redis.asyncio import Redis

from gateway.entry import EntryId, split_id
from gateway.errors import ConfigError
from gateway.settings import Settings
from gateway.store import peek
from gateway.store.connection import REDIS_ERRORS
from gateway.terminal.addresses import without_password
from gateway.terminal.described import Described, describe
from gateway.terminal.quantities import clock, duration, parse_duration, size
from gateway.terminal.redis_tool import run_with_redis
from gateway.terminal.style import Style, cut, plain_length, printable, style_for
from publisher.address import DEFAULT_TENANT
from publisher.cursor import Cursor
from publisher.event import CANARY, KIND_EVENT

_COUNT: Final = 200
_BLOCK_MS: Final = 1_000
_RETRY_S: Final = 0.5
_LOOK_EVERY_S: Final = 1.0
_LEAST_ID: Final = 10**9  # a smaller bare number is a duration in seconds
_LEAST_DATA: Final = 40
_MOST_ADDRESSES: Final = 4
_ID: Final = re.compile(r"(\d{1,16})(?:-(\d{1,20}))?(?:\.(\d{1,4})(?:\.[A-Za-z0-9]{1,32})?)?", re.ASCII)


def tail(settings: Settings, *, since: str, as_json: bool) -> int:
    """
    Print events as they come, until interrupted.

    Args:
        since: `$` for now, an event's id (as publishers return it, or of a stream entry), or how far back: `5m`.

    Raises:
        ConfigError: Redis cannot be reached at the start, or `since` is none of these.
    """

    async def run(redis: Redis) -> int:
        tailing = _Tail(redis, settings, as_json=as_json)
        await tailing.begin(since)
        while True:
            await tailing.step()

    return run_with_redis(settings, run)


class _Tail:
    """One reader of all partitions: where it is, and how it prints."""

    def __init__(self, redis: Redis, settings: Settings, *, as_json: bool) -> None:
        self._redis = redis
        self._partitions = range(settings.log.partitions)
        self._place = without_password(settings.redis_url)
        self._as_json = as_json
        self._style = style_for(sys.stdout)
        self._positions: dict[int, EntryId] = {}
        self._epochs: dict[int, str] = {}
        self._away = False
        self._looked_at = 0.0

    async def begin(self, since: str) -> None:
        """Take position."""
        bounds = {partition: await peek.bounds(self._redis, partition) for partition in self._partitions}
        self._epochs = {partition: found.epoch for partition, found in bounds.items()}
        if since == "$":
            self._positions = {partition: found.last for partition, found in bounds.items()}
        else:
            self._positions = start_positions(since, self._partitions, await peek.server_time_ms(self._redis))
        self._looked_at = time.monotonic()
        self._say(f"the log on {self._place}; Ctrl-C ends")

    async def step(self) -> None:
        """Print what comes within a second; or, where Redis is away, wait and try again."""
        try:
            found = await peek.read_on(self._redis, self._positions, count=_COUNT, block_ms=_BLOCK_MS)
            for partition in {partition for partition, _, _ in found}:
                self._epochs[partition] = await peek.epoch_of(self._redis, partition)
            if self._away or time.monotonic() - self._looked_at >= _LOOK_EVERY_S:
                await self._look()
        except REDIS_ERRORS as error:
            if not self._away:
                self._say(f"Redis does not answer ({printable(str(error))}): trying again", "yellow")
            self._away = True
            await asyncio.sleep(_RETRY_S)
            return
        for partition, entry_id, fields in found:
            self._positions[partition] = split_id(entry_id)
            self._print(partition, entry_id, fields)

    async def _look(self) -> None:
        """Notice a log that was lost and begun anew: its ids may be behind ours, and would never be read."""
        for partition in self._partitions:
            bounds = await peek.bounds(self._redis, partition)
            if bounds.last < self._positions[partition]:
                self._say(f"the log of partition {partition} was lost: from the beginning of the new one", "yellow")
                self._positions[partition] = (0, 0)
            self._epochs[partition] = bounds.epoch
        if self._away:
            self._say("Redis is back", "green")
        self._away = False
        self._looked_at = time.monotonic()

    def _print(self, partition: int, entry_id: bytes, fields: Mapping[bytes, bytes]) -> None:
        cursor = Cursor(*split_id(entry_id), partition, self._epochs[partition])
        described = describe(cursor, fields)
        if described.is_control and described.event == CANARY:
            return  # one an instance every few seconds: who looks for events would see little else
        if self._as_json:
            print(orjson.dumps(described.as_json()).decode(), flush=True)
        else:
            print(line(described, self._style), flush=True)

    def _say(self, text: str, *colours: str) -> None:
        """Tell people, not pipes, what happens."""
        print(style_for(sys.stderr)(f"· {text}", *(colours or ("dim",))), file=sys.stderr, flush=True)


def start_positions(since: str, partitions: Iterable[int], now_ms: int) -> dict[int, EntryId]:
    """
    Return after which id each partition is read.

    An id is one of its partition; the others are read from its time on.

    Raises:
        ConfigError: `since` is neither an id nor a duration.
    """
    match = _ID.fullmatch(since)
    if match is not None and (int(match[1]) == 0 or int(match[1]) > _LEAST_ID or match[2] is not None):
        ms, n, partition = int(match[1]), match[2], match[3]
        at_time = (max(0, ms - 1), 2**64 - 1 if ms else 0)
        exact = (ms, int(n)) if n is not None else at_time
        return {number: exact if partition in (None, str(number)) else at_time for number in partitions}
    try:
        start_ms = now_ms - int(parse_duration(since) * 1000)
    except ValueError:
        raise ConfigError("--since", f"{since!r:.40}: use an event's id, `0`, or how far back: 30s, 5m, 1h") from None
    return dict.fromkeys(partitions, (max(0, start_ms), 0))


def line(described: Described, style: Style) -> str:
    """Return one event as a line that fits the terminal; its data are cut, but for `_LEAST_DATA` characters."""
    foreign = described.tenant != DEFAULT_TENANT
    whole = style.width is None
    parts = [
        style(clock(described.ms), "dim"),
        style(printable(described.id), "dim"),
        style(f"{printable(described.tenant):<7}", "yellow" if foreign else "dim"),
        f"{_audience(described.to, whole=whole):<14}",
        style(f"{printable(described.event):<16}", "bold", "magenta" if described.is_control else "cyan"),
        style(f"{size(len(described.data)):>7}", "dim"),
        *(style(flag, "yellow") for flag in _flags(described, whole=whole)),
    ]
    beginning = "  ".join(parts)
    if style.width is None:
        return f"{beginning}  {printable(described.data.decode(errors='replace'))}"
    room = max(_LEAST_DATA, style.width - plain_length(beginning) - 2)
    return f"{beginning}  {cut(printable(described.data[: 4 * room].decode(errors='replace')), room)}"


def _audience(addresses: Sequence[str], *, whole: bool) -> str:
    if whole:
        return ",".join(map(printable, addresses))
    shown = ",".join(printable(cut(address, 40)) for address in addresses[:_MOST_ADDRESSES])
    more = len(addresses) - _MOST_ADDRESSES
    return f"{shown},… {more} more" if more > 0 else shown


def _flags(described: Described, *, whole: bool) -> Iterator[str]:
    if described.kind != KIND_EVENT.decode():
        yield printable(described.kind)
    if described.exclude:
        yield f"not {_audience(described.exclude, whole=whole)}"
    if described.expires_at is not None:
        yield f"expires after {duration(max(0, described.expires_at - described.ms) / 1000)}"
    if described.priority != "normal":
        yield printable(described.priority)
    if described.collapse is not None:
        yield f"collapse={printable(described.collapse)}"
