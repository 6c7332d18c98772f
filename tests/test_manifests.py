"""The check of the manifests: it passes them as they are, and tells each way of breaking them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import check_manifests

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "k8s" / "base"

Documents = list[dict[str, Any]]


@pytest.fixture
def documents() -> Documents:
    """What kustomize makes of k8s/base, as far as the gateway is concerned."""
    name = {"name": "job-result-gateway"}
    return [
        yaml.safe_load((BASE / "deployment.yaml").read_text()),
        {
            "kind": "ConfigMap",
            "metadata": name,
            "data": {"gateway.yaml": (BASE / "gateway.yaml").read_text()},
        },
    ]


def pod(documents: Documents) -> Any:
    return documents[0]["spec"]["template"]["spec"]


def container(documents: Documents) -> Any:
    return pod(documents)["containers"][0]


def environment(documents: Documents, name: str, value: str) -> None:
    container(documents)["env"].append({"name": name, "value": value})


def configuration(documents: Documents, text: str) -> None:
    documents[1]["data"]["gateway.yaml"] += text


def test_the_manifests_make_a_gateway_that_starts(documents: Documents) -> None:
    assert list(check_manifests.faults(documents)) == []


BREAKS: dict[str, Callable[[Documents], Any]] = {
    "GATEWAY_KAFKA__GROUP": lambda d: environment(d, "GATEWAY_KAFKA__GROUP", "x"),
    "inputs": lambda d: configuration(d, "\ninputs: {}\n"),
    "GATEWAY_ADMIN__HOST": lambda d: environment(d, "GATEWAY_ADMIN__HOST", "127.0.0.1"),
    "ports": lambda d: environment(d, "GATEWAY_ADMIN__PORT", "8081"),
    "readinessProbe": lambda d: container(d)["readinessProbe"]["httpGet"].update(path="/ready"),
    "livenessProbe": lambda d: container(d)["livenessProbe"]["httpGet"].update(port=8081),
    "startupProbe": lambda d: container(d).pop("startupProbe"),
    "terminationGracePeriodSeconds": lambda d: environment(
        d, "GATEWAY_SHUTDOWN__DRAIN_SECONDS", "40"
    ),
    "runAsUser": lambda d: pod(d)["securityContext"].update(runAsUser=1000),
    "gateway.yaml": lambda d: documents_without_configuration(d),
}


def documents_without_configuration(documents: Documents) -> None:
    del documents[1]["data"]["gateway.yaml"]


@pytest.mark.parametrize("named", BREAKS)
def test_a_broken_manifest_is_told(documents: Documents, named: str) -> None:
    BREAKS[named](documents)
    [fault] = check_manifests.faults(documents)
    assert named in fault
