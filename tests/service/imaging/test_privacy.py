import logging
import traceback
import warnings
from typing import Any

import pytest

from service.errors import (
    ReadingError,
)
from service.imaging.decode import Limits, decode
from service.imaging.radiograph import Radiograph
from tests.factories import (
    dicom_bytes,
)

LIMITS = Limits()
SECRET = "DOE^JANE"
TEXTS = (
    "Modality",
    "BodyPartExamined",
    "ViewPosition",
    "PatientName",
    "PatientID",
    "SOPClassUID",
    "StudyID",
    "PhotometricInterpretation",
    "PresentationLUTShape",
    "VOILUTFunction",
    "PatientOrientation",
    "StudyDescription",
    "InstitutionName",
)
NUMBERS = ("NumberOfFrames", "WindowCenter", "WindowWidth", "RescaleSlope", "PixelSpacing")


def read(data: bytes) -> Radiograph:
    return decode(data, LIMITS)


class TestPrivacy:
    """No value of a file may reach a message, a log or a chained exception."""

    @pytest.mark.parametrize("keyword", [*TEXTS, *NUMBERS])
    @pytest.mark.parametrize("cut", [None, -5000])
    def test_secret_in_any_element_stays_there(
        self, keyword: str, cut: int | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        data = _with_secret(keyword)[:cut]
        caplog.set_level(logging.DEBUG)
        caplog.clear()
        with warnings.catch_warnings(record=True) as caught:
            said = _everything_said(data)
        messages = " ".join([said, caplog.text, *(str(w.message) for w in caught)]).upper()
        assert "DOE" not in messages
        assert "JANE" not in messages

    def test_secret_in_every_text_at_once_stays_there(self) -> None:
        tags: dict[str, Any] = dict.fromkeys(TEXTS, SECRET) | {"PhotometricInterpretation": SECRET}
        photometric, view = tags.pop("PhotometricInterpretation"), tags.pop("ViewPosition")
        said = _everything_said(dicom_bytes(photometric=photometric, view=view, **tags))
        assert "UnsupportedModality" in said
        assert "DOE" not in said


def _everything_said(data: bytes) -> str:
    """Return the warnings of a reading, or a refusal with all that is chained to it."""
    try:
        return " ".join(read(data).warnings)
    except ReadingError as refusal:
        return "".join(traceback.format_exception(refusal))


def _with_secret(keyword: str) -> bytes:
    """Write a file that holds the secret where the standard wants a code or a number."""
    value: Any = SECRET if keyword in TEXTS else "12345678"
    named = {"PhotometricInterpretation": "photometric", "ViewPosition": "view"}
    data = dicom_bytes(**{named.get(keyword, keyword): value})
    if keyword in TEXTS:
        return data
    assert data.count(value.encode()) == 1
    return data.replace(value.encode(), SECRET.encode())
