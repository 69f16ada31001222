"""Which engine of :mod:`clients.scoring.score` reads: this process, a service or a cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clients.scoring.rest import RETRIES, RestEngine
from clients.scoring.score import Engine, ScoringError
from clients.sdk.client import ChestXrayClient
from service.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Who reads: the service at ``url``, else the cluster at ``ray_address``, else this computer.

    Attributes
    ----------
    model
        Model folder; that of the settings where None. A service has its own.
    calibration
        A site's calibration of the model; that of the settings where None. A service has its own.
    embeddings
        Whether scores carry the embedding; a service sends none.

    Raises
    ------
    ValueError
        If there is a ``url`` and anything else.
    """

    url: str | None = None
    ray_address: str | None = None
    model: Path | None = None
    calibration: Path | None = None
    embeddings: bool = False

    def __post_init__(self) -> None:
        elsewhere = self.ray_address or self.model or self.calibration or self.embeddings
        if self.url is not None and elsewhere:
            raise ValueError("url excludes ray_address, model, calibration and embeddings")


@contextmanager
def open_engine(options: EngineOptions) -> Iterator[Engine]:
    """Open what reads.

    Raises
    ------
    ChestXrayError, ModelUnavailable, ScoringError
        If the service, the model or the cluster cannot be had.
    """
    if options.url is not None:
        with ChestXrayClient(options.url, retries=RETRIES) as client:
            yield RestEngine(client)
        return
    # Only here is onnxruntime needed; whoever asks a service may not have it.
    from service.model.bundle import Bundle  # noqa: PLC0415

    settings = Settings.from_env()
    bundle = Bundle.open(
        options.model or settings.model,
        settings.model_key,
        options.calibration or settings.calibration,
    )
    if options.ray_address is not None:
        try:
            from clients.scoring.cluster import RayEngine  # noqa: PLC0415  Ray is an extra
        except ModuleNotFoundError as error:
            raise ScoringError(f"no module {error.name}: install the extra `ray`") from error
        with RayEngine(
            bundle, settings, address=options.ray_address, embeddings=options.embeddings
        ) as engine:
            yield engine
        return
    from clients.scoring.local import LocalEngine  # noqa: PLC0415

    with LocalEngine(bundle, settings, embeddings=options.embeddings) as engine:
        yield engine
