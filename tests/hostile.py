"""Files that mean harm, and files that were damaged: for tests and benchmarks/hostile.py.

seeds()                           honest small files of every format and transfer syntax
mutate(data, others, rng)         one of them, damaged
made_up()                         a Hypothesis strategy of data sets, chunks and segments
inputs(400, 1)                    all of these and tests/bombs.py, mixed
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import dcmread, dcmwrite
from pydicom.data.data_manager import DATA_ROOT, external_data_sources
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.bombs import (
    BOMBS,
    EMPTY_ITEM,
    element,
    with_chunks,
    with_elements,
    with_segments,
)
from tests.encoders import chunk, segment
from tests.factories import (
    chest,
    dicom_bytes,
    jpeg_bytes,
    png_bytes,
)
from tests.sources import files

SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLosslessSV1,
)
MIB = 1 << 20
LARGEST_SEED = 300_000  # bytes; a larger file costs time and is hostile in no other way


def seeds() -> list[bytes]:
    """Honest files: made on the spot in each format and syntax, and pydicom's that are small."""
    pixels = chest(144, 136)
    made = [dicom_bytes(pixels, transfer_syntax=syntax, WindowCenter=2000) for syntax in SYNTAXES]
    made.append(dicom_bytes(chest(144, 136, bits=8), transfer_syntax=JPEGBaseline8Bit))
    made += [png_bytes(pixels), png_bytes(chest(144, 136, bits=8), mode="P")]
    made += [
        jpeg_bytes(chest(144, 136, bits=8)),
        jpeg_bytes(chest(144, 136, bits=8), progressive=True),
    ]
    rgba = BytesIO()
    Image.fromarray(chest(144, 136, bits=8)).convert("RGBA").save(rgba, "PNG")
    made.append(rgba.getvalue())
    folders = [Path(DATA_ROOT, "test_files"), external_data_sources()["pydicom-data"].data_path]
    paths = sorted(path for folder in folders for path in files(Path(str(folder)), "*.dcm"))
    real = [path.read_bytes() for path in paths if path.stat().st_size <= LARGEST_SEED]
    return made + real + [film for data in real if (film := _as_chest(data))]


def _as_chest(data: bytes) -> bytes | None:
    """The same pixels as a frontal chest film, so that they are decoded; None where that fails."""
    buffer = BytesIO()
    with suppress(Exception):  # some of pydicom's files are broken on purpose
        dataset = dcmread(BytesIO(data), force=True)
        dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "CR", "CHEST", "PA"
        dataset.NumberOfFrames = 1
        dcmwrite(buffer, dataset)
        return buffer.getvalue() if "PixelData" in dataset else None
    return None


def mutate(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Damage a file in one to four places."""
    for _ in range(rng.randint(1, 4)):
        data = rng.choice(DAMAGES)(bytearray(data), others, rng) or b"\0"
    return data


def _cut(data: bytearray, _: Sequence[bytes], rng: random.Random) -> bytes:
    return bytes(data[: rng.randrange(len(data) + 1)])


def _flip(data: bytearray, _: Sequence[bytes], rng: random.Random) -> bytes:
    for _flipped in range(rng.choice([1, 1, 8, 64])):
        data[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(data)


LIES = (b"\xff" * 4, b"\xff" * 2, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(2), bytes(4),
        b"\x60\xea", b"\xea\x60", b"\x01\0\0\0", b"\0\0\0\x01")  # fmt: skip


def _lie(data: bytearray, _: Sequence[bytes], rng: random.Random) -> bytes:
    """Overwrite what may be a length, a count or a size by an extreme one."""
    lie = rng.choice(LIES)
    place = _place(data, rng)
    data[place : place + len(lie)] = lie
    return bytes(data)


def _drop(data: bytearray, _: Sequence[bytes], rng: random.Random) -> bytes:
    place = _place(data, rng)
    del data[place : place + rng.choice([1, 2, 4, 64, 4096])]
    return bytes(data)


def _repeat(data: bytearray, _: Sequence[bytes], rng: random.Random) -> bytes:
    place = _place(data, rng)
    piece = data[place : place + rng.choice([1, 8, 64, 1024])]
    return bytes(data[:place] + piece * rng.choice([1, 2, 50]) + data[place:])


def _splice(data: bytearray, others: Sequence[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others)
    return bytes(data[: _place(data, rng)] + other[rng.randrange(len(other)) :])


DAMAGES = (_cut, _flip, _flip, _lie, _lie, _drop, _repeat, _splice)


def _place(data: bytearray, rng: random.Random) -> int:
    """Anywhere; half the time among the first 2 KiB, where headers are."""
    return rng.randrange(min(len(data), 2048) if rng.random() < 0.5 else len(data))


def made_up() -> st.SearchStrategy[bytes]:
    """Elements, chunks and segments that nobody wrote, within files that are honest otherwise."""
    number = st.integers(0, 0xFFFF)
    tags = st.sampled_from(
        [(0x0028, 0x0010), (0x0028, 0x0100), (0x0028, 0x1050), (0x0028, 0x3010), (0x0028, 0x0004),
         (0x0018, 0x5101), (0x0008, 0x0060), (0x0008, 0x0005), (0x0028, 0x0008), (0x7FE0, 0x0010)]
    )  # fmt: skip
    vrs = st.sampled_from(
        [b"US", b"CS", b"DS", b"IS", b"SQ", b"OW", b"OB", b"UN", b"UT", b"LO", b"ZZ"]
    )
    elements = st.builds(
        lambda tag, vr, value: element(tag[0], tag[1], vr, value),
        tags | st.tuples(number, number),
        vrs,
        st.binary(max_size=64) | st.just(EMPTY_ITEM * 3),
    )
    names = "IHDR PLTE tRNS iCCP zTXt eXIf acTL IDAT IEND"
    kinds = st.sampled_from([kind.encode() for kind in names.split()])
    chunks = st.builds(chunk, kinds, st.binary(max_size=64))
    parts = st.builds(segment, st.integers(0, 0xFF), st.binary(max_size=64))
    return st.one_of(
        st.lists(elements, min_size=1, max_size=8).map(b"".join).map(with_elements),
        st.lists(chunks, min_size=1, max_size=8).map(b"".join).map(with_chunks),
        st.lists(parts, min_size=1, max_size=8).map(b"".join).map(with_segments),
        st.binary(max_size=300).map(lambda noise: b"\x89PNG\r\n\x1a\n" + noise),
        st.binary(max_size=300).map(lambda noise: bytes(128) + b"DICM" + noise),
    )


def inputs(count: int, number: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of hostile files: one in 10 made up, one in 50 a bomb, the others damaged.

    The same ``number`` gives the same files.
    """
    rng, honest = random.Random(number), seeds()
    inventions = iter(_inventions(count // 10 + 1, number))
    bombs = list(BOMBS)
    for index in range(count):
        if index % 50 == 0:
            name = bombs[index // 50 % len(bombs)]
            size = 16 * MIB if index % 500 == 0 else MIB
            yield f"{name}, {size // MIB} MiB", BOMBS[name](size)
        elif index % 10 == 1:
            yield f"made up, {index}", next(inventions)
        else:
            yield f"damaged, {index}", mutate(rng.choice(honest), honest, rng)


def _inventions(count: int, number: int) -> list[bytes]:
    found: list[bytes] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(made_up())
    def collect(data: bytes) -> None:
        found.append(data)

    collect()
    rng = random.Random(number)
    return found + rng.choices(found, k=max(0, count - len(found)))
