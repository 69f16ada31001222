"""One run of Nano Banana on one folder: what is missing, what became of it, and how it goes on."""

from pathlib import Path
from threading import Event, Lock
from typing import Any

from tqdm import tqdm

from service.files import sha256
from service.imaging.decode import Limits, decode
from training.generate.alike import alike
from training.generate.archive import Archive
from training.generate.delivered import Taken, UnfitImage, grey, take
from training.generate.nanobanana.aside import Aside
from training.generate.nanobanana.brake import Brake
from training.generate.nanobanana.client import Drawing
from training.generate.nanobanana.faults import Refused, RetryPolicy, Transient, Unusable
from training.generate.nanobanana.ledger import IMAGE, Ledger
from training.generate.nanobanana.settings import NanoBananaSettings
from training.generate.plan import Plan


class Session:
    """What the threads of a run share; it locks the folder to the plan and shows what is there."""

    def __init__(
        self, folder: Path, plan: Plan, settings: NanoBananaSettings, *, progress: bool
    ) -> None:
        self.plan, self.settings = plan, settings
        self.partners = plan.partners()
        self.archive = Archive(folder, plan.generation)
        have, price = self.archive.rows, settings.cost or 0.0
        self.ledger = Ledger(folder, price, settings.max_cost, settings.mode, have)
        self.bar: Any = tqdm(
            total=len(plan.requests), initial=len(have), unit="image", disable=not progress
        )
        self.aside = Aside(folder)
        self.stop = Event()
        self.retry = RetryPolicy(settings.retries, settings.backoff, self.stop)
        self.brake = Brake(settings.max_unusable, self.stop)
        self.reason = ""  # why the run ended early
        self._judging = Lock()  # halves are compared, large images decoded

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
        """Write an image with its record; raises :class:`Unusable` for one that is not fit."""
        for other in drawing.others:
            self.aside.keep(name, other)
        facts = self.plan.facts(name, wording) | {
            "model": self.settings.model,
            "model_version": drawing.model_version,
            "mode": self.settings.mode,
        }
        with self._judging:
            try:
                taken = take(drawing.content, aspect=self.settings.aspect)
                self._check_new(name, taken)
            except UnfitImage as unfit:
                raise Unusable(unfit.reason, drawing.content) from None
            facts["delivered"] = ""
            if taken.content != drawing.content:
                facts["delivered"] = self.aside.keep(name, drawing.content)
            self.archive.save(name, taken.content, facts)

    def settle(
        self, name: str, wording: int, fault: Refused | Transient | None, **names: str
    ) -> None:
        """Enter what came of one attempt in the ledger, keep what is of no use, and show it.

        ``names`` are those of :meth:`Ledger.enter`. An error of the service is no answer.
        """
        if isinstance(fault, Transient) and not fault.accepted:
            return
        if isinstance(fault, Unusable) and fault.content:
            names["file"] = self.aside.keep(name, fault.content)
        self.ledger.enter(name, wording, fault, **names)
        refused = self.ledger.outcomes.total() - self.ledger.outcomes[IMAGE]
        self.bar.set_postfix_str(
            f"US$ {self.ledger.spent:.2f}, {refused} refused, {self.retry.faults} faults",
            refresh=False,
        )
        self.bar.update(len(self.archive.rows) - self.bar.n)

    def _check_new(self, name: str, taken: Taken) -> None:
        """Refuse an image that the folder has, or the picture that the pair's other half has."""
        digest = sha256(taken.content)
        if any(row["sha256"] == digest for row in self.archive.rows.values()):
            raise UnfitImage("delivered before")
        row = self.archive.rows.get(self.partners[name])
        if row is not None:
            content = (self.archive.folder / str(row["path"])).read_bytes()
            if alike(grey(decode(content, Limits()).pixels), taken.pixels):
                raise UnfitImage("the same picture as its pair's other half")
