"""SIGHUP reads the certificate again: in one process, in workers, and where the files are bad."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_workers import COMMAND, Pool, listening
from tests.support.certificates import Authority, common_name
from tests.support.clients import connected
from tests.support.gateway import ApiProcess, GatewayProcess
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.terminal import Piped
from tests.support.waiting import wait_until


class TlsProcess(GatewayProcess):
    """One `gateway serve` with a certificate; ready when it listens, for `/ready` is asked by TLS."""

    @property
    def url(self) -> str:
        return super().url.replace("ws://", "wss://")

    async def start(self, *, timeout_s: float = 60, ready: bool = True) -> TlsProcess:
        self.launch()
        found = await wait_until(lambda: self._alive() and self.log_events("listening"), timeout_s)
        self._settings["listen__port"] = found[-1]["port"]
        return self


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def paths(ca: Authority) -> Iterator[tuple[str, str]]:
    return ca.issue("one")


def shown(port: int, ca: Authority) -> str:
    """Connect; return the name in the certificate that is shown."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as tcp,
        ca.client_context().wrap_socket(tcp, server_hostname="127.0.0.1") as tls,
    ):
        return common_name(tls)


def exchange(paths: tuple[str, str], ca: Authority, name: str) -> None:
    for old, new in zip(paths, ca.issue(name), strict=True):
        shutil.copy(new, old)


async def test_sighup_exchanges_the_certificate_and_drops_nobody(
    redis_url: str, ca: Authority, paths: tuple[str, str]
) -> None:
    files = {"listen__tls_certificate": paths[0], "listen__tls_key": paths[1]}
    async with TlsProcess(redis_url, **files) as gateway, connected(gateway, ssl=ca.client_context()) as client:
        for name in ("two", "three"):
            exchange(paths, ca, name)
            gateway.signal(signal.SIGHUP)
            await wait_until(lambda name=name: shown(gateway.port, ca) == name)
        Path(paths[0]).write_text("nonsense")
        gateway.signal(signal.SIGHUP)
        await wait_until(lambda: gateway.log_events("tls_reload_failed"))
        assert shown(gateway.port, ca) == "three"
        assert (await client.send("ping")).type == "pong"
        assert len(gateway.log_events("tls_reloaded")) == 2
        assert len(gateway.log_events("tls_reload_failed")) == 1
        assert await gateway.terminate() == 0


async def test_sighup_reaches_all_workers(
    tmp_path: Path, redis_url: str, redis_server: object, ca: Authority, paths: tuple[str, str]
) -> None:
    pool = Pool(tmp_path, redis_url, redis_server)
    variables = {"GATEWAY_LISTEN__TLS_CERTIFICATE": paths[0], "GATEWAY_LISTEN__TLS_KEY": paths[1]}
    async with pool.run(3, **variables) as supervisor:
        await listening(supervisor, 3)
        exchange(paths, ca, "two")
        supervisor.signal(signal.SIGHUP)
        await wait_until(lambda: supervisor.err.count('"tls_reloaded"') == 3, 60)
        names = {await asyncio.to_thread(shown, pool.port, ca) for _ in range(30)}
        assert names == {"two"}
        supervisor.signal(signal.SIGTERM)
        assert await supervisor.ended() == 0


async def test_the_api_alone_reloads_too(redis_url: str, ca: Authority, paths: tuple[str, str]) -> None:
    files = {"http__tls_certificate": paths[0], "http__tls_key": paths[1]}
    async with ApiProcess(redis_url, **files) as api:
        port = api.log_events("http_listening")[-1]["port"]
        assert await asyncio.to_thread(shown, port, ca) == "one"
        exchange(paths, ca, "two")
        api.signal(signal.SIGHUP)
        await wait_until(lambda: shown(port, ca) == "two")


async def test_sighup_during_the_start_counts_as_well(
    redis_server: RedisServer, ca: Authority, paths: tuple[str, str]
) -> None:
    files = {"http__tls_certificate": paths[0], "http__tls_key": paths[1]}
    async with Proxy(redis_server.port) as proxy:
        proxy.hold()
        api = ApiProcess(proxy.url, redis__timeout_s=60, **files)
        try:
            api.launch()
            await wait_until(lambda: proxy.connections, 60)  # by now it has read its certificate
            exchange(paths, ca, "two")
            api.signal(signal.SIGHUP)
            proxy.restore()
            (listening,) = await wait_until(lambda: api.log_events("http_listening"), 60)
            await wait_until(lambda: shown(listening["port"], ca) == "two")
        finally:
            await api.remove()


async def test_a_bad_certificate_refuses_the_start_in_one_line(redis_url: str, tmp_path: Path) -> None:
    gateway = GatewayProcess(redis_url, listen__tls_certificate="/nowhere.pem", listen__tls_key="/nowhere.key")
    try:
        gateway.launch()
        assert await gateway.wait() == 1
        lines = [line for line in gateway.log.splitlines() if line.startswith("gateway: ")]
        assert lines == ["gateway: listen.tls_certificate: cannot read /nowhere.pem: No such file or directory"]
        assert "Traceback" not in gateway.log
    finally:
        await gateway.remove()


@pytest.mark.parametrize(("days", "says"), [(300, "until"), (3, "send SIGHUP"), (-1, "has expired")])
async def test_check_explains_the_certificate(
    tmp_path: Path, redis_url: str, ca: Authority, days: int, says: str
) -> None:
    certificate, key = ca.issue("one", days=days)
    variables = {"GATEWAY_LISTEN__TLS_CERTIFICATE": certificate, "GATEWAY_LISTEN__TLS_KEY": key}
    async with Piped(
        [*COMMAND[:3], "check"], cwd=tmp_path, environ=Pool(tmp_path, redis_url, None).environ(**variables)
    ) as checking:
        assert await checking.ended() == 0
    assert says in checking.out
    assert "wss://127.0.0.1" in checking.out


async def test_check_refuses_what_serve_would(tmp_path: Path, redis_url: str, ca: Authority) -> None:
    certificate, _ = ca.issue("one")
    _, key = ca.issue("two")
    variables = {"GATEWAY_HTTP__TLS_CERTIFICATE": certificate, "GATEWAY_HTTP__TLS_KEY": key}
    async with Piped(
        [*COMMAND[:3], "check"], cwd=tmp_path, environ=Pool(tmp_path, redis_url, None).environ(**variables)
    ) as checking:
        assert await checking.ended() == 1
    assert "http.tls_certificate: not a certificate and its key" in checking.out
    assert ssl.OPENSSL_VERSION not in checking.out
