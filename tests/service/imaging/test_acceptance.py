from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEGLosslessSV1,
    SecondaryCaptureImageStorage,
)

from service.errors import (
    MultipleFrames,
    NoPixelData,
    NotAChest,
    NotFrontal,
    UnsupportedModality,
    UnsupportedPixels,
)
from service.imaging.decode import Limits, decode
from service.imaging.radiograph import Radiograph
from tests.encoders import jpeg_lossless_bytes
from tests.factories import (
    chest,
    dicom_bytes,
)

LIMITS = Limits()


def read(data: bytes) -> Radiograph:
    return decode(data, LIMITS)


class TestRefusals:
    @pytest.mark.parametrize("modality", ["CT", "MR", "US", "MG", "XA", "PT", "NM", "OT"])
    def test_modality_is_named(self, modality: str) -> None:
        with pytest.raises(UnsupportedModality, match=rf"\(0008,0060\) is '{modality}'"):
            read(dicom_bytes(Modality=modality))

    @pytest.mark.parametrize("modality", ["CR", "DX", "DR", "RG"])
    def test_projection_radiography_is_read(self, modality: str) -> None:
        assert read(dicom_bytes(Modality=modality)).warnings == ()

    @pytest.mark.parametrize("modality", ["OT", "SC"])
    def test_secondary_capture_is_read_with_a_warning(self, modality: str) -> None:
        data = dicom_bytes(Modality=modality, SOPClassUID=SecondaryCaptureImageStorage)
        assert "Secondary capture" in read(data).warnings[0]

    def test_absent_modality_is_refused(self) -> None:
        with pytest.raises(UnsupportedModality, match="absent"):
            read(dicom_bytes(Modality=None))

    @pytest.mark.parametrize(
        "part", ["CHEST", "THORAX", "chest pa", "LUNG", "THX", "CHEST_ABDOMEN"]
    )
    def test_chest_and_its_synonyms_are_read(self, part: str) -> None:
        assert read(dicom_bytes(BodyPartExamined=part)).warnings == ()

    @pytest.mark.parametrize("part", ["HAND", "ABDOMEN", "TSPINE", "KNEE"])
    def test_other_body_part_is_named(self, part: str) -> None:
        with pytest.raises(NotAChest, match=rf"\(0018,0015\) is '{part}'"):
            read(dicom_bytes(BodyPartExamined=part))

    @pytest.mark.parametrize("part", [None, ""])
    def test_absent_body_part_is_a_warning(self, part: str | None) -> None:
        (warning,) = read(dicom_bytes(BodyPartExamined=part)).warnings
        assert "(0018,0015)" in warning

    @pytest.mark.parametrize("view", ["LL", "RL", "LATERAL", "LLO", "LLD", "LAT"])
    def test_other_view_is_named(self, view: str) -> None:
        with pytest.raises(NotFrontal, match=rf"\(0018,5101\) is '{view}'"):
            read(dicom_bytes(view=view))

    @pytest.mark.parametrize(
        ("stated", "view"), [("PA", "PA"), ("AP", "AP"), ("ap", "AP"), ("AP SUPINE", "AP")]
    )
    def test_frontal_view_is_reported(self, stated: str, view: str) -> None:
        assert read(dicom_bytes(view=stated)).view == view

    @pytest.mark.parametrize("view", [None, ""])
    def test_absent_view_is_a_warning(self, view: str | None) -> None:
        radiograph = read(dicom_bytes(view=view))
        assert radiograph.view is None
        assert "(0018,5101)" in radiograph.warnings[0]

    @pytest.mark.parametrize(("value", "view"), [("399348003", "AP"), ("R-10214", "PA")])
    def test_view_code_stands_in_for_an_absent_view(self, value: str, view: str) -> None:
        item = Dataset()
        item.CodeValue = value
        assert read(dicom_bytes(view=None, ViewCodeSequence=[item])).view == view

    def test_lateral_view_code_is_refused(self) -> None:
        item = Dataset()
        item.CodeValue = "399173006"
        with pytest.raises(NotFrontal, match=r"\(0054,0220\)"):
            read(dicom_bytes(view=None, ViewCodeSequence=[item]))

    def test_orientation_of_a_lateral_view_is_refused(self) -> None:
        with pytest.raises(NotFrontal, match=r"\(0020,0020\)"):
            read(dicom_bytes(view=None, PatientOrientation=["A", "F"]))

    def test_several_frames_are_refused(self) -> None:
        with pytest.raises(MultipleFrames, match=r"\(0028,0008\) is 3"):
            read(dicom_bytes(np.zeros((3, 8, 8), np.uint16)))

    def test_several_jpegs_in_one_frame_are_refused(self) -> None:
        one = jpeg_lossless_bytes(chest())
        with pytest.raises(MultipleFrames):
            read(dicom_bytes(transfer_syntax=JPEGLosslessSV1, codestream=one + one))

    def test_object_without_pixels_is_refused(self) -> None:
        header = dicom_bytes()
        with pytest.raises(NoPixelData, match=r"\(7FE0,0010\)"):
            read(header[: header.index(b"\xe0\x7f\x10\x00OW")])

    @pytest.mark.parametrize(
        "tags",
        [
            {"BitsAllocated": 32, "BitsStored": 32},
            {"BitsStored": 17},
            {"SamplesPerPixel": 3},
            {"SamplesPerPixel": 0},
            {"PhotometricInterpretation": "CMYK"},
            {"Rows": 0},
            {"Columns": None},
        ],
    )
    def test_layout_that_radiographs_do_not_use_is_refused(self, tags: dict[str, Any]) -> None:
        with pytest.raises(UnsupportedPixels):
            read(dicom_bytes(**tags))
