import numpy as np
import pytest

from training.generate.phantom.sampling import log_uniform, noise_volume


class TestNoise:
    def test_blocks_do_not_repeat(self) -> None:
        """A bank that repeats is learned by heart and taken for the lesion."""
        rng = np.random.default_rng(1)
        planes = [noise_volume(rng, (4, 160, 160), 2.2)[1, ::5, ::5].ravel() for _ in range(150)]
        alike = np.abs(np.corrcoef(np.stack(planes)))
        np.fill_diagonal(alike, 0)
        assert alike.max() < 0.85

    @pytest.mark.parametrize("exponent", [1.5, 2.5])
    def test_has_about_zero_mean_and_unit_variance(self, exponent: float) -> None:
        rng = np.random.default_rng(2)
        blocks = np.stack([noise_volume(rng, (24, 160, 160), exponent) for _ in range(12)])
        assert blocks.dtype == np.float32
        assert abs(float(blocks.mean())) < 0.2
        assert 0.8 < float(blocks.std()) < 1.2

    def test_same_generator_state_same_block(self) -> None:
        first, again = (noise_volume(np.random.default_rng(3), (8, 40, 60), 2.0) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        assert first.shape == (8, 40, 60)

    def test_elongated_clouds_are_higher_than_wide(self) -> None:
        rng = np.random.default_rng(5)
        blocks = np.stack([noise_volume(rng, (4, 120, 120), 2.0, 3.0) for _ in range(8)])
        down, across = np.diff(blocks, axis=2), np.diff(blocks, axis=3)
        assert float(np.square(across).mean()) > 2 * float(np.square(down).mean())


def test_log_uniform_spends_as_much_on_each_order_of_size() -> None:
    rng = np.random.default_rng(4)
    drawn = np.array([log_uniform(rng, 0.01, 1.0) for _ in range(2000)])
    assert drawn.min() >= 0.01
    assert drawn.max() <= 1
    assert np.median(drawn) == pytest.approx(0.1, rel=0.15)
