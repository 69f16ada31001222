"""A running service of which everything is kept: outputs, folders, spans, answers."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.conftest import wait_until_ready
from tests.e2e.otlp import Receiver, receiving
from tests.ports import free_port
from tests.sources import ROOT

TRACING = """\
services:
  tracing:
    exporter_type: otlp
    sample_rate: 1.0
    otlp:
      protocol: http
      endpoint: {endpoint}
"""


@dataclass
class Observed:
    """The service, and all that it said so far."""

    http: httpx.Client
    folder: Path
    receiver: Receiver
    process: "subprocess.Popen[bytes]"
    answers: list[bytes] = field(default_factory=list)

    def ask(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Send a request and keep the answer, headers included."""
        response = self.http.request(method, path, **arguments)
        self.answers.append(repr(response.headers.raw).encode() + response.content)
        return response

    @property
    def log(self) -> str:
        """What is logged; stderr is for what goes wrong before there is a log."""
        return (self.folder / "stdout").read_text()

    def stop(self) -> None:
        """End it as an orchestrator does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Everything that was written: outputs, temporary files, BENTOML_HOME."""
        for path in sorted(self.folder.rglob("*")):
            if path.is_file():
                yield str(path.relative_to(self.folder)), path.read_bytes()


@contextmanager
def observed(model: Path, folder: Path) -> Iterator[Observed]:
    """Start the service with everything that writes pointed into this folder."""
    for name in ("tmp", "bentoml", "config"):
        (folder / name).mkdir()
    with receiving() as receiver:
        config = folder / "config" / "tracing.yaml"
        config.write_text(TRACING.format(endpoint=receiver.endpoint))
        environment = os.environ | {
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_HOME": str(folder / "bentoml"),
            "BENTOML_CONFIG": str(config),
            "CXR_MODEL": str(model),
            "OTEL_BSP_SCHEDULE_DELAY": "2000",
            "PYTHONWARNINGS": "always",
            "TMPDIR": str(folder / "tmp"),
        }
        port = free_port()
        command = [
            str(Path(sys.executable).with_name("bentoml")), "serve", "service.app:ChestXray",
            "--host", "127.0.0.1", "--port", str(port),
        ]  # fmt: skip
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=out, stderr=err, start_new_session=True
            )
        limits = httpx.Limits(keepalive_expiry=1)  # before the service closes the connection
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, timeout=60, limits=limits) as http:
            service = Observed(http, folder, receiver, process)
            try:
                wait_until_ready(process, str(http.base_url), folder / "stdout")
                yield service
            finally:
                service.stop()
