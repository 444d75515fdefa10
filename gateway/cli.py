"""
The command line: `gateway serve`, `check`, `token`, `connect`, `tail`, `instances`, `explain`.

Parses arguments, loads the settings and hands over; each command that prints has a module in `terminal`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway import dev
from gateway.errors import GatewayError
from gateway.settings import load
from gateway.version import VERSION


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exit with 0 when it did what it should, 1 when not, 2 when it was called wrongly."""
    options = _parser().parse_args(arguments)
    try:
        status = options.run(options)
    except GatewayError as error:
        print(f"gateway: {error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = 130
    raise SystemExit(status)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gateway", description="A WebSocket gateway fed by Redis Streams.")
    parser.add_argument("--version", action="version", version=f"tidegate {VERSION}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.add_argument("-c", "--config", type=Path, metavar="FILE", help="YAML file with settings")
        added.set_defaults(run=run)
        return added

    serve = command("serve", _serve, "Run the gateway.")
    serve.add_argument("--workers", type=int, default=1, metavar="N", help="processes that share the port")
    command("check", _check, "Check the configuration and say what it means.")
    token = command("token", _token, "Print a token for development, signed with the configured secret.")
    _add_identity(token)
    connect = command("connect", _connect, "Connect as a client and show what comes; type commands to send them.")
    _add_identity(connect)
    connect.add_argument("--url", help="WebSocket address; default: the configured one")
    connect.add_argument("--token", dest="jwt", help="a token to use instead of a new one")
    connect.add_argument("--cursor", help="resume from here")
    connect.add_argument("--json", action="store_true", help="print frames as they are, one a line")
    tail = command("tail", _tail, "Show the log live.")
    tail.add_argument("--since", default="$", metavar="ID", help="start after this event; `0` is the oldest")
    tail.add_argument("--json", action="store_true", help="print one JSON object per event")
    instances = command("instances", _instances, "List the instances that live, with their lag.")
    instances.add_argument("--json", action="store_true", help="print JSON")
    explain = command("explain", _explain, "Say why a user did or did not get an event.")
    explain.add_argument("event", metavar="EVENT_ID", help="the event's id, as the publisher returned it")
    explain.add_argument("--user", required=True, metavar="ID", help="the user it was meant for")
    explain.add_argument("--tenant", default="default", help="the user's tenant")
    explain.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _add_identity(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", default="42", metavar="ID", help="user id (`sub`)")
    parser.add_argument("--tenant", default=None, help="tenant")
    parser.add_argument("--name", default=None, help="display name")
    parser.add_argument("--group", action="append", default=[], metavar="ID", help="a group; may be repeated")
    parser.add_argument("--tag", action="append", default=[], metavar="TAG", help="a tag; may be repeated")
    parser.add_argument("--scope", default=None, help="scopes, separated by spaces")
    parser.add_argument("--ttl", type=float, default=3600.0, metavar="SECONDS", help="life of the token")


def _serve(options: argparse.Namespace) -> int:
    from gateway.serve import serve, serve_workers

    if options.workers > 1:
        return serve_workers(options.config, options.workers)
    return serve(load(options.config))


def _check(options: argparse.Namespace) -> int:
    from gateway.terminal.check import check

    return check(load(options.config))


def _token(options: argparse.Namespace) -> int:
    from gateway.terminal.token import make_token

    print(make_token(dev.tool_settings(options.config), options))
    return 0


def _connect(options: argparse.Namespace) -> int:
    from gateway.terminal.connect import connect

    return asyncio.run(connect(dev.tool_settings(options.config), options))


def _tail(options: argparse.Namespace) -> int:
    from gateway.terminal.tail import tail

    return asyncio.run(tail(dev.tool_settings(options.config), options))


def _instances(options: argparse.Namespace) -> int:
    from gateway.terminal.instances import show_instances

    return asyncio.run(show_instances(dev.tool_settings(options.config), options))


def _explain(options: argparse.Namespace) -> int:
    from gateway.terminal.explain import explain

    return asyncio.run(explain(dev.tool_settings(options.config), options))
