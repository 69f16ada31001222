"""Images built on the spot: DICOM objects, PNGs and JPEGs with known content.

    dicom_bytes(view="LL")                                   one tag changed
    dicom_bytes(chest(), photometric="MONOCHROME1")          the values as they are, read inverted
    dicom_bytes(transfer_syntax=RLELossless, WindowCenter=900, WindowWidth=1200)
    dicom_bytes(BodyPartExamined=None)                       None leaves an element out
    png_bytes(chest()), jpeg_bytes(chest(bits=8))

No file of a patient is involved; sizes are small, so that a test costs milliseconds.
"""

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    generate_uid,
)

from tests.encoders import jpeg_lossless_bytes, png_file

Pixels = NDArray[Any]  # uint8, uint16, int8 or int16; (H, W), (frames, H, W) or (H, W, 3)


def chest(rows: int = 256, columns: int = 240, *, bits: int = 12, seed: int = 0) -> Pixels:
    """Draw a chest-like picture: two dark lungs, a bright spine and heart, ribs, noise.

    Parameters
    ----------
    rows, columns
        Size in pixels.
    bits
        Grey depth, 8 to 16; bone is bright (MONOCHROME2).
    seed
        Of the noise and of the left-right asymmetry.

    Returns
    -------
    Pixels
        Shape (rows, columns); uint8 where ``bits`` is 8, else uint16; spans most of the range.
    """
    rng = np.random.default_rng(seed)
    y = np.linspace(-1, 1, rows)[:, np.newaxis]
    x = np.linspace(-1, 1, columns)[np.newaxis, :]
    body = 0.75 - 0.25 * x**2 - 0.05 * y
    lungs = sum(
        np.exp(-((((x - side * 0.45) / 0.3) ** 2 + ((y - 0.02 * rng.random()) / 0.62) ** 2) ** 3))
        for side in (-1, 1)
    )
    ribs = 0.06 * np.clip(np.sin(14 * (y + 0.5 * x**2)), 0, None) * lungs
    spine = 0.2 * np.exp(-((x / 0.08) ** 2))
    heart = 0.25 * np.exp(-(((x - 0.18) / 0.25) ** 2) - ((y - 0.3) / 0.3) ** 2)
    noise = 0.01 * rng.standard_normal((rows, columns))
    tissue = np.asarray(body - 0.55 * lungs + ribs + spine + heart + noise)
    scaled = (tissue - tissue.min()) / np.ptp(tissue) * (2**bits - 1)
    pixels: Pixels = np.rint(scaled).astype(np.uint8 if bits == 8 else np.uint16)
    return pixels


def dicom_dataset(
    pixels: Pixels | None = None,
    *,
    photometric: str = "MONOCHROME2",
    view: str | None = "PA",
    bits_stored: int | None = None,
    raw: bytes | None = None,
    **tags: Any,
) -> Dataset:
    """Build an uncompressed little-endian CR image; arguments as for :func:`dicom_bytes`."""
    pixels = chest() if pixels is None else pixels
    samples = 3 if pixels.shape[-1] == 3 and pixels.ndim == 3 else 1
    frames = pixels.shape[0] if pixels.ndim == 3 and samples == 1 else None
    rows, columns = pixels.shape[:2] if frames is None else pixels.shape[1:]
    allocated = pixels.dtype.itemsize * 8
    stored = bits_stored or allocated
    fields: dict[str, Any] = {
        "SOPClassUID": ComputedRadiographyImageStorage,
        "SOPInstanceUID": generate_uid(prefix="2.25.", entropy_srcs=["nanocxr"]),
        "Modality": "CR",
        "BodyPartExamined": "CHEST",
        "ViewPosition": view,
        "SamplesPerPixel": samples,
        "PhotometricInterpretation": photometric,
        "PlanarConfiguration": 0 if samples == 3 else None,
        "NumberOfFrames": frames,
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": allocated,
        "BitsStored": stored,
        "HighBit": stored - 1,
        "PixelRepresentation": int(np.issubdtype(pixels.dtype, np.signedinteger)),
    }
    dataset = Dataset()
    for keyword, value in (fields | tags).items():
        if value is not None:
            setattr(dataset, keyword, value)
    raw = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes() if raw is None else raw
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    dataset["PixelData"].VR = "OB" if allocated == 8 else "OW"
    return dataset


def dicom_bytes(
    pixels: Pixels | None = None,
    *,
    photometric: str = "MONOCHROME2",
    view: str | None = "PA",
    transfer_syntax: str = ExplicitVRLittleEndian,
    bits_stored: int | None = None,
    raw: bytes | None = None,
    codestream: bytes | None = None,
    **tags: Any,
) -> bytes:
    """Write one computed radiography file.

    Parameters
    ----------
    pixels
        Stored values of shape (H, W), (frames, H, W) or (H, W, 3); :func:`chest` by default.
        Its dtype decides Bits Allocated and Pixel Representation.
    photometric, view
        Photometric Interpretation and View Position (None leaves the element out).
    transfer_syntax
        Every syntax pydicom can write or encode, JPEG Baseline (by Pillow), JPEG Lossless.
    bits_stored
        Bits Allocated by default.
    raw
        Ready little-endian value of Pixel Data; ``pixels`` then only gives the header.
    codestream
        A ready compressed frame in ``transfer_syntax``; ``pixels`` then only gives the header.
    **tags
        DICOM keyword = value; None leaves the element out.

    Returns
    -------
    bytes
        A DICOM file with preamble and file meta information.
    """
    dataset = dicom_dataset(
        pixels, photometric=photometric, view=view, bits_stored=bits_stored, raw=raw, **tags
    )
    syntax = ExplicitVRLittleEndian.__class__(transfer_syntax)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    if codestream is None and syntax == JPEGBaseline8Bit:
        codestream = jpeg_bytes(chest(bits=8) if pixels is None else pixels)
    if codestream is None and syntax in {JPEGLossless, JPEGLosslessSV1}:
        codestream = jpeg_lossless_bytes(chest() if pixels is None else pixels)
    if codestream is not None:
        dataset.PixelData = encapsulate([codestream])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    elif syntax.is_compressed and not syntax.is_deflated:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(syntax, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian and dataset.BitsAllocated == 16:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
    buffer = BytesIO()
    dcmwrite(
        buffer,
        dataset,
        enforce_file_format=True,
        little_endian=syntax != ExplicitVRBigEndian,
        implicit_vr=syntax == ImplicitVRLittleEndian,
    )
    return buffer.getvalue()


def bare_dicom_bytes(*, implicit_vr: bool = False, **arguments: Any) -> bytes:
    """Write a data set alone: no preamble, no ``DICM``, no file meta information.

    Old archives hold such files. Arguments as for :func:`dicom_bytes`, without a transfer syntax.
    """
    buffer = BytesIO()
    dcmwrite(buffer, dicom_dataset(**arguments), little_endian=True, implicit_vr=implicit_vr)
    return buffer.getvalue()


def png_bytes(pixels: Pixels | None = None, *, mode: str | None = None, **options: Any) -> bytes:
    """Write a PNG.

    Parameters
    ----------
    pixels
        (H, W) uint8 or uint16, (H, W, 2) LA, (H, W, 3) RGB or (H, W, 4) RGBA; :func:`chest` (12 of
        16 bit) by default.
    mode
        Pillow mode to convert to before writing, e.g. ``"P"`` or ``"1"``.
    **options
        Of Pillow's PNG writer, e.g. ``exif``.
    """
    return _written("PNG", chest() if pixels is None else pixels, mode, options)


def jpeg_bytes(pixels: Pixels | None = None, *, mode: str | None = None, **options: Any) -> bytes:
    """Write a JPEG of quality 95 from uint8 pixels; arguments as for :func:`png_bytes`."""
    return _written(
        "JPEG", chest(bits=8) if pixels is None else pixels, mode, {"quality": 95, **options}
    )


def _written(format_: str, pixels: Pixels, mode: str | None, options: dict[str, Any]) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    buffer = BytesIO()
    (image if mode is None else image.convert(mode)).save(buffer, format_, **options)
    return buffer.getvalue()


def largest_film(film: bytes, side: int = 6320) -> bytes:
    """A PNG or JPEG as a film of 40 million pixels, in the form that takes most memory to decode.

    A PNG of 16 bits, colours and alpha.
    """
    with Image.open(BytesIO(film)) as image:
        grey = np.asarray(image.convert("L").resize((side, side)), np.uint16) * 257
    return png_file(np.stack([grey, grey, grey, np.full_like(grey, 65535)], axis=-1))
