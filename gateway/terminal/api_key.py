"""`gateway apikey`: a new key for the HTTP API, and what the settings store of it."""

from __future__ import annotations

import sys
from typing import Any

from pydantic import ValidationError

from gateway.errors import ConfigError
from gateway.http.callers import digest_of, new_key
from gateway.settings import ApiKey
from gateway.terminal.style import style_for
from publisher.address import DEFAULT_TENANT


def show_new_key(name: str, tenant: str | None) -> int:
    """
    Print a new key, and the lines of the configuration that make it valid. The key is stored nowhere.

    Raises:
        ConfigError: The settings would refuse the name or the tenant.
    """
    key = new_key()
    entry = _entry(name=name, hash=digest_of(key), tenant=tenant or DEFAULT_TENANT)
    style = style_for(sys.stdout)
    print(key)
    print(style("\n# The key is shown this once. For the configuration, which holds only its hash:", "dim"))
    print("http:\n  api_keys:")
    print(f"    - name: {entry.name}\n      hash: {entry.hash}\n      tenant: {entry.tenant}")
    return 0


def _entry(**values: Any) -> ApiKey:
    try:
        return ApiKey(**values)
    except ValidationError as error:
        option = str(error.errors()[0]["loc"][0])
        raise ConfigError(option, "use 1 to 64 letters, digits, '_', '.' or '-'") from None
