import json
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest

from service.observe import logs
from service.observe.request import CURRENT, RequestFacts

SECRET = "DOE^JANE"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[StringIO]:
    """What the handlers of BentoML write, as :func:`logs.configure` leaves them."""
    stream = StringIO()
    loggers = [logging.getLogger(name) for name in ("", "bentoml", "uvicorn.error", "circus")]
    levels = [owner.level for owner in loggers]
    for owner in loggers:
        monkeypatch.setattr(owner, "handlers", [logging.StreamHandler(stream)])
        monkeypatch.setattr(owner, "propagate", owner.name in {"uvicorn.error", "circus"})
        owner.setLevel(logging.DEBUG)
    monkeypatch.setattr(logs.Formatter, "sealed", False)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    logs.configure({"CXR_LOG": "json"})
    yield stream
    for owner, level in zip(loggers, levels, strict=True):
        owner.setLevel(level)


@pytest.fixture
def request_facts() -> Iterator[RequestFacts]:
    facts = RequestFacts(id="0123456789abcdef")
    token = CURRENT.set(facts)
    yield facts
    CURRENT.reset(token)


def entries(stream: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class TestConfigure:
    def test_unknown_form_names_the_variable(self) -> None:
        with pytest.raises(ValueError, match="CXR_LOG='yaml'"):
            logs.configure({"CXR_LOG": "yaml"})

    @pytest.mark.parametrize("name", ["bentoml.serve", "uvicorn.error", "circus", "nanocxr"])
    def test_every_logger_writes_one_line(self, written: StringIO, name: str) -> None:
        logging.getLogger(name).warning("of %d", 1)
        (entry,) = entries(written)
        assert (entry["logger"], entry["level"], entry["message"]) == (name, "warning", "of 1")

    def test_text_is_for_people(self, written: StringIO) -> None:
        logs.configure({"CXR_LOG": "text"})
        logging.getLogger("nanocxr.access").info("answered", extra={"facts": {"status": 200}})
        assert written.getvalue().endswith(" info nanocxr.access answered status=200\n")

    def test_other_handlers_are_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Other(logging.StreamHandler):  # type: ignore[type-arg]
            pass

        other = Other()
        monkeypatch.setattr(logging.getLogger(), "handlers", [other])
        logs.configure({})
        assert other.formatter is None


class TestRequests:
    def test_line_bears_the_request(self, written: StringIO, request_facts: RequestFacts) -> None:
        request_facts.trace_id = "ab"
        logging.getLogger("nanocxr").info("said")
        (entry,) = entries(written)
        assert (entry["request_id"], entry["trace_id"]) == ("0123456789abcdef", "ab")

    def test_server_is_quoted_outside_of_requests_only(
        self, written: StringIO, request_facts: RequestFacts
    ) -> None:
        logging.getLogger("bentoml.serve").warning("path %s", SECRET)
        CURRENT.set(None)
        logging.getLogger("bentoml.serve").warning("started")
        inside, outside = entries(written)
        assert inside["message"].startswith("message withheld (test_logs:")
        assert outside["message"] == "started"
        assert SECRET not in written.getvalue()


class TestNobodyElseIsQuoted:
    @pytest.mark.parametrize("name", ["pydicom", "PIL.PngImagePlugin", "asyncio", "py.warnings"])
    def test_message_of_a_library(self, written: StringIO, name: str) -> None:
        logging.getLogger(name).critical("bad value %r", SECRET, extra={"facts": {"name": SECRET}})
        (entry,) = entries(written)
        assert entry["logger"] == name
        assert SECRET not in written.getvalue()

    def test_failing_log_call_writes_nothing(
        self, written: StringIO, capsys: pytest.CaptureFixture[str]
    ) -> None:
        logging.getLogger("nanocxr").error("two of %s %s", *[SECRET])
        assert SECRET not in written.getvalue() + "".join(capsys.readouterr())

    def test_warning(self, written: StringIO, capsys: pytest.CaptureFixture[str]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = logs._show_warning
            warnings.warn(SECRET, UserWarning, stacklevel=1)
        (entry,) = entries(written)
        assert entry["message"].startswith("UserWarning at test_logs.py:")
        assert SECRET not in written.getvalue() + "".join(capsys.readouterr())

    def test_thread_that_dies(self, written: StringIO, capsys: pytest.CaptureFixture[str]) -> None:
        logs.seal()
        thread = threading.Thread(target=int, args=(SECRET,))
        thread.start()
        thread.join()
        (entry,) = entries(written)
        assert entry["exception"][0] == "ValueError"
        assert SECRET not in written.getvalue() + "".join(capsys.readouterr())

    def test_object_that_cannot_end(
        self, written: StringIO, capsys: pytest.CaptureFixture[str]
    ) -> None:
        class Bad:
            def __del__(self) -> None:
                raise ValueError(SECRET)

        logs.seal()
        Bad()
        assert entries(written)[0]["message"] == "an object could not end"
        assert SECRET not in written.getvalue() + "".join(capsys.readouterr())


class TestExceptions:
    def fail(self) -> None:
        try:
            try:
                int(SECRET)
            except ValueError as error:
                raise KeyError(SECRET) from error
        except KeyError:
            logging.getLogger("uvicorn.error").exception("Exception in ASGI application")

    def test_text_is_withheld_from_the_first_request_on(self, written: StringIO) -> None:
        logs.seal()
        self.fail()
        (entry,) = entries(written)
        assert entry["exception"][0] == "KeyError"
        assert "ValueError" in entry["exception"]
        assert "in fail" in entry["exception"][1]
        assert SECRET not in written.getvalue()

    def test_operator_reads_why_it_does_not_start(self, written: StringIO) -> None:
        self.fail()
        assert f"KeyError: '{SECRET}'" in entries(written)[0]["exception"]

    def test_circle_of_causes_ends(self, written: StringIO) -> None:
        first, second = ValueError(), KeyError()
        first.__cause__, second.__cause__ = second, first
        logging.getLogger("nanocxr").error("in a circle", exc_info=first)
        assert len(entries(written)[0]["exception"]) == logs.LONGEST_CHAIN


def test_malformed_setting_ends_the_process_with_its_name() -> None:
    code = "import os; os.environ['CXR_LOG'] = 'yaml'; import service.app"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "CXR_LOG='yaml'" in done.stderr
