"""Every attempt that was answered, in ``attempts.jsonl``: what was paid, and what was refused."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from training.generate.manifest import append_line, read_lines
from training.generate.nanobanana.faults import Stopped

LEDGER = "attempts.jsonl"
IMAGE = "image"


class Ledger:
    """Costs and refusals of a folder over all its runs.

    Parameters
    ----------
    folder
        The data set's folder.
    price
        US$ for an image in this run; unknown counts as 0.
    limit
        US$ that may be spent on the folder, None for no limit.
    """

    def __init__(self, folder: Path, price: float, limit: float | None) -> None:
        self._path = folder / LEDGER
        self._price, self._limit = price, limit
        self._lock = Lock()
        self._reserved = 0
        self.spent = 0.0
        self.outcomes: Counter[str] = Counter()
        self._refusals: Counter[str] = Counter()
        self._answered: set[tuple[str, str, int]] = set()
        for entry in read_lines(self._path):
            self._count(entry)

    def affordable(self) -> int | None:
        """Images that the limit still allows beside those asked for, None without a limit."""
        if self._limit is None or self._price == 0:
            return None
        # A thousandth of an image, so that 3 images at 0.1 fit into 0.3.
        left = (self._limit - self.spent) / self._price - self._reserved
        return max(int(left + 1e-3), 0)

    def exhausted(self) -> str:
        """Say that the budget ends the run."""
        return f"US$ {self.spent:.4f} of --max-cost {self._limit} are spent"

    def reserve(self) -> None:
        """Set the price of one image aside; raises :class:`Stopped` where it is not to be had."""
        with self._lock:
            if self.affordable() == 0:
                raise Stopped(self.exhausted())
            self._reserved += 1

    def release(self) -> None:
        """Give a reservation back, whatever became of it."""
        with self._lock:
            self._reserved -= 1

    def refusals(self, request: str) -> int:
        """How often this request was refused, in all runs."""
        return self._refusals[request]

    def knows(self, job: str, request: str, wording: int) -> bool:
        """Whether this answer of a batch job was entered before."""
        return (job, request, wording) in self._answered

    def enter(
        self, request: str, wording: int, outcome: str, *, paid: bool, mode: str, job: str = ""
    ) -> None:
        """Append one answered attempt; ``outcome`` is ``image`` or the reason of the refusal."""
        entry = {
            "request": request,
            "wording": wording,
            "outcome": outcome,
            "cost": self._price if paid else 0.0,
            "mode": mode,
            "job": job,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with self._lock:
            append_line(self._path, entry)
            self._count(entry)

    def _count(self, entry: dict[str, Any]) -> None:
        self.spent += entry["cost"]
        self.outcomes[entry["outcome"]] += 1
        self._refusals[entry["request"]] += entry["outcome"] != IMAGE
        if entry["job"]:
            self._answered.add((entry["job"], entry["request"], entry["wording"]))
