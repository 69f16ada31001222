"""The network: one radiograph in several channels in, one logit out.

generate -> curate -> dataset -> channels -> [network] -> fit -> calibrate -> export

A backbone makes feature maps; global average pooling and one linear layer make the logit. So the
derivative of the logit with respect to feature map k is w_k / (h*w) everywhere, and Grad-CAM
(Selvaraju et al., arXiv 1610.02391) on the last maps needs no gradient: it is
relu(sum_k w_k A_k) / (h*w), part of the forward pass and hence of the exported graph.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.networks import efficientnet, resnet
from training.networks.channels import to_channels
from training.networks.efficientnet import EfficientNetLite0
from training.networks.resnet import ResNet

STRIDE = 16  # pixels of the image to one cell of the heatmap and of the auxiliary lesion mask

# How many blocks each may have: a ResNet all of its layers, the other any that reach the stride.
BLOCKS = {
    **dict.fromkeys(resnet.SHAPES, range(resnet.LAYERS, resnet.LAYERS + 1)),
    "lite0": range(efficientnet.AT_STRIDE_16, efficientnet.BLOCKS + 1),
}


class Outputs(NamedTuple):
    """What one forward pass yields, and what the exported graph returns under the same names."""

    logit: Tensor  # (N,)
    heatmap: Tensor  # (N, h, w), not negative, in units of the logit
    embedding: Tensor  # (N, features): pooled last feature maps, 2,048 for ResNet-50


class Seen(NamedTuple):
    """What the network makes of its channels on the way to its outputs."""

    outputs: Outputs
    maps: Tensor  # (N, features, h, w), the last ones
    evidence: Tensor  # (N, h, w), of each cell; its mean is the logit less the bias


class PneumoniaNet(nn.Module):
    """A backbone and its linear layer, for (N, 1, S, S) images in [0, 1].

    Parameters
    ----------
    architecture
        One of BLOCKS.
    blocks
        How many of its blocks there are.
    mean, std
        Subtracted and divided inside the network, so that the exported graph takes plain [0, 1].
    channels
        What it is shown, see :func:`training.networks.channels.to_channels`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture: str,
        blocks: int,
        *,
        mean: float,
        std: float,
        channels: Sequence[str] = ("grey",),
    ) -> None:
        super().__init__()
        self.backbone: ResNet | EfficientNetLite0 = (
            EfficientNetLite0(len(channels), blocks)
            if architecture == "lite0"
            else ResNet(architecture, len(channels))
        )
        self.channels = tuple(channels)
        self.mask_scale = nn.Parameter(torch.ones(()))
        self.mask_offset = nn.Parameter(torch.zeros(()))
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, image: Tensor) -> Outputs:
        """Logit, heatmap and embedding of (N, 1, S, S) images in [0, 1]."""
        return self.see(to_channels(image, self.channels, self.mean, self.std)).outputs

    def forward_with_mask(self, channels: Tensor) -> tuple[Outputs, Tensor]:
        """As :meth:`forward`, from channels, and the lesion mask's logits for training."""
        seen = self.see(channels)
        return seen.outputs, self.mask(seen.evidence)

    def mask(self, evidence: Tensor) -> Tensor:
        """The lesion mask's logits (N, S / 16, S / 16): the evidence, scaled and shifted.

        So what teaches where the lesion lies teaches the heatmap itself.
        """
        return self.mask_scale * evidence + self.mask_offset

    def see(self, channels: Tensor) -> Seen:
        """Outputs, last feature maps and evidence of channels (N, C, S, S)."""
        maps = self.backbone.maps(channels)
        head = self.backbone.fc
        embedding = maps.mean(dim=(2, 3))
        evidence = torch.einsum("nkhw,k->nhw", maps, head.weight[0])
        heatmap = torch.relu(evidence) / (maps.shape[2] * maps.shape[3])
        return Seen(Outputs(head(embedding).squeeze(1), heatmap, embedding), maps, evidence)

    def head(self) -> list[nn.Parameter]:
        """The parameters that stand behind the feature maps."""
        return [*self.backbone.fc.parameters(), self.mask_scale, self.mask_offset]

    def load_imagenet(self, weights: Mapping[str, Tensor]) -> None:
        """Start from published ImageNet weights of the backbone, of three channels.

        They are shared out among its own.
        """
        self.backbone.load_imagenet(weights, self.channels, float(self.mean), float(self.std))
