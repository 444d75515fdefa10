"""deploy/prometheus and deploy/grafana: what they read is what a gateway exports."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gateway.exposition import COUNTED
from tests.docs.markdown import ROOT
from tests.support.gateway import running_gateway
from tests.support.promql import used

needs_promql = pytest.mark.skipif(find_spec("promql_parser") is None, reason="needs promql-parser")

ALERTS = {
    *("TidegateDown", "TidegateNotReady", "TidegateLagHigh", "TidegateResyncs", "TidegateRedisErrors"),
    *("TidegateSlowSockets", "TidegateAuthFailures", "TidegateConnectionsNearLimit", "TidegateFileDescriptors"),
    *("TidegatePoison", "TidegateIdsAheadOfClock", "TidegateInboxBacklog"),
}
OF_PROMETHEUS = {"up", "ALERTS"}
LABELS_OF_PROMETHEUS = {"job", "instance", "alertname", "alertstate"}

RULES = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((ROOT / "deploy/grafana/tidegate.json").read_text())
GRAPHS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries():
    """Return every PromQL expression, with where it stands."""
    found = [(rule["alert"], rule["expr"]) for rule in RULES]
    found += [(panel["title"], target["expr"]) for panel in GRAPHS for target in panel["targets"]]
    found += [(one["name"], one["expr"]) for one in DASHBOARD["annotations"]["list"]]
    return [(where, expression.replace("$__rate_interval", "1m")) for where, expression in found]


@pytest.fixture
async def exported(redis_url):
    """Metric → its labels, of a real gateway."""
    async with (
        running_gateway(redis_url, http__metrics="open") as gateway,
        httpx.AsyncClient(trust_env=False, timeout=30) as http,
    ):
        text = (await http.get(f"{gateway.http_url}/metrics")).text
    counted = {f"tidegate_{name}_total": {label} for name, label, _ in COUNTED.values() if label is not None}
    found = {}
    for family in text_string_to_metric_families(text):
        names = {sample.name for sample in family.samples} or {family.name}
        if family.type == "counter":
            names = {f"{family.name}_total"}
        for name in names:
            labels = {label for sample in family.samples if sample.name == name for label in sample.labels}
            found[name] = labels | counted.get(name, set())
    return found


@needs_promql
async def test_every_metric_that_is_read_is_exported(exported):
    wrong = [(where, names) for where, text in queries() if (names := used(text)[0] - set(exported) - OF_PROMETHEUS)]
    assert wrong == []


@needs_promql
async def test_every_label_that_is_named_is_a_label_of_the_metric(exported):
    unlabelled = {"tidegate_dropped_total": {"reason"}, "tidegate_deliveries_by_event_total": {"event"}}  # nothing yet
    wrong = []
    for where, expression in queries():
        metrics, labels = used(expression)
        known = set().union(*(exported.get(name, set()) | unlabelled.get(name, set()) for name in metrics))
        if labels - known - LABELS_OF_PROMETHEUS:
            wrong.append((where, labels - known))
    assert wrong == []


@needs_promql
def test_a_query_that_is_none_would_be_noticed():
    with pytest.raises(ValueError, match="parenthesis"):
        used("sum(rate(x[5m])")
    assert used('a{b="c"} / on (d) sum by (e) (rate(f[1m]))') == ({"a", "f"}, {"b", "e"})


def test_the_alerts_are_those_of_the_runbook():
    assert {rule["alert"] for rule in RULES} == ALERTS
    assert len(RULES) == len(ALERTS)


@needs_promql
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_says_how_bad_it_is_and_for_whom(rule):
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description"}
    said = " ".join(rule["annotations"].values())
    named = set(re.findall(r"\$labels\.(\w+)", said))
    assert named <= used(rule["expr"])[1] | LABELS_OF_PROMETHEUS
    if rule["alert"] != "TidegateInboxBacklog":  # which is the cluster's
        assert "$labels.instance" in said
    assert re.fullmatch(r"\d+[sm]", rule.get("for", "0s"))


def test_panels_have_places_of_their_own():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@needs_promql
def test_every_graph_reads_from_the_chosen_data_source_and_gateways():
    for panel in GRAPHS:
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            assert 'instance=~"$instance"' in target["expr"]
            assert target["datasource"] == panel["datasource"]
            labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert labels <= used(target["expr"].replace("$__rate_interval", "1m"))[1]
    assert {one["name"] for one in DASHBOARD["templating"]["list"]} == {"datasource", "instance"}


def test_prometheus_reads_the_rules_that_are_shipped_from_the_job_that_they_name():
    configuration = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (job,) = configuration["scrape_configs"]
    assert job["job_name"] == "tidegate"
    assert [path.rpartition("/")[2] for path in configuration["rule_files"]] == ["alerts.yml"]
