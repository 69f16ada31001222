"""UIDs that follow from what an object is about and what it holds.

The same film, model and content give the same UID, so that a result that is made again is known
again. Other content gives another one: archives answer success to a different object under a UID
that they know, and keep the old one.
"""

import hashlib

from clients.dicom.marks import UID_ROOT

SEPARATOR = "\x1f"
TRACKING = "tracking"
DEVICE = "device"


def derived_uid(*parts: str) -> str:
    """Derive a UID from texts; different texts give different UIDs.

    References
    ----------
    DICOM PS3.5 B.2; RFC 9562 5.8 (UUID version 8: the bits are the application's own).
    """
    digest = bytearray(hashlib.sha256(SEPARATOR.join(parts).encode()).digest()[:16])
    digest[6] = (digest[6] & 0x0F) | 0x80
    digest[8] = (digest[8] & 0x3F) | 0x80
    return UID_ROOT + str(int.from_bytes(digest, "big"))
