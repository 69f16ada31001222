from typing import Any

import pytest
from pydicom.dataset import Dataset

from service.errors import NotAChest, ReadingError
from service.imaging.decode import Limits, decode
from service.imaging.dicom.body_part import part_of
from service.imaging.dicom.words import words
from service.imaging.radiograph import Radiograph
from tests.factories import chest, dicom_bytes

SMALL = chest(40, 36)
ABSENT_OR_UNKNOWN = [
    "", " ", "UNKNOWN", "Undefined", "N/A", "UNSPECIFIED", "NOT SPECIFIED", "-", "?",
]  # fmt: skip
CHESTS = [
    "CHEST", "chest pa", "CHEST_PORT", "PORTABLECHEST", "CHEST2V", "XR CHEST 2 VIEWS", "CXR",
    "THX", "THORAX", "THORAX AP LIEGEND", "THORAXAUFNAHME", "BRUST", "BRUSTKORB", "LUNGE",
    "Lungenaufnahme", "LUNGS", "RX TORAX", "TÓRAX", "Tòrax", "TORACE", "POITRINE",
    "CAGE THORACIQUE", "Poumons", "TORAKS", "PULMON", "PULMÃO", "THORACIC", "THORACIC CAVITY",
    "CAJA TORÁCICA", "Klatka piersiowa", "PŁUCA", "HRUDNÍK", "GRUDNI KOŠ", "PRSNI KOŠ",
    "MELLKAS", "PLĂMÂNI", "GÖĞÜS", "AKCİĞER", "RINTAKEHÄ", "BRÖSTKORG", "BRYSTKASSE",
    "KRŪTINĖS LĄSTA", "LỒNG NGỰC", "θώρακας", "σ θώρακας", "ГРУДНАЯ КЛЕТКА",
    "Органы грудной клетки", "ОРГАНИ ГРУДНОЇ КЛІТКИ", "ГРЪДЕН КОШ", "Лёгкие", "ОГК", "胸部",
    "胸", "胸部正面", "胸部X線", "右胸部", "肺", "흉부", "흉부 정면", "صدر", "חזה", "ทรวงอก",
    "CHEST HEART", "THORACIC AP", "CHEST\\LUNG", "HEMITHORAX", "CHEST LEFT SIDE", "胸部臥位",
    "BRYST", "გულმკერდი",
]  # fmt: skip
MORE = [
    "CHEST_ABDOMEN", "ABDOMEN CHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "NECKCHEST",
    "NECKCHESTABDOMEN", "NECKCHESTABDPELV", "CHEST\\ABDOMEN", "THORAX/ABDOMEN", "胸腹部",
]  # fmt: skip
OTHERS = [
    "THORACIC SPINE", "T SPINE", "T-SPINE", "BRUSTWIRBELSAEULE", "Brustwirbelsäule",
    "BWS THORAX", "COLUMNA TORACICA", "COLONNE THORACIQUE", "COLUNA TORÁCICA",
    "COLONNA TORACICA", "HRUDNÍ PÁTEŘ", "KRĘGOSŁUP PIERSIOWY", "Грудной отдел позвоночника",
    "ГРУДИНА", "胸椎", "胸骨", "胸腰椎", "肋骨", "흉추", "RIBS", "RIBCAGE", "RIB CAGE",
    "CHEST RIBS", "THORAX RIPPEN", "BONY THORAX", "TORAX OSEO", "STERNUM CHEST", "CHEST\\HAND",
    "CHEST KNEE", "BREAST", "DARSTELLUNG", "HAND EINSTELLUNG", "MANCHESTER", "THORACIC AORTA",
    "THORACIC INLET", "HEART", "MEDIASTINUM", "ABDOMEN", "腹部", "WHOLEBODY", "CLAVICLE",
    "OTHER", "LONG BONES", "TORSO", "X" * 300, "頭部", "ГОЛОВА", "KNIE", "КОСТИ ГРУДНОЙ КЛЕТКИ",
]  # fmt: skip


def read(data: bytes) -> Radiograph:
    return decode(data, Limits())


def with_part(value: bytes, character_set: str | None = None) -> bytes:
    """Write the bytes of Body Part Examined as they are, and declare this character set."""
    value += b" " * (len(value) % 2)
    data = dicom_bytes(SMALL, BodyPartExamined="@" * len(value), SpecificCharacterSet=character_set)
    return data.replace(b"@" * len(value), value)


def region(value: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue = value
    return [item]


class TestWords:
    @pytest.mark.parametrize("part", CHESTS)
    def test_chest_is_read(self, part: str) -> None:
        assert read(with_part(part.encode())).warnings == ()

    @pytest.mark.parametrize("part", MORE)
    def test_chest_and_more_is_a_warning(self, part: str) -> None:
        (warning,) = read(with_part(part.encode())).warnings
        assert "(0018,0015) names more" in warning

    @pytest.mark.parametrize("part", OTHERS)
    def test_other_part_is_refused(self, part: str) -> None:
        with pytest.raises(NotAChest, match=r"\(0018,0015\)"):
            read(with_part(part.encode()))

    @pytest.mark.parametrize("part", ["HAND", "ABDOMEN", "TSPINE", "KNEE"])
    def test_code_of_another_part_is_named(self, part: str) -> None:
        with pytest.raises(NotAChest, match=rf"\(0018,0015\) is '{part}'"):
            read(dicom_bytes(SMALL, BodyPartExamined=part))

    @pytest.mark.parametrize("part", ABSENT_OR_UNKNOWN)
    def test_unknown_is_a_warning(self, part: str) -> None:
        (warning,) = read(with_part(part.encode())).warnings
        assert "(0018,0015)" in warning

    def test_absent_is_a_warning(self) -> None:
        (warning,) = read(dicom_bytes(SMALL, BodyPartExamined=None)).warnings
        assert "(0018,0015)" in warning

    def test_unknown_words_are_never_quoted(self) -> None:
        with pytest.raises(NotAChest) as caught:
            read(with_part("Müller^Jörg".encode()))
        assert "LLER" not in str(caught.value).upper()

    def test_text_without_words_says_nothing(self) -> None:
        assert part_of(words("_-./ \0")) == "not stated"


class TestCharacterSets:
    @pytest.mark.parametrize(
        ("part", "encoding", "declared"),
        [
            ("TÓRAX", "utf-8", None),
            ("TÓRAX", "utf-8", "ISO_IR 100"),
            ("TÓRAX", "utf-8", "ISO_IR 192"),
            ("TÓRAX", "latin-1", None),
            ("TÓRAX", "latin-1", "ISO_IR 192"),
            ("TÓRAX", "latin-1", "NONSENSE"),
            ("TÓRAX", "latin-1", ["", "ISO 2022 IR 87"]),
            ("tórax", "cp850", None),
            ("PŁUCA", "iso8859-2", "ISO_IR 101"),
            ("PŁUCA", "cp1250", None),
            ("GÖĞÜS", "iso8859-9", None),
            ("Грудная клетка", "cp1251", None),
            ("Грудная клетка", "koi8-r", None),
            ("Грудная клетка", "iso8859-5", "ISO_IR 144"),
            ("Грудная клетка", "iso8859-5", None),
            ("ΘΩΡΑΚΑΣ", "iso8859-7", None),
            ("צילום חזה", "cp1255", None),
            ("胸部", "shift_jis", None),
            ("胸部", "euc_jp", "ISO_IR 100"),
            ("胸部", "gb18030", None),
            ("胸部", "gb18030", "GB18030"),
            ("胸部", "iso2022_jp", ["", "ISO 2022 IR 87"]),
            ("胸部", "iso2022_jp", None),
            ("흉부", "euc_kr", None),
            ("ทรวงอก", "tis-620", None),
        ],
    )
    def test_chest_is_read_whatever_is_declared(
        self, part: str, encoding: str, declared: str | None
    ) -> None:
        assert read(with_part(part.encode(encoding), declared)).warnings == ()

    @pytest.mark.parametrize(
        ("part", "encoding"),
        [
            ("胸椎", "shift_jis"),
            ("胸椎", "gb18030"),
            ("Позвоночник", "cp1251"),
            ("Côtes", "latin-1"),
        ],
    )
    def test_other_parts_are_refused(self, part: str, encoding: str) -> None:
        with pytest.raises(NotAChest):
            read(with_part(part.encode(encoding)))

    def test_every_pair_of_bytes_is_read_or_refused(self) -> None:
        accepted = 0
        for first in range(128, 256, 5):
            for second in range(128, 256, 7):
                try:
                    accepted += bool(read(with_part(bytes([first, second]) * 2)))
                except ReadingError as refusal:
                    assert isinstance(refusal, NotAChest)
        assert accepted == 0


class TestRegions:
    @pytest.mark.parametrize("value", ["51185008", "T-D3000", "816094009", "39607008", "T-28000"])
    def test_chest_stands_in_for_an_absent_part(self, value: str) -> None:
        data = dicom_bytes(SMALL, BodyPartExamined=None, AnatomicRegionSequence=region(value))
        assert read(data).warnings == ()

    @pytest.mark.parametrize("part", [None, "UNKNOWN", "CHEST"])
    @pytest.mark.parametrize("value", ["818981001", "T-D4000", "122495006", "72696002", "56873002"])
    def test_another_region_is_refused(self, part: str | None, value: str) -> None:
        data = dicom_bytes(SMALL, BodyPartExamined=part, AnatomicRegionSequence=region(value))
        with pytest.raises(NotAChest, match=r"\(0008,2218\)"):
            read(data)

    def test_part_that_is_refused_is_not_saved_by_its_region(self) -> None:
        data = dicom_bytes(
            SMALL, BodyPartExamined="KNEE", AnatomicRegionSequence=region("51185008")
        )
        with pytest.raises(NotAChest, match=r"\(0018,0015\)"):
            read(data)

    def test_heart_of_a_chest_is_read_and_a_heart_alone_is_not(self) -> None:
        tags: dict[str, Any] = {"AnatomicRegionSequence": region("80891009")}
        assert read(dicom_bytes(SMALL, **tags)).warnings == ()
        with pytest.raises(NotAChest, match=r"\(0008,2218\)"):
            read(dicom_bytes(SMALL, BodyPartExamined=None, **tags))
        chest_region = {"AnatomicRegionSequence": region("51185008")}
        assert read(dicom_bytes(SMALL, BodyPartExamined="HEART", **chest_region)).warnings == ()

    def test_unknown_code_says_nothing(self) -> None:
        data = dicom_bytes(SMALL, BodyPartExamined=None, AnatomicRegionSequence=region("DOE"))
        (warning,) = read(data).warnings
        assert "(0018,0015)" in warning

    def test_chest_and_abdomen_is_a_warning(self) -> None:
        data = dicom_bytes(SMALL, AnatomicRegionSequence=region("416550000"))
        (warning,) = read(data).warnings
        assert "(0008,2218)" in warning
