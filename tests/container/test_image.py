"""The image as an operator runs it: not root, nothing to write to but /tmp, no capability.

`make container-test` runs this after `make container`; it needs docker or podman. IMAGE names
another image than the one of this version. No limit is left out where a machine cannot set it:
what podman has to be told there is in deploy/adapting.py, and the first test prints it. Health
checks are asked by the tests, not by the engine, which needs systemd for that.
"""

import base64
import hashlib
import json
import math
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pydicom
import pytest

from deploy.engine import Engine
from deploy.inventory import Inventory
from deploy.sbom import write_sbom
from service.imaging.decode import Limits
from service.model.reader import Reader
from service.version import VERSION
from tests.deploy.test_lock import pins
from tests.e2e.conftest import SHIPPED, sample
from tests.factories import chest, dicom_bytes, largest_film
from tests.serving import FORM, form, part

pytestmark = pytest.mark.container
IMAGE = os.environ.get("IMAGE", f"nanocxr:{VERSION}")
START_SECONDS = 120.0
KEY = "cxr_of-this-test"
LARGE_FILMS = 32  # four times as many as CXR_MAX_UPLOAD_BYTES lets in
CONFINED = [
    "--read-only",
    "--tmpfs=/tmp:rw,noexec,nosuid,nodev,size=256m",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--memory=2560m",  # as docs/deploy.md wants for two cores
    "--pids-limit=256",
    "--publish=127.0.0.1::3000",
    "--pull=never",
]


@dataclass(frozen=True)
class Container:
    """A running container of the image."""

    engine: Engine
    name: str

    @property
    def url(self) -> str:
        return "http://" + run(self.engine, "port", self.name, "3000/tcp").splitlines()[0]

    def post(self, path: str, **body: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {KEY}"} | body.pop("headers", {})
        return httpx.post(self.url + path, headers=headers, timeout=300, **body)

    def exec(self, *command: str) -> "subprocess.CompletedProcess[str]":
        whole = self.engine.command("exec", self.name, *command)
        return subprocess.run(whole, capture_output=True, text=True, check=False)

    def shell(self, script: str) -> str:
        """What a script prints that runs inside, as the service's own user."""
        return run(self.engine, "exec", self.name, "sh", "-c", script)

    def inspect(self, field: str) -> str:
        return run(self.engine, "inspect", "--format", "{{json ." + field + "}}", self.name)

    def wait_until_healthy(self) -> None:
        """Run the image's own health check until it passes."""
        check = json.loads(self.inspect("Config.Healthcheck.Test"))
        assert check[0] == "CMD"
        deadline = time.monotonic() + START_SECONDS
        while self.exec(*check[1:]).returncode:
            assert time.monotonic() < deadline, run(self.engine, "logs", self.name)
            time.sleep(0.5)

    def post_at_once(self, film: bytes, *, clients: int) -> Counter[int]:
        """How often each status came back when as many clients sent the same film at once."""
        body = form(part(film))
        with ThreadPoolExecutor(clients) as threads:
            sent = [
                threads.submit(self.post, "/explain", content=body, headers={"Content-Type": FORM})
                for _ in range(clients)
            ]
            return Counter(request.result().status_code for request in sent)

    def killed_for_memory(self) -> int:
        """Processes that the kernel has ended because the container reached its limit."""
        # cgroup version 2, or 1
        places = "/sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control"
        counts = self.shell(f"cat {places} 2>/dev/null | grep '^oom_kill '")
        return int(counts.split()[1])


def run(engine: Engine, verb: str, *words: str) -> str:
    command = engine.command(verb, *words)
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


@pytest.fixture(scope="module")
def engine() -> Engine:
    found = Engine.find()
    assert found.name != "buildah", "buildah builds images; to run one, install docker or podman"
    return found


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a keys file that user 10001 can read."""
    folder = tmp_path_factory.mktemp("keys")
    (folder / "keys.txt").write_text(f"test {hashlib.sha256(KEY.encode()).hexdigest()}\n")
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def container(engine: Engine, keys: Path) -> Iterator[Container]:
    # Podman adds writable folders of its own unless told not to.
    alone = ["--read-only-tmpfs=false"] if engine.name == "podman" else []
    allowed = [f"--volume={keys}:/etc/nanocxr:ro", "--env=CXR_API_KEYS=/etc/nanocxr/keys.txt"]
    words = ["--detach", *CONFINED, *alone, *allowed, IMAGE]
    running = Container(engine, run(engine, "run", *words).strip())
    try:
        running.wait_until_healthy()
        yield running
    finally:
        run(engine, "rm", "--force", running.name)


@pytest.fixture(scope="module")
def radiograph() -> bytes:
    """A radiograph of pydicom-data, with a name to look for."""
    dataset = pydicom.dcmread(BytesIO(sample("RG1_J2KI.dcm")))
    dataset.PatientName = "MARKED^NAME"
    content = BytesIO()
    dataset.save_as(content)
    return content.getvalue()


def test_says_its_size_and_how_it_is_run(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    size = int(run(engine, "image", "inspect", "--format", "{{.Size}}", IMAGE))
    with capsys.disabled():
        print(f"\n{IMAGE}: {size / 1e6:.0f} MB with its base, uncompressed ({engine.name})")  # noqa: T201
        for note in engine.adaptation.notes:
            print(f"{engine.name} on this machine: {note}")  # noqa: T201
    assert size > 0


def test_reads_a_dicom_as_this_checkout_does(container: Container, radiograph: bytes) -> None:
    answer = container.post("/predict", files={"image": radiograph})
    assert answer.status_code == 200, answer.text
    reading = Reader.open(SHIPPED).read(radiograph)
    assert answer.json()["probability"] == pytest.approx(reading.probability, abs=1e-3)
    assert "Not a medical device" in answer.json()["intended_use"]
    heatmap = container.post("/explain", files={"image": radiograph})
    assert heatmap.content.startswith(b"\x89PNG")


def test_model_reads_inside_as_where_it_was_packaged(container: Container) -> None:
    done = container.exec("python3", "-m", "service.doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert VERSION in done.stdout


def test_serves_the_page(container: Container) -> None:
    page = httpx.get(f"{container.url}/ui", follow_redirects=True)
    assert page.status_code == 200
    assert "not a medical device" in page.text.lower()


def test_does_not_listen_without_keys(engine: Engine) -> None:
    done = subprocess.run(
        engine.command("run", "--rm", *CONFINED, IMAGE), check=False, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "CXR_API_KEYS" in done.stdout + done.stderr


def test_makes_a_key(engine: Engine, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    once = ["--rm", "--no-healthcheck", f"--volume={tmp_path}:/keys"]
    command = ["-m", "service.auth.keys", "new", "radiology", "--file", "/keys/keys.txt"]
    key = run(engine, "run", *once, "--entrypoint=python3", IMAGE, *command).strip()
    name, digest = (tmp_path / "keys.txt").read_text().splitlines()[-1].split()
    assert (name, digest) == ("radiology", hashlib.sha256(key.encode()).hexdigest())


def test_every_process_is_confined(container: Container) -> None:
    states = container.shell("cat /proc/[0-9]*/status").split("Name:")[1:]
    fields = [dict(line.split(":\t", 1) for line in text.splitlines()[1:]) for text in states]
    assert len(fields) >= 3  # supervisor, worker, and the two of this very look
    for process in fields:
        assert process["Uid"].split() == ["10001"] * 4
        assert process["Gid"].split() == ["10001"] * 4
        assert int(process["CapEff"], 16) == int(process["CapBnd"], 16) == 0
        assert process["NoNewPrivs"] == "1"


def test_only_tmp_can_be_written(container: Container) -> None:
    assert container.exec("touch", "/tmp/x").returncode == 0
    for place in ("/x", "/opt/bento/x", "/opt/nanocxr/x", "/var/tmp/x"):
        assert "Read-only file system" in container.exec("touch", place).stderr
    # Without --read-only its user could change no file of the service either.
    assert container.shell(r"find /opt \( -user 10001 -o -perm -o=w \) ! -type l") == ""


def test_nothing_of_the_image_or_its_patient_stays(container: Container, radiograph: bytes) -> None:
    container.post("/predict", files={"image": radiograph})
    assert container.shell("grep -rl MARKED /tmp || true") == ""
    assert "MARKED" not in run(container.engine, "logs", container.name)
    assert container.shell("find /tmp -iname '*onnxruntime*'") == ""  # its telemetry


def test_holds_no_installer_and_no_compiler(container: Container) -> None:
    assert container.shell("command -v cc gcc g++ uv || true") == ""
    assert container.exec("/opt/nanocxr/bin/python", "-m", "pip").returncode == 1


def test_labels_say_what_it_is(engine: Engine) -> None:
    labels = json.loads(
        run(engine, "image", "inspect", "--format", "{{json .Config.Labels}}", IMAGE)
    )
    assert labels["org.opencontainers.image.title"] == "nanocxr"
    assert labels["org.opencontainers.image.version"] == VERSION
    assert "Not a medical device" in labels["org.opencontainers.image.description"]
    assert "@" not in labels["org.opencontainers.image.base.name"]
    if engine.name == "podman":  # docker knows no digest of a base that it built itself
        assert re.fullmatch("sha256:[0-9a-f]{64}", labels["org.opencontainers.image.base.digest"])


def test_sbom_lists_what_the_lock_pins(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "sbom.json"
    lock = "serve-gpu.lock" if IMAGE.endswith("-gpu") else "serve.lock"
    with Inventory.of(engine, IMAGE) as inventory:
        assert inventory.debian
        write_sbom(inventory, path)
    found = [entry.get("purl", "") for entry in json.loads(path.read_text())["components"]]
    python = dict(purl.removeprefix("pkg:pypi/").split("@") for purl in found if "pypi" in purl)
    assert {re.sub(r"[-_.]+", "-", name): version for name, version in python.items()} == pins(lock)


def test_a_dead_worker_is_replaced(container: Container, radiograph: bytes) -> None:
    worker = "grep -l [_]bentoml_impl.worker /proc/[0-9]*/cmdline | cut -d/ -f3 | head -n 1"
    first = container.shell(worker).strip()
    container.shell(f"kill -9 {first}")
    container.wait_until_healthy()
    assert container.shell(worker).strip() != first
    answer = container.post("/predict", files={"image": radiograph})
    assert answer.status_code == 200


def test_large_films_at_once_are_read_or_refused_within_the_limit_of_memory(
    container: Container,
) -> None:
    each = math.isqrt(Limits().max_bytes // 2) // 256  # of 256 pixels a side, 2 bytes each
    long = dicom_bytes(np.kron(chest(256, 256, bits=16), np.ones((each, each), np.uint16)))
    golden = json.loads((SHIPPED / "golden.json").read_text())["readings"]
    costly = largest_film(base64.b64decode(golden[-1]["image"]))
    for film in (long, costly):  # takes most of an upload, and most to decode
        statuses = container.post_at_once(film, clients=LARGE_FILMS)
        assert statuses[200] > 0
        assert set(statuses) <= {200, 503}
    assert container.killed_for_memory() == 0


def test_a_limit_of_time_counts_as_cores(engine: Engine) -> None:
    script = "from service.processor import cores; print(cores())"
    limited = ["--rm", "--cpus=1", "--no-healthcheck", "--entrypoint=python3", IMAGE]
    assert run(engine, "run", *limited, "-c", script).strip() == "1"


def test_sigterm_ends_it_with_0_after_the_request_under_way(
    container: Container, radiograph: bytes
) -> None:
    request = httpx.Request("POST", f"{container.url}/predict", files={"image": radiograph})
    body = request.read()
    stopping: list[subprocess.Popen[bytes]] = []

    def slowly() -> Iterator[bytes]:
        yield body[:1000]
        time.sleep(1)
        stopping.append(
            subprocess.Popen(container.engine.command("stop", "--time=60", container.name))
        )
        time.sleep(2)
        yield body[1000:]

    headers = {name: request.headers[name] for name in ("content-type", "content-length")}
    answer = container.post("/predict", content=slowly(), headers=headers)
    assert answer.status_code == 200, answer.text
    assert stopping[0].wait(60) == 0
    assert json.loads(container.inspect("State.ExitCode")) == 0
    assert not json.loads(container.inspect("State.OOMKilled"))
