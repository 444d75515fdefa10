"""
Reports: what this instance knows of events with a receipt, on its way to Redis.

Apart from the delivery: what has changed is collected there, and written here a moment later, much of it at once. A
report that fails is made again; each says all that was counted, so none can count twice.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from typing import Final

import orjson
import structlog
from redis.asyncio import Redis

from gateway.receipts import Counts, Receipt, Receipts
from gateway.store.connection import REDIS_ERRORS
from gateway.store.receipts import about, write_reports
from publisher.cursor import Cursor
from publisher.receipt import reporter, written

_log = structlog.get_logger()

_EVERY_S: Final = 0.2
_PAUSE_S: Final = 2.0  # after a failure
_AT_ONCE: Final = 200


class Reports:
    """Writes one process's reports for as long as `run` runs."""

    def __init__(self, redis: Redis, receipts: Receipts, instance_id: str, *, retention_s: float) -> None:
        self._redis = redis
        self._receipts = receipts
        self._field = reporter(instance_id, secrets.token_hex(4))
        self._retention_ms = int(retention_s * 1000)

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            reported = await self.flush()
            await asyncio.sleep(_EVERY_S if reported else _PAUSE_S)

    async def flush(self) -> bool:
        """Report what is new; tell whether Redis took it."""
        self._receipts.prune(int(time.time() * 1000) - self._retention_ms)
        while taken := self._receipts.take_changed(_AT_ONCE):
            try:
                await self._write(taken)
            except REDIS_ERRORS as error:
                self._receipts.put_back(taken)
                _log.debug("receipts_not_reported", error=type(error).__name__)  # the consumer reports it
                return False
            except asyncio.CancelledError:
                self._receipts.put_back(taken)
                raise
        return True

    async def _write(self, receipts: list[Receipt]) -> None:
        for partition in {receipt.partition for receipt in receipts}:
            reports = [(_id(one), self._fields(one)) for one in receipts if one.partition == partition]
            await write_reports(self._redis, partition, reports, self._retention_ms)

    def _fields(self, receipt: Receipt) -> dict[bytes, str | bytes]:
        report = {address: _values(counts) for address, counts in receipt.counts.items()}
        return {**about(receipt.tenant, orjson.dumps(receipt.to)), self._field: written(report)}


def _id(receipt: Receipt) -> str:
    ms, n = map(int, receipt.id.split(b"-"))
    return str(Cursor(ms, n, receipt.partition, receipt.epoch))


def _values(counts: Counts) -> tuple[int, int, int, int, Mapping[str, int]]:
    return counts.sockets, counts.delivered, counts.acked, counts.expired, dict(counts.dropped)
