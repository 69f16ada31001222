"""Which engine of :mod:`clients.scoring.score` reads: this process, a service or a cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clients.scoring.rest import RETRIES, RestEngine
from clients.scoring.score import Engine, ScoringError
from clients.sdk.client import ChestXrayClient
from service.settings import Settings


@contextmanager
def open_engine(
    *,
    url: str | None,
    ray_address: str | None,
    model: Path | None,
    embeddings: bool,
    calibration: Path | None = None,
) -> Iterator[Engine]:
    """Open the service at ``url``, else the cluster at ``ray_address``, else this computer.

    Parameters
    ----------
    url, ray_address
        At most one of them.
    model
        Model folder; that of the settings where None. A service has its own.
    embeddings
        Whether scores carry the embedding; a service sends none.
    calibration
        A site's calibration of the model; that of the settings where None. A service has its own.

    Raises
    ------
    ChestXrayError, ModelUnavailable, ScoringError
        If the service, the model or the cluster cannot be had.
    """
    if url is not None:
        with ChestXrayClient(url, retries=RETRIES) as client:
            yield RestEngine(client)
        return
    # Only here is onnxruntime needed; whoever asks a service may not have it.
    from service.model.bundle import Bundle  # noqa: PLC0415

    settings = Settings.from_env()
    bundle = Bundle.open(
        model or settings.model, settings.model_key, calibration or settings.calibration
    )
    if ray_address is not None:
        try:
            from clients.scoring.cluster import RayEngine  # noqa: PLC0415  Ray is an extra
        except ModuleNotFoundError as error:
            raise ScoringError(f"no module {error.name}: install the extra `ray`") from error
        with RayEngine(bundle, settings, address=ray_address, embeddings=embeddings) as engine:
            yield engine
        return
    from clients.scoring.local import LocalEngine  # noqa: PLC0415

    with LocalEngine(bundle, settings, embeddings=embeddings) as engine:
        yield engine
