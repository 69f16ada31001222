"""The BentoML service: `bentoml serve service.app:ChestXray`.

Research software, not a medical device.

The endpoints are an ASGI app that BentoML mounts beside its own /livez, /healthz, /readyz and
/metrics; docs/architecture.md says why they are not native BentoML endpoints.
What is imported of `_internal` BentoML does not offer in public: which middleware it has, where it
listens, how spans are made and flushed. tests/contract/test_seams.py has a test for each use.
"""

import logging
import os
import signal
from dataclasses import astuple
from typing import Any

import _bentoml_impl.client
import bentoml
import click
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from bentoml._internal.server.metrics.prometheus import PrometheusClient
from bentoml.exceptions import BentoMLConfigException
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from uvicorn.config import HTTP_PROTOCOLS

from service.auth.middleware import Guard, GuardMiddleware
from service.errors import KeysRequired, ModelUnavailable
from service.http.admission import Admission
from service.http.connection import BoundedConnection
from service.http.endpoints import create_app
from service.http.pieces import PiecesMiddleware
from service.http.problems import ProblemMiddleware
from service.http.stable import StableMiddleware
from service.model.reader import Reader
from service.observe import logs, metrics
from service.observe.middleware import ObserveMiddleware
from service.parent import end_with
from service.processor import this_processor
from service.schemas import INTENDED_USE
from service.settings import Settings, unknown_variables
from service.supervisor import check_address, prepare

SUPERVISOR = "NANOCXR_SUPERVISOR"  # its process id, for the processes that serve
FLUSH_MILLISECONDS = 5000  # for the last spans; uvicorn leaves no time for them at exit

# BentoML makes uvicorn's configuration and says nothing of connections; this is what uvicorn takes
# then. It reads HTTP in Python even where httptools, which bounds no head, is installed.
HTTP_PROTOCOLS["auto"] = f"{BoundedConnection.__module__}:{BoundedConnection.__name__}"

LEFT_OUT = {TimeoutMiddleware, RunnerTrafficMetricsMiddleware, OpenTelemetryMiddleware}

logger = logging.getLogger("bentoml.serve")
try:
    logs.configure(os.environ)
except ValueError as error:  # BentoML prints a sentence for its own exceptions alone
    raise BentoMLConfigException(str(error)) from None
api = create_app()
# BentoML has no setting for it; tests/e2e/test_disk.py sees when it no longer works.
BentoMLContainer.metrics_client.set(PrometheusClient(multiproc=False))


class NoClient:
    """In place of the client by which a BentoML service calls its own APIs; this one has none.

    BentoML makes it all the same, and it a temporary folder, which a full disk may refuse and a
    process that is killed leaves behind.
    """

    to_async = to_sync = None

    def __init__(self, *_: object, **__: object) -> None:
        """Take what BentoML gives its client."""

    async def __aenter__(self) -> None:
        """Open nothing."""

    async def close(self) -> None:
        """Close nothing."""


_bentoml_impl.client.RemoteProxy = NoClient  # where BentoML imports it from when it serves


class ChestXrayService(bentoml.Service):  # type: ignore[misc]
    """A service with a middleware outside of BentoML's own, and without some of these.

    The time-out keeps all of a request, answered or not, until its time is over: hundreds of
    megabytes; what may take long has bounds of its own here. Metrics and spans quote what may name
    a patient; ObserveMiddleware makes them instead.
    """

    def to_asgi(self, is_main: bool = True) -> Any:  # noqa: FBT001, FBT002  BentoML's signature
        """The app that uvicorn runs."""
        app = super().to_asgi(is_main)
        app.user_middleware = [one for one in app.user_middleware if one.cls not in LEFT_OUT]
        named = bentoml.server_context
        app.add_middleware(
            ObserveMiddleware,
            tracer_provider=BentoMLContainer.tracer_provider.get(),
            excluded=BentoMLContainer.tracing_excluded_urls.get().url_disabled,
            service=(named.service_name, named.bento_name, named.bento_version),
        )
        app.add_middleware(StableMiddleware)
        app.add_middleware(PiecesMiddleware)
        app.router.redirect_slashes = False  # as that of `api`
        return app


@bentoml.service(
    name="nanocxr",
    description=f"Pneumonia on frontal chest radiographs. {INTENDED_USE}",
    workers=1,
    logging={"access": {"enabled": False}},  # ObserveMiddleware writes one that names nobody
    service_class=ChestXrayService,
    labels={"finding": "pneumonia", "use": "research-only"},
)
@bentoml.asgi_app(api)
class ChestXray:
    """Pneumonia on frontal chest radiographs: probability, heatmap, or a reason for refusal.

    Research use only. Not a medical device.
    """

    def __init__(self) -> None:
        metrics.remove_unused_folder()
        settings = Settings.from_env()
        api.state.guard = Guard(settings)
        self.reader = open_reader(settings)
        self.admission = Admission(self.reader, settings)
        api.state.admission = self.admission
        api.state.bentoml_openapi = service.openapi_spec.asdict()
        if bentoml.server_context.worker_index is not None and SUPERVISOR in os.environ:
            end_with(int(os.environ[SUPERVISOR]), signal.SIGTERM)

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check() -> None:
        """End `bentoml serve` where it cannot start as told, or strangers could ask.

        BentoML calls this before it listens, in the process of the command, the only one that knows
        the address. Where something else starts the service, each connection is looked at.
        That process starts those that serve and tells them who they end with.
        """
        os.environ[SUPERVISOR] = str(os.getpid())
        for sentence in unknown_variables(os.environ):
            logger.warning("%s", sentence)
        try:
            guard = Guard(Settings.from_env())
            if address := command_address():
                guard.check_host(address[0])
                check_address(*address)
            prepare(reloads=_reloads())
        except (KeysRequired, ValueError) as error:
            raise BentoMLConfigException(str(error)) from None

    def __is_ready__(self) -> bool:
        """Let /readyz answer 503 with the reason why there is no model."""
        if isinstance(self.reader, ModelUnavailable):
            raise self.reader.with_traceback(None)
        return True

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        """End the decoding processes; BentoML calls this when every request is answered."""
        self.admission.close()
        BentoMLContainer.tracer_provider.get().force_flush(FLUSH_MILLISECONDS)


# What the decorator made of the class; type checkers take a decorated class for the class.
service: Any = ChestXray
service.add_asgi_middleware(ProblemMiddleware)
service.add_asgi_middleware(GuardMiddleware, state=api.state)


def _reloads() -> bool:
    """Whether `bentoml serve` was told to watch the code."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.params.get("reload"))


def command_address() -> tuple[str, int] | None:
    """Host and port that `bentoml serve` was told, or BentoML's own; None outside of it."""
    context = click.get_current_context(silent=True)
    if context is None or "host" not in context.params:
        return None
    host, port = context.params["host"], context.params["port"]
    return (
        host or BentoMLContainer.http.host.get(),
        BentoMLContainer.http.port.get() if port is None else port,
    )


def open_reader(settings: Settings) -> Reader | ModelUnavailable:
    """Load the model, or log and keep the reason that every request is answered with.

    A process that ends instead would be started again for ever, and say nothing to clients.
    """
    try:
        reader = Reader.open(
            settings.model,
            limits=settings.limits,
            threads=settings.threads,
            provider=settings.provider,
            key=settings.model_key,
            calibration=settings.calibration,
        )
    except ModelUnavailable as error:
        logger.error("No model in %s (%s): %s", settings.model, error.code, error)  # noqa: TRY400
        return error
    metrics.MODEL_INFO.labels(*astuple(reader.model), reader.provider).set(1)
    logger.info(
        "Model %s %s, SHA-256 %s, calibration %s, on %s, %s. %s",
        reader.model.name,
        reader.model.version,
        reader.model.sha256[:12],
        reader.calibration,
        reader.provider,
        this_processor(),
        INTENDED_USE,
    )
    return reader
