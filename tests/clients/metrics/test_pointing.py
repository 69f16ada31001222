import pandas as pd
import pytest

from clients.metrics.pointing import PointingError, point

SCORES = pd.DataFrame(
    {
        "path": ["a", "b", "c", "d", "e"],
        "probability": [0.9, 0.8, 0.7, None, 0.2],
        "width": [100] * 5,
        "height": [200] * 5,
        "logit": [2.0, 1.0, 0.5, None, -1.0],
        "peak_x": [15.0, 50.0, None, 15.0, 5.0],
        "peak_y": [25.0, 25.0, None, 25.0, 5.0],
    }
)
BOXES = pd.DataFrame(
    {
        "path": ["a", "a", "b", "c", "d"],
        "x": [80, 10, 10, 10, 10],
        "y": [80, 20, 20, 20, 20],
        "width": [10, 10, 20, 20, 20],
        "height": [10, 10, 20, 20, 20],
    }
)


def test_counts_images_with_a_box_and_a_reading_once() -> None:
    pointing = point(SCORES, BOXES)
    # a hits its second box, b misses, c has an empty map; d was refused, e has no box
    assert (pointing.images, pointing.hits) == (3, 1)
    assert pointing.by_chance == pytest.approx((200 + 400 + 400) / 3 / 20_000)
    assert "1 of 3" in str(pointing)


def test_rows_of_a_service_which_tells_no_peak_are_no_misses() -> None:
    of_service = SCORES.assign(path=[*"fghij"], logit=None, peak_x=None, peak_y=None)
    boxes = pd.concat([BOXES, BOXES.assign(path="f")])
    assert point(pd.concat([SCORES, of_service]), boxes) == point(SCORES, BOXES)


@pytest.mark.parametrize(
    ("scores", "boxes", "words"),
    [
        (SCORES, BOXES.drop(columns="y"), "no column y"),
        (SCORES.drop(columns="peak_x"), BOXES, "score the dataset again"),
        (SCORES, BOXES.assign(path="z"), "no scored image has a box"),
        (SCORES.drop(columns="logit"), BOXES, "no column logit; score the dataset again"),
        (SCORES.assign(logit=None), BOXES, "without --url"),
    ],
)
def test_says_what_does_not_fit(scores: pd.DataFrame, boxes: pd.DataFrame, words: str) -> None:
    with pytest.raises(PointingError, match=words):
        point(scores, boxes)
