"""Run the ONNX graphs: (N, 1, S, S) -> logit, heatmap, embedding; and -> familiarity.

bytes -> decode -> standardise -> [session] -> calibration
The only module that imports onnxruntime.
"""

import base64
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidManifest, ModelUnavailable
from service.imaging.radiograph import FloatImage
from service.processor import cores

try:
    import onnxruntime
except ModuleNotFoundError:  # no extra is installed; whoever loads a graph is told
    onnxruntime = None

INPUT = "image"
OUTPUT_RANKS = {"logit": 1, "heatmap": 3, "embedding": 2}
GATE_RANKS = {"familiarity": 1}
# Best first. Others that onnxruntime may offer were not measured and can change the numbers.
PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
AUTO = "auto"

REMEDIES = {
    "cpu": "Install nanocxr[cpu].",
    "cuda": "Install nanocxr[gpu], a driver, CUDA and cuDNN, or leave CXR_PROVIDER out.",
}
NO_RUNTIME = (
    "onnxruntime is not installed. Install nanocxr[cpu], or nanocxr[gpu] on a machine with CUDA; "
    "never both."
)

# kOrtSessionOptionsAvx2PrecisionMode: weights beyond [-64, 64] become uint8, for exact kernels.
EXACT_INT8 = "session.x64quantprecision"
# MatMulInteger of a uint8 (m, k) and b int8 (k, n); a test builds the same bytes.
PRODUCT = base64.b64decode(
    "CAo6awobCgFhCgFiEgRzdW1zIg1NYXRNdWxJbnRlZ2VyEgRzdW1zWhUKAWESEAoOCAISCgoDEgFtCgMSAWtaFQoBYhIQ"
    "Cg4IAxIKCgMSAWsKAxIBbmIYCgRzdW1zEhAKDggGEgoKAxIBbQoDEgFuQgQKABAU"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What the graph yields for N images; all float32.

    Attributes
    ----------
    logit
        Shape (N,), not calibrated.
    heatmap
        Shape (N, h, w), not negative, in units of the logit: Grad-CAM of the last convolution.
    embedding
        Shape (N, features): pooled last feature maps, 2,048 of a ResNet-50.
    """

    logit: NDArray[np.float32]
    heatmap: NDArray[np.float32]
    embedding: NDArray[np.float32]


class Session:
    """A loaded graph; safe to share between threads.

    Parameters
    ----------
    graph
        Bytes of an ONNX file with input ``image`` float32 (N, 1, S, S) and outputs ``logit``,
        ``heatmap`` and ``embedding``.
    threads
        Threads of one inference on the CPU; 0 means one per core.
    provider
        "cpu" or "cuda"; "auto" takes the first that works, onnxruntime falls back by itself.

    Raises
    ------
    ModelUnavailable
        If there is no onnxruntime, or the provider that is asked for by name cannot be had.
    InvalidManifest
        If onnxruntime cannot load the graph, or its inputs or outputs are others.
    """

    def __init__(self, graph: bytes, *, threads: int, provider: str = AUTO) -> None:
        self._session = _load(graph, threads or cores(), provider)
        self.size = _input_size(self._session)
        _check_outputs(self._session, OUTPUT_RANKS)

    @property
    def provider(self) -> str:
        """The execution provider in use, e.g. ``"CPUExecutionProvider"``."""
        return str(self._session.get_providers()[0])

    def run(self, images: FloatImage) -> Outputs:
        """Infer on N images at once.

        All three outputs are fetched: asking for the logit alone saved 2 % on a ResNet-50.

        Parameters
        ----------
        images
            Shape (N, 1, S, S) in [0, 1], float32, as :func:`standardise` makes them.
        """
        logit, heatmap, embedding = self._session.run(list(OUTPUT_RANKS), {INPUT: images})
        return Outputs(logit=logit, heatmap=heatmap, embedding=embedding)


class GateSession:
    """The gate's loaded graph; safe to share between threads.

    Parameters
    ----------
    graph
        Bytes of an ONNX file with the model's own input and the output ``familiarity`` (N,).

    Raises
    ------
    ModelUnavailable, InvalidManifest
        As :class:`Session`.
    """

    def __init__(self, graph: bytes) -> None:
        self._session = _load(graph, 1, "cpu")  # too small to share out, or to be worth a GPU
        self.size = _input_size(self._session)
        _check_outputs(self._session, GATE_RANKS)

    def run(self, images: FloatImage) -> NDArray[np.float32]:
        """Familiarity in [0, 1], shape (N,), of the images that :meth:`Session.run` takes."""
        (familiarity,) = self._session.run(list(GATE_RANKS), {INPUT: images})
        return np.asarray(familiarity, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What graphs are run by."""

    version: str
    provider: str  # onnxruntime's name of the execution provider


def runtime(provider: str = AUTO) -> Runtime:
    """Find out what :class:`Session` would run on, without a model.

    Raises
    ------
    ModelUnavailable
        As :class:`Session`.
    """
    session = _load(PRODUCT, 1, provider)
    return Runtime(version=onnxruntime.__version__, provider=session.get_providers()[0])


@cache
def saturates() -> bool:
    """Whether int8 kernels here cut off the sum of two products at 16 bits, as x86 without VNNI.

    Asked of onnxruntime by a product of the largest values, since what it makes of a processor is
    its own affair.
    """
    session = onnxruntime.InferenceSession(PRODUCT, providers=[PROVIDERS["cpu"]])
    factors = {"a": np.full((4, 4), 255, np.uint8), "b": np.full((4, 4), 127, np.int8)}
    (sums,) = session.run(None, factors)
    return bool((sums != 4 * 255 * 127).any())


def session_options(threads: int, *, exact: bool) -> "onnxruntime.SessionOptions":
    """How graphs are run.

    Parameters
    ----------
    threads
        Of one inference.
    exact
        Take int8 kernels that cannot saturate for the weights that need them. A processor that
        does not saturate gives the same numbers without, and 2.4 times as fast.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle threads sleep instead of spinning, since decoding the next image needs the cores: on
    # two cores 8.3 instead of 10.6 ms an image for two at once, 9.9 instead of 8.4 ms alone.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(EXACT_INT8, str(int(exact)))
    return options


def _load(graph: bytes, threads: int, provider: str) -> Any:
    if onnxruntime is None:
        raise ModelUnavailable(NO_RUNTIME)
    options = session_options(threads, exact=saturates())
    offered = onnxruntime.get_available_providers()
    wanted = PROVIDERS.values() if provider == AUTO else [PROVIDERS[provider]]
    providers = [name for name in wanted if name in offered]
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=providers)
    except Exception as error:
        # onnxruntime's exceptions share no base but Exception.
        raise InvalidManifest(
            f"onnxruntime {onnxruntime.__version__} cannot load the graph "
            f"({type(error).__name__}); package the model again"
        ) from error
    if provider != AUTO and session.get_providers()[0] != PROVIDERS[provider]:
        raise ModelUnavailable(
            f"onnxruntime {onnxruntime.__version__} cannot use {PROVIDERS[provider]} here. "
            f"{REMEDIES[provider]}"
        )
    return session


def _input_size(session: Any) -> int:
    """Side S of the graph's input in pixels."""
    inputs = session.get_inputs()
    shapes = {node.name: node.shape for node in inputs}
    shape = shapes.get(INPUT, [])
    if len(inputs) != 1 or len(shape) != 4 or inputs[0].type != "tensor(float)":
        raise InvalidManifest(
            f"the graph's inputs are {shapes}; float32 {INPUT} (N, 1, S, S) is due"
        )
    batch, channels, rows, columns = shape
    if isinstance(batch, int) or channels != 1 or rows != columns or not isinstance(rows, int):
        raise InvalidManifest(f"the graph's input is {shape}; (N, 1, S, S) with free N is due")
    return rows


def _check_outputs(session: Any, due: dict[str, int]) -> None:
    ranks = {node.name: len(node.shape) for node in session.get_outputs()}
    if ranks != due:
        raise InvalidManifest(
            f"the graph's outputs have ranks {ranks}; {due} are due. Export it again."
        )
