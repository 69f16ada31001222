"""What the network is shown of a radiograph."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from service.imaging.standardise import equalise as equalise_served
from tests.sources import ROOT
from tests.training.model_run import write_config, write_dataset
from training.config import Config, InvalidConfig, LungDetailConfig, MemberConfig
from training.fit.dataset import TrainingImages, load_splits
from training.networks.channels import edges, equalise, resize, smooth, to_channels


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("channels")
    write_dataset(folder / "data")
    return write_config(folder / "tiny.toml", folder / "data")


def film(seed: int = 0, side: int = 64) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((2, 1, side, side), np.float32))


class TestEqualise:
    def test_is_what_serving_does_but_for_the_width_of_a_bin(self) -> None:
        images = np.random.default_rng(3).random((3, 1, 64, 64), dtype=np.float32)
        images[1] = np.round(images[1] * 9) / 9  # many ties
        images[2] = 0.25  # nothing but ties
        expected = np.stack([equalise_served(image[0])[None] for image in images])
        found = equalise(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(found, expected, atol=2e-3)
        np.testing.assert_array_equal(found[1:], expected[1:])  # ties are ties

    def test_does_not_depend_on_window(self) -> None:
        darker = equalise(film() / 16 + 0.9)
        torch.testing.assert_close(darker, equalise(film()), atol=2e-3, rtol=0)


class TestResize:
    @pytest.mark.parametrize("size", [24, 48, 64, 80])
    def test_is_what_pillow_does(self, size: int) -> None:
        image = film()
        expected = Image.fromarray(image[0, 0].numpy()).resize(
            (size, size), Image.Resampling.BILINEAR
        )
        np.testing.assert_allclose(resize(image, size)[0, 0], np.asarray(expected), atol=1e-6)


class TestSmooth:
    @pytest.mark.parametrize("sigma", [1.0, 3.0, 8.0])
    def test_is_a_gaussian_blur_with_repeated_edges(self, sigma: float) -> None:
        image = film()
        reach = round(3 * sigma)
        expected = cv2.GaussianBlur(
            image[0, 0].numpy(),
            (2 * reach + 1, 2 * reach + 1),
            sigma,
            borderType=cv2.BORDER_REPLICATE,
        )
        np.testing.assert_allclose(smooth(image, sigma)[0, 0], expected, atol=1e-5)


class TestEdges:
    def test_do_not_depend_on_brightness_and_contrast(self) -> None:
        torch.testing.assert_close(edges(film() * 0.5 + 0.2), edges(film()), atol=0.02, rtol=0)

    def test_broad_shades_are_taken_away(self) -> None:
        broad = smooth(film(), 20.0)
        broad = (broad - broad.min()) / (broad.max() - broad.min())
        assert float((edges(film() + broad) - edges(film())).abs().mean()) < 0.1

    def test_nothing_to_see_is_all_0(self) -> None:
        assert not edges(torch.full((1, 1, 64, 64), 0.5)).abs().gt(0.01).any()


class TestLook:
    def test_channels_are_in_the_order_asked_for(self) -> None:
        channels = to_channels(film(), ("edges", "ranks", "grey"), 0.5, 0.25)
        assert channels.shape == (2, 3, 64, 64)
        torch.testing.assert_close(channels[:, :1], edges(film()))
        torch.testing.assert_close(channels[:, 1:2], (equalise(film()) - 0.5) / 0.25)
        torch.testing.assert_close(channels[:, 2:], (film() - 0.5) / 0.25)


class TestDroppedChannels:
    def test_both_images_of_a_pair_lack_the_same_channel_as_often_as_asked(
        self, config: Config
    ) -> None:
        both = dataclasses.replace(config.fit, channels=("ranks", "edges"), drop_channel=0.3)
        train = load_splits(config)["train"]
        images = TrainingImages(train, dataclasses.replace(config, fit=both))
        rows = train.groupby("group", sort=True).indices.values()
        blank = np.array(
            [
                [[not channel.any() for channel in images[draw, row][0]] for row in pair]
                for draw in range(8)
                for pair in rows
            ]
        )  # (pairs, images of a pair, channels)
        np.testing.assert_array_equal(blank[:, 0], blank[:, 1])
        assert not blank.all(axis=2).any()
        np.testing.assert_allclose(blank[:, 0].mean(axis=0), 0.3, atol=0.12)


class TestConfig:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"channels": ()},
            {"channels": ("ranks", "ranks")},
            {"channels": ("colours",)},
            {"channels": ("ranks",), "drop_channel": 0.1},
            {"channels": ("ranks", "edges"), "drop_channel": 0.5},
        ],
    )
    def test_channels_that_make_no_sense_are_refused(
        self, config: Config, wrong: dict[str, object]
    ) -> None:
        with pytest.raises(InvalidConfig, match="channel"):
            dataclasses.replace(config.fit, **wrong)  # type: ignore[arg-type]

    def test_members_without_lung_detail_are_refused(self, config: Config) -> None:
        member = MemberConfig(
            size=32, seed=1, architecture="resnet18", blocks=4, init="random",
            generators=(), channels=("edges",), drop_channel=0.0, steps=1, learning_rate=1e-3,
            probe_steps=0, freeze=0, pull=0.0, blend=1.0, average=0.5,
        )  # fmt: skip
        with pytest.raises(InvalidConfig, match=r"\[lung_detail\]"):
            dataclasses.replace(config, members=(member,))

    def test_ranks_of_ranks_are_refused(self, config: Config) -> None:
        equalised = dataclasses.replace(config.input, equalise=True)
        detail = LungDetailConfig(crop=1.0, weight=1.0, children=False, phantoms=1, steps=1)
        with pytest.raises(InvalidConfig, match="equalise"):
            dataclasses.replace(config, input=equalised)
        with pytest.raises(InvalidConfig, match="equalise"):
            dataclasses.replace(
                config,
                input=equalised,
                lung_detail=detail,
                fit=dataclasses.replace(config.fit, channels=("grey",)),
            )

    def test_the_default_has_its_members(self, tmp_path: Path) -> None:
        default = Config.load(ROOT / "training" / "configs" / "default.toml")
        (first, run), (second, beside), *others = default.networks(tmp_path)
        assert (run, beside) == (tmp_path, tmp_path / "companion-1")
        assert others[-1][1] == tmp_path / "companion-3"
        assert first.fit == default.fit
        assert second.fit.generators == ("phantom",)
        assert second.fit.batch == default.fit.batch
        assert others[0][0].input == dataclasses.replace(first.input, size=160)
        assert [own.fit.freeze for own, _ in others] == [6, 6]
        assert [own.fit.trainings for own, _ in others] == [4, 4]
        assert list(default.counts) == [1, 1, 2, 2]
        assert list(default.second_views) == [0, 0, 0.92, 0.92]

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"counts": 0}, "counts 0 of a member is not positive"),
            ({"second_view": 1.1}, r"second_view 1.1 of a member is neither 0 nor in \[0.5, 1\]"),
            ({"second_view": 0.01}, "second_view 0.01"),
            ({"second_view": True}, "second_view True"),
        ],
    )
    def test_a_place_in_the_sum_that_makes_no_sense_is_refused(
        self, wrong: dict[str, float], said: str
    ) -> None:
        default = Config.load(ROOT / "training" / "configs" / "default.toml")
        with pytest.raises(InvalidConfig, match=said):
            dataclasses.replace(default.members[0], **wrong)  # type: ignore[arg-type]
