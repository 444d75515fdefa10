"""`/api/v1/receipts`: what became of the events whose publisher wanted to know."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from gateway.http.answers import AUTH_PROBLEMS, problems
from gateway.http.callers import Pushing
from gateway.http.context import InContext
from gateway.http.problems import Problem, later
from publisher import Cursor, PublishError, PublishUnavailable

router = APIRouter(prefix="/api/v1/receipts", tags=["receipts"])

_ID = "1795000000000-0.0.kq3v9x"
_ADDRESS: dict[str, Any] = {"delivered": 2, "acked": 1, "no_socket": False, "dropped": {}, "expired": 0}


class TargetAnswer(BaseModel):
    """What became of an event for one of its addresses."""

    delivered: int = Field(description="How often it was written to a socket.")
    acked: int = Field(description="How many clients have acknowledged it.")
    no_socket: bool = Field(description="Every live instance has reported, and there was no socket for it.")
    dropped: dict[str, int] = Field(
        description="How many sockets went without it, by reason: `low`, `collapsed`, `fell_out`, `resync`."
    )
    expired: int = Field(description="How many sockets it was too late for.")


class ReceiptAnswer(BaseModel):
    """What became of an event, as far as is known."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": _ID, "complete": True, "targets": {"user:42": _ADDRESS}}]}
    )
    id: str = Field(description="The event's.")
    complete: bool = Field(description="Every live instance has reported. Numbers can still grow.")
    targets: dict[str, TargetAnswer] = Field(description="Each of its addresses.")


@router.get(
    "/{id}",
    summary="What became of an event",
    responses={**AUTH_PROBLEMS, 404: {"description": "There is no receipt under this id."}, **problems(503)},
)
async def get_receipt(
    event_id: Annotated[str, Path(alias="id", max_length=200, description="The event's id.", examples=[_ID])],
    caller: Pushing,
    context: InContext,
) -> ReceiptAnswer:
    """Return the receipt of an event that was pushed with `receipt: true`, for as long as the log is kept."""
    unknown = Problem(404, "there is no receipt under this id: none was asked for, or the event is too old")
    try:
        Cursor.parse(event_id)
        receipt = await context.publisher.receipt(event_id)
    except PublishUnavailable:
        raise later("Redis does not answer", 1) from None
    except (ValueError, PublishError):
        raise unknown from None
    if receipt is None or receipt.tenant != caller.tenant:
        raise unknown
    targets = {
        address: TargetAnswer(
            delivered=target.delivered,
            acked=target.acked,
            no_socket=target.no_socket,
            dropped=dict(target.dropped),
            expired=target.expired,
        )
        for address, target in receipt.targets.items()
    }
    return ReceiptAnswer(id=receipt.id, complete=receipt.complete, targets=targets)
