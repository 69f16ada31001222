from io import BytesIO
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from service.errors import (
    NotAChest,
    UnsupportedModality,
    UnsupportedTransferSyntax,
)
from service.imaging.decode import Limits, decode
from service.imaging.dicom.pixels import READ
from service.imaging.radiograph import Radiograph
from tests.factories import (
    bare_dicom_bytes,
    chest,
    dicom_bytes,
)

LIMITS = Limits()
FULL_WINDOW: dict[str, Any] = {
    "WindowCenter": 127.5,
    "WindowWidth": 255,
    "VOILUTFunction": "LINEAR_EXACT",
}


def read(data: bytes) -> Radiograph:
    return decode(data, LIMITS)


def real(name: str) -> bytes:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    with open(path, "rb") as file:  # noqa: PTH123 - pydicom gives a string
        return file.read()


def relabelled(name: str, **tags: Any) -> bytes:
    """Put the compressed frame of a real file under the header of a chest radiograph."""
    source = dcmread(BytesIO(real(name)))
    kept = {
        tag: source.get(tag)
        for tag in ("HighBit", "PixelRepresentation", "PlanarConfiguration")
        if tag in source
    }
    shape = (source.Rows, source.Columns, 3)[: 3 if source.SamplesPerPixel == 3 else 2]
    return dicom_bytes(
        np.zeros(shape, np.uint8 if source.BitsAllocated == 8 else np.uint16),
        photometric=source.PhotometricInterpretation,
        transfer_syntax=source.file_meta.TransferSyntaxUID,
        bits_stored=source.BitsStored,
        codestream=next(generate_frames(source.PixelData, number_of_frames=1)),
        **(kept | tags),
    )


class TestRealFiles:
    def test_computed_radiography_chest_is_read_with_its_view(self) -> None:
        radiograph = read(real("RG1_J2KI.dcm"))
        assert (radiograph.rows, radiograph.columns) == (1955, 1841)
        assert (radiograph.view, radiograph.photometric) == ("PA", "MONOCHROME1")
        assert radiograph.transfer_syntax == JPEG2000
        assert radiograph.warnings == ()
        # The mediastinum is brighter than the lungs beside it.
        assert radiograph.pixels[900, 900] > radiograph.pixels[700, 500] + 0.1

    def test_lossy_and_uncompressed_copies_agree(self) -> None:
        lossy, exact = read(real("RG1_J2KI.dcm")).pixels, read(real("RG1_UNCR.dcm")).pixels
        assert np.abs(lossy - exact).mean() < 0.01

    def test_extremity_is_refused_by_its_body_part(self) -> None:
        with pytest.raises(NotAChest, match=r"\(0018,0015\) is 'EXTREMITY'"):
            read(real("RG3_J2KI.dcm"))

    @pytest.mark.parametrize(
        ("name", "tag"),
        [
            ("CT_small.dcm", r"\(0008,0060\) is 'CT'"),
            ("MR_small_implicit.dcm", r"\(0008,0060\) is 'MR'"),
            ("JPEG-LL.dcm", r"\(0008,0060\) is 'NM'"),
            ("rtplan.dcm", r"\(0008,0060\) is 'RTPLAN'"),
            ("test-SR.dcm", r"\(0008,0060\) is 'SR'"),
        ],
    )
    def test_other_modalities_are_refused_by_name(self, name: str, tag: str) -> None:
        with pytest.raises(UnsupportedModality, match=tag):
            read(real(name))

    @pytest.mark.parametrize(
        "name",
        [
            "JPGExtended.dcm",
            "JPGLosslessP14SV1_1s_1f_8b.dcm",
            "MR_small_jpeg_ls_lossless.dcm",
            "JPEGLSNearLossless_08.dcm",
            "JPEGLSNearLossless_16.dcm",
            "MR2_J2KI.dcm",
            "693_J2KR.dcm",
            "J2K_pixelrep_mismatch.dcm",
            "MR_small_RLE.dcm",
            "SC_rgb_jpeg_gdcm.dcm",
            "SC_rgb_jls_lossy_sample.dcm",
            "US1_J2KR.dcm",
        ],
    )
    def test_real_codestreams_decode_to_what_pydicom_shows(self, name: str) -> None:
        white = 65535 if name.endswith("_16.dcm") else 255
        window = {"WindowCenter": white / 2, "WindowWidth": white}
        radiograph = read(relabelled(name, **FULL_WINDOW | window))
        expected = dcmread(BytesIO(real(name))).pixel_array
        tolerance = (
            1.01 / 255 if name == "JPGExtended.dcm" else 1e-6
        )  # decoders round cosines otherwise
        if expected.ndim == 3:
            expected = expected @ np.array([0.299, 0.587, 0.114])
            np.testing.assert_allclose(radiograph.pixels, expected / 255, atol=0.02)
        else:
            np.testing.assert_allclose(
                radiograph.pixels, np.clip(expected / white, 0, 1), atol=tolerance
            )


# 16 x 24 pixels of 16 bits, value 97 (row + column); written by OpenJPH.
HTJ2K_CODESTREAM = bytes.fromhex(
    "ff4fff5100294000000000180000001000000000000000000000001800000010000000000000000000010f0101"
    "ff50000800020000000aff52000c00020001000504044001ff5c00132088909090909090909090909090888888"
    "ff64001700014f70656e4a50482056657220302e32362e332eff90000a00000000009a0001ff93c000263df605"
    "077400c0001300fcfc03077400c00012c0001380ed00877400ec66f700a23400c00013c000154074d3fd820b74"
    "0074d3a5fb001080775600c0001530000570b2b2b2b2da71827500b26565656565e018f63181ecb800c0002be0"
    "0016d040201008040281f3fa7a7a71027800c0402010080402814020f0ff1002101efd88407bf62101ecbf00ff"
    "d9"
)


class TestTransferSyntaxes:
    @pytest.mark.parametrize(
        "syntax",
        [
            ImplicitVRLittleEndian,
            ExplicitVRLittleEndian,
            ExplicitVRBigEndian,
            DeflatedExplicitVRLittleEndian,
            RLELossless,
            JPEGLossless,
            JPEGLosslessSV1,
            JPEGLSLossless,
            JPEG2000Lossless,
        ],
    )
    @pytest.mark.parametrize("bits", [8, 12, 16])
    def test_lossless_syntaxes_give_equal_pixels(self, syntax: str, bits: int) -> None:
        plain = read(dicom_bytes(chest(bits=bits)))
        coded = read(dicom_bytes(chest(bits=bits), transfer_syntax=syntax))
        np.testing.assert_array_equal(coded.pixels, plain.pixels)
        assert coded.transfer_syntax == syntax

    def test_jpeg_baseline_is_read(self) -> None:
        plain = read(dicom_bytes(chest(bits=8)))
        coded = read(dicom_bytes(chest(bits=8), transfer_syntax=JPEGBaseline8Bit))
        assert np.abs(coded.pixels - plain.pixels).mean() < 0.01

    @pytest.mark.parametrize("syntax", [HTJ2K, HTJ2KLossless])
    def test_high_throughput_jpeg_2000_is_read(self, syntax: str) -> None:
        pixels = (np.add.outer(np.arange(16), np.arange(24)) * 97).astype(np.uint16)
        data = dicom_bytes(pixels, transfer_syntax=syntax, codestream=HTJ2K_CODESTREAM)
        np.testing.assert_array_equal(read(data).pixels, read(dicom_bytes(pixels)).pixels)

    @pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
    def test_signed_pixels_survive_compression(self, syntax: str) -> None:
        pixels = (chest().astype(np.int32) - 2000).astype(np.int16)
        plain = read(dicom_bytes(pixels))
        np.testing.assert_array_equal(
            read(dicom_bytes(pixels, transfer_syntax=syntax)).pixels, plain.pixels
        )

    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
    def test_odd_number_of_8_bit_pixels_is_read(self, syntax: str) -> None:
        pixels = np.array([[0, 50, 100], [150, 200, 255], [3, 2, 1]], np.uint8)
        radiograph = read(dicom_bytes(pixels, transfer_syntax=syntax, **FULL_WINDOW))
        np.testing.assert_allclose(radiograph.pixels, pixels / 255, atol=1e-6)

    @pytest.mark.parametrize("implicit_vr", [True, False])
    def test_data_set_without_preamble_and_meta_is_read(self, *, implicit_vr: bool) -> None:
        bare = read(bare_dicom_bytes(implicit_vr=implicit_vr))
        np.testing.assert_array_equal(bare.pixels, read(dicom_bytes()).pixels)

    def test_missing_preamble_before_meta_is_read(self) -> None:
        np.testing.assert_array_equal(read(dicom_bytes()[132:]).pixels, read(dicom_bytes()).pixels)

    def test_those_that_are_read_are_these_whatever_pydicom_lists(self) -> None:
        """JPEG, JPEG-LS, JPEG 2000 but for its multi-component parts, RLE, and uncompressed."""
        jpeg = ["50", "51", "57", "70", "80", "81", "90", "91", "201", "202", "203"]
        others = ["", ".1", ".1.99", ".2", ".5", *(f".4.{number}" for number in jpeg)]
        assert {f"1.2.840.10008.1.2{other}" for other in others} == READ

    def test_video_is_refused_by_its_uid(self) -> None:
        data = dicom_bytes(transfer_syntax=MPEG2MPML, codestream=b"\0" * 64)
        with pytest.raises(UnsupportedTransferSyntax, match=r"\(0002,0010\) is '1\.2\.840\.10008"):
            read(data)

    def test_private_transfer_syntax_is_not_quoted(self) -> None:
        data = dicom_bytes(transfer_syntax="1.2.3.4", codestream=b"\0" * 64)
        with pytest.raises(UnsupportedTransferSyntax, match="not a defined term"):
            read(data)
