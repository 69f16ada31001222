"""What the documents say of the node is what it is."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from compose_spec import PyCompose

from clients.dicom.node.config import load
from service.version import VERSION
from tests.sources import ROOT, files

HOSPITAL = ROOT / "deploy" / "hospital"
CODES = re.compile(r"\(\s*(?:\w+, )*\"([a-z]+(?:_[a-z]+)+)\"|State\.\w+, \"(\w+)\"")


def generator(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_conformance_statement_is_current() -> None:
    written = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
    assert written == generator("generate_conformance").render(), (
        "run: PYTHONPATH=. python docs/generate_conformance.py"
    )


def test_keys_are_current() -> None:
    text = (ROOT / "docs" / "node.md").read_text(encoding="utf-8")
    assert text == generator("generate_node").written(text), (
        "run: PYTHONPATH=. python docs/generate_node.py"
    )


def test_every_key_is_explained() -> None:
    made = generator("generate_node")
    for kind in made.TABLES.values():
        tables = {name.partition(".")[0].strip("[]") for name in made.TABLES} | {"tls", "when"}
        missing = set(kind.model_fields) - made.meanings(kind).keys() - tables
        assert not missing, kind


def test_every_code_is_explained() -> None:
    said = (ROOT / "docs" / "node.md").read_text(encoding="utf-8")
    found = {
        first or second
        for path in files(ROOT / "clients" / "dicom" / "node", "*.py")
        if path.name in {"deliver.py", "deliver_stow.py", "receive.py", "worker.py"}
        for first, second in CODES.findall(path.read_text())
    }
    assert {"own_result", "class_refused", "worker_died", "unreportable"} <= found
    assert {code for code in found if f"`{code}`" not in said} == set()


def quick_start() -> str:
    """The first chapter of the page on the node."""
    page = (ROOT / "docs" / "node.md").read_text(encoding="utf-8")
    return page.partition("## Quick start\n")[2].partition("\n## ")[0]


def test_file_of_the_quick_start_is_whole(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.+?)```", quick_start(), re.DOTALL)
    (tmp_path / "node.toml").write_text(block)
    config = load(tmp_path / "node.toml")
    ports = (config.receive.address, config.receive.port, config.service.url)
    assert ports == ("127.0.0.1", 11112, "http://127.0.0.1:3000")


class TestCompose:
    def test_quick_start_makes_what_is_not_there(self) -> None:
        composed = yaml.safe_load((HOSPITAL / "compose.yaml").read_text())
        used = [volume for one in composed["services"].values() for volume in one["volumes"]]
        used += [one["file"] for one in composed["secrets"].values()]
        paths = [HOSPITAL / one.partition(":")[0] for one in used if one.startswith(".")]
        local = {path.resolve().relative_to(ROOT).as_posix() for path in paths}
        made = local - {"deploy/hospital/node.toml"}
        assert made == {"keys", "deploy/hospital/service.key"}
        _, *lines = re.findall(r"```sh\n(.+?)```", quick_start(), re.DOTALL)[0].split("\n")
        before = "\n".join(lines).partition("docker compose")[0]
        assert [path for path in made if path not in before] == []

    def test_is_valid(self) -> None:
        PyCompose.from_yaml((HOSPITAL / "compose.yaml").read_text()).validate()

    def test_nothing_is_reached_from_other_computers(self) -> None:
        services = yaml.safe_load((HOSPITAL / "compose.yaml").read_text())["services"]
        ports = [port for one in services.values() for port in one.get("ports", ())]
        assert ports
        assert all(port.startswith("127.0.0.1:") for port in ports)

    def test_images_are_of_this_version(self) -> None:
        services = yaml.safe_load((HOSPITAL / "compose.yaml").read_text())["services"]
        assert services["nanocxr"]["image"] == f"nanocxr:{VERSION}"
        assert services["node"]["image"] == f"nanocxr-node:{VERSION}"

    def test_node_finds_its_peers(self) -> None:
        composed = yaml.safe_load((HOSPITAL / "compose.yaml").read_text())
        node = composed["services"]["node"]
        config = load(HOSPITAL / "node.toml")
        (destination,) = config.destination
        assert {destination.address, "nanocxr"} <= composed["services"].keys()
        assert config.service.url == "http://nanocxr:3000"
        assert f"127.0.0.1:{config.receive.port}:{config.receive.port}" in node["ports"]
        assert f"spool:{config.spool}" in node["volumes"]
        assert config.service.key_file == Path("/run/secrets") / node["secrets"][0]

    @pytest.mark.parametrize("line", [r"^USER 10001:10001$", r"127\.0\.0\.1:11180/readyz"])
    def test_image_is_as_careful_as_that_of_the_service(self, line: str) -> None:
        assert re.search(line, (HOSPITAL / "Containerfile").read_text(), flags=re.M)
