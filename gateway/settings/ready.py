"""When an instance is ready: the section `ready`."""

from __future__ import annotations

from pydantic import Field

from gateway.settings.section import Seconds, Section


class Ready(Section):
    """What `/ready` demands."""

    max_lag_s: Seconds = Field(10.0, description="How far the reading may be behind the log, in seconds.")
    canary_interval_s: float = Field(
        5.0, ge=0, description="How often an entry is sent through the log to see it come back, in seconds. 0: never."
    )
    canary_timeout_s: Seconds = Field(10.0, description="How long that may take, in seconds.")
