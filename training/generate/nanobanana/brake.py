"""Ends a run whose answers are of no use, before they cost much.

The run ends once N of the last 4 N answers were of no use: N in a row, or a quarter of all. Several
requests at once must not outrun that. So the worst is expected of those that are under way, and the
next one waits for them where they could be too many.
"""

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Event

from training.generate.nanobanana.faults import Refused, Stopped, Transient

WINDOW = 4  # times the number of useless answers that end the run


class Brake:
    """What the answers of one run were good for; shared by its threads.

    Parameters
    ----------
    most
        Useless answers among the last ``WINDOW * most`` that end the run.
    stop
        Set where the run is to end.

    Attributes
    ----------
    kept
        Usable images of this run.
    """

    def __init__(self, most: int, stop: Event) -> None:
        self._most, self._stop = most, stop
        self._useless: deque[bool] = deque(maxlen=WINDOW * most)
        self._reasons: Counter[str] = Counter()
        self._under_way = 0
        self._changed = Condition()
        self.kept = 0

    def room(self) -> int:
        """How many requests more may be under way; none where the run is to end."""
        expected = self._under_way
        while self._after(expected) < self._most:
            expected += 1
        return expected - self._under_way

    def pulled(self) -> bool:
        """Whether the run is to end, whatever comes of the requests under way."""
        return self._after(0) >= self._most

    def reason(self) -> str:
        """Say that, and why, the run ends."""
        answers = len(self._useless)
        said = ", ".join(f"{count} {reason}" for reason, count in self._reasons.most_common())
        return (
            f"--max-unusable {self._most}: {sum(self._useless)} of the last {answers} answers were "
            f"of no use ({said} in this run)"
        )

    def book(self, fault: Refused | Transient | None) -> None:
        """Count one answer; None is a usable image, and an error of the service is no answer."""
        if isinstance(fault, Transient) and not fault.accepted:
            return
        self._useless.append(fault is not None)
        if fault is None:
            self.kept += 1
        else:
            self._reasons[fault.reason] += 1

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Let one request be under way, as soon as there is room, and count how it ends.

        Raises
        ------
        Stopped
            If the run is to end.
        """
        self._enter()
        fault: Refused | Transient | None = None
        answered = False
        try:
            yield
            answered = True
        except (Refused, Transient) as error:
            fault, answered = error, True
            raise
        finally:
            with self._changed:
                self._under_way -= 1
                if answered:
                    self.book(fault)
                self._changed.notify_all()

    def _enter(self) -> None:
        with self._changed:
            while not self.room() and not self.pulled():
                self._changed.wait()
            if self._stop.is_set():
                raise Stopped("interrupted")
            if not self.room():
                raise Stopped(self.reason())
            self._under_way += 1

    def _after(self, useless: int) -> int:
        """Useless answers in the window after so many more."""
        kept = max(WINDOW * self._most - useless, 0)
        return sum(list(self._useless)[-kept:] if kept else []) + useless
