"""What every section of the settings is: frozen, and without a word that it does not know."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A section, or an item of a list in one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
