"""The gate network: one of 90,000 weights that looks at 64 x 64 pixels.

standardised input -> [gate network] -> logit of familiarity
It keeps where things are (no pooling over the whole image at the end): which way is up matters.
"""

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from training.networks.channels import equalise

SIDE = 64  # pixels the gate network looks at, whatever the model's input
_WIDTHS = (16, 32, 48, 64, 64)


class GateNetwork(nn.Module):
    """Logit of "a frontal chest radiograph, upright, bone white", from the model's own input."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((1, *_WIDTHS[:-1]), _WIDTHS, strict=True):
            layers += Conv2dNormActivation(before, after, stride=1 if after == before else 2)
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(_WIDTHS[-1] * 16, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N,) of images (N, 1, S, S) in [0, 1]."""
        return self.judge(see(image))

    def judge(self, small: Tensor) -> Tensor:
        """Logits (N,) of images (N, 1, 64, 64) that :func:`see` made."""
        logit: Tensor = self.head(self.features(2 * small - 1))
        return logit[:, 0]


def see(image: Tensor) -> Tensor:
    """Reduce and equalise, so that window and exposure do not matter whatever the model's input."""
    return equalise(reduce(image))


def reduce(image: Tensor) -> Tensor:
    """Average whole blocks of pixels, then resample to (N, 1, 64, 64)."""
    block = max(1, image.shape[-1] // SIDE)
    if block > 1:
        image = nn.functional.avg_pool2d(image, block)
    if image.shape[-1] == SIDE:
        return image
    return nn.functional.interpolate(image, size=(SIDE, SIDE), mode="bilinear", align_corners=False)


def weights(network: nn.Module) -> int:
    """How many numbers were learned."""
    return sum(parameter.numel() for parameter in network.parameters())


def logits(network: GateNetwork, small: Tensor, batch: int = 512) -> Tensor:
    """Logits (N,) of images (N, 1, 64, 64) that :func:`see` made, without gradients."""
    network.eval()
    with torch.inference_mode():
        return torch.cat([network.judge(part) for part in torch.split(small, batch)])
