"""Lung detail: how clearly vessels and ribs show in the lung fields, as a part of the logit.

generate -> [lungs] -> ensemble -> package

Consolidation obscures the margins of vessels and airway walls (Hansell et al. 2008, "Fleischner
Society: glossary of terms for thoracic imaging", Radiology 246:697). The network looks for a
lesion; how much fine structure is left in both lungs is a second, global sign, and one the network
cannot see: histogram equalisation stretches what the lesion has flattened. Where the lungs are, a
small U-Net finds (Ronneberger et al. 2015, arXiv 1505.04597).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import Conv2dNormActivation

from training.networks.channels import BINS, count, smooth

WIDTHS = (8, 16, 32, 64, 64)  # of the levels, each at half the resolution of the one before
# Band of the detail, in fractions of the image's side: at 128 pixels between Gaussians of 1 and 3
# pixels, 3 to 9 mm on an adult's film. Finer structure tells of the detector and of noise.
FINE, COARSE = 1 / 128, 3 / 128
# The detail is relative to the grey range of the lungs and of what lies this near to them (fraction
# of the side), so that collimation, burnt-in text and the air beside the body do not count.
NEAR = 1 / 8
RANGE = (0.02, 0.98)


class LungNet(nn.Module):
    """U-Net: radiographs (N, 1, S, S) -> logits of lung (N, 1, S / 2, S / 2); S a multiple of 32.

    Brightness and contrast of the input do not matter: each image is brought to mean 0 and standard
    deviation 1 first.
    """

    def __init__(self) -> None:
        super().__init__()
        inward = [1, *WIDTHS[:-1]]
        self.down = nn.ModuleList(map(_block, inward, WIDTHS))
        # Level by level upwards: what comes from below beside what was there on the way down.
        below = [WIDTHS[-1], *WIDTHS[2:0:-1]]
        beside = WIDTHS[-2:0:-1]
        self.up = nn.ModuleList(
            _block(b + s, out) for b, s, out in zip(below, beside, WIDTHS[2::-1], strict=True)
        )
        self.last = nn.Conv2d(WIDTHS[0], 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of lung at half the resolution."""
        x = functional.avg_pool2d(image, 2)
        centred = x - x.mean(dim=(2, 3), keepdim=True)
        x = centred / (centred.square().mean(dim=(2, 3), keepdim=True).sqrt() + 1e-3)
        levels = []
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)
            levels.append(x)
        for block, skipped in zip(self.up, levels[-2:0:-1], strict=True):
            larger = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([larger, skipped], dim=1))
        logits: Tensor = self.last(functional.interpolate(x, scale_factor=2.0, mode="bilinear"))
        return logits


def _block(inward: int, outward: int) -> nn.Sequential:
    # Not in place: the exported graph would have other names.
    first = Conv2dNormActivation(inward, outward, inplace=False)
    second = Conv2dNormActivation(outward, outward, inplace=False)
    return nn.Sequential(*first, *second)


def lung_detail(image: Tensor, lungs: Tensor) -> Tensor:
    """Natural logarithm of the contrast of fine structure in the lungs, (N,).

    Standard deviation of the band between Gaussians of 1 / 128 and 3 / 128 of the side, inside the
    lungs and one pixel away from their border, over the range of grey values in and near the lungs.

    Parameters
    ----------
    image
        Radiographs (N, 1, S, S), not equalised.
    lungs
        Logits of lung (N, 1, S / 2, S / 2).
    """
    side = image.shape[-1]
    field = (lungs > 0).float()
    inside = 1 - functional.max_pool2d(
        1 - functional.interpolate(field, scale_factor=2.0, mode="nearest"), 3, 1, 1
    )
    band = smooth(image, FINE * side) - smooth(image, COARSE * side)
    pixels = inside.sum((1, 2, 3), keepdim=True).clamp_min(1)
    mean = (band * inside).sum((1, 2, 3), keepdim=True) / pixels
    variance = ((band - mean).square() * inside).sum((1, 2, 3), keepdim=True) / pixels
    contrast = torch.log(variance.flatten().sqrt() + 1e-5)
    reach = round(NEAR * side / 2)
    near = functional.max_pool2d(field, 2 * reach + 1, 1, reach)
    return contrast - torch.log(_grey_range(functional.avg_pool2d(image, 2), near))


def _grey_range(image: Tensor, where: Tensor) -> Tensor:
    """Difference of the 98th and the 2nd percentile of the pixels where ``where`` is 1, (N,)."""
    weights = (where > 0).float().flatten(1)
    bins = (image.flatten(1).clamp(0, 1) * (BINS - 1)).long()
    below = count(bins, weights).cumsum(1)
    pixels = weights.sum(1, keepdim=True)
    low, high = ((below <= pixels * q).sum(1) / (BINS - 1) for q in RANGE)
    return (high - low).clamp(1e-3, 1.0)
