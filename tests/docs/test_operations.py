"""docs/operations.md: its tables against what a gateway exports."""

from __future__ import annotations

from dataclasses import fields

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gateway.exposition import COUNTED
from gateway.metrics import Metrics
from gateway.outcomes import REASONS
from gateway.settings import Settings
from publisher import Publisher
from tests.docs.markdown import blocks, table_rows
from tests.support.clients import connected, settled
from tests.support.gateway import running_gateway

PAGE = "docs/operations.md"


def shown():
    """Return metric → (type, labels) as the tables have them."""
    return {
        row[0]: (row[1], set(filter(None, row[2].split(", "))))
        for row in table_rows(PAGE)
        if row[0].startswith(("tidegate_", "process_"))
    }


@pytest.fixture
async def exported(redis_url):
    """Metric → (type, labels) of a gateway that has seen a bit of everything that has labels."""
    async with (
        running_gateway(redis_url, http__metrics="open") as gateway,
        httpx.AsyncClient(trust_env=False) as client,
        Publisher(redis_url) as tide,
    ):
        async with connected(gateway, "42") as user:
            await tide.publish("e", 1, to="user:42")
            await settled(tide, user)
            await user.send("ping")
        metrics = gateway.services.metrics
        labelled = (metrics.auth_failures, metrics.resyncs, metrics.redis_errors, metrics.accepted)
        for counter in (*labelled, metrics.handshakes_refused, metrics.aborted, metrics.rate_limited):
            counter["x"] += 1
        metrics.closed[1000] += 1
        gateway.services.log.outcomes.dropped["low"] += 1
        await client.get(f"{gateway.http_url}/metrics")
        text = (await client.get(f"{gateway.http_url}/metrics")).text
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                found[sample.name] = (family.type, set(sample.labels))
    return found


async def test_every_metric_is_in_a_table_with_its_type_and_labels(exported):
    assert exported == shown()


def test_every_field_of_the_counters_is_exported():
    assert {field.name for field in fields(Metrics)} == set(COUNTED)


def test_every_reason_and_every_way_to_serve_metrics_is_listed():
    listed = {row[0] for row in table_rows(PAGE)}
    assert set(REASONS) <= listed
    assert {"off", "credential", "open"} <= listed
    assert Settings.model_fields["http"].annotation.model_fields["metrics"].default == "credential"


async def test_the_statistics_have_the_names_that_are_listed(redis_url):
    async with running_gateway(redis_url) as gateway, httpx.AsyncClient(trust_env=False) as client:
        headers = {"Authorization": f"Bearer {gateway.token('svc', scope='push')}"}
        stats = (await client.get(f"{gateway.http_url}/stats", headers=headers)).json()
    for statistics in (stats["instance"]["statistics"], stats["cluster"]["statistics"]):
        assert set(statistics) <= {row[0] for row in table_rows(PAGE)}


def test_the_configuration_for_prometheus_is_yaml():
    block, *_ = blocks(PAGE, "yaml")
    assert yaml.safe_load(block.text)["scrape_configs"]


def test_the_settings_are_settings():
    _, *settings = blocks(PAGE, "yaml")
    assert settings
    for block in settings:
        Settings(**yaml.safe_load(block.text))
