"""
`python -m publisher ADDRESS[,ADDRESS…] EVENT JSON`: publish one event from a shell.

`python -m publisher notify USER[,USER…] --title TEXT` stores a notification: see `notify_command`.

Prints the event's id. Exit status: 0 stored, 1 not stored or not known (the message says which), 2 wrong usage, 130
interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from publisher.errors import PublishError
from publisher.notify_command import notify
from publisher.shell import (
    INTERRUPTED,
    accept_every_character,
    add_common_options,
    first_word,
    open_publisher,
    print_ids,
    read_data,
    report,
    say,
)

NOTIFY = "notify"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    accept_every_character()
    place = first_word(given)
    try:
        if place is not None and given[place] == NOTIFY:  # no address has this name
            return notify(given[:place] + given[place + 1 :])
        return publish(given)
    except KeyboardInterrupt:
        return INTERRUPTED


def publish(arguments: Sequence[str]) -> int:
    """Publish one event; print its id; return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    data = read_data(options.data, parser, from_stdin=True)
    try:
        with open_publisher(options, parser) as publisher:
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
        return report(error)
    print_ids([event_id])
    if sys.stdout is not None and sys.stdout.isatty():
        say(f"{options.event} to {options.addresses}: stored")
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
    parser.add_argument("--key", help="idempotency key: published again under it, the event is not stored again")
    parser.add_argument("--expires-in", type=float, metavar="SECONDS", help="nobody receives it after that")
    parser.add_argument("--priority", choices=("normal", "low"), default="normal")
    parser.add_argument("--collapse", metavar="KEY", help="a lagging client receives only the newest of a key")
    parser.add_argument("--receipt", action="store_true", help="let the gateways note what becomes of it")
    parser.add_argument("--exclude", metavar="ADDRESS[,ADDRESS…]", help="who does not receive it")
    add_common_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
