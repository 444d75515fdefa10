"""
The settings: every option with its default, its unit and one sentence, a module for each family of sections.

Defaults < YAML file (`-c`) < environment (`GATEWAY_SECTION__NAME`). Frozen, checked at start; what is unknown or
weak is refused with the setting's name. Only `app` and the command line read settings: every other object takes
plain values.
"""

from gateway.settings.auth import Auth
from gateway.settings.clients import Rule
from gateway.settings.listeners import ApiKey, Http, Listen
from gateway.settings.loading import load
from gateway.settings.root import ENV_PREFIX, Settings

__all__ = ["ENV_PREFIX", "ApiKey", "Auth", "Http", "Listen", "Rule", "Settings", "load"]
