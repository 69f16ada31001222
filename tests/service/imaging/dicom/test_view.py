from typing import Any

import pytest
from pydicom.dataset import Dataset

from service.errors import NotFrontal
from service.imaging.decode import Limits, decode
from service.imaging.radiograph import Radiograph
from tests.factories import chest, dicom_bytes

SMALL = chest(40, 36)
PA = [
    "PA", "pa", " PA", "P.A", "p.a.", "P/A", "P-A", "P A", "PA\0", "PA ERECT", "PA_UPRIGHT",
    "CHEST PA", "CHESTPA", "PACHEST", "PAERECT", "PA (STANDING)", "PA INSPIRATION", "FRONTAL PA",
    "THORAX P.A. STEHEND", "POSTERO_ANTERIOR", "POSTEROANTERIOR", "POSTERO-ANTERIOR",
    "Postero Anterior", "POSTERIOR ANTERIOR", "POSTERIOR TO ANTERIOR", "POST-ANT", "ＰＡ",
    "POSTÉRO-ANTÉRIEUR", "posteroanteriore", "dorso-ventral", "ЗАДНЕ-ПЕРЕДНЯЯ", "后前位", "後前",
]  # fmt: skip
AP = [
    "AP", "ap", "A.P.", "A/P", "AP-PORTABLE", "AP SUPINE", "APSUPINE", "AP SEMI-ERECT",
    "AP_SITTING", "ANTEROPOSTERIOR", "ANTERO-POSTERIOR", "ANTERO_POSTERIOR", "antéropostérieur",
    "BEDSIDE AP", "AP PORTABLE CHEST", "ПЕРЕДНЕЗАДНЯЯ", "前后位", "AP BILATERAL",
    "AP TRANSPORTABLE", "AP 臥位",
]  # fmt: skip
FRONTAL = [
    "FRONTAL", "Frontale", "FACE", "DE FACE", "FRENTE", "FRONT", "正位", "正面", "정면",
    "прямая",
]  # fmt: skip
NOT_STATED = [
    None, "", "  ", "UNKNOWN", "Unknown", "U", "N/A", "NA", "NONE", "-", "\0\0", "UNSPECIFIED",
]  # fmt: skip
OTHERS = [
    "LL", "L.L.", "RL", "RLAT", "LAT", "LATERAL", "LATERALE", "LATÉRAL", "PROFIL", "PROFILE",
    "SEITLICH", "Seitenaufnahme", "PERFIL", "LLD", "RLD", "LLO", "RAO", "OBLIQUE", "OBLICUA",
    "SCHRÄG", "DECUBITUS", "AP LATERAL", "PA OBLIQUE", "LATERAL DECUBITUS AP", "AP LLD",
    "AP R DECUB", "AP LORDOTIC", "PA/LAT", "PALAT", "PA AND LATERAL", "PA LEFT LATERAL", "AP/PA",
    "PA AP", "PA\\LL", "POSTEROLATERAL", "LATEROLATERAL", "AP AXIAL", "APICAL", "AP CROSS TABLE",
    "XTABLE AP", "AP CAUDAD", "AP KNEE", "AP ABDOMEN", "AP THORACIC SPINE", "AP RIBS", "LEFT",
    "ERECT", "CHEST", "FRONTAL LATERAL", "側面", "侧位", "斜位", "측면", "боковая", "ANTERIOR",
    "PAP", "DOE PAUL", "側臥位", "SIDE VIEW", "TRANSTHORACIC AP", "X" * 300,
]  # fmt: skip


def read(data: bytes) -> Radiograph:
    return decode(data, Limits())


def with_view(value: str, **tags: Any) -> bytes:
    """Write View Position as UTF-8, declared or not."""
    raw = value.encode() + b" " * (len(value.encode()) % 2)
    return dicom_bytes(SMALL, view="@" * len(raw), **tags).replace(b"@" * len(raw), raw)


def code(value: str, modifier: str | None = None) -> list[Dataset]:
    item = Dataset()
    item.CodeValue = value
    if modifier is not None:
        item.ViewModifierCodeSequence = code(modifier)
    return [item]


class TestPosition:
    @pytest.mark.parametrize(("views", "view"), [(PA, "PA"), (AP, "AP")])
    def test_frontal_view_is_reported(self, views: list[str], view: str) -> None:
        found = {text: read(with_view(text)) for text in views}
        assert {text: (film.view, film.warnings) for text, film in found.items()} == dict.fromkeys(
            views, (view, ())
        )

    @pytest.mark.parametrize("view", FRONTAL)
    def test_frontal_without_direction_is_a_warning(self, view: str) -> None:
        radiograph = read(with_view(view))
        assert radiograph.view is None
        assert "neither PA nor AP" in radiograph.warnings[0]

    @pytest.mark.parametrize("view", NOT_STATED)
    def test_silence_is_a_warning(self, view: str | None) -> None:
        radiograph = read(dicom_bytes(SMALL, view=None) if view is None else with_view(view))
        assert radiograph.view is None
        assert "(0018,5101) states no view" in radiograph.warnings[0]

    @pytest.mark.parametrize("view", OTHERS)
    def test_other_view_is_refused(self, view: str) -> None:
        with pytest.raises(NotFrontal, match=r"\(0018,5101\)"):
            read(with_view(view))

    @pytest.mark.parametrize("view", ["LL", "RL", "LATERAL", "LLO", "LLD", "LAT"])
    def test_code_of_another_view_is_named(self, view: str) -> None:
        with pytest.raises(NotFrontal, match=rf"\(0018,5101\) is '{view}'"):
            read(dicom_bytes(SMALL, view=view))

    def test_unknown_words_are_never_quoted(self) -> None:
        with pytest.raises(NotFrontal) as caught:
            read(with_view("DOE LATERAL"))
        assert "DOE" not in str(caught.value)

    @pytest.mark.parametrize("part", ["CHEST LAT", "THORAX SEITLICH", "CHEST LL", "胸部側面"])
    def test_view_in_the_body_part_is_heeded(self, part: str) -> None:
        raw = part.encode() + b" " * (len(part.encode()) % 2)
        data = dicom_bytes(SMALL, BodyPartExamined="@" * len(raw)).replace(b"@" * len(raw), raw)
        with pytest.raises(NotFrontal, match=r"\(0018,0015\)"):
            read(data)


class TestCodes:
    @pytest.mark.parametrize(("value", "view"), [("399348003", "AP"), ("R-10214", "PA")])
    @pytest.mark.parametrize("position", [None, "UNKNOWN", "FRONTAL"])
    def test_code_stands_in_for_an_absent_view(
        self, value: str, view: str, position: str | None
    ) -> None:
        radiograph = read(dicom_bytes(SMALL, view=position, ViewCodeSequence=code(value)))
        assert (radiograph.view, radiograph.warnings) == (view, ())

    def test_frontal_code_has_no_direction(self) -> None:
        radiograph = read(dicom_bytes(SMALL, view=None, ViewCodeSequence=code("399033003")))
        assert radiograph.view is None
        assert "neither PA nor AP" in radiograph.warnings[0]

    @pytest.mark.parametrize("position", [None, "PA", "FRONTAL"])
    @pytest.mark.parametrize("value", ["399173006", "R-10232", "399312000", "399110001"])
    def test_other_code_is_refused_whatever_the_position(
        self, value: str, position: str | None
    ) -> None:
        with pytest.raises(NotFrontal, match=r"\(0054,0220\)"):
            read(dicom_bytes(SMALL, view=position, ViewCodeSequence=code(value)))

    def test_modifier_is_heeded(self) -> None:
        with pytest.raises(NotFrontal, match=r"\(0054,0222\)"):
            read(dicom_bytes(SMALL, view="AP", ViewCodeSequence=code("399348003", "111069")))

    def test_unknown_codes_say_nothing(self) -> None:
        radiograph = read(dicom_bytes(SMALL, view="AP", ViewCodeSequence=code("DOE", "JANE")))
        assert (radiograph.view, radiograph.warnings) == ("AP", ())

    def test_two_directions_are_none(self) -> None:
        radiograph = read(dicom_bytes(SMALL, view="AP", ViewCodeSequence=code("272479007")))
        assert radiograph.view is None
        assert "differ" in radiograph.warnings[0]


class TestOrientation:
    @pytest.mark.parametrize(
        "orientation", [["A", "F"], ["P", "F"], ["F", "A"], ["L", "P"], ["AL", "F"]]
    )
    def test_lateral_orientation_is_refused_where_no_view_is_stated(
        self, orientation: list[str]
    ) -> None:
        with pytest.raises(NotFrontal, match=r"\(0020,0020\)"):
            read(dicom_bytes(SMALL, view=None, PatientOrientation=orientation))

    def test_lateral_orientation_of_a_stated_view_is_a_warning(self) -> None:
        radiograph = read(dicom_bytes(SMALL, PatientOrientation=["A", "F"]))
        assert radiograph.view == "PA"
        assert "(0020,0020)" in radiograph.warnings[0]

    @pytest.mark.parametrize("orientation", [["L", "F"], ["R", "F"], ["LA", "F"], ["", ""]])
    def test_frontal_orientation_says_nothing(self, orientation: list[str]) -> None:
        assert read(dicom_bytes(SMALL, PatientOrientation=orientation)).warnings == ()
