"""The configuration: files and environment variables."""

from __future__ import annotations

import os
import random
import re
import tempfile
from pathlib import Path
from typing import Any

from gateway.errors import ConfigError
from gateway.settings import Settings, load
from tests.fuzz import values
from tests.fuzz.engine import ROOT, Target
from tests.fuzz.sandbox import Failed

_FILE = b"file\n"


class Configuration(Target):
    """A YAML file, or, in an input that does not begin with `file`, environment variables, one a line."""

    name = "settings"
    share = 0.4
    traced = 64

    def __init__(self) -> None:
        folder = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())
        self._path = folder / f"tidegate-fuzz-{os.getpid()}.yaml"
        self._options = [
            (section, option)
            for section, field in Settings.model_fields.items()
            for option in getattr(field.annotation, "model_fields", {"": None})
        ]
        self.tokens = (
            *(part.encode() for pair in self._options for part in pair if part),
            b"GATEWAY_", b"__", b"=", b"\n", b": ", b"\n  ", b"- ", b"[", b"]", b"{", b"}",
            b"!!python/object:os.system ",
            b"&a ", b"*a", b"null", b"yes", b"1e999", b".nan", b".inf", b"-1", b"0x10", b"2026-01-01", b"!!binary AA==",
        )  # fmt: skip

    def seeds(self) -> list[bytes]:
        """Return the annotated files, section by section, and some variables."""
        texts = [path.read_bytes() for path in sorted((ROOT / "etc").glob("*.yaml"))]
        files = [_FILE + section for text in texts for section in re.split(rb"\n(?=[a-z])", text)]
        return [*files, b"GATEWAY_LISTEN__PORT=1\nGATEWAY_AUTH__PUBLIC_KEYS=[]", b"GATEWAY_LOG={}\nGATEWAY_MODE=dev"]

    def make(self, chance: random.Random) -> bytes:
        """Return some options with hostile values."""
        if chance.random() < 0.5:
            sections: dict[str, Any] = {}
            for _ in range(1 + chance.randrange(4)):
                section, option = chance.choice(self._options)
                stated = values.value(chance, 2)
                if option and chance.random() < 0.9:
                    stated = {option: stated}
                sections[section] = stated
            return _FILE + values.text(sections, chance)  # YAML takes it as it is
        lines = []
        for _ in range(1 + chance.randrange(3)):
            section, option = chance.choice(self._options)
            name = f"GATEWAY_{section}__{option}".upper().removesuffix("__").encode()
            lines.append(name + b"=" + values.text(values.value(chance, 2), chance))
        return b"\n".join(lines)

    async def feed(self, data: bytes) -> None:
        """It is a configuration, or it is refused with the name of a setting."""
        path = None
        variables: dict[str, str] = {}
        if data.startswith(_FILE):
            self._path.write_bytes(data.removeprefix(_FILE))
            path = self._path
        else:
            pairs = [line.decode("utf-8", "surrogateescape").partition("=") for line in data.split(b"\n")]
            variables = {name: value for name, _, value in pairs if name and "\0" not in name + value}
        before = {name: os.environ[name] for name in variables if name in os.environ}
        try:
            os.environ.update(variables)
            load(path)
        except ConfigError as error:
            if not error.setting:
                raise Failed(f"refused without the setting's name: {error}") from None
        finally:
            for name in variables:
                os.environ.pop(name, None)
            os.environ.update(before)
            self._path.unlink(missing_ok=True)
