"""Turn the bytes of a file into a Radiograph.

bytes -> [decode] -> standardise -> session -> calibration
What a file is, its content decides; names and media types are not looked at.
"""

from dataclasses import dataclass

from service.errors import NotAnImage, TooManyBytes
from service.imaging.claim import MIB, needed
from service.imaging.dicom.file import PREFIX_END, is_dicom
from service.imaging.dicom.read import read_dicom
from service.imaging.plausible import plausible
from service.imaging.png import SIGNATURE as PNG_SIGNATURE
from service.imaging.radiograph import Format, Radiograph
from service.imaging.raster import read_jpeg, read_png
from service.observe.stages import stage

JPEG_SIGNATURE = b"\xff\xd8\xff"  # ITU-T T.81, B.1.1.3: SOI and the start of the next marker
COLOURS = 3
HEAD_BYTES = PREFIX_END  # what format_of looks at


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds that are checked before any pixel is decoded."""

    max_bytes: int = 64 * MIB  # one upload; a 4,288 x 3,520 16-bit DX image has 29 MiB
    max_pixels: int = 40_000_000  # rows x columns; the same image has 15 million

    @property
    def decoding_memory(self) -> int:
        """Bytes that decoding one image within the bounds may take at most."""
        return needed(self.max_pixels, samples=COLOURS, file=self.max_bytes)


def format_of(head: bytes) -> Format | None:
    """Tell what a file is by its content; None where it is no image that is read.

    Parameters
    ----------
    head
        The file, or its first ``HEAD_BYTES`` bytes.
    """
    if head.startswith(PNG_SIGNATURE):
        return "PNG"
    if head.startswith(JPEG_SIGNATURE):
        return "JPEG"
    return "DICOM" if is_dicom(head) else None


@stage("decode")
def decode(data: bytes, limits: Limits) -> Radiograph:
    """Decode one DICOM, PNG or JPEG file.

    Parameters
    ----------
    data
        The whole file.
    limits
        Checked before anything else (bytes) and before any pixel is decoded (pixels). The bound on
        bytes also holds for a deflated DICOM data set after inflation.

    Returns
    -------
    Radiograph
        float32 pixels of shape (H, W) in [0, 1], bone bright.

    Raises
    ------
    TooManyBytes, TooManyPixels
        Above ``limits``.
    NotAnImage
        Neither DICOM, PNG nor JPEG.
    UndecodableImage
        One of them, but truncated, corrupt, without pixels or in an unknown transfer syntax.
    UnsupportedImage
        Readable, but not one frontal chest radiograph.
    """
    if len(data) > limits.max_bytes:
        raise TooManyBytes(
            f"the file has {len(data):,} bytes; at most {limits.max_bytes:,} are read. "
            "Send one radiograph at its original size."
        )
    match format_of(data):
        case "PNG":
            radiograph = read_png(data, limits.max_pixels)
        case "JPEG":
            radiograph = read_jpeg(data, limits.max_pixels)
        case "DICOM":
            radiograph = read_dicom(data, max_bytes=limits.max_bytes, max_pixels=limits.max_pixels)
        case _:
            fact = "the content is not an image that is read" if data else "the file is empty"
            raise NotAnImage(f"{fact}. Send a DICOM, PNG or JPEG file.")
    return plausible(radiograph)
