"""docs/hospital.md says what the objects hold, and its sample runs."""

import re

from pydicom.dataset import Dataset

from clients.dicom import KINDS, report
from clients.dicom.objects.common import SERIES_NUMBERS
from service.model.reader import Reader
from tests.clients.dicom.films import DX, film, read_by
from tests.clients.dicom.objects.objects import REFUSAL
from tests.sources import ROOT

PAGE = (ROOT / "docs" / "hospital.md").read_text(encoding="utf-8")
OF_THE_IMAGE_LIBRARY = {"126200"}


def codes(dataset: Dataset) -> set[str]:
    """Code values of names and values at every level, units and templates of TID 1600 left out."""
    found: set[str] = set()
    for element in dataset:
        if element.VR != "SQ" or element.keyword == "ContributingEquipmentSequence":
            continue
        for item in element.value:
            name = item.get("ConceptNameCodeSequence", [{}])[0].get("CodeValue")
            if name == "111028":
                found.add(name)
                continue
            if element.keyword.endswith("CodeSequence") and "Units" not in element.keyword:
                found.add(str(item.CodeValue))
            found |= codes(item)
    return found


def test_names_every_code_and_no_other(reader: Reader) -> None:
    data = film(**DX)
    made = [*report(data, *read_by(reader, data), KINDS), *report(data, REFUSAL, None, KINDS)]
    held = set().union(*(codes(d) for d in made if d.Modality in ("SR", "SEG")))
    section = PAGE[PAGE.index("### Codes of the report") : PAGE.index("### What others say")]
    named = set(re.findall(r"\b\d{6,9}\b|\ben-US\b", section))
    either = {"121053", "121054"}  # the call of this film, and the other
    assert held - named == set()
    assert named - held <= either | OF_THE_IMAGE_LIBRARY


def test_names_the_series_of_every_kind() -> None:
    table = PAGE[PAGE.index("## The objects") : PAGE.index("| Secondary capture | Presentation")]
    assert {int(number) for number in re.findall(r"\| (99\d\d) \|", table)} == set(
        SERIES_NUMBERS.values()
    )
