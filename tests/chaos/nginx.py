"""A real nginx in front of gateways, with `ip_hash`, as in production."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from tests.support.redis_server import free_port
from tests.support.waiting import wait_until

PROGRAM = shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)

_CONFIGURATION = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 16000;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 15000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream gateways {{
        ip_hash;
{servers}
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://gateways;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_connect_timeout 1s;
            proxy_read_timeout 120s;
            proxy_next_upstream error timeout http_502 http_503;
        }}
    }}
}}
"""


@contextlib.asynccontextmanager
async def nginx(ports: Sequence[int]) -> AsyncIterator[int]:
    """Run nginx in front of these ports of 127.0.0.1; give its own."""
    folder = Path(tempfile.mkdtemp(prefix="tg-nginx-"))
    port = free_port()
    # With max_fails nginx takes a gateway for failed until a request to it has *ended*, and lets one through per
    # fail_timeout until then. A WebSocket ends hours later: a restarted gateway would get one client a second.
    servers = "\n".join(f"        server 127.0.0.1:{each} max_fails=0;" for each in ports)
    (folder / "nginx.conf").write_text(_CONFIGURATION.format(folder=folder, port=port, servers=servers))
    process = subprocess.Popen(
        [str(PROGRAM), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        await wait_until(lambda: _listens(port), 20)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait(5)
        shutil.rmtree(folder, ignore_errors=True)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
