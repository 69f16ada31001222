"""The header of a film, and the sentences where it has not what a result needs."""

import re
import struct

import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, EnhancedSRStorage

from clients.dicom import FilmError
from clients.dicom.film import Film
from tests.clients.dicom.films import DX, FILM, SERIES, STUDY, film
from tests.factories import png_bytes


class TestFilm:
    def test_knows_what_ties_a_result_to_it(self) -> None:
        found = Film.of(film(**DX))
        assert (found.study, found.series, found.sop_instance) == (STUDY, SERIES, FILM)
        assert found.size == (256, 240)
        assert found.spacing == (0.148, 0.148)
        assert found.orientation == ["L", "F"]
        assert found.is_grey

    @pytest.mark.parametrize("spacing", [["0", "0"], ["-1", "1"], "0.1"])
    def test_impossible_spacing_is_none(self, spacing: object) -> None:
        assert Film.of(film(PixelSpacing=spacing)).spacing is None

    @pytest.mark.parametrize("orientation", [None, "L", ["L", ""], ["left", "F"], ["X", "F"]])
    def test_half_an_orientation_is_none(self, orientation: object) -> None:
        assert Film.of(film(PatientOrientation=orientation)).orientation == []

    @pytest.mark.parametrize(
        ("keyword", "tag"),
        [
            ("StudyInstanceUID", "(0020,000D)"),
            ("SeriesInstanceUID", "(0020,000E)"),
            ("SOPInstanceUID", "(0008,0018)"),
        ],
    )
    def test_missing_uid_is_named_with_its_tag(self, keyword: str, tag: str) -> None:
        element = struct.pack("<HH", *divmod(tag_for_keyword(keyword) or 0, 1 << 16)) + b"UI"
        data = film()
        assert element in data
        with pytest.raises(FilmError, match=f"{keyword} {re.escape(tag)} is missing"):
            Film.of(data.replace(element, element[:3] + b"\x77UI"))

    @pytest.mark.parametrize("other", [EnhancedSRStorage, CTImageStorage, "1.2.3"])
    def test_other_objects_are_no_films(self, other: str) -> None:
        with pytest.raises(FilmError, match=r"\(0008,0016\) is none of a radiograph"):
            Film.of(film(SOPClassUID=other))

    def test_uid_that_is_text_is_not_quoted(self) -> None:
        with pytest.raises(FilmError) as refusal:
            Film.of(film(StudyInstanceUID="DOE^JANE"))
        assert "DOE" not in str(refusal.value)

    def test_png_has_no_study(self) -> None:
        with pytest.raises(FilmError, match="no DICOM file"):
            Film.of(png_bytes())

    def test_header_that_cannot_be_parsed_is_refused(self) -> None:
        deflated = film(transfer_syntax=DeflatedExplicitVRLittleEndian)
        with pytest.raises(FilmError, match="header"):
            Film.of(deflated[:400] + b"\0" + deflated[400:])
