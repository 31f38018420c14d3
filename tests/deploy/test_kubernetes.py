"""deploy/kubernetes/ is valid and agrees with the other shipped files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from app.server.serving import LONGEST_NOTICE_SECONDS
from app.settings import Settings, load_settings
from tests.deploy.shipped_files import (
    ROOT,
    compose,
    default,
    instructions,
    longest_grace,
    shortest_grace,
    size,
)

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = ROOT / "deploy" / "kubernetes"
SCHEMA = json.loads((ROOT / "tests/data/kubernetes/1.30.json").read_text())
VALIDATOR = jsonschema.validators.validator_for(SCHEMA)(SCHEMA)

# The keys that the secret must have, beside the keys of providers.
SECRETS = {"ADMIN_API_KEY", "REDIS_URL"}


def _documents() -> list[dict[str, Any]]:
    return [
        document
        for file in sorted(FOLDER.glob("*.yaml"))
        for document in yaml.safe_load_all(file.read_text())
    ]


def _one(kind: str, name: str = "paintonce") -> dict[str, Any]:
    (found,) = [
        document
        for document in _documents()
        if (document["kind"], document["metadata"]["name"]) == (kind, name)
    ]
    return found


def _pod() -> dict[str, Any]:
    pod: dict[str, Any] = _one("Deployment")["spec"]["template"]["spec"]
    return pod


def _container() -> dict[str, Any]:
    (container,) = _pod()["containers"]
    return dict(container)


@pytest.mark.parametrize(
    "document", _documents(), ids=lambda one: f"{one['kind']}-{one['metadata']['name']}"
)
def test_kubernetes_takes_every_document(document: dict[str, Any]) -> None:
    """Every document is valid by the schema of its kind, without unknown fields."""
    VALIDATOR.validate(document)
    (document.get("spec") or document)["replicsa"] = 2
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(document)


def test_two_replicas_survive_upgrades_and_empty_nodes() -> None:
    """An upgrade or a drained node leaves at least one of two replicas."""
    deployment = _one("Deployment")["spec"]
    budget = _one("PodDisruptionBudget")["spec"]

    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert budget["minAvailable"] == 1


def test_service_budget_and_deployment_mean_the_same_replicas() -> None:
    """All selectors match the labels of the replicas' template."""
    deployment = _one("Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    spread = _pod()["topologySpreadConstraints"]

    assert deployment["selector"]["matchLabels"] == labels
    assert _one("Service")["spec"]["selector"] == labels
    assert _one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert [one["labelSelector"]["matchLabels"] for one in spread] == [labels]


def test_a_replica_has_no_more_rights_than_in_compose() -> None:
    """A pod has the image's user, no capabilities, a read-only root and no token."""
    pod, container = _pod(), _container()
    user, group = dict(instructions())["USER"].split(":")
    confined = container["securityContext"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == int(user)
    assert pod["securityContext"]["runAsGroup"] == int(group)
    assert confined["readOnlyRootFilesystem"] is True
    assert confined["allowPrivilegeEscalation"] is False
    assert confined["capabilities"] == {"drop": ["ALL"]}
    assert pod["automountServiceAccountToken"] is False


def test_a_replica_has_the_memory_of_compose() -> None:
    """The memory limit is the same in Kubernetes and in compose.yaml."""
    limit = _container()["resources"]["limits"]["memory"].removesuffix("i")

    assert size(limit) == size(compose()["services"]["paintonce-1"]["mem_limit"])


def test_a_pod_outlives_its_own_grace() -> None:
    """Kubernetes kills a replica at least a second after its grace has passed."""
    assert _one("ConfigMap")["data"]["SHUTDOWN_GRACE_SECONDS"] == "auto"

    assert _pod()["terminationGracePeriodSeconds"] > longest_grace() + 1


def test_a_drain_is_noticed_before_the_listener_closes() -> None:
    """A draining replica is out of the service before its listener closes."""
    listens = min(LONGEST_NOTICE_SECONDS, shortest_grace() / 4)
    probe = _container()["readinessProbe"]

    assert probe["httpGet"]["path"] == "/readyz"
    assert probe["periodSeconds"] * probe["failureThreshold"] <= listens


def test_only_what_is_dead_is_started_again() -> None:
    """Liveness uses /healthz, so an outage of Redis restarts no replica."""
    container = _container()

    for probe in ("livenessProbe", "startupProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "http"}


def test_the_ports_lead_to_the_service() -> None:
    """The service's port is the container's port, which is the default."""
    (port,) = _container()["ports"]
    (outside,) = _one("Service")["spec"]["ports"]

    assert port == {"name": "http", "containerPort": default("port")}
    assert outside["targetPort"] == port["name"]


def test_the_configuration_is_valid(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The service accepts the config maps together with its secrets."""
    data = _one("ConfigMap")["data"]
    known = {name.upper() for name in Settings.model_fields} | {"AWS_DEFAULT_REGION"}
    for name in known:
        monkeypatch.delenv(name, raising=False)
    for name, value in data.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ADMIN_API_KEY", "a-lighthouse-in-a-storm-0123456789")
    monkeypatch.setenv("REDIS_URL", "redis://:storm@redis:6379/0")

    settings = load_settings()

    assert settings.auth == "required"
    assert set(data) - known <= {"TRUSTED_PROXIES"}
    assert not set(data) & SECRETS


def test_the_environment_comes_from_one_map_and_one_secret() -> None:
    """The environment comes from one config map and one secret; no file has secrets."""
    container, pod = _container(), _pod()
    sources = [
        (kind, one["name"])
        for each in container["envFrom"]
        for kind, one in each.items()
    ]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    maps = {
        volume["name"]: volume["configMap"]["name"]
        for volume in pod["volumes"]
        if "configMap" in volume
    }
    (file,) = _one("ConfigMap", maps["models"])["data"]
    own = {variable["name"]: variable["value"] for variable in container["env"]}

    assert sources == [("configMapRef", "paintonce"), ("secretRef", "paintonce")]
    assert own == {"PROVIDERS_FILE": f"{mounts['models']}/{file}"}
    assert not [one for one in _documents() if one["kind"] == "Secret"]


def test_the_image_is_of_this_version() -> None:
    """The image has the version of this project as its tag."""
    text = (ROOT / "pyproject.toml").read_text()
    (version,) = [
        line.split('"')[1]
        for line in text.splitlines()
        if line.startswith("version = ")
    ]

    assert _container()["image"].endswith(f"/paintonce:{version}")
