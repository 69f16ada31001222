"""Lookup tables of all depths and layouts, and what is done where one cannot be used."""

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from service.errors import CorruptImage
from service.imaging.decode import Limits, decode
from service.imaging.radiograph import Radiograph
from tests.factories import chest, dicom_bytes

RAMP = np.arange(4096)
FILM = chest()
RIGHT = FILM / np.float32(4095)
WINDOW: dict[str, Any] = {"WindowCenter": 2048, "WindowWidth": 4096}
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)


def lut(
    entries: Any, first: int, bits: int, *, packed: bool = False, vr: str = "US", said: int = 0
) -> Dataset:
    """A table as one item; ``said`` is how many entries its descriptor names, all by default."""
    item = Dataset()
    item.add_new(0x00283002, vr, [(said or len(entries)) % 65536, first, bits])
    kind = np.uint8 if packed else np.dtype("<u2")
    item.add_new(0x00283006, "OW", np.asarray(entries).astype(kind).tobytes())
    return item


def read(table: Dataset, **tags: Any) -> Radiograph:
    tags = {"bits_stored": 12, "VOILUTSequence": [table], **tags}
    return decode(dicom_bytes(FILM, **tags), Limits())


class TestEntries:
    @pytest.mark.parametrize("bits", [8, 9, 10, 12, 16])
    def test_of_every_depth(self, bits: int) -> None:
        entries = np.rint(RAMP * ((1 << bits) - 1) / 4095)
        radiograph = read(lut(entries, 0, bits))
        np.testing.assert_allclose(radiograph.pixels, RIGHT, atol=0.6 / (1 << bits))
        assert radiograph.warnings == ()

    def test_of_a_byte_each(self) -> None:
        entries = np.rint(RAMP * 255 / 4095)
        np.testing.assert_allclose(read(lut(entries, 0, 8, packed=True)).pixels, RIGHT, atol=0.003)

    def test_deeper_than_said(self) -> None:
        np.testing.assert_allclose(read(lut(RAMP, 0, 8)).pixels, RIGHT, atol=1e-6)

    @pytest.mark.parametrize("syntax", SYNTAXES)
    def test_in_every_byte_order(self, syntax: str) -> None:
        table = lut(RAMP, 0, 12)
        if syntax == ExplicitVRBigEndian:
            table[0x00283006].value = RAMP.astype(">u2").tobytes()
        radiograph = read(table, transfer_syntax=syntax)
        np.testing.assert_allclose(radiograph.pixels, RIGHT, atol=1e-6)


class TestFirstValue:
    @pytest.mark.parametrize(("first", "vr"), [(-1024, "SS"), (64512, "US")])
    @pytest.mark.parametrize("syntax", SYNTAXES)
    def test_below_zero_in_either_representation(self, syntax: str, first: int, vr: str) -> None:
        table = lut(RAMP, first, 12, vr=vr)
        if syntax == ExplicitVRBigEndian:
            table[0x00283006].value = RAMP.astype(">u2").tobytes()
        radiograph = read(table, transfer_syntax=syntax, RescaleIntercept=-1024)
        np.testing.assert_allclose(radiograph.pixels, RIGHT, atol=1e-6)

    def test_above_what_signed_words_hold(self) -> None:
        film = (FILM + 50_000).astype(np.uint16)
        data = dicom_bytes(film, VOILUTSequence=[lut(RAMP, 50_000, 12)])
        np.testing.assert_allclose(decode(data, Limits()).pixels, RIGHT, atol=1e-6)


class TestUnusable:
    @pytest.mark.parametrize(
        "table",
        [
            lut(RAMP[:4000], 0, 12, said=4096),
            lut(RAMP, 20_000, 12),
            lut(np.full(4096, 7), 0, 12),
            Dataset(),
        ],
        ids=["short", "elsewhere", "constant", "empty"],
    )
    def test_a_voi_lut_gives_way_to_the_window_with_a_warning(self, table: Dataset) -> None:
        radiograph = read(table, **WINDOW)
        np.testing.assert_allclose(radiograph.pixels, RIGHT, atol=1e-6)
        assert [w for w in radiograph.warnings if "(0028,3010)" in w]

    def test_without_a_window_to_the_film_itself(self) -> None:
        radiograph = read(lut(RAMP[:9], 0, 12, said=10))
        assert np.corrcoef(radiograph.pixels.ravel(), RIGHT.ravel())[0, 1] > 0.999
        assert radiograph.warnings

    def test_a_modality_lut_is_refused_by_its_tag(self) -> None:
        with pytest.raises(CorruptImage, match=r"\(0028,3000\)"):
            read(lut(RAMP, 0, 12), ModalityLUTSequence=[lut(RAMP[:9], 0, 12, said=4096)])


def test_a_modality_lut_of_twelve_bits_is_applied() -> None:
    signed = (FILM.astype(np.int32) - 2048).astype(np.int16)
    table = lut(RAMP[::-1], -2048, 12, vr="SS")
    data = dicom_bytes(signed, bits_stored=12, ModalityLUTSequence=[table], **WINDOW)
    np.testing.assert_allclose(decode(data, Limits()).pixels, 1 - RIGHT, atol=1e-6)


class TestWindow:
    @pytest.mark.parametrize("width", [1, 2])
    def test_that_leaves_black_and_white_is_replaced(self, width: int) -> None:
        data = dicom_bytes(FILM, bits_stored=12, WindowCenter=2048, WindowWidth=width)
        radiograph = decode(data, Limits())
        assert np.corrcoef(radiograph.pixels.ravel(), RIGHT.ravel())[0, 1] > 0.999
        assert [w for w in radiograph.warnings if "(0028,1051)" in w]

    @pytest.mark.parametrize("unit", [1 / 4095, 1 / 64])
    def test_of_fractional_values_ends_where_they_end(self, unit: float) -> None:
        data = dicom_bytes(
            FILM, bits_stored=12, RescaleSlope=f"{unit:.12g}",
            WindowCenter=f"{2048 * unit:.12g}", WindowWidth=f"{4096 * unit:.12g}",
        )  # fmt: skip
        radiograph = decode(data, Limits())
        np.testing.assert_allclose(radiograph.pixels, RIGHT, atol=1e-5)
        assert radiograph.warnings == ()
