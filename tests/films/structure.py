"""One film in every structure of a DICOM file: prefixes, sequences, fragments, what stands beside.

storage -> [structure]
"""

import struct
from collections.abc import Iterator
from io import BytesIO

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.bombs import element
from tests.encoders import jpeg_extended_bytes, jpeg_lossless_bytes
from tests.factories import bare_dicom_bytes, dicom_bytes
from tests.films.film import Film, Version
from tests.films.grey import NATIVE, Form, Tags, lut
from tests.films.storage import SOF0, SOF1, encoded, in_syntax, patterns

FORM = Form(16, 12, 16)
ITEM = b"\xfe\xff\x00\xe0"
SEQUENCE_END = b"\xfe\xff\xdd\xe0" + bytes(4)
ENCAPSULATED = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"
SAMPLES_PER_PIXEL = b"\x28\x00\x02\x00US"


def structure(film: Film) -> Iterator[Version]:
    """Files that differ in structure alone."""
    yield from _prefixes(film)
    yield from _beside(film)
    yield from _shapes(film)
    yield from _frames(film)
    for name, syntax, form, stream in streams(film):
        yield from _encapsulated(film, name, syntax, form, stream)


def streams(film: Film) -> Iterator[tuple[str, UID, Form, bytes]]:
    """A codestream of each compressed transfer syntax."""
    eight = Form(8, 8, 1)
    baseline = jpeg_extended_bytes(film, precision=8).replace(SOF1, SOF0, 1)
    yield "JPEG Baseline", JPEGBaseline8Bit, eight, baseline
    lossless = jpeg_lossless_bytes(patterns(film, FORM), precision=12)
    yield "JPEG Lossless", JPEGLosslessSV1, FORM, lossless
    for syntax in (JPEGLSLossless, JPEG2000Lossless, RLELossless):
        yield syntax.name, syntax, FORM, bytes(encoded(film, FORM, syntax))


def _prefixes(film: Film) -> Iterator[Version]:
    pixels = FORM.values(film)
    for implicit in (False, True):
        vr = "implicit" if implicit else "explicit"
        bare = bare_dicom_bytes(implicit_vr=implicit, pixels=pixels, bits_stored=12)
        yield Version(f"structure/no file meta information/{vr}", bare, film)
        prefixed = bytes(128) + b"DICM" + bare
        yield Version(f"structure/preamble and no file meta information/{vr}", prefixed, film)
        whole = in_syntax(
            film, FORM, ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        )
        yield Version(f"structure/no preamble/{vr}", whole[132:], film)
        yield Version(f"structure/a TIFF preamble/{vr}", b"II*\0".ljust(128) + whole[128:], film)


def _beside(film: Film) -> Iterator[Version]:
    """Elements that are none of the product's business, and sequences of undefined length."""
    whole = in_syntax(film, FORM, ExplicitVRLittleEndian)
    inner = element(0x0008, 0x0060, b"CS", b"CT") + element(0x0028, 0x0010, b"US", b"\x01\0")
    item = ITEM + b"\xff\xff\xff\xff" + inner + b"\xfe\xff\x0d\xe0" + bytes(4)
    open_sequence = b"SQ\0\0\xff\xff\xff\xff" + item + SEQUENCE_END
    icon = struct.pack("<HH", 0x0088, 0x0200)
    for name, elements in (
        ("a private sequence of undefined length", b"\x19\0\x01\x10" + open_sequence),
        (
            "a private sequence",
            element(0x0019, 0x1001, b"SQ", ITEM + struct.pack("<L", len(inner)) + inner),
        ),
        ("a private element", element(0x0019, 0x1002, b"UN", bytes(1000))),
        ("a comment", element(0x0020, 0x4000, b"LT", b"x" * 1000)),
    ):
        place = whole.index(SAMPLES_PER_PIXEL)
        yield Version(f"structure/with {name}", whole[:place] + elements + whole[place:], film)
    place = whole.index(b"\xe0\x7f\x10\0OW")
    thumbnail = element(0x7FE0, 0x0010, b"OW", bytes(64))
    before = icon + b"SQ\0\0" + struct.pack("<L", len(thumbnail) + 8)
    before += ITEM + struct.pack("<L", len(thumbnail)) + thumbnail
    yield Version("structure/with an icon image", whole[:place] + before + whole[place:], film)
    overlay = element(0x6000, 0x3000, b"OW", bytes(film.size // 8))
    yield Version("structure/with an overlay", whole[:place] + overlay + whole[place:], film)
    padding = element(0xFFFC, 0xFFFC, b"OB", bytes(512))
    yield Version("structure/with trailing padding", whole + padding, film)
    for name, syntax in NATIVE.items():
        ramp = np.arange(4096) * 16
        tags: Tags = {"VOILUTSequence": Sequence([lut(ramp, 0, 16)]), "ViewCodeSequence": [_view()]}
        for tag in tags.values():
            tag[0].is_undefined_length_sequence_item = True
        data = in_syntax(film, FORM, syntax, **tags)
        yield Version(f"structure/items of undefined length/{name}", data, film)


def _view() -> Dataset:
    view = Dataset()
    view.CodeValue, view.CodingSchemeDesignator, view.CodeMeaning = "R-10206", "SNM3", "AP"
    return view


def _shapes(film: Film) -> Iterator[Version]:
    """Odd numbers of bytes, and films that are not square."""
    for rows, columns in ((511, 511), (512, 511), (400, 512), (512, 401)):
        part = film[:rows, :columns]
        for form in (Form(8, 8, 1), FORM):
            for name, syntax in NATIVE.items():
                data = in_syntax(part, form, syntax)
                yield Version(f"structure/{rows} x {columns}/{form}/{name}", data, part)
            stream = bytes(encoded(part, form, RLELossless))
            data = in_syntax(part, form, RLELossless, stream)
            yield Version(f"structure/{rows} x {columns}/{form}/RLE", data, part)
    for name, syntax in NATIVE.items():  # 8-bit values in words, which big endian swaps
        words = dicom_bytes(film, transfer_syntax=syntax, raw=_words(film, name))
        if name != "implicit little endian":
            words = words.replace(_pixel_head(name, b"OB"), _pixel_head(name, b"OW"))
        yield Version(f"structure/8 bits in OW/{name}", words, film)


def _words(film: Film, name: str) -> bytes:
    return film.view("<u2").byteswap().tobytes() if "big" in name else film.tobytes()


def _pixel_head(name: str, vr: bytes) -> bytes:
    return (b"\x7f\xe0\0\x10" if "big" in name else b"\xe0\x7f\x10\0") + vr


def _frames(film: Film) -> Iterator[Version]:
    base = in_syntax(film, FORM, ExplicitVRLittleEndian, NumberOfFrames="10")
    for value in (b"1 ", b" 1", b"01", b"+1", b"0 "):
        data = base.replace(b"\x28\0\x08\0IS\x02\x0010", b"\x28\0\x08\0IS\x02\0" + value)
        yield Version(f"structure/Number of Frames {value.decode()!r}", data, film)


def encapsulation(film: Film, syntax: UID, form: Form) -> bytes:
    """The file up to its first item."""
    whole = in_syntax(film, form, syntax, b"\0\0")
    return whole[: whole.rindex(ENCAPSULATED) + len(ENCAPSULATED)]


def in_items(items: list[bytes], end: bytes = SEQUENCE_END) -> bytes:
    """Encapsulate a Basic Offset Table and fragments."""
    return b"".join(ITEM + struct.pack("<L", len(item)) + item for item in items) + end


def even(stream: bytes) -> bytes:
    """Filled up to an even length."""
    return stream + b"\0" * (len(stream) % 2)


def _encapsulated(
    film: Film, name: str, syntax: UID, form: Form, stream: bytes
) -> Iterator[Version]:
    stream = even(stream)
    half = len(stream) // 4 * 2
    parts = [stream[i : i + 4096] for i in range(0, len(stream), 4096)]
    extended = struct.pack("<Q", 0), struct.pack("<Q", len(stream))
    cases = [
        ("an empty offset table", [b"", stream], SEQUENCE_END),
        ("an offset table", [bytes(4), stream], SEQUENCE_END),
        ("two fragments", [b"", stream[:half], stream[half:]], SEQUENCE_END),
        ("two fragments, an offset table", [bytes(4), stream[:half], stream[half:]], SEQUENCE_END),
        ("fragments of 4 KiB", [b"", *parts], SEQUENCE_END),
        ("no delimiter", [b"", stream], b""),
        ("zeros instead of a delimiter", [b"", stream], bytes(8)),
        ("a wrong offset", [struct.pack("<L", 12345), stream], SEQUENCE_END),
        ("offsets of fragments",
         [struct.pack("<2L", 0, half + 8), stream[:half], stream[half:]], SEQUENCE_END),
        ("64 zeros after the end", [b"", stream + bytes(64)], SEQUENCE_END),
        ("an empty fragment", [b"", b"", stream], SEQUENCE_END),
    ]  # fmt: skip
    shown: np.typing.NDArray[np.generic] = film
    if syntax == JPEGBaseline8Bit:
        shown = np.asarray(Image.open(BytesIO(stream)))
    head = encapsulation(film, syntax, form)
    for case, items, end in cases:
        if syntax == RLELossless and "fragment" in case:
            continue  # one fragment a frame, PS3.5 A.4.2
        yield Version(f"structure/{name}/{case}", head + in_items(items, end), shown)
    data = head + in_items([b"", stream])
    place = len(head) - len(ENCAPSULATED)
    table = b"".join(
        element(0x7FE0, number, b"OV", value)
        for number, value in zip((1, 2), extended, strict=True)
    )
    yield Version(
        f"structure/{name}/an extended offset table", data[:place] + table + data[place:], shown
    )
    trailing = data + element(0xFFFC, 0xFFFC, b"OB", bytes(512))
    yield Version(f"structure/{name}/trailing padding", trailing, shown)
    if syntax == JPEG2000Lossless:
        box = BytesIO()
        Image.fromarray(film).save(box, "JPEG2000", irreversible=False)
        jp2 = even(box.getvalue())
        data = encapsulation(film, syntax, Form(8, 8, 1)) + in_items([b"", jp2])
        yield Version(f"structure/{name}/JP2 boxes", data, film)
