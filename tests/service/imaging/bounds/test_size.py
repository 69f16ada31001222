import pytest
from pydicom.uid import JPEGBaseline8Bit

from service.errors import CorruptImage, TooManyPixels, UnsupportedPixels
from service.imaging.bounds.size import MAX_SIDE, check_size
from service.imaging.decode import Limits, decode
from tests.factories import chest, dicom_bytes, jpeg_bytes

NAMES = ("height", "width")


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (8636, 6299),  # 35 cm x 43 cm at 50 um
        (4288, 3520),
        (3480, 4240),
        (40, 32),  # a thumbnail; whether it is enough, the model says
        (3000, 400),  # a strip
        (MAX_SIDE, MAX_SIDE // 8),
        (1, 1),
    ],
)
def test_films_pass(rows: int, columns: int) -> None:
    check_size(rows, columns, 100_000_000, NAMES)
    check_size(columns, rows, 100_000_000, NAMES)


@pytest.mark.parametrize("size", [(2, 3), (3, 2)])
def test_product_is_bounded(size: tuple[int, int]) -> None:
    check_size(*size, 6, NAMES)
    with pytest.raises(TooManyPixels, match=r"height x width is .*at most 5 pixels"):
        check_size(*size, 5, NAMES)


@pytest.mark.parametrize("size", [(MAX_SIDE + 1, 4000), (4000, MAX_SIDE + 1)])
def test_side_is_bounded(size: tuple[int, int]) -> None:
    with pytest.raises(TooManyPixels, match="16,384 pixels a side"):
        check_size(*size, 10**9, NAMES)


@pytest.mark.parametrize("size", [(801, 100), (100, 801)])
def test_shape_is_bounded(size: tuple[int, int]) -> None:
    with pytest.raises(UnsupportedPixels, match="8 times as long"):
        check_size(*size, 10**9, NAMES)


@pytest.mark.parametrize("kind", ["JPEG", "DICOM"])
def test_file_far_longer_than_its_picture_is_refused(kind: str) -> None:
    stream = jpeg_bytes()
    padded = stream[:-2] + bytes(2_000_000) + stream[-2:]
    film = chest(bits=8)
    wrapped = dicom_bytes(film, transfer_syntax=JPEGBaseline8Bit, codestream=padded)
    with pytest.raises(CorruptImage, match="longer than its picture"):
        decode(padded if kind == "JPEG" else wrapped, Limits())
