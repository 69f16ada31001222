import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.errors import InvalidManifest, ModelUnavailable
from service.imaging.decode import Limits
from service.model.bundle import Bundle
from service.model.golden import TOLERANCE, Agreement, golden_readings, replay
from service.model.reader import Reader
from service.model.shipped import default_model
from tests.tiny_model import UNFAMILIAR

SHIPPED = default_model()


def opened(bundle: Bundle) -> Reader:
    return Reader(bundle, limits=Limits(), threads=0)


def test_shipped_model_reads_here_as_where_it_was_packaged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle = Bundle.open(SHIPPED)
    found = replay(opened(bundle), golden_readings(bundle))
    with capsys.disabled():
        print(f"\n{found}")  # noqa: T201
    assert found.images == 4
    assert found.holds, f"more than {TOLERANCE}: {found}"


class TestReplay:
    def test_difference_is_the_largest_of_all_images(self, golden_model: Path) -> None:
        bundle = Bundle.open(golden_model)
        (golden,) = golden_readings(bundle)
        cell = np.zeros_like(golden.heatmap)
        cell[0, 0] = 0.25
        others = [
            golden,
            replace(golden, probability=golden.probability - 0.125),
            replace(golden, heatmap=golden.heatmap - cell),
        ]
        found = replay(opened(bundle), others)
        assert found.images == 3
        assert found.probability == pytest.approx(0.125, abs=1e-6)
        assert found.heatmap == pytest.approx(0.25, abs=1e-6)

    def test_refused_image_and_another_shape_differ_infinitely(
        self, golden_model: Path, gated_model: Path
    ) -> None:
        (golden,) = golden_readings(Bundle.open(golden_model))
        refused = replay(Reader.open(gated_model), [replace(golden, image=UNFAMILIAR)])
        assert (refused.probability, refused.heatmap) == (math.inf, math.inf)
        smaller = replay(Reader.open(golden_model), [replace(golden, heatmap=golden.heatmap[1:])])
        assert smaller.heatmap == math.inf


class TestAgreement:
    @pytest.mark.parametrize("wrong", [2 * TOLERANCE, math.inf, math.nan])
    def test_holds_for_both_or_not_at_all(self, wrong: float) -> None:
        assert Agreement(images=1, probability=TOLERANCE, heatmap=TOLERANCE).holds
        assert not Agreement(images=1, probability=wrong, heatmap=0.0).holds
        assert not Agreement(images=1, probability=0.0, heatmap=wrong).holds


class TestGoldenReadings:
    @pytest.mark.parametrize("content", [b"", b'{"readings": []}'])
    def test_none_is_an_error_that_names_the_file(self, golden_model: Path, content: bytes) -> None:
        with pytest.raises(ModelUnavailable, match=r"no golden readings \(golden\.json\)"):
            golden_readings(replace(Bundle.open(golden_model), golden=content))

    @pytest.mark.parametrize("content", [b"{", b"[]", b'{"readings": [{"image": "AA=="}]}'])
    def test_malformed_ones_are_an_error(self, golden_model: Path, content: bytes) -> None:
        with pytest.raises(InvalidManifest, match=r"golden\.json is not readable"):
            golden_readings(replace(Bundle.open(golden_model), golden=content))

    def test_are_what_the_file_says(self, golden_model: Path) -> None:
        entry = json.loads((golden_model / "golden.json").read_text())["readings"][0]
        (golden,) = golden_readings(Bundle.open(golden_model))
        assert golden.image.startswith(b"\x89PNG")
        assert golden.probability == entry["probability"]
        np.testing.assert_allclose(golden.heatmap, entry["heatmap"], atol=1e-6)
