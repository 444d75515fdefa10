"""What is joined again on the next connection, and what is not: without a gateway."""

from __future__ import annotations

import json

import pytest

from gateway.terminal import joined
from gateway.terminal.joined import Joined
from gateway.terminal.shortcuts import Frame, understand

ACK = {"type": "ack", "data": {"success": True}}


class Notes:
    """A screen of which only the notes matter."""

    def __init__(self):
        self.texts = []

    def received(self, text, frame, /):
        raise NotImplementedError

    def sent(self, frame):
        raise NotImplementedError

    def note(self, text, colour="dim"):
        self.texts.append(text)


class Scene:
    """What was joined, with a gateway that gives the answers it is told to; `ACK` when they are used up."""

    def __init__(self):
        self.notes = Notes()
        self.joined = Joined(self.notes)
        self.answers = []
        self.sent = []

    def typed(self, line, answer=ACK):
        frame = understand(line)
        self.joined.asked(frame)
        if answer is not None:
            assert not self.joined.answered({**answer, "message_id": frame.message_id})
        return frame

    async def send(self, text):
        frame = json.loads(text)
        self.sent.append((frame["type"], frame["data"]))
        answer = self.answers.pop(0) if self.answers else ACK
        assert self.joined.answered({**answer, "message_id": frame["message_id"]})

    async def comes_back(self, cursor="c"):
        self.sent.clear()
        self.joined.lost(cursor)
        await self.joined.join_again(self.send)
        return self.sent


@pytest.fixture
def scene():
    return Scene()


def error(code, **more):
    return {"type": "error", "data": {"code": code, "message": "no", **more}}


async def test_what_was_acknowledged_is_joined_again_from_the_cursor(scene):
    for line in ("/join g", "/sub t", "/tag x"):
        scene.typed(line)
    assert await scene.comes_back() == [
        ("join_group", {"group_id": "g", "since": "c"}),
        ("subscribe", {"topic": "t", "since": "c"}),
        ("add_tag", {"tag": "x", "since": "c"}),
    ]
    assert scene.notes.texts == ["joined again: group g, topic t, tag x"]


async def test_the_filter_is_kept_and_an_own_since_is_not(scene):
    scene.typed('{"type": "subscribe", "data": {"topic": "t", "filter": {"a": 1}, "since": "old"}}')
    assert await scene.comes_back() == [("subscribe", {"topic": "t", "filter": {"a": 1}, "since": "c"})]


@pytest.mark.parametrize(("join", "leave"), [("/join a", "/leave a"), ("/sub a", "/unsub a"), ("/tag a", "/untag a")])
@pytest.mark.parametrize("answer", [ACK, None], ids=["acknowledged", "lost with its connection"])
async def test_what_was_left_is_not(scene, join, leave, answer):
    scene.typed(join)
    scene.typed(leave, answer)
    assert await scene.comes_back() == []
    assert scene.notes.texts == []


async def test_a_leave_that_was_not_sent_or_refused_is_none(scene):
    scene.typed("/join g")
    scene.typed("/leave g", error(429))
    scene.joined.unsent(scene.typed("/leave g", None))
    assert len(await scene.comes_back()) == 1


@pytest.mark.parametrize("answer", [error(403), None], ids=["refused", "not answered"])
async def test_what_was_not_acknowledged_is_not(scene, answer):
    scene.typed("/join g", answer)
    assert await scene.comes_back() == []


@pytest.mark.parametrize("line", ["/ping", "/send g hi", '{"type": "join_group", "data": 7}'])
async def test_other_commands_are_sent_once(scene, line):
    scene.typed(line)
    assert await scene.comes_back() == []


async def test_who_is_told_to_wait_tries_again(scene):
    scene.typed("/join g")
    scene.answers = [error(429, retry_after_ms=1), error(503, retry_after_ms=1)]
    assert len(await scene.comes_back()) == 3
    assert scene.notes.texts == ["joined again: group g"]


async def test_what_is_refused_is_said_and_forgotten(scene):
    scene.typed("/join g")
    scene.answers = [error(403)]
    await scene.comes_back()
    assert scene.notes.texts == ["not joined again: group g: 403 no"]
    assert await scene.comes_back() == []


async def test_what_could_not_be_joined_again_is_due_from_the_first_cursor(scene, monkeypatch):
    monkeypatch.setattr(joined, "_MOST_TRIES", 1)
    scene.typed("/join g")
    scene.answers = [error(503, retry_after_ms=1)]
    await scene.comes_back("first")
    assert scene.notes.texts == ["not joined again: group g: 503 no"]
    assert await scene.comes_back("second") == [("join_group", {"group_id": "g", "since": "first"})]
    assert await scene.comes_back("third") == [("join_group", {"group_id": "g", "since": "third"})]


async def test_a_join_that_is_not_answered_is_given_up(scene, monkeypatch):
    monkeypatch.setattr(joined, "REPLY_TIMEOUT_S", 0.01)
    scene.typed("/join g")
    scene.joined.lost("c")

    async def lost(_text):
        return None

    await scene.joined.join_again(lost)
    assert scene.notes.texts == ["not joined again: group g: no answer"]
    assert scene.joined.since == "c"


def test_a_push_is_no_answer(scene):
    frame = Frame("join_group", "m", {"group_id": "g"})
    scene.joined.asked(frame)
    assert not scene.joined.answered({"type": "ack", "message_id": "m", "id": "1-0.0.x"})
    scene.joined.lost("c")
    assert scene.joined.since is None
