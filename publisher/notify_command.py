"""`python -m publisher notify USER[,USER…] --title TEXT`: from a shell. `publisher.__main__` hands over."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from publisher import json_text
from publisher.address import DEFAULT_TENANT
from publisher.errors import PublishError
from publisher.location import redis_url
from publisher.notification import DEFAULT_TYPE, LEVELS, PRIORITIES
from publisher.sync import Publisher


def notify(arguments: Sequence[str]) -> int:
    """Run the command; print the id, or one for each user; return the exit status, as `publisher.__main__` does."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        data = json_text.loads(options.data.encode()) if options.data is not None else None
    except ValueError as error:
        parser.error(f"the data is not JSON: {error}")
    try:
        publisher = Publisher(redis_url(options.redis), partitions=options.partitions)
    except ValueError as error:
        parser.error(str(error))
    users = options.users.split(",")
    names = ("title", "content", "type", "level", "priority", "link", "icon", "tenant", "key", "expires_in")
    stated = {name: getattr(options, name) for name in names}
    try:
        with publisher:
            ids = publisher.notify(users[0] if len(users) == 1 else users, data=data, **stated)
    except PublishError as error:
        print(f"publisher: {error}", file=sys.stderr)
        return 1
    print(ids if isinstance(ids, str) else "\n".join(ids))
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
    parser.add_argument("--tenant", default=DEFAULT_TENANT)
    parser.add_argument("--key", help="idempotency key: repeated under it, nothing is stored again")
    parser.add_argument("--expires-in", type=float, metavar="SECONDS", help="it is not pushed after that")
    parser.add_argument("--partitions", type=int, default=1, help="how many the gateways are configured with")
    parser.add_argument("--redis", metavar="URL", help="as for `python -m publisher`")
    return parser
