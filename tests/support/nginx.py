"""
A real nginx in front of real gateways, with the site of `deploy/nginx` as it is shipped.

    with Nginx(folder, gateways, http_ports=[8891]) as nginx:
        async with connected(nginx, local_addr=("127.0.7.1", 0), ssl=nginx.ssl): ...

Replaced are only what a machine has for itself: paths, ports, the certificate and the gateways' addresses.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.support.certificates import Authority
from tests.support.redis_server import free_port
from tests.support.waiting import wait_until_sync

SITE = Path(__file__).parents[2] / "deploy" / "nginx"

_MAIN = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/main.log info;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    access_log off;
    include {folder}/tidegate.conf;
}}
"""


def nginx_binary() -> str | None:
    """Return nginx, which Debian puts where not every PATH looks."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class Nginx:
    """
    One nginx, for as long as the context lasts.

    Attributes:
        port, plain_port: Where it speaks TLS, and where it does not.
        ssl: What trusts its certificate.
    """

    def __init__(self, folder: Path, ports: Sequence[int], http_ports: Sequence[int] = ()) -> None:
        self._folder = folder
        folder.mkdir()
        self.port, self.plain_port = free_port(), free_port()
        self._authority = Authority(folder)
        self.ssl: ssl.SSLContext = self._authority.client_context()
        self._process: subprocess.Popen[bytes] | None = None
        self._write(ports, http_ports or ports)

    @property
    def url(self) -> str:
        """The WebSocket endpoint behind it."""
        return f"wss://127.0.0.1:{self.port}/ws"

    @property
    def http_url(self) -> str:
        """Its HTTP side."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def access_log(self) -> str:
        """What it wrote about requests."""
        return (self._folder / "tidegate.access.log").read_text()

    @property
    def all_logs(self) -> str:
        """Everything that it wrote, but for what is not of the site: its own `main.log` at a level nobody uses."""
        return "".join(path.read_text() for path in self._folder.glob("tidegate.*.log"))

    def _write(self, ports: Sequence[int], http_ports: Sequence[int]) -> None:
        certificate, key = self._authority.issue("nginx")
        replaced = {
            "/etc/nginx/tidegate/": f"{self._folder}/",
            "/var/log/nginx/": f"{self._folder}/",
            "/etc/ssl/tide.example.com/fullchain.pem": certificate,
            "/etc/ssl/tide.example.com/key.pem": key,
            "listen 80;": f"listen 127.0.0.1:{self.plain_port};",
            "listen 443 ssl;": f"listen 127.0.0.1:{self.port} ssl;",
        }
        for path in SITE.glob("*.conf"):
            text = path.read_text()
            for old, new in replaced.items():
                text = text.replace(old, new)
            text = re.sub(r"^ *listen \[::\].*\n", "", text, flags=re.MULTILINE)
            (self._folder / path.name).write_text(text)
        upstreams = (self._folder / "upstreams.conf").read_text()
        for server, port in zip(re.findall(r"server (\S+)", upstreams), [*ports, *http_ports], strict=True):
            upstreams = upstreams.replace(f"server {server} ", f"server 127.0.0.1:{port} ")
        (self._folder / "upstreams.conf").write_text(upstreams)
        user = "user root;" if os.geteuid() == 0 else ""
        (self._folder / "nginx.conf").write_text(_MAIN.format(folder=self._folder, user=user))

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [str(nginx_binary()), "-p", str(self._folder), "-c", "nginx.conf", "-e", str(self._folder / "main.log")],
            stdin=subprocess.DEVNULL,
        )
        try:
            wait_until_sync(self._accepts, 60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)

    def _accepts(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "main.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
