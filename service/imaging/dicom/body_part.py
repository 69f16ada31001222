"""Decide whether a DICOM header states a chest, in the words and codes of many archives.

header -> words, codes -> [chest, chest and more, another part, nothing]
Words that name another part win: a thoracic spine is no chest, whatever its language calls it.
"""

import re
from typing import Final

from pydicom.dataset import Dataset

from service.errors import NotAChest
from service.imaging.dicom.codes import REGIONS, Part
from service.imaging.dicom.header import coded_value
from service.imaging.dicom.terms import OTHER_BODY_PARTS, quoted
from service.imaging.dicom.words import stated_words, words

BODY_PART = "Body Part Examined (0018,0015)"
REGION = "Anatomic Region Sequence (0008,2218)"


def _words(text: str) -> frozenset[str]:
    return frozenset("".join(words(line)) for line in text.split())


NOT_STATED: Final = _words(
    "UNKNOWN UNK UNKN UNDEFINED UNSPECIFIED NOTSPECIFIED NOTDEFINED NONE NULL NA NIL U DEFAULT"
)
# Nouns for the chest or the lungs. No general word of any language. Some mean the breast too,
# which CR and DX do not show.
NOUNS: Final = _words(
    "CHEST CXR PCXR THX THORAX THORACE THORACIS THORAXA TORAX TORAXA TORACE TORAKS TORAKSA TORACS "
    "POITRINE POUMON POUMONS BRUST BRUSTKORB BRUSTRAUM BRUSTHOEHLE BRUSTHÖHLE LUNG LUNGS LUNGE "
    "LUNGEN LUNGA LUNGOR LUNGER LUNGU LUNGERNE PULMON PULMONES PULMONS PULMO PULMÃO PULMÕES PECHO "
    "PEITO PETTO POLMONE POLMONI PLĂMÂN PLĂMÂNI PECTUS BORSTKAS BORSTHOLTE LONGEN BRÖSTKORG "
    "BROSTKORG BRYSTKASSE BRYSTHULE BRJÓSTKASSI RINTAKEHÄ RINTA KEUHKOT RINDKERE KOPSUD "
    "KRŪŠKURVIS KRŪŠUKURVIS PLAUŠAS KRŪTINĖ PLAUČIAI PŁUCA PLUCA PLUĆA PLÍCE HRUDNÍK HRUDNÍKU "
    "HRUĎ MELLKAS AKCİĞER AKCIGER GÖĞÜS GOGUS PRSA KRAHËROR MUSHKËRI PLJUČA "
    "NGỰC PHỔI DADA PARU TORAK KIFUA DIBDIB "
    "ΘΩΡΑΚΑΣ ΘΩΡΑΚΑ ΘΩΡΑΚΟΣ ΘΩΡΑΞ ΠΝΕΥΜΟΝΕΣ ΠΝΕΥΜΟΝΑΣ "
    "ГРУДЬ ТОРАКС ОГК ОГП ЛЕГКИЕ ЛЁГКИЕ ЛЕГКИХ ЛЕГЕНІ ЛЕГЕНЬ КЕУДЕ ЦЭЭЖ ПЛУЋА БЕЛОДРОБ "
    "გულმკერდი ԿՐԾՔԱՎԱՆԴԱԿ "
    "صدر الصدر رئة الرئة الرئتين سینه ריאות ריאה חזה החזה छाती सीना फेफड़े ทรวงอก หน้าอก ปอด "
    "سینہ বুক மார்பு ఛాతీ BRYST BRÖST BORST PIERSI PIEPT "
    "胸 胸片 胸腔 胸廓 胸郭 肺 肺部 両肺 双肺 雙肺 흉부 흉곽 흉강 가슴 폐"
)
# Several words: what each starts with.
PHRASES: Final = tuple(
    tuple(words(phrase))
    for phrase in (
        "грудн клет", "грудн кліт", "грудн порож", "грудн полост", "грудн кош", "гръд кош",
        "бял дроб", "grudn klet", "grudn kos", "prsn kos", "klatk piersiow", "caja torac",
        "cage thorac", "gabbia torac", "caixa torac", "cutie torac", "cavite thorac",
        "cavidad torac", "cavidade torac", "cavita torac", "thoracic cavity", "thoracic cage",
        "lồng ngực", "krutines last", "gogus kafes", "قفسه سینه", "בית החזה", "บริเวณ ทรวงอก",
    )
)  # fmt: skip
# Nouns that writers glue to others, as in PORTABLECHEST and CHESTABDOMEN.
GLUED: Final = tuple(sorted(noun for noun in NOUNS if noun.isascii() and len(noun) >= 5))
# What no other word starts or ends with, whatever follows: THORAXAUFNAHME, CHEST2V.
UNMISTAKABLE: Final = re.compile("CHEST[0-9].*|(?:LUNG|THORAX|TORAX).*|.*(?:CHEST|THORAX|TORAX)")
# Chest where nothing else is said: an adjective may belong to any other noun.
ADJECTIVES: Final = _words(
    "THORACIC THORACAL THORAKAL THORACIQUE TORACICO TORACICA TORAKAL PULMONARY"
)
QUALIFIERS: Final = _words(
    "PA AP PAAP APPA XR XRAY XRAYS X RAY CR DX DR RX RTG RG RÖNTGEN RENTGEN ROENTGEN FILM ROUTINE "
    "PORTABLE PORT MOBILE BEDSIDE BED ERECT UPRIGHT STANDING SUPINE SITTING SEATED VIEW VIEWS "
    "FRONTAL FRONT FACE ADULT CHILD PED PEDS PAEDIATRIC PEDIATRIC INFANT NEONATE REGION AREA "
    "INSPIRATION EXPIRATION DE DEL DO DA DI DU DER THE OF LA LE EL"
)
# Scripts without blanks between words: what a word may contain, or start with.
UNSPACED: Final = re.compile("|".join("".join(words(w)) for w in ("^胸", "胸部", "흉부", "ทรวงอก")))

# What else may be on a film of the chest, and what then makes it a film of more.
COMPANIONS: Final = re.compile(
    "(?:ABDOM(?:EN|E|INAL)?|ADDOME|ABD|BAUCH|BUIK|PELV(?:IS)?|BECKEN|NECK|HALS|CUELLO|ЖИВОТ)+"
)
UNSPACED_COMPANIONS: Final = re.compile("|".join("".join(words(w)) for w in ("腹", "복부", "БРЮШ")))
INSIDE: Final = _words("AORTA BRONCHUS HEART MEDIASTINUM THYMUS TRACHEA")
OUTSIDE: Final = OTHER_BODY_PARTS - INSIDE - _words("ABDOMEN ABDOMENPELVIS NECK PELVIS") | _words(
    "BWS HWS LWS WS RACHIS PATER PÁTEŘ RYGG COTE COTES CÔTES COSTAL COSTALE COSTE GRIL PARRILLA "
    "MAMA SEIN SENO SENOS BONE BONES BONY OSEO OSEA OSSEO OSSEUX OSSEUSE INLET OUTLET APERTURE "
    "DUCT SPALLA OMBRO HOMBRO EPAULE RIBCAGE THORACOLUMBAR CERVICOTHORACIC"
)
# Parts of words, long enough not to be parts of others.
OUTSIDE_STEMS: Final = tuple(
    "".join(words(stem))
    for stem in (
        "SPINE", "SPINAL", "VERTEB", "VÉRTEB", "WIRBEL", "WERVEL", "COLUMN", "COLONN", "COLUNA",
        "COLOAN", "RAQUIS", "KRĘGOSŁ", "KREGOSL", "POZVON", "ПОЗВОН", "ХРЕБ", "ХРЕБЕТ", "ГРЪБНАЧ",
        "RYGGRAD", "SELKÄ", "GERINC", "OMURGA", "CHRBTIC", "KRALJEŽN", "KRALJEZN", "HRBTEN",
        "ΣΠΟΝΔΥΛ", "RIPPE", "COSTILL", "COSTELA", "ŻEBRA", "ZEBRA", "РЕБР", "РЁБЕР", "КОСТЕЙ",
        "КОСТИ", "STERNA", "STERNO", "STERNU", "ESTERNÓ", "ГРУДИН", "CLAVIC", "KLAVIK",
        "SCHLÜSSELBEIN", "SCHLUESSELBEIN", "КЛЮЧИЦ", "SCAPUL", "SHOULDER", "SCHULTER", "ПЛЕЧ",
        "MAMM", "BREAST", "ESOPHAG", "ESOFAG", "ÖSOPHAG", "KNOCHEN", "KNÖCHERN",
        "椎", "脊", "骨", "肋", "鎖", "锁", "乳", "腰", "食道",
        "척추", "흉추", "늑골", "쇄골", "فقر", "عمود",
    )
)  # fmt: skip


def check_body_part(header: Dataset) -> str | None:
    """Refuse a body part other than the chest; warn where none is given, or more than the chest.

    Body Part Examined (0018,0015) and Anatomic Region Sequence (0008,2218) are both asked: what one
    of them refuses, the other does not save.

    References
    ----------
    DICOM PS3.16 annex L (codes of body parts), CID 4009 (DX anatomy imaged); PS3.3 C.7.6.16.
    """
    part, stated = examined(header)
    region = REGIONS.get(coded_value(header, "AnatomicRegionSequence"), "not stated")
    if part == "other" or (part == "within the chest" and region == "not stated"):
        raise _refusal(BODY_PART, quoted("".join(stated), OTHER_BODY_PARTS))
    if region == "other":
        raise _refusal(REGION, "another region")
    if region == "within the chest" and part == "not stated":
        raise _refusal(REGION, "a part of the chest")
    if "chest and more" in (part, region):
        tag = BODY_PART if part == "chest and more" else REGION
        return f"{tag} names more than the chest; only a chest is read."
    if part == region == "not stated":
        return f"{BODY_PART} states no part; a chest is assumed."
    return None


def _refusal(tag: str, fact: str) -> NotAChest:
    return NotAChest(
        f"{tag} is {fact}; only the chest is read. Send the chest radiograph of this study."
    )


def examined(header: Dataset) -> tuple[Part, list[str]]:
    """Return the part that Body Part Examined names, and the words that say so.

    The first decoding with a known word counts.
    """
    readings = list(stated_words(header, "BodyPartExamined"))
    for stated in readings:
        part = part_of(stated)
        if part is not None:
            return part, stated
    return "other", readings[0]


def part_of(stated: list[str]) -> Part | None:
    """Return the part that words name; None where none of them is known.

    >>> part_of(["CHEST", "PA"]), part_of(["THORACIC", "SPINE"]), part_of(["CHESTABDOMEN"])
    ('chest', 'other', 'chest and more')
    """
    if "".join(stated) in {"", *NOT_STATED}:
        return "not stated"
    if OUTSIDE.intersection(stated) or any(
        stem in word for word in stated for stem in OUTSIDE_STEMS
    ):
        return "other"
    names = [_noun_and_rest(word) for word in stated]
    if any(noun for noun, _ in names) or _phrase(stated):
        more = any(_is_companion(rest) for _, rest in names)
        return "chest and more" if more else "chest"
    if ADJECTIVES.intersection(stated):
        return "chest" if set(stated) <= ADJECTIVES | QUALIFIERS else "other"
    if any(_is_companion(word) for word in stated):
        return "other"
    return "within the chest" if INSIDE.intersection(stated) else None


def _noun_and_rest(word: str) -> tuple[bool, str]:
    """Return whether the word is or holds one for the chest, and what else it holds."""
    if word in NOUNS:
        return True, ""
    if UNSPACED.search(word):
        return True, word
    for noun in GLUED:
        before, found, after = word.partition(noun)
        if found and all(_may_be_glued(rest) for rest in (before, after)):
            return True, before if _is_companion(before) else after
    return bool(UNMISTAKABLE.fullmatch(word)), word


def _may_be_glued(rest: str) -> bool:
    return not rest or rest.isdecimal() or rest in QUALIFIERS or _is_companion(rest)


def _is_companion(word: str) -> bool:
    return bool(COMPANIONS.fullmatch(word) or UNSPACED_COMPANIONS.search(word))


def _phrase(stated: list[str]) -> bool:
    """Whether words that follow each other start as those of a phrase do."""
    return any(
        all(word.startswith(stem) for word, stem in zip(stated[at:], phrase, strict=False))
        for phrase in PHRASES
        for at in range(len(stated) - len(phrase) + 1)
    )
