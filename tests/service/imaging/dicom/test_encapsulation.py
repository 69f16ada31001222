"""Items of Pixel Data as writers leave them, and native pixels whose length is another."""

import struct

import numpy as np
import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, JPEGLosslessSV1

from service.errors import CorruptImage, MultipleFrames, TruncatedImage
from service.imaging.decode import Limits, decode
from service.imaging.plausible import BAND_WARNING
from tests.encoders import jpeg_lossless_bytes
from tests.factories import chest, dicom_bytes

FILM = chest()
STREAM = jpeg_lossless_bytes(FILM, precision=12)
STREAM += b"\0" * (len(STREAM) % 2)
WHOLE = dicom_bytes(FILM, bits_stored=12, transfer_syntax=JPEGLosslessSV1, codestream=STREAM)
HEAD = WHOLE[: WHOLE.index(b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff") + 12]
DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"
HALF = len(STREAM) // 4 * 2


def file_of(items: list[bytes], end: bytes = DELIMITER) -> bytes:
    return HEAD + items_of(items) + end


def items_of(items: list[bytes]) -> bytes:
    return b"".join(b"\xfe\xff\0\xe0" + struct.pack("<L", len(item)) + item for item in items)


@pytest.mark.parametrize(
    "data",
    [
        file_of([b"", STREAM], b""),
        file_of([b"", STREAM], b"\0" * 8),
        file_of([struct.pack("<L", 12345), STREAM]),
        file_of([struct.pack("<2L", 0, HALF + 8), STREAM[:HALF], STREAM[HALF:]]),
        file_of([b"", STREAM[:HALF], STREAM[HALF:]]),
        file_of([b"", STREAM + b"\0" * 64]),
        file_of([STREAM]),
    ],
    ids=[
        "no delimiter",
        "zeros for it",
        "wrong offset",
        "offsets of fragments",
        "fragments",
        "padding",
        "no offset table",
    ],
)
def test_one_whole_frame_is_read(data: bytes) -> None:
    np.testing.assert_array_equal(decode(data, Limits()).pixels, decode(WHOLE, Limits()).pixels)


def test_a_cut_fragment_is_truncated() -> None:
    with pytest.raises(TruncatedImage, match="within an item"):
        decode(file_of([b"", STREAM])[:-100], Limits())


def test_no_fragment_is_corrupt() -> None:
    with pytest.raises(CorruptImage, match="not a sequence of items"):
        decode(file_of([b""]), Limits())


class TestNative:
    def native(self, value: bytes, behind: bytes = b"") -> bytes:
        data = dicom_bytes(FILM, bits_stored=12)
        head = data[: data.index(b"\xe0\x7f\x10\0")]
        return head + b"\xe0\x7f\x10\0OW\0\0" + struct.pack("<L", len(value)) + value + behind

    def test_of_big_endian_in_items_they_are_read_with_a_warning(self) -> None:
        data = dicom_bytes(FILM, bits_stored=12, transfer_syntax=ExplicitVRBigEndian)
        head = data[: data.index(b"\x7f\xe0\0\x10")]
        value = FILM.astype(">u2").tobytes()
        items = b"".join(
            b"\xff\xfe\xe0\0" + struct.pack(">L", len(item)) + item
            for item in (b"", value[:1000], value[1000:])
        )
        packed = decode(head + b"\x7f\xe0\0\x10OW\0\0\xff\xff\xff\xff" + items, Limits())
        np.testing.assert_array_equal(packed.pixels, decode(data, Limits()).pixels)
        assert any("in items" in warning for warning in packed.warnings)

    def test_in_items_they_are_read_with_a_warning(self) -> None:
        plain = decode(self.native(FILM.tobytes()), Limits())
        packed = decode(self.native(items_of([b"", FILM.tobytes()]) + DELIMITER), Limits())
        np.testing.assert_array_equal(packed.pixels, plain.pixels)
        assert any("in items" in warning for warning in packed.warnings)

    def test_too_many_are_refused(self) -> None:
        with pytest.raises(CorruptImage, match="bytes; Rows x Columns need"):
            decode(self.native(FILM.tobytes() + bytes(2 * FILM.shape[1] + 2)), Limits())

    def test_those_of_two_frames_are_refused(self) -> None:
        with pytest.raises(MultipleFrames):
            decode(self.native(FILM.tobytes() * 2), Limits())

    @pytest.mark.parametrize(
        ("behind", "warned"),
        [
            (b"", False),
            (b"\xfc\xff\xfc\xffOB\0\0\x02\0\0\0\0\0", False),  # Data Set Trailing Padding
            (FILM.tobytes()[:100], True),
            (b"\0" * 30, True),
        ],
        ids=["nothing", "an element", "pixels", "zeros"],
    )
    def test_what_follows_is_an_element_or_warned_of(self, behind: bytes, *, warned: bool) -> None:
        warnings = decode(self.native(FILM.tobytes(), behind), Limits()).warnings
        assert any("followed by" in warning for warning in warnings) == warned

    @pytest.mark.parametrize(
        ("first", "rows", "warned"),
        [(100, 1, False), (100, 4, True), (0, 20, False), (0, 30, True), (226, 30, True)],
    )
    def test_a_band_of_zeros_is_warned_of(self, first: int, rows: int, *, warned: bool) -> None:
        film = FILM.copy()
        film[first : first + rows] = 0
        warnings = decode(self.native(film.tobytes()), Limits()).warnings
        assert (BAND_WARNING in warnings) == warned


@pytest.mark.parametrize("samples", [np.uint8, np.uint16])
def test_chroma_of_each_pixel_is_told_by_the_length(samples: type[np.generic]) -> None:
    luma = chest(bits=8).astype(samples)
    ybr = np.stack([luma, np.full_like(luma, 128), np.full_like(luma, 128)], axis=2)
    data = dicom_bytes(
        ybr, photometric="YBR_FULL_422", bits_stored=8, transfer_syntax=ExplicitVRLittleEndian
    )
    np.testing.assert_allclose(decode(data, Limits()).pixels, luma / np.float32(255), atol=1e-6)
