import subprocess
import sys

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from service.errors import NotAnImage, ReadingError, TooManyBytes, TooManyPixels
from service.imaging.decode import HEAD_BYTES, Limits, decode, format_of
from service.imaging.radiograph import Radiograph
from tests.factories import bare_dicom_bytes, chest, dicom_bytes, jpeg_bytes, png_bytes

LIMITS = Limits()
SMALL = chest(40, 36)
FILES = {
    "explicit": dicom_bytes(SMALL),
    "implicit": dicom_bytes(SMALL, transfer_syntax=ImplicitVRLittleEndian),
    "deflated": dicom_bytes(SMALL, transfer_syntax=DeflatedExplicitVRLittleEndian),
    "rle": dicom_bytes(SMALL, transfer_syntax=RLELossless),
    "jpeg-lossless": dicom_bytes(SMALL, transfer_syntax=JPEGLosslessSV1),
    "jpeg-ls": dicom_bytes(SMALL, transfer_syntax=JPEGLSLossless),
    "jpeg-2000": dicom_bytes(SMALL, transfer_syntax=JPEG2000Lossless),
    "windowed": dicom_bytes(
        SMALL, transfer_syntax=ExplicitVRLittleEndian, WindowCenter=900, WindowWidth=1200
    ),
    "bare": bare_dicom_bytes(pixels=SMALL),
    "png": png_bytes(SMALL),
    "palette-png": png_bytes(chest(40, 36, bits=8), mode="P"),
    "jpeg": jpeg_bytes(chest(40, 36, bits=8)),
}


class TestDispatch:
    def test_content_decides_the_format(self) -> None:
        found = [decode(data, LIMITS).format for data in (dicom_bytes(), png_bytes(), jpeg_bytes())]
        assert found == ["DICOM", "PNG", "JPEG"]

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\0" * 200,
            b"GIF89a" + b"\0" * 200,
            b"BM" + b"\0" * 200,
            b"II*\0" + b"\0" * 200,
            b"%PDF-1.7" + b"\0" * 200,
            b"<html><body>not found</body></html>",
            b"\x08\x00",
            b"\x08\x00\x05\x00not a length at all",
        ],
    )
    def test_anything_else_is_refused_with_what_is_read(self, data: bytes) -> None:
        with pytest.raises(NotAnImage, match="Send a DICOM, PNG or JPEG file"):
            decode(data, LIMITS)

    def test_bytes_are_counted_before_the_content_is_looked_at(self) -> None:
        with pytest.raises(TooManyBytes, match="101 bytes; at most 100"):
            decode(b"?" * 101, Limits(max_bytes=100))

    @pytest.mark.parametrize(
        "data", [png_bytes(SMALL), jpeg_bytes(chest(40, 36, bits=8)), dicom_bytes(SMALL)]
    )
    def test_pixels_are_bounded_in_every_format(self, data: bytes) -> None:
        assert decode(data, Limits(max_pixels=1440)).rows == 40
        with pytest.raises(TooManyPixels, match="1,439"):
            decode(data, Limits(max_pixels=1439))


class TestFormat:
    @pytest.mark.parametrize("name", FILES)
    def test_the_first_bytes_suffice(self, name: str) -> None:
        head = FILES[name][:HEAD_BYTES]
        assert format_of(head) == format_of(FILES[name]) == decode(FILES[name], LIMITS).format

    @pytest.mark.parametrize("first", [b"\x08\0\x16\0", b"\x08\0\x18\0", b"\x08\0\x60\0"])
    def test_data_set_that_starts_anywhere_in_group_8_is_dicom(self, first: bytes) -> None:
        for implicit_vr in (False, True):
            data = bare_dicom_bytes(pixels=SMALL, implicit_vr=implicit_vr)
            data = data[data.index(first) :]
            if first == b"\x08\0\x60\0":  # nothing of the film is missing yet
                assert decode(data, LIMITS).rows == 40
            assert format_of(data[:HEAD_BYTES]) == "DICOM"

    @pytest.mark.parametrize("vr", ["TM", "AE", "LT", "PN", "UL"])
    def test_any_vr_may_come_first(self, vr: str) -> None:
        head = b"\x08\0\x30\0" + vr.encode() + b"\x06\x00101010"
        assert format_of(head + bytes(120)) == "DICOM"

    @pytest.mark.parametrize("data", [b"", b"\x08\0", b"GIF89a" + bytes(200), b"path,label\n" * 20])
    def test_other_content_has_no_format(self, data: bytes) -> None:
        assert format_of(data) is None


class TestHostileBytes:
    @pytest.mark.parametrize("name", FILES)
    def test_every_mutation_is_read_or_refused(self, name: str) -> None:
        rng = np.random.default_rng(list(FILES).index(name))
        original = FILES[name]
        decode(original, LIMITS)
        refused = 0
        for _ in range(60):
            data = bytearray(original)
            # Half of the mutations hit the first bytes, where headers and tables are.
            reach = len(data) if rng.random() < 0.5 else min(len(data), 1200)
            for place in rng.integers(0, reach, rng.integers(1, 6)):
                data[place] = rng.integers(256)
            cut = int(rng.integers(len(data))) if rng.random() < 0.2 else len(data)
            refused += not _read_or_refused(bytes(data[:cut]))
        assert refused > 0

    @pytest.mark.parametrize("name", FILES)
    def test_every_cut_is_read_or_refused(self, name: str) -> None:
        data = FILES[name]
        for end in range(0, len(data), max(1, len(data) // 60)):
            _read_or_refused(data[:end])


def _read_or_refused(data: bytes) -> bool:
    """Whether the bytes are read; every exception but a refusal fails the test."""
    try:
        radiograph = decode(data, LIMITS)
    except ReadingError:
        return False
    assert isinstance(radiograph, Radiograph)
    assert radiograph.pixels.dtype == np.float32
    assert np.isfinite(radiograph.pixels).all()
    assert 0 <= radiograph.pixels.min() <= radiograph.pixels.max() <= 1
    return True


def test_importing_the_package_loads_no_server_and_no_network_library() -> None:
    code = (
        "import sys; import service.imaging.decode, service.imaging.overlay; "
        "print({'bentoml', 'onnxruntime', 'torch', 'cv2', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
