"""Files that a cut of the power leaves whole, and the right to work on them."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.settings import SettingError


class SpoolError(SettingError):
    """One sentence: why the folder cannot be used."""


def write_durably(path: Path, content: bytes, temporary: Path) -> None:
    """Write a file that is there as a whole, or not at all, whatever happens meanwhile."""
    write_whole(path, content, temporary)
    sync_folder(path.parent)


def write_whole(path: Path, content: bytes, temporary: Path) -> None:
    """Do so but for its name, which is on the disk once the folder is brought there.

    Parameters
    ----------
    temporary
        Folder on the same disk for the unfinished file.

    Raises
    ------
    OSError
        If it cannot be written; nothing is left.
    """
    unfinished = temporary / f"{path.parent.name}-{path.stem}-{threading.get_ident()}-{os.getpid()}"
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Bring the names of a folder's files to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_folder(folder: Path) -> None:
    """Remove a folder of files, if it is there."""
    for path in folder.glob("*"):
        path.unlink(missing_ok=True)
    if folder.exists():
        folder.rmdir()


@contextmanager
def only_one(file: Path, *, wait: bool) -> Iterator[None]:
    """Hold the only right to something in the spool, until the end or the process's death.

    Raises
    ------
    SpoolError
        If another process holds it, and ``wait`` is false.
    """
    with file.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SpoolError(f"another node works in {file.parent}; stop it first") from error
        yield
