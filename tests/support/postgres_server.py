"""
A real PostgreSQL for tests, in a folder of its own, on a unix socket.

    with PostgresServer() as server:
        psycopg.connect(server.url)
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

from tests.support.waiting import wait_until_sync


def postgres_folder() -> Path | None:
    """Return where the server's programs are; Debian keeps them out of the PATH."""
    found = shutil.which("postgres")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in candidates if (folder / "initdb").exists()), None)


class PostgresServer:
    """One server process, without a TCP port. It refuses to run as root, who lends it another user."""

    def __init__(self) -> None:
        programs = postgres_folder()
        assert programs is not None, "look for `postgres_folder` first"
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="tg-pg-"))  # short: a unix socket's path has 108 bytes
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            entry = pwd.getpwnam("postgres")
            os.chown(self._folder, entry.pw_uid, entry.pw_gid)
            self._as_user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For libpq and psycopg."""
        return f"postgresql://tide@/postgres?host={self._folder}"

    def __enter__(self) -> Self:
        data = self._folder / "data"
        self._run("initdb", "--auth=trust", "--username=tide", "--no-sync", "--encoding=UTF8", "-D", str(data))
        with (self._folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", data, "-k", self._folder, "-h", "", "-c", "fsync=off"],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                **self._as_user,
            )
        wait_until_sync(self._answers, 60)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(20)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError((self._folder / "server.log").read_text(errors="replace"))
        asked = [self._programs / "pg_isready", "-h", self._folder]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
            **self._as_user,
        )
        assert done.returncode == 0, done.stderr
