"""Manifests and folders become lists of images."""

from pathlib import Path

import pandas as pd
import pytest

from clients.datasets import DatasetError, Item, open_dataset

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
            ("path,label\n1.png,1\n2.png,7\n", "label 7 of row 2"),
            ("path,label\n1.png,pneumonia\n", "label 'pneumonia' of row 1"),
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
        (tmp_path / "bare").write_bytes(b"\x08\x00\x08\x00CS rest")
        (tmp_path / "notes.png").write_text("not an image")
        (tmp_path / "empty.dcm").write_bytes(b"")
        names = [item.name for item in open_dataset(tmp_path).items]
        assert names == ["a.txt", "b/IM0001", "bare", "c.jpeg"]

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
