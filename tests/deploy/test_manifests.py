"""The compose file and the Kubernetes manifest are valid, hardened and agree with the image."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from service.version import VERSION
from tests.sources import ROOT

COMPOSE = ROOT / "deploy" / "compose.yaml"
KUBERNETES = ROOT / "deploy" / "kubernetes.yaml"
CONTAINERFILE = (ROOT / "deploy" / "Containerfile").read_text()
IMAGE = f"nanocxr:{VERSION}"
MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all(KUBERNETES.read_text()))


def manifest(kind: str) -> dict[str, Any]:
    return next(entry for entry in MANIFESTS if entry["kind"] == kind)


@pytest.fixture
def kubernetes() -> Any:
    """Imported here: each process that lists the tests would take a second for it."""
    import kubernetes_validate  # noqa: PLC0415

    return kubernetes_validate


@pytest.fixture
def pod() -> dict[str, Any]:
    return dict(manifest("Deployment")["spec"]["template"])


@pytest.fixture
def container(pod: dict[str, Any]) -> dict[str, Any]:
    return dict(pod["spec"]["containers"][0])


@pytest.fixture
def composed() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE.read_text())["services"]["nanocxr"])


def only(pattern: str) -> str:
    """The single match of a pattern in the Containerfile."""
    (found,) = re.findall(pattern, CONTAINERFILE, flags=re.M)
    return str(found)


class TestContainerfile:
    def test_ends_as_a_numeric_user_that_is_not_root(self) -> None:
        assert int(only(r"^USER (\d+):\d+$")) >= 10000

    def test_process_1_gets_the_signals(self) -> None:
        assert only(r"^ENTRYPOINT (.*)$").startswith('["bentoml", "serve"')

    def test_asks_for_health_where_it_listens(self) -> None:
        port = only(r"^EXPOSE (\d+)$")
        assert f"127.0.0.1:{port}/readyz" in only(r"^    CMD (.*)$")
        assert f'"--port", "{port}"' in only(r"^ENTRYPOINT (.*)$")

    def test_reports_to_nobody(self) -> None:
        assert "BENTOML_DO_NOT_TRACK=True" in CONTAINERFILE
        assert "ORT_DISABLE_TELEMETRY=1" in CONTAINERFILE

    def test_says_research_only(self) -> None:
        assert "Not a medical device" in only(r"^ +org.opencontainers.image.description=(.*)$")


class TestKubernetes:
    @pytest.mark.parametrize("entry", MANIFESTS, ids=lambda entry: str(entry["kind"]))
    def test_is_valid(self, kubernetes: Any, entry: dict[str, Any]) -> None:
        kubernetes.validate(entry, kubernetes.latest_version(), strict=True)

    def test_a_misspelt_field_would_be_noticed(self, kubernetes: Any) -> None:
        entry = manifest("Deployment") | {"spec": manifest("Deployment")["spec"] | {"replica": 2}}
        with pytest.raises(kubernetes.ValidationError):
            kubernetes.validate(entry, kubernetes.latest_version(), strict=True)

    def test_every_selector_finds_the_pods(self, pod: dict[str, Any]) -> None:
        labels = pod["metadata"]["labels"]
        assert manifest("Deployment")["spec"]["selector"]["matchLabels"] == labels
        assert manifest("Service")["spec"]["selector"] == labels
        assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
        assert manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels

    def test_runs_the_image_of_this_version_as_its_user(
        self, pod: dict[str, Any], container: dict[str, Any]
    ) -> None:
        assert container["image"] == IMAGE
        assert f"{pod['spec']['securityContext']['runAsUser']}" == only(r"^USER (\d+):\d+$")
        assert container["ports"][0]["containerPort"] == int(only(r"^EXPOSE (\d+)$"))

    def test_can_do_nothing_but_serve(self, pod: dict[str, Any], container: dict[str, Any]) -> None:
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "egress" not in manifest("NetworkPolicy")["spec"]

    def test_a_stopped_pod_has_time_to_drain(
        self, pod: dict[str, Any], container: dict[str, Any], composed: dict[str, Any]
    ) -> None:
        pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
        drain = int(composed["stop_grace_period"].removesuffix("s"))
        assert pod["spec"]["terminationGracePeriodSeconds"] == pause + drain


class TestCompose:
    def test_is_valid(self) -> None:
        PyCompose.from_yaml(COMPOSE.read_text()).validate()

    def test_a_misspelt_field_would_be_noticed(self) -> None:
        with pytest.raises(Exception, match="read_olny"):
            PyCompose.from_yaml(COMPOSE.read_text().replace("read_only", "read_olny"))

    def test_runs_the_image_of_this_version_as_its_user(self, composed: dict[str, Any]) -> None:
        assert composed["image"] == IMAGE
        assert composed["user"] == only(r"^USER (\d+:\d+)$")

    def test_can_do_nothing_but_serve(self, composed: dict[str, Any]) -> None:
        assert composed["read_only"] is True
        assert composed["cap_drop"] == ["ALL"]
        assert composed["security_opt"] == ["no-new-privileges:true"]

    def test_is_not_reachable_from_other_machines(self, composed: dict[str, Any]) -> None:
        assert [port.split(":")[0] for port in composed["ports"]] == ["127.0.0.1"]

    @pytest.mark.parametrize("path", [COMPOSE, COMPOSE.parent / "hospital" / "compose.yaml"])
    def test_keys_are_those_that_the_page_makes(self, path: Path) -> None:
        (keys,) = re.findall(r"^ +- (\S+):/etc/nanocxr:ro", path.read_text(), re.MULTILINE)
        assert (path.parent / keys).resolve() == ROOT / "keys"
        assert "\nmkdir keys " in (ROOT / "docs" / "deploy.md").read_text()

    def test_keys_are_mounted_with_their_folder_so_that_a_new_file_is_seen(
        self, composed: dict[str, Any], container: dict[str, Any]
    ) -> None:
        (volume,) = composed["volumes"]
        folder = Path(composed["environment"]["CXR_API_KEYS"]).parent
        assert volume.split(":")[1:] == [str(folder), "ro"]
        mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
        assert mounts["keys"]["mountPath"] == str(folder)
        assert "subPath" not in mounts["keys"]
