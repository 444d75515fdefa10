"""deploy/kubernetes: the manifests against the schemas of Kubernetes, against each other, and against the settings."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.util import find_spec

import pytest
import yaml

from gateway.settings import Settings, load
from tests.docs.markdown import ROOT

needs_schemas = pytest.mark.skipif(find_spec("kubernetes_validate") is None, reason="needs kubernetes-validate")

FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
FILES = KUSTOMIZATION["resources"]
MANIFESTS = {name: yaml.safe_load((FOLDER / name).read_text()) for name in FILES}
BUILT_IN = [name for name, manifest in MANIFESTS.items() if "coreos" not in manifest["apiVersion"]]
DEPLOYMENT = MANIFESTS["deployment.yaml"]
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
PORTS = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}


@pytest.fixture
def settings(monkeypatch):
    """The gateway's, as it would find them in the pod."""
    secrets = {"GATEWAY_AUTH__SECRET": "x" * 48, "GATEWAY_REDIS__URL": "redis://:password@redis.redis.svc:6379/0"}
    for name, value in {**secrets, "GATEWAY_INSTANCE__ID": "tidegate-7d9c-abcde"}.items():
        monkeypatch.setenv(name, value)
    return load(FOLDER / "gateway.yaml")


@needs_schemas
@pytest.mark.parametrize("name", BUILT_IN)
def test_a_manifest_is_what_kubernetes_expects(name):
    import kubernetes_validate

    kubernetes_validate.validate(MANIFESTS[name], kubernetes_validate.latest_version(), strict=True)


@needs_schemas
def test_a_fault_would_be_found():
    import kubernetes_validate

    broken = json.loads(json.dumps(DEPLOYMENT))
    broken["spec"]["template"]["spec"]["terminationGracePeriod"] = 60
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def test_every_file_is_applied_and_is_one_object():
    assert sorted([*FILES, "kustomization.yaml", "gateway.yaml"]) == sorted(path.name for path in FOLDER.iterdir())
    assert {manifest["metadata"]["name"] for manifest in MANIFESTS.values()} == {"tidegate"}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not here")
def test_kustomize_builds_it():
    done = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, timeout=60, check=True)
    built = {one["kind"]: one for one in yaml.safe_load_all(done.stdout)}
    container = built["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "tidegate:0.1.0"
    assert {one["metadata"]["namespace"] for one in built.values()} == {"tidegate"}
    volume = built["Deployment"]["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"]
    assert volume == built["ConfigMap"]["metadata"]["name"] != "tidegate"  # so a change of it rolls the pods


def test_everything_selects_the_pods_by_their_label():
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    selectors = [
        DEPLOYMENT["spec"]["selector"]["matchLabels"],
        MANIFESTS["service.yaml"]["spec"]["selector"],
        MANIFESTS["disruption-budget.yaml"]["spec"]["selector"]["matchLabels"],
        MANIFESTS["network-policy.yaml"]["spec"]["podSelector"]["matchLabels"],
        MANIFESTS["pod-monitor.yaml"]["spec"]["selector"]["matchLabels"],
        POD["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ]
    assert selectors == [labels] * len(selectors)


def test_the_variables_and_the_file_are_settings(settings):
    assert settings.instance.id == "tidegate-7d9c-abcde"
    for one in CONTAINER["env"]:
        section, option = re.fullmatch(r"GATEWAY_(\w+?)__(\w+)", one["name"]).groups()
        assert option.lower() in Settings.model_fields[section.lower()].annotation.model_fields


def test_the_gateway_finds_its_file():
    (name,) = KUSTOMIZATION["configMapGenerator"][0]["files"]
    folder = next(one["mountPath"] for one in CONTAINER["volumeMounts"] if one["name"] == "configuration")
    assert CONTAINER["args"] == ["serve", "-c", f"{folder}/{name}"]


def test_the_ports_are_the_gateways(settings):
    assert (PORTS["sockets"], PORTS["http"]) == (settings.listen.port, settings.http.port)
    service = {port["name"]: (port["port"], port["targetPort"]) for port in MANIFESTS["service.yaml"]["spec"]["ports"]}
    assert service == {name: (port, name) for name, port in PORTS.items()}
    rules = MANIFESTS["network-policy.yaml"]["spec"]["ingress"]
    assert {port["port"] for rule in rules for port in rule["ports"]} == set(PORTS.values())


def test_the_grace_period_covers_prestop_and_drain(settings):
    pause = int(re.findall(r"sleep\((\d+)\)", CONTAINER["lifecycle"]["preStop"]["exec"]["command"][-1])[0])
    readiness = CONTAINER["readinessProbe"]
    assert pause >= 5
    assert POD["terminationGracePeriodSeconds"] >= pause + settings.shutdown.drain_s + 15
    assert readiness["periodSeconds"] * readiness["failureThreshold"] <= 15


def test_only_readiness_depends_on_redis():
    paths = {kind: CONTAINER[kind]["httpGet"]["path"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/health", "livenessProbe": "/health", "readinessProbe": "/ready"}
    assert {CONTAINER[kind]["httpGet"]["port"] for kind in paths} == {"sockets"}


def test_a_pod_has_no_rights_that_it_does_not_need():
    assert POD["securityContext"]["runAsNonRoot"] is True
    dockerfile = (ROOT / "deploy/compose/Dockerfile").read_text()
    assert f"USER {POD['securityContext']['runAsUser']}:{POD['securityContext']['runAsGroup']}" in dockerfile
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["automountServiceAccountToken"] is False
    assert POD["enableServiceLinks"] is False


def test_memory_is_enough_for_the_log_that_the_gateway_keeps(settings):
    limit = CONTAINER["resources"]["limits"]["memory"]
    assert limit == "1Gi"
    assert settings.log.memory_bytes <= 2**30 // 2


def test_the_autoscaler_follows_connections_and_lets_go_slowly():
    spec = MANIFESTS["autoscaler.yaml"]["spec"]
    assert spec["scaleTargetRef"]["name"] == DEPLOYMENT["metadata"]["name"]
    assert spec["metrics"][0]["pods"]["metric"]["name"] == "tidegate_connections"
    assert spec["minReplicas"] >= 2
    (policy,) = spec["behavior"]["scaleDown"]["policies"]
    assert policy["value"] == 1
    assert policy["periodSeconds"] > POD["terminationGracePeriodSeconds"]
    assert "replicas" not in DEPLOYMENT["spec"]


def test_what_is_public_is_what_nginx_lets_through():
    (rule,) = MANIFESTS["ingress.yaml"]["spec"]["rules"]
    backends = {path["path"]: path["backend"]["service"]["port"]["name"] for path in rule["http"]["paths"]}
    assert backends == {"/ws": "sockets", "/api/v1": "http", "/tidegate.js": "http", "/health": "http"}
    locations = (ROOT / "deploy/nginx/locations.conf").read_text()
    for path in backends:
        assert re.search(rf"^location (= )?{re.escape(path)}/? {{$", locations, re.MULTILINE)


def test_the_ingress_waits_for_longer_than_the_heartbeat_and_writes_no_tokens(settings):
    annotations = {
        name.rpartition("/")[2]: value for name, value in MANIFESTS["ingress.yaml"]["metadata"]["annotations"].items()
    }
    assert int(annotations["proxy-read-timeout"]) > settings.heartbeat.timeout_s
    assert int(annotations["proxy-send-timeout"]) > settings.heartbeat.timeout_s
    assert annotations["upstream-hash-by"] == "$remote_addr"
    assert annotations["enable-access-log"] == "false"


def test_the_secrets_of_the_comment_are_the_ones_that_the_pod_takes():
    text = (FOLDER / "kustomization.yaml").read_text()
    assert set(re.findall(r"from-literal=(\w+)=", text)) == {"GATEWAY_AUTH__SECRET", "GATEWAY_REDIS__URL"}
    assert CONTAINER["envFrom"] == [{"secretRef": {"name": "tidegate"}}]
