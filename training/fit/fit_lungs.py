"""Train the U-Net that finds the lungs, on phantoms: they know where their lungs are.

generate -> lung_films -> [fit_lungs] -> ensemble -> package
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import trange

from service.files import replacing
from service.imaging.radiograph import FloatImage, Radiograph
from service.imaging.standardise import InputSpec, resample, standardise
from training.config import AugmentConfig, Config
from training.fit.augment import augment
from training.fit.lung_films import draw_films
from training.networks.lungs import LungNet

CPU = torch.device("cpu")
FILE = "lungs.pt"
BATCH = 32
LEARNING_RATE = 5e-3
# Wider than the network's: a film that is cut off or turned still has lungs.
CHANGES = AugmentConfig(
    degrees=12, shift=0.12, scale=0.3, shade=0.2, gamma=0.6, blur=1.2, noise=0.06, cutout=0.3
)


def fit_lungs(config: Config, run: Path, device: torch.device = CPU) -> None:
    """Train the U-Net on phantoms and write ``lungs.pt`` into ``run``, unless it is there."""
    recipe, path = config.lung_detail, run / FILE
    if recipe is None or path.exists():
        return
    films, lungs = draw_films(recipe.phantoms)
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    net = LungNet().train().to(device)
    optimiser = torch.optim.AdamW(net.parameters(), LEARNING_RATE)
    schedule = OneCycleLR(optimiser, LEARNING_RATE, total_steps=recipe.steps)
    spec = config.served_input
    for _ in trange(recipe.steps, unit="step"):
        image, mask = _batch(films, lungs, spec, rng)
        loss = _loss(net(image.to(device)), functional.avg_pool2d(mask.to(device), 2))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    with replacing(path) as part, part.open("wb") as file:
        torch.save(net.state_dict(), file)


def load_lungs(run: Path) -> LungNet:
    """The trained U-Net of a run in evaluation mode."""
    net = LungNet()
    net.load_state_dict(torch.load(run / FILE, weights_only=True, map_location="cpu"))
    return net.eval()


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
