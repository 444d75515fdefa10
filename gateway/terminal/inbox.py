"""`gateway inbox check`: counts every inbox anew, compares with what is said of it, and repairs what is not so."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import orjson
from redis.asyncio import Redis

from gateway.settings import Settings
from gateway.store.inbox import Inbox, Recount
from gateway.terminal.addresses import without_password
from gateway.terminal.quantities import number, plural
from gateway.terminal.redis_tool import run_with_redis
from gateway.terminal.style import Style, printable, style_for, table
from gateway.wiring import inbox_of
from publisher.address import DEFAULT_TENANT

_MOST_SHOWN: Final = 100


@dataclass(slots=True)
class Findings:
    """What the counting has brought so far."""

    inboxes: int = 0
    tenants: set[str] = field(default_factory=set)
    notifications: int = 0
    unread: int = 0
    wrong: list[Recount] = field(default_factory=list)

    def add(self, recount: Recount) -> None:
        """Take note of one inbox."""
        self.inboxes += 1
        self.tenants.add(recount.tenant)
        self.notifications += recount.notifications
        self.unread += recount.counted
        if not recount.right:
            self.wrong.append(recount)


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """Whose inboxes to check, and what to do then; `user` without `tenant` is one of the default tenant."""

    tenant: str | None
    user: str | None
    repair: bool
    as_json: bool


def check_inboxes(settings: Settings, options: CheckOptions) -> int:
    """
    Check inboxes; return 0 where all is right, or has been made so, else 1.

    Raises:
        ConfigError: Redis cannot be reached.
    """

    async def run(redis: Redis) -> int:
        findings = Findings()
        async for recount in _recounts(inbox_of(settings, redis), options):
            findings.add(recount)
        if options.as_json:
            print(orjson.dumps(_as_json(findings, options), option=orjson.OPT_INDENT_2).decode())
        else:
            place = without_password(settings.redis_url)
            print("\n".join(_lines(findings, options, place, style_for(sys.stdout))))
        return 1 if findings.wrong and not options.repair else 0

    return run_with_redis(settings, run)


async def _recounts(inbox: Inbox, options: CheckOptions) -> AsyncIterator[Recount]:
    if options.user is not None:
        yield await inbox.check(options.tenant or DEFAULT_TENANT, options.user, repair=options.repair)
        return
    async for tenant, user in inbox.owners(options.tenant):
        yield await inbox.check(tenant, user, repair=options.repair)


def _as_json(findings: Findings, options: CheckOptions) -> dict[str, Any]:
    return {
        "inboxes": findings.inboxes,
        "tenants": len(findings.tenants),
        "notifications": findings.notifications,
        "unread": findings.unread,
        "wrong": [asdict(recount) for recount in findings.wrong],
        "repaired": options.repair,
    }


def _lines(findings: Findings, options: CheckOptions, place: str, style: Style) -> Iterator[str]:
    inboxes = "1 inbox" if findings.inboxes == 1 else f"{number(findings.inboxes)} inboxes"
    tenants = plural(len(findings.tenants), "tenant")
    yield f"{inboxes} of {tenants} on {place}:"
    yield f"{plural(findings.notifications, 'notification')}, {number(findings.unread)} unread as counted anew"
    if not findings.wrong:
        yield style("Every unread count is what the counting gives.", "green")
        return
    yield ""
    yield from table(list(_rows(findings.wrong[:_MOST_SHOWN], style)), right=frozenset((2, 3, 4, 5)))
    if len(findings.wrong) > _MOST_SHOWN:
        yield f"and {number(len(findings.wrong) - _MOST_SHOWN)} more"
    yield ""
    wrong = "1 inbox is" if len(findings.wrong) == 1 else f"{number(len(findings.wrong))} inboxes are"
    if options.repair:
        yield style(f"{wrong} repaired; the users' devices have been told.", "green")
    else:
        yield style(f"{wrong} wrong. `gateway inbox check --repair` makes them right.", "red")


def _rows(wrong: Sequence[Recount], style: Style) -> Iterator[tuple[str, ...]]:
    headings = ("TENANT", "USER", "SAID UNREAD", "UNREAD", "MISSING", "UNLISTED")
    yield tuple(style(heading, "dim") for heading in headings)
    for one in wrong:
        counts = (one.served, one.counted, one.lost, one.hidden)
        yield (printable(one.tenant), printable(one.user), *map(number, counts))
