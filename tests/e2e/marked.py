"""Files of a patient who does not exist, whose name is everywhere a file can hold one."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from io import BytesIO

from PIL import Image
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.factories import chest, dicom_bytes, dicom_dataset, jpeg_bytes, png_bytes

NAME = "ZQXJANE"
BIRTH = "18530217"
VALUES = {
    "AE": NAME, "AS": "187Y", "CS": NAME, "DA": BIRTH, "DS": f"{BIRTH}.5", "DT": f"{BIRTH}101112",
    "IS": BIRTH, "LO": NAME, "LT": NAME, "PN": f"{NAME}^DOE", "SH": NAME, "ST": NAME,
    "TM": "185302.171717", "UC": NAME, "UI": f"1.2.{BIRTH}.3", "UR": f"http://{NAME}/", "UT": NAME,
}  # fmt: skip
NEEDLES = tuple(text.lower().encode() for text in (NAME, BIRTH, "185302.171717", "187Y"))
# What the reader goes by is not marked in the file that is to be read.
PIXELS_AND_FRAMING = {0x0000, 0x0002, 0x0004, 0x0028, 0x7FE0, 0xFFFE}
READ = {
    "SpecificCharacterSet", "SOPClassUID", "Modality", "BodyPartExamined", "ViewPosition",
    "PatientOrientation", "PresentationLUTShape", "ImagerPixelSpacing", "PixelSpacing",
}  # fmt: skip
ASKED = (*sorted(READ), "PhotometricInterpretation", "WindowCenter", "NumberOfFrames",
         "RescaleSlope", "VOILUTFunction", "PatientName")  # fmt: skip
COMPRESSED = (JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless)


def dicoms() -> Iterator[tuple[str, bytes]]:
    """A file that is read, and what can be wrong with it."""
    good = marked()
    yield "good", good
    yield "implicit", marked(ImplicitVRLittleEndian)
    yield "deflated", marked(DeflatedExplicitVRLittleEndian)
    for part in (0.01, 0.3, 0.6, 0.9, 0.999):
        yield f"cut at {part}", good[: int(len(good) * part)]
    patient = b"\x10\x00\x10\x00"
    for vr in (b"SQ", b"US", b"FD", b"OB", b"DS", b"??"):
        yield f"PN as {vr!r}", good.replace(patient + b"PN", patient + vr, 1)
    for shift in (2, 200, 60000):
        length = struct.pack("<H", shift)
        at = good.index(patient + b"PN") + 6
        yield f"length {shift}", good[:at] + length + good[at + 2 :]
    for keyword in ASKED:
        yield keyword, wrong(keyword)
    for syntax in COMPRESSED:
        yield (
            syntax.name,
            dicom_bytes(chest(bits=8), transfer_syntax=syntax, codestream=NAME.encode() * 50),
        )
        whole = dicom_bytes(chest(bits=8), transfer_syntax=syntax)
        tail = len(whole) // 3
        yield f"{syntax.name}, tail", whole[:-tail] + (NAME.encode() * tail)[:tail]


def marked(syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A chest film with a marker in every element of the dictionary that holds text."""
    dataset = dicom_dataset()
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if vr in VALUES and keyword not in READ and Tag(tag).group not in PIXELS_AND_FRAMING:
            dataset.add_new(tag, vr, VALUES[vr])
    for element, vr in enumerate(VALUES, start=0x1001):
        dataset.add_new((0x0009, element), vr, VALUES[vr])
    dataset.add_new((0x0009, 0x0010), "LO", NAME)
    dataset.add_new((0x0009, 0x1000), "UN", NAME.encode() + b"\0")
    inside = Dataset()
    inside.PatientName = VALUES["PN"]
    dataset.ReferencedPatientSequence = [inside]
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.SourceApplicationEntityTitle = NAME
    meta.ImplementationVersionName = NAME
    dataset.file_meta = meta
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def wrong(keyword: str) -> bytes:
    """A file with the marker where the reader looks, whatever kind of value belongs there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = {"PhotometricInterpretation": "photometric", "ViewPosition": "view"}
        number = keyword in {"WindowCenter", "NumberOfFrames", "RescaleSlope"}
        spacing = keyword.endswith("Spacing")
        value = ["7654321", "7654322"] if spacing else "7654321" if number else NAME
        others = {"WindowWidth": "1"} if keyword == "WindowCenter" else {}
        others |= {"RescaleIntercept": "0"} if keyword == "RescaleSlope" else {}
        data = dicom_bytes(**{arguments.get(keyword, keyword): value}, **others)  # type: ignore[arg-type]
    return data.replace(b"7654321", NAME.encode())


def rasters() -> Iterator[tuple[str, bytes]]:
    """PNG and JPEG files that name the patient, whole and broken."""
    png, jpeg = png_bytes(), jpeg_bytes(chest(bits=8))
    text = chunk(b"tEXt", b"Patient\0" + NAME.encode())
    international = chunk(b"iTXt", b"Patient\0\0\0\0\0" + NAME.encode())
    profile = chunk(b"iCCP", NAME.encode() + b"\0\0" + zlib.compress(NAME.encode()))
    for name, extra in (
        ("text", text),
        ("international text", international),
        ("profile", profile),
        ("broken text", text[:-1] + b"!"),
        ("broken compressed text", chunk(b"zTXt", b"Patient\0\0" + NAME.encode())),
        ("chunk", chunk(b"ZQXJ", NAME.encode())),
    ):
        whole = png[:33] + extra + png[33:]
        yield f"PNG, {name}", whole
        yield f"PNG, {name}, cut", whole[: len(whole) // 2]
    yield "PNG, marker for pixels", png[:33] + chunk(b"IDAT", NAME.encode() * 9) + png[-12:]
    exif = Image.Exif()
    exif[0x010E] = exif[0x013B] = NAME
    block = b"Exif\0\0" + exif.tobytes()[6:]
    for name, marker, content in (("EXIF", 0xE1, block), ("comment", 0xFE, NAME.encode())):
        segment = struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
        whole = jpeg[:2] + segment + jpeg[2:]
        yield f"JPEG, {name}", whole
        yield f"JPEG, {name}, cut", whole[: len(whole) // 2]
    yield "JPEG, marker for pixels", jpeg[: len(jpeg) // 2] + NAME.encode() * 50 + jpeg[-2:]
    yield "no image", NAME.encode()
    yield "GIF", b"GIF89a" + NAME.encode()


def chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk of a PNG."""
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
