"""
Dev mode: what it supplies where the settings leave it open, and how the tools find it.

A secret of its own and an embedded Redis, both in the state folder of the current directory. A gateway that runs notes
its settings there, so that a tool in another shell need not be told the port, the secret or the Redis again.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, SecretStr

from gateway.embedded import embedded_redis, running_server
from gateway.errors import ConfigError
from gateway.settings import Settings, load

_SECRET_NAME: Final = "secret"
_NOTES_NAME: Final = "running"
_NOTED: Final = ("listen", "redis", "auth", "log", "inbox")


@contextlib.contextmanager
def environment(settings: Settings) -> Iterator[Settings]:
    """
    Supply what dev mode lacks, for as long as the context lasts; in production, nothing.

    Raises:
        ConfigError: The embedded Redis cannot be had.
    """
    if settings.mode != "dev":
        yield settings
        return
    settings = _with_secret(settings)
    if settings.redis.url is not None:
        yield settings
        return
    with embedded_redis(settings.state_dir) as url:
        yield _with_redis(settings, url)


@contextlib.contextmanager
def noted(settings: Settings, port: int) -> Iterator[None]:
    """Let the tools find a gateway in dev mode for as long as the context lasts. For its owner's eyes only."""
    if settings.mode != "dev":
        yield
        return
    notes = settings.state_dir / _NOTES_NAME
    notes.mkdir(parents=True, exist_ok=True)
    _forget_the_dead(notes)
    sections = {name: _plain(getattr(settings, name)) for name in _NOTED}
    sections["listen"]["port"] = port
    own = (notes / f"{os.getpid()}.json", redis_url_file(settings))
    _write_private(own[0], json.dumps(sections))
    _write_private(own[1], settings.redis_url)
    try:
        yield
    finally:
        for path in own:
            path.unlink(missing_ok=True)


def redis_url_file(settings: Settings) -> Path:
    """Return the file that holds the Redis URL of this process's gateway while it is noted, password included."""
    return settings.state_dir / _NOTES_NAME / f"{os.getpid()}.redis"


def tool_settings(config: Path | None) -> Settings:
    """
    Return the settings for a tool that works beside a gateway.

    Those of the gateway in dev mode that runs from the current folder, if there is one; the environment wins over them.
    """
    settings = load(config)
    if config is None and settings.mode == "production" and settings.auth.secret is None:
        with contextlib.suppress(ConfigError):  # such as a host that dev mode refuses
            candidate = load(mode="dev")
            if (candidate.state_dir / _SECRET_NAME).exists() or _newest_note(candidate.state_dir):
                settings = candidate
    if settings.mode != "dev":
        return settings
    if note := _newest_note(settings.state_dir):
        settings = load(config, **{**note, "mode": "dev"})
    if settings.redis.url is None and (url := running_server(settings.state_dir)):
        settings = _with_redis(settings, url)
    return _with_secret(settings)


def development_secret(state_dir: Path) -> str:
    """Return the secret that this folder's gateway signs its development tokens with; made at the first call."""
    path = state_dir / _SECRET_NAME
    try:
        if not path.exists():
            state_dir.mkdir(parents=True, exist_ok=True)
            _write_private(path, secrets.token_urlsafe(48))
        return path.read_text().strip()
    except OSError as error:
        raise _unusable(state_dir, error) from None


def try_folder(state_dir: Path) -> None:
    """
    See whether the state folder can be used, and leave nothing behind.

    Raises:
        ConfigError: It cannot be made, or nothing can be written there.
    """
    made: list[Path] = []
    try:
        for folder in (*reversed(state_dir.absolute().parents), state_dir.absolute()):
            if not folder.is_dir():
                folder.mkdir()
                made.append(folder)
        with tempfile.TemporaryFile(dir=state_dir):
            pass
    except OSError as error:
        raise _unusable(state_dir, error) from None
    finally:
        for folder in reversed(made):
            with contextlib.suppress(OSError):  # a gateway that has started meanwhile has it
                folder.rmdir()


def _unusable(state_dir: Path, error: OSError) -> ConfigError:
    return ConfigError("state_dir", f"{state_dir} cannot be used: {error.strerror}")


def _with_secret(settings: Settings) -> Settings:
    auth = settings.auth
    if auth.secret is not None or auth.public_keys or auth.jwks_url:
        return settings
    secret = SecretStr(development_secret(settings.state_dir))
    return settings.model_copy(update={"auth": auth.model_copy(update={"secret": secret})})


def _with_redis(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"redis": settings.redis.model_copy(update={"url": SecretStr(url)})})


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, in one step: a reader sees all of it or nothing."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def _plain(section: BaseModel) -> dict[str, Any]:
    """Return a section as a YAML file would hold it, secrets included."""
    values = section.model_dump(mode="python", exclude_none=True)
    return {name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in values.items()}


def _newest_note(state_dir: Path) -> dict[str, Any]:
    """Return what the gateway noted that was started last, of those that run; nothing where none does."""
    with contextlib.suppress(OSError, ValueError):  # it may end while we look
        alive = [path for path in (state_dir / _NOTES_NAME).glob("*.json") if _is_alive(path)]
        note = json.loads(max(alive, key=lambda path: path.stat().st_mtime_ns).read_text())
        return note if isinstance(note, dict) else {}
    return {}


def _forget_the_dead(notes: Path) -> None:
    for path in notes.iterdir():
        if not _is_alive(path):
            path.unlink(missing_ok=True)


def _is_alive(note: Path) -> bool:
    """Tell whether the process runs whose id is a note's name."""
    try:
        os.kill(int(note.name.partition(".")[0]), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, OverflowError):
        return False
    return True
