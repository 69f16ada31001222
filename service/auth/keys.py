"""API keys: a file of hashes, read again when it changes, and a command that makes a key.

    python -m service.auth.keys new radiology --file keys.txt --days 365

A line of the file is `name sha256 [last day]`; what follows a # is a comment. A key is 256 random
bits, which nobody guesses: a slow hash as for passwords would protect nothing more and cost every
request its time.
"""

import argparse
import hmac
import logging
import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from service.files import PRIVATE, replace_file, sha256

logger = logging.getLogger("nanocxr")

PREFIX = "cxr_"  # so that scanners of source code find a key that was committed
KEY_BYTES = 32
MOST_DAYS = 36_500  # a century; for longer, name no last day
MAX_FILE_BYTES = 1024 * 1024
LOOK_AGAIN_SECONDS = 1.0
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
DIGEST = re.compile(r"[0-9a-f]{64}")
GONE = (0,)  # stands for a file that somebody has removed


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One line of the file: whose key, its SHA-256, and the last day (UTC) it is valid."""

    name: str
    digest: str
    last_day: date | None

    def is_valid(self) -> bool:
        """Whether it has not expired."""
        return self.last_day is None or datetime.now(UTC).date() <= self.last_day


class KeyFile:
    """The keys that are valid now.

    Parameters
    ----------
    path
        Of the file; it may be replaced at any time.

    Raises
    ------
    ValueError
        If the file cannot be read or has a malformed line. Later such a file is logged, and the
        keys of the last good one stay valid; where it is gone, they stay valid until the next look.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = _stamp(path)
        self._entries = _read(path)
        self._looked = time.monotonic()

    def owner(self, key: str) -> str | None:
        """Whose key this is; None where it is nobody's, or has expired.

        Every entry is compared, in a time that does not depend on where they differ.
        """
        self._refresh()
        digest = hash_of(key)
        owner = None
        for entry in self._entries:
            if hmac.compare_digest(entry.digest, digest) and entry.is_valid():
                owner = entry.name
        return owner

    def _refresh(self) -> None:
        """Read the file again if it is another one than before; look at most once a second."""
        now = time.monotonic()
        if now - self._looked < LOOK_AGAIN_SECONDS:
            return
        self._looked = now
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            if stamp is GONE and self._entries:
                self._entries = ()
                logger.error("No API key is valid any more: the keys file is gone")
            return
        self._stamp = stamp
        if stamp is GONE:  # for a moment, where it is replaced by removing it first
            logger.warning("The keys file is gone; if it does not come back, no key stays valid")
            return
        try:
            self._entries = _read(self._path)
        except ValueError as error:
            logger.error("Old API keys stay valid: %s", error)  # noqa: TRY400  no traceback needed
        else:
            logger.info("Read %d API keys", len(self._entries))


def hash_of(key: str) -> str:
    """SHA-256 in hexadecimal, what the file holds of a key."""
    return sha256(key.encode())


def _stamp(path: Path) -> tuple[int, ...]:
    """What differs where the file is another one; empty where it cannot be looked at."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return GONE
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_ino, status.st_size


def _read(path: Path) -> tuple[KeyEntry, ...]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the keys file {path} cannot be read ({type(error).__name__})") from None
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"the keys file {path} has more than {MAX_FILE_BYTES:,} bytes")
    lines = [line.partition("#")[0].split() for line in text.splitlines()]
    return tuple(_entry(path, number, words) for number, words in enumerate(lines, 1) if words)


def _entry(path: Path, number: int, words: list[str]) -> KeyEntry:
    # The line is not quoted: somebody may have written the key itself.
    malformed = ValueError(f"line {number} of {path} is not `name sha256 [last day]`")
    if len(words) not in (2, 3) or not NAME.fullmatch(words[0]) or not DIGEST.fullmatch(words[1]):
        raise malformed
    try:
        last_day = date.fromisoformat(words[2]) if len(words) == 3 else None
    except ValueError:
        raise malformed from None
    return KeyEntry(words[0], words[1], last_day)


def add_key(path: Path, name: str, days: int | None) -> str:
    """Make a key, add its hash to the file (made where there is none), and return it.

    The file is replaced at once, readable by its owner only; a service never sees half of it.

    Raises
    ------
    ValueError
        If the file is malformed, the name is malformed or taken, or ``days`` is not 1 to 36,500.
    """
    if days is not None and not 1 <= days <= MOST_DAYS:
        raise ValueError(f"a key can be valid for 1 to {MOST_DAYS} days, not {days}")
    entries = _read(path) if path.exists() else ()
    if not NAME.fullmatch(name) or name in {entry.name for entry in entries}:
        raise ValueError(f"{name!r} is taken, or not 1 to 64 letters, digits, '.', '_' and '-'")
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    line = f"{name} {hash_of(key)}"
    if days is not None:
        line += f" {datetime.now(UTC).date() + timedelta(days=days)}"
    text = path.read_text() if path.exists() else "# name, SHA-256 of the key, last day (UTC)\n"
    text += "" if text.endswith("\n") else "\n"
    replace_file(path, f"{text}{line}\n", mode=PRIVATE)
    return key


def main() -> None:
    """Make a key and print it, once: the file holds only its hash."""
    parser = argparse.ArgumentParser(prog="python -m service.auth.keys", description=main.__doc__)
    new = parser.add_subparsers(required=True).add_parser("new", help="make a key")
    new.add_argument("name", help="who gets it; letters, digits, '.', '_' and '-'")
    new.add_argument("--file", type=Path, required=True, help="what CXR_API_KEYS names")
    new.add_argument("--days", type=int, help="1 to 36500 that it is valid [default: for ever]")
    arguments = parser.parse_args()
    try:
        print(add_key(arguments.file, arguments.name, arguments.days))  # noqa: T201
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
