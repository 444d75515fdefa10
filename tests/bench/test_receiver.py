"""The receiver sees what it claims to see: a bench that cannot fail would prove nothing."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.asyncio.server import Server, ServerConnection, broadcast, serve

from tests.bench.process import BenchError, Child
from tests.bench.receiver import Receiver
from tests.bench.tools import build_tools
from tests.support.waiting import wait_until

CLIENTS = 3
MISSED, SHARED = 4, 1
Replay = Callable[[list[str]], list[str]]


@pytest.fixture(scope="module", params=["native", "fallback"])
def command(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    native = request.param == "native"
    tools = build_tools(tmp_path_factory.mktemp("tools"), native=native)
    if native and tools.language != "C":
        pytest.skip("needs a C compiler")
    return tools.receiver


@asynccontextmanager
async def connected(
    command: tuple[str, ...], folder: Path, replay: Replay = list
) -> AsyncIterator[tuple[Receiver, Server]]:
    """Connect a receiver's clients to a server that replays what `replay` makes of the right frames."""

    async def welcome(socket: ServerConnection) -> None:
        query = parse_qs(urlsplit(socket.request.path).query)
        await socket.send('{"type":"welcome","data":{"cursor":"at-0"}}')
        if "cursor" in query:
            assert query["cursor"] == ["at-1"]
            for frame in replay(missed_by(int(query["token"][0]))):
                await socket.send(frame)
        await socket.wait_closed()

    child = Child("receiver", command, cores={0}, log=folder / "log")
    try:
        async with serve(welcome, "127.0.0.1", 0) as server:
            receiver = Receiver(child)
            port = server.sockets[0].getsockname()[1]
            tokens = [str(k) for k in range(CLIENTS)]
            await asyncio.to_thread(receiver.connect, port, tokens, at_once=2, folder=folder)
            yield receiver, server
    finally:
        child.stop()


def missed_by(client: int) -> list[str]:
    """Two rounds of one event for everybody and one for each client."""
    numbers = [0, 1 + client, CLIENTS + 1, CLIENTS + 2 + client]
    return [json.dumps({"data": {"seq": f"{number:010}"}}, separators=(",", ":")) for number in numbers]


async def storm(receiver: Receiver, server: Server, timeout_s: float = 30) -> int:
    """Give the clients a cursor, drop them, let them resume; return the number of wrong frames."""
    await asyncio.to_thread(receiver.expect, CLIENTS, "cursor")
    broadcast(server.connections, '{"id":"at-1"}')
    await asyncio.to_thread(receiver.wait, 30)
    await asyncio.to_thread(receiver.drop)
    receipt = await asyncio.to_thread(receiver.resume, at_once=2, missed=MISSED, shared=SHARED, timeout_s=timeout_s)
    return receipt.wrong


async def test_counts_frames_and_bytes_however_they_arrive(command: tuple[str, ...], tmp_path: Path) -> None:
    async with connected(command, tmp_path) as (receiver, server):
        await asyncio.to_thread(receiver.expect, CLIENTS * 500)
        for _ in range(500):
            broadcast(server.connections, "x" * 270)
        receipt = await asyncio.to_thread(receiver.wait, 30)
    assert (receipt.frames, receipt.bytes) == (CLIENTS * 500, CLIENTS * 500 * 270)


async def test_accepts_a_right_resume(command: tuple[str, ...], tmp_path: Path) -> None:
    async with connected(command, tmp_path) as (receiver, server):
        assert await storm(receiver, server) == 0


@pytest.mark.parametrize(
    "replay",
    [
        pytest.param(lambda frames: [frames[1], frames[0], *frames[2:]], id="out of order"),
        pytest.param(lambda frames: [frames[0], *frames], id="twice"),
        pytest.param(lambda frames: [*frames[:-1], missed_by(CLIENTS)[-1]], id="of somebody else"),
    ],
)
async def test_notices_a_wrong_resume(command: tuple[str, ...], tmp_path: Path, replay: Replay) -> None:
    async with connected(command, tmp_path, replay) as (receiver, server):
        assert await storm(receiver, server) > 0


async def test_notices_a_lost_event(command: tuple[str, ...], tmp_path: Path) -> None:
    async with connected(command, tmp_path, lambda frames: frames[:-1]) as (receiver, server):
        with pytest.raises(BenchError, match="did not finish"):
            await storm(receiver, server, timeout_s=0.5)


async def test_notices_a_lost_connection(command: tuple[str, ...], tmp_path: Path) -> None:
    async with connected(command, tmp_path) as (receiver, server):
        await asyncio.to_thread(receiver.expect, 1)
        for socket in server.connections:
            socket.transport.abort()

        async def noticed() -> None:
            await asyncio.to_thread(receiver.report)

        with pytest.raises(BenchError, match=r"closed \d connections"):
            await wait_until(noticed)
