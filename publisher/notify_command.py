"""`python -m publisher notify USER[,USER…] --title TEXT`: from a shell. `publisher.__main__` hands over."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Sequence

from publisher.errors import PublishError
from publisher.notification import DEFAULT_TYPE, LEVELS, PRIORITIES
from publisher.shell import add_common_options, open_publisher, print_ids, read_data, report


def notify(arguments: Sequence[str]) -> int:
    """Run the command; print the id, or one for each user; return the exit status, as `publisher.__main__` does."""
    parser = _parser()
    options = parser.parse_args(arguments)
    data = read_data(options.data, parser) if options.data is not None else None
    users = options.users.split(",")
    names = ("title", "content", "type", "level", "priority", "link", "icon", "tenant", "expires_in")
    stated = {name: getattr(options, name) for name in names}
    # Made here where none is given, so that it can be named: the call is repeated under it, as a whole.
    key = options.key if options.key is not None else secrets.token_hex(12)
    try:
        with open_publisher(options, parser) as publisher:
            ids = publisher.notify(users[0] if len(users) == 1 else users, data=data, key=key, **stated)
    except PublishError as error:
        return report(error, key)
    print_ids([ids] if isinstance(ids, str) else ids)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m publisher notify", description="Store a notification in users' inboxes, and push it."
    )
    parser.add_argument("users", metavar="USER[,USER…]", help="ids of users")
    parser.add_argument("--title", required=True, metavar="TEXT", help="one line")
    parser.add_argument("--content", default="", metavar="TEXT")
    parser.add_argument("--type", default=DEFAULT_TYPE, help="what it is about, for filters")
    parser.add_argument("--level", choices=LEVELS, default="info")
    parser.add_argument("--priority", choices=PRIORITIES, default="normal")
    parser.add_argument("--link", metavar="URL")
    parser.add_argument("--icon", metavar="NAME")
    parser.add_argument("--data", metavar="JSON")
    parser.add_argument("--key", help="idempotency key: repeated under it, nothing is stored again")
    parser.add_argument("--expires-in", type=float, metavar="SECONDS", help="it is not pushed after that")
    add_common_options(parser)
    return parser
