"""All targets."""

from __future__ import annotations

from tests.fuzz.engine import Target
from tests.fuzz.http_target import Requests
from tests.fuzz.log_targets import Cursors, Entries, Json, Tokens
from tests.fuzz.sandbox import Sandbox
from tests.fuzz.settings_target import Configuration
from tests.fuzz.socket_targets import Commands, Frames, Handshake


def all_targets(place: Sandbox) -> list[Target]:
    """Return every target, ready to be fed."""
    return [
        Cursors(),
        Json(),
        Tokens(place),
        Entries(place),
        Handshake(place),
        Frames(place),
        Commands(place),
        Requests(place),
        Configuration(),
    ]
