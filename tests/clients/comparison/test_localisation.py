import numpy as np
import pytest

from clients.comparison.localisation import heat_inside
from clients.metrics.pointing import Box
from service.imaging.standardise import Geometry

# The network sees the 80 x 80 pixels in the middle; a cell of a 4 x 4 heatmap is 20 x 20 of them.
FRAME = Geometry(rows=100, columns=100, left=10, top=10, width=80, height=80)


def heat(*cells: tuple[int, int]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    heatmap = np.zeros((4, 4), np.float32)
    for row, column in cells:
        heatmap[row, column] = 3.0
    return heatmap


def test_cell_inside_the_box_counts_and_one_outside_does_not() -> None:
    second_row_third_column = Box(x=50, y=30, width=20, height=20)
    assert heat_inside(heat((1, 2)), FRAME, [second_row_third_column]) == (1.0, 1 / 16)
    assert heat_inside(heat((2, 1)), FRAME, [second_row_third_column])[0] == 0.0
    assert heat_inside(heat((1, 2), (2, 1)), FRAME, [second_row_third_column])[0] == 0.5


def test_cell_that_a_box_covers_in_part_counts_in_part() -> None:
    share, area = heat_inside(heat((0, 0)), FRAME, [Box(x=10, y=10, width=10, height=20)])
    assert share == pytest.approx(0.5)
    assert area == pytest.approx(1 / 32)


def test_overlap_of_boxes_counts_once() -> None:
    box = Box(x=10, y=10, width=40, height=40)
    assert heat_inside(heat((0, 0)), FRAME, [box, box]) == (1.0, 0.25)


def test_even_heatmap_has_the_share_of_chance() -> None:
    share, area = heat_inside(
        np.ones((4, 4), np.float32), FRAME, [Box(x=13, y=27, width=31, height=44)]
    )
    assert share == pytest.approx(area)


def test_part_of_a_box_beyond_the_image_or_the_crop_is_ignored() -> None:
    share, area = heat_inside(heat((0, 0)), FRAME, [Box(x=-40, y=-5, width=70, height=35)])
    assert (share, area) == (1.0, 1 / 16)


def test_empty_heatmap_has_no_heat_inside() -> None:
    assert heat_inside(heat(), FRAME, [Box(x=0, y=0, width=100, height=100)]) == (0.0, 1.0)
