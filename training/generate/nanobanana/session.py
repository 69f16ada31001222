"""One run of Nano Banana on one folder: what is missing, what became of it, and how it goes on."""

from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from tqdm import tqdm

from service.errors import ReadingError
from training.generate.archive import Archive
from training.generate.nanobanana.client import Drawing
from training.generate.nanobanana.faults import Refused, RetryPolicy
from training.generate.nanobanana.ledger import IMAGE, Ledger
from training.generate.nanobanana.settings import NanoBananaSettings
from training.generate.plan import Plan


@dataclass(slots=True)
class Session:
    """What the threads of a run share."""

    plan: Plan
    settings: NanoBananaSettings
    archive: Archive
    ledger: Ledger
    bar: Any
    stop: Event = field(default_factory=Event)
    retry: RetryPolicy = field(init=False)
    reason: str = ""  # why the run ended early

    def __post_init__(self) -> None:
        settings = self.settings
        self.retry = RetryPolicy(settings.retries, settings.backoff, self.stop)

    @classmethod
    def open(
        cls, folder: Path, plan: Plan, settings: NanoBananaSettings, *, progress: bool
    ) -> "Session":
        """Lock the folder to the plan and show what is there."""
        archive = Archive(folder, plan.generation)
        ledger = Ledger(folder, settings.cost or 0.0, settings.max_cost)
        bar = tqdm(
            total=len(plan.requests), initial=len(archive.rows), unit="image", disable=not progress
        )
        return cls(plan, settings, archive, ledger, bar)

    def missing(self) -> list[str]:
        """Requests to be asked for now, in order; sets ``reason`` where a bound cuts them."""
        names = [name for name in self.plan.requests if self.open_for(name)]
        if self.settings.max_images is not None:
            left = max(self.settings.max_images - len(self.archive.rows), 0)
            if left < len(names):
                self.reason = f"--max-images {self.settings.max_images} reached"
            names = names[:left]
        return names

    def open_for(self, name: str) -> bool:
        """Whether the image is not there yet and was not refused too often."""
        refused = self.ledger.refusals(name)
        return name not in self.archive.rows and refused < self.settings.refusals

    def keep(self, name: str, wording: int, drawing: Drawing) -> None:
        """Write an image with its record; raises :class:`Refused` if it cannot be decoded."""
        facts = self.plan.facts(name, wording) | {
            "model": self.settings.model,
            "model_version": drawing.model_version,
            "mode": self.settings.mode,
        }
        try:
            self.archive.save(name, drawing.content, facts)
        except ReadingError:
            raise Refused("undecodable image", paid=True) from None

    def settle(self, name: str, wording: int, refusal: Refused | None, job: str = "") -> None:
        """Enter one answer in the ledger and show it."""
        outcome = IMAGE if refusal is None else refusal.reason
        paid = refusal is None or refusal.paid
        self.ledger.enter(name, wording, outcome, paid=paid, mode=self.settings.mode, job=job)
        refused = self.ledger.outcomes.total() - self.ledger.outcomes[IMAGE]
        self.bar.set_postfix_str(
            f"US$ {self.ledger.spent:.2f}, {refused} refused, {self.retry.faults} faults",
            refresh=False,
        )
        self.bar.update(len(self.archive.rows) - self.bar.n)
