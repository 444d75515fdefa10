"""`/message/push/batch`: many events in one call, each with its own result."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import ValidationError

from gateway.http.answers import PUSH_PROBLEMS, BatchAccepted, BatchResult
from gateway.http.bodies import Batch, BatchEvent
from gateway.http.context import Context, InContext
from gateway.http.json_route import JsonRoute
from gateway.http.problems import Problem, invalid
from gateway.http.push import Push, ToPush, refusal
from publisher import Event, PublishError, PublishIncomplete

router = APIRouter(prefix="/message/push", tags=["push"], route_class=JsonRoute)


@router.post(
    "/batch",
    summary="Push many events",
    status_code=202,
    response_model_exclude_none=True,
    responses=PUSH_PROBLEMS,
)
async def push_batch(body: Batch, push: ToPush, context: InContext) -> BatchAccepted:
    """
    Push up to 1,000 events, in order. Each is stored or refused by itself, and has its result at its place.

    With an `Idempotency-Key`, each event without a `key` of its own has one that follows from that and its place.
    """
    push.caller.check_tenant(body.tenant)
    made = [_make(item, push, number) for number, item in enumerate(body.events)]
    outcomes = await _store([item for item in made if isinstance(item, Event)], context)
    rest = iter(outcomes)
    results = [_result(item if isinstance(item, Problem) else next(rest)) for item in made]
    _raise_if_down(outcomes, results)
    stored = sum(result.id is not None for result in results)
    for item, result in zip(made, results, strict=True):
        if isinstance(item, Event) and result.id is not None:
            context.metrics.count_accepted(item.name)
    return BatchAccepted(stored=stored, failed=len(results) - stored, results=results)


def _make(item: BatchEvent | ValidationError, push: Push, number: int) -> Event | Problem:
    if isinstance(item, ValidationError):
        return invalid(list(item.errors(include_url=False, include_input=False)))
    try:
        push.caller.check_tenant(item.tenant)
        key = item.key or push.key_of(number)
        event, data = push.said(item)
        return push.event(event, data, item.to, key=key, **item.options())
    except Problem as problem:
        return problem


async def _store(events: list[Event], context: Context) -> list[str | Problem]:
    """Store events; return an id or a problem for each."""
    try:
        return list(await context.publisher.publish_many(events)) if events else []
    except PublishIncomplete as error:
        outcomes = zip(events, error.results, strict=True)
        return [result if isinstance(result, str) else refusal(result, event.key) for event, result in outcomes]
    except PublishError as error:
        return [refusal(error, event.key) for event in events]


def _raise_if_down(outcomes: list[str | Problem], results: list[BatchResult]) -> None:
    """Let the batch fail where nothing of it is known to be stored: a caller may look at the status only."""
    failures = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
    if not failures or len(failures) < len(outcomes):
        return
    first = next((failure for failure in failures if failure.facts.get("stored") == "unknown"), failures[0])
    stated = [result.model_dump(exclude_none=True) for result in results]
    raise Problem(
        first.status_code, first.detail, headers=first.headers, stored=first.facts.get("stored"), results=stated
    )


def _result(outcome: str | Problem) -> BatchResult:
    return BatchResult(id=outcome) if isinstance(outcome, str) else BatchResult(problem=outcome.members())
