"""Manifests and folders become lists of images."""

import struct
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydicom.tag import Tag

from clients.datasets import kermany, rsna
from clients.datasets.kermany import patient_and_cause
from clients.datasets.open import DatasetError, Item, Layout, open_dataset
from tests.factories import bare_dicom_bytes, chest

PNG = b"\x89PNG\r\n\x1a\n rest"
JPEG = b"\xff\xd8\xff\xe0 rest"
DICOM = bytes(128) + b"DICM rest"


def write_csv(folder: Path, text: str) -> Path:
    file = folder / "labels.csv"
    file.write_text(text)
    return file


class TestManifest:
    def test_paths_are_relative_to_the_manifest_and_other_columns_are_strata(
        self, tmp_path: Path
    ) -> None:
        file = write_csv(tmp_path, "path,label,source,age\na/1.png,1,north,47\n2.png,0,,3\n")
        first, second = open_dataset(file).items
        assert first == Item(
            name="a/1.png",
            file=tmp_path / "a/1.png",
            label=1,
            strata={"source": "north", "age": "47"},
        )
        assert second.strata == {"source": None, "age": "3"}

    def test_parquet_reads_as_csv_does(self, tmp_path: Path) -> None:
        file = write_csv(tmp_path, "path,label,source\n1.png,1,north\n2.png,0,south\n")
        pd.read_csv(file).to_parquet(tmp_path / "labels.parquet")
        assert open_dataset(file) == open_dataset(tmp_path / "labels.parquet")

    def test_parquet_with_gaps_reads_as_csv_does(self, tmp_path: Path) -> None:
        file = write_csv(
            tmp_path,
            "path,label,patient,ward\n1.png,1,900719925474099301,\n2.png,0,900719925474099303,b \n"
            "3.png,,,a\n,,,\n",
        )
        columns = {
            "path": ["1.png", "2.png ", "3.png", ""],
            "label": [1, 0, None, None],
            "patient": [900719925474099301, 900719925474099303, None, None],
            "ward": ["", "b ", "a", " "],
        }
        pq.write_table(pa.table(columns), tmp_path / "labels.parquet")
        assert open_dataset(tmp_path / "labels.parquet") == open_dataset(file)

    def test_empty_text_in_parquet_is_no_label(self, tmp_path: Path) -> None:
        columns = {"path": ["1.png", "2.png"], "label": ["1", ""]}
        pd.DataFrame(columns).to_parquet(tmp_path / "labels.parquet")
        assert [item.label for item in open_dataset(tmp_path / "labels.parquet").items] == [1, None]

    def test_label_may_be_empty(self, tmp_path: Path) -> None:
        file = write_csv(tmp_path, "path,label\n1.png,1\n2.png,\n")
        assert [item.label for item in open_dataset(file).items] == [1, None]

    def test_label_column_may_be_absent(self, tmp_path: Path) -> None:
        assert open_dataset(write_csv(tmp_path, "path\n1.png\n")).items[0].label is None

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("file,label\n1.png,1\n", "no column 'path'"),
            ("path,label\n1.png,1\n2.png,1\n1.png,0\n", "row 3 repeats a path"),
            (
                "path,label\n1.png,1\n2.png,7\n",
                r"holds '7', which is not 0, 1 or empty.*first in row 2",
            ),
            ("path,label\n1.png,pneumonia\n", r"--label-map pneumonia=\?"),
            ("path,label\n1.png,1\n,0\n", "row 2 has no path"),
            ("path,label\n", "no DICOM, PNG or JPEG image"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, text: str, message: str) -> None:
        with pytest.raises(DatasetError, match=message):
            open_dataset(write_csv(tmp_path, text))

    def test_other_files_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "labels.xlsx").write_bytes(b"")
        with pytest.raises(DatasetError, match=r"not a folder, a \.csv or a \.parquet"):
            open_dataset(tmp_path / "labels.xlsx")


class TestFolder:
    def test_images_are_found_by_content_in_every_subfolder(self, tmp_path: Path) -> None:
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "IM0001").write_bytes(DICOM)
        (tmp_path / "a.txt").write_bytes(PNG)
        (tmp_path / "c.jpeg").write_bytes(JPEG)
        (tmp_path / "bare").write_bytes(b"\x08\x00\x08\x00CS\x04\x00rest")
        (tmp_path / "notes.png").write_text("not an image")
        (tmp_path / "empty.dcm").write_bytes(b"")
        names = [item.name for item in open_dataset(tmp_path).items]
        assert names == ["a.txt", "b/IM0001", "bare", "c.jpeg"]

    @pytest.mark.parametrize("first", ["SOPClassUID", "SOPInstanceUID", "Modality"])
    def test_what_the_service_reads_is_found(self, tmp_path: Path, first: str) -> None:
        for implicit_vr in (False, True):
            data = bare_dicom_bytes(pixels=chest(40, 36), implicit_vr=implicit_vr)
            data = data[data.index(struct.pack("<HH", Tag(first).group, Tag(first).element)) :]
            (tmp_path / f"{implicit_vr}").write_bytes(data)
        assert [item.name for item in open_dataset(tmp_path).items] == ["False", "True"]

    def test_folder_without_images_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="no DICOM, PNG or JPEG"):
            open_dataset(tmp_path)


class TestDigest:
    def test_changes_with_labels_and_strata_and_not_with_the_folder(self, tmp_path: Path) -> None:
        digests = []
        for number, text in enumerate(["1.png,1,a", "1.png,1,a", "1.png,0,a", "1.png,1,b"]):
            folder = tmp_path / str(number)
            folder.mkdir()
            digests.append(open_dataset(write_csv(folder, f"path,label,s\n{text}\n")).sha256)
        assert digests[0] == digests[1]
        assert len(set(digests)) == 3


def write_rsna(
    folder: Path, classes: dict[str, str], *, without: tuple[str, ...] = (), boxes: int = 2
) -> Path:
    """Kaggle's layout; patients in ``without`` have rows in the tables and no file."""
    (folder / rsna.IMAGES).mkdir(parents=True)
    labels, details = ["patientId,x,y,width,height,Target"], ["patientId,class"]
    for patient, name in classes.items():
        if patient not in without:
            (folder / rsna.IMAGES / f"{patient}.dcm").write_bytes(DICOM)
        if name == rsna.OPACITY:
            labels += [f"{patient},1.0,2.0,3.0,4.0,1"] * boxes
            details += [f"{patient},{name}"] * boxes
        else:
            labels.append(f"{patient},,,,,0")
            details.append(f"{patient},{name}")
    (folder / rsna.LABELS).write_text("\n".join(labels) + "\n")
    (folder / rsna.CLASSES).write_text("\n".join(details) + "\n")
    return folder


RSNA = {"a1": rsna.OPACITY, "b2": rsna.NORMAL, "c3": rsna.NEITHER, "d4": rsna.NORMAL}


@pytest.fixture
def known_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the challenge had published :data:`RSNA`."""
    monkeypatch.setattr(rsna, "KNOWN", {rsna.OPACITY: 1, rsna.NORMAL: 2, rsna.NEITHER: 1})


@pytest.mark.usefixtures("known_counts")
class TestRsna:
    def test_opacity_against_normal_is_the_cohort(self, tmp_path: Path) -> None:
        dataset = open_dataset(write_rsna(tmp_path, RSNA))
        assert [(item.name, item.label) for item in dataset.items] == [
            ("stage_2_train_images/a1.dcm", 1),
            ("stage_2_train_images/b2.dcm", 0),
            ("stage_2_train_images/d4.dcm", 0),
        ]
        assert dataset.items[0].strata == {"patient": "a1", "class": "Lung Opacity"}
        assert dataset.items[0].file.read_bytes() == DICOM
        assert dataset.warnings == ()

    def test_all_classes_adds_the_third_as_negatives(self, tmp_path: Path) -> None:
        dataset = open_dataset(write_rsna(tmp_path, RSNA), all_classes=True)
        third = {i.strata["class"]: i.label for i in dataset.items}
        assert len(dataset.items) == 4
        assert third["No Lung Opacity / Not Normal"] == 0
        assert dataset.warnings == ()

    def test_missing_images_are_counted_by_class_and_left_out(self, tmp_path: Path) -> None:
        dataset = open_dataset(write_rsna(tmp_path, RSNA, without=("b2", "c3")))
        assert [item.strata["patient"] for item in dataset.items] == ["a1", "d4"]
        assert dataset.warnings == ("stage_2_train_images holds 1 of 2 images of class 'Normal'",)

    def test_short_table_and_files_in_no_table_are_named(self, tmp_path: Path) -> None:
        folder = write_rsna(tmp_path, {k: v for k, v in RSNA.items() if k != "d4"})
        (folder / rsna.IMAGES / "e5.dcm").write_bytes(DICOM)
        (folder / rsna.IMAGES / "notes.txt").write_text("no image")
        assert open_dataset(folder).warnings == (
            "stage_2_detailed_class_info.csv lists 1 images of class 'Normal', not 2",
            f"1 files of {rsna.IMAGES} are not in {rsna.CLASSES} and are left out",
        )

    def test_image_without_a_row_of_labels_has_none(self, tmp_path: Path) -> None:
        folder = write_rsna(tmp_path, RSNA)
        rows = (folder / rsna.LABELS).read_text().splitlines()
        (folder / rsna.LABELS).write_text("\n".join(r for r in rows if "b2" not in r) + "\n")
        dataset = open_dataset(folder)
        assert [item.label for item in dataset.items] == [1, None, 0]
        assert dataset.warnings == (
            "stage_2_train_labels.csv has no row for 1 images; they are scored without a label",
        )

    @pytest.mark.parametrize("table", [rsna.LABELS, rsna.CLASSES])
    def test_missing_table_or_column_is_named(self, tmp_path: Path, table: str) -> None:
        folder = write_rsna(tmp_path, RSNA)
        (folder / table).write_text("patientId,other\na1,1\n")
        with pytest.raises(DatasetError, match=f"{table} has no column"):
            open_dataset(folder)
        (folder / table).unlink()
        with pytest.raises(DatasetError, match=f"{table} is missing"):
            open_dataset(folder)

    def test_no_image_is_opened(self, tmp_path: Path) -> None:
        folder = write_rsna(tmp_path, RSNA)
        for file in (folder / rsna.IMAGES).iterdir():
            file.unlink()
            file.symlink_to("/nowhere")  # cannot be opened
        assert len(open_dataset(folder).items) == 3


def test_published_counts_of_rsna_are_those_of_the_two_cohorts() -> None:
    assert rsna.KNOWN[rsna.OPACITY] + rsna.KNOWN[rsna.NORMAL] == 14_863
    assert sum(rsna.KNOWN.values()) == 26_684


KAGGLE_NAMES = {
    "train/NORMAL": ["IM-0115-0001.jpeg", "NORMAL2-IM-0501-0001-0001.jpeg"],
    "train/PNEUMONIA": ["person1000_bacteria_2931.jpeg", "person1000_virus_1681.jpeg"],
    "test/NORMAL": ["IM-0001-0001.jpeg"],
    "test/PNEUMONIA": ["person100_bacteria_475.jpeg"],
    "val/NORMAL": ["NORMAL2-IM-1427-0001.jpeg"],
    "val/PNEUMONIA": ["person1946_bacteria_4874.jpeg"],
}


def write_kermany(root: Path, names: dict[str, list[str]]) -> None:
    for part, files in names.items():
        (root / part).mkdir(parents=True)
        for name in files:
            (root / part / name).write_bytes(JPEG)


class TestKermany:
    @pytest.mark.parametrize("above", ["", "chest_xray", "chest_xray/chest_xray"])
    def test_split_class_and_name_become_label_and_strata(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, above: str
    ) -> None:
        counts = {tuple(part.split("/")): len(files) for part, files in KAGGLE_NAMES.items()}
        monkeypatch.setattr(kermany, "KAGGLE", counts)
        write_kermany(tmp_path / above, KAGGLE_NAMES)
        dataset = open_dataset(tmp_path)
        by_name = {item.file.name: item for item in dataset.items}
        assert len(by_name) == 8
        item = by_name["person1000_virus_1681.jpeg"]
        assert item.name == f"{above}/train/PNEUMONIA/person1000_virus_1681.jpeg".lstrip("/")
        assert item.label == 1
        assert item.strata == {"split": "train", "cause": "virus", "patient": "person1000"}
        normal = by_name["NORMAL2-IM-1427-0001.jpeg"]
        assert normal.label == 0
        assert normal.strata == {"split": "val", "cause": None, "patient": "NORMAL2-IM-1427"}
        assert dataset.warnings == ()

    def test_wrong_counts_name_the_part(self, tmp_path: Path) -> None:
        names = {part: files for part, files in KAGGLE_NAMES.items() if part != "val/NORMAL"}
        write_kermany(tmp_path, names)
        warnings = open_dataset(tmp_path).warnings
        assert "train/NORMAL holds 2 images, not 1,341" in warnings
        assert "val/NORMAL holds 0 images, not 8" in warnings
        assert len(warnings) == 6

    def test_original_release_without_val_is_complete(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kermany, "ORIGINAL", {("train", "NORMAL"): 1, ("test", "PNEUMONIA"): 1})
        write_kermany(
            tmp_path,
            {
                "train/NORMAL": ["NORMAL-1049278-0001.jpeg", "._NORMAL-1049278-0001.jpeg"],
                "test/PNEUMONIA": ["VIRUS-1004-0002.jpeg", ".DS_Store"],
            },
        )
        dataset = open_dataset(tmp_path)
        assert dataset.warnings == ()
        assert [item.strata["cause"] for item in dataset.items] == [None, "virus"]

    def test_published_counts_are_those_of_the_paper(self) -> None:
        assert sum(kermany.KAGGLE.values()) == sum(kermany.ORIGINAL.values()) == 5_856
        positive = [n for (_, name), n in kermany.KAGGLE.items() if name == "PNEUMONIA"]
        assert sum(positive) == 4_273

    @pytest.mark.parametrize(
        ("stem", "expected"),
        [
            ("person1_bacteria_1", ("person1", "bacteria")),
            ("IM-0439-0001-0002", ("IM-0439", None)),
            ("NORMAL2-IM-0501-0001", ("NORMAL2-IM-0501", None)),
            ("BACTERIA-1008087-0001", ("BACTERIA-1008087", "bacteria")),
            ("anything", (None, None)),
        ],
    )
    def test_names(self, stem: str, expected: tuple[str | None, str | None]) -> None:
        assert patient_and_cause(stem) == expected


class TestLayout:
    def test_can_be_overridden(self, tmp_path: Path) -> None:
        write_kermany(tmp_path, KAGGLE_NAMES)
        (tmp_path / "train" / "NORMAL" / "._IM-0115-0001.jpeg").write_bytes(b"no image")
        dataset = open_dataset(tmp_path, layout="folder")
        assert len(dataset.items) == 8
        assert dataset.items[0].label is None
        assert dataset.warnings == ()

    @pytest.mark.parametrize(
        ("layout", "message"),
        [
            ("rsna", "no folder stage_2_train_images"),
            ("kermany", "no folder train/NORMAL"),
            ("manifest", "not a folder, a .csv"),
        ],
    )
    def test_that_does_not_fit_is_an_error(
        self, tmp_path: Path, layout: Layout, message: str
    ) -> None:
        (tmp_path / "1.png").write_bytes(PNG)
        with pytest.raises(DatasetError, match=message):
            open_dataset(tmp_path, layout=layout)

    def test_of_a_folder_does_not_fit_a_file(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="is no folder"):
            open_dataset(write_csv(tmp_path, "path\n1.png\n"), layout="kermany")

    def test_all_classes_are_of_rsna_only(self, tmp_path: Path) -> None:
        (tmp_path / "1.png").write_bytes(PNG)
        with pytest.raises(DatasetError, match="read as folder"):
            open_dataset(tmp_path, all_classes=True)
