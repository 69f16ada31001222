import pytest

from service.errors import (
    CorruptImage,
    ReadingError,
    TooManyBytes,
    TooManyPixels,
)
from service.imaging.decode import Limits, decode
from tests.bombs import BOMBS

LIMITS = Limits()
MIB = 1 << 20
OTHERWISE: dict[str, type[ReadingError]] = {
    "deflated data set": TooManyBytes,
} | dict.fromkeys([name for name in BOMBS if name.startswith("60,000")], TooManyPixels)


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_is_refused(name: str) -> None:
    data = BOMBS[name](2 * MIB)
    assert len(data) < 4 * MIB
    with pytest.raises(OTHERWISE.get(name, CorruptImage)):
        decode(data, LIMITS)
