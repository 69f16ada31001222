"""Secondary capture, presentation state, segmentation: what they show of film and heatmap."""

import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit

from clients import Prediction
from clients.dicom import Heatmap, Kind
from clients.dicom.objects.common import encoded
from service.model.reader import Reader
from tests.clients.dicom.films import DX, FILM, drawn, film, read_by
from tests.clients.dicom.objects.objects import by_kind
from tests.clients.dicom.tools import verified
from tests.factories import chest
from tests.films.grey import lut

NAMED = film(**DX)
Read = tuple[Prediction, Heatmap]


@pytest.fixture(scope="module")
def read(reader: Reader) -> Read:
    return read_by(reader, NAMED)


@pytest.fixture(scope="module")
def made(read: Read) -> dict[Kind, Dataset]:
    return by_kind(NAMED, *read)


class TestSecondaryCapture:
    def test_shows_what_explain_draws_above_a_band(
        self, made: dict[Kind, Dataset], read: Read
    ) -> None:
        capture = made["sc"]
        shown = capture.pixel_array.astype(int)
        overlay = read[1].overlay
        assert overlay is not None
        drawn = np.asarray(Image.open(BytesIO(overlay)).convert("RGB")).astype(int)
        assert shown.shape[0] > drawn.shape[0]
        assert np.abs(shown[: drawn.shape[0]] - drawn).mean() < 3  # of JPEG
        assert shown[drawn.shape[0] :].max() > 200  # there is text

    def test_is_as_wide_as_the_picture(self, read: Read) -> None:
        film = Image.fromarray(chest(1500, 1300, bits=8)).convert("RGB")
        overlay = BytesIO()
        film.save(overlay, "JPEG", quality=95)
        large = Heatmap(levels=read[1].levels, frame=read[1].frame, overlay=overlay.getvalue())
        capture = by_kind(NAMED, read[0], large)["sc"]
        assert capture.Columns == 1300
        shown = capture.pixel_array.astype(int)
        assert np.abs(shown[:1500] - np.asarray(film, int)).mean() < 3
        assert shown[1500:].max() > 200

    def test_says_that_text_is_burned_in_and_pixels_are_lossy(
        self, made: dict[Kind, Dataset]
    ) -> None:
        capture = made["sc"]
        assert capture.BurnedInAnnotation == "YES"
        assert capture.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
        assert capture.LossyImageCompression == "01"
        assert float(capture.LossyImageCompressionRatio) > 1
        assert list(capture.ImageType[:2]) == ["DERIVED", "SECONDARY"]
        (source,) = capture.SourceImageSequence
        assert source.ReferencedSOPInstanceUID == FILM
        assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        assert list(capture.PatientOrientation) == ["L", "F"]

    @pytest.mark.parametrize(
        ("ratios", "methods", "kept"),
        [
            ("9.5", "ISO_15444_1", 1),
            (["9.5", "2"], ["ISO_15444_1", "ISO_14495_1"], 2),
            (["9.5", "2"], "ISO_15444_1", 0),
            ("9.5", "by hand", 0),
            (None, None, 0),
        ],
    )
    def test_what_the_film_lost_before_comes_first(
        self, read: Read, ratios: Any, methods: Any, kept: int
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is none of its kind
            lost = {"LossyImageCompressionRatio": ratios, "LossyImageCompressionMethod": methods}
            capture = by_kind(film(**DX | lost), *read)["sc"]
        found = capture.LossyImageCompressionRatio, capture.LossyImageCompressionMethod
        (*before, own), (*methods_before, method) = (
            [one] if isinstance(one, str | float) else list(one) for one in found
        )
        assert [float(ratio) for ratio in before] == [9.5, 2][:kept]
        assert methods_before == ["ISO_15444_1", "ISO_14495_1"][:kept]
        assert float(own) > 1
        assert method == "ISO_10918_1"

    @pytest.mark.parametrize("probability", [0.1, 0.9])
    def test_band_depends_on_the_probability(self, read: Read, probability: float) -> None:
        other = read[0].model_copy(update={"probability": probability})
        one, two = (by_kind(NAMED, r, read[1])["sc"].pixel_array[256:] for r in (read[0], other))
        assert one.shape == two.shape
        assert (np.abs(one.astype(int) - two) > 100).any()


class TestPresentationState:
    def test_draws_outlines_notice_and_probability_on_the_film(
        self, made: dict[Kind, Dataset], read: Read
    ) -> None:
        (note,) = made["gsps"].GraphicAnnotationSequence
        text = note.TextObjectSequence[0].UnformattedTextValue
        assert "RESEARCH USE ONLY" in text
        assert f"{100 * read[0].probability:.1f} %" in text
        assert len(note.GraphicObjectSequence) == len(read[1].outlines)
        first = np.reshape(note.GraphicObjectSequence[0].GraphicData, (-1, 2))
        np.testing.assert_allclose(first, read[1].outlines[0], atol=1e-3)
        (series,) = made["gsps"].ReferencedSeriesSequence
        assert series.ReferencedImageSequence[0].ReferencedSOPInstanceUID == FILM

    def test_outline_around_all_of_the_film_lies_on_its_edges(self, read: Read) -> None:
        """PS3.3 C.10.5: from 0, 0 at the first pixel's corner to Columns, Rows at the last's."""
        buffer = BytesIO()
        Image.new("L", (240, 256), 255).save(buffer, "PNG")
        hot = drawn(buffer.getvalue(), read[1].overlay)
        (note,) = by_kind(NAMED, read[0], hot)["gsps"].GraphicAnnotationSequence
        (line,) = note.GraphicObjectSequence
        assert line.GraphicAnnotationUnits == "PIXEL"
        points = np.reshape(line.GraphicData, (-1, 2))
        np.testing.assert_allclose(points.min(axis=0), (0, 0), atol=1e-3)
        np.testing.assert_allclose(points.max(axis=0), (240, 256), atol=1e-3)
        assert (points >= 0).all()
        assert (points <= (240, 256)).all()

    def test_without_heat_has_text_alone(self, read: Read) -> None:
        buffer = BytesIO()
        Image.new("L", (240, 256)).save(buffer, "PNG")
        empty = drawn(buffer.getvalue(), read[1].overlay)
        (note,) = by_kind(NAMED, read[0], empty)["gsps"].GraphicAnnotationSequence
        assert "GraphicObjectSequence" not in note
        assert note.TextObjectSequence

    @pytest.mark.parametrize(
        ("photometric", "shape"), [("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "IDENTITY")]
    )
    def test_keeps_the_polarity(self, read: Read, photometric: str, shape: str) -> None:
        state = by_kind(film(photometric=photometric), *read)["gsps"]
        assert state.PresentationLUTShape == shape

    def test_keeps_rescale_and_window(self, made: dict[Kind, Dataset]) -> None:
        state = made["gsps"]
        assert (float(state.RescaleSlope), float(state.RescaleIntercept)) == (1, 0)
        (voi,) = state.SoftcopyVOILUTSequence
        assert (float(voi.WindowCenter), float(voi.WindowWidth)) == (2048, 4096)

    @pytest.mark.parametrize(
        ("stated", "told"), [("OD", "OD"), (None, "US"), ("ü", "US"), ("X" * 65, "US")]
    )
    def test_keeps_what_the_values_stand_for(
        self, read: Read, stated: str | None, told: str
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is too long
            state = by_kind(film(**DX, RescaleType=stated), *read)["gsps"]
        assert state.RescaleType == told

    @pytest.mark.parametrize(("function", "kept"), [("SIGMOID", 1), ("LINEAR_EXACT", 1), (None, 0)])
    def test_keeps_a_window_narrower_than_1_where_its_function_may_have_one(
        self, read: Read, function: str | None, kept: int
    ) -> None:
        narrow = {"WindowCenter": "0.5", "WindowWidth": "0.5", "RescaleSlope": "0.0002"}
        state = by_kind(film(**DX | narrow, VOILUTFunction=function), *read)["gsps"]
        windows = [float(voi.WindowWidth) for voi in state.get("SoftcopyVOILUTSequence", ())]
        assert windows == [0.5] * kept

    @pytest.mark.parametrize("entries", [4096, 65_536])
    @pytest.mark.parametrize(
        ("keyword", "tags"),
        [
            ("VOILUTSequence", {"RescaleIntercept": "-2048"}),
            ("VOILUTSequence", {"PixelRepresentation": 1}),
            ("ModalityLUTSequence", {"PixelRepresentation": 1}),
        ],
    )
    def test_keeps_the_sign_of_a_table(
        self, read: Read, tmp_path: Path, keyword: str, tags: dict[str, Any], entries: int
    ) -> None:
        first = -2048 if entries == 4096 else -32_768
        ramp = np.linspace(0, 65_535, entries)
        table = lut(ramp, first=first, depth=16, signed=True, packing="OW")
        state = by_kind(film(**DX | tags | {keyword: [table]}), *read)["gsps"]
        (tmp_path / "state.dcm").write_bytes(encoded(state))
        assert verified(tmp_path / "state.dcm") == []
        found = dcmread(tmp_path / "state.dcm")
        holder = found if keyword == "ModalityLUTSequence" else found.SoftcopyVOILUTSequence[0]
        (kept,) = holder[keyword].value
        assert list(kept.LUTDescriptor) == [entries % 65_536, first, 16]

    @pytest.mark.parametrize("function", ["SIGMOID", "LINEAR_EXACT"])
    def test_keeps_the_function_of_the_window(self, read: Read, function: str) -> None:
        state = by_kind(film(**DX, VOILUTFunction=function), *read)["gsps"]
        assert state.SoftcopyVOILUTSequence[0].VOILUTFunction == function

    def test_keeps_tables_and_prefers_them(self, read: Read) -> None:
        table = lut(np.arange(4096) // 16, first=0, depth=8)
        state = by_kind(film(**DX, VOILUTSequence=[table]), *read)["gsps"]
        (voi,) = state.SoftcopyVOILUTSequence
        assert "WindowCenter" not in voi
        (kept,) = voi.VOILUTSequence
        assert list(kept.LUTDescriptor) == [4096, 0, 16]
        found = np.frombuffer(kept.LUTData, "<u2")
        np.testing.assert_array_equal(found, np.arange(4096) // 16 * 257)  # of 16 bits

    @pytest.mark.parametrize(
        "unusable",
        [
            {"WindowWidth": "0"},
            {"WindowWidth": "1e300"},
            {"WindowCenter": None},
            {"WindowWidth": None},
        ],
    )
    def test_has_no_window_where_the_film_has_none_that_works(
        self, read: Read, unusable: dict[str, Any]
    ) -> None:
        state = by_kind(film(**DX | unusable), *read)["gsps"]
        assert "SoftcopyVOILUTSequence" not in state


class TestSegmentation:
    def test_marks_half_of_the_peak(self, made: dict[Kind, Dataset], read: Read) -> None:
        found = made["seg"]
        assert found.SegmentationType == "BINARY"
        np.testing.assert_array_equal(found.pixel_array.reshape(256, 240) > 0, read[1].mask)
        (segment,) = found.SegmentSequence
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        (series,) = found.ReferencedSeriesSequence  # without which OHIF shows nothing
        assert series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == FILM

    def test_of_an_odd_size_is_right_too(self, reader: Reader) -> None:
        data = film(chest(251, 233))
        read = read_by(reader, data)
        found = by_kind(data, *read)["seg"]
        np.testing.assert_array_equal(found.pixel_array.reshape(251, 233) > 0, read[1].mask)
