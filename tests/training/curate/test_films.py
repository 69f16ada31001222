"""What curation cuts away and rejects, on 200 phantom films."""

from dataclasses import astuple

import numpy as np
import pytest

from tests.training.curate.films import (
    SIDE,
    Film,
    add_frame,
    add_sparkle,
    four_panels,
    lateral,
    write_over,
)
from training.curate.crop import Box, content_box, crop, crop_mask
from training.curate.quality import find_fault
from training.curate.similar import fingerprint, near_duplicates
from training.curate.watermark import confirm, find_sparkle

# Width of the star and distance from the edges, as in images of 1,024 pixels reduced to a half and
# in small ones as they are.
GEOMETRIES = ((24, 32), (48, 32))


def boxes(films: list[Film]) -> np.ndarray:
    return np.array([astuple(content_box(film.pixels)) for film in films])


class TestWatermark:
    def test_nothing_of_200_watermarks_is_left_and_every_lung_is_whole(
        self, films: list[Film]
    ) -> None:
        marked = [
            add_sparkle(film.pixels, *GEOMETRIES[number // 2 % 2], 0.5 + 0.05 * (number % 7))
            for number, film in enumerate(films)
        ]
        visible = sum(
            np.abs(m.astype(int) - f.pixels).max() > 10 for m, f in zip(marked, films, strict=True)
        )
        assert visible >= 170  # the rest lies on white
        found = [sparkle for sparkle in map(find_sparkle, marked) if sparkle is not None]
        places = confirm(found, len(marked))
        assert len(places) == 2
        for film, image in zip(films, marked, strict=True):
            cropped, clean = crop(image, places), crop(film.pixels, places)
            np.testing.assert_array_equal(cropped.pixels, clean.pixels)
            box = cropped.box
            inside = film.lungs[box.top : box.bottom, box.left : box.right]
            assert inside.sum() > 0.999 * film.lungs.sum()

    def test_films_without_one_have_no_place_of_it(self, films: list[Film]) -> None:
        found = [find_sparkle(film.pixels) for film in films]
        assert confirm([sparkle for sparkle in found if sparkle], len(films)) == []

    @pytest.mark.parametrize(("side", "width", "edge"), [(1024, 48, 64), (2048, 96, 64)])
    def test_a_star_is_measured_to_the_pixel(self, side: int, width: int, edge: int) -> None:
        sparkle = find_sparkle(add_sparkle(np.full((side, side), 90, np.uint8), width, edge))
        assert sparkle is not None
        assert sparkle.column == pytest.approx(side - edge - width / 2, abs=width / 20)
        assert sparkle.row == pytest.approx(side - edge - width / 2, abs=width / 20)
        assert sparkle.width == pytest.approx(width, rel=0.06)

    def test_one_odd_star_in_many_images_is_no_watermark(self, films: list[Film]) -> None:
        odd = find_sparkle(add_sparkle(films[4].pixels, 40, 40))
        assert odd is not None
        assert len(confirm([odd], 1)) == 1
        assert confirm([odd], 101) == []

    def test_a_watermark_in_a_margin_goes_with_it(self, films: list[Film]) -> None:
        framed = np.pad(films[4].pixels, ((0, 90), (0, 90)))
        marked = add_sparkle(framed, 48, 32)
        sparkle = find_sparkle(marked)
        assert sparkle is not None
        cropped = crop(marked, [sparkle])
        assert cropped.watermark == "cut off"
        assert (cropped.box.right, cropped.box.bottom) == (SIDE, SIDE)


class TestCrop:
    @pytest.mark.parametrize("number", [4, 7, 12, 18, 30])
    def test_frame_and_caption_go_and_the_film_stays(self, films: list[Film], number: int) -> None:
        film = films[number].pixels
        own = content_box(film)
        found = content_box(add_frame(film, 14, 48, "Chest X-ray, PA view"))
        expected = np.array(astuple(own)) + 14
        assert np.abs(np.array(astuple(found)) - expected).max() <= 2

    def test_boxes_do_not_tell_the_label(self, films: list[Film]) -> None:
        """Halves of a pair share anatomy and acquisition: only the lesion could move the box."""
        found = boxes(films)
        differing = found[1::2] - found[::2]
        assert (differing == 0).all(axis=1).mean() >= 0.9
        assert np.abs(differing.mean(axis=0)).max() < 0.002 * SIDE
        assert (found != (0, 0, SIDE, SIDE)).any(axis=1).mean() > 0.3

    def test_a_blank_image_is_left_whole(self) -> None:
        assert content_box(np.full((80, 60), 7, np.uint8)) == Box(
            left=0, top=0, right=60, bottom=80
        )

    def test_mask_is_cropped_like_the_image(self, films: list[Film]) -> None:
        mask = films[1].lesion[::8, ::8]
        box = Box(left=64, top=40, right=472, bottom=504)
        cropped = crop_mask(mask, box, SIDE, SIDE)
        assert cropped.shape == mask.shape
        large = np.argwhere(films[1].lesion > 127).mean(axis=0)
        expected = (large - (box.top, box.left)) / (box.bottom - box.top, box.right - box.left)
        centre = (np.argwhere(cropped > 127).mean(axis=0) + 0.5) / mask.shape
        np.testing.assert_allclose(centre, expected, atol=0.02)


def reasons(images: list[np.ndarray]) -> list[str]:
    found = [find_fault(crop(image, []).pixels) for image in images]
    return [fault.reason if fault else "" for fault in found]


class TestFaults:
    def test_hardly_a_clean_film_is_rejected(self, films: list[Film]) -> None:
        found = reasons([film.pixels for film in films])
        assert sum(map(bool, found)) <= 2, found

    def test_blank(self) -> None:
        noise = np.random.default_rng(0).normal(120, 6, (SIDE, SIDE)).clip(0, 255).astype(np.uint8)
        assert reasons([noise]) == ["blank"]

    def test_wrong_aspect(self, films: list[Film]) -> None:
        assert reasons([films[4].pixels[150:390]]) == ["wrong aspect"]

    @pytest.mark.parametrize("gutter", [0, 8])
    def test_several_panels(self, films: list[Film], gutter: int) -> None:
        images = [four_panels(films[i : i + 4], gutter) for i in range(0, 80, 4)]
        found = reasons(images)
        assert found.count("several panels") >= (20 if gutter else 14), found

    def test_text_over_the_lungs(self, films: list[Film]) -> None:
        images = [
            write_over(film.pixels, "NORMAL CXR" if i % 2 else "Sample 12", 255 if i % 3 else 0)
            for i, film in enumerate(films[:60])
        ]
        assert reasons(images).count("text") >= 48

    def test_lateral(self, films: list[Film]) -> None:
        images = [lateral(film, side) for film in films[::8] for side in ("right", "left")]
        assert reasons(images).count("lateral") >= 0.7 * len(images)


class TestDuplicates:
    def test_films_of_different_patients_are_none(self, films: list[Film]) -> None:
        prints = [fingerprint(film.pixels) for film in films]
        assert near_duplicates(prints, [str(n // 2) for n in range(len(films))]) == {}

    def test_a_changed_copy_of_another_group_is_one(self, films: list[Film]) -> None:
        copy = np.clip(films[2].pixels[3:-2, 2:-4] * 0.9 + 8, 0, 255).astype(np.uint8)
        prints = [fingerprint(image) for image in (films[0].pixels, films[2].pixels, copy)]
        assert near_duplicates(prints, ["a", "b", "c"]).keys() == {2}
        assert near_duplicates(prints, ["a", "b", "b"]) == {}
