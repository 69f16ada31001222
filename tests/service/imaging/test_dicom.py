import logging
import struct
import traceback
import warnings
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
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
    SecondaryCaptureImageStorage,
)

from service.errors import (
    CorruptImage,
    MultipleFrames,
    NoPixelData,
    NotAChest,
    NotFrontal,
    ReadingError,
    TooManyBytes,
    TooManyPixels,
    TruncatedImage,
    UnsupportedModality,
    UnsupportedPixels,
    UnsupportedTransferSyntax,
)
from service.imaging.decode import Limits, decode
from service.imaging.radiograph import Radiograph
from service.imaging.standardise import InputSpec, standardise
from tests.factories import (
    Pixels,
    bare_dicom_bytes,
    chest,
    dicom_bytes,
    jpeg_lossless_bytes,
    png_bytes,
)

LIMITS = Limits()
RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)
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
        radiograph = read(relabelled(name, **FULL_WINDOW))
        expected = dcmread(BytesIO(real(name))).pixel_array
        if expected.ndim == 3:
            expected = expected @ np.array([0.299, 0.587, 0.114])
            np.testing.assert_allclose(radiograph.pixels, expected / 255, atol=0.02)
        else:
            np.testing.assert_allclose(
                radiograph.pixels, np.clip(expected / 255.0, 0, 1), atol=1e-6
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

    def test_video_is_refused_by_its_uid(self) -> None:
        data = dicom_bytes(transfer_syntax=MPEG2MPML, codestream=b"\0" * 64)
        with pytest.raises(UnsupportedTransferSyntax, match=r"\(0002,0010\) is '1\.2\.840\.10008"):
            read(data)

    def test_private_transfer_syntax_is_not_quoted(self) -> None:
        data = dicom_bytes(transfer_syntax="1.2.3.4", codestream=b"\0" * 64)
        with pytest.raises(UnsupportedTransferSyntax, match="not a defined term"):
            read(data)


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


class TestBounds:
    def test_pixels_are_counted_before_any_is_decoded(self) -> None:
        # The codestream is none: reaching a decoder would raise CorruptImage.
        data = dicom_bytes(
            transfer_syntax=JPEG2000, codestream=b"\0" * 64, Rows=60000, Columns=60000
        )
        with pytest.raises(TooManyPixels, match=r"60000 x 60000"):
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


class TestPresentation:
    def test_monochrome1_is_inverted(self) -> None:
        light = read(dicom_bytes(RAMP, **FULL_WINDOW))
        dark = read(dicom_bytes(RAMP, photometric="MONOCHROME1", **FULL_WINDOW))
        np.testing.assert_allclose(dark.pixels, 1 - light.pixels, atol=1e-6)

    def test_inverse_shape_and_monochrome1_invert_once(self) -> None:
        expected = read(dicom_bytes(RAMP, photometric="MONOCHROME1")).pixels
        for photometric in ("MONOCHROME1", "MONOCHROME2"):
            data = dicom_bytes(RAMP, photometric=photometric, PresentationLUTShape="INVERSE")
            np.testing.assert_array_equal(read(data).pixels, expected)

    def test_negative_slope_inverts(self) -> None:
        plain = read(dicom_bytes(RAMP)).pixels
        data = dicom_bytes(RAMP, RescaleSlope=-1, RescaleIntercept=255)
        np.testing.assert_allclose(read(data).pixels, 1 - plain, atol=0.01)

    def test_only_the_first_window_counts(self) -> None:
        one = read(dicom_bytes(RAMP, WindowCenter=100, WindowWidth=50))
        two = read(dicom_bytes(RAMP, WindowCenter=[100, 9], WindowWidth=[50, 9]))
        np.testing.assert_array_equal(one.pixels, two.pixels)

    @pytest.mark.parametrize(
        "window",
        [
            (127.5, 0),
            (127.5, -20),
            (90000, 10),
            (-5000, 10),
            (float("nan"), 10),
            (None, 10),
            (9, None),
        ],
    )
    def test_unusable_window_falls_back_with_a_warning(
        self, window: tuple[float | None, float | None]
    ) -> None:
        dataset = dicom_bytes(RAMP, WindowCenter=_text(window[0]), WindowWidth=_text(window[1]))
        radiograph = read(dataset)
        assert "(0028,1050)" in radiograph.warnings[0]
        np.testing.assert_array_equal(radiograph.pixels, read(dicom_bytes(RAMP)).pixels)

    def test_bits_above_bits_stored_are_ignored(self) -> None:
        clean = chest(bits=12)
        overlay = clean | np.uint16(0x5000)
        expected = read(dicom_bytes(clean, bits_stored=12)).pixels
        np.testing.assert_array_equal(read(dicom_bytes(overlay, bits_stored=12)).pixels, expected)

    @pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
    def test_padding_is_black_and_does_not_move_the_window(self, photometric: str) -> None:
        inner = chest(bits=12)
        padded = np.pad(inner, 64, constant_values=65000)
        data = dicom_bytes(
            padded, photometric=photometric, PixelPaddingValue=64990, PixelPaddingRangeLimit=65010
        )
        pixels = read(data).pixels
        assert (pixels[:64] == 0).all()
        expected = read(dicom_bytes(inner, photometric=photometric)).pixels
        np.testing.assert_allclose(pixels[64:-64, 64:-64], expected, atol=1e-6)

    def test_negative_padding_of_signed_pixels_is_recognised(self) -> None:
        pixels = np.pad(chest().astype(np.int16), 32, constant_values=-2000)
        data = dicom_bytes(pixels, PixelPaddingValue=-2000)
        assert (read(data).pixels[:32] == 0).all()
        assert read(data).pixels[40:-40].mean() > 0.3

    def test_modality_lut_is_applied(self) -> None:
        data = dicom_bytes(RAMP, ModalityLUTSequence=[_lut(RAMP.ravel()[::-1])], **FULL_WINDOW)
        expected = 1 - read(dicom_bytes(RAMP, **FULL_WINDOW)).pixels
        np.testing.assert_allclose(read(data).pixels, expected, atol=1e-6)

    @pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
    def test_voi_lut_is_applied_before_a_window(self, syntax: str) -> None:
        squares = (np.arange(256) ** 2).astype(np.uint16)
        data = dicom_bytes(
            RAMP, transfer_syntax=syntax, VOILUTSequence=[_lut(squares)], **FULL_WINDOW
        )
        np.testing.assert_allclose(read(data).pixels, (RAMP / 255.0) ** 2, atol=1e-5)

    def test_voi_lut_without_data_is_corrupt(self) -> None:
        with pytest.raises(CorruptImage, match="lookup tables"):
            read(dicom_bytes(VOILUTSequence=[Dataset()]))

    def test_constant_image_is_black(self) -> None:
        assert (read(dicom_bytes(np.full((8, 8), 700, np.uint16))).pixels == 0).all()

    def test_spacing_at_the_detector_comes_first(self) -> None:
        data = dicom_bytes(ImagerPixelSpacing=[0.143, 0.144], PixelSpacing=[0.2, 0.2])
        assert read(data).pixel_spacing_mm == (0.143, 0.144)
        assert read(dicom_bytes(PixelSpacing=[0, 0])).pixel_spacing_mm is None


class TestColour:
    @pytest.mark.parametrize("allocated", [np.uint8, np.uint16])
    def test_grey_rgb_equals_its_grey(self, allocated: type[np.generic]) -> None:
        grey = chest(bits=8).astype(allocated)
        data = dicom_bytes(np.stack([grey] * 3, axis=-1), photometric="RGB")
        radiograph = read(data)
        white = np.iinfo(grey.dtype).max
        np.testing.assert_allclose(radiograph.pixels, grey / white, atol=1e-5)
        assert radiograph.warnings == ()

    def test_colour_is_a_warning(self) -> None:
        red = np.zeros((16, 16, 3), np.uint8)
        red[..., 0] = 200
        assert "coloured" in read(dicom_bytes(red, photometric="RGB")).warnings[0]

    def test_luma_is_the_first_channel_of_ybr(self) -> None:
        grey = chest(bits=8)
        ybr = np.stack([grey, np.full_like(grey, 128), np.full_like(grey, 128)], axis=-1)
        radiograph = read(dicom_bytes(ybr, photometric="YBR_FULL"))
        np.testing.assert_allclose(radiograph.pixels, grey / 255.0, atol=1e-6)
        assert radiograph.warnings == ()

    def test_palette_is_looked_up(self) -> None:
        grey = chest(bits=8)
        entries = (np.arange(256)[::-1] * 257).astype("<u2").tobytes()
        tags: dict[str, Any] = {
            f"{colour}PaletteColorLookupTable{part}": value
            for colour in ("Red", "Green", "Blue")
            for part, value in (("Descriptor", [256, 0, 16]), ("Data", entries))
        }
        radiograph = read(dicom_bytes(grey, photometric="PALETTE COLOR", **tags))
        np.testing.assert_allclose(radiograph.pixels, 1 - grey / 255.0, atol=1e-5)

    def test_absent_palette_is_refused(self) -> None:
        with pytest.raises(UnsupportedPixels, match=r"\(0028,1201\)"):
            read(dicom_bytes(chest(bits=8), photometric="PALETTE COLOR"))


class TestSameImage:
    @pytest.mark.parametrize("bits", [8, 12, 16])
    def test_png_and_both_polarities_give_one_tensor(self, bits: int) -> None:
        spec = InputSpec(size=224, crop=0.9, equalise=True, mean=0.5, std=0.25)
        pixels = chest(700, 640, bits=bits)
        inverted = (2**bits - 1 - pixels).astype(pixels.dtype)
        files = [
            png_bytes(pixels),
            dicom_bytes(pixels, bits_stored=bits),
            dicom_bytes(inverted, bits_stored=bits, photometric="MONOCHROME1"),
            dicom_bytes(pixels, RescaleSlope=0.25, RescaleIntercept=-100),
        ]
        tensors = [standardise(read(data), spec)[0] for data in files]
        for tensor in tensors[1:]:
            np.testing.assert_allclose(tensor, tensors[0], atol=1e-3)


SECRET = "DOE^JANE"
TEXTS = (
    "Modality",
    "BodyPartExamined",
    "ViewPosition",
    "PatientName",
    "PatientID",
    "SOPClassUID",
    "StudyID",
    "PhotometricInterpretation",
    "PresentationLUTShape",
    "VOILUTFunction",
    "PatientOrientation",
    "StudyDescription",
    "InstitutionName",
)
NUMBERS = ("NumberOfFrames", "WindowCenter", "WindowWidth", "RescaleSlope", "PixelSpacing")


class TestPrivacy:
    """No value of a file may reach a message, a log or a chained exception."""

    @pytest.mark.parametrize("keyword", [*TEXTS, *NUMBERS])
    @pytest.mark.parametrize("cut", [None, -5000])
    def test_secret_in_any_element_stays_there(
        self, keyword: str, cut: int | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        data = _with_secret(keyword)[:cut]
        caplog.set_level(logging.DEBUG)
        caplog.clear()
        with warnings.catch_warnings(record=True) as caught:
            said = _everything_said(data)
        messages = " ".join([said, caplog.text, *(str(w.message) for w in caught)]).upper()
        assert "DOE" not in messages
        assert "JANE" not in messages

    def test_secret_in_every_text_at_once_stays_there(self) -> None:
        tags: dict[str, Any] = dict.fromkeys(TEXTS, SECRET) | {"PhotometricInterpretation": SECRET}
        photometric, view = tags.pop("PhotometricInterpretation"), tags.pop("ViewPosition")
        said = _everything_said(dicom_bytes(photometric=photometric, view=view, **tags))
        assert "UnsupportedModality" in said
        assert "DOE" not in said


def _everything_said(data: bytes) -> str:
    """Return the warnings of a reading, or a refusal with all that is chained to it."""
    try:
        return " ".join(read(data).warnings)
    except ReadingError as refusal:
        return "".join(traceback.format_exception(refusal))


def _with_secret(keyword: str) -> bytes:
    """Write a file that holds the secret where the standard wants a code or a number."""
    value: Any = SECRET if keyword in TEXTS else "12345678"
    named = {"PhotometricInterpretation": "photometric", "ViewPosition": "view"}
    data = dicom_bytes(**{named.get(keyword, keyword): value})
    if keyword in TEXTS:
        return data
    assert data.count(value.encode()) == 1
    return data.replace(value.encode(), SECRET.encode())


def _text(number: float | None) -> str | None:
    return None if number is None else str(number)


def _lut(entries: Pixels) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries), 0, 16]
    item.LUTData = [int(entry) for entry in entries]
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    return item
