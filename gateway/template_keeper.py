"""The keeper of the message templates: puts the configured ones into Redis for publishers, again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import orjson
import structlog
from redis.asyncio import Redis

from gateway.store.connection import REDIS_ERRORS
from gateway.store.templates import keep_templates

_log = structlog.get_logger()

_RENEW_S: Final = 30.0
_RETRY_S: Final = 1.0


class TemplateKeeper:
    """Keeps them there for as long as `run` runs."""

    def __init__(self, redis: Redis, definitions: Mapping[str, Mapping[str, Any]]) -> None:
        self._redis = redis
        self._text = orjson.dumps(definitions)
        self._started = ""

    async def keep(self) -> bool:
        """Store or renew them once; tell whether Redis took them."""
        try:
            self._started = await keep_templates(self._redis, self._text, self._started)
        except REDIS_ERRORS as error:
            _log.debug("templates_not_kept", error=type(error).__name__)  # the consumer reports it
            return False
        return True

    async def run(self) -> None:
        """Keep them until cancelled."""
        while True:
            kept = await self.keep()
            await asyncio.sleep(_RENEW_S if kept else _RETRY_S)
