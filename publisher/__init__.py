"""
Tidegate's publisher: what a microservice imports to send events to browsers and apps.

    from publisher import Publisher

    async with Publisher("redis://…") as tide:
        await tide.publish("order.shipped", {"order": 7}, to="user:42")

`publisher.sync` has the blocking twin, `python -m publisher` the same for a shell.
"""

from publisher.address import is_address, is_name, is_tenant
from publisher.client import Publisher
from publisher.cursor import Cursor
from publisher.errors import PublishError, PublishIncomplete, PublishUnavailable, PublishUnknown
from publisher.event import Event, EventOptions, EventSpec, make_event
from publisher.location import redis_url
from publisher.membership import Changed, Members
from publisher.notification import Notifications, make_notifications
from publisher.receipt import Receipt, Target

__all__ = [
    "Changed",
    "Cursor",
    "Event",
    "EventOptions",
    "EventSpec",
    "Members",
    "Notifications",
    "PublishError",
    "PublishIncomplete",
    "PublishUnavailable",
    "PublishUnknown",
    "Publisher",
    "Receipt",
    "Target",
    "is_address",
    "is_name",
    "is_tenant",
    "make_event",
    "make_notifications",
    "redis_url",
]
