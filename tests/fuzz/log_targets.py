"""What comes from Redis, and positions in it: entries, cursors, JSON text."""

from __future__ import annotations

import itertools
import json
import random
import time
from typing import Any

import orjson

from gateway.decoder import EntryDecoder
from gateway.entry import unpack
from gateway.errors import AuthError, PoisonEntry
from gateway.http import json_body
from gateway.log import Ahead, Found, Log, Older, Unknown
from gateway.resume import locate, position
from publisher import event as fields_of
from publisher import json_text, make_event
from publisher.cursor import Cursor
from tests.fuzz import values
from tests.fuzz.engine import Target
from tests.fuzz.sandbox import Failed, Peer, Sandbox, messages
from tests.support.entries import Source

_SEPARATOR = b"\x1f"
_KINDS = (
    fields_of.KIND_EVENT,
    fields_of.KIND_NOTIFY,
    fields_of.KIND_CONTROL,
    fields_of.KIND_STATE,
    fields_of.KIND_EPHEMERAL,
)
_EVERYBODY_AGAIN = 200
_LONG_READ = 9


class Entries(Target):
    """Entries of the log: fields and values in turn, delivered to real connections; orders are carried out."""

    name = "entries"
    share = 20

    def __init__(self, place: Sandbox) -> None:
        self._place = place
        self._token = place.token(groups=["g1"], tags=["vip"])
        self._orders = sorted(place.offline.services.fanout._obey.__self__._orders)  # type: ignore[attr-defined]
        self._decoder = EntryDecoder(0)
        self._numbers = itertools.count(1)
        self._peer: Peer | None = None
        self._fed = 0
        self.tokens = (
            _SEPARATOR, *(name for name in fields_of.REQUIRED), *_KINDS, *self._orders, b"k", b"x", b"exp",
            b"p", b"low",
            b"c", b'["all"]', b'["user:1"]', b'["group:g1","tag:vip"]', b"[]", b'{"group":"g1"}', b'"user"',
            b'"id":"1-1.0.e"',
        )  # fmt: skip

    def seeds(self) -> list[bytes]:
        """Return entries with each option and of each kind, and each order."""
        order = {"group": "g1", "user": "1", "id": "1-1.0.e", "action": "added"}
        events: list[Any] = [
            make_event("e", {"a": 1}, to="all"),
            make_event("e", [1, None], to=["user:1", "group:g1"], exclude="tag:vip"),
            make_event("e", "x", to="topic:t1", expires_in=60, priority="low", collapse="c"),
            make_event("kick", {"code": 4403, "reason": "x"}, to="user:1", kind=fields_of.KIND_CONTROL),
            make_event("revoke", {"jti": "a"}, to="all", kind=fields_of.KIND_CONTROL),
            make_event("revoke", {"user": "2", "issued_before": 1}, to="user:2", kind=fields_of.KIND_CONTROL),
            *(make_event("notification", {"title": "t"}, to="user:1", kind=kind) for kind in _KINDS),
            *(
                make_event(name.decode(), order, to="user:1", kind=kind)
                for name in self._orders
                for kind in (fields_of.KIND_CONTROL, fields_of.KIND_STATE)
            ),
        ]
        return [_SEPARATOR.join(event.fields) for event in events]

    def make(self, chance: random.Random) -> bytes:
        """Return an entry whose data is hostile."""
        named = chance.random() < 0.5
        name = chance.choice(self._orders) if named else chance.choice((b"e", b"new_message", b"\xff", b"", b'"'))
        to = json.dumps([chance.choice(("all", "user:1", "group:g1", "tag:vip", "user:2", "x:y"))]).encode()
        fields = [b"1", b"default", to, name, b"m", values.text(values.value(chance), chance)]
        if chance.random() < 0.1:
            fields[chance.randrange(6)] = values.text(values.value(chance), chance)
        pairs = list(zip(fields_of.REQUIRED, fields, strict=True))
        if chance.random() < 0.7:
            pairs.append((b"k", chance.choice((*_KINDS, b"z"))))
        if chance.random() < 0.2:
            pairs.append((chance.choice((b"x", b"exp", b"p", b"c")), values.text(values.value(chance), chance)))
        return _SEPARATOR.join(itertools.chain(*pairs))

    async def feed(self, data: bytes) -> None:
        """It is poison, or it is delivered: a frame that is JSON and has the entry's id."""
        fields = data.split(_SEPARATOR)
        entry_id = b"%d-%d" % (int(time.time() * 1000), next(self._numbers))
        try:
            entry = self._decoder.decode(entry_id, fields)
        except PoisonEntry:
            return
        newcomer = EntryDecoder(0)  # that knows its tenant, and not whom it is for
        newcomer.decode(*Source().raw(to="topic:other"))
        for item in (
            *self._decoder.decode_all([(entry_id, fields)]),
            *newcomer.decode_all([(entry_id, fields)] * _LONG_READ, {}),
        ):
            again = unpack(item) if isinstance(item, tuple) else item
            if (again.to, again.event, again.data, again.options) != (entry.to, entry.event, entry.data, entry.options):
                raise Failed("two ways to decode differ")
        peer = await self._present()
        services = self._place.offline.services
        services.fanout.deliver([entry], services.now_ms())
        said, code = messages(peer.output)
        for frame in said:
            if "id" in frame and not frame["id"].startswith(entry_id.decode()):
                raise Failed(f"a frame with another id: {frame}")
        peer.transport.written = []
        if code is not None:
            peer.leave()
            self._peer = None
        self._place.watch.check()

    async def _present(self) -> Peer:
        """Return a connection that is there to receive; a kicked or revoked one is replaced."""
        self._fed += 1
        if self._peer is None or self._fed % _EVERYBODY_AGAIN == 0:
            if self._peer is not None:
                self._peer.leave()
            self._forget_revocations()
            self._peer = Peer(self._place.offline_server)
            await self._peer.open(self._token)
            self._peer.transport.written = []
        return self._peer

    def _forget_revocations(self) -> None:
        revocations = self._place.offline.services.revocations
        type(revocations).__init__(revocations)


class Cursors(Target):
    """Positions that clients give back."""

    name = "cursors"
    share = 22
    tokens = (
        b".",
        b",",
        b"-",
        b"0",
        b"1",
        b"9" * 16,
        b"9" * 20,
        b"abcdef12",
        b"e1",
        b"5-0.0.e1",
        b"5-0.1.e2",
        b" ",
        b"\xd9\xa1",
    )

    def __init__(self) -> None:
        self._log = Log(partitions=2, retention_ms=1_000, max_entries=8, max_bytes=1 << 20)
        self._log.reset(0, "e1", (0, 0))
        self._log.reset(1, "e2", (0, 0))
        for partition in (0, 1):
            source = Source(partition)
            self._log.extend([source.entry() for _ in range(8)], 8)

    def seeds(self) -> list[bytes]:
        """Return cursors of each kind."""
        return [
            b"5-0.0.e1",
            b"5-0.1.e2",
            b"5-0.0.e1,5-0.1.e2",
            b"0-0.0.e1",
            b"99-0.0.e1",
            b"1-1.7.e1",
            b"5-0.0.zz",
            b"",
        ]

    async def feed(self, data: bytes) -> None:
        """It is located, or refused; one that is read is written the same, but for leading zeros."""
        text = data.decode("utf-8", "replace")
        try:
            cursor = Cursor.parse(text)
        except ValueError:
            pass
        else:
            if Cursor.parse(str(cursor)) != cursor:
                raise Failed(f"{text!r} became {cursor}")
        where = locate(self._log, text)
        if not isinstance(where, Found | Older | Ahead | Unknown):
            raise Failed(f"located at {where}")
        if not 0 <= position(self._log, where) <= self._log.head:
            raise Failed(f"{text!r} is beyond the log")


class Json(Target):
    """JSON text, as it comes in commands and bodies."""

    name = "json"
    share = 18
    tokens = (
        b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\\u0000", b"\\ud83d\\ude00", b"\\ud800", b"1e5",
        b"-0", b"1.10",
        b"123456789012345678901", b"null", b"true", b"NaN", b" ", b"\t", b'"data":', b'"events":[{"data":1}]',
        b"\xef\xbb\xbf",
    )  # fmt: skip

    def seeds(self) -> list[bytes]:
        """Return bodies."""
        return [
            b'{"event":"e","data":{"n":1.10,"m":[1e2,-0]},"user_id":"1"}',
            b'{"events":[{"data":"a\\u0041","to":"all"},{"data":{"a":1,"a":2}}],"x":12345678901234567890123}',
            b' [ 1 , 2.5e-3 , "\\"\\\\" , null ] ',
        ]

    def make(self, chance: random.Random) -> bytes:
        """Return any value."""
        return values.text(values.value(chance, 4), chance)

    async def feed(self, data: bytes) -> None:
        """What is read is what Python's own parser reads; what is verbatim is a part of the text, and JSON."""
        try:
            value = json_text.loads(data)
        except ValueError:
            pass
        else:
            same = json.loads(data)
            if value != same and not _close(value, same):
                raise Failed(f"read as {value!r:.200}")
            if orjson.loads(json_text.dumps(value)) is None and value is not None:
                raise Failed("written as null")
        try:
            body = json_body.parse(data, verbatim={"data"}, lists={"events"})
        except ValueError:
            return
        for member in _verbatim(body):
            orjson.loads(member.text)
            if member.text.encode() not in data:
                raise Failed(f"{member.text!r:.200} is not what came")


def _close(one: Any, other: Any) -> bool:
    """Numbers are read by other code, and a NaN equals nothing: compare what both are written as."""
    return bool(orjson.loads(json_text.dumps(one)) == orjson.loads(json_text.dumps(other)))


def _verbatim(value: Any) -> list[json_body.Verbatim]:
    if isinstance(value, json_body.Verbatim):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for item in inner for found in _verbatim(item)]


class Tokens(Target):
    """JWTs with other people's claims and signatures."""

    name = "tokens"
    share = 5
    tokens = (b".", b"=", b"-", b"_", b"eyJhbGciOiJub25lIn0", b"e30", b"bnVsbA", b"W10", b"eyJhbGciOiJSUzI1NiJ9")

    def __init__(self, place: Sandbox) -> None:
        self._authenticator = place.services.authenticator
        self._good = [place.token("1").encode(), place.token("2", groups=["g1"], scope="push").encode()]

    def seeds(self) -> list[bytes]:
        """Return good ones, and one without a signature."""
        return [*self._good, self._good[0].rpartition(b".")[0] + b"."]

    async def feed(self, data: bytes) -> None:
        """It is refused for a reason, unless it says what a good one says."""
        try:
            identity = self._authenticator.verify(data.decode("latin-1"), time.time())
        except AuthError:
            return
        if not any(data.rpartition(b".")[0] == good.rpartition(b".")[0] for good in self._good):
            raise Failed(f"accepted for {identity.user_id}: {data!r:.300}")
