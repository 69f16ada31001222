"""Fill a folder with images of Nano Banana, or say what that would cost.

design -> prompt -> [nano-banana] -> archive -> dataset
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from filelock import FileLock, Timeout

from training.generate.manifest import check_lock
from training.generate.nanobanana.batch import draw_in_batches
from training.generate.nanobanana.client import Gemini
from training.generate.nanobanana.faults import RetryPolicy
from training.generate.nanobanana.ledger import IMAGE
from training.generate.nanobanana.online import draw_online
from training.generate.nanobanana.session import Session
from training.generate.nanobanana.settings import NanoBananaSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run leaves behind.

    Attributes
    ----------
    manifest
        File of the manifest, which lists complete pairs; None if there is none yet.
    images, wanted
        Images that are there, of those the design asks for.
    refusals
        Refused answers of all runs, by reason.
    spent
        US$ of all runs.
    aside
        Folder of what was delivered and is not in the data set as it came; None where all is.
    reason
        Why the run ended early; empty otherwise.
    """

    manifest: Path | None
    images: int
    wanted: int
    refusals: Counter[str]
    spent: float
    aside: Path | None
    reason: str


def generate(
    folder: Path, *, pairs: int, seed: int, settings: NanoBananaSettings, progress: bool = True
) -> Outcome:
    """Ask for every image that is missing in ``folder``.

    An image that is there is never asked for again. A run that is killed loses at most the answers
    in flight: ``concurrency`` of them, and none of a batch job. They count as paid.

    Parameters
    ----------
    folder
        Made where it does not exist.
    pairs
        Number of pairs, one healthy and one pneumonia image each; it may grow later.
    seed
        Of the design.
    settings
        How to ask.
    progress
        Whether to show a bar with rate, cost and refusals on standard error.

    Raises
    ------
    ServiceFailed
        (An OSError.) If there is no key or no such model, or asking again is pointless.
    ValueError
        If ``folder`` holds another data set, or another run works on it, or templates are wrong.
    """
    plan = settings.plan(pairs, seed)
    check_lock(folder, plan.generation)
    with closing(Gemini(settings)) as gemini, _alone(folder):
        # Before the folder is locked: a wrong model must not be what it is locked to.
        RetryPolicy(settings.retries, settings.backoff, Event()).call(gemini.check_model)
        session = Session(folder, plan, settings, progress=progress)
        try:
            (draw_in_batches if settings.batch else draw_online)(session, gemini)
        finally:
            session.bar.close()
            outcome = _finish(session)
    return outcome


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second run off the folder, which would pay for the same images."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise ValueError(f"another run works on {folder}: wait for its end") from None


def _finish(session: Session) -> Outcome:
    """Write the manifest of what is there, and sum up."""
    requests = session.plan.requests
    manifest = session.archive.write_pairs(requests)
    refusals = session.ledger.outcomes.copy()
    del refusals[IMAGE]
    images = sum(name in session.archive.rows for name in requests)
    given_up = len(requests) - images - sum(map(session.open_for, requests))
    reason, aside = session.reason, session.aside.close()
    if session.brake.pulled():
        reason = f"{session.brake.reason()}, at US$ {session.ledger.wasted:.4f}"
        if aside is not None:
            reason += f"; look at {aside}"
    elif not reason and given_up:
        reason = f"{given_up} requests were refused {session.settings.refusals} times"
    return Outcome(
        manifest=manifest,
        images=images,
        wanted=len(requests),
        refusals=refusals,
        spent=session.ledger.spent,
        aside=aside,
        reason=reason,
    )
