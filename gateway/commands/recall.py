"""
`recall_message`: an author takes a message back.

Who wrote a message is looked up, never believed: in memory, and where it is not there, in Redis. A client's message
says who it is from because the gateway wrote that into it. An id means one message. A name means the newest of its
author's that has it, and which that is memory knows only once all is read that the log has.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from gateway.commands import arguments
from gateway.commands.stored import RETRY_AFTER_MS, stored
from gateway.entry import Entry, EntryId, join_id, split_id
from gateway.errors import CommandError
from gateway.recalls import MESSAGE_RECALLED, author_of, is_message
from gateway.replies import Promise
from gateway.store.connection import REDIS_ERRORS
from gateway.wire.v1 import Reply, ack
from publisher import make_event
from publisher.event import KIND_STATE, MAX_KEY_LENGTH

if TYPE_CHECKING:
    from gateway.connection import Connection
    from gateway.services import CommandFunction, Services

_MOST_LOOKED_AT: Final = 10_000  # entries of the group in memory: about a millisecond
_MOST_NAMESAKES: Final = 100  # each is parsed
_CATCH_UP_S: Final = 2.0
_LOOK_AGAIN_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Message:
    """
    A message as the log had it.

    Attributes:
        entry_id, epoch: Where.
        id: The same as clients know it.
        shown_id: The same as the history shows it; see `publish_kept.lua`.
        message_id: Its author's name for it.
        author: Who wrote it; None where a service that did not say.
    """

    entry_id: bytes
    epoch: str
    id: str
    shown_id: str
    message_id: str
    author: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asks for: `text` is the client's name for a message, or its id. The tenant is the client's."""

    tenant: str
    user_id: str
    group_id: str
    text: str

    @property
    def address(self) -> str:
        """The group's."""
        return f"group:{self.group_id}"


def commands(services: Services) -> Mapping[str, CommandFunction]:
    """Return this family's commands."""

    def recall_message(connection: Connection, _message_id: str | None, data: Any) -> Reply | Promise:
        return _recall_message(services, connection, data)

    return {"recall_message": recall_message}


def _recall_message(services: Services, connection: Connection, data: Any) -> Reply | Promise:
    identity = connection.identity
    assert identity is not None  # noqa: S101 - the session lets nobody else ask
    group_id = arguments.joined_group(connection, data)
    text = arguments.text(data, "message_id", longest=MAX_KEY_LENGTH)
    if text is None:
        raise CommandError(400, "message_id: is missing")
    wanted = Wanted(identity.tenant, identity.user_id, group_id, text)
    message = _own(wanted, _of_that_id(services, wanted))
    if message is not None:
        return _recall(services, wanted, message)
    return Promise.of(services.tasks.start("recall", _recall_found(services, wanted)))


async def _recall_found(services: Services, wanted: Wanted) -> Reply:
    try:
        found = await _found(services, wanted)
    except REDIS_ERRORS:
        raise CommandError(503, "messages cannot be looked up now", retry_after_ms=RETRY_AFTER_MS) from None
    if not found:
        raise CommandError(404, "there is no such message in this group")
    message = _own(wanted, found)
    if message is None:
        raise CommandError(403, "this message is not yours")
    reply = _recall(services, wanted, message)
    return reply if isinstance(reply, Reply) else await reply.wait()


def _own(wanted: Wanted, messages: Iterable[Message]) -> Message | None:
    """Return the first that the user wrote: others may have chosen the same `message_id`."""
    return next((message for message in messages if message.author == wanted.user_id), None)


def _recall(services: Services, wanted: Wanted, message: Message) -> Reply | Promise:
    """Take back what the user wrote; once, however often it is asked for."""
    if message.id in services.chat.recalls:
        return ack()
    if services.now_ms() - split_id(message.entry_id)[0] > services.chat.recall_within_ms:
        raise CommandError(409, "it is too late to recall this message")
    event = make_event(
        MESSAGE_RECALLED,
        {
            "group_id": wanted.group_id,
            "message_id": message.message_id,
            "id": message.id,
            "user_id": wanted.user_id,
        },
        to=wanted.address,
        tenant=wanted.tenant,
        key=f"recall:{message.id}",
        kind=KIND_STATE,
    )
    return stored(services, event._replace(recalls=(message.entry_id.decode(), message.epoch)), with_id=False)


# Where it is.


def _of_that_id(services: Services, wanted: Wanted) -> Iterator[Message]:
    """Yield the message in memory with that id, if there is one."""
    log = services.log
    partition = services.chat.history.partition(wanted.group_id)
    epoch = log.partitions[partition].epoch
    at = _position(services, wanted)
    if at is not None and wanted.text.endswith(f".{epoch}"):
        entry = log.find(join_id(at), partition)
        if entry is not None and is_message(entry, wanted.tenant, wanted.address):
            yield _message(entry, epoch, entry.id)


def _of_that_name(services: Services, wanted: Wanted) -> Iterator[Message]:
    """Yield the messages in memory of that name, the newest first."""
    epoch = services.log.partitions[services.chat.history.partition(wanted.group_id)].epoch
    name = wanted.text.encode()
    looked_at = islice(services.log.newest_first(wanted.tenant, wanted.address), _MOST_LOOKED_AT)
    named = (e for e in looked_at if e.message_id == name and is_message(e, wanted.tenant, wanted.address))
    for entry in islice(named, _MOST_NAMESAKES):
        yield _message(entry, epoch, entry.id)


async def _found(services: Services, wanted: Wanted) -> list[Message]:
    """Return the messages that may be meant, wherever they are: the one with that id, then those of that name."""
    history = services.chat.history
    partition = history.partition(wanted.group_id)
    sighting, kept = await history.look_for(wanted.tenant, wanted.group_id, at=_position(services, wanted))
    epoch = services.log.partitions[partition].epoch
    seen = [(message.entry, message.epoch, message.logged_id) for message in kept]
    seen += [(entry, epoch, entry.id) for entry in history.decode(partition, sighting.logged)]
    messages = [_message(*where) for where in seen if is_message(where[0], wanted.tenant, wanted.address)]
    of_that_id = [message for message in messages if wanted.text in {message.id, message.shown_id}]
    if _own(wanted, of_that_id) is not None:
        return of_that_id
    # An ack can be here before the event itself: read on, as far as the log went.
    await _caught_up(services, partition, sighting.newest)
    of_that_id += _of_that_id(services, wanted)
    of_that_name = [message for message in messages if message.message_id == wanted.text]
    return [*of_that_id, *_of_that_name(services, wanted), *of_that_name]


async def _caught_up(services: Services, partition: int, newest: EntryId) -> None:
    """
    Wait until this instance has read up to `newest`.

    Raises:
        CommandError: 503, it takes long.
    """
    state = services.log.partitions[partition]
    deadline = time.monotonic() + _CATCH_UP_S
    while state.last < newest:
        if time.monotonic() > deadline:
            raise CommandError(503, "messages cannot be looked up now", retry_after_ms=RETRY_AFTER_MS)
        await asyncio.sleep(_LOOK_AGAIN_S)


def _position(services: Services, wanted: Wanted) -> EntryId | None:
    """Return the entry that is meant, if `text` is an id and not a name."""
    try:
        return services.chat.history.position(wanted.group_id, wanted.text)
    except ValueError:
        return None


def _message(entry: Entry, epoch: str, logged_id: bytes) -> Message:
    def id_of(entry_id: bytes) -> str:
        return f"{entry_id.decode()}.{entry.partition}.{epoch}"

    return Message(
        entry_id=logged_id,
        epoch=epoch,
        id=id_of(logged_id),
        shown_id=id_of(entry.id),
        message_id=entry.message_id.decode("utf-8", "replace"),
        author=author_of(entry.data),
    )
