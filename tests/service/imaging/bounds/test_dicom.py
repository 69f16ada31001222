import struct
import zlib

import numpy as np
import pytest
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from service.errors import (
    CorruptImage,
    ReadingError,
    TooManyBytes,
    TooManyPixels,
    TruncatedImage,
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


class TestBounds:
    def test_pixels_are_counted_before_any_is_decoded(self) -> None:
        # The codestream is none: reaching a decoder would raise CorruptImage.
        data = dicom_bytes(
            transfer_syntax=JPEG2000, codestream=b"\0" * 64, Rows=60000, Columns=60000
        )
        with pytest.raises(TooManyPixels, match=r"60000 x 60000"):
            read(data)

    @pytest.mark.parametrize(
        ("rows", "columns", "error"),
        [
            (60_000, 600, TooManyPixels),
            (16_385, 2_300, TooManyPixels),
            (1_000, 8_001, UnsupportedPixels),
        ],
    )
    def test_shape_that_no_film_has_is_refused_before_decoding(
        self, rows: int, columns: int, error: type[ReadingError]
    ) -> None:
        data = dicom_bytes(
            transfer_syntax=JPEG2000, codestream=b"\0" * 64, Rows=rows, Columns=columns
        )
        with pytest.raises(error, match=rf"\(0028,0010\).*\(0028,0011\) is {rows} x {columns}"):
            read(data)

    def test_codestream_larger_than_its_header_is_refused(self) -> None:
        data = dicom_bytes(
            chest(64, 64), transfer_syntax=JPEGLosslessSV1, codestream=jpeg_lossless_bytes(chest())
        )
        with pytest.raises(CorruptImage, match=r"\(0028,0010\)"):
            read(data)

    def test_deflated_bomb_is_refused_at_the_limit(self) -> None:
        plain = dicom_bytes(transfer_syntax=DeflatedExplicitVRLittleEndian)
        (length,) = struct.unpack("<L", plain[140:144])
        meta = plain[: 144 + length]
        deflater = zlib.compressobj(wbits=-15)
        zeros = deflater.compress(bytes(50_000_000)) + deflater.flush()
        with pytest.raises(TooManyBytes, match="after inflation"):
            decode(meta + zeros, Limits(max_bytes=1_000_000))

    def test_run_length_bomb_does_not_inflate(self) -> None:
        frame = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\x00" * 500_000
        pixels = np.zeros((8, 8), np.uint8)
        radiograph = read(dicom_bytes(pixels, transfer_syntax=RLELossless, codestream=frame))
        assert radiograph.pixels.shape == (8, 8)

    def test_endless_header_is_refused(self) -> None:
        data = dicom_bytes()
        place = data.index(b"\x28\x00\x02\x00US")
        flood = b"\x09\x00\x01\x10LO\x00\x00" * 30_000
        with pytest.raises(CorruptImage, match="elements"):
            read(data[:place] + flood + data[place:])

    @pytest.mark.parametrize(
        "syntax",
        [
            ExplicitVRLittleEndian,
            ImplicitVRLittleEndian,
            DeflatedExplicitVRLittleEndian,
            RLELossless,
            JPEG2000Lossless,
            JPEGLSLossless,
        ],
    )
    @pytest.mark.parametrize("share", [0.5, 0.99])
    def test_cut_file_is_truncated(self, syntax: str, share: float) -> None:
        data = dicom_bytes(transfer_syntax=syntax)
        with pytest.raises(TruncatedImage):
            read(data[: int(len(data) * share)])

    def test_cut_within_the_header_is_truncated(self) -> None:
        data = dicom_bytes()
        with pytest.raises(TruncatedImage, match="header"):
            read(data[: data.index(b"MONOCHROME2") + 4])

    def test_cut_codestream_in_a_whole_item_is_truncated(self) -> None:
        cut = jpeg_lossless_bytes(chest())[:2000]
        with pytest.raises(TruncatedImage, match="end marker"):
            read(dicom_bytes(transfer_syntax=JPEGLosslessSV1, codestream=cut))

    def test_pixel_data_shorter_than_the_image_is_truncated(self) -> None:
        with pytest.raises(TruncatedImage, match="Rows x Columns"):
            read(dicom_bytes(chest(64, 64), Rows=65))


class TestBehindPixelData:
    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    def test_bytes_that_are_no_element_are_warned_of(self, syntax: str) -> None:
        whole = dicom_bytes(transfer_syntax=syntax)
        for rest in (b"\xff" * 600, bytes(512), b"\0" * 3, whole[-600:]):
            warnings = read(whole + rest).warnings
            assert any("followed by other bytes" in warning for warning in warnings)

    @pytest.mark.parametrize("content", [bytes(512), None])
    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    def test_elements_are_not(self, syntax: str, content: bytes | None) -> None:
        whole = dicom_bytes(transfer_syntax=syntax)
        vr = b"" if syntax == ImplicitVRLittleEndian else b"SQ\0\0"
        length = 0xFFFFFFFF if content is None else len(content)
        end = b"\xfe\xff\xdd\xe0" + bytes(4)
        tag = struct.pack("<HH", 0xFFFA, 0xFFFA)  # Digital Signatures Sequence
        behind = tag + vr + struct.pack("<L", length) + (end if content is None else content)
        assert read(whole + behind).warnings == read(whole).warnings
