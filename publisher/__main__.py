"""
`python -m publisher ADDRESS[,ADDRESS…] EVENT JSON`: publish one event from a shell.

`python -m publisher notify USER[,USER…] --title TEXT` stores a notification: see `notify_command`.

Prints the event's id. Exit status: 0 stored, 1 not stored or not known (the message says which), 2 wrong
usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from publisher import json_text
from publisher.address import DEFAULT_TENANT
from publisher.errors import PublishError
from publisher.location import redis_url
from publisher.notify_command import notify
from publisher.sync import Publisher

NOTIFY = "notify"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == [NOTIFY]:  # no address has this name
        return notify(arguments[1:])
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        text = sys.stdin.buffer.read() if options.data == "-" else options.data.encode()
        data = json_text.loads(text)
    except ValueError as error:
        parser.error(f"the data is not JSON: {error}")
    try:
        publisher = Publisher(redis_url(options.redis), partitions=options.partitions)
    except ValueError as error:
        parser.error(str(error))
    try:
        with publisher:
            event_id = publisher.publish(
                options.event,
                data,
                to=options.addresses.split(","),
                exclude=options.exclude.split(",") if options.exclude else (),
                tenant=options.tenant,
                key=options.key,
                expires_in=options.expires_in,
                priority=options.priority,
                collapse=options.collapse,
                receipt=options.receipt,
            )
    except PublishError as error:
        print(f"publisher: {error}", file=sys.stderr)
        return 1
    print(event_id)
    if sys.stdout.isatty():
        print(f"{options.event} to {options.addresses}: stored", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m publisher",
        description="Publish one event.",
        epilog="`notify --help` explains how users are notified.",
    )
    parser.add_argument(
        "addresses", metavar="ADDRESS[,ADDRESS…]", help="all, user:…, client:…, group:…, tag:…, topic:…"
    )
    parser.add_argument("event", metavar="EVENT", help="what happened, such as order.shipped")
    parser.add_argument("data", metavar="JSON", help="the event's data; - reads it from standard input")
    parser.add_argument("--tenant", default=DEFAULT_TENANT)
    parser.add_argument("--key", help="idempotency key: published again under it, the event is not stored again")
    parser.add_argument("--expires-in", type=float, metavar="SECONDS", help="nobody receives it after that")
    parser.add_argument("--priority", choices=("normal", "low"), default="normal")
    parser.add_argument("--collapse", metavar="KEY", help="a lagging client receives only the newest of a key")
    parser.add_argument("--receipt", action="store_true", help="let the gateways note what becomes of it")
    parser.add_argument("--exclude", metavar="ADDRESS[,ADDRESS…]", help="who does not receive it")
    parser.add_argument("--partitions", type=int, default=1, help="how many the gateways are configured with")
    parser.add_argument(
        "--redis",
        metavar="URL",
        help="default: $TIDEGATE_REDIS_URL, $GATEWAY_REDIS__URL, the server of `make run`, or this machine's",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
