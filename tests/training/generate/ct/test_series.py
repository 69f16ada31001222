"""Reading of CT series: order, units, orientation, provenance, refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.generate.ct.scans import SERIES, SPACING, hounsfield, write_series
from training.generate.ct.series import NoSeries, UnusableSeries, find_series, read_scan


class TestDicom:
    def test_slices_are_sorted_from_the_feet_up_in_hounsfield_units(self, tmp_path: Path) -> None:
        read = read_scan(write_series(tmp_path / "a"))
        np.testing.assert_array_equal(read.hounsfield, hounsfield() // 2 * 2)
        assert read.spacing == SPACING

    def test_provenance_names_collection_licence_series_and_pixels(self, tmp_path: Path) -> None:
        one = read_scan(write_series(tmp_path / "a")).provenance
        other = read_scan(write_series(tmp_path / "b", hounsfield() + 2)).provenance
        assert (one.name, one.collection, one.licence) == ("a", "computed", "CC0")
        assert one.series == SERIES
        assert len(one.sha256) == 64
        assert one.sha256 != other.sha256

    def test_a_missing_slice_is_refused(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "a")
        (folder / "014.dcm").unlink()
        with pytest.raises(UnusableSeries, match=r"unusable_series: .*lacks slices.*Copy"):
            read_scan(folder)

    @pytest.mark.parametrize(
        "tags", [{"Modality": "MR"}, {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}]
    )
    def test_what_is_no_axial_ct_is_refused(self, tmp_path: Path, tags: dict[str, Any]) -> None:
        with pytest.raises(UnusableSeries, match="not an axial CT"):
            read_scan(write_series(tmp_path / "a", **tags))

    def test_a_folder_without_slices_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "notes.txt").write_text("none")
        with pytest.raises(UnusableSeries, match="holds 0 slices"):
            read_scan(tmp_path / "a")


def test_nifti_is_turned_to_the_same_axes(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    z, y, x = SPACING
    image = nibabel.Nifti1Image(hounsfield().transpose(2, 1, 0), np.diag([-x, -y, z, 1]))
    nibabel.save(image, tmp_path / "chest.nii.gz")
    (tmp_path / "chest.json").write_text('{"licence": "CC BY 4.0", "series": "1.2.3"}')
    read = read_scan(tmp_path / "chest.nii.gz")
    np.testing.assert_array_equal(read.hounsfield, hounsfield())
    assert read.spacing == pytest.approx(SPACING)
    assert (read.provenance.licence, read.provenance.series) == ("CC BY 4.0", "1.2.3")


def test_series_are_found_by_name(tmp_path: Path) -> None:
    write_series(tmp_path / "b")
    write_series(tmp_path / "a")
    (tmp_path / "c.nii").touch()
    (tmp_path / "readme.txt").touch()
    assert [path.name for path in find_series(tmp_path)] == ["a", "b", "c.nii"]


def test_an_empty_folder_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(NoSeries, match=r"no_series: .*holds no CT series. Put each DICOM series"):
        find_series(tmp_path)
