"""`/message/clients`: who is connected, on whichever instance. All of them are asked, and their answers merged."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query

from gateway.http.answers import AUTH_PROBLEMS, ClientPage, ClientStatistics, Messages, problems
from gateway.http.callers import Caller, Pushing
from gateway.http.context import Context, InContext
from gateway.http.fields import Name
from gateway.http.problems import Problem, later
from gateway.http.push import refusal
from gateway.questions import Answers
from publisher import PublishError
from publisher.event import CLIENT_STATISTICS, CLIENTS
from publisher.failure import REDIS_ERRORS

router = APIRouter(prefix="/message", tags=["clients"])

_MOST_LISTED: Final = 100_000
_TOP: Final = 1_000

Page = Annotated[int, Query(ge=1, description="Which page, from 1.")]
PageSize = Annotated[int, Query(ge=1, le=200, description="How many clients a page has.")]
UserId = Annotated[Name | None, Query(description="Only this user's.")]
Tag = Annotated[Name | None, Query(description="Only those that carry this tag.")]

_ANSWER: dict[str, Any] = {"responses": {**AUTH_PROBLEMS, **problems(422, 503)}}


@router.get("/clients", summary="Who is connected", **_ANSWER)
async def list_clients(
    caller: Pushing,
    context: InContext,
    page: Page = 1,
    page_size: PageSize = 50,
    user_id: UserId = None,
    tag: Tag = None,
) -> ClientPage:
    """List the tenant's connections on all instances, the longest connected first."""
    last = page * page_size
    if last > _MOST_LISTED:
        raise Problem(422, f"page: only the first {_MOST_LISTED} clients can be listed; name a user or a tag")
    named = {name: value for name, value in (("user_id", user_id), ("tag", tag)) if value is not None}
    firsts = await _ask(context, caller, CLIENTS, {"first": last, **named})
    merged = heapq.merge(*(facts["first"] for facts in firsts.given.values()))
    ids = [client_id for _, client_id in merged][last - page_size : last]
    silent = set(firsts.silent)
    clients: list[dict[str, Any]] = []
    if ids:
        described = await _ask(context, caller, CLIENTS, {"ids": ids}, of=firsts.given)
        clients = _in_order(ids, (row for facts in described.given.values() for row in facts["clients"]))
        silent.update(described.silent)
    return ClientPage(
        total=sum(facts["total"] for facts in firsts.given.values()),
        page=page,
        page_size=page_size,
        clients=clients,
        silent=sorted(silent),
    )


@router.get("/clients/stats", summary="How many are connected", **_ANSWER)
async def client_statistics(caller: Pushing, context: InContext) -> ClientStatistics:
    """Count the tenant's connections and commands on all instances, and name the largest groups and users."""
    answers = await _ask(context, caller, CLIENT_STATISTICS, {})
    given = answers.given.values()
    return ClientStatistics(
        active=sum(facts["active"] for facts in given),
        total=sum(facts["total"] for facts in given),
        messages=Messages(
            received=sum(facts["received"] for facts in given),
            delivered=sum(facts["delivered"] for facts in given),
        ),
        groups=_sums(facts["groups"] for facts in given),
        users=_sums(facts["users"] for facts in given),
        instances=sorted(answers.given),
        silent=list(answers.silent),
    )


async def _ask(
    context: Context, caller: Caller, question: str, data: Mapping[str, Any], of: Iterable[str] | None = None
) -> Answers:
    """
    Ask all instances, or wait for those in `of` only.

    Raises:
        Problem: 503.
    """
    try:
        return await context.ask(question, data, caller.tenant, of)
    except PublishError as error:
        raise refusal(error, None) from None
    except REDIS_ERRORS:
        raise later("Redis does not answer", 1) from None


def _in_order(ids: list[str], rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    by_id = {row["client_id"]: row for row in rows}
    return [by_id[client_id] for client_id in ids if client_id in by_id]  # some may have left meanwhile


def _sums(lists: Iterable[list[tuple[str, int]]]) -> dict[str, int]:
    """Add up what instances counted; keep the largest, in that order."""
    sums: Counter[str] = Counter()
    for counts in lists:
        for name, count in counts:
            sums[name] += count
    return dict(heapq.nsmallest(_TOP, sums.items(), key=lambda pair: (-pair[1], pair[0])))
