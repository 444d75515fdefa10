"""`/health`, `/ready` and `/stats`: for those who operate it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Response

from gateway.http.answers import AUTH_PROBLEMS, Cluster, Health, Ready, Stats, problems
from gateway.http.callers import Pushing
from gateway.http.context import InContext
from gateway.http.presence_routes import asked
from gateway.http.problems import later
from gateway.statistics import summed, unpacked
from publisher.failure import REDIS_ERRORS

HEALTH_PATH: Final = "/health"

_COUNTS: Final = ("pid", "started_at", "connections", "events", "deliveries", "memory_entries")

router = APIRouter(tags=["operation"])


@router.get(HEALTH_PATH, summary="Does it answer?")
async def health() -> Health:
    """Answer, without a credential, as long as the process works at all."""
    return Health(status="ok")


@router.get(
    "/ready",
    summary="Can it do its work?",
    responses={**AUTH_PROBLEMS, 503: {"model": Ready, "description": "It cannot; `reasons` says why."}},
)
async def ready(_caller: Pushing, context: InContext, response: Response) -> Ready:
    """Answer 503, with the reasons, where this process cannot do its work at the moment."""
    reasons = context.unready()
    response.status_code = 503 if reasons else 200
    return Ready(ready=not reasons, reasons=reasons)


@router.get("/stats", summary="Counts", responses={**AUTH_PROBLEMS, **problems(503)})
async def stats(_caller: Pushing, context: InContext) -> Stats:
    """Return the counts of this process, and what the live instances of the cluster say of themselves."""
    try:
        leases = await context.live_instances()
        lags = await context.instance_lags()
    except REDIS_ERRORS:
        raise later("Redis does not answer", 1) from None
    online = await asked(context, context.online.count()) if context.online is not None else None
    instances = [_instance(name, leases[name]) for name in sorted(leases)]
    connections = sum(instance.get("connections", 0) for instance in instances)
    for instance in instances:
        instance["lag"] = lags.get(instance["id"])
    mine = dict(context.facts())
    stated = [each["statistics"] for each in instances if "statistics" in each and each["id"] != mine.get("id")]
    total = dict(summed([mine["statistics"], *stated]))  # its own are of now, and an API alone has no lease
    cluster = Cluster(connections=connections, instances=instances, statistics=total)
    return Stats(online_users=online, instance=mine, cluster=cluster)


def _instance(name: str, facts: Mapping[str, str]) -> dict[str, Any]:
    """Return what a lease says; its token is the instance's own."""
    stated: dict[str, Any] = {key: value for key, value in facts.items() if key != "token"}
    statistics = unpacked(stated.pop("statistics", None))
    if statistics is not None:
        stated["statistics"] = statistics
    return {"id": name, **stated, **{key: int(facts[key]) for key in _COUNTS if facts.get(key, "").isdigit()}}
