"""
The plug-ins: calls the handlers, and makes of what comes out an answer.

Each call has a deadline. What a handler does wrong is one line in the log, and costs the one client that it was called
for. Where no handler is set, there is no `Plugins`, and nothing of this is on any path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog

from gateway.close_codes import CloseCode
from gateway.errors import CommandError, ConfigError, GatewayError
from gateway.handlers import Message, Refuse, Session, SessionClosed
from gateway.plugin_loading import HIDDEN, Hook, Plugin
from gateway.plugin_session import PluginSession, fitting
from gateway.replies import Promise
from gateway.services import CommandFunction, Services, Tasks
from gateway.session import State
from gateway.wire.v1 import ACK, Reply, ack
from publisher import PublishUnavailable, PublishUnknown, json_text

if TYPE_CHECKING:
    from gateway.connection import Connection

_log = structlog.get_logger()

Outcome = Reply | Promise

_ABANDON_S: Final = 1.0
_RETRY_AFTER_MS: Final = 1_000


class HandlerFailed(GatewayError):
    """A handler raised something, or did not end in time. It has been logged."""


class Plugins:
    """
    Runs the handlers of one gateway.

    Args:
        timeout_s: How long one call may take.
    """

    def __init__(self, services: Services, plugins: Sequence[Plugin], *, timeout_s: float) -> None:
        self._services = services
        self._plugins = tuple(plugins)
        self._timeout_s = timeout_s
        self._tasks = Tasks()
        self._calls: set[asyncio.Task[Any]] = set()

    # Wiring and the end.

    def commands(self, own: Mapping[str, CommandFunction]) -> Mapping[str, CommandFunction]:
        """
        Return the gateway's own commands as handlers see them, and the handlers' beside them.

        Raises:
            ConfigError: Two of them have one name.
        """
        table = {name: self._watched(name, function) for name, function in own.items()}
        for plugin in self._plugins:
            for name in plugin.commands:
                if name in table:
                    raise ConfigError("handlers", f"{plugin.name}: there is a command {name!r} already")
                table[name] = self._watched(name, None)
        return table

    async def stop(self) -> None:
        """Let `on_close` end, for as long as one call may take; then cancel what is left."""
        await self._tasks.ended(self._timeout_s)
        await self._tasks.cancel()
        if self._calls:
            await asyncio.wait(self._calls, timeout=_ABANDON_S)
        if self._calls:
            _log.error("handlers_abandoned", calls=len(self._calls))

    # What connections call.

    def enter(self, connection: Connection) -> PluginSession:
        """Ask the handlers whether an authenticated connection may come in; it is let in, or closed, by and by."""
        assert connection.identity is not None  # noqa: S101 - else it is not authenticated
        session = PluginSession(self._services, self._tasks, connection, connection.identity)
        session.enqueue(lambda: self._connect(connection, session))
        return session

    def lost(self, session: PluginSession, code: int) -> None:
        """Tell the handlers of a connection's end, once they are done with what it sent before."""
        session.make_room()
        session.enqueue(lambda: self._close(session, int(code)))

    # The jobs.

    async def _connect(self, connection: Connection, session: PluginSession) -> None:
        for plugin in self._plugins:
            try:
                await self._call(plugin, plugin.on_connect, session)
            except Refuse as refusal:
                connection.close(CloseCode.FORBIDDEN, fitting(refusal.reason))
            except SessionClosed:
                return
            except Exception as error:
                if not isinstance(error, HandlerFailed):
                    self._failed(plugin, session, error)
                connection.close(CloseCode.INTERNAL_ERROR, "")
            else:
                session.greeted += 1
            if connection.state is not State.ENTERING:
                return
        session.let_in()

    async def _close(self, session: PluginSession, code: int) -> None:
        for plugin in self._plugins[: session.greeted]:
            try:
                await self._call(plugin, plugin.on_close, session, code)
            except (HandlerFailed, SessionClosed):
                continue
            except Exception as error:
                self._failed(plugin, session, error)

    def _watched(self, name: str, function: CommandFunction | None) -> CommandFunction:
        """Return a command that the handlers see first. `function` is None for one that only handlers know."""
        watchers = tuple(plugin for plugin in self._plugins if _sees(plugin, name))

        def command(connection: Connection, message_id: str | None, data: Any) -> Outcome:
            session = connection.handled
            if session is None or not (watchers or session.busy):
                return _carry_out(function, connection, message_id, data)
            reply = Promise()
            message = Message(name, data, message_id)
            session.enqueue(lambda: self._answer(connection, session, watchers, function, message, reply))
            return reply

        return command

    async def _answer(
        self,
        connection: Connection,
        session: PluginSession,
        watchers: tuple[Plugin, ...],
        function: CommandFunction | None,
        message: Message,
        reply: Promise,
    ) -> None:
        try:
            outcome: Outcome | None = await self._ask(session, watchers, message)
            if outcome is None:
                if function is not None and connection.state not in (State.WAITING, State.ACTIVE):
                    raise SessionClosed
                outcome = _carry_out(function, connection, message.message_id, message.data)
        except SessionClosed:
            reply.abandon()  # nobody is there to be answered
        except Exception as error:  # the task's boundary
            reply.fail(error)
        else:
            _settle(reply, outcome)

    async def _ask(self, session: PluginSession, watchers: tuple[Plugin, ...], message: Message) -> Reply | None:
        """
        Return the reply of the first handler that has one.

        Raises:
            CommandError: It refuses, or has failed.
        """
        for plugin in watchers:
            try:
                facts = await self._call(plugin, plugin.on_message, session, message)
                if facts is not None:
                    return _reply(facts)
            except Refuse as refusal:
                raise CommandError(refusal.code, refusal.reason) from None
            except PublishUnavailable as error:
                problem = "this cannot be stored now"
                raise CommandError(503, problem, retry_after_ms=error.retry_after_ms) from None
            except PublishUnknown:
                problem = "it is not known whether this was stored"
                raise CommandError(503, problem, retry_after_ms=_RETRY_AFTER_MS) from None
            except HandlerFailed:
                raise CommandError(500, "a handler failed") from None
            except SessionClosed:
                raise
            except Exception as error:
                self._failed(plugin, session, error)
                raise CommandError(500, "a handler failed") from None
        return None

    # One call.

    async def _call(self, plugin: Plugin, hook: Hook | None, session: Session, *args: Any) -> Any:
        """
        Call a hook and return what it returns.

        In a task of its own, so that a handler which does not let itself be cancelled keeps nobody else.

        Raises:
            HandlerFailed: It did not end in time; that has been logged. What it raises is raised.
        """
        if hook is None:
            return None
        call: asyncio.Task[Any] = asyncio.ensure_future(hook(session, *args))
        self._calls.add(call)
        call.add_done_callback(self._ended)
        try:
            done, _ = await asyncio.wait({call}, timeout=self._timeout_s)
        finally:
            call.cancel()  # does nothing where it is done
        if done and not call.cancelled():
            return call.result()
        self._services.metrics.handler_failures += 1
        _log.error("handler_timed_out", handler=plugin.name, hook=hook.__name__, client=session.client_id)
        raise HandlerFailed

    def _ended(self, call: asyncio.Task[Any]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # seen: what comes after the deadline is nobody's any more

    def _failed(self, plugin: Plugin, session: PluginSession, error: Exception) -> None:
        self._services.metrics.handler_failures += 1
        _log.error("handler_failed", handler=plugin.name, client=session.client_id, exc_info=error)


def _sees(plugin: Plugin, command: str) -> bool:
    if plugin.on_message is None or command in HIDDEN:
        return False
    return plugin.watches is None or command in plugin.watches or command in plugin.commands


def _reply(facts: Any) -> Reply:
    """Return the reply with a handler's facts, which are written as JSON here: what cannot be is its failure."""
    if not isinstance(facts, Mapping):
        raise TypeError(f"on_message returned {type(facts).__name__}: return a dict or None")
    return Reply(ACK, orjson.Fragment(json_text.dumps({"success": True, **facts})))


def _carry_out(function: CommandFunction | None, connection: Connection, message_id: str | None, data: Any) -> Outcome:
    return ack() if function is None else function(connection, message_id, data)


def _settle(reply: Promise, outcome: Outcome) -> None:
    """Let `reply` become what `outcome` is or will be."""
    if isinstance(outcome, Reply):
        reply.keep(outcome)
    else:
        outcome.when_kept(reply.keep)
