"""A processing module of mercure: films in one folder, results in another.

    MERCURE_IN_DIR=in MERCURE_OUT_DIR=out python -m clients.dicom.mercure

mercure (mercure-imaging.org) routes films by its own rules, starts a module for each series or
study, and sends what is in the second folder to the module's targets. ``process.settings`` in the
first folder's ``task.json`` says:

    {"url": "http://nanocxr:3000", "kinds": ["sr", "sc"], "refused": true, "timeout": 60}

The API key of the service is in the variable CXR_API_KEY. ``result.json`` in the second folder
counts the films: read, refused by code, and unreportable. Exit status: 0 done, also where films
were refused; 1 the service cannot be asked, a setting is wrong, or no film could be reported.

Research software, not a medical device.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from clients import ChestXrayClient, ChestXrayError, Problem
from clients.dicom.marks import Kind
from clients.dicom.objects import FilmError, report
from clients.dicom.objects.common import encoded
from clients.dicom.reading import read
from clients.sdk.key import MalformedKey

READ, UNREPORTABLE = "read", "unreportable"


class MercureError(RuntimeError):
    """One sentence: why the task ends with status 1."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TaskSettings:
    """``process.settings`` of a task.

    Attributes
    ----------
    url
        Address of the service.
    kinds
        Objects to make.
    refused
        Whether a film that the service refuses gets a report.
    timeout
        Seconds to wait for each answer.
    """

    url: str = "http://localhost:3000"
    kinds: frozenset[Kind] = frozenset[Kind](("sr", "sc", "gsps"))
    refused: bool = True
    timeout: float = Field(default=60.0, gt=0)


def settings_of(folder: Path) -> TaskSettings:
    """Read the settings of the task in a folder; defaults where it has none.

    Raises
    ------
    MercureError
        If the task cannot be read, or a setting is unknown or malformed.
    """
    try:
        task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        settings = (task.get("process") or {}).get("settings") or {}
        return TypeAdapter(TaskSettings).validate_python(settings)
    except ValidationError as error:
        first, *_ = error.errors(include_url=False, include_input=False)
        name = ".".join(str(part) for part in first["loc"])
        raise MercureError(f"process.settings.{name} in task.json: {first['msg']}") from None
    except (OSError, ValueError, AttributeError) as error:
        raise MercureError(f"task.json cannot be read: {type(error).__name__}") from error


def run(source: Path, target: Path) -> Counter[str]:
    """Read every ``*.dcm`` of one folder and write results to the other.

    Returns
    -------
    Counter
        How many films were read, were refused with which code, or cannot have results.

    Raises
    ------
    MercureError
        If the settings are wrong or the service cannot be asked; what is written stays.
    """
    settings = settings_of(source)
    outcomes: Counter[str] = Counter()
    with ChestXrayClient(settings.url, timeout=settings.timeout) as client:
        for path in sorted(source.glob("*.dcm")):
            try:
                outcomes[_report(client, path.read_bytes(), settings, target)] += 1
            except FilmError:
                outcomes[UNREPORTABLE] += 1
            except ChestXrayError as error:
                raise MercureError(str(error)) from error
    (target / "result.json").write_text(json.dumps({"films": dict(sorted(outcomes.items()))}))
    return outcomes


def _report(client: ChestXrayClient, film: bytes, settings: TaskSettings, target: Path) -> str:
    """Write the results of one film; return what became of it."""
    reading, heatmap = read(client, film, settings.kinds)
    refused = isinstance(reading, Problem)
    if settings.refused or not refused:
        for made in report(film, reading, heatmap, settings.kinds):
            # mercure tells the files of a series by what is before the #.
            name = f"{made.SeriesInstanceUID}#{made.SOPInstanceUID}.dcm"
            (target / name).write_bytes(encoded(made))
    return reading.code if isinstance(reading, Problem) else READ


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Run as mercure starts it; return the exit status."""
    try:
        folders = [Path(environ[name]) for name in ("MERCURE_IN_DIR", "MERCURE_OUT_DIR")]
        outcomes = run(*folders)
    except KeyError as missing:
        print(f"Error: the variable {missing} is not set.", file=sys.stderr)  # noqa: T201
        return 1
    except (MercureError, MalformedKey) as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(json.dumps(outcomes))  # noqa: T201  mercure keeps it as the module's log
    return int(set(outcomes) <= {UNREPORTABLE})


if __name__ == "__main__":
    sys.exit(main())
