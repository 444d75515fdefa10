"""The address rules, for those who operate the cluster: they hold for every instance, and for all tenants."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr

from gateway.http.answers import AUTH_PROBLEMS, PUSH_PROBLEMS, Accepted, problems
from gateway.http.callers import Operating
from gateway.http.context import InContext
from gateway.http.json_route import JsonRoute
from gateway.http.problems import later
from gateway.http.push import refusal
from publisher import PublishError
from publisher.access import AccessAction, canonical_network
from publisher.failure import REDIS_ERRORS

router = APIRouter(prefix="/api/v1", tags=["operation"], route_class=JsonRoute)

_LONGEST_S: Final = 10 * 365 * 24 * 3600
_WEEK_S: Final = 7 * 24 * 3600.0

Network = Annotated[StrictStr, AfterValidator(canonical_network)]


class Change(BaseModel):
    """A rule to give, or to take back."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={"examples": [{"action": "block", "network": "203.0.113.0/24", "lasts_s": 3600}]},
    )
    action: AccessAction = Field(description="`clear` takes back what was said of this very network at run time.")
    network: Network = Field(description="A network (CIDR), or a single address.")
    lasts_s: float = Field(_WEEK_S, gt=0, le=_LONGEST_S, description="The rule is forgotten after so many seconds.")


class RuleShown(BaseModel):
    """One rule."""

    network: str
    action: Literal["block", "allow"]
    until: int = Field(description="When it ends, ms since 1970.")


class RulesShown(BaseModel):
    """The rules given at run time; those of the settings are not among them."""

    rules: list[RuleShown]


_CHANGED: Final[dict[str, Any]] = {
    "status_code": 202,
    "response_model_exclude_none": True,
    "responses": PUSH_PROBLEMS,
}


@router.post("/access", summary="Block or allow a network", **_CHANGED)
async def change_access(_caller: Operating, context: InContext, body: Change) -> Accepted:
    """Change a rule on every instance. Connections from a network that is blocked now are closed with 4403."""
    try:
        return Accepted(id=await context.publisher.access(body.action, body.network, lasts_s=body.lasts_s))
    except PublishError as error:  # what is sent has been checked
        raise refusal(error, None) from None


@router.get("/access", summary="The address rules", responses={**AUTH_PROBLEMS, **problems(503)})
async def list_access(_caller: Operating, context: InContext) -> RulesShown:
    """Return the rules that were given at run time and have not ended."""
    try:
        rules = await context.address_rules()
    except REDIS_ERRORS:
        raise later("Redis does not answer", 1) from None
    now_ms = int(time.time() * 1000)
    shown = [
        RuleShown(network=rule.network, action="block" if rule.blocks else "allow", until=rule.until_ms)
        for rule in rules
        if rule.until_ms > now_ms
    ]
    return RulesShown(rules=shown)
