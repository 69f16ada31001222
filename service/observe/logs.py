"""Logs: one JSON object a line, with the id of the request and without a patient's values.

BentoML, uvicorn, pydicom, Pillow and Python itself quote what they work on: a value of the wrong
form, a path, the text of an exception. So messages of this package are written as they are, those
of the server only outside of a request, and of everybody else only who said something, and where.
"""

import json
import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, TextIO

from service.observe.request import under_way

OWN = "nanocxr"
SERVER = ("bentoml", "uvicorn", "circus")
WITHHELD = "message withheld"
# BentoML gives these a handler each besides that of the root: their lines would come twice.
DOUBLED = ("uvicorn.error", "circus")

LONGEST_CHAIN = 8  # exceptions behind one another; they can form a circle

logger = logging.getLogger(OWN)


def configure(environ: Mapping[str, str]) -> None:
    """Make the handlers that BentoML has set up write our lines, ``CXR_LOG=json`` or ``text``.

    JSON is the default everywhere: a log that machines read must not depend on who set what.
    """
    name = environ.get("CXR_LOG", "json")
    if name not in FORMATTERS:
        raise ValueError(
            f"CXR_LOG={shortened(name)} is neither json nor text. Correct it, or unset it for json."
        )
    for owner in map(logging.getLogger, ("", "bentoml", *DOUBLED)):
        for handler in owner.handlers:
            if type(handler) is logging.StreamHandler:  # not those of test frameworks
                handler.setFormatter(FORMATTERS[name]())
                owner.propagate = False
    logger.setLevel(logging.INFO)
    _divert_what_bypasses_logging()


def to_stream(stream: TextIO, environ: Mapping[str, str]) -> None:
    """Set up a process that holds files of patients from its start, and has no log yet."""
    handler = logging.StreamHandler(stream)
    logging.getLogger().addHandler(handler)
    configure(environ)
    seal()


def seal() -> None:
    """From now on no text of an exception is written: there is a request to protect.

    Before the first one the process holds nothing of a patient, and an operator needs to read why
    it does not start.
    """
    Formatter.sealed = True


class Formatter(logging.Formatter):
    """Makes the fields of a line; the classes below write them down."""

    sealed = False

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """What may be said of this record."""
        facts = under_way()
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if facts:
            line["request_id"] = facts.id
            if facts.trace_id:
                line["trace_id"] = facts.trace_id
        if _is_of(record, OWN):
            line |= getattr(record, "facts", {})
        if record.exc_info and record.exc_info[1]:
            line["exception"] = list(_exception(record.exc_info[1], told=not self.sealed))
        return line


class JsonFormatter(Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record down."""
        return json.dumps(self.fields(record), ensure_ascii=True)


class TextFormatter(Formatter):
    """For people at a terminal: ``time level logger message key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record down."""
        fields = self.fields(record)
        frames = fields.pop("exception", [])
        head = " ".join(str(fields.pop(key)) for key in ("time", "level", "logger", "message"))
        pairs = [f"{key}={value}" for key, value in fields.items()]
        return "\n".join([" ".join([head, *pairs]), *frames])


FORMATTERS = {"json": JsonFormatter, "text": TextFormatter}


def _is_of(record: logging.LogRecord, *names: str) -> bool:
    return record.name.partition(".")[0] in names


def _message(record: logging.LogRecord) -> str:
    if _is_of(record, OWN) or (_is_of(record, *SERVER) and under_way() is None):
        return record.getMessage()
    return f"{WITHHELD} ({record.module}:{record.lineno})"


def _exception(error: BaseException | None, *, told: bool) -> Iterator[str]:
    """Type and frames of an exception and of what caused it; its text only where it is ``told``."""
    for _ in range(LONGEST_CHAIN):
        if error is None:
            return
        yield f"{type(error).__name__}: {error}" if told else type(error).__name__
        for frame in traceback.extract_tb(error.__traceback__):
            yield f"  {frame.filename}:{frame.lineno} in {frame.name}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _divert_what_bypasses_logging() -> None:
    """Warnings, dying threads and objects, and logging's own failures print values to stderr."""
    logging.raiseExceptions = False
    warnings.showwarning = _show_warning
    threading.excepthook = lambda failure: _report("a thread failed", failure.exc_value)
    sys.unraisablehook = lambda failure: _report("an object could not end", failure.exc_value)


def _show_warning(
    message: Warning | str,  # noqa: ARG001  may quote a value
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    where = f"{Path(filename).name}:{lineno}"
    logger.warning("%s at %s, its text withheld", category.__name__, where)


def _report(what: str, error: BaseException | None) -> None:
    logger.error(what, exc_info=error)
