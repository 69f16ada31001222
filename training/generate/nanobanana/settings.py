"""How Nano Banana is asked, and what it costs."""

import re
from dataclasses import dataclass
from pathlib import Path

from training.generate.plan import Plan
from training.generate.prompt import FOLDER

DEFAULT_MODEL = "gemini-nano-banana-2.1"  # generally available since 2026-10-06
# US$ for one image of 1K; check them against your own bill.
PRICES_SOURCE = "LiteLLM's copy of Google's list, read in November 2026"
PRICES = {
    "gemini-nano-banana-2.1": 0.0336,
    "gemini-3.1-flash-image": 0.067,
    "gemini-2.5-flash-image": 0.039,
}
BATCH_SHARE = 0.5  # of the price, by Google's page on the Batch API


@dataclass(frozen=True, slots=True, kw_only=True)
class NanoBananaSettings:
    """Everything but the design and the key, which comes from the environment alone.

    Attributes
    ----------
    model
        Model id; it must be in the service's list of models.
    vertex
        Ask Vertex AI instead of the Gemini API.
    templates
        TOML file of prompts.
    aspect_ratio, image_size
        As in the service's ImageConfig; None leaves the size to the model (1K).
    concurrency
        Requests in flight.
    batch
        Use the Batch API, at half the price and within a day.
    job
        Name of a batch job to collect first, in case its record in the folder was lost.
    max_images, max_cost
        Bounds on images and US$ of the whole folder, whatever the number of runs.
    price
        US$ for an image asked online; None takes it from ``PRICES``.
    max_unusable
        Answers of no use, among the last four times as many, that end a run.
    refusals
        How often one request may be refused, each time asked in another wording.
    retries
        How often an attempt is repeated after a fault that passes.
    backoff, timeout, poll
        Seconds: first pause after a fault, longest wait for a whole answer, between two looks at a
        job.
    """

    model: str = DEFAULT_MODEL
    vertex: bool = False
    templates: Path = FOLDER / "gemini.toml"
    aspect_ratio: str = "1:1"
    image_size: str | None = None
    concurrency: int = 4
    batch: bool = False
    job: str | None = None
    max_images: int | None = None
    max_cost: float | None = None
    price: float | None = None
    max_unusable: int = 10
    refusals: int = 4
    retries: int = 8
    backoff: float = 1.0
    timeout: float = 180.0
    poll: float = 30.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", self.aspect_ratio):
            raise ValueError(
                f"--aspect-ratio is {self.aspect_ratio!r}; it is width by height, as 4:5"
            )
        if self.vertex and self.batch:
            raise ValueError(
                "Vertex AI reads batches from a bucket, which is not supported. "
                "Leave out --batch or --vertex."
            )
        if self.job is not None and not self.batch:
            raise ValueError("--job names a batch job: give --batch too")
        if self.max_cost is not None and self.cost is None:
            raise ValueError(f"the price of {self.model} is not known: give --price too")

    @property
    def aspect(self) -> float:
        """Width by height of the images."""
        width, _, height = self.aspect_ratio.partition(":")
        return int(width) / int(height)

    def plan(self, pairs: int, seed: int) -> Plan:
        """Every request of the data set."""
        return Plan.draw(
            pairs,
            seed,
            self.templates,
            generator="nano-banana",
            model=self.model,
            aspect_ratio=self.aspect_ratio,
            image_size=self.image_size,
        )

    @property
    def cost(self) -> float | None:
        """US$ for one image in this mode, None where it is not known."""
        known = PRICES.get(self.model) if self.image_size in (None, "1K") else None
        price = known if self.price is None else self.price
        return price * BATCH_SHARE if price is not None and self.batch else price

    @property
    def mode(self) -> str:
        """Name of the way of asking, recorded with every image."""
        service = "vertex" if self.vertex else "gemini"
        return f"{service} batch" if self.batch else service
