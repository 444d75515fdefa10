"""A publisher and the event loop that it belongs to."""

from __future__ import annotations

import asyncio

import pytest

from publisher import Publisher, PublishError, make_event
from tests.integration.publisher.conftest import PATIENCE_S

EVENT = make_event("e", 1, to="all")


async def put(tide):
    return await tide.publish_many([EVENT])


async def submit(tide):
    return await tide.submit(EVENT)


async def post(tide):
    tide.post(EVENT, print)


@pytest.mark.parametrize("again", [put, submit, post])
def test_a_second_loop_is_refused_with_the_cause(url, entries, again):
    async def first():
        tide = Publisher(url, timeout_s=PATIENCE_S)
        await put(tide)
        await tide._own_client.aclose()  # or its socket would be left to the collector
        return tide

    async def second(tide):
        try:
            with pytest.raises(PublishError, match="belongs to the event loop that first used it"):
                await again(tide)
        finally:
            await tide.aclose()

    asyncio.run(second(asyncio.run(first())))
    assert len(entries()) == 1
