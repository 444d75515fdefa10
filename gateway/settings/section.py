"""What every section of the settings is: frozen, and without a word that it does not know."""

from __future__ import annotations

from typing import Annotated, Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A section, or an item of a list in one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `true`, and YAML's `on` and `yes`, where a number should stand: Python takes it for 1."""
        if isinstance(value, bool) and _is_number(cls.model_fields[info.field_name or ""].annotation):
            raise ValueError("is a number, not true or false")
        return value


def _is_number(kind: Any) -> bool:
    kinds = {kind, *get_args(kind)}
    return bool(kinds & {int, float}) and bool not in kinds


class TlsSection(Section):
    """A section with a port that can speak TLS."""

    tls_certificate: str | None = Field(
        None, min_length=1, description="PEM file of the certificate and its chain: the port then speaks TLS only."
    )
    tls_key: str | None = Field(None, min_length=1, description="PEM file of its key, without a passphrase.")

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key: set both or neither")
        return self
