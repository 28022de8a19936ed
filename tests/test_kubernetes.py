"""The manifests of deploy/kubernetes fit the schemas of Kubernetes, each other, and the gateway."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import kubernetes_validate
import pytest
import yaml

from trunkline.emulator import Emulator

from .fleet.pods import MANIFESTS, documents, manifest, required
from .gateway.running import running

OLDEST, NEWEST = "1.30", kubernetes_validate.latest_version()
"""Kubernetes 1.30 knows `sleep` in preStop, unless it is turned off."""


def name_of(document: dict[str, Any]) -> str:
    return f"{document['kind']} {document['metadata']['name']}"


def container(name: str) -> dict[str, Any]:
    pod = manifest("Deployment", name)["spec"]["template"]["spec"]
    (found,) = pod["containers"]
    return dict(found)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("document", documents(), ids=name_of)
def test_a_manifest_is_valid(document: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


def test_a_mistake_is_found() -> None:
    wrong = manifest("Deployment")
    wrong["spec"]["template"]["spec"]["terminationGracePeriod"] = 140
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


def test_all_kinds_are_there_and_all_files_are_used() -> None:
    kustomization = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())
    generated = [file for each in kustomization["configMapGenerator"] for file in each["files"]]
    used = {*kustomization["resources"], *generated, "kustomization.yaml", "prometheus-adapter.yaml"}
    assert used == {path.name for path in MANIFESTS.iterdir()}
    kinds = {each["kind"] for each in documents()}
    assert kinds == {
        "Deployment",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
    }


def test_the_names_that_refer_to_each_other_exist() -> None:
    kustomization = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())
    maps = {each["name"] for each in kustomization["configMapGenerator"]}
    for name in ("trunkline", "trunkline-balancer"):
        spec = manifest("Deployment", name)["spec"]
        labels = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"] == labels
        assert {each["configMap"]["name"] for each in spec["template"]["spec"]["volumes"]} <= maps
        assert manifest("PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"] == labels
        ports = {each["name"] for each in container(name)["ports"]}
        for probe in ("readinessProbe", "livenessProbe"):
            assert container(name)[probe]["httpGet"]["port"] in ports
    assert manifest("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == "trunkline"
    headless, front = manifest("Service", "trunkline-replicas"), manifest("Service")
    assert headless["spec"]["clusterIP"] == "None"
    assert headless["spec"]["selector"] == {"app": "trunkline"}
    assert front["spec"]["selector"] == {"app": "trunkline-balancer"}
    names = {each["name"]: each.get("value") for each in container("trunkline-balancer")["env"]}
    assert names["REPLICAS"] == f"{headless['metadata']['name']}.$(NAMESPACE).svc.cluster.local"
    policy = manifest("NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"] == {"app": "trunkline"}


@pytest.mark.parametrize("name", ["trunkline", "trunkline-balancer"])
def test_a_pod_has_few_rights(name: str) -> None:
    pod = manifest("Deployment", name)["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] > 0  # the kubelet cannot judge the name of the image's user
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_balancer_has_places_for_all_replicas_and_lets_sockets_live_out_their_hour() -> None:
    text = (MANIFESTS / "haproxy.cfg").read_text()
    (template,) = [line.split() for line in text.splitlines() if line.strip().startswith("server-template")]
    surge = manifest("Deployment")["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    assert int(template[2]) >= manifest("HorizontalPodAutoscaler")["spec"]["maxReplicas"] + surge
    pod = manifest("Deployment", "trunkline-balancer")["spec"]["template"]["spec"]
    stop_s = int(text.partition("hard-stop-after ")[2].partition("s")[0])
    sleep_s = container("trunkline-balancer")["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= stop_s + sleep_s
    assert stop_s > 3600


def test_the_configuration_of_the_replicas_is_valid_and_has_the_ports_of_the_pod() -> None:
    environment = dict.fromkeys(required(container("trunkline")), "sk-test")
    command = [sys.executable, "-m", "trunkline", "serve", "--check"]
    done = subprocess.run(
        [*command, "--config", str(MANIFESTS / "trunkline.toml")],
        env={**environment, "PATH": "", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    text = (MANIFESTS / "trunkline.toml").read_text()
    for each in container("trunkline")["ports"]:
        assert f"port = {each['containerPort']}\n" in text


async def test_the_metric_of_the_autoscaler_is_exported(emulator: Emulator) -> None:
    (metric,) = manifest("HorizontalPodAutoscaler")["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    (rule,) = yaml.safe_load((MANIFESTS / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    assert rule["name"]["matches"] == name
    assert rule["seriesQuery"].startswith(f"{name}{{")
    async with running(emulator) as gateway:
        exported = gateway.gateway.measures.text().decode()
    assert f"\n{name} 0.0\n" in exported
