"""What comes over HTTP: every route, through the gate, without the parser of bytes, which is uvicorn's."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import orjson

from tests.fuzz import values
from tests.fuzz.engine import Target
from tests.fuzz.sandbox import Failed, Sandbox

_HEAD_END = b"\n\n"
_TARGET = re.compile(rb"([A-Z]{1,20}) (/[!-~]{0,4000})")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}): ([\t -~\x80-\xff]{0,4000})")
# Of the gate, before any route is asked, and where there is no such route.
_ALWAYS = {"400", "401", "403", "404", "405", "408", "413", "415", "422", "429", "503"}
_TOKENS = (b"$PUSH", b"$USER")
_PARAMETERS = ("", "0", "-1", "1e9", "true", "x", "%00", "%ff", "9" * 30, "1-0.0.e")


class Requests(Target):
    """Requests: a line, headers, an empty line, a body. `$PUSH` and `$USER` stand for tokens."""

    name = "http"
    share = 2
    tokens = (
        *_TOKENS, b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"?", b"&", b"=", b"%00",
        b"%ff", b"%2F",
        b"..", b"//", b"Authorization: Bearer ", b"X-API-Key: ", b"Idempotency-Key: ", b"Content-Type: text/plain\n",
        b"Content-Type: application/json; charset=utf-16\n", b"Content-Length: 99999999999\n", b"\n", b"\n\n",
        b'"data":',
        b"limit=-1", b"before=1-0.0.e", b"unread_only=maybe", b"Expect: 100-continue\n",
    )  # fmt: skip

    def __init__(self, place: Sandbox) -> None:
        self._place = place
        self._fill = {
            b"$PUSH": place.token("service", scope="push").encode(),
            b"$USER": place.token("1").encode(),
        }
        self._document: dict[str, Any] = {}
        self._operations: list[tuple[str, str, Mapping[str, Any]]] = []

    async def open(self) -> None:
        """Learn the routes from the API's own description."""
        _, body = await self._ask(b"GET", b"/openapi.json", [], b"")
        self._document = orjson.loads(body)
        self._operations = [
            (method.upper(), path, operation)
            for path, methods in self._document["paths"].items()
            for method, operation in methods.items()
        ]

    def seeds(self) -> list[bytes]:
        """Return a request to each route: with the examples of its description, and with nothing."""
        found = []
        for method, path, operation in self._operations:
            line = f"{method} {_filled(path)}\nAuthorization: Bearer $PUSH\n\n".encode()
            for example in self._examples(operation) or [{}]:
                found.append(line + (orjson.dumps(example) if method in {"POST", "PUT", "PATCH"} else b""))
            found.append(f"{method} {_filled(path)}\nAuthorization: Bearer $USER\n\n".encode())
        return found

    def make(self, chance: random.Random) -> bytes | None:
        """Return a request with hostile members and parameters."""
        method, path, operation = chance.choice(self._operations)
        query = [
            f"{parameter['name']}={chance.choice(_PARAMETERS)}"
            for parameter in operation.get("parameters", ())
            if parameter["in"] == "query" and chance.random() < 0.6
        ]
        line = f"{method} {_filled(path, chance)}{'?' if query else ''}{'&'.join(query)}\n"
        if chance.random() < 0.97:
            line += f"Authorization: Bearer {chance.choice(('$PUSH', '$PUSH', '$USER'))}\n"
        if chance.random() < 0.1:
            line += f"Idempotency-Key: {chance.choice(('k', '', 'x' * 300))}\n"
        body: Any = dict(chance.choice(self._examples(operation) or [{}]))
        for name in (*body, *self._members(operation)):
            if chance.random() < 0.3:
                body[name] = values.value(chance)
        return line.encode() + b"\n" + (values.text(body, chance) if method in {"POST", "PUT", "PATCH"} else b"")

    async def feed(self, data: bytes) -> None:
        """It is answered, with a documented status; what is not a success is problem JSON."""
        head, _, body = data.partition(_HEAD_END)
        lines = head.split(b"\n")
        line = _TARGET.fullmatch(lines[0])
        headers = [match.groups() for match in map(_HEADER.fullmatch, lines[1:]) if match is not None]
        if line is None or b"\r" in head:
            return  # uvicorn refuses it
        for placeholder, token in self._fill.items():
            headers = [(name, value.replace(placeholder, token)) for name, value in headers]
        status, answer = await self._ask(line[1], line[2], headers, body)
        method = line[1].decode()
        if str(status) not in self._documented(method, line[2].partition(b"?")[0].decode()):
            raise Failed(f"answered with {status}, which is not documented: {answer[:300]!r}")
        if status >= 400 and method != "HEAD":
            problem = orjson.loads(answer)
            if problem["status"] != status or not problem["detail"]:
                raise Failed(f"no problem JSON: {answer[:300]!r}")
        self._place.watch.check()

    def _documented(self, method: str, path: str) -> set[str]:
        """Return the statuses that the document gives a route; where several fit, those of all."""
        statuses = set()
        for other, template, operation in self._operations:
            pattern = ".*".join(map(re.escape, re.split(r"\{[^}]*\}", template)))
            if method == other and re.fullmatch(pattern, unquote(path), re.DOTALL):
                statuses |= operation["responses"].keys()
        # HEAD and the documentation are not described.
        return (statuses | {"401"} if statuses else _ALWAYS | ({"200"} if method in {"GET", "HEAD"} else set())) | {
            "404",
            "405",
        }

    async def _ask(
        self, method: bytes, target: bytes, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> tuple[int, bytes]:
        """Send one request, as uvicorn hands it over."""
        path, _, query = target.partition(b"?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method.decode(),
            "scheme": "http",
            "path": unquote(path.decode()),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": [(name.lower(), value.strip()) for name, value in headers],
            "client": ("192.0.2.1", 4711),
            "server": ("127.0.0.1", 8890),
            "state": {},
        }
        sent: list[Any] = []
        half = len(body) // 2
        parts = [
            {"type": "http.request", "body": body[half:], "more_body": False},
            {"type": "http.request", "body": body[:half], "more_body": True},
        ]

        async def receive() -> Any:
            return parts.pop() if parts else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._place.http(scope, receive, send)
        statuses = [message["status"] for message in sent if message["type"] == "http.response.start"]
        if len(statuses) != 1:
            raise Failed(f"{len(statuses)} answers")
        return statuses[0], b"".join(
            message.get("body", b"") for message in sent if message["type"] != "http.response.start"
        )

    def _schema(self, operation: Mapping[str, Any]) -> Mapping[str, Any]:
        content = operation.get("requestBody", {}).get("content", {})
        schema = next(iter(content.values()), {}).get("schema", {})
        reference: str = schema.get("$ref", "")
        found: Mapping[str, Any] = (
            self._document["components"]["schemas"][reference.rpartition("/")[2]] if reference else schema
        )
        return found

    def _examples(self, operation: Mapping[str, Any]) -> list[Any]:
        return [example for example in self._schema(operation).get("examples", ()) if isinstance(example, dict)]

    def _members(self, operation: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(self._schema(operation).get("properties", ()))


def _filled(path: str, chance: random.Random | None = None) -> str:
    names = ("1", "g1", "2", "%00", "%F0%9F%98%80", "x" * 300, "..", "a%2Fb", "1764930000000-0.0.abcdef12", "%ff")
    return re.sub(r"\{[^}]*\}", lambda _: chance.choice(names) if chance is not None else "g1", path)
