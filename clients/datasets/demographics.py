"""Sex and age band from a DICOM header, for measures by stratum; nothing that names a patient.

The service never looks at these elements. Scoring does, on the researcher's own machine, and keeps
the age only as a decade.
"""

import re
from io import BytesIO

from pydicom.filereader import read_partial
from pydicom.tag import Tag

from service.imaging.dicom.file import is_dicom
from service.imaging.dicom.header import MALFORMED

SEXES = ("F", "M", "O")  # PS3.3 C.7.1.1: O is other
PATIENT_SEX, PATIENT_AGE = Tag("PatientSex"), Tag("PatientAge")
# PS3.5 6.2: three digits and a unit. RSNA 2018 writes years without one.
AGE = re.compile(r"(\d{1,3})([DWMY]?)")
DECADE = 10
LAST_BAND = 90  # years; above, the decade alone can identify someone
OLDEST = 120  # more is a typing error


def sex_and_age_band(content: bytes) -> tuple[str | None, str | None]:
    """Read Patient's Sex (0010,0040) and Patient's Age (0010,1010).

    Parameters
    ----------
    content
        A whole file that was decoded before: its size after inflation is bounded.

    Returns
    -------
    sex
        ``"F"``, ``"M"``, ``"O"``, or None.
    age_band
        A decade, e.g. ``"40-49"``, or ``"90+"``; None where the file states none (every PNG, JPEG).
    """
    if not is_dicom(content):
        return None, None
    try:
        header = read_partial(
            BytesIO(content),
            stop_when=lambda tag, _vr, _length: tag > PATIENT_AGE,
            force=True,
            specific_tags=[PATIENT_SEX, PATIENT_AGE],
        )
        sex, age = str(header.get("PatientSex") or ""), str(header.get("PatientAge") or "")
    except MALFORMED:
        return None, None
    return (sex.strip() if sex.strip() in SEXES else None), age_band(age)


def age_band(age: str) -> str | None:
    """Turn an age string, e.g. ``"047Y"``, into its decade; None where it is none or impossible."""
    found = AGE.fullmatch(age.strip().upper())
    if found is None:
        return None
    years = int(found[1]) if found[2] in ("", "Y") else 0  # 999 months are written in years
    if years > OLDEST:
        return None
    first = years - years % DECADE
    return f"{LAST_BAND}+" if first >= LAST_BAND else f"{first}-{first + DECADE - 1}"
