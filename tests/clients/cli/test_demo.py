"""`cxr demo` as a user starts and ends it."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from clients.cli.main import cli
from tests.ports import free_port
from tests.processes import descendants, wait_until, wait_until_gone

CXR = (sys.executable, "-c", "from clients.cli.main import cli; cli()")


@pytest.mark.e2e
def test_opens_the_page_with_films_and_ends_with_its_service(tmp_path: Path) -> None:
    opened, port = tmp_path / "opened", free_port()
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    process = subprocess.Popen(
        [*CXR, "demo", "--port", str(port)],
        env=os.environ
        | {
            "BENTOML_HOME": str(tmp_path / "bentoml"),
            "BROWSER": f"{browser} %s",
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: opened.exists() or process.poll() is not None)
        below = descendants(process.pid)
        assert below
        wait_until(lambda: opened.read_text() == f"http://127.0.0.1:{port}/ui/#examples\n")
        page = httpx.get(f"http://127.0.0.1:{port}/ui/", trust_env=False, timeout=60)
        assert page.status_code == httpx.codes.OK
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate()
    assert process.returncode == 0
    assert f"http://127.0.0.1:{port}/ui/#examples" in output
    wait_until_gone(below)


def test_port_that_is_taken_is_told_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as other:
        port = other.getsockname()[1]
        result = CliRunner().invoke(cli, ["demo", "--port", str(port)])
    assert result.exit_code == 1
    assert f"--port {port}: something listens there already" in result.stderr
    assert "Traceback" not in result.output


def test_service_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_MAX_REQUESTS", "many")
    result = CliRunner().invoke(cli, ["demo", "--port", str(free_port())])
    assert result.exit_code == 1
    assert result.stderr.endswith("Error: The service did not start; its last lines say why.\n")
