"""Decoding takes no more than it claims, in any format; measured in a process of its own."""

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from service.errors import ReadingError, ServiceBusy
from service.imaging.claim import TABLES, Claim, asking
from service.imaging.decode import Limits, decode
from service.imaging.prepare import prepare_with_picture
from tests.encoders import jpeg_extended_bytes, png_file, segment
from tests.factories import Pixels, chest, dicom_bytes, jpeg_bytes, png_bytes
from tests.tiny_model import SPEC

ROWS, COLUMNS = 1000, 1200
SMALL = 0.5  # of TABLES: what may go to what does not grow with the image

# Decodes each file named on standard input, with what the last one left given back, and prints the
# growth of its memory at the peak, beside what was claimed.
MEASURE = """
import ctypes, json, re, sys
from pathlib import Path
from service.imaging.claim import asking
from service.imaging.decode import Limits
from service.imaging.prepare import prepare_with_picture
from service.imaging.standardise import InputSpec

def status(key):
    return 1024 * int(re.search(key + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def measured(path, spec):
    claims = []
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before = status("VmRSS")
    with asking(claims.append):
        prepare_with_picture(Path(path).read_bytes(), Limits(), spec)
    return status("VmHWM") - before, max(claim.size for claim in claims)

asked = json.loads(sys.stdin.read())
spec = InputSpec(**asked["spec"])
for path in asked["paths"]:
    measured(path, spec)  # loads the codec, and fills its caches
    print(json.dumps(measured(path, spec)), flush=True)
"""


@cache
def film(bits: int, samples: int = 1) -> Pixels:
    """With noise that compresses as badly as that of a film, or worse."""
    noise = np.random.default_rng(0).integers(0, 1 << (bits - 2), (ROWS, COLUMNS))
    grey = chest(ROWS, COLUMNS, bits=bits) // 2 + noise.astype("u2" if bits > 8 else "u1")
    return grey if samples == 1 else np.stack([grey] * samples, axis=-1)


def native(bits: int, syntax: UID = ExplicitVRLittleEndian, **tags: object) -> bytes:
    return dicom_bytes(film(bits), bits_stored=max(8, bits), transfer_syntax=syntax, **tags)


def colours(bits: int, says: str, syntax: UID, **tags: object) -> bytes:
    return dicom_bytes(film(bits, 3), photometric=says, transfer_syntax=syntax, **tags)


def ybr_422() -> bytes:
    raw = film(8, 2).tobytes()
    return colours(8, "YBR_FULL_422", ExplicitVRLittleEndian, raw=raw)


def j2k(bits: int) -> bytes:
    stream = imagecodecs.jpeg2k_encode(film(bits, 3), codecformat="j2k", reversible=True)
    return colours(bits, "YBR_RCT", JPEG2000Lossless, codestream=bytes(stream))


def with_profiles(data: bytes) -> bytes:
    """In 19 MiB of what Photoshop keeps in its files."""
    return data[:2] + segment(0xED, b"Photoshop 3.0\0" + bytes(65_000)) * 300 + data[2:]


FORMATS: dict[str, Callable[[], bytes]] = {
    "PNG, 8-bit grey": lambda: png_file(film(8)),
    "PNG, 16-bit grey": lambda: png_file(film(16)),
    "PNG, 16-bit grey, interlaced": lambda: png_file(film(16), interlaced=True),
    "PNG, 1 bit": lambda: png_bytes(film(8), mode="1"),
    "PNG, palette": lambda: png_bytes(film(8), mode="P"),
    "PNG, 8-bit grey with alpha": lambda: png_file(film(8, 2)),
    "PNG, 8-bit RGB": lambda: png_file(film(8, 3)),
    "PNG, 8-bit RGB with alpha": lambda: png_file(film(8, 4)),
    "PNG, 16-bit grey with alpha": lambda: png_file(film(16, 2)),
    "PNG, 16-bit RGB": lambda: png_file(film(16, 3)),
    "PNG, 16-bit RGB with alpha": lambda: png_file(film(16, 4)),
    "PNG, 16-bit RGB with alpha, interlaced": lambda: png_file(film(16, 4), interlaced=True),
    "JPEG, grey": lambda: jpeg_bytes(film(8)),
    "JPEG, grey, progressive": lambda: jpeg_bytes(film(8), progressive=True),
    "JPEG, RGB": lambda: jpeg_bytes(film(8, 3), subsampling="4:4:4", quality=95),
    "JPEG, RGB, progressive": lambda: jpeg_bytes(
        film(8, 3), subsampling="4:4:4", quality=95, progressive=True
    ),
    "JPEG, CMYK": lambda: jpeg_bytes(film(8, 3), mode="CMYK"),
    "JPEG, mostly profiles": lambda: with_profiles(jpeg_bytes(film(8))),
    "JPEG, CMYK, mostly profiles": lambda: with_profiles(jpeg_bytes(film(8, 3), mode="CMYK")),
    "DICOM, 8 bits": lambda: native(8),
    "DICOM, 16 bits": lambda: native(16),
    "DICOM, 16 bits, big endian": lambda: native(16, ExplicitVRBigEndian),
    "DICOM, deflated": lambda: native(12, DeflatedExplicitVRLittleEndian),
    "DICOM, bits outside of Bits Stored": lambda: native(16, BitsStored=12, HighBit=11),
    "DICOM, MONOCHROME1": lambda: native(12, PhotometricInterpretation="MONOCHROME1"),
    "DICOM, RLE": lambda: native(16, RLELossless),
    "DICOM, JPEG-LS": lambda: native(16, JPEGLSLossless),
    "DICOM, JPEG 2000": lambda: native(16, JPEG2000Lossless),
    "DICOM, HTJ2K": lambda: native(
        16,
        HTJ2KLossless,
        codestream=bytes(imagecodecs.htj2k_encode(film(16), reversible=True)),
    ),
    "DICOM, JPEG Lossless": lambda: native(12, JPEGLosslessSV1),
    "DICOM, JPEG Extended": lambda: native(
        12, JPEGExtended12Bit, codestream=jpeg_extended_bytes(film(12))
    ),
    "DICOM, JPEG Baseline": lambda: native(8, JPEGBaseline8Bit),
    "DICOM, RGB of 8 bits": lambda: colours(8, "RGB", ExplicitVRLittleEndian),
    "DICOM, RGB of 16 bits": lambda: colours(16, "RGB", ExplicitVRLittleEndian),
    "DICOM, RGB by plane": lambda: colours(8, "RGB", ExplicitVRLittleEndian, PlanarConfiguration=1),
    "DICOM, YBR_FULL": lambda: colours(8, "YBR_FULL", ExplicitVRLittleEndian),
    "DICOM, YBR_FULL_422": ybr_422,
    "DICOM, RGB by RLE": lambda: colours(8, "RGB", RLELossless),
    "DICOM, RGB by JPEG-LS": lambda: colours(8, "RGB", JPEGLSLossless),
    "DICOM, RGB by JPEG 2000, 8 bits": lambda: j2k(8),
    "DICOM, RGB by JPEG 2000, 16 bits": lambda: j2k(16),
    "DICOM, colours by JPEG Baseline": lambda: colours(
        8, "YBR_FULL", JPEGBaseline8Bit, codestream=jpeg_bytes(film(8, 3), quality=95)
    ),
}


@pytest.fixture(scope="module")
def peaks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, int]]:
    """Bytes at the peak and bytes claimed, of each format."""
    folder = tmp_path_factory.mktemp("films")
    paths = []
    for number, content in enumerate(FORMATS.values()):
        paths.append(folder / str(number))
        paths[-1].write_bytes(content())
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        input=json.dumps({"spec": asdict(SPEC), "paths": list(map(str, paths))}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = [tuple(json.loads(line)) for line in done.stdout.splitlines()]
    return dict(zip(FORMATS, found, strict=True))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
@pytest.mark.parametrize("name", FORMATS)
def test_takes_no_more_than_it_claims(name: str, peaks: dict[str, tuple[int, int]]) -> None:
    peak, claimed = peaks[name]
    constant = TABLES * (1 - SMALL)  # would hide what grows: this film is small
    print(f"{name}: {peak / (ROWS * COLUMNS):.1f} bytes a pixel")  # noqa: T201
    assert peak <= claimed - constant


def test_claims_nothing_where_nobody_keeps_account() -> None:
    assert decode(png_bytes(), Limits()).rows == 256


def test_claims_before_the_first_pixel() -> None:
    """A file whose pixels are damaged is refused for want of memory first."""
    damaged = bytearray(png_bytes())
    damaged[len(damaged) // 2] ^= 1

    def refuse(_: Claim) -> None:
        raise ServiceBusy("wait")

    with asking(refuse), pytest.raises(ServiceBusy):
        prepare_with_picture(bytes(damaged), Limits(), SPEC)
    with pytest.raises(ReadingError) as refusal:
        prepare_with_picture(bytes(damaged), Limits(), SPEC)
    assert not isinstance(refusal.value, ServiceBusy)


def test_deflated_data_are_claimed_before_they_are_inflated() -> None:
    blank = np.zeros((2000, 2000), np.uint16)
    data = dicom_bytes(blank, transfer_syntax=DeflatedExplicitVRLittleEndian)
    claims = list[tuple[Claim, int]]()

    def refuse(claim: Claim) -> None:
        claims.append((claim, tracemalloc.get_traced_memory()[1]))
        raise ServiceBusy("wait")

    tracemalloc.start()
    try:
        with asking(refuse), pytest.raises(ServiceBusy):
            decode(data, Limits())
    finally:
        tracemalloc.stop()
    [(claim, peak)] = claims
    assert claim.pixels == 0
    assert 3 * blank.nbytes < claim.size < 3.01 * blank.nbytes
    assert peak < blank.nbytes / 4


def test_limits_know_the_worst_claim() -> None:
    limits, claims = Limits(max_bytes=1 << 20, max_pixels=256 * 240), list[Claim]()
    with asking(claims.append):
        decode(png_file(np.stack([chest(bits=16)] * 4, axis=-1)), limits)
    assert claims[0].size <= limits.decoding_memory
