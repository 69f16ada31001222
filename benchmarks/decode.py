"""Which plugin decodes a compressed radiograph fastest, for every transfer syntax.

    python benchmarks/decode.py [--side 2000] [--repeats 5]

One chest-like image of side x side pixels (16 bit; 8 bit for JPEG Baseline) is encoded, then read
by every installed plugin of pydicom in turn; the fastest of the repeats counts. The order in
service/imaging/pixels.py follows this output. Ratios are what carries over to another computer,
milliseconds are not. python-gdcm takes part where it is installed. 12-bit JPEG Extended and HTJ2K
have no choice: pylibjpeg is the only plugin that reads them. The last lines are of a PNG of the
same side and 8 bits: inflated by ISA-L first, and by Pillow alone.
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

from service.imaging.png import inflated
from tests.factories import chest, dicom_bytes, png_bytes


def encoded(syntax: UID, side: int) -> Dataset:
    """Return the image in ``syntax``."""
    pixels = chest(side, side, bits=8 if syntax == JPEGBaseline8Bit else 16)
    return dcmread(BytesIO(dicom_bytes(pixels, transfer_syntax=syntax)))


def plugins(dataset: Dataset) -> dict[str, Callable[[], object]]:
    """Name -> decoding of the image by this plugin."""
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    return {
        name: partial(decoder.as_array, dataset, decoding_plugin=name)
        for name in decoder.available_plugins
    }


def png_readers(side: int) -> dict[str, Callable[[], object]]:
    """Name -> decoding of a PNG."""
    data = png_bytes(chest(side, side, bits=8))
    return {
        "ISA-L": lambda: Image.open(BytesIO(inflated(data))).load(),
        "Pillow": lambda: Image.open(BytesIO(data)).load(),
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
    print(f"{'transfer syntax':45} {'plugin':10} {'ms':>7} {'ratio':>6}")
    contests = {
        syntax.name[:45]: plugins(encoded(syntax, arguments.side)) for syntax in syntaxes
    } | {"PNG": png_readers(arguments.side)}
    for name, run in contests.items():
        times = fastest(run, arguments.repeats)
        for reader, milliseconds in sorted(times.items(), key=lambda item: item[1]):
            ratio = milliseconds / min(times.values())
            print(f"{name:45} {reader:10} {milliseconds:7.1f} {ratio:6.2f}")


if __name__ == "__main__":
    main()
