import dataclasses
import json
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.errors import (
    InvalidManifest,
    ModelCorrupt,
    NotFrontal,
    TooManyBytes,
    UnfamiliarImage,
)
from service.imaging.decode import Limits, decode
from service.imaging.standardise import standardise
from service.model.bundle import Bundle
from service.model.reader import Reader, Reading
from service.model.session import Session
from tests.factories import chest, dicom_bytes, png_bytes
from tests.tiny_model import FAMILIAR, GATE, POINT, SPEC, UNFAMILIAR, write_gate, write_manifest

PNG, DICOM, LATERAL = png_bytes(), dicom_bytes(chest(seed=1)), dicom_bytes(view="LL")


@pytest.fixture(scope="module")
def reader(tiny_model: Path) -> Reader:
    return Reader.open(tiny_model, threads=1)


@pytest.fixture(scope="module")
def gated(gated_model: Path) -> Reader:
    return Reader.open(gated_model, threads=1)


class TestRead:
    def test_is_decode_standardise_session_calibrate(
        self, reader: Reader, tiny_model: Path
    ) -> None:
        tensor, geometry = standardise(decode(DICOM, Limits()), SPEC)
        session = Session((tiny_model / "model.onnx").read_bytes(), threads=1)
        outputs = session.run(tensor[np.newaxis])
        reading = reader.read(DICOM)
        assert reading.logit == pytest.approx(float(outputs.logit[0]), abs=1e-6)
        assert reading.probability == reader.manifest.calibration.probability(reading.logit)
        assert reading.geometry == geometry
        np.testing.assert_allclose(reading.heatmap, outputs.heatmap[0], atol=1e-6)
        np.testing.assert_allclose(reading.embedding, outputs.embedding[0], atol=1e-6)

    def test_call_is_that_of_the_default_operating_point(self, reader: Reader) -> None:
        reading = reader.read(PNG)
        assert reading.operating_point == POINT
        assert reading.call == POINT.call(reading.probability)

    def test_default_operating_point_is_found_by_name(self, tiny_model: Path) -> None:
        bundle = Bundle.open(tiny_model)
        points = (dataclasses.replace(POINT, name="other", threshold=0.0), POINT)
        manifest = dataclasses.replace(bundle.manifest, operating_points=points)
        several = dataclasses.replace(bundle, manifest=manifest)
        assert Reader(several, limits=Limits(), threads=1).operating_point == POINT

    def test_facts_of_the_file_and_the_model(self, reader: Reader) -> None:
        reading = reader.read(DICOM)
        assert (reading.radiograph.rows, reading.radiograph.columns) == chest().shape
        assert reading.radiograph.view == "PA"
        assert reading.model.name == "tiny"
        assert reading.model.sha256 == reader.manifest.sha256["model.onnx"]

    def test_warnings_of_decoding_are_passed_on(self, reader: Reader) -> None:
        data = dicom_bytes(view=None)
        expected = decode(data, Limits()).warnings
        assert expected
        assert reader.read(data).warnings == expected

    def test_peak_is_where_the_heatmap_is_hottest(self, reader: Reader) -> None:
        reading = reader.read(png_bytes(chest(200, 100)))  # the crop starts at row 10, column 5
        heatmap = np.zeros((4, 4), np.float32)
        assert dataclasses.replace(reading, heatmap=heatmap).peak is None
        heatmap[3, 0] = 1
        peak = dataclasses.replace(reading, heatmap=heatmap).peak
        assert peak == pytest.approx((5 + 90 / 8, 10 + 180 * 7 / 8))

    def test_refusal_is_raised(self, reader: Reader) -> None:
        with pytest.raises(NotFrontal):
            reader.read(LATERAL)

    def test_limits_are_those_given(self, tiny_model: Path) -> None:
        reader = Reader.open(tiny_model, limits=Limits(max_bytes=100), threads=1)
        with pytest.raises(TooManyBytes):
            reader.read(PNG)


class TestExplain:
    @pytest.mark.parametrize(("bare", "mode"), [(False, "RGB"), (True, "L")])
    def test_png_has_the_pixel_grid_of_the_radiograph(
        self,
        reader: Reader,
        bare: bool,
        mode: str,
    ) -> None:
        reading, png = reader.explain(DICOM, bare=bare)
        with Image.open(BytesIO(png)) as image:
            assert (image.height, image.width) == chest().shape
            assert image.mode == mode
        assert reading.probability == pytest.approx(reader.read(DICOM).probability, abs=1e-6)


class TestOpen:
    def test_size_that_the_graph_does_not_take_is_refused(
        self, tiny_model: Path, tmp_path: Path
    ) -> None:
        folder = Path(shutil.copytree(tiny_model, tmp_path / "other" / "1"))
        fields = json.loads((folder / "manifest.json").read_text())
        fields["input"]["size"] = 96
        (folder / "manifest.json").write_text(json.dumps(fields))
        with pytest.raises(InvalidManifest, match="64 pixels a side, the manifest says 96"):
            Reader.open(folder, threads=1)


class TestGate:
    def test_familiar_image_is_read_as_without_a_gate(self, gated: Reader, reader: Reader) -> None:
        reading, plain = gated.read(FAMILIAR), reader.read(FAMILIAR)
        assert reading.familiarity is not None
        assert GATE.threshold < reading.familiarity < 1
        assert reading.probability == plain.probability
        assert plain.familiarity is None

    def test_unfamiliar_image_is_refused_with_both_numbers(self, gated: Reader) -> None:
        with pytest.raises(UnfamiliarImage) as refusal:
            gated.read(UNFAMILIAR)
        assert 0 < refusal.value.familiarity < refusal.value.threshold == GATE.threshold
        assert f"{refusal.value.familiarity:.3f}" in str(refusal.value)
        assert f"{GATE.threshold:.3f}" in str(refusal.value)
        with pytest.raises(UnfamiliarImage):
            gated.explain(UNFAMILIAR, bare=True)

    def test_without_a_gate_everything_is_read(self, reader: Reader) -> None:
        assert reader.read(UNFAMILIAR).familiarity is None

    def test_refusal_in_a_batch_does_not_touch_the_others(self, gated: Reader) -> None:
        first, second = gated.infer([gated.prepare(UNFAMILIAR), gated.prepare(FAMILIAR)])
        assert isinstance(first, UnfamiliarImage)
        assert isinstance(second, Reading)

    def test_gate_of_another_size_is_refused(self, gated_model: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(gated_model, tmp_path / "1"))
        write_gate(folder, size=96)
        with pytest.raises(InvalidManifest, match="96 pixels"):
            Reader.open(folder)

    def test_gate_that_was_changed_is_refused(self, gated_model: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(gated_model, tmp_path / "1"))
        (folder / GATE.graph).write_bytes((folder / GATE.graph).read_bytes() + b"0")
        with pytest.raises(ModelCorrupt, match=r"gate\.onnx"):
            Reader.open(folder)

    def test_graph_without_familiarity_is_no_gate(self, gated_model: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(gated_model, tmp_path / "1"))
        shutil.copyfile(folder / "model.onnx", folder / GATE.graph)
        write_manifest(folder)
        with pytest.raises(InvalidManifest, match="ranks"):
            Reader.open(folder)
