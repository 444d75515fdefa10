"""
docs/asyncapi.yaml and docs/openapi.json: they are what the code says now, and the code says what a gateway does.

The descriptions are checked from three sides: against the names in the code, against every example in
docs/protocol.md, and against a real gateway, which has to refuse what they forbid and send nothing that they leave out.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys

import httpx
import jsonschema
import pytest
import yaml

from gateway.commands import chat, reading
from gateway.commands.description import COMMANDS, COMMON_CODES
from gateway.recalls import MESSAGE_RECALLED
from gateway.session import State, allows
from gateway.terminal.documents import asyncapi_text, openapi_text
from gateway.wire import v1
from gateway.wire.description import CODES, FRAMES
from publisher.notification import LEVELS, NOTIFICATION, PRIORITIES, UNREAD_COUNT
from tests.docs.markdown import ROOT, document
from tests.docs.test_protocol import ALONE, CLAIMS, PAGE, PAIRS, client, real_frames, reply_to, write_what_is_read
from tests.support.gateway import running_gateway

ASYNCAPI = yaml.safe_load(document("docs/asyncapi.yaml"))
SCHEMA = json.loads((ROOT / "tests/docs/asyncapi-3.0.0.json").read_text())
BY_NAME = {command.name: command for command in COMMANDS}


# The files


def test_the_files_are_what_the_code_says():
    assert document("docs/asyncapi.yaml") == asyncapi_text(), "run `make documents`"
    assert json.loads(document("docs/openapi.json")) == json.loads(openapi_text()), "run `make documents`"


@pytest.mark.parametrize("name", ["asyncapi", "openapi"])
def test_the_commands_print_the_files(name):
    done = subprocess.run([sys.executable, "-m", "gateway", name], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout == {"asyncapi": asyncapi_text, "openapi": openapi_text}[name]()


async def test_a_gateway_serves_the_same_openapi_document(redis_url):
    async with running_gateway(redis_url, http__docs=True) as gateway, httpx.AsyncClient(trust_env=False) as http:
        served = (await http.get(f"{gateway.http_url}/openapi.json")).json()
    assert served == json.loads(document("docs/openapi.json"))


def test_the_asyncapi_document_is_well_formed():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(ASYNCAPI, SCHEMA, jsonschema.Draft7Validator)


def references(value):
    if isinstance(value, dict):
        yield from [value["$ref"]] if isinstance(value.get("$ref"), str) else []
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from references(child)


def resolved(reference):
    found = ASYNCAPI
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return resolved(found["$ref"]) if "$ref" in found else found


def test_every_reference_leads_somewhere_and_every_message_is_used():
    assert all(resolved(reference) for reference in references(ASYNCAPI))
    used = {reference.rpartition("/")[2] for reference in references(ASYNCAPI["operations"])} - {"socket"}
    assert used == set(ASYNCAPI["components"]["messages"])


# The names


async def test_every_command_is_described_and_nothing_else(gateway):
    assert set(gateway.services.commands) == set(BY_NAME)
    assert len(COMMANDS) == len(BY_NAME)
    assert set(BY_NAME) | {"push"} == set(ASYNCAPI["operations"])


def test_every_frame_is_described_and_nothing_else():
    own = {value for name, value in vars(v1).items() if re.fullmatch(r"[A-Z][A-Z_]+", name) and isinstance(value, str)}
    events = {
        "presence",
        chat.NEW_MESSAGE,
        chat.TYPING,
        MESSAGE_RECALLED,
        reading.MESSAGE_READ,
        NOTIFICATION,
        UNREAD_COUNT,
    }
    described = {frame.name for frame in FRAMES} | {command.reply for command in COMMANDS}
    assert described == (own - {v1.SUBPROTOCOL}) | events
    assert {frame.name for frame in FRAMES if frame.family == "event"} == events


def test_what_is_allowed_before_auth_says_so():
    before = {command.name for command in COMMANDS if "before `auth`" in command.summary}
    assert before == {name for name in BY_NAME if allows(State.WAITING, name)}


def test_every_code_is_listed():
    source = "\n".join(path.read_text() for path in (ROOT / "gateway").rglob("*.py"))
    assert {int(code) for code in re.findall(r"CommandError\(\s*(\d{3})", source)} <= set(CODES)
    assert {code for command in COMMANDS for code in command.codes} | set(COMMON_CODES) <= set(CODES)


def test_the_words_of_a_notification_are_the_publishers():
    (notification,) = [frame for frame in FRAMES if frame.name == NOTIFICATION]
    choices = {field.name: field.choices for field in notification.fields}
    assert (choices["level"], choices["priority"]) == (LEVELS, PRIORITIES)


# The fields


def strict(schema):
    """Return a schema that forbids what it does not name."""
    if isinstance(schema, list):
        return [strict(child) for child in schema]
    if not isinstance(schema, dict):
        return schema
    children = {name: child if name == "oneOf" else strict(child) for name, child in schema.items()}
    return {"additionalProperties": False, **children} if isinstance(schema.get("properties"), dict) else children


def check(frame, key):
    """Fail where a frame is not as the message `key` has it."""
    message = strict(ASYNCAPI["components"]["messages"][key])
    payload = {**message["payload"], "components": ASYNCAPI["components"]}
    jsonschema.validate(frame, payload, jsonschema.Draft7Validator)


def check_reply(frame, command):
    answered = {"error": "reply-error", command.refusal: f"reply-{command.refusal}"}.get(frame["type"])
    own = f"reply-ack-{command.name}" if command.answer else "reply-ack"
    check(frame, answered or (own if command.reply == v1.ACK else f"reply-{command.reply}"))


def key_of(frame):
    described = {each.name: f"{each.family}-{each.name}" for each in FRAMES}
    described |= {command.reply: f"reply-{command.reply}" for command in COMMANDS if command.reply != v1.ACK}
    events = {each.name: f"event-{each.name}" for each in FRAMES if each.family == "event"}
    return events.get(frame["type"], "event") if "id" in frame else described[frame["type"]]


@pytest.mark.parametrize(("sent", "shown"), PAIRS, ids=str)
def test_the_examples_of_commands_and_replies_are_as_described(sent, shown):
    command, reply = json.loads(sent.text), json.loads(shown.text)
    if command["type"] not in BY_NAME:
        return check(reply, "reply-error")
    check_reply(reply, BY_NAME[command["type"]])
    if reply["type"] != v1.ERROR:
        return check(command, f"command-{command['type']}")
    with pytest.raises(jsonschema.ValidationError):  # what is refused is forbidden
        check(command, f"command-{command['type']}")
    return None


@pytest.mark.parametrize("shown", ALONE, ids=str)
def test_the_examples_of_other_frames_are_as_described(shown):
    frame = json.loads(shown.text)
    check(frame, key_of(frame))


async def test_a_gateway_sends_what_is_described(redis_url):
    for frame in await real_frames(redis_url):
        check(frame, key_of(frame))


def violations(command, data):
    """Yield data that the description forbids, made from good data."""
    for field in command.fields:
        others = {name: value for name, value in data.items() if name != field.name}
        if field.required:
            yield others
        if field.name not in data and command.forms:
            continue
        if field.kind != "any":
            yield {**others, field.name: 7 if field.kind == "object" else {"object": [1]}}
        if field.kind == "string":
            yield from ({**others, field.name: wrong} for wrong in ("", 7, True) if wrong != "" or field.least)
        if field.kind == "string" and field.most:
            yield {**others, field.name: "x" * (field.most + 1)}
        if field.pattern:
            yield from ({**others, field.name: f"a{wrong}b"} for wrong in "\x00\n\x7f")
        if field.kind == "integer":
            yield from ({**others, field.name: wrong} for wrong in (field.least - 1, field.most + 1, 1.5, "1", True))
        if field.kind == "array":
            yield from ({**others, field.name: wrong} for wrong in ([], ["x"] * (field.most + 1), [7], "x"))
        if field.choices:
            yield from ({**others, field.name: wrong} for wrong in (False, 1, "true"))
    if command.forms:
        names = {name for form in command.forms for name in form}
        yield {name: value for name, value in data.items() if name not in names}
        yield data | {name: "x" for form in command.forms for name in form if name not in data}


def good_frames(gateway, name, cursor):
    """Return what the description allows: the page's examples of a command, which show each of its forms."""
    if name == "auth":
        return [{"type": "auth", "message_id": "c", "data": {"token": gateway.token("42", **CLAIMS)}}]
    frames = [json.loads(sent.text) for sent, shown in PAIRS if f'"{name}"' in sent.text and '"ack"' in shown.text]
    assert frames, f"{PAGE} has no example of {name}"
    for frame in frames:
        frame["data"] |= {"since": cursor} if "since" in frame["data"] else {}
    return frames


@pytest.fixture
async def patient_gateway(redis_url):
    """A gateway that takes many commands."""
    limits = {"limits__messages_per_s": 10_000, "limits__messages_burst": 10_000}
    async with running_gateway(redis_url, history__groups=["*"], presence__groups=["*"], **limits) as gateway:
        yield gateway


@pytest.mark.parametrize("name", [name for name in BY_NAME if BY_NAME[name].takes == "object"])
async def test_a_gateway_takes_what_the_description_allows_and_refuses_what_it_forbids(patient_gateway, name):
    command, key = BY_NAME[name], f"command-{name}"
    async with client(patient_gateway, **CLAIMS) as ws:
        await write_what_is_read(ws)
        for frame in good_frames(patient_gateway, name, ws.cursor):
            for wrong in violations(command, frame["data"]):
                with pytest.raises(jsonschema.ValidationError):
                    check({**frame, "data": wrong}, key)
                reply = await reply_to(ws, {**frame, "data": wrong})
                assert (reply["type"], reply["data"].get("code")) == ("error", 400), wrong
                check_reply(reply, command)
            check(frame, key)
            reply = await reply_to(ws, frame)
            assert reply["type"] == command.reply, reply
            check_reply(reply, command)
