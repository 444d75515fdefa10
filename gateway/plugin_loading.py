"""Loading the plug-ins: from import paths to what `plugins` calls, or a refusal that says what is wrong with which."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from gateway.errors import ConfigError
from gateway.handlers import Handler
from publisher.event import MAX_NAME_LENGTH

Hook = Callable[..., Awaitable[Any]]

HIDDEN: Final = frozenset({"auth", "ping"})
"""Commands that no handler sees: `auth` holds a token, and both come before anybody is let in."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """A handler as it is called; a hook that it does not define is None."""

    name: str
    commands: tuple[str, ...]
    watches: frozenset[str] | None
    on_connect: Hook | None
    on_message: Hook | None
    on_close: Hook | None


def load(paths: Sequence[str]) -> list[Plugin]:
    """
    Import handlers and make one object of each.

    Args:
        paths: `package.module:Class`. Where such a module is not installed, it may be in the current folder.

    Raises:
        ConfigError: One cannot be used; the message says which, and why.
    """
    return [_plugin(path, _made(path)) for path in paths]


def _made(path: str) -> Any:
    module_name, _, class_name = path.partition(":")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # last, so that a file which lies about there shadows nothing
    try:
        made = importlib.import_module(module_name)
        for name in class_name.split("."):
            made = getattr(made, name)
        return cast(Any, made)()
    except Exception as error:  # whatever an application's module does when it is imported
        raise ConfigError("handlers", f"{path!r} cannot be used: {type(error).__name__}: {error}"[:400]) from error


def _plugin(path: str, handler: Any) -> Plugin:
    hooks: dict[str, Hook | None] = {}
    for name in ("on_connect", "on_message", "on_close"):
        hook = getattr(handler, name, None)
        if getattr(hook, "__func__", None) is getattr(Handler, name):
            hook = None
        if hook is not None and not inspect.iscoroutinefunction(hook):
            raise ConfigError("handlers", f"{path!r}: {name} has to be `async def`")
        hooks[name] = hook
    if not any(hooks.values()):
        raise ConfigError("handlers", f"{path!r} has none of on_connect, on_message and on_close")
    commands = _names(path, "commands", getattr(handler, "commands", ()))
    watches = getattr(handler, "watches", None)
    if commands and hooks["on_message"] is None:
        raise ConfigError("handlers", f"{path!r} has commands and no on_message to answer them")
    watched = None if watches is None else frozenset(_names(path, "watches", watches))
    return Plugin(path, commands, watched, **hooks)


def _names(path: str, what: str, names: Any) -> tuple[str, ...]:
    valid = not isinstance(names, str) and all(
        isinstance(name, str) and 0 < len(name) <= MAX_NAME_LENGTH and name.isprintable() for name in names
    )
    if not valid or HIDDEN.intersection(names):
        raise ConfigError("handlers", f"{path!r}: {what} has to be a tuple of names, without `auth` and `ping`")
    return tuple(names)
