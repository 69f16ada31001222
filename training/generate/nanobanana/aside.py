"""What was paid for and is not in the data set as it came, in a folder beside it."""

from contextlib import suppress
from pathlib import Path

from service.files import replace_file, sha256

_SUFFIXES = {
    b"\x89PNG": "png",
    b"\xff\xd8\xff": "jpg",
    b"GIF8": "gif",
    b"RIFF": "webp",
}


class Aside:
    """The folder ``<data set>-delivered``.

    It is made before anything is paid: what is delivered can be written then.

    Parameters
    ----------
    folder
        The data set's.
    """

    def __init__(self, folder: Path) -> None:
        whole = folder.resolve()
        self.folder = whole.with_name(f"{whole.name}-delivered")
        self.folder.mkdir(exist_ok=True)

    def keep(self, request: str, content: bytes) -> str:
        """Write what was delivered for a request, and return the name of the file."""
        suffix = next((s for head, s in _SUFFIXES.items() if content.startswith(head)), "bin")
        name = f"{request}-{sha256(content)[:12]}.{suffix}"
        replace_file(self.folder / name, content)
        return name

    def keep_file(self, path: Path, name: str) -> None:
        """Move a file here."""
        path.replace(self.folder / name)

    def close(self) -> Path | None:
        """Take the folder away if it is empty; else return it."""
        with suppress(OSError):  # it is not empty
            self.folder.rmdir()
        return self.folder if self.folder.exists() else None
