"""Files that are written beside those of others."""

import os
import tempfile
from pathlib import Path


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
