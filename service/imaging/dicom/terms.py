"""Codes of the standard that are accepted, and those that may be quoted in a message.

Any element can carry a patient's text, so a value is quoted only where it is one of these.
"""

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PROJECTION_MODALITIES: Final = frozenset({"CR", "DX", "DR", "RG"})
SECONDARY_CAPTURE_MODALITIES: Final = frozenset({"OT", "SC"})

# PS3.3 C.7.3.1.1.1; the retired DR, SC and RT-like codes that archives still hold.
MODALITIES: Final = (
    PROJECTION_MODALITIES
    | SECONDARY_CAPTURE_MODALITIES
    | _words(
        "AR ASMT AU BDUS BI BMD CD CS CT CTPROTOCOL DD DF DG DOC ECG EPS ES FA FID FS GM HC HD IO "
        "IOL IVOCT IVUS KER KO LEN LP LS MA MG MR MS NM OAM OCT OP OPM OPR OPT OPTBSV OPTENF OPV "
        "OSS PLAN PR PT PX REG RESP RF RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN "
        "RTSTRUCT RWV SEG SM SMR SR SRF ST STAIN TEXTUREMAP TG US VA VF XA XC"
    )
)

# PS3.16 annex L, table L-1 and its common spellings.
OTHER_BODY_PARTS: Final = _words(
    "ABDOMEN ABDOMENPELVIS ADRENAL ANKLE AORTA ARM AXILLA BACK BLADDER BRAIN BREAST BRONCHUS "
    "BUTTOCK CALCANEUS CALF CAROTID CEREBELLUM CERVIX CHEEK CLAVICLE COCCYX COLON CORNEA "
    "CSPINE CTSPINE DUODENUM EAR ELBOW ESOPHAGUS EXTREMITY EYE EYELID FACE FEMUR FINGER FOOT "
    "FOREARM GALLBLADDER HAND HEAD HEADNECK HEART HIP HUMERUS ILEUM ILIUM JAW JEJUNUM KIDNEY KNEE "
    "LARYNX LEG LIVER LLSPINE LOWERLEG LSPINE LSSPINE MAXILLA MEDIASTINUM MOUTH NECK NOSE ORBIT "
    "OVARY PANCREAS PAROTID PATELLA PELVIS PENIS PHANTOM PHARYNX PROSTATE RECTUM RIB RIBS "
    "SACRUM SCALP SCAPULA SCLERA SCROTUM SHOULDER SIJOINT SKULL SPINE SPLEEN SSPINE STERNUM "
    "STOMACH TESTIS THIGH THUMB THYMUS THYROID TIBIA TLSPINE TMJ TOE TONGUE TRACHEA TSPINE "
    "UMBILICUS URETER URETHRA UTERUS VAGINA VULVA WHOLEBODY WRIST ZYGOMA"
)

# PS3.3 C.8.7.1 (CR) and C.8.11.5 (DX), with the spellings that vendors write.
OTHER_VIEWS: Final = _words(
    "LL RL RLD LLD RLO LLO LAT LATERAL LLAT RLAT LATERALLEFT LATERALRIGHT LEFTLATERAL "
    "RIGHTLATERAL OBL OBLIQUE LAO RAO LPO RPO DECUB DECUBITUS LORDOTIC AXIAL TANGENTIAL"
)


def compact(value: str) -> str:
    """Reduce a code to its letters and digits, so that ``"WHOLE BODY"`` equals ``"WHOLEBODY"``."""
    return "".join(character for character in value.upper() if character.isalnum())


def quoted(value: str, defined: frozenset[str]) -> str:
    """Return the value in quotes where it is a defined code, else say that it is none."""
    return f"'{compact(value)}'" if compact(value) in defined else "not a defined term"
