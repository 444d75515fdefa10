"""Each target for a moment, always with the same seed. `make fuzz` goes on for longer."""

from __future__ import annotations

import pytest

from gateway.http import json_body
from tests.fuzz.engine import CORPUS, Target, run
from tests.fuzz.sandbox import sandbox
from tests.fuzz.targets import all_targets

INPUTS = {
    "cursors": 3_000,
    "json": 2_000,
    "tokens": 1_500,
    "entries": 2_000,
    "handshake": 500,
    "frames": 500,
    "commands": 400,
    "http": 400,
    "settings": 60,
}


@pytest.mark.parametrize("name", INPUTS)
async def test_whatever_comes_is_read_or_refused_in_good_order(redis_url: str, name: str) -> None:
    async with sandbox(redis_url) as place:
        (target,) = [target for target in all_targets(place) if target.name == name]
        report = await run(target, INPUTS[name], seed=1)

    assert [(finding.data, finding.problem) for finding in report.findings] == []
    assert report.inputs == INPUTS[name]
    assert report.lines > 0


async def test_every_target_is_fed_and_the_corpus_is_theirs(redis_url: str) -> None:
    async with sandbox(redis_url) as place:
        targets = all_targets(place)

    assert {target.name for target in targets} == set(INPUTS)
    assert {folder.name for folder in CORPUS.iterdir()} <= set(INPUTS)


class _Picky(Target):
    """Fails at bodies that have a member, which takes lucky changes in the right place."""

    name = "picky"
    share = 1
    tokens = (b'"data":1', b"x")

    def seeds(self) -> list[bytes]:
        return [b"{}"]

    async def feed(self, data: bytes) -> None:
        try:
            body = json_body.parse(data, verbatim={"data"})
        except ValueError:
            return
        assert not (isinstance(body, dict) and body), "found"


async def test_the_engine_finds_what_is_there_to_be_found() -> None:
    report = await run(_Picky(), 50_000, seed=1)

    assert report.findings
    assert "found" in report.findings[0].problem
    assert report.corpus > 1
