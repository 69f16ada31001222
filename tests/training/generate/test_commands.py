"""The data set's writer: complete, reproducible, resumable, and silent about the label."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.generate.manifest import COLUMNS, DatasetMismatch
from training.generate.request import Fact, Request, SyntheticImage
from training.generate.sheet import contact_sheet
from training.generate.store import MASK_SIZE, generate

SIZE = 64
LEAK_PAIRS = 60


class Squares:
    """A generator that is quick enough for the tests of the writer: a square on a noisy ground."""

    name = "squares"
    version = "1"

    def answer(self, request: Request) -> tuple[SyntheticImage, ...]:
        rng = np.random.default_rng(request.seed)
        pixels = rng.integers(0, 200, (request.size, request.size)).astype(np.uint8)
        mask = np.zeros_like(pixels)
        mask[10:40, 10:40] = 255
        facts: dict[str, Fact] = {"age_band": "child", "view": "AP"}
        sick = np.maximum(pixels, mask)
        return (
            SyntheticImage(pixels=pixels, label=0, facts=facts | {"pattern": ""}),
            SyntheticImage(pixels=sick, label=1, mask=mask, facts=facts | {"pattern": "square"}),
        )


def squares(folder: Path, *, pairs: int = 5, **changes: Any) -> Path:
    options = {"size": SIZE, "seed": 1, "workers": 1, "progress": False} | changes
    return generate(folder, generator=Squares(), pairs=pairs, **options)


def read(manifest: Path) -> Any:
    return pd.read_parquet(manifest)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of three pairs, drawn without interruption in one process."""
    folder = tmp_path_factory.mktemp("phantom")
    return generate(folder, pairs=3, size=SIZE, seed=7, workers=1, progress=False)


@pytest.fixture(scope="module")
def lesion_free(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of pairs whose halves differ in nothing but their acquisition."""
    folder = tmp_path_factory.mktemp("lesion-free")
    return generate(
        folder, pairs=LEAK_PAIRS, size=SIZE, seed=1, workers=2, lesion=False, progress=False
    )


class TestManifest:
    def test_columns_come_in_the_agreed_order_before_the_other_facts(self, phantom: Path) -> None:
        columns = list(read(phantom).columns)
        assert tuple(columns[: len(COLUMNS)]) == COLUMNS
        assert columns[len(COLUMNS) :] == sorted(columns[len(COLUMNS) :])
        assert {"exposure_scatter", "findings", "generator_version"} <= set(columns)

    def test_every_pair_has_one_image_of_each_label(self, phantom: Path) -> None:
        table = read(phantom)
        assert table.group.nunique() == 3
        assert (table.groupby("group").label.apply(sorted).map(tuple) == (0, 1)).all()
        assert set(table.age_band) <= {"child", "adult"}
        assert set(table["view"]) <= {"PA", "AP"}
        assert ((table.pattern != "") == (table.label == 1)).all()
        assert (table.groupby("group").seed.nunique() == 1).all()
        assert table.seed.nunique() == 3

    def test_files_are_grey_and_match_their_digest(self, phantom: Path) -> None:
        for row in read(phantom).itertuples():
            path = phantom.parent / row.path
            assert hashlib.sha256(path.read_bytes()).hexdigest() == row.sha256
            image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert image is not None
            assert image.shape == (SIZE, SIZE)
            assert image.dtype == np.uint8

    def test_sick_images_alone_have_a_mask(self, phantom: Path) -> None:
        table = read(phantom)
        assert (table[table.label == 0]["mask"] == "").all()
        for name in table[table.label == 1]["mask"]:
            mask = cv2.imread(str(phantom.parent / name), cv2.IMREAD_UNCHANGED)
            assert mask is not None
            assert mask.shape == (MASK_SIZE, MASK_SIZE)
            assert mask.any()

    def test_two_workers_write_the_same_manifest(self, phantom: Path, tmp_path: Path) -> None:
        again = generate(tmp_path, pairs=3, size=SIZE, seed=7, workers=2, progress=False)
        assert again.read_bytes() == phantom.read_bytes()

    def test_another_seed_gives_other_images(self, tmp_path: Path) -> None:
        one, two = (read(squares(tmp_path / str(seed), seed=seed)) for seed in (1, 2))
        assert not set(one.sha256) & set(two.sha256)
        assert not set(one.group) & set(two.group)


class TestResume:
    def test_a_killed_run_goes_on_and_gives_the_same_manifest(
        self, phantom: Path, tmp_path: Path
    ) -> None:
        journal = tmp_path / "journal.jsonl"
        code = (
            "import sys; from pathlib import Path; from training.generate.store import generate\n"
            f"generate(Path(sys.argv[1]), pairs=300, size={SIZE}, seed=7, workers=1)"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.DEVNULL
        ) as run:
            deadline = time.monotonic() + 60
            while not (journal.exists() and journal.stat().st_size) and run.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            run.send_signal(signal.SIGKILL)
        recorded = len(journal.read_bytes().splitlines())
        assert 1 <= recorded < 300
        assert not (tmp_path / "manifest.parquet").exists()
        first = tmp_path / "images" / "000000_0.png"
        before = first.stat().st_mtime_ns

        resumed = generate(tmp_path, pairs=3, size=SIZE, seed=7, workers=1, progress=False)
        assert resumed.read_bytes() == phantom.read_bytes()
        assert first.stat().st_mtime_ns == before

    def test_a_torn_line_of_the_journal_is_drawn_again(self, tmp_path: Path) -> None:
        manifest = squares(tmp_path)
        complete = manifest.read_bytes()
        journal = tmp_path / "journal.jsonl"
        content = journal.read_bytes()
        os.truncate(journal, len(content) - 30)
        assert squares(tmp_path).read_bytes() == complete
        assert journal.read_bytes() == content

    def test_a_lost_file_is_drawn_again(self, tmp_path: Path) -> None:
        complete = squares(tmp_path).read_bytes()
        lost = [tmp_path / "images" / "000002_0.png", tmp_path / "masks" / "000003_1.png"]
        for path in lost:
            path.unlink()
        assert squares(tmp_path).read_bytes() == complete
        assert all(path.exists() for path in lost)

    def test_more_pairs_extend_the_data_set(self, tmp_path: Path) -> None:
        few = read(squares(tmp_path, pairs=3))
        more = read(squares(tmp_path, pairs=6))
        assert len(more) == 12
        pd.testing.assert_frame_equal(more.iloc[:6], few)

    def test_no_unfinished_file_is_left(self, tmp_path: Path) -> None:
        squares(tmp_path)
        assert not list(tmp_path.rglob(".*"))


class TestRefusals:
    @pytest.mark.parametrize(("name", "value"), [("size", 96), ("seed", 2), ("lesion", False)])
    def test_other_parameters_are_refused_by_name(
        self, tmp_path: Path, name: str, value: object
    ) -> None:
        before = squares(tmp_path).read_bytes()
        options: dict[str, Any] = {"generator": Squares(), "size": SIZE, "seed": 1, "workers": 1}
        with pytest.raises(DatasetMismatch, match=rf"{name} is .*asked for {value!r}"):
            generate(tmp_path, pairs=5, **options | {name: value})
        assert (tmp_path / "manifest.parquet").read_bytes() == before

    def test_other_generator_code_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        squares(tmp_path)
        monkeypatch.setattr(Squares, "version", "2")
        with pytest.raises(DatasetMismatch, match="version is '1', asked for '2'"):
            squares(tmp_path)

    @pytest.mark.parametrize(
        ("name", "value"), [("pairs", 0), ("size", 16), ("seed", -1), ("workers", 0)]
    )
    def test_numbers_out_of_range_are_refused(self, tmp_path: Path, name: str, value: int) -> None:
        with pytest.raises(ValueError, match=f"{name} is {value}"):
            squares(tmp_path, **{name: value})
        assert not list(tmp_path.iterdir())

    def test_a_folder_of_another_generator_is_refused(self, tmp_path: Path) -> None:
        squares(tmp_path)
        with pytest.raises(DatasetMismatch, match=r"generator is 'squares', asked for 'phantom'"):
            generate(tmp_path, pairs=5, size=SIZE, seed=1, workers=1)

    def test_the_parameters_are_kept_in_the_folder(self, tmp_path: Path) -> None:
        squares(tmp_path)
        assert json.loads((tmp_path / "generation.json").read_text()) == {
            "generator": "squares",
            "version": "1",
            "size": SIZE,
            "mask_size": MASK_SIZE,
            "seed": 1,
            "lesion": True,
        }


class TestLeak:
    """Without lesions nothing may tell the images labelled 1 from those labelled 0."""

    def test_acquisitions_of_both_labels_follow_one_law(self, lesion_free: Path) -> None:
        table = read(lesion_free)
        parts = ("framing_", "exposure_", "look_", "filing_", "shutter")
        numbers = table.select_dtypes(["number", "bool"]).astype(float)
        drawn = [name for name in numbers if str(name).startswith(parts)]
        assert len(drawn) > 25
        for name in drawn:
            halves = (numbers[name][table.label == label] for label in (0, 1))
            assert ks_2samp(*halves).pvalue > 0.01 / len(drawn), name

    def test_simple_statistics_do_not_predict_the_label(self, lesion_free: Path) -> None:
        table = read(lesion_free)
        statistics = np.array([image_statistics(lesion_free.parent / p) for p in table.path])
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
        labels = table.label.to_numpy()
        first = np.arange(len(table)) < LEAK_PAIRS  # half of the pairs
        areas = [
            roc_auc_score(
                labels[~part],
                model.fit(statistics[part], labels[part]).predict_proba(statistics[~part])[:, 1],
            )
            for part in (first, ~first)
        ]
        assert np.mean(areas) < 0.62

    def test_no_image_has_a_mask(self, lesion_free: Path) -> None:
        table = read(lesion_free)
        assert (table["mask"] == "").all()
        assert (table.pattern == "").all()


def image_statistics(path: Path) -> list[float]:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    grey = image.astype(np.float32)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return [
        *np.percentile(grey, (5, 25, 50, 75, 95)),
        float(grey.std()),
        float(border.mean()),
        float(np.abs(np.diff(grey, axis=0)).mean()),
        float(np.abs(cv2.Laplacian(grey, cv2.CV_32F)).mean()),
    ]


class TestContactSheet:
    def test_blocks_of_three_rows_show_pairs_and_the_lesion_in_red(self, tmp_path: Path) -> None:
        manifest = squares(tmp_path, pairs=5)
        out = contact_sheet(manifest, tmp_path / "look" / "sheet.png", rows=2, columns=2)
        sheet = cv2.imread(str(out))
        assert sheet is not None
        tile = sheet.shape[1] // 2
        assert sheet.shape == (6 * tile, 2 * tile, 3)
        healthy, sick, overlay = (
            sheet[i * tile : (i + 1) * tile, :tile].astype(int) for i in range(3)
        )
        assert (healthy[..., 0] == healthy[..., 2]).all()
        assert (sick[..., 0] == sick[..., 2]).all()
        inside = overlay[tile // 3, tile // 3]
        assert inside[2] > inside[0] + 50

    def test_a_folder_with_fewer_pairs_than_places_is_shown(
        self, phantom: Path, tmp_path: Path
    ) -> None:
        out = contact_sheet(phantom.parent, tmp_path / "sheet.png", rows=2, columns=2)
        sheet = cv2.imread(str(out))
        assert sheet is not None
        assert not sheet[sheet.shape[0] // 2 :, sheet.shape[1] // 2 :].any()

    def test_a_manifest_without_pairs_is_refused(self, tmp_path: Path) -> None:
        manifest = squares(tmp_path)
        table = read(manifest)
        table[table.label == 1].to_parquet(manifest)
        with pytest.raises(ValueError, match="no pair"):
            contact_sheet(manifest, tmp_path / "sheet.png")
