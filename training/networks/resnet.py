"""torchvision's ResNets as backbones of :class:`training.networks.pneumonia.PneumoniaNet`.

He et al. 2015, "Deep residual learning for image recognition" (arXiv 1512.03385).
"""

from collections.abc import Mapping, Sequence

import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

SHAPES = {
    "resnet18": (BasicBlock, [2, 2, 2, 2], torchvision.models.ResNet18_Weights.DEFAULT),
    "resnet50": (Bottleneck, [3, 4, 6, 3], torchvision.models.ResNet50_Weights.DEFAULT),
}
LAYERS = 4


class ResNet(torchvision.models.ResNet):  # type: ignore[misc]  # torchvision ships no types
    """A ResNet of any number of input channels, with one output.

    Layer 4 keeps the resolution of layer 3, so that a 128-pixel image has a heatmap of 8 x 8 cells
    instead of 4 x 4; the weights have the same shapes as torchvision's.
    """

    conv1: nn.Conv2d
    fc: nn.Linear

    def __init__(self, architecture: str, channels: int) -> None:
        block, depths, self.published = SHAPES[architecture]
        super().__init__(block, depths, num_classes=1)
        self.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        for layer in self.layer4.modules():
            if isinstance(layer, nn.Conv2d):
                layer.stride = (1, 1)

    def maps(self, channels: Tensor) -> Tensor:
        """The last feature maps (N, features, S / 16, S / 16) of (N, channels, S, S)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(channels))))
        maps: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return maps

    @property
    def last(self) -> nn.Module:
        """The module that puts out the last feature maps."""
        last: nn.Module = self.layer4[-1]
        return last

    def first(self, blocks: int) -> list[nn.Module]:
        """What comes before layer ``blocks + 1``; nothing for 0."""
        stem = [self.conv1, self.bn1] if blocks else []
        return [*stem, *[self.layer1, self.layer2, self.layer3, self.layer4][:blocks]]

    def load_imagenet(
        self, weights: Mapping[str, Tensor], channels: Sequence[str], _mean: float, _std: float
    ) -> None:
        """Start from torchvision's ImageNet weights (three channels, 1,000 classes).

        The three channels of the first convolution are added up and shared out among the network's:
        on equal channels that is the same response as on three equal channels. The classifier is
        left as initialised. ``_mean`` and ``_std``, of grey values, are taken for ImageNet's.
        """
        state = {name: value for name, value in weights.items() if not name.startswith("fc.")}
        whole = state["conv1.weight"].sum(dim=1, keepdim=True)
        state["conv1.weight"] = whole.repeat(1, len(channels), 1, 1) / len(channels)
        missing, unexpected = self.load_state_dict(state, strict=False)
        if unexpected or set(missing) != {"fc.weight", "fc.bias"}:
            raise ValueError(f"not weights of this architecture: {unexpected or missing}")
