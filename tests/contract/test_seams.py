"""What the service rests on that BentoML, uvicorn and Starlette do not promise.

Each test is one seam: where it fails after an update, its message says what changed and what that
breaks here. Others are tested where they matter: errors of the command as one sentence
(tests/e2e/test_start.py), the death of workers and of containers (test_lifetime.py), spans
(test_observing.py), error bodies and the parser of forms (tests/service/http/test_problems.py,
test_multipart.py), the build (test_bento.py).
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import bentoml
import httpx
import psutil
import pytest
from _bentoml_impl.server.serving import server_on_deployment
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml.exceptions import BentoMLConfigException
from starlette.testclient import TestClient

from service.app import LEFT_OUT, ChestXrayService, service
from service.auth.middleware import GuardMiddleware
from service.http.pieces import PiecesMiddleware
from service.http.problems import ProblemMiddleware
from service.http.stable import StableMiddleware
from service.observe.middleware import ObserveMiddleware
from tests.e2e.conftest import Server, running
from tests.processes import PATIENCE, decoders_of, own_decoders
from tests.serving import asgi_app, serving

OWN = [PiecesMiddleware, StableMiddleware, ObserveMiddleware, ProblemMiddleware, GuardMiddleware]
HANDLERS = """
import logging
from bentoml._internal.log import configure_server_logging
configure_server_logging()
for name in ("", "bentoml", "uvicorn.error", "circus"):
    print(*(type(handler).__name__ for handler in logging.getLogger(name).handlers))
"""
OPTIONS = """
from bentoml_cli.serve import serve_command
for option in sorted(serve_command.commands["serve"].params, key=lambda option: str(option.name)):
    if option.name in ("host", "port"):
        print(option.name, option.envvar, option.to_info_dict()["default"])
"""


def changed(fact: str, breaks: str) -> str:
    """The message of a seam that gave way."""
    return f"\n\nBentoML {bentoml.__version__} (or what it runs on): {fact}.\nIt breaks: {breaks}."


def classes(app: Any) -> list[type]:
    """The middleware of a Starlette app, the outermost first."""
    return [middleware.cls for middleware in app.user_middleware]


def output(code: str) -> list[str]:
    """The lines that a program prints in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


@pytest.fixture
def client(tiny_model: Path) -> Iterator[TestClient]:
    with serving(tiny_model) as client:
        yield client


class TestApp:
    def test_service_class_is_used(self) -> None:
        assert type(service) is ChestXrayService, changed(
            "@bentoml.service ignores service_class",
            "the stack of middleware: BentoML's metrics and spans would name patients",
        )

    def test_what_is_left_out_is_there_to_be_left_out(self) -> None:
        plain = classes(bentoml.Service.to_asgi(service))
        missing = [one.__name__ for one in LEFT_OUT if one not in plain]
        assert not missing, changed(
            f"{missing} are no longer among user_middleware",
            "to_asgi takes them out: the time-out keeps hundreds of megabytes of each request, the "
            "others count and trace paths and headers of patients",
        )

    def test_order_of_middleware(self) -> None:
        found = classes(asgi_app())
        assert found[: len(OWN)] == OWN, changed(
            f"the outermost middleware is {[one.__name__ for one in found]}",
            "pieces outside of all that looks at an answer, /v1 taken off before anybody looks at "
            "the path, ids and metrics of all that is answered, guard inside of problems",
        )
        others = [one.__name__ for one in found[len(OWN) :]]
        assert others == ["ContextMiddleware"], changed(
            f"its own middleware is {others}", "privacy, where one of them quotes a request"
        )

    def test_access_log_is_off(self) -> None:
        names = [one.__name__ for one in classes(asgi_app())]
        assert "AccessLogMiddleware" not in names, changed(
            "logging.access.enabled = False does not switch the access log off",
            "a line for each request with its path, query and client",
        )

    def test_mounted_app_comes_first_and_hides_nothing(self, client: TestClient) -> None:
        described = client.get("/docs.json").json()
        assert "/predict" in described["paths"], changed(
            "its own /docs.json comes before that of the mounted app", "the document of the API"
        )
        for path in ("/livez", "/healthz", "/readyz", "/static_content/swagger-ui.css"):
            assert client.get(path).status_code == 200, changed(
                f"{path} is not there, or is hidden by the mounted app",
                "probes, and the page that shows the API",
            )

    def test_description_is_a_dictionary(self) -> None:
        paths = service.openapi_spec.asdict().get("paths", {})
        assert {"/livez", "/healthz", "/readyz"} <= paths.keys(), changed(
            "openapi_spec.asdict() does not describe the probes", "/docs.json, built upon it"
        )


class TestLifetime:
    def test_check_is_called_before_it_listens(self) -> None:
        said = ""
        with mock.patch.dict(os.environ, {"CXR_THREADS": "many"}):
            try:
                server_on_deployment(service)
            except BentoMLConfigException as error:
                said = str(error)
        assert "CXR_THREADS" in said, changed(
            "server_on_deployment does not call the hooks of on_deployment",
            "the check of settings and address, and no listening beyond loopback without keys",
        )

    def test_close_is_called_at_the_end(self, tiny_model: Path) -> None:
        before = own_decoders()
        with serving(tiny_model):
            decoders = [process for process in own_decoders() if process not in before]
            assert decoders, changed("the service is not made at startup", "every reading")
        _, left = psutil.wait_procs(decoders, timeout=PATIENCE)
        assert not left, changed(
            "hooks of on_shutdown are not called", "decoding processes stay when the service ends"
        )


class TestCommand:
    def test_serve_takes_host_and_port(self) -> None:
        assert output(OPTIONS) == ["host BENTOML_HOST None", "port BENTOML_PORT None"], changed(
            f"options of `bentoml serve` are {output(OPTIONS)}",
            "command_address: the address is not checked, nor are keys asked for beyond loopback",
        )

    def test_defaults_are_in_the_container(self) -> None:
        address = BentoMLContainer.http.host.get(), BentoMLContainer.http.port.get()
        assert address == ("0.0.0.0", 3000), changed(
            f"the default address is {address}", "the check of an address that nobody gave"
        )

    def test_logs_have_the_handlers_that_are_made_ours(self) -> None:
        root, library, *_ = output(HANDLERS)
        assert "StreamHandler" in (root.split() + library.split()), changed(
            f"its log is written by {root or 'nothing'}, {library or 'nothing'}",
            "lines of the log as JSON, and the withholding of what libraries quote",
        )

    def test_spans_can_be_made_and_flushed(self) -> None:
        provider = BentoMLContainer.tracer_provider.get()
        for name in ("get_tracer", "force_flush"):
            assert hasattr(provider, name), changed(
                f"the tracer provider has no {name}", "spans of stages, and the last ones at exit"
            )


@pytest.fixture(scope="module")
def server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("seams"), CXR_MODEL=str(tiny_model)) as server:
        yield server


@pytest.fixture(scope="module")
def worker(server: Server) -> psutil.Process:
    children = psutil.Process(server.process.pid).children()
    assert len(children) == 1, changed(
        f"the supervisor has {len(children)} processes below it, not the serving one alone",
        "bounds on memory and requests, which are those of one serving process",
    )
    return children[0]


@pytest.mark.e2e
class TestProcesses:
    def test_worker_is_named(self, worker: psutil.Process) -> None:
        assert "_bentoml_impl.worker.service" in worker.cmdline(), changed(
            "serving processes have another command line", "tests that kill the serving process"
        )

    def test_worker_is_told_where_metrics_would_be_kept(self, worker: psutil.Process) -> None:
        assert "PROMETHEUS_MULTIPROC_DIR" in worker.environ(), changed(
            "serving processes do not get PROMETHEUS_MULTIPROC_DIR",
            "service.observe.metrics, which looks there for what BentoML keeps",
        )

    def test_metrics_of_the_registry_are_shown(self, server: Server) -> None:
        text = httpx.get(f"{server.url}/metrics", timeout=60).text
        for name in ('runner_name="nanocxr"', "nanocxr_", "process_"):
            assert name in text, changed(f"/metrics does not show {name}", "monitoring")

    def test_decoders_are_below_the_worker(self, worker: psutil.Process) -> None:
        assert decoders_of(worker.pid), changed(
            "the service is not made in the process that answers", "decoding"
        )
