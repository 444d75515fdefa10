"""`gateway asyncapi` and `gateway openapi`: the documents for programs, made from the code."""

from __future__ import annotations

from typing import Any, Final, cast

import orjson
import yaml
from fastapi import FastAPI

from gateway.asyncapi import asyncapi
from gateway.http.api import describe, make_api
from gateway.http.context import Context
from gateway.http.metrics_routes import behind_gate
from gateway.version import VERSION

_HEAD: Final = "# Made by `make documents` from the descriptions in the code. Do not edit.\n"


def asyncapi_text() -> str:
    """Return the AsyncAPI document of the WebSocket protocol, as YAML."""
    return _HEAD + yaml.dump(asyncapi(VERSION), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def openapi_text() -> str:
    """Return the OpenAPI document of the HTTP API, as JSON."""
    context = cast(Context, None)  # for the routes when they are called, which they are not
    api = make_api(context, docs=False, client=False, version=VERSION, metrics=behind_gate)
    return orjson.dumps(describe(cast(FastAPI, api)), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


class _Dumper(yaml.SafeDumper):
    """Writes everything out: an alias would make a reader look for its anchor."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the name is PyYAML's
        return True
