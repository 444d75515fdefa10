"""The blocking publisher in threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from publisher.sync import Publisher
from tests.integration.publisher.conftest import PATIENCE_S


def test_threads_share_one_publisher(url, entries):
    with Publisher(url, timeout_s=PATIENCE_S) as tide, ThreadPoolExecutor(16) as threads:
        ids = list(threads.map(lambda n: tide.publish("e", n, to="all"), range(400)))
    stored = {fields["d"]: entry_id for entry_id, fields in entries()}
    assert [event_id.split(".")[0] for event_id in ids] == [stored[str(n)] for n in range(400)]
