"""EfficientNet-Lite0 as a backbone of :class:`training.networks.pneumonia.PneumoniaNet`.

Tan and Le 2019, "EfficientNet" (arXiv 1905.11946); the Lite variants have ReLU6 and no squeeze and
excitation, so that they lose little in int8. Chen et al. 2017, "Rethinking atrous convolution"
(arXiv 1706.05587), is how a network keeps its features at a finer resolution.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops.misc import ConvNormActivation

# Of each stage: blocks, kernel, stride, maps that each map of the input is widened to, maps out.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280  # maps
BLOCKS = sum(stage[0] for stage in STAGES)
AT_STRIDE_16 = 6  # blocks from which on a cell is 16 pixels wide
# The weights were trained on (grey - 127) / 128 for grey values of 0 to 255.
IMAGENET_MEAN, IMAGENET_STD = 127 / 255, 128 / 255
# What the published weights call the parts of a block and of the whole.
BLOCK_NAMES = {
    "_expand_conv": "expand.0",
    "_bn0": "expand.1",
    "_depthwise_conv": "depthwise.0",
    "_bn1": "depthwise.1",
    "_project_conv": "project.0",
    "_bn2": "project.1",
}
NAMES = {"_conv_stem": "stem.0", "_bn0": "stem.1", "_conv_head": "head.0", "_bn1": "head.1"}


class EfficientNetLite0(nn.Module):
    """The first blocks of EfficientNet-Lite0, for any number of input channels, with one output.

    A cell of the last maps is ``stride`` pixels wide. At 16, block 12 takes every place instead of
    every second one, and the depthwise convolutions after it leave out every second place: each
    sees what it saw, so that ImageNet's weights keep their meaning.

    Parameters
    ----------
    channels
        Of the input.
    blocks
        How many of the 16 there are, at least 6; with all of them the convolution to 1,280 maps
        follows.
    stride
        16, or 32 as published.
    """

    def __init__(self, channels: int, blocks: int, stride: int = 16) -> None:
        super().__init__()
        self.stem = _conv(channels, STEM, 3, stride=2)
        made = list(_blocks(blocks, stride))
        features = made[-1].maps
        self.blocks = nn.Sequential(*made)
        self.head = nn.Identity() if blocks < BLOCKS else _conv(features, HEAD, 1)
        self.fc = nn.Linear(features if blocks < BLOCKS else HEAD, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def maps(self, channels: Tensor) -> Tensor:
        """The last feature maps (N, features, S / stride, S / stride) of (N, channels, S, S)."""
        maps: Tensor = self.head(self.blocks(self.stem(channels)))
        return maps

    @property
    def last(self) -> nn.Module:
        """The module that puts out the last feature maps."""
        return self.head if len(self.blocks) == BLOCKS else self.blocks[-1]

    def first(self, blocks: int) -> list[nn.Module]:
        """What comes before block ``blocks + 1``; nothing for 0."""
        if not blocks:
            return []
        end = [self.head] if blocks == len(self.blocks) else []
        return [self.stem, *self.blocks[:blocks], *end]

    def load_imagenet(
        self, weights: Mapping[str, Tensor], channels: Sequence[str], mean: float, std: float
    ) -> None:
        """Start from the published ImageNet weights (three channels, 1,000 classes).

        The three channels of the stem are added up and shared out among the network's. ``mean`` and
        ``std``, by which grey values and ranks were centred, are undone and ImageNet's done in the
        stem's weights and in the mean of its batch norm: all channels equal, the response is that
        on an RGB image of them, but for the border where ``mean`` is not ImageNet's: padding is
        grey there. The classifier starts at 0: few steps would not undo a random one.
        """
        state = _renamed(weights, len(self.blocks))
        whole = state["stem.0.weight"].sum(dim=1, keepdim=True)
        share = std / IMAGENET_STD / len(channels)
        state["stem.0.weight"] = whole.repeat(1, len(channels), 1, 1) * share
        centred = sum(channel != "edges" for channel in channels) / len(channels)
        shift = (mean - IMAGENET_MEAN) / IMAGENET_STD * centred
        state["stem.1.running_mean"] = state["stem.1.running_mean"] - shift * whole.sum((1, 2, 3))
        missing, unexpected = self.load_state_dict(state, strict=False)
        if unexpected or set(missing) != {"fc.weight", "fc.bias"}:
            raise ValueError(f"not weights of EfficientNet-Lite0: {unexpected or missing}")
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)


class InvertedResidual(nn.Module):
    """Widen, filter each map on its own, narrow; added to the input where the shapes agree."""

    def __init__(
        self, inward: int, maps: int, widening: int, kernel: int, stride: int, dilation: int
    ) -> None:
        super().__init__()
        wide = inward * widening
        self.maps = maps
        self.expand = nn.Identity() if widening == 1 else _conv(inward, wide, 1)
        self.depthwise = _conv(wide, wide, kernel, stride=stride, dilation=dilation, groups=wide)
        self.project = _conv(wide, maps, 1, activation_layer=None)
        self.is_residual = stride == 1 and inward == maps

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inward, h, w) to (N, maps, h / stride, w / stride)."""
        made: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + made if self.is_residual else made


class _Conv(nn.Conv2d):
    """Padded like TensorFlow's "same": a stride of 2 on an even side has less before than after."""

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel_size[0]
        if self.stride[0] == 2:
            before, after = (kernel - 2) // 2, (kernel - 1) // 2
            x = functional.pad(x, (before, after, before, after))
            return functional.conv2d(x, self.weight, stride=2, groups=self.groups)
        return super().forward(x)


def _blocks(blocks: int, stride: int) -> Iterator[InvertedResidual]:
    inward, reached, dilation, made = STEM, 2, 1, 0
    for repeats, kernel, step, widening, maps in STAGES:
        for repeat in range(repeats):
            if made == blocks:
                return
            own = step if repeat == 0 else 1
            kept = own if reached * own <= stride else 1
            yield InvertedResidual(inward, maps, widening, kernel, kept, dilation)
            dilation *= own // kept
            reached *= kept
            inward, made = maps, made + 1


# Convolution, batch norm, ReLU6.
_conv = partial(
    ConvNormActivation,
    norm_layer=partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01),
    activation_layer=nn.ReLU6,
    inplace=None,
    conv_layer=_Conv,
)


def _renamed(weights: Mapping[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """The published weights of stem, of the first blocks and of the head behind all of them."""
    renamed = {}
    for name, value in weights.items():
        place, _, rest = name.partition(".")
        if place == "_blocks":
            number, part, field = rest.split(".")
            if int(number) < blocks:
                renamed[f"blocks.{number}.{BLOCK_NAMES[part]}.{field}"] = value
        elif place in ("_conv_stem", "_bn0") or (place in NAMES and blocks == BLOCKS):
            renamed[f"{NAMES[place]}.{rest}"] = value
    return renamed
