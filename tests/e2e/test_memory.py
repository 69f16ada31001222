"""The worst allowed films, four times as many as may be under way, in the documented memory."""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from service.imaging.claim import MIB
from service.imaging.decode import Limits
from service.memory import needed
from tests.cgroups import MemoryGroup, memory_group
from tests.e2e.conftest import Server, running
from tests.factories import largest_film
from tests.processes import decoders_of, descendants
from tests.sources import ROOT

pytestmark = pytest.mark.e2e

UNDER_WAY = 4
CLIENTS = 4 * UNDER_WAY


def documented(cores: int) -> int:
    """Bytes of memory that docs/deploy.md wants for as many cores."""
    rows = re.findall(
        r"^\| (\d+) \| (\d+(?:\.\d+)?) GiB \|", (ROOT / "docs/deploy.md").read_text(), re.M
    )
    return int(float(dict(rows)[str(cores)]) * 1024) * MIB


@contextmanager
def limited(folder: Path, cores: int) -> Iterator[tuple[Server, MemoryGroup]]:
    """The service on so many cores in the documented memory, as in a container."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < cores:
        pytest.skip(f"needs {cores} cores")
    with memory_group(documented(cores)) as group:
        alone = ("taskset", "--cpu-list", ",".join(map(str, cpus[:cores])))
        within = (*group.command, *alone)
        with running(folder, within=within, CXR_MAX_REQUESTS=str(UNDER_WAY)) as server:
            yield server, group


@pytest.mark.alone
@pytest.mark.parametrize("cores", [1, 2])
def test_nothing_is_killed(cores: int, tmp_path: Path, patient: tuple[bytes, bytes]) -> None:
    film = largest_film(patient[1])

    def explain(server: Server) -> httpx.Response:
        return httpx.post(f"{server.url}/explain", files={"image": film}, timeout=600)

    with limited(tmp_path, cores) as (server, group):
        assert explain(server).status_code == 200
        assert len(decoders_of(server.process.pid)) == cores
        before = descendants(server.process.pid)
        with ThreadPoolExecutor(CLIENTS) as clients:
            answers = list(clients.map(explain, [server] * CLIENTS))
        assert {answer.status_code for answer in answers} <= {200, 503}
        assert sum(answer.status_code == 200 for answer in answers) >= UNDER_WAY / 2
        assert all("retry-after" in a.headers for a in answers if a.status_code == 503)
        assert descendants(server.process.pid) == before
        assert group.kills == 0
        print(f"{cores} cores: peak {group.peak / MIB:.0f} MiB")  # noqa: T201
    assert "replaced" not in server.log.read_text()


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_documented_memory_lets_the_worst_film_be_read(cores: int) -> None:
    assert documented(cores) >= needed(Limits().decoding_memory, cores)


def test_too_little_memory_is_told_at_start_and_for_each_film(
    tmp_path: Path, patient: tuple[bytes, bytes]
) -> None:
    with running(tmp_path, CXR_MEMORY=str(1400 * MIB)) as server:
        assert "Little memory" in server.log.read_text()
        small = httpx.post(f"{server.url}/explain", files={"image": patient[1]}, timeout=60)
        assert small.status_code == 200
        large = httpx.post(
            f"{server.url}/explain", files={"image": largest_film(patient[1])}, timeout=60
        )
        assert (large.status_code, large.json()["code"]) == (413, "too_many_pixels")
        assert "memory" in large.json()["detail"]
