"""
Orders, with FastAPI: one publisher for the life of the process, and the tokens with which customers connect.

    uvicorn fastapi_orders:app
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from pydantic import BaseModel, Field

from publisher import Publisher, PublishUnavailable, PublishUnknown, redis_url


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with Publisher(redis_url()) as tide:  # connects when it first has to; leaving sends what is queued
        app.state.tide = tide
        yield


app = FastAPI(lifespan=lifespan)


def publisher(request: Request) -> Publisher:
    return request.app.state.tide


def customer(x_user: Annotated[str, Header()]) -> str:
    return x_user  # in place of your own login


Tide = Annotated[Publisher, Depends(publisher)]
Customer = Annotated[str, Depends(customer)]


class Shipment(BaseModel):
    customer: str = Field(min_length=1, max_length=256)
    parcels: int = 1


@app.post("/orders/{order}/shipment")
async def ship(order: int, shipment: Shipment, tide: Tide) -> dict[str, str]:
    """Tell the customer, on all their devices, and the people in the warehouse's group."""
    try:
        event_id = await tide.publish(
            "order.shipped",
            {"order": order, "parcels": shipment.parcels},
            to=[f"user:{shipment.customer}", "group:warehouse"],
            key=f"order-{order}-shipped",  # a caller that tries again tells nobody twice
        )
    except (PublishUnavailable, PublishUnknown) as error:
        raise HTTPException(503, "try again", headers={"Retry-After": "1"}) from error
    return {"event_id": event_id}


@app.get("/realtime-token")
async def realtime_token(customer: Customer) -> dict[str, str]:
    """Return what a signed-in customer's page connects with. The gateway has the same `auth.secret`."""
    now = int(time.time())
    claims = {"sub": customer, "iat": now, "exp": now + 900}
    return {"token": jwt.encode(claims, os.environ["GATEWAY_AUTH__SECRET"], "HS256")}
