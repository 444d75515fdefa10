"""
The command line: `gateway serve`, `api`, `check`, `token`, `apikey`, `connect`, `tail`, `instances`, `explain`,
`inbox`, `access`, `asyncapi`, `openapi`, `bench`.

Parses arguments, loads the settings and hands over; each command that prints has a module in `terminal`. What a command
needs is imported when it runs, so that `--help` and the small ones are quick.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import GatewayError, OutputError
from gateway.terminal.output import abandon, guarded
from gateway.terminal.quantities import parse_duration
from publisher.address import is_name, is_tenant

if TYPE_CHECKING:
    from gateway.settings import Settings
    from gateway.terminal.token import TokenOptions

Run = Callable[[argparse.Namespace], int]

_INTERRUPTED = 130  # 128 + SIGINT, as shells count


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exit with 0 when it did what it should, 1 when not, 2 when it was called wrongly."""
    status: str | int | None
    try:
        status = _run(arguments)
    except OutputError as error:
        _complain(str(error))
        abandon()
        status = 1
    except GatewayError as error:
        _complain(*str(error).splitlines())
        status = 1
    except ModuleNotFoundError:
        if find_spec("pydantic_settings") is not None:  # it is not the whole extra that is missing
            raise
        _complain("the daemon is not installed: pip install 'tidegate[gateway]'")
        status = 1
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except BrokenPipeError:  # as in `gateway tail | head`; nobody listens, so the last flush must go nowhere too
        abandon()
        status = 1
    raise SystemExit(status)


def _run(arguments: Sequence[str] | None) -> str | int | None:
    with guarded(needed=False):
        try:
            options = _parser().parse_args(arguments)
        except SystemExit as ended:  # `--help`, or called wrongly: what was said is still to be written
            return ended.code
    lives = options.run in (_serve, _api)  # which do not exist for what they print
    with guarded(needed=not lives, as_json=getattr(options, "json", False)):
        status: int = options.run(options)
        return status


def _complain(*problems: str) -> None:
    if sys.stderr is not None:  # closed: `print` would take standard output instead
        for problem in problems:
            print(f"gateway: {problem}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gateway", description="A WebSocket gateway fed by Redis Streams.")
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.add_argument("-c", "--config", type=Path, metavar="FILE", help="YAML file with settings")
        added.set_defaults(run=run)
        return added

    serve = command("serve", _serve, "Run the gateway.")
    serve.add_argument("--workers", type=_count, default=1, metavar="N", help="processes that share the port")
    serve.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    command("api", _api, "Run the HTTP API alone, without sockets.")
    command("check", _check, "Check the configuration and say what it means.")
    _add_identity(command("token", _token, "Print a token for development, signed with the configured secret."))
    api_key = command("apikey", _api_key, "Make a key for the HTTP API; print it, and its hash for the configuration.")
    api_key.add_argument("name", metavar="NAME", help="who will hold it: letters, digits, `_`, `.`, `-`")
    api_key.add_argument("--tenant", metavar="NAME", help="the tenant that it pushes to; default: `default`")
    _add_connect(command("connect", _connect, "Connect as a client and show what comes; type commands to send them."))
    tail = command("tail", _tail, "Show the log live.")
    tail.add_argument(
        "--since", default="$", metavar="ID", help="an event's id, or how far back: 5m, 1h; `0` is the oldest"
    )
    _add_json(tail, "print one JSON object per event")
    _add_json(command("instances", _instances, "List the instances that live, with their lag."))
    _add_access(
        command("access", _access, "Block or allow networks on all gateways; without arguments, list the rules.")
    )
    explain = command("explain", _explain, "Say why a user did or did not get an event.")
    explain.add_argument("event", metavar="EVENT_ID", help="the event's id, as the publisher returned it")
    explain.add_argument("--user", required=True, metavar="ID", help="the user it was meant for")
    explain.add_argument("--tenant", metavar="NAME", help="the user's tenant; default: the event's")
    _add_json(explain)
    _add_inbox(command("inbox", _inbox, "Look after the inboxes."))
    _add_document(commands, "asyncapi", "Print the AsyncAPI document of the WebSocket protocol.")
    _add_document(commands, "openapi", "Print the OpenAPI document of the HTTP API.")
    _add_bench(command("bench", _bench, "Load a gateway that runs, and measure. It writes to the real log."))
    return parser


def _add_document(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str) -> None:
    commands.add_parser(name, help=text, description=text).set_defaults(run=_document, document=name)


class _Version(argparse.Action):
    """`--version`, which reads the distribution's metadata only when asked."""

    def __call__(self, *_: object) -> None:
        from gateway.version import VERSION

        print(f"tidegate {VERSION}")
        raise SystemExit(0)


def _add_json(parser: argparse.ArgumentParser, text: str = "print JSON") -> None:
    parser.add_argument("--json", action="store_true", help=text)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clients", type=_many, default=200, metavar="N", help="clients to connect; default: 200")
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument(
        "--rate", type=_positive, default=100.0, metavar="N", help="events to publish a second; default: 100"
    )
    pace.add_argument("--saturate", action="store_true", help="publish as fast as events arrive")
    parser.add_argument("--seconds", type=_positive, default=5.0, metavar="N", help="how long; default: 5")
    parser.add_argument("--bytes", type=_many, default=200, metavar="N", help="data of an event; default: 200")
    parser.add_argument("--each", action="store_true", help="each event is for one client, in turn, not for all")
    parser.add_argument("--url", help="WebSocket address; default: the configured one")
    _add_json(parser)


def _add_inbox(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("check",), help="check: count every inbox anew, and compare")
    parser.add_argument(
        "--tenant", type=_tenant, metavar="NAME", help="only this tenant's; default: all, or with --user `default`"
    )
    parser.add_argument("--user", type=_user, metavar="ID", help="only this user's")
    parser.add_argument("--repair", action="store_true", help="make right what is not so")
    _add_json(parser)


def _add_access(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("block", "allow", "clear"), help="what to do; default: list")
    parser.add_argument("network", nargs="?", metavar="NETWORK", help="a CIDR network, or a single address")
    parser.add_argument(
        "--for",
        dest="lasts_s",
        type=_duration,
        default=7 * 24 * 3600.0,
        metavar="TIME",
        help="how long the rule lasts: 15m, 2h, 30d; default: 7d. Lasting ones belong into the configuration",
    )
    _add_json(parser)


def _add_connect(parser: argparse.ArgumentParser) -> None:
    _add_identity(parser)
    parser.add_argument("--url", help="WebSocket address; default: the configured one")
    parser.add_argument("--token", dest="jwt", metavar="JWT", help="a token to use instead of a new one")
    parser.add_argument("--cursor", help="resume from here")
    _add_json(parser, "print frames as they are, one a line")


def _add_identity(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", default="42", metavar="ID", help="user id (`sub`); default: 42")
    parser.add_argument("--tenant", metavar="NAME", help="tenant")
    parser.add_argument("--name", help="display name")
    parser.add_argument("--group", action="append", default=[], metavar="ID", help="a group; may be repeated")
    parser.add_argument("--tag", action="append", default=[], metavar="TAG", help="a tag; may be repeated")
    parser.add_argument("--topic", action="append", default=[], metavar="TOPIC", help="a topic; may be repeated")
    parser.add_argument("--scope", help="scopes, separated by spaces")
    parser.add_argument(
        "--ttl",
        type=_duration,
        default=3600.0,
        metavar="TIME",
        help="life of the token: 90, 15m, 2h; default: 1h",
    )


def _count(text: str) -> int:
    return _whole(text, 256)


def _many(text: str) -> int:
    return _whole(text, 200_000)


def _whole(text: str, most: int) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if not 1 <= count <= most:
        raise argparse.ArgumentTypeError(f"use 1 to {most}")
    return count


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError("use a number above 0, up to a million")
    return value


def _tenant(text: str) -> str:
    if not is_tenant(text):
        raise argparse.ArgumentTypeError("use 1 to 64 letters, digits, `_`, `.` or `-`")
    return text


def _user(text: str) -> str:
    if not is_name(text):
        raise argparse.ArgumentTypeError("use 1 to 256 characters, no control characters")
    return text


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _serve(options: argparse.Namespace) -> int:
    from gateway.settings import load

    settings = load(options.config)
    settings.refuse_one_port_for_two()
    if options.workers > 1:
        from gateway.supervisor import serve_workers

        return serve_workers(settings, options.config, options.workers)
    from gateway.serve import serve

    return serve(settings, options.config, worker=options.worker)


def _api(options: argparse.Namespace) -> int:
    from gateway.settings import load

    settings = load(options.config)
    if settings.mode == "dev":  # beside a gateway that runs in this folder: its Redis, its secret
        settings = _tool_settings(options)
    from gateway.serve import serve_api

    return serve_api(settings)


def _check(options: argparse.Namespace) -> int:
    from gateway.terminal.check import check

    return check(options.config)


def _token(options: argparse.Namespace) -> int:
    from gateway.terminal.token import make_token

    print(make_token(_tool_settings(options), _token_options(options)))
    return 0


def _api_key(options: argparse.Namespace) -> int:
    from gateway.terminal.api_key import show_new_key

    return show_new_key(options.name, options.tenant)


def _connect(options: argparse.Namespace) -> int:
    from gateway.terminal.connect import connect

    return connect(
        _tool_settings(options),
        _token_options(options),
        url=options.url,
        token=options.jwt,
        cursor=options.cursor,
        as_json=options.json,
    )


def _tail(options: argparse.Namespace) -> int:
    from gateway.terminal.tail import tail

    return tail(_tool_settings(options), since=options.since, as_json=options.json)


def _instances(options: argparse.Namespace) -> int:
    from gateway.terminal.instances import show_instances

    return show_instances(_tool_settings(options), as_json=options.json)


def _bench(options: argparse.Namespace) -> int:
    from gateway.terminal.bench import BenchOptions, bench

    return bench(
        _tool_settings(options),
        BenchOptions(
            clients=options.clients,
            rate=0.0 if options.saturate else options.rate,
            seconds=options.seconds,
            data_bytes=options.bytes,
            each=options.each,
            url=options.url,
            as_json=options.json,
        ),
    )


def _explain(options: argparse.Namespace) -> int:
    from gateway.terminal.explain import explain

    return explain(
        _tool_settings(options), options.event, user_id=options.user, tenant=options.tenant, as_json=options.json
    )


def _inbox(options: argparse.Namespace) -> int:
    from gateway.terminal.inbox import CheckOptions, check_inboxes

    return check_inboxes(
        _tool_settings(options),
        CheckOptions(tenant=options.tenant, user=options.user, repair=options.repair, as_json=options.json),
    )


def _access(options: argparse.Namespace) -> int:
    from gateway.terminal.access import change_access, show_access

    if options.action is None:
        return show_access(_tool_settings(options), as_json=options.json)
    return change_access(_tool_settings(options), options.action, options.network, lasts_s=options.lasts_s)


def _document(options: argparse.Namespace) -> int:
    from gateway.terminal import documents

    sys.stdout.write(documents.asyncapi_text() if options.document == "asyncapi" else documents.openapi_text())
    return 0


def _tool_settings(options: argparse.Namespace) -> Settings:
    from gateway.dev import tool_settings

    return tool_settings(options.config)


def _token_options(options: argparse.Namespace) -> TokenOptions:
    from gateway.terminal.token import TokenOptions

    return TokenOptions(
        user=options.user,
        tenant=options.tenant,
        name=options.name,
        group=options.group,
        tag=options.tag,
        topic=options.topic,
        scope=options.scope,
        ttl=options.ttl,
    )
