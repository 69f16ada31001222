from typing import Any

import numpy as np
import pytest
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    JPEGLosslessSV1,
    SecondaryCaptureImageStorage,
)

from service.errors import (
    MultipleFrames,
    NoPixelData,
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


def with_frames(text: bytes) -> bytes:
    """Write Number of Frames as this text, which pydicom would not."""
    text += b" " * (len(text) % 2)
    place = (data := dicom_bytes()).index(b"\x28\0\x10\0US")
    head = b"\x28\0\x08\0IS" + len(text).to_bytes(2, "little")
    return data[:place] + head + text + data[place:]


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
        "tags",
        [
            {"PresentationIntentType": "FOR PROCESSING"},
            {"PresentationIntentType": "for_processing"},
            {"Modality": "DX", "SOPClassUID": DigitalXRayImageStorageForProcessing},
        ],
    )
    def test_raw_detector_data_is_refused(self, tags: dict[str, Any]) -> None:
        with pytest.raises(UnsupportedPixels, match=r"\(0008,0068\)"):
            read(dicom_bytes(**tags))

    @pytest.mark.parametrize(
        "tags",
        [
            {"PresentationIntentType": "FOR PRESENTATION"},
            {"Modality": "DX", "SOPClassUID": DigitalXRayImageStorageForPresentation},
            {"ImageType": ["DERIVED", "SECONDARY"]},
            {"ImageType": ["ORIGINAL", "PRIMARY", ""]},
        ],
    )
    def test_images_as_displayed_are_read(self, tags: dict[str, Any]) -> None:
        assert read(dicom_bytes(**tags)).warnings == ()

    def test_localizer_is_refused(self) -> None:
        with pytest.raises(UnsupportedModality, match=r"\(0008,0008\)"):
            read(dicom_bytes(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))

    @pytest.mark.parametrize(
        "text",
        [b"0", b"1", b"01", b"+1", b" 1", b"1 ", b"1\0", b"1.0", b"+001. ", b"", b"  ", b"-0"],
    )
    def test_one_frame_in_any_spelling_is_read(self, text: bytes) -> None:
        np.testing.assert_array_equal(read(with_frames(text)).pixels, read(dicom_bytes()).pixels)

    @pytest.mark.parametrize(
        ("text", "fact"),
        [
            (b"2", "2"),
            (b"+3", "3"),
            (b" 012", "12"),
            (b"2.0", "2"),
            (b"123456789", "123,456,789"),
            (b"-1", "not a number"),
            (b"1.5", "not a number"),
            (b"one", "not a number"),
            (b"0x1", "not a number"),
            (b"9" * 40, "not a number"),
        ],
    )
    def test_other_numbers_of_frames_are_refused(self, text: bytes, fact: str) -> None:
        with pytest.raises(MultipleFrames, match=rf"\(0028,0008\) is {fact}"):
            read(with_frames(text))

    @pytest.mark.parametrize(
        ("photometric", "shape", "contradictory"),
        [
            ("MONOCHROME1", "INVERSE", False),
            ("MONOCHROME2", "IDENTITY", False),
            ("MONOCHROME1", "IDENTITY", True),
            ("MONOCHROME2", "INVERSE", True),
            ("MONOCHROME2", "inverse ", True),
        ],
    )
    def test_contradictory_polarity_is_a_warning(
        self, photometric: str, shape: str, *, contradictory: bool
    ) -> None:
        data = dicom_bytes(photometric=photometric, PresentationLUTShape=shape)
        assert any("(2050,0020)" in warning for warning in read(data).warnings) == contradictory

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
