import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from service.files import sha256
from service.model.bundle import Bundle
from service.model.golden import golden_readings, replay
from service.model.manifest import Manifest
from service.model.reader import Reader
from service.model.shipped import default_model
from service.model.signature import SIGNATURE
from tests.sources import ROOT
from tests.training.model_run import Run
from training.cli.main import cli
from training.release.card import NO_REMARKS, model_card
from training.release.export import graph_path
from training.release.package import ModelExistsError, package
from training.stored import recorded


class TestFolder:
    def test_holds_four_files_and_the_digest_of_each_other_one(self, packaged: Run) -> None:
        names = {path.name for path in packaged.model.iterdir()}
        assert names == {"model.onnx", "manifest.json", "golden.json", "MODEL_CARD.md"}
        manifest = Manifest.load(packaged.model / "manifest.json")
        assert manifest.sha256 == {
            name: sha256(packaged.model / name) for name in names - {"manifest.json"}
        }

    def test_ships_int8_under_the_name_of_the_config(self, packaged: Run) -> None:
        manifest = Manifest.load(packaged.model / "manifest.json")
        assert (manifest.name, manifest.version, manifest.precision) == ("tiny", "1", "int8")
        assert manifest.sha256["model.onnx"] == sha256(graph_path(packaged.folder, "int8"))
        assert manifest.input == packaged.config.input
        assert manifest.default_operating_point == "balanced"
        assert manifest.heatmap_scale > 0

    def test_golden_images_of_both_classes_are_read_as_recorded(self, packaged: Run) -> None:
        readings = json.loads((packaged.model / "golden.json").read_text())["readings"]
        assert [entry["label"] for entry in readings] == [0, 0, 1, 1]
        golden = golden_readings(Bundle.open(packaged.model))
        found = replay(Reader.open(packaged.model), golden)
        assert found.probability < 1e-6

    def test_provenance_counts_every_image_and_no_path_of_this_computer(
        self, packaged: Run
    ) -> None:
        text = (packaged.model / "manifest.json").read_text()
        facts = json.loads(text)["provenance"]
        splits = facts["dataset"]["splits"].values()
        assert sum(split["pneumonia"] + split["no pneumonia"] for split in splits) == 80
        assert facts["dataset"]["images"] == {"noise": 80}
        assert facts["dataset"]["manifest_sha256"] == sha256(
            packaged.config.dataset.folder / "manifest.parquet"
        )
        assert facts["weights"]["sha256"] == sha256(packaged.folder / "weights.pt")
        assert str(packaged.folder.parent) not in text

    def test_card_says_research_only_and_the_figures_of_the_manifest(self, packaged: Run) -> None:
        card = (packaged.model / "MODEL_CARD.md").read_text()
        manifest = Manifest.load(packaged.model / "manifest.json")
        assert "Research software, not a medical device" in card
        assert "Measures on real radiographs" not in card
        for point in manifest.operating_points:
            assert f"| {point.name} | {point.threshold:.4f} |" in card
        auroc = manifest.provenance["validation"]["AUROC"]
        assert f"{auroc['estimate']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f})" in card
        assert auroc["low"] <= auroc["estimate"] <= auroc["high"]

    def test_card_says_in_how_many_bins_calibration_was_measured(self, packaged: Run) -> None:
        manifest = Manifest.load(packaged.model / "manifest.json")
        assert "| expected calibration error, 15 bins | " in model_card(manifest, NO_REMARKS)
        measures = manifest.provenance["validation"]
        (told,) = [name for name in measures if name.startswith("expected calibration error")]
        earlier = {name.removesuffix(", 15 bins"): value for name, value in measures.items()}
        facts = manifest.provenance | {"validation": earlier}
        card = model_card(dataclasses.replace(manifest, provenance=facts), NO_REMARKS)
        estimate = measures[told]["estimate"]
        assert f"| expected calibration error, 10 bins | {estimate:.3f}" in card

    def test_card_says_how_many_networks_read(self, packaged: Run) -> None:
        alone = Manifest.load(packaged.model / "manifest.json")
        architecture = packaged.config.fit.architecture
        assert f"\nA {architecture} with one output" in model_card(alone, NO_REMARKS)
        shipped = Manifest.load(default_model() / "manifest.json")
        assert "\nAn ensemble of 4 networks with one output" in model_card(shipped, NO_REMARKS)

    def test_card_names_the_scans_that_images_were_projected_from(self, packaged: Run) -> None:
        manifest = Manifest.load(packaged.model / "manifest.json")
        scan = {"name": "a", "collection": "LIDC-IDRI", "licence": "CC BY 3.0", "series": "1.2"}
        own = {"generator": "ct", "volumes": [scan, {**scan, "name": "b", "collection": ""}]}
        dataset = {"images": {"ct": 4000, "noise": 80}, "generations": [{"generator": "x"}, own]}
        facts = manifest.provenance | {"dataset": manifest.provenance["dataset"] | dataset}
        card = model_card(dataclasses.replace(manifest, provenance=facts), NO_REMARKS)
        told = " ".join(card.split())
        assert "ct (4,000 images), noise (80 images)." in told
        assert "of 2 CT scans: LIDC-IDRI (CC BY 3.0); b (CC BY 3.0)." in told


class TestPackage:
    def test_an_existing_version_is_kept(self, packaged: Run) -> None:
        before = sha256(packaged.model / "manifest.json")
        with pytest.raises(ModelExistsError, match="--replace"):
            package(packaged.config, packaged.folder, packaged.model)
        assert sha256(packaged.model / "manifest.json") == before

    def test_replacing_is_repeatable_to_the_byte(self, packaged: Run, tmp_path: Path) -> None:
        target = tmp_path / "tiny" / "1"
        first = package(packaged.config, packaged.folder, target)
        before = {path.name: sha256(path) for path in first.iterdir()}
        again = package(packaged.config, packaged.folder, target, overwrite=True)
        assert {path.name: sha256(path) for path in again.iterdir()} == before

    def test_a_failure_leaves_no_folder_behind(self, packaged: Run, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            package(packaged.config, tmp_path / "no-run", tmp_path / "tiny" / "1")
        assert list((tmp_path / "tiny").iterdir()) == []


class TestCard:
    def test_is_written_anew_with_what_real_films_showed(
        self, packaged: Run, tmp_path: Path
    ) -> None:
        measures = tmp_path / "real.json"
        area = {"value": 0.8125, "low": 0.7, "high": 0.9}
        row = {"images": 40, "positives": 12, "auroc": area, "aupr": area, "ece": 0.125}
        row |= {"sensitivity": None, "specificity": None}
        identity = dataclasses.asdict(Bundle.open(packaged.model).manifest.identity)
        rows = [{"stratum": {}, **row}, {"stratum": {"source": "hospital A"}, **row}]
        measures.write_text(
            json.dumps({"run": {"model": identity, "calibration": None}, "groups": rows})
        )
        failures = tmp_path / "failures.md"
        failures.write_text("It calls nipple shadows.\n")
        model = tmp_path / "tiny" / "1"
        shutil.copytree(packaged.model, model)
        before = {path.name: sha256(path) for path in model.iterdir()}
        (model / SIGNATURE).write_bytes(bytes(64))
        arguments = ["card", model, "--measures", measures, "--failures", failures]
        done = CliRunner().invoke(cli, list(map(str, arguments)))
        assert done.exit_code == 0, done.output
        Bundle.open(model)  # its digests are true
        after = {path.name: sha256(path) for path in model.iterdir()}
        changed = {name for name in after if after[name] != before[name]}
        assert changed == {"MODEL_CARD.md", "manifest.json"}
        card = (model / "MODEL_CARD.md").read_text()
        assert "| hospital A | 40 | 12 | 0.812 (0.700 to 0.900) |" in card
        assert "## Known failures\n\nIt calls nipple shadows.\n\n## What it refuses" in card
        assert card.count("0.812") == 2  # the row over all sources is left out
        assert "| ECE, 15 bins |" in card
        assert "no parameter, temperature or\nthreshold was fitted" in card

    def test_of_a_changed_model_is_left_alone(self, packaged: Run, tmp_path: Path) -> None:
        model = tmp_path / "tiny" / "1"
        shutil.copytree(packaged.model, model)
        with (model / "model.onnx").open("ab") as graph:
            graph.write(b"more")
        before = (model / "MODEL_CARD.md").read_bytes()
        done = CliRunner().invoke(cli, ["card", str(model)])
        assert done.exit_code != 0
        assert (model / "MODEL_CARD.md").read_bytes() == before


def test_of_a_path_in_the_configuration_only_the_name_is_kept() -> None:
    assert recorded({"init": "/home/somebody/w.pt", "channels": ("grey",)}) == {
        "init": "w.pt",
        "views": ["grey"],
    }


def test_weights_of_an_earlier_version_are_refused(packaged: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(packaged.folder, run)
    state = torch.load(run / "weights.pt", weights_only=True)
    del state["start"]
    torch.save(state, run / "weights.pt")
    with pytest.raises(ValueError, match="earlier version; train in another run folder"):
        package(packaged.config, run, tmp_path / "models" / "tiny" / "1")


def test_store_keeps_a_copy_and_refuses_a_second(packaged: Run, tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from training.release.package import ModelExistsError, save_in_store
model = Path(sys.argv[1])
tag = save_in_store(model)
try:
    save_in_store(model)
except ModelExistsError:
    print("kept")
print(save_in_store(model, overwrite=True))
import bentoml
stored = bentoml.models.get(tag)
print(stored.info.labels["use"])
print(sorted(path.name for path in Path(stored.path).iterdir()))
"""
    # In a process of its own: BentoML reads BENTOML_HOME once, when it is imported.
    done = subprocess.run(
        [sys.executable, "-c", script, str(packaged.model)],
        env={**os.environ, "BENTOML_HOME": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, tag, use, names = done.stdout.splitlines()
    assert (kept, tag, use) == ("kept", "nanocxr-tiny:1", "research-only")
    for name in ("MODEL_CARD.md", "golden.json", "manifest.json", "model.onnx"):
        assert name in names
