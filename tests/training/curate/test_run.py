"""`cxr-train curate` on folders of phantom films and of faulty images."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from tests.training.curate.films import Film, add_frame, add_sparkle, four_panels
from training.cli.main import cli
from training.curate.run import curate
from training.curate.similar import embed, outliers
from training.generate.joined import join
from training.generate.manifest import DatasetMismatch, generations, write_manifest
from training.generate.request import GreyImage
from training.release.card import _generators


def write_set(
    folder: Path,
    films: list[Film],
    changed: dict[int, np.ndarray] | None = None,
    first: int = 0,
) -> Path:
    """A data set of pairs with masks; image number i is ``changed[i]`` where that is given."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    (folder / "generation.json").write_text('{"generator": "phantom"}')
    rows = []
    for number, film in enumerate(films, first):
        path = folder / "images" / f"{number:03d}.png"
        cv2.imwrite(str(path), (changed or {}).get(number, film.pixels))
        mask = f"masks/{number:03d}.png" if film.label else ""
        if mask:
            cv2.imwrite(str(folder / mask), cv2.resize(film.lesion, (64, 64)))
        rows.append(
            {
                "path": f"images/{number:03d}.png",
                "mask": mask,
                "label": film.label,
                "group": f"pair-{number // 2}",
                "seed": number,
                "generator": "phantom",
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "age_band": film.facts["age_band"],
                "view": film.facts["view"],
                "pattern": film.facts["pattern"],
            }
        )
    write_manifest(folder, rows)
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def tinted(pixels: GreyImage) -> np.ndarray:
    colour = np.broadcast_to(np.array([160, 60, 30], np.float32), (*pixels.shape, 3))
    return np.asarray(0.6 * pixels[..., None] + 0.4 * colour, np.uint8)


@pytest.fixture(scope="session")
def good(films: list[Film]) -> list[Film]:
    """20 films that no rule rejects."""
    return films[22:42]


@pytest.fixture
def mixed(tmp_path: Path, good: list[Film]) -> Path:
    """Pairs 0 to 3 and 7 have a faulty half; a half of pair 4 is a copy from pair 5."""
    changed = {
        0: tinted(good[0].pixels),
        3: np.full_like(good[3].pixels, 90),
        4: four_panels(good[4:8], 8),
        7: good[7].pixels[:200],
        8: np.clip(good[10].pixels * 0.95, 0, 255).astype(np.uint8),
    }
    folder = write_set(tmp_path / "raw", good, changed)
    (folder / "images" / "014.png").write_bytes(b"no image at all")
    return folder


class TestRun:
    def test_rejects_each_with_its_reason_and_keeps_pairs_whole(
        self, mixed: Path, tmp_path: Path
    ) -> None:
        before = digests(mixed)
        done = curate(mixed, tmp_path / "out", progress=False)
        assert digests(mixed) == before
        rejected = pd.read_parquet(tmp_path / "out" / "rejected.parquet")
        found = dict(zip(rejected["raw_path"], rejected["reason"], strict=True))
        expected = {
            0: "colour", 1: "partner", 2: "partner", 3: "blank", 4: "several panels",
            5: "partner", 6: "partner", 7: "wrong aspect", 10: "near duplicate",
            11: "near duplicate", 14: "unreadable", 15: "partner",
        }  # fmt: skip
        assert found == {f"images/{n:03d}.png": r for n, r in expected.items()}
        kept = pd.read_parquet(done.manifest)
        assert (done.kept, done.rejected) == (len(kept), len(rejected)) == (8, 12)
        assert kept.groupby("group")["label"].nunique().eq(2).all()

    def test_a_pair_without_a_lesion_is_rejected_unless_it_is_to_have_none(
        self, tmp_path: Path, good: list[Film]
    ) -> None:
        copy = np.clip(good[2].pixels * 0.9 + 8, 0, 255).astype(np.uint8)
        raw = write_set(tmp_path / "raw", good[:4], {1: good[0].pixels, 3: copy})
        with pytest.raises(ValueError, match="no image"):
            curate(raw, tmp_path / "out", progress=False)
        rejected = pd.read_parquet(tmp_path / "out" / "rejected.parquet")
        assert rejected["reason"].tolist() == ["partner", "same picture"] * 2
        assert rejected["detail"][1] == "no lesion tells it from images/000.png"
        (raw / "generation.json").write_text('{"generator": "phantom", "lesion": false}')
        assert curate(raw, tmp_path / "leak", progress=False).kept == 4
        assert curate(tmp_path / "leak", tmp_path / "again", progress=False).kept == 4

    def test_records_the_box_and_crops_the_mask(self, tmp_path: Path, good: list[Film]) -> None:
        framed = add_frame(good[1].pixels, 14, 48, "Chest PA")
        raw = write_set(tmp_path / "raw", good[:2], {1: framed})
        out = tmp_path / "out"
        row = pd.read_parquet(curate(raw, out, progress=False).manifest).iloc[1]
        written = cv2.imread(str(out / row["path"]), cv2.IMREAD_UNCHANGED)
        box = np.s_[row["crop_top"] : row["crop_bottom"], row["crop_left"] : row["crop_right"]]
        np.testing.assert_array_equal(written, framed[box])
        assert min(row["crop_left"], row["crop_top"]) >= 14
        mask = np.asarray(cv2.imread(str(out / row["mask"]), cv2.IMREAD_UNCHANGED))
        assert mask.shape == (64, 64)
        sidecar = json.loads((out / "images" / "001.json").read_text())
        assert {k: sidecar[k] for k in row.index} == row.to_dict()
        assert (
            sidecar["raw_sha256"]
            == hashlib.sha256((raw / row["raw_path"]).read_bytes()).hexdigest()
        )

    def test_a_watermark_of_one_class_is_painted_over_in_both(
        self, tmp_path: Path, good: list[Film]
    ) -> None:
        changed = {n: add_sparkle(good[n].pixels, 48, 32, 0.8) for n in range(1, 20, 2)}
        raw = write_set(tmp_path / "raw", good, changed)
        kept = pd.read_parquet(curate(raw, tmp_path / "marked", progress=False).manifest)
        assert set(kept["watermark"]) == {"painted over"}

    def test_again_changes_nothing(self, mixed: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        curate(mixed, out, progress=False)
        before = digests(out)
        times = {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
        curate(mixed, out, progress=False)
        assert digests(out) == before
        assert times == {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()}

    def test_an_interrupted_run_goes_on(self, tmp_path: Path, good: list[Film]) -> None:
        raw = write_set(tmp_path / "raw", good)
        whole = curate(raw, tmp_path / "whole", progress=False).manifest.parent
        broken, missing = tmp_path / "broken", raw / "masks" / "011.png"
        content = missing.read_bytes()
        missing.unlink()
        with pytest.raises(FileNotFoundError):
            curate(raw, broken, progress=False)
        assert not (broken / "manifest.parquet").exists()
        early = broken / "images" / "003.png"
        time = early.stat().st_mtime_ns
        with (broken / "scan.jsonl").open("a") as journal:
            journal.write('{"sha256": "torn')
        missing.write_bytes(content)
        curate(raw, broken, progress=False)
        assert early.stat().st_mtime_ns == time
        found, expected = digests(broken), digests(whole)
        page = "report.html"  # names its folder
        assert {n: d for n, d in found.items() if n != page} == {
            n: d for n, d in expected.items() if n != page
        }

    def test_scans_and_licences_of_the_source_stay_known(
        self, tmp_path: Path, good: list[Film]
    ) -> None:
        scan = {"name": "a", "collection": "LIDC-IDRI", "licence": "CC BY 3.0"}
        ct = {"generator": "ct", "volumes": [scan]}
        raw = write_set(tmp_path / "raw", good[:2])
        (raw / "generation.json").write_text(json.dumps(ct))
        other = write_set(tmp_path / "more" / "other", good[2:4], first=2)
        join(tmp_path / "both", [raw, other])
        for source in (raw, tmp_path / "both"):
            out = tmp_path / "deeper" / source.name
            curate(source, out, progress=False)
            first, *_ = generations(out)
            rules = first.pop("curated")
            assert set(rules) == {"rules", "model"}
            assert first == ct
            told = _generators({"images": {"ct": 2}, "generations": generations(out)})
            assert "1 CT scans: LIDC-IDRI (CC BY 3.0)" in told
        assert [own["generator"] for own in generations(out)] == ["ct", "phantom"]

    def test_another_data_set_is_refused(self, tmp_path: Path, good: list[Film]) -> None:
        curate(write_set(tmp_path / "raw", good[:4]), tmp_path / "out", progress=False)
        other = write_set(tmp_path / "other", good[:4])
        (other / "generation.json").write_text('{"generator": "another"}')
        with pytest.raises(DatasetMismatch):
            curate(other, tmp_path / "out", progress=False)

    def test_nothing_left_is_an_error_with_a_report(self, tmp_path: Path, good: list[Film]) -> None:
        blank = np.zeros_like(good[0].pixels)
        raw = write_set(tmp_path / "raw", good[:2], {0: blank, 1: blank})
        result = CliRunner().invoke(cli, ["curate", str(raw), str(tmp_path / "out")])
        assert result.exit_code == 1
        assert "report.html" in result.output
        assert "blank" in (tmp_path / "out" / "report.html").read_text()


class TestReport:
    def test_is_self_contained_and_tells_counts_and_reasons(
        self, mixed: Path, tmp_path: Path
    ) -> None:
        result = CliRunner().invoke(cli, ["curate", str(mixed), str(tmp_path / "out")])
        assert result.exit_code == 0, result.output
        assert "8 kept, 12 rejected" in result.output
        page = (tmp_path / "out" / "report.html").read_text()
        assert "Research use only" in page
        assert "20 images in raw: 8 kept in out, 12 rejected" in page
        sources = re.findall(r'src="([^"]{5})', page)
        assert len(sources) == 8 + 11  # one of the rejected cannot be read
        assert set(sources) == {"data:"}
        assert not re.search(r"https?:|url\(|<script|<link", page)
        cells = '<td>several panels</td><td class="n">1</td><td class="n">0</td>'
        assert cells in page
        assert '<td>kept</td><td class="n">4</td><td class="n">4</td>' in page


class TestOutliers:
    """By a network with random weights, which knows no label."""

    def test_images_unlike_the_rest_are_found_and_no_film(
        self, tmp_path: Path, films: list[Film], tiny_model: Path
    ) -> None:
        letters = cv2.putText(np.zeros((256, 256), np.uint8), "HELLO", (10, 140), 0, 2, 255, 4)
        odd = [
            letters,
            np.tile(np.arange(256, dtype=np.uint8), (256, 1)),
            255 - films[4].pixels,
            np.rot90(films[6].pixels),
        ]
        images: list[Any] = [film.pixels for film in films[:80]] + odd
        paths = [tmp_path / f"{number:02d}.png" for number in range(len(images))]
        for path, image in zip(paths, images, strict=True):
            cv2.imwrite(str(path), image)
        assert outliers(embed(tiny_model, paths)).keys() == {80, 81, 82, 83}

    def test_too_few_images_show_nothing(self) -> None:
        assert outliers(np.eye(19, 8, dtype=np.float32)) == {}

    def test_the_command_rejects_by_it(
        self, tmp_path: Path, films: list[Film], tiny_model: Path
    ) -> None:
        """Upside down, a film has two lungs beside a midline, and is like no other."""
        raw = write_set(tmp_path / "raw", films[22:62], {3: np.flipud(films[25].pixels)})
        out = tmp_path / "out"
        assert curate(raw, tmp_path / "without", progress=False).rejected == 0
        arguments = ["curate", str(raw), str(out), "--model", str(tiny_model)]
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == 0, result.output
        rejected = pd.read_parquet(out / "rejected.parquet").set_index("raw_path")["reason"]
        assert rejected.to_dict() == {
            "images/003.png": "far from the rest",
            "images/002.png": "partner",
        }
        with pytest.raises(DatasetMismatch, match="model"):
            curate(raw, out, progress=False)
