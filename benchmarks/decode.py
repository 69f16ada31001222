"""How fast a compressed radiograph is decoded whole and checked, for every transfer syntax.

    python -m benchmarks.decode [--side 2000] [--repeats 5]

One chest-like image of side x side pixels (16 bit; 8 bit for JPEG Baseline) is encoded, then read
by service.imaging ("here") and by every installed plugin of pydicom in turn; the fastest of the
repeats counts. Plugins do not tell damage: that JPEG Lossless is whole costs three decodings here.
Ratios are what carries over to another computer, milliseconds are not. python-gdcm takes part where
it is installed. The last lines are of a PNG and a JPEG of the same side and 8 bits.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from io import BytesIO

from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from service.imaging.decode import Limits, decode
from service.imaging.dicom.acceptance import pixel_layout
from service.imaging.dicom.pixels import stored_pixels
from tests.factories import chest, dicom_bytes, jpeg_bytes, png_bytes


def encoded(syntax: UID, side: int) -> Dataset:
    """Return the image in ``syntax``."""
    pixels = chest(side, side, bits=8 if syntax == JPEGBaseline8Bit else 16)
    return dcmread(BytesIO(dicom_bytes(pixels, transfer_syntax=syntax)))


def readers(dataset: Dataset) -> dict[str, Callable[[], object]]:
    """Name -> decoding of the image: here, and by each plugin."""
    syntax = dataset.file_meta.TransferSyntaxUID
    layout = pixel_layout(dataset, Limits().max_pixels)
    value = memoryview(dataset.PixelData)
    decoder = get_decoder(syntax)
    return {"here": partial(stored_pixels, value, syntax, layout, "OB")} | {
        name: partial(decoder.as_array, dataset, decoding_plugin=name)
        for name in decoder.available_plugins
    }


def file_readers(data: bytes) -> dict[str, Callable[[], object]]:
    """Name -> decoding of a PNG or JPEG file."""
    return {
        "here": lambda: decode(data, Limits()),
        "pillow": lambda: Image.open(BytesIO(data)).load(),
    }


def fastest(run: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Name -> milliseconds, the best of ``repeats`` rounds in which each runs once."""
    best = dict.fromkeys(run, float("inf"))
    for _ in range(repeats + 1):  # the first also warms up
        for name, function in run.items():
            start = time.perf_counter()
            function()
            best[name] = min(best[name], (time.perf_counter() - start) * 1e3)
    return best


def main() -> None:
    """Print one line a transfer syntax and plugin."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    syntaxes = [JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless]
    print(f"{'transfer syntax':45} {'reader':10} {'ms':>7} {'ratio':>6}")
    contests = {syntax.name[:45]: readers(encoded(syntax, arguments.side)) for syntax in syntaxes}
    film = chest(arguments.side, arguments.side, bits=8)
    for name, data in (("PNG", png_bytes(film)), ("JPEG", jpeg_bytes(film))):
        contests[f"{name} file"] = file_readers(data)
    for name, run in contests.items():
        times = fastest(run, arguments.repeats)
        for reader, milliseconds in sorted(times.items(), key=lambda item: item[1]):
            ratio = milliseconds / min(times.values())
            print(f"{name:45} {reader:10} {milliseconds:7.1f} {ratio:6.2f}")


if __name__ == "__main__":
    main()
