"""How much one request may bring: bytes of a file, files, bytes of all uploads together.

upload -> [limits] -> memory
"""

from dataclasses import dataclass

from service.errors import ServiceBusy, TooManyBytes
from service.memory import Lease

FRAMING_BYTES = 8192  # boundaries and part headers, for each file

File = bytes | TooManyBytes


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """Bounds on one request: bytes of one file, number of files."""

    file_bytes: int
    files: int

    @property
    def form_bytes(self) -> int:
        """The longest form that can be within the limits."""
        return self.files * (self.file_bytes + FRAMING_BYTES)


def check_length(length: int, most: float) -> None:
    """Raise TooManyBytes for a body that is longer than the limits, or the memory, allow."""
    if length > most:
        raise TooManyBytes(
            f"The body has more than {most:,.0f} bytes. Send smaller or fewer images at once."
        )


def hold(lease: Lease, size: int) -> None:
    """Account for the bytes of a body that are held; raise ServiceBusy where others hold them."""
    if not lease.take(size, seconds=0):
        raise ServiceBusy("Too many bytes of uploads at once. Send the request again later.")
