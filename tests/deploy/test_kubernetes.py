"""The manifests in deploy/kubernetes are valid, confined, and agree with the image and the settings."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from analytics_site.environment import SECRETS
from tests.servers import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
OBJECTS = [
    each for name in KUSTOMIZATION["resources"] for each in yaml.safe_load_all((FOLDER / name).read_text()) if each
]
SETTINGS = (ROOT / "docs" / "reference" / "settings.md").read_text()
KNOWN = set(re.findall(r"^\| `([A-Z_]+)` \|", SETTINGS, re.MULTILINE))
CONTAINERFILE = (ROOT / "deploy" / "Containerfile").read_text()
VERSIONS = ("1.29", "1.37")  # of Kubernetes: about three years

pytestmark = pytest.mark.quick


def named(kind: str, name: str) -> Any:
    [found] = [each for each in OBJECTS if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def of_kind(*kinds: str) -> list[Any]:
    return [each for each in OBJECTS if each["kind"] in kinds]


PODS = {each["metadata"]["name"]: each["spec"]["template"] for each in of_kind("Deployment", "Job")}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("each", OBJECTS, ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_it_matches_the_schema(each: Any, version: str) -> None:
    import kubernetes_validate  # builds parsers of formats for seconds, which every worker would do at collection

    kubernetes_validate.validate(each, version, strict=True)


def test_every_file_is_a_resource_and_there_are_all_kinds() -> None:
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(KUSTOMIZATION["resources"]) == files
    assert set(PODS) == {"web", "sync", "migrate"}
    assert {each["kind"] for each in OBJECTS} == {
        "Namespace", "ServiceAccount", "PersistentVolumeClaim", "Job", "Deployment", "Service", "PodDisruptionBudget",
        "NetworkPolicy",
    }  # fmt: skip


@pytest.mark.parametrize("name", PODS)
def test_every_container_is_confined(name: str) -> None:
    [user] = re.findall(r"^USER (\d+):\1$", CONTAINERFILE, re.MULTILINE)
    pod = PODS[name]["spec"]
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == int(user)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {"/var/lib/portal", "/tmp"}
        assert container["resources"]["limits"]["memory"]
        assert container["image"] == KUSTOMIZATION["images"][0]["name"]


@pytest.mark.parametrize("name", PODS)
def test_variables_are_known_and_secrets_are_referred_to(name: str) -> None:
    config = set(re.findall(r"^(\w+)=", (FOLDER / "config.env").read_text(), re.MULTILINE))
    secret = dict(re.findall(r"^(\w+)=(.*)$", (FOLDER / "secret.example").read_text(), re.MULTILINE))
    assert config <= KNOWN - SECRETS
    assert secret.keys() <= SECRETS
    assert set(secret.values()) == {""}
    for container in PODS[name]["spec"]["containers"]:
        assert container["envFrom"] == [{"configMapRef": {"name": "portal"}}, {"secretRef": {"name": "portal"}}]
    [generated] = KUSTOMIZATION["configMapGenerator"]
    assert generated == {"name": "portal", "envs": ["config.env"]}


def test_no_secret_is_in_the_folder() -> None:
    assert not of_kind("Secret")
    assert "secretGenerator" not in KUSTOMIZATION


def test_the_probes_ask_by_the_portals_name() -> None:
    hosts = re.findall(r"^ALLOWED_HOSTS=(.+)$", (FOLDER / "config.env").read_text(), re.MULTILINE)
    [web] = PODS["web"]["spec"]["containers"]
    paths = {}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        request = web[probe]["httpGet"]
        paths[probe] = request["path"]
        assert [header["value"] for header in request["httpHeaders"]] == hosts
        assert request["port"] == web["ports"][0]["name"] == named("Service", "web")["spec"]["ports"][0]["targetPort"]
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


@pytest.mark.parametrize("name", ["web", "sync"])
def test_one_pod_stays_and_new_ones_wait_for_the_migration(name: str) -> None:
    deployment, budget = named("Deployment", name)["spec"], named("PodDisruptionBudget", name)["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == budget["selector"]["matchLabels"] == labels
    assert budget["minAvailable"] < deployment["replicas"]
    [waits] = PODS[name]["spec"]["initContainers"]
    assert waits["command"] == ["python", "manage.py", "migrate", "--check"]
    assert PODS["migrate"]["spec"]["containers"][0]["command"] == ["python", "manage.py", "migrate", "--noinput"]


def test_the_network_is_closed_but_for_what_is_needed() -> None:
    everything = named("NetworkPolicy", "portal")["spec"]
    assert everything["podSelector"] == {}
    assert set(everything["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in everything
    web = named("NetworkPolicy", "web")["spec"]
    assert web["podSelector"]["matchLabels"] == PODS["web"]["metadata"]["labels"]
    [rule] = web["ingress"]
    assert [port["port"] for port in rule["ports"]] == [
        PODS["web"]["spec"]["containers"][0]["ports"][0]["containerPort"]
    ]
    assert all(source["namespaceSelector"]["matchLabels"] for source in rule["from"])
