"""Ask for images by the Batch API: submit, poll, collect, at half the price and within a day.

::

    <folder>/jobs.jsonl      what became of every job; a later run goes on from there
    <folder>/results.jsonl   the results of the job that is being collected, then deleted

What comes back is judged before much more is paid: a job has as many requests as the run has kept
images, and ``max_unusable`` at first.

A job is noted before it is submitted, under a title of our own: where a run is killed before it
learns the job's name, the next one finds the job by that title instead of paying for another.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from training.generate.manifest import append_line, read_lines
from training.generate.nanobanana.client import Drawing, Gemini, Job, read_results
from training.generate.nanobanana.faults import Refused, ServiceFailed, Transient
from training.generate.nanobanana.session import Session

JOBS = "jobs.jsonl"
RESULTS = "results.jsonl"
# Results are files of up to 2 GB, and an image of 1K has about 2 MB.
JOB_SIZE = 500
# Rounds without any new answer, before the service is taken to be unable.
IDLE_ROUNDS = 3


class Jobs:
    """The folder's jobs that are not collected yet, in ``jobs.jsonl``."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOBS
        self._open: dict[str, str] = {}  # name by title; empty where it is not known
        for event in read_lines(self._path):
            self._apply(event)

    def waiting(self) -> dict[str, str]:
        """Name by title of every job to be collected; the name may be missing."""
        return dict(self._open)

    def note(self, title: str, event: str, name: str = "") -> None:
        """Append ``submitting``, ``submitted``, ``collected`` or ``lost``."""
        entry = {"title": title, "event": event, "name": name}
        append_line(self._path, entry)
        self._apply(entry)

    def _apply(self, entry: dict[str, Any]) -> None:
        if entry["event"] in ("collected", "lost"):
            self._open.pop(entry["title"], None)
        else:
            self._open[entry["title"]] = entry["name"]


def draw_in_batches(session: Session, gemini: Gemini) -> None:
    """Collect the jobs that wait, then submit what is missing, until nothing is.

    What was refused is asked again in another wording by the next job; what failed, in the same.

    Raises
    ------
    ServiceFailed
        If asking again is pointless, or several rounds bring no answer.
    ValueError
        If a job answers requests that are not of this design.
    """
    jobs = Jobs(session.archive.folder)
    adopted = session.settings.job
    if adopted is not None and adopted not in jobs.waiting().values():
        jobs.note(adopted, "submitted", adopted)
    idle = 0
    while True:
        had_jobs = bool(jobs.waiting())
        answers = sum(_collect_waiting(session, gemini, jobs))
        idle = idle + 1 if had_jobs and not answers else 0
        names = _affordable(session)
        if session.brake.pulled():
            session.reason = session.brake.reason()
            return
        names = names[: max(session.brake.room(), session.brake.kept)]
        if not names:
            return
        if idle == IDLE_ROUNDS:
            raise ServiceFailed(f"{idle} rounds of batch jobs in a row brought no answer")
        for first in range(0, len(names), JOB_SIZE):
            _submit(session, gemini, jobs, names[first : first + JOB_SIZE])


def _affordable(session: Session) -> list[str]:
    """As many of the missing requests as the budget allows."""
    names, allowed = session.missing(), session.ledger.affordable()
    if allowed is None or allowed >= len(names):
        return names
    session.reason = session.ledger.exhausted()
    return names[:allowed]


def _submit(session: Session, gemini: Gemini, jobs: Jobs, names: list[str]) -> None:
    """Start one job; its keys hold request and wording."""
    prompts = {}
    for name in names:
        wording, prompt = session.plan.prompt(name, session.ledger.rewordings(name))
        prompts[f"{name}:{wording}"] = prompt
    title = f"nanocxr-{uuid4().hex[:16]}"
    jobs.note(title, "submitting")
    # Where the answer to a submission was lost, the job is there all the same.
    job = session.retry.call(lambda: gemini.find_job(title) or gemini.submit(title, prompts))
    jobs.note(title, "submitted", job.name)


def _collect_waiting(session: Session, gemini: Gemini, jobs: Jobs) -> Iterator[int]:
    """Wait for every job and collect it; yield how many answers each brought."""
    for title, known in jobs.waiting().items():
        name = known
        if not name:
            found = session.retry.call(partial(gemini.find_job, title))
            if found is None:
                jobs.note(title, "lost")
                continue
            name = found.name
            jobs.note(title, "submitted", name)
        job = _wait(session, gemini, name)
        yield _collect(session, gemini, job)
        jobs.note(title, "collected", name)


def _wait(session: Session, gemini: Gemini, name: str) -> Job:
    while True:
        job = session.retry.call(lambda: gemini.job(name))
        session.bar.set_description(f"{name} {job.state.lower()}")
        if job.ended:
            return job
        session.retry.sleep(session.settings.poll)


def _collect(session: Session, gemini: Gemini, job: Job) -> int:
    """Take over what a job brought, once, and return the number of its answers."""
    if job.results is None:
        return 0
    path = session.archive.folder / RESULTS
    session.retry.call(lambda: gemini.fetch(job, path))
    answers, strangers, unreadable = 0, 0, 0
    for key, answer in read_results(path):
        name, _, wording = key.partition(":")
        if not name:
            unreadable += 1
        elif name not in session.plan.requests:
            strangers += 1
        else:
            answers += _take(session, job, name, int(wording), answer)
    if unreadable:
        session.aside.keep_file(path, f"{job.name.replace('/', '-')}.jsonl")
    else:
        path.unlink()
    if strangers:
        raise ValueError(
            f"{strangers} images of {job.name} belong to another design: ask for at least as many "
            "pairs as when it was submitted, with the same seed, model and templates"
        )
    return answers


def _take(
    session: Session, job: Job, name: str, wording: int, answer: Callable[[], Drawing]
) -> bool:
    """Keep one answer of a job unless an earlier run did; False where the line is a fault."""
    if session.ledger.knows(job.name, name, wording):
        return True
    fault: Refused | None = None
    try:
        drawing = answer()
        if name in session.archive.rows:  # asked for one by one meanwhile
            session.aside.keep(name, drawing.content)
        else:
            session.keep(name, wording, drawing)
    except Refused as refusal:
        fault = refusal
    except Transient:
        session.retry.faults += 1
        return False
    session.settle(name, wording, fault, job=job.name)
    session.brake.book(fault)
    return True
