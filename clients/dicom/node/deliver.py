"""Results go out: C-STORE, in one association a film.

The bytes are those of the outbox, each time. A report is sent as Comprehensive 3D SR, or as the
next simpler class that the archive takes.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.dsutils import split_dataset
from pynetdicom.presentation import build_context

from clients.dicom.node.associate import Later, NotTaken, Peer, associated, status_of
from clients.dicom.node.classes import REPORTS
from clients.dicom.node.config import Tls
from clients.dicom.node.disk import write_durably
from clients.dicom.objects.common import encoded
from clients.dicom.objects.uids import derived_uid

Form = tuple[UID, UID]  # SOP class, transfer syntax

# PS3.4 B.2.3: stored, with elements coerced, discarded or not of the class. PS3.7 C.5.6: the
# archive has this instance already, and it is the same: the UID follows from the content.
STORED = frozenset((0x0000, 0xB000, 0xB006, 0xB007, 0x0111))
CLASS_NOT_SUPPORTED = 0x0122
# Processing failure and out of resources pass; what else is refused is refused again.
PASSING = frozenset((0x0110, *range(0xA700, 0xA800)))


def store(archive: Peer, tls: Tls | None, own_title: str, files: Sequence[Path]) -> None:
    """Send all results of one film by C-STORE.

    Parameters
    ----------
    archive
        Its AE title, address and port.
    own_title
        AE title to call by.
    files
        In the order in which they are sent: a report comes after what it refers to.

    Raises
    ------
    Later
        If the archive cannot be reached, or has no room.
    NotTaken
        If it refuses one of them for good; it has got the others.
    """
    classes = {path: _class_of(path) for path in files}
    refused: list[str] = []
    forms = sorted({form for one in classes.values() for form in _forms(*one)})
    contexts = [build_context(*form) for form in forms]
    with associated(archive, tls, own_title, contexts) as association:
        for path, sop_class in classes.items():
            code = _store_one(association, path, sop_class)
            if code:
                refused.append(code)
    if refused:
        raise NotTaken(refused[0])


def _class_of(path: Path) -> Form:
    """SOP class and transfer syntax of a file."""
    meta, _ = split_dataset(path)
    return UID(meta.MediaStorageSOPClassUID), UID(meta.TransferSyntaxUID)


def _forms(sop_class: UID, syntax: UID) -> list[Form]:
    """Classes that an object can be sent as."""
    return [(one, syntax) for one in (REPORTS if sop_class in REPORTS else (sop_class,))]


def _store_one(association: Association, path: Path, form: Form) -> str:
    """Send one file; return why it is refused for good, or nothing."""
    taken = {(one.abstract_syntax, one.transfer_syntax[0]) for one in association.accepted_contexts}
    for sop_class, syntax in _forms(*form):
        if (sop_class, syntax) not in taken:
            continue
        sent = path if sop_class == form[0] else _as_class(path, sop_class)
        status = status_of(partial(association.send_c_store, sent))
        if status in STORED:
            return ""
        if status in PASSING:
            raise Later(f"status_{status:04x}")
        if status != CLASS_NOT_SUPPORTED:
            return f"status_{status:04x}"
    return "class_refused"


def _as_class(path: Path, sop_class: UID) -> Path:
    """Return the same report as an object of another class, made once.

    It is another object, so it has another UID; nothing refers to a report.
    """
    made = path.with_name(f"as-{sop_class}-{path.name}")
    if not made.exists():
        report = dcmread(path)
        report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = sop_class
        uid = UID(derived_uid("instance as", report.SOPInstanceUID, sop_class))
        report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = uid
        write_durably(made, encoded(report), path.parent)
    return made
