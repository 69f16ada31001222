"""Listening beyond this computer: only with keys, or when told so."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from clients import AccessDenied, ChestXrayClient
from service.auth.keys import add_key
from tests.e2e.conftest import Command, Server, running
from tests.factories import png_bytes
from tests.ports import free_port
from tests.serving import problem
from tests.sources import ROOT

pytestmark = pytest.mark.e2e

EVERYWHERE = "0.0.0.0"
SECONDS = 60.0


def environment(folder: Path, model: Path, **variables: object) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "BENTOML_HOST"}
    settings = {
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": folder / "bentoml",
        "CXR_MODEL": model,
    }
    return kept | {name: str(value) for name, value in (settings | variables).items()}


@pytest.mark.parametrize("arguments", [(), ("--host", "::")])
def test_without_keys_the_service_does_not_start(
    bentoml: Command, arguments: tuple[str, ...], tmp_path: Path, tiny_model: Path
) -> None:
    port = free_port()
    words = ("serve", "service.app:ChestXray", "--port", str(port), *arguments)
    said = tmp_path / "said"
    assert bentoml(words, environment(tmp_path, tiny_model), said) != 0
    assert "CXR_API_KEYS" in said.read_text()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def wait_for(condition: Callable[[], bool]) -> bool:
    """Whether it comes true: the service looks at the keys file once a second."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.2)
    return False


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.txt"


@pytest.fixture(scope="module")
def first_key(keys: Path) -> str:
    return add_key(keys, "first", None)


@pytest.fixture(scope="module")
def guarded(
    keys: Path, first_key: str, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The service on every address, with keys."""
    folder = tmp_path_factory.mktemp("guarded")
    with running(
        folder, host=EVERYWHERE, CXR_MODEL=str(tiny_model), CXR_API_KEYS=str(keys)
    ) as server:
        yield server


def test_only_who_has_a_key_is_answered(guarded: Server, first_key: str) -> None:
    image = png_bytes()
    with ChestXrayClient(guarded.url, api_key="") as client, pytest.raises(AccessDenied) as denied:
        client.predict(image)
    assert (denied.value.status, denied.value.code) == (401, "unauthorized")
    with ChestXrayClient(guarded.url, api_key=first_key) as client:
        assert 0 <= client.predict(image).probability <= 1
    bearer = {"Authorization": f"Bearer {first_key}"}
    assert problem(httpx.get(f"{guarded.url}/metrics", timeout=SECONDS)) == (401, "unauthorized")
    assert (
        "bentoml_service"
        in httpx.get(f"{guarded.url}/metrics", headers=bearer, timeout=SECONDS).text
    )


def test_refusal_reaches_a_client_that_is_still_sending(guarded: Server) -> None:
    answer = httpx.post(f"{guarded.url}/predict", files={"image": bytes(32 << 20)}, timeout=SECONDS)
    assert problem(answer) == (401, "unauthorized")


def test_keys_are_rotated_without_a_restart(guarded: Server, keys: Path, first_key: str) -> None:
    second_key = add_key(keys, "second", None)

    def status(key: str) -> int:
        bearer = {"Authorization": f"Bearer {key}"}
        return httpx.get(f"{guarded.url}/model", headers=bearer, timeout=SECONDS).status_code

    assert wait_for(lambda: status(second_key) == 200)
    assert status(first_key) == 200
    keys.write_text("".join(line for line in keys.open() if not line.startswith("first")))
    assert wait_for(lambda: status(first_key) == 401)
    assert status(second_key) == 200


def test_command_takes_the_key_from_the_environment(guarded: Server, keys: Path) -> None:
    key = add_key(keys, "command", None)
    film = keys.with_name("chest.png")
    film.write_bytes(png_bytes())
    cxr = [str(Path(sys.executable).with_name("cxr")), "predict", str(film), "--url", guarded.url]

    def run(**variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            cxr, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=False
        )

    assert wait_for(lambda: run(CXR_API_KEY=key).returncode == 0)
    refused = run(CXR_API_KEY=f"{key}x")
    assert refused.returncode == 1
    assert "unauthorized" in refused.stderr
    assert key not in refused.stderr
    assert key not in guarded.log.read_text()
