"""Scoring on a real Ray cluster of two nodes, each with its own raylet."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
import psutil
import pytest

from clients.datasets.open import open_dataset
from clients.scoring.local import LocalEngine
from clients.scoring.score import ScoringError, score
from service.model.bundle import Bundle
from service.settings import Settings
from tests.clients.folders import write_images
from tests.factories import dicom_bytes
from tests.processes import PATIENCE, decoders_of, descendants, wait_until_gone

if TYPE_CHECKING:  # Ray takes seconds, and each process that lists the tests imports this module
    from ray.cluster_utils import Cluster

NODE: dict[str, Any] = {
    "num_cpus": 1,
    "object_store_memory": 80 * 2**20,
    "include_log_monitor": False,
}
LATE = "timed out during startup"  # as Ray says it
Started = TypeVar("Started")


def patiently(start: Callable[[], Started]) -> Started:
    """Start a part of the cluster again where the machine is too busy for it.

    A node has 30 seconds to start, a number in Ray's code; what a late one leaves ends with pytest.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return start()
        except Exception as error:  # Ray raises no class of its own
            if LATE not in str(error) or time.monotonic() > deadline:
                raise


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator["Cluster"]:
    """A head and another node with a core each."""
    from ray.cluster_utils import Cluster  # noqa: PLC0415

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    head = NODE | {"include_dashboard": False, "no_monitor": True}
    running = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
    patiently(lambda: running.add_node(**NODE))
    running.wait_for_nodes()
    try:
        yield running
    finally:
        running.shutdown()  # type: ignore[no-untyped-call]


def test_lost_node_costs_no_row_and_the_numbers_are_those_of_this_computer(
    two_nodes: "Cluster",
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from clients.scoring.cluster import RayEngine  # noqa: PLC0415

    monkeypatch.setattr("clients.scoring.cluster.BLOCK", 16)
    folder = write_images(tmp_path / "images", 1500)
    (folder / "lateral").write_bytes(dicom_bytes(view="LL"))
    dataset, settings = open_dataset(folder), Settings(model=tiny_model)
    bundle = Bundle.open(tiny_model)
    nodes: list[Any] = two_nodes.list_all_nodes()  # type: ignore[no-untyped-call]
    (lost,) = [node for node in nodes if not node.head]
    raylet = lost.all_processes["raylet"][0].process.pid
    of_lost_node: list[psutil.Process] = []
    rows_before = 0

    def lose_the_node_when_it_is_at_work(_: object) -> None:
        nonlocal rows_before
        if not of_lost_node:
            rows_before += 1
            if decoders_of(raylet):
                of_lost_node.extend(descendants(raylet))
                two_nodes.remove_node(lost, allow_graceful=False)

    out = tmp_path / "ray.parquet"
    with RayEngine(bundle, settings, address=two_nodes.address, embeddings=True) as engine:
        score(dataset, engine, out, advance=lose_the_node_when_it_is_at_work)
    assert of_lost_node
    assert rows_before < 1400
    wait_until_gone(of_lost_node)
    table = pd.read_parquet(out).set_index("path").sort_index()
    assert table.index.tolist() == [item.name for item in dataset.items]
    assert table["error"].dropna().to_dict() == {"lateral": "not_frontal"}
    some = replace(dataset, items=dataset.items[::5])  # every film there is, and the refused one
    with LocalEngine(bundle, settings, embeddings=True, cores_used=2) as local:
        score(some, local, tmp_path / "local.parquet", advance=lambda _: None)
    expected = pd.read_parquet(tmp_path / "local.parquet").set_index("path").sort_index()
    table = table.loc[expected.index]
    assert len(table) == 301
    assert "lateral" in table.index
    read = expected["error"].isna()
    for column in ("probability", "logit", "peak_x", "peak_y"):
        np.testing.assert_allclose(table[column], expected[column], atol=1e-5)
    for column in ("sha256", "call", "view", "patient_sex", "age_band", "width", "height"):
        pd.testing.assert_series_equal(table[column], expected[column])
    np.testing.assert_allclose(
        np.stack(table["embedding"][read]), np.stack(expected["embedding"][read]), atol=1e-5
    )


def test_address_without_a_cluster_is_an_error(tiny_model: Path) -> None:
    from clients.scoring.cluster import RayEngine  # noqa: PLC0415

    with pytest.raises(ScoringError, match="no Ray cluster answers"):
        RayEngine(Bundle.open(tiny_model), Settings(model=tiny_model), address="127.0.0.1:1")
