"""What an operator adds to the gateway: `handlers` and `templates`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, JsonValue, StringConstraints, model_validator

from gateway.settings.section import Section
from publisher import PublishError
from publisher.event import MAX_NAME_LENGTH
from publisher.templates import Templates as MessageTemplates

_PATH: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")


def _import_path(path: str) -> str:
    if _PATH.fullmatch(path) is None:
        raise ValueError("use `package.module:Class`")
    return path


def _distinct(paths: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(paths)) < len(paths):
        raise ValueError("a handler stands there twice")
    return paths


Handlers = Annotated[tuple[Annotated[str, AfterValidator(_import_path)], ...], AfterValidator(_distinct)]


class Template(Section):
    """A named message, of which publishers give the parameters only. Its texts, but for `event`, are in Jinja2."""

    event: str | None = Field(
        None, min_length=1, max_length=MAX_NAME_LENGTH, description="Name of the event, where its publisher gives none."
    )
    type: str | None = Field(None, description="Kind of a notification.")
    title: str | None = Field(None, description="Headline.")
    content: str | None = Field(None, description="Text.")
    level: str | None = Field(None, description="How serious it is.")
    priority: str | None = Field(None, description="Priority of a notification.")
    link: str | None = Field(None, description="Where it leads.")
    icon: str | None = Field(None, description="What to show beside it.")
    data: JsonValue = Field(None, description="An event's data. Without it: the other fields that are set.")
    autoescape: bool = Field(False, description="Write parameters as HTML text, so that they are not markup.")

    @model_validator(mode="after")
    def _compiles(self) -> Template:
        if self.event is not None and not self.event.isprintable():
            raise ValueError("event: use printable characters")
        try:
            MessageTemplates({"": self.plain()}).check("")
        except PublishError as error:
            raise ValueError(str(error).partition(", ")[2]) from None
        return self

    def plain(self) -> dict[str, Any]:
        """Return the fields that are set, as `publisher.templates` takes them."""
        return self.model_dump(exclude_unset=True)


TemplateName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Templates = dict[TemplateName, Template]
