"""The second view of a film, and where its heatmap belongs in the first."""

import numpy as np
import pytest
import torch
from PIL import Image

from training.networks.second_view import placing, second_view


class TestSecondView:
    def test_of_all_is_the_mirror_image(self) -> None:
        image = torch.rand(2, 1, 16, 16)
        torch.testing.assert_close(second_view(image, 1.0), image.flip(3))

    def test_is_what_pillow_cuts_out_of_the_mirror_image(self) -> None:
        image = np.random.default_rng(1).random((40, 40), dtype=np.float32)
        mirrored = Image.fromarray(np.ascontiguousarray(image[:, ::-1]))
        expected = mirrored.resize((40, 40), Image.Resampling.BILINEAR, box=(4, 4, 36, 36))
        seen = second_view(torch.from_numpy(image)[None, None], 0.8)[0, 0]
        np.testing.assert_allclose(seen, np.asarray(expected), atol=1e-5)


class TestPlacing:
    @pytest.mark.parametrize("share", [0.5, 0.92, 1.0])
    def test_keeps_the_sum(self, share: float) -> None:
        heatmap = np.random.default_rng(2).random((3, 5, 5), dtype=np.float32)
        down, across = placing(5, share)
        placed = down @ heatmap @ across
        np.testing.assert_allclose(placed.sum(axis=(1, 2)), heatmap.sum(axis=(1, 2)), rtol=1e-5)

    def test_puts_what_the_second_view_shows_where_the_film_has_it(self) -> None:
        image = torch.zeros(1, 1, 160, 160)
        image[..., 96:112, 32:48] = 1  # row 6 and column 2 of ten
        seen = second_view(image, 0.8).reshape(10, 16, 10, 16).mean(dim=(1, 3)).numpy()
        down, across = placing(10, 0.8)
        placed = down @ seen @ across
        assert np.unravel_index(placed.argmax(), placed.shape) == (6, 2)
        rows, columns = placed.sum(axis=1), placed.sum(axis=0)
        assert np.average(np.arange(10), weights=rows) == pytest.approx(6, abs=0.1)
        assert np.average(np.arange(10), weights=columns) == pytest.approx(2, abs=0.1)
