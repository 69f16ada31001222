"""Every attempt that costs something or was answered, in ``attempts.jsonl``; what is under way.

::

    <folder>/attempts.jsonl    what came of each attempt, and what it cost
    <folder>/asked.jsonl       two lines an attempt: before it is sent, and when it has ended

The second file is for the run after one that was killed. Of what was under way nothing else is
known, so it is taken as paid.
"""

from collections import Counter
from collections.abc import Container, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

from training.generate.delivered import UNDECODABLE
from training.generate.manifest import append_line, read_lines
from training.generate.nanobanana.faults import Refused, ServiceFailed, Stopped, Transient, Unusable

LEDGER = "attempts.jsonl"
ASKED = "asked.jsonl"
IMAGE = "image"
KILLED = "under way when a run was killed"
# What an attempt came to, beside an image.
REFUSED, UNUSABLE, NO_ANSWER = "refused", "unusable", "no answer"


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
    mode
        Name of the way of asking, for the records.
    images
        Requests whose images are there.

    Attributes
    ----------
    spent
        US$ of all runs; what may have been billed counts.
    wasted
        US$ of this run that brought no image.
    outcomes
        Attempts of all runs: ``image``, or why there is none.
    """

    def __init__(
        self, folder: Path, price: float, limit: float | None, mode: str, images: Container[str]
    ) -> None:
        self._path, self._asked = folder / LEDGER, folder / ASKED
        self._price, self._limit, self._mode = price, limit, mode
        self._lock = Lock()
        self._reserved = 0
        self.spent = self.wasted = 0.0
        self.outcomes: Counter[str] = Counter()
        self._refusals: Counter[str] = Counter()
        self._rewordings: Counter[str] = Counter()
        self._answered: set[tuple[str, str, int]] = set()
        entries = read_lines(self._path)
        for entry in entries:
            self._count(entry)
        self._account_for_killed(entries, images)

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

    @contextmanager
    def attempt(self, request: str, wording: int) -> Iterator[str]:
        """Set the price of an image aside, note what is asked, and yield a name for the attempt.

        Raises
        ------
        Stopped
            If the price is not to be had.
        """
        attempt = uuid4().hex[:16]
        note = {"attempt": attempt, "request": request, "wording": wording, "cost": self._price}
        with self._lock:
            if self.affordable() == 0:
                raise Stopped(self.exhausted())
            append_line(self._asked, note | {"mode": self._mode})
            self._reserved += 1
        try:
            yield attempt
        except (Refused, ServiceFailed):
            self._end(attempt)
            raise
        else:
            self._end(attempt)
        finally:  # after any other error the next run takes it as paid
            with self._lock:
                self._reserved -= 1

    def _end(self, attempt: str) -> None:
        with self._lock:
            append_line(self._asked, {"attempt": attempt})

    def refusals(self, request: str) -> int:
        """How often this request was refused in all runs, or got a useless answer in this one."""
        return self._refusals[request]

    def rewordings(self, request: str) -> int:
        """How many answers to this request, in all runs, ask for another wording."""
        return self._rewordings[request]

    def knows(self, job: str, request: str, wording: int) -> bool:
        """Whether this answer of a batch job was entered before."""
        return (job, request, wording) in self._answered

    def enter(
        self, request: str, wording: int, fault: Refused | Transient | None, **names: str
    ) -> None:
        """Append one attempt.

        Parameters
        ----------
        fault
            Why there is no image; None where there is one.
        names
            ``attempt``; ``job`` of a batch; ``file`` that was kept aside.
        """
        entry: dict[str, Any] = {
            "request": request,
            "wording": wording,
            "outcome": IMAGE if fault is None else fault.reason,
            "verdict": _verdict(fault),
            "cost": self._price if fault is None or fault.paid else 0.0,
            "mode": self._mode,
            "job": "",
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with self._lock:
            append_line(self._path, entry | names)
            self._count(entry | names)
            self._refusals[request] += entry["verdict"] == UNUSABLE
            self.wasted += entry["cost"] if fault is not None else 0.0

    def _count(self, entry: dict[str, Any]) -> None:
        # Folders of earlier versions: what could not be decoded was booked like a refusal.
        old = {IMAGE: IMAGE, UNDECODABLE: UNUSABLE}.get(entry["outcome"], REFUSED)
        verdict = entry.get("verdict", old)
        self.spent += entry["cost"]
        self.outcomes[entry["outcome"]] += 1
        self._refusals[entry["request"]] += verdict == REFUSED
        self._rewordings[entry["request"]] += verdict in (REFUSED, UNUSABLE)
        if entry["job"]:
            self._answered.add((entry["job"], entry["request"], entry["wording"]))

    def _account_for_killed(self, entries: list[dict[str, Any]], images: Container[str]) -> None:
        """Enter the attempts that were under way when a run was killed."""
        under_way: dict[str, dict[str, Any]] = {}
        for line in read_lines(self._asked):
            if "request" in line:
                under_way[line["attempt"]] = line
            else:
                under_way.pop(line["attempt"], None)
        entered = {entry.get("attempt") for entry in entries}
        drawn = {entry["request"] for entry in entries if entry["outcome"] == IMAGE}
        for attempt, line in under_way.items():
            if attempt in entered:
                continue
            kept = line["request"] in images and line["request"] not in drawn
            entry = line | {
                "outcome": IMAGE if kept else KILLED,
                "verdict": IMAGE if kept else NO_ANSWER,
                "job": "",
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            append_line(self._path, entry)
            self._count(entry)
        self._asked.unlink(missing_ok=True)


def _verdict(fault: Refused | Transient | None) -> str:
    match fault:
        case None:
            return IMAGE
        case Transient():
            return NO_ANSWER
        case Unusable():
            return UNUSABLE
    return REFUSED
