"""Lung detail: how clearly vessels and ribs show in the lung fields, as a part of the logit.

generate -> [lungs] -> graft -> package

Consolidation obscures the margins of vessels and airway walls (Hansell et al. 2008, "Fleischner
Society: glossary of terms for thoracic imaging", Radiology 246:697). The network looks for a
lesion; how much fine structure is left in both lungs is a second, global sign, and one the network
cannot see: histogram equalisation stretches what the lesion has flattened. Where the lungs are, a
small U-Net finds (Ronneberger et al. 2015, arXiv 1505.04597). It learns that from the phantom,
which knows where its lungs are.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import trange

from service.files import replacing
from service.imaging.radiograph import FloatImage, Radiograph
from service.imaging.standardise import InputSpec, resample, standardise
from training.config import AugmentConfig, Config
from training.fit.augment import augment
from training.generate.phantom.render import draw_pair
from training.networks.channels import BINS, count, smooth

CPU = torch.device("cpu")
FIRST_SEED = 900_000  # of the phantoms; those of a data set are counted from far below
FILM_SIDE = 160  # pixels
BATCH = 32
LEARNING_RATE = 5e-3
CHANNELS = (8, 16, 32, 64, 64)  # of the levels, each at half the resolution of the one before
# Wider than the network's: a film that is cut off or turned still has lungs.
CHANGES = AugmentConfig(
    degrees=12, shift=0.12, scale=0.3, shade=0.2, gamma=0.6, blur=1.2, noise=0.06, cutout=0.3
)
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
        inward = [1, *CHANNELS[:-1]]
        self.down = nn.ModuleList(map(_block, inward, CHANNELS))
        # Level by level upwards: what comes from below beside what was there on the way down.
        below = [CHANNELS[-1], *CHANNELS[2:0:-1]]
        beside = CHANNELS[-2:0:-1]
        self.up = nn.ModuleList(
            _block(b + s, out) for b, s, out in zip(below, beside, CHANNELS[2::-1], strict=True)
        )
        self.last = nn.Conv2d(CHANNELS[0], 1, 1)

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
    layers: list[nn.Module] = []
    for channels in (inward, outward):
        layers += [nn.Conv2d(channels, outward, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(outward), nn.ReLU()]
    return nn.Sequential(*layers)


def fit_lungs(config: Config, run: Path, device: torch.device = CPU) -> None:
    """Train the U-Net on phantoms and write ``lungs.pt`` into ``run``, unless it is there."""
    reading, path = config.reading, run / "lungs.pt"
    if reading is None or path.exists():
        return
    films, lungs = _draw(reading.phantoms)
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    net = LungNet().train().to(device)
    optimiser = torch.optim.AdamW(net.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, total_steps=reading.steps
    )
    spec = served_input(config)
    for _ in trange(reading.steps, unit="step"):
        image, mask = _batch(films, lungs, spec, rng)
        loss = _loss(net(image.to(device)), functional.avg_pool2d(mask.to(device), 2))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    with replacing(path) as part, part.open("wb") as file:
        torch.save(net.state_dict(), file)


def served_input(config: Config) -> InputSpec:
    """The input of the packaged graph: the configuration's own, or what ``[reading]`` makes it.

    It is the largest that one of the networks has: the others reduce it.
    """
    spec, reading = config.input, config.reading
    if reading is None:
        return spec
    size = max([spec.size, *(companion.size for companion in config.companions)])
    return replace(spec, size=size, crop=reading.crop)


def load_lungs(run: Path) -> LungNet:
    """The trained U-Net of a run in evaluation mode."""
    net = LungNet()
    net.load_state_dict(torch.load(run / "lungs.pt", weights_only=True, map_location="cpu"))
    return net.eval()


def _draw(phantoms: int) -> tuple[FloatImage, FloatImage]:
    """Films (2 P, side, side) and lung coverage, both in [0, 1]: each patient well and ill."""
    seeds = range(FIRST_SEED, FIRST_SEED + phantoms)
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        pairs = list(pool.map(_films, seeds, chunksize=8))
    films = np.concatenate([pair[0] for pair in pairs])
    return films, np.concatenate([pair[1] for pair in pairs])


def _films(seed: int) -> tuple[FloatImage, FloatImage]:
    pair = draw_pair(seed, FILM_SIDE)
    films = np.stack([image.pixels for image in pair]).astype(np.float32)
    lungs = np.stack([image.lungs for image in pair]).astype(np.float32)
    return films / np.float32(255), lungs / np.float32(255)


def _batch(
    films: FloatImage, lungs: FloatImage, spec: InputSpec, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Augmented images and their lung coverage, both (B, 1, S, S)."""
    images, masks = [], []
    for row in rng.integers(len(films), size=BATCH):
        film = Radiograph(pixels=films[row], format="PNG", photometric="MONOCHROME2")
        changed, mask = augment(film, lungs[row], CHANGES, rng)
        images.append(standardise(changed, spec)[0])
        coverage = Radiograph(pixels=mask, format="PNG", photometric="MONOCHROME2")
        masks.append(resample(coverage, spec)[0][np.newaxis])
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks))


def _loss(logits: Tensor, lungs: Tensor) -> Tensor:
    """Cross entropy and 1 - Dice (Milletari et al. 2016, arXiv 1606.04797)."""
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, lungs)
    found = logits.sigmoid()
    both, either = (found * lungs).sum((1, 2, 3)), (found + lungs).sum((1, 2, 3))
    return cross_entropy + (1 - (2 * both + 1) / (either + 1)).mean()


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
