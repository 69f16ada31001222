import signal

import pytest

from service.supervisor import how


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended with status 0; its last lines may say why"),
        (3, "ended with status 3; its last lines may say why"),
        (-signal.SIGKILL, "ended by SIGKILL: most likely the kernel ended it for want of memory"),
        (-signal.SIGTERM, "ended by SIGTERM"),
        (-signal.SIGRTMIN - 1, f"ended by signal {signal.SIGRTMIN + 1}"),
    ],
)
def test_how_a_process_ended(code: int, words: str) -> None:
    assert how(code) == words
