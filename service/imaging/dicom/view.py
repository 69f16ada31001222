"""Decide whether a DICOM header states a frontal view, in the words and codes of many archives.

header -> words, codes, orientation -> [PA, AP, frontal, another view, nothing]
A word for another view wins: AP LATERAL and PA OBLIQUE are not frontal.
"""

import re
from typing import Final, Literal

from pydicom.dataset import Dataset

from service.errors import NotFrontal
from service.imaging.dicom.body_part import NOT_STATED, examined, part_of
from service.imaging.dicom.codes import OTHER_VIEW_MODIFIERS, VIEWS
from service.imaging.dicom.header import MALFORMED, coded_value
from service.imaging.dicom.terms import OTHER_VIEWS, quoted
from service.imaging.dicom.words import stated_words, words
from service.imaging.radiograph import View

Stated = Literal["PA", "AP", "frontal", "other", "not stated"]

POSITION = "View Position (0018,5101)"
NO_VIEW = f"{POSITION} states no view; a frontal view is assumed."
NO_DIRECTION = f"{POSITION} or its code says frontal, but neither PA nor AP."
CONTRADICTION = f"{POSITION} and View Code Sequence (0054,0220) differ: one is PA, the other AP."
LATERAL_ORIENTATION = "Patient Orientation (0020,0020) is that of a lateral view"


def _pattern(*alternatives: str) -> re.Pattern[str]:
    return re.compile(" (?:" + "|".join(alternatives) + ")(?= )")


_BEFORE = "(?:CHEST|THORAX|TORAX|CXR)?"
_AFTER = (
    "(?:CHEST|THORAX|TORAX|ERECT|UPRIGHT|STANDING|SUPINE|SITTING|SEATED|PORTABLE|PORT|MOBILE|"
    "BEDSIDE|VIEW|INSP|EXP|INSPIRATION|EXPIRATION|PROJECTION|[0-9]+)?"
)
PA: Final = _pattern(
    f"{_BEFORE}PA{_AFTER}",
    r"POST\w* ?(?:TO )?ANT\w*",
    r"DORSO ?VENTRAL\w*",
    r"ЗАДН\w* ?ПЕРЕДН\w*",
    r"\w*后前\w*",
    r"\w*後前\w*",
)
AP: Final = _pattern(
    f"{_BEFORE}AP{_AFTER}",
    r"ANT\w* ?(?:TO )?POST\w*",
    r"VENTRO ?DORSAL\w*",
    r"ПЕРЕДН\w* ?ЗАДН\w*",
    r"\w*前后\w*",
    r"\w*前後\w*",
)
FRONTAL: Final = _pattern(
    r"FRONTAL\w*", "FRONT", "FACE", "FRENTE", "ПРЯМАЯ", r"\w*正[位面]\w*", "".join(words("정면"))
)
# What words for another view start with, in many languages.
OTHER_STEMS: Final = (
    "LAT", "PROFIL", "PERFIL", "SEITL", "SEITEN", "DWARS", "ZIJ", "SIDOBILD", "SIVU", "BOCZN",
    "BOCN", "OLDAL", "БОК", "БІЧН", "ΠΛΑΓΙ", "OBL", "SCHRAG", "SCHRAEG", "КОС[АОУ]", "LORDO",
    "APIC", "LINDBLOM", "AXIA", "TANGEN", "SAGIT", "TRANS[ALTV]", "SWIMMER", "CAUD", "CEPHAL",
    "CRANI",
)  # fmt: skip
# PS3.3 C.8.7.1 (CR) and C.8.11.5 (DX), and what else the languages call them.
OTHER: Final = _pattern(
    *OTHER_VIEWS,
    *(rf"{stem}\w*" for stem in OTHER_STEMS),
    *("".join(words(word)) for word in ("측면", "사위")),
    r"(?!BILATERAL)\w*LATERAL\w*",
    "SIDEVIEW",
    r"\w*[侧側斜]\w*",
    r"\w*OBLI[QCK]\w*",
    r"\w*DECUB\w*",
    r"CROSS ?TABLE\w*",
    r"X ?TABLE\w*",
    "ANGLED",
    r"(?:PA|AP)(?:LAT|LL|RL|OBL|LORD)\w*",
)


def check_view(header: Dataset) -> tuple[View | None, str | None]:
    """Return the frontal view and a warning where none is stated; refuse every other view.

    View Position (0018,5101), View Code Sequence (0054,0220) with its modifier, and Body Part
    Examined (0018,0015), where it holds words for a view, must each be frontal or silent. Where all
    are silent, Patient Orientation (0020,0020) decides: a plane that contains the direction from
    back to front is not frontal.

    References
    ----------
    DICOM PS3.3 C.8.7.1, C.8.11.5 and C.7.6.1.1.1; PS3.16 CID 4010 and 4011.
    """
    position = _position(header)
    view_code = coded_value(header, "ViewCodeSequence")
    coded: Stated = VIEWS.get(view_code, "not stated")
    if coded == "other":
        raise _refusal(f"View Code Sequence (0054,0220) is {view_code}, not frontal")
    if coded_value(header, "ViewCodeSequence", "ViewModifierCodeSequence") in OTHER_VIEW_MODIFIERS:
        raise _refusal(
            "View Modifier Code Sequence (0054,0222) makes the view no plain frontal one"
        )
    if OTHER.search(_spaced(examined(header)[1])):
        raise _refusal("Body Part Examined (0018,0015) names a view that is not frontal")
    stated: set[Stated] = {position, coded}
    return _agreed(stated - {"not stated"}, sagittal=_is_sagittal(header))


def _agreed(stated: set[Stated], *, sagittal: bool) -> tuple[View | None, str | None]:
    if not stated and sagittal:
        raise _refusal(LATERAL_ORIENTATION)
    if not stated:
        return None, NO_VIEW
    if stated >= {"PA", "AP"}:
        return None, CONTRADICTION
    view: View | None = "PA" if "PA" in stated else "AP" if "AP" in stated else None
    if sagittal:
        return view, f"{LATERAL_ORIENTATION}, and the view is stated as frontal; it is believed."
    return view, None if view else NO_DIRECTION


def _refusal(fact: str) -> NotFrontal:
    return NotFrontal(f"{fact}; only PA and AP are read. Send the frontal view of this study.")


def _position(header: Dataset) -> Stated:
    """Return what the first decoding with a known word says; refuse all but frontal and silence."""
    text = ""
    for number, stated in enumerate(stated_words(header, "ViewPosition")):
        text = "".join(stated) if number == 0 else text
        view = view_of(stated)
        if view == "other":
            text = "".join(stated)
            break
        if view is not None:
            return view
    raise _refusal(f"{POSITION} is {quoted(text, OTHER_VIEWS)}")


def view_of(stated: list[str]) -> Stated | None:
    """Return the view that words name; None where none of them is known.

    >>> view_of(["AP", "SUPINE"]), view_of(["AP", "LATERAL"]), view_of(["FRONTAL"])
    ('AP', 'other', 'frontal')
    """
    if "".join(stated) in {"", *NOT_STATED}:
        return "not stated"
    text = _spaced(stated)
    if OTHER.search(text) or part_of([word for word in stated if word != "FACE"]) == "other":
        return "other"
    pa, ap = PA.search(text), AP.search(text)
    if pa and ap:
        return "other"
    if pa or ap:
        return "PA" if pa else "AP"
    return "frontal" if FRONTAL.search(text) else None


def _spaced(stated: list[str]) -> str:
    return f" {' '.join(stated)} "


def _is_sagittal(header: Dataset) -> bool:
    """Whether rows or columns run towards anterior or posterior, more than any other way."""
    try:
        directions = [
            str(value).strip().upper() for value in header.get("PatientOrientation") or ()
        ]
    except MALFORMED:
        return False
    return any(direction.startswith(("A", "P")) for direction in directions)
