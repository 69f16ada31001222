import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)

from service.errors import CorruptImage, NotFrontal, TruncatedImage
from service.imaging.decode import Limits, decode
from service.imaging.radiograph import Radiograph
from tests.factories import chest, dicom_bytes

SMALL = chest(40, 36)
PLAIN = dicom_bytes(SMALL)
BODY_PART = b"\x18\0\x15\0CS"
NO_LETTERS = [b"??", b"  ", b"\0\0", b"A?", b"?A", b"--", b"\xff\xff", b"1A"]
LETTERS = [b"ZZ", b"ox", b"XX"]
# NULs before a length of 4 bytes are an empty element, in both ways of reading.
FORMS = [
    (vr, long)
    for vr in NO_LETTERS + LETTERS
    for long in (False, True)
    if (vr, long) != (b"\0\0", True)
]


def read(data: bytes) -> Radiograph:
    return decode(data, Limits())


def element(vr: bytes, value: bytes, *, long: bool, tag: bytes = b"\x11\0\x10\x10") -> bytes:
    """A private element (0011,1010), little endian, with a length of 2 or 4 bytes."""
    length = b"\0\0" + struct.pack("<L", len(value)) if long else struct.pack("<H", len(value))
    return tag + vr + length + value


def with_element(inserted: bytes, *, data: bytes = PLAIN, before: bytes = BODY_PART) -> bytes:
    place = data.index(before)
    return data[:place] + inserted + data[place:]


def read_by_dcmtk(data: bytes, folder: Path) -> bool:
    file = folder / "film.dcm"
    file.write_bytes(data)
    done = subprocess.run(["dcmdump", str(file)], capture_output=True, check=False)
    return done.returncode == 0 and b"(7fe0,0010)" in done.stdout


def accepted(data: bytes) -> bool:
    try:
        return np.array_equal(read(data).pixels, read(PLAIN).pixels)
    except (CorruptImage, TruncatedImage):
        return False


class TestForms:
    @pytest.mark.parametrize("value", [b"", b"abcd", b"12345678", bytes(3000), b"CHESTCS " * 9])
    @pytest.mark.parametrize(("vr", "long"), FORMS)
    def test_element_is_passed_over(self, vr: bytes, value: bytes, *, long: bool) -> None:
        assert accepted(with_element(element(vr, value, long=long)))

    @pytest.mark.skipif(shutil.which("dcmdump") is None, reason="needs dcmtk")
    @pytest.mark.parametrize("vr", [*NO_LETTERS, *LETTERS, b"\x01\0"])
    @pytest.mark.parametrize("long", [False, True])
    def test_what_dcmtk_reads_is_read(self, vr: bytes, tmp_path: Path, *, long: bool) -> None:
        data = with_element(element(vr, b"abcd", long=long))
        assert accepted(data) or not read_by_dcmtk(data, tmp_path)

    def test_several_in_a_row_are_passed_over(self) -> None:
        inserted = b"".join(
            element(vr, b"abcd", long=False, tag=struct.pack("<HH", 0x11, 0x1010 + number))
            for number, vr in enumerate([b"??", b"??", b"  ", b"  ", b"??"])
        )
        assert accepted(with_element(inserted))

    def test_tags_need_not_be_sorted(self) -> None:
        assert accepted(with_element(element(b"??", b"abcd", long=False, tag=b"\x29\0\x10\x10")))

    def test_first_element_of_the_data_set(self) -> None:
        first = b"\x08\0\x16\0UI"
        assert accepted(
            with_element(element(b"??", b"ab", long=False, tag=b"\x08\0\x01\0"), before=first)
        )

    @pytest.mark.parametrize("undefined", [False, True])
    @pytest.mark.parametrize("first", [False, True])
    def test_within_an_item_of_a_sequence(self, *, undefined: bool, first: bool) -> None:
        known = element(b"SH", b"ABCD", long=False, tag=b"\x11\0\x09\x10")
        unknown = element(b"??", b"12345678", long=False)
        last = element(b"SH", b"ABCD", long=False, tag=b"\x11\0\x11\x10")
        content = unknown + last if first else known + unknown
        if undefined:
            item = b"\xfe\xff\0\xe0\xff\xff\xff\xff" + content + b"\xfe\xff\x0d\xe0\0\0\0\0"
            sequence = b"\x11\0\x08\x10SQ\0\0\xff\xff\xff\xff" + item + b"\xfe\xff\xdd\xe0\0\0\0\0"
        else:
            item = b"\xfe\xff\0\xe0" + struct.pack("<L", len(content)) + content
            sequence = b"\x11\0\x08\x10SQ\0\0" + struct.pack("<L", len(item)) + item
        assert accepted(with_element(sequence))

    @pytest.mark.parametrize("undefined", [False, True])
    def test_item_in_implicit_vr_stays_what_it_is(self, *, undefined: bool) -> None:
        blob = bytes(range(256)) * 40
        content = (
            struct.pack("<HHL", 0x11, 0x1009, 8)
            + b"12345678"
            + struct.pack("<HHL", 0x11, 0x1010, len(blob))
            + blob
            + struct.pack("<HHL", 0x11, 0x1011, 4)
            + b"abcd"
        )
        length = b"\xff\xff\xff\xff" if undefined else struct.pack("<L", len(content))
        end = b"\xfe\xff\x0d\xe0\0\0\0\0" if undefined else b""
        sequence = (
            b"\x11\0\x08\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0"
            + length
            + content
            + end
            + b"\xfe\xff\xdd\xe0\0\0\0\0"
        )
        assert accepted(with_element(sequence))

    def test_values_of_8_bytes_that_look_like_elements_are_values(self) -> None:
        assert read(dicom_bytes(SMALL, view="PA ??   ")).view == "PA"

    def test_big_endian(self) -> None:
        data = dicom_bytes(SMALL, transfer_syntax=ExplicitVRBigEndian)
        unknown = b"\0\x11\x10\x10??\0\x04abcd"
        read(with_element(unknown, data=data, before=b"\0\x18\0\x15CS"))

    def test_deflated(self) -> None:
        plain = dicom_bytes(SMALL, transfer_syntax=DeflatedExplicitVRLittleEndian)
        (length,) = struct.unpack("<L", plain[140:144])
        end = 144 + length
        body = with_element(
            element(b"??", b"abcd", long=False), data=zlib.decompress(plain[end:], -15)
        )
        deflater = zlib.compressobj(wbits=-15)
        assert accepted(plain[:end] + deflater.compress(body) + deflater.flush())


class TestWanted:
    """Elements that decide keep their value when their own VR is unknown."""

    @pytest.mark.parametrize("vr", [b"??", b"  ", b"\0\0"])
    def test_view_is_read(self, vr: bytes) -> None:
        data = dicom_bytes(SMALL, view="LL")
        with pytest.raises(NotFrontal, match="'LL'"):
            read(data.replace(b"\x18\0\x01\x51CS", b"\x18\0\x01\x51" + vr))

    def test_rows_are_read(self) -> None:
        assert accepted(PLAIN.replace(b"\x28\0\x10\0US", b"\x28\0\x10\0??"))

    def test_sequence_is_read(self) -> None:
        item = Dataset()
        item.CodeValue = "399173006"
        data = dicom_bytes(SMALL, view=None, ViewCodeSequence=[item])
        head = data.index(b"\x54\0\x20\x02SQ")
        (length,) = struct.unpack("<L", data[head + 8 : head + 12])
        short = data[:head] + b"\x54\0\x20\x02??" + struct.pack("<H", length) + data[head + 12 :]
        with pytest.raises(NotFrontal, match=r"\(0054,0220\)"):
            read(short)


class TestNonsense:
    @pytest.mark.parametrize("vr", [b"??", b"ZZ"])
    @pytest.mark.parametrize("length", [5, 40_000, 65_535])
    def test_length_that_leads_nowhere_is_refused(self, vr: bytes, length: int) -> None:
        broken = b"\x11\0\x10\x10" + vr + struct.pack("<H", length) + b"abcd"
        with pytest.raises((CorruptImage, TruncatedImage)):
            read(with_element(broken))

    def test_flood_of_unknown_elements_is_refused(self) -> None:
        flood = b"".join(
            element(b"??", b"", long=False, tag=struct.pack("<HH", 0x11, 0x1000 + number))
            for number in range(40_000)
        )
        with pytest.raises(CorruptImage, match="elements"):
            read(with_element(flood))
