"""Files that are there whole or not at all, and their digests: written once, for everybody."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

READABLE = 0o666  # less what the umask takes away
PRIVATE = 0o600


@contextmanager
def replacing(target: Path, *, mode: int = READABLE) -> Iterator[Path]:
    """Yield an empty file beside ``target`` that takes its place only if all went well.

    Who reads ``target`` meanwhile sees the old file or the new one, never half of one. The name is
    the process's own, so that two that write the same file do not spoil each other's.

    Parameters
    ----------
    mode
        Permissions of the new file, from before its first byte.

    Raises
    ------
    OSError
        If the folder cannot be written to.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)  # left by a killed process of the same number
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def replace_file(target: Path, content: bytes | str, *, mode: int = READABLE) -> None:
    """Write a file, text as UTF-8, that takes the place of ``target`` as in :func:`replacing`."""
    with replacing(target, mode=mode) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_new(target: Path, data: bytes) -> bool:
    """Write a file whole or not at all; leave one that is there as it is.

    Parameters
    ----------
    target
        Its folder exists.
    data
        Content.

    Returns
    -------
    bool
        Whether it was written.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        target.hardlink_to(temporary)  # unlike a rename, fails where there is a file
    except FileExistsError:
        return False
    else:
        return True
    finally:
        temporary.unlink()


def sha256(content: bytes | Path) -> str:
    """SHA-256 in hexadecimal of bytes, or of a file, which is not held in memory."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
