"""The first commands of the README run as they are written, but for the service's address."""

import json
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.e2e.conftest import Server
from tests.sources import ROOT

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
ADDRESS = "http://localhost:3000"


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def reply(server: Server) -> dict[str, object]:
    """What the command with curl prints."""
    (command,) = re.findall(r"^\$ (curl .+)$", TEXT, re.MULTILINE)
    assert ADDRESS in command
    found: dict[str, object] = json.loads(
        run(*shlex.split(command.replace(ADDRESS, server.url)), "--silent")
    )
    return found


def test_curl_gets_a_reading(server: Server) -> None:
    assert reply(server)["call"] == "pneumonia"


def test_python_prints_the_same_reading(server: Server) -> None:
    (code,) = re.findall(r"```python\n(.+?)```", TEXT, re.DOTALL)
    assert ADDRESS in code
    printed = run(sys.executable, "-c", code.replace(ADDRESS, server.url)).split(maxsplit=1)
    expected = reply(server)
    assert float(printed[0]) == pytest.approx(expected["probability"], abs=1e-6)
    assert printed[1].strip() == expected["call"]
