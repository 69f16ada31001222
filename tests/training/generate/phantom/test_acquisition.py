"""The acquisition: physics in the right direction, and masks that stay with their image."""

import dataclasses

import numpy as np
import pytest

from service.imaging.radiograph import FloatImage
from training.generate.phantom.acquisition import Acquisition, Filing, acquire, draw_acquisition
from training.generate.phantom.anatomy import CANVAS, PhantomCase, Projection, simulate
from training.generate.phantom.detector import Exposure, draw_exposure, expose
from training.generate.phantom.display import Enhancement, Look, draw_look, present
from training.generate.phantom.framing import Framing, draw_framing, frame, on_film
from training.generate.phantom.marks import Inscription, Marks, Shutter, add_marks, draw_marks
from training.generate.phantom.render import NO_LESION, draw_pair, source_digest

SIDE = 128
CLEAN = Exposure(
    scatter=0.0,
    scatter_spread=0.1,
    heel=0.0,
    tilt=0.0,
    falloff=0.0,
    sharpness=0.0,
    motion=0.0,
    photons=8.0,
    grain=0.0,
)
PLAIN = Look(
    low=0.0,
    high=100.0,
    below=0.0,
    above=0.0,
    curve=0.0,
    middle=0.5,
    gamma=1.0,
    enhancement="none",
    strength=0.0,
    radius=1.0,
    flatness=0.0,
    clahe=0.0,
    black=0.0,
    white=1.0,
)
WHOLE_CANVAS = Framing(column=CANVAS / 2, row=CANVAS / 2, width=CANVAS, height=CANVAS, degrees=0.0)
NO_MARKS = Marks(shutter=None, inscriptions=(), bars=(), blank=0.0)
STRAIGHT = Acquisition(
    framing=WHOLE_CANVAS,
    exposure=CLEAN,
    look=PLAIN,
    marks=NO_MARKS,
    filing=Filing(side=CANVAS, quality=0, smooth=False),
    noise_seed=1,
)


@pytest.fixture(scope="module")
def case() -> PhantomCase:
    return simulate(np.random.default_rng(11))


def step_wedge() -> FloatImage:
    """Attenuation from 0.5 on the left to 5 on the right."""
    return np.tile(np.linspace(0.5, 5, SIDE, dtype=np.float32), (SIDE, 1))


class TestFraming:
    def test_the_whole_canvas_is_returned_unchanged(self, case: PhantomCase) -> None:
        image = case.healthy.attenuation
        np.testing.assert_allclose(frame(image, WHOLE_CANVAS, CANVAS), image, atol=1e-5)

    @pytest.mark.parametrize("age_band", ["child", "adult"])
    def test_hardly_any_lung_is_cut_off(self, case: PhantomCase, age_band: str) -> None:
        lungs = case.healthy.lungs
        for seed in range(100):
            framing = draw_framing(np.random.default_rng(seed), lungs, age_band)
            share = frame(lungs, framing, SIDE).sum() * framing.width * framing.height / SIDE**2
            assert share > 0.88 * lungs.sum(), seed

    def test_children_are_squeezed_more_often_than_adults(self) -> None:
        lungs = np.zeros((CANVAS, CANVAS), np.float32)
        lungs[60:190, 50:205] = 1
        aspect = {
            age_band: [
                framing.height / framing.width
                for framing in (
                    draw_framing(np.random.default_rng(seed), lungs, age_band)
                    for seed in range(200)
                )
            ]
            for age_band in ("child", "adult")
        }
        assert min(aspect["child"]) < 0.78
        assert np.mean(aspect["child"]) < np.mean(aspect["adult"]) - 0.05

    def test_rows_beyond_the_canvas_are_not_on_the_film(self) -> None:
        tall = dataclasses.replace(WHOLE_CANVAS, height=1.5 * CANVAS)
        film = on_film(tall, CANVAS, 60)
        assert not film[:9].any()
        assert not film[-9:].any()
        np.testing.assert_array_equal(film[12:-12], 1)


class TestDetector:
    def test_without_scatter_and_noise_the_signal_is_the_line_integral(self) -> None:
        signal = expose(np.random.default_rng(0), step_wedge(), CLEAN)
        np.testing.assert_allclose(signal, step_wedge(), atol=0.02)

    def test_scatter_lowers_contrast(self) -> None:
        ranges = []
        for scatter in (0.0, 0.1, 0.5):
            exposure = dataclasses.replace(CLEAN, scatter=scatter)
            ranges.append(np.ptp(expose(np.random.default_rng(0), step_wedge(), exposure)))
        assert ranges[0] > ranges[1] > ranges[2]

    def test_motion_blurs_along_the_patient_alone(self, case: PhantomCase) -> None:
        still, moved = (
            expose(np.random.default_rng(0), case.healthy.attenuation, exposure)
            for exposure in (CLEAN, dataclasses.replace(CLEAN, motion=2.0))
        )
        loss = [
            np.abs(np.diff(moved, 2, axis)).mean() / np.abs(np.diff(still, 2, axis)).mean()
            for axis in (0, 1)
        ]
        assert loss[0] < 0.6 * loss[1]

    def test_a_lower_dose_is_noisier_most_of_all_behind_dense_tissue(self) -> None:
        def noise(photons: float, columns: slice) -> float:
            exposure = dataclasses.replace(CLEAN, photons=photons)
            signal = expose(np.random.default_rng(0), step_wedge(), exposure)
            return float((signal - step_wedge())[:, columns].std())

        thin, dense = slice(0, 20), slice(-20, None)
        assert noise(4.5, dense) > 2 * noise(5.5, dense)
        assert noise(4.5, dense) > 2 * noise(4.5, thin)

    def test_the_heel_darkens_one_end_of_the_field(self) -> None:
        exposure = dataclasses.replace(CLEAN, heel=0.3)
        signal = expose(np.random.default_rng(0), np.zeros((SIDE, SIDE), np.float32), exposure)
        assert signal[0].mean() - signal[-1].mean() == pytest.approx(0.3, abs=0.01)


class TestDisplay:
    @pytest.mark.parametrize("seed", range(20))
    def test_denser_tissue_is_never_darker_without_enhancement(self, seed: int) -> None:
        look = draw_look(np.random.default_rng(seed))
        look = dataclasses.replace(look, enhancement="none", clahe=0.0)
        grey = present(step_wedge(), np.ones((SIDE, SIDE), np.bool_), look)
        assert (np.diff(grey, axis=1) >= 0).all()
        assert look.black - 1e-6 <= grey.min() <= grey.max() <= look.white + 1e-6

    def test_the_window_is_taken_from_the_body(self) -> None:
        signal = step_wedge()
        body = signal > 2
        grey = present(signal, body, PLAIN)
        assert grey[~body].max() < 0.02
        assert grey[body].max() == pytest.approx(1, abs=0.02)

    @pytest.mark.parametrize("enhancement", ["unsharp", "multiscale"])
    def test_enhancement_steepens_a_weak_edge(self, enhancement: Enhancement) -> None:
        signal = step_wedge()
        signal[: SIDE // 2] += 0.05
        body = np.ones((SIDE, SIDE), np.bool_)
        strong = dataclasses.replace(PLAIN, enhancement=enhancement, strength=0.4, radius=4.0)

        def edge(look: Look) -> float:
            grey = present(signal, body, look)[:, 40:90]
            return float((grey[SIDE // 2 - 1] - grey[SIDE // 2]).mean())

        assert edge(strong) > 1.2 * edge(PLAIN)

    def test_an_empty_image_has_no_body_and_still_a_window(self) -> None:
        empty = np.zeros((SIDE, SIDE), np.float32)
        assert np.isfinite(present(empty, empty > 0, PLAIN)).all()


class TestMarks:
    def test_nothing_is_visible_behind_a_shutter(self) -> None:
        shutter = Shutter(
            left=0.25, top=0.0, right=0.0, bottom=0.0, degrees=0.0, grey=0.9, softness=0.0
        )
        image = np.full((SIDE, SIDE), 0.4, np.float32)
        marks = dataclasses.replace(NO_MARKS, shutter=shutter)
        marked, visible = add_marks(image, np.ones_like(image), marks)
        np.testing.assert_allclose(marked[:, :30], 0.9, atol=1e-6)
        assert not visible[:, :30].any()
        np.testing.assert_allclose(marked[:, 34:], 0.4, atol=1e-6)

    @pytest.mark.parametrize("plate", ["none", "disc", "box"])
    def test_an_inscription_changes_its_surroundings_alone(self, plate: str) -> None:
        letter = Inscription(
            words="R",
            column=0.2,
            row=0.3,
            height=0.06,
            weight=1,
            font=0,
            degrees=20.0,
            mirrored=False,
            grey=1.0,
            plate=plate,
        )
        image = np.full((SIDE, SIDE), 0.4, np.float32)
        marks = dataclasses.replace(NO_MARKS, inscriptions=(letter,))
        marked, visible = add_marks(image, np.ones_like(image), marks)
        changed = np.argwhere(np.abs(marked - image) > 0.05) / SIDE
        assert len(changed) > 10
        np.testing.assert_allclose(changed.mean(axis=0), (0.3, 0.2), atol=0.03)
        assert np.abs(changed - (0.3, 0.2)).max() < 0.15
        assert visible.all()

    def test_bed_films_alone_are_called_portable(self) -> None:
        words = {
            view: {
                inscription.words
                for seed in range(300)
                for inscription in draw_marks(np.random.default_rng(seed), view).inscriptions
            }
            for view in ("AP", "PA")
        }
        assert "PORTABLE" in words["AP"] - words["PA"]
        assert {"R", "L"} <= words["AP"] & words["PA"]


class TestAcquire:
    def test_images_and_masks_are_uint8_of_the_size_asked_for(self, case: PhantomCase) -> None:
        film = acquire(case.pneumonia, STRAIGHT, 96)
        for image in (film.pixels, film.lesion, film.lungs):
            assert image.shape == (96, 96)
            assert image.dtype == np.uint8

    @pytest.mark.parametrize("seed", range(4))
    def test_the_mask_lies_where_the_lesion_changes_the_image(
        self, case: PhantomCase, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        framing = draw_framing(rng, case.healthy.lungs, "child")
        acquisition = dataclasses.replace(STRAIGHT, framing=framing)
        healthy, sick = (acquire(half, acquisition, 128) for half in (case.healthy, case.pneumonia))
        brighter = sick.pixels.astype(float) - healthy.pixels
        inside = brighter[sick.lesion > 128].mean()
        assert inside > 5
        # The window is set by percentiles of the body, so a large lesion darkens the rest a little.
        assert abs(brighter[sick.lesion == 0].mean()) < inside / 2
        assert not healthy.lesion.any()

    def test_the_same_acquisition_gives_the_same_bytes(self, case: PhantomCase) -> None:
        rng = np.random.default_rng(3)
        acquisition = draw_acquisition(rng, case.healthy.lungs, "adult", "AP")
        first, second = (acquire(case.pneumonia, acquisition, 64) for _ in range(2))
        assert first.pixels.tobytes() == second.pixels.tobytes()

    def test_a_small_film_blanks_its_masks_too(self, case: PhantomCase) -> None:
        everywhere = dataclasses.replace(
            case.pneumonia, lesion=np.ones((CANVAS, CANVAS), np.float32)
        )
        tall = dataclasses.replace(WHOLE_CANVAS, height=1.5 * CANVAS)
        film = acquire(everywhere, dataclasses.replace(STRAIGHT, framing=tall), 60)
        assert not film.lesion[:9].any()
        assert not film.pixels[:9].any()
        assert (film.lesion[12:-12] == 255).all()

    def test_jpeg_and_a_smaller_file_cost_detail_only(self, case: PhantomCase) -> None:
        lossless = acquire(case.healthy, STRAIGHT, CANVAS).pixels.astype(float)
        poor = dataclasses.replace(STRAIGHT, filing=Filing(side=140, quality=50, smooth=True))
        stored = acquire(case.healthy, poor, CANVAS).pixels.astype(float)
        assert 0.5 < np.abs(stored - lossless).mean() < 8

    def test_an_empty_projection_is_imaged(self) -> None:
        empty = np.zeros((CANVAS, CANVAS), np.float32)
        projection = Projection(
            attenuation=empty, lungs=empty, heart=empty, lesion=empty, pixels_per_cm=8.0
        )
        acquisition = draw_acquisition(np.random.default_rng(0), empty, "adult", "PA")
        assert acquire(projection, acquisition, 64).pixels.shape == (64, 64)


class TestDrawPair:
    def test_the_seed_determines_everything(self) -> None:
        first, again, other = (draw_pair(seed, 64) for seed in (5, 5, 6))
        for one, two, three in zip(first, again, other, strict=True):
            assert one.pixels.tobytes() == two.pixels.tobytes()
            assert one.lesion.tobytes() == two.lesion.tobytes()
            assert one.facts == two.facts
            assert one.pixels.tobytes() != three.pixels.tobytes()

    def test_halves_share_everything_but_the_lesion(self) -> None:
        healthy, sick = draw_pair(5, 64)
        for name in sick.facts.keys() - NO_LESION.keys():
            assert healthy.facts[name] == sick.facts[name], name
        assert healthy.pixels.tobytes() != sick.pixels.tobytes()
        assert {name: healthy.facts[name] for name in NO_LESION} == NO_LESION
        assert sick.facts["pattern"]
        assert sick.lesion.any()
        assert not healthy.lesion.any()

    def test_leaving_out_the_lesion_changes_nothing_else(self) -> None:
        with_lesion, without = draw_pair(5, 64), draw_pair(5, 64, lesion=False)
        assert with_lesion[0].pixels.tobytes() == without[0].pixels.tobytes()
        assert without[1].pixels.tobytes() == without[0].pixels.tobytes()  # nothing to learn from
        assert not without[1].lesion.any()
        assert without[1].facts == with_lesion[1].facts | NO_LESION

    def test_the_digest_of_the_code_is_short_and_stable(self) -> None:
        assert len(source_digest()) == 12
        assert source_digest() == source_digest()


def test_bed_films_have_more_scatter() -> None:
    scatter = {
        view: np.mean(
            [draw_exposure(np.random.default_rng(s), view, "adult").scatter for s in range(200)]
        )
        for view in ("AP", "PA")
    }
    assert scatter["AP"] > 1.15 * scatter["PA"]
