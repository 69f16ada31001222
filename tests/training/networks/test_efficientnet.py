"""EfficientNet-Lite0 is the published network, at a finer resolution and on other channels."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from service.model.session import Session
from training.networks.efficientnet import IMAGENET_MEAN, EfficientNetLite0
from training.networks.pneumonia import PneumoniaNet
from training.networks.start import packaged_weights
from training.release.export import export_float, quantise, saturating_weights
from training.release.verify import grad_cam

STD = 0.29
# Classes, and their logits by the package efficientnet-lite-pytorch 0.1.0 on `waves(160)` as RGB.
CLASSES = [0, 100, 285, 500, 967, 999]
LOGITS = [-0.737446, 1.161700, -1.097257, -2.086408, 1.439409, -0.309549]


def waves(side: int) -> Tensor:
    """A grey image (1, 1, side, side) in [0, 1] of several scales."""
    place = torch.arange(side) / side
    slow = torch.cos(9 * place[:, None] + 25 * place[None] ** 2)
    return (0.5 + 0.25 * torch.sin(40 * place[:, None] * place[None]) + 0.25 * slow)[None, None]


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    path, _ = packaged_weights()
    loaded: dict[str, Tensor] = torch.load(path, weights_only=True)
    return loaded


def backbone(
    weights: dict[str, Tensor],
    blocks: int = 16,
    *,
    stride: int = 16,
    channels: tuple[str, ...] = ("grey",),
    mean: float = IMAGENET_MEAN,
) -> EfficientNetLite0:
    net = EfficientNetLite0(len(channels), blocks, stride)
    net.load_imagenet(weights, channels, mean, STD)
    return net.eval()


def maps_of(net: EfficientNetLite0, image: Tensor, mean: float = IMAGENET_MEAN) -> Tensor:
    channels = ((image - mean) / STD).expand(
        -1, int(net.state_dict()["stem.0.weight"].shape[1]), -1, -1
    )
    with torch.inference_mode():
        return net.maps(channels)


class TestPublishedNetwork:
    def test_logits_are_those_of_the_reference(self, weights: dict[str, Tensor]) -> None:
        pooled = maps_of(backbone(weights, stride=32), waves(160)).mean(dim=(2, 3))
        logits = torch.nn.functional.linear(pooled, weights["_fc.weight"], weights["_fc.bias"])
        np.testing.assert_allclose(logits[0, CLASSES], LOGITS, atol=1e-4)

    def test_finer_maps_hold_the_published_ones(self, weights: dict[str, Tensor]) -> None:
        published = maps_of(backbone(weights, stride=32), waves(192))
        finer = maps_of(backbone(weights), waves(192))
        assert finer.shape == (1, 1280, 12, 12)
        inside = np.s_[:, :, 2:-2, 2:-2]  # outside, padding is seen from elsewhere
        torch.testing.assert_close(
            finer[:, :, 1::2, 1::2][inside], published[inside], atol=1e-4, rtol=0
        )

    @pytest.mark.parametrize(("blocks", "maps"), [(6, 80), (11, 112), (15, 192)])
    def test_is_cut_after_a_block(self, weights: dict[str, Tensor], blocks: int, maps: int) -> None:
        cut, whole = backbone(weights, blocks), backbone(weights)
        channels = (waves(96) - IMAGENET_MEAN) / STD
        with torch.inference_mode():
            expected = whole.blocks[:blocks](whole.stem(channels))
        assert expected.shape == (1, maps, 6, 6)
        torch.testing.assert_close(maps_of(cut, waves(96)), expected)


class TestViews:
    def test_equal_channels_respond_like_one(self, weights: dict[str, Tensor]) -> None:
        one, two = (backbone(weights, 6, channels=v) for v in (("grey",), ("grey", "ranks")))
        torch.testing.assert_close(
            maps_of(one, waves(64)), maps_of(two, waves(64)), atol=1e-3, rtol=0
        )

    def test_the_mean_of_the_input_is_undone(self, weights: dict[str, Tensor]) -> None:
        centred = maps_of(backbone(weights, 6), waves(192))
        shifted = maps_of(backbone(weights, 6, mean=0.3), waves(192), mean=0.3)
        inside = np.s_[:, :, 5:7, 5:7]  # far from the padding, which has another grey
        torch.testing.assert_close(shifted[inside], centred[inside], atol=1e-3, rtol=0)

    def test_weights_of_something_else_are_refused(self) -> None:
        other = {
            "_conv_stem.weight": torch.zeros(32, 3, 3, 3),
            "_bn0.running_mean": torch.zeros(32),
        }
        with pytest.raises(ValueError, match="EfficientNet-Lite0"):
            EfficientNetLite0(1, 6).load_imagenet(other, ("grey",), 0.5, STD)


@pytest.fixture(scope="module")
def network(weights: dict[str, Tensor]) -> PneumoniaNet:
    torch.manual_seed(0)
    made = PneumoniaNet("lite0", 16, mean=0.5, std=STD, channels=("grey",))
    made.load_imagenet(weights)
    return made.eval()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return torch.cat([waves(64) ** power for power in (0.5, 0.8, 1.0, 1.5, 2.0)]).numpy()


class TestHeatmap:
    @pytest.mark.parametrize("blocks", [11, 16])
    def test_is_grad_cam(self, weights: dict[str, Tensor], images: np.ndarray, blocks: int) -> None:
        torch.manual_seed(0)
        made = PneumoniaNet("lite0", blocks, mean=0.5, std=STD, channels=("grey",))
        made.load_imagenet(weights)
        torch.nn.init.normal_(made.backbone.fc.weight, mean=0.02, std=0.02)
        with torch.inference_mode():
            own = made.eval()(torch.from_numpy(images)).heatmap.numpy()
        reference = grad_cam(made, images)
        assert own.shape == (5, 4, 4)
        assert reference.max() > 0
        np.testing.assert_allclose(own, reference, rtol=1e-3, atol=1e-4)


class TestInt8:
    def test_later_convolutions_are_int8_and_hold_their_relu6(
        self, network: PneumoniaNet, images: np.ndarray, tmp_path: Path
    ) -> None:
        export_float(network, 64, tmp_path / "float.onnx")
        quantise(tmp_path / "float.onnx", images, tmp_path / "int8.onnx")
        model = onnx.load(tmp_path / "int8.onnx")
        arrays = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
        producers = {name: node for node in model.graph.node for name in node.output}
        convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
        assert len(convolutions) == 49
        for node in convolutions[6:]:
            values, scale, *_ = producers[node.input[1]].input
            assert arrays[values].dtype == np.int8
            assert arrays[scale].shape == (arrays[values].shape[0],)
        clipped = [node.op_type for node in model.graph.node].count("Clip")
        assert clipped == 4  # of the convolutions in float; the others' ranges clip
        assert saturating_weights(model) == 0
        exact, rounded = (
            Session((tmp_path / f"{name}.onnx").read_bytes(), threads=1).run(images)
            for name in ("float", "int8")
        )
        assert np.corrcoef(exact.embedding.ravel(), rounded.embedding.ravel())[0, 1] > 0.95
