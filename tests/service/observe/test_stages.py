import time

import pytest

from service.observe.stages import Stage, add, collecting, stage


def test_stages_come_in_the_order_in_which_they_end() -> None:
    kept: list[Stage] = []
    with collecting(kept), stage("decode"):
        with stage("standardise"):
            time.sleep(0.002)
        time.sleep(0.001)
    assert [found.name for found in kept] == ["standardise", "decode"]
    inner, outer = kept
    assert outer.start <= inner.start <= inner.end <= outer.end
    assert outer.seconds > inner.seconds > 0


def test_failed_stage_is_kept() -> None:
    kept: list[Stage] = []
    with collecting(kept), pytest.raises(ZeroDivisionError), stage("infer"):
        raise ZeroDivisionError
    assert [found.name for found in kept] == ["infer"]


def test_nothing_is_kept_where_nobody_collects() -> None:
    kept: list[Stage] = []
    with collecting(kept):
        pass
    with stage("render"):
        pass
    assert kept == []


@pytest.mark.parametrize(
    "stage",
    [
        Stage("DOE^JANE", 1, 2),  # type: ignore[arg-type]
        Stage("decode", 2, 1),
        Stage("decode", "1", 2),  # type: ignore[arg-type]
        Stage("decode", 1, 2**63),
        "decode",
    ],
)
def test_another_process_cannot_make_stages_up(stage: object) -> None:
    kept: list[Stage] = []
    with collecting(kept):
        add([Stage("decode", 1, 2), stage])  # type: ignore[list-item]
    assert kept == [Stage("decode", 1, 2)]
