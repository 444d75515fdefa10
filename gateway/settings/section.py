"""What every section of the settings is: frozen, and without a word that it does not know."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A section, or an item of a list in one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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
