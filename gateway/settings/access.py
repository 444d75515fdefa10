"""From where one may connect: the section `access`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from gateway.settings.section import Section
from publisher.access import canonical_network


def _canonical(networks: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(canonical_network, networks)))


NetworkList = Annotated[tuple[str, ...], AfterValidator(_canonical)]


class Access(Section):
    """Which networks may connect; the most specific one decides, and who is in none may."""

    block: NetworkList = Field((), description="Networks (CIDR) and addresses that may not connect.")
    allow: NetworkList = Field((), description="Networks and addresses that may, although a wider one is blocked.")

    @model_validator(mode="after")
    def _decided(self) -> Access:
        both = set(self.block) & set(self.allow)
        if both:
            raise ValueError(f"{min(both)} is in both lists")
        return self
