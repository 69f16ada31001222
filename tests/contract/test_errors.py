"""Every error has a status, a row in the documentation, and a request that provokes it."""

import ast
import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydicom.uid import MPEG2MPML
from starlette.testclient import TestClient

from service import errors
from service.auth.keys import add_key
from service.errors import ReadingError
from service.http import upload
from service.http.problems import FRAMEWORK, STATUS
from service.memory import Budget
from service.model.signature import SIGNATURE
from tests.factories import chest, dicom_bytes, png_bytes
from tests.processes import has_work, ready_decoders, suspended, wait_until
from tests.serving import FORM, form, part, problem, serving
from tests.signing import public_pem
from tests.sites import write_site
from tests.sources import ROOT, files
from tests.tiny_model import UNFAMILIAR, write_gate

PNG = png_bytes()


def subclasses(kind: type[ReadingError]) -> set[type[ReadingError]]:
    return {kind}.union(*(subclasses(child) for child in kind.__subclasses__()))


# ModelUnavailable is raised itself; the other bases are only there to be caught.
RAISED: set[type[ReadingError]] = {
    e for e in subclasses(ReadingError) if not e.__subclasses__()
} | {errors.ModelUnavailable}
BASES = subclasses(ReadingError) - RAISED


IMAGES: dict[type[ReadingError], Callable[[], bytes]] = {
    errors.NotAnImage: lambda: b"GIF89a",
    errors.TruncatedImage: lambda: dicom_bytes()[:-1000],
    errors.CorruptImage: lambda: PNG[:60] + bytes(200) + PNG[260:],
    errors.NoPixelData: lambda: dicom_bytes()[: dicom_bytes().index(b"\xe0\x7f\x10\x00")],
    errors.UnsupportedTransferSyntax: lambda: dicom_bytes(
        transfer_syntax=MPEG2MPML, codestream=b"\0\0\1\xb3"
    ),
    errors.MultipleFrames: lambda: dicom_bytes(chest()[[0, 1]][:, None].repeat(2, 1)),
    errors.UnsupportedModality: lambda: dicom_bytes(Modality="CT"),
    errors.NotAChest: lambda: dicom_bytes(BodyPartExamined="HAND"),
    errors.NotFrontal: lambda: dicom_bytes(view="LL"),
    errors.TooSmall: lambda: png_bytes(chest(300, 40)),
    errors.UnsupportedPixels: lambda: dicom_bytes(photometric="YBR_PARTIAL_420"),
}
BODIES: dict[type[ReadingError], bytes] = {
    errors.MalformedBody: form(part(PNG))[:-10],
    errors.MissingImage: form(part(PNG, "picture")),
    errors.NotAFile: form(part(b"/etc/hostname", filename=None)),
    errors.TooManyImages: form(part(PNG), part(PNG)),
}


@dataclass(frozen=True)
class Scene:
    """What a provocation may use: the model, a folder of its own, something to patch with."""

    model: Path
    folder: Path
    patch: pytest.MonkeyPatch

    def predict(self, body: bytes, model: Path | None = None, **variables: Any) -> Any:
        return self.post("/predict", body, FORM, model, **variables)

    def post(
        self, path: str, body: bytes, kind: str, model: Path | None = None, **variables: Any
    ) -> Any:
        with serving(model or self.model, **variables) as client:
            return client.post(path, content=body, headers={"Content-Type": kind})

    def with_manifest(self, change: dict[str, Any]) -> Any:
        """Serve the model with another manifest."""
        folder = Path(shutil.copytree(self.model, self.folder / "1"))
        fields = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(fields | change))
        return self.predict(form(part(PNG)), folder)

    def without_key(self) -> Any:
        keys = self.folder / "keys.txt"
        add_key(keys, "somebody", None)
        return self.predict(form(part(PNG)), CXR_API_KEYS=keys)

    def signed(self, signature: bytes | None) -> Any:
        """Ask for a signature of the model's manifest, and give this one."""
        folder = Path(shutil.copytree(self.model, self.folder / "1"))
        if signature is not None:
            (folder / SIGNATURE).write_bytes(signature)
        key = self.folder / "key.pub"
        key.write_bytes(public_pem(Ed25519PrivateKey.generate()))
        return self.predict(form(part(PNG)), folder, CXR_MODEL_KEY=key)

    def calibrated(self, **change: Any) -> Any:
        site = self.folder / "site.json"
        write_site(site, self.model, **change)
        return self.predict(form(part(PNG)), CXR_CALIBRATION=site)

    def unfamiliar(self) -> Any:
        """Serve a model with a gate."""
        folder = Path(shutil.copytree(self.model, self.folder / "1"))
        write_gate(folder)
        return self.predict(form(part(UNFAMILIAR)), folder)

    def busy(self) -> Any:
        """All the memory for uploads is held by another request."""
        initialise = Budget.__init__

        def full(budget: Budget, total: float) -> None:
            initialise(budget, total)
            budget.held = int(total)

        self.patch.setattr(Budget, "__init__", full)
        return self.predict(form(part(PNG)))

    def slow(self) -> Any:
        """Stop in the middle of the body."""
        self.patch.setattr(upload, "UPLOAD_SECONDS", 0.01)

        async def body() -> AsyncIterator[bytes]:
            yield form(part(PNG))[:100]
            await asyncio.Event().wait()

        async def post(app: Any) -> Any:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1"
            ) as client:
                return await client.post("/predict", content=body(), headers={"Content-Type": FORM})

        with serving(self.model) as client:
            return asyncio.run(post(client.app))

    def stopped(self) -> Any:
        """The decoding processes do nothing."""
        with serving(self.model, CXR_DECODE_SECONDS=5) as client:
            ask = partial(client.post, "/predict", files={"image": PNG})
            with suspended(ready_decoders(ask)):
                return ask()

    def killed(self) -> Any:
        """The decoding processes are killed when they have a file to decode."""
        with serving(self.model) as client:
            ask = partial(client.post, "/predict", files={"image": PNG})
            decoders = ready_decoders(ask)
            with suspended(decoders), ThreadPoolExecutor(1) as thread:
                answer = thread.submit(ask)
                wait_until(lambda: any(map(has_work, decoders)))
                for decoder in decoders:
                    decoder.kill()
                return answer.result()


OTHERWISE: dict[type[ReadingError], Callable[[Scene], Any]] = {
    errors.DecoderCrashed: Scene.killed,
    errors.DecodeTimeout: Scene.stopped,
    errors.TooManyBytes: lambda scene: scene.predict(form(part(PNG)), CXR_MAX_BYTES=10_000),
    errors.TooManyPixels: lambda scene: scene.predict(form(part(PNG)), CXR_MAX_PIXELS=10_000),
    errors.UnfamiliarImage: Scene.unfamiliar,
    errors.UnsupportedMediaType: lambda scene: scene.post("/predict", PNG, "text/plain"),
    errors.InvalidParameter: lambda scene: scene.post("/explain?bare=2", form(part(PNG)), FORM),
    errors.UploadTimeout: Scene.slow,
    errors.ServiceBusy: Scene.busy,
    errors.Unauthorized: Scene.without_key,
    errors.KeysRequired: lambda scene: scene.predict(form(part(PNG)), address="192.0.2.1"),
    errors.ModelUnsigned: lambda scene: scene.signed(None),
    errors.ModelSignatureInvalid: lambda scene: scene.signed(bytes(64)),
    errors.ModelUnavailable: lambda scene: scene.predict(form(part(PNG)), scene.folder / "gone"),
    errors.ModelCorrupt: lambda scene: scene.with_manifest({"sha256": {"model.onnx": "0" * 64}}),
    errors.InvalidManifest: lambda scene: scene.with_manifest({"schema_version": 0}),
    errors.InvalidCalibration: lambda scene: scene.calibrated(temperature=0.0),
    errors.CalibrationMismatch: lambda scene: scene.calibrated(sha256="0" * 64),
}


def test_nothing_is_left_out() -> None:
    assert {*IMAGES, *BODIES, *OTHERWISE} == RAISED


def in_order(found: Iterable[type[ReadingError]]) -> list[type[ReadingError]]:
    return sorted(found, key=attrgetter("code"))


class TestErrorsOfTheRequest:
    """Provoked one after the other: none may keep the service from the next."""

    @pytest.fixture(scope="class")
    @classmethod
    def client(cls, tiny_model: Path) -> Iterator[TestClient]:
        with serving(tiny_model) as client:
            yield client

    @pytest.mark.parametrize("error", in_order(IMAGES.keys() | BODIES.keys()))
    def test_every_one_is_provoked_through_http(
        self, error: type[ReadingError], client: TestClient
    ) -> None:
        body = BODIES[error] if error in BODIES else form(part(IMAGES[error]()))
        response = client.post("/predict", content=body, headers={"Content-Type": FORM})
        assert problem(response) == (STATUS[error], error.code)


@pytest.mark.parametrize("error", in_order(OTHERWISE))
def test_every_other_error_is_provoked_through_http(
    error: type[ReadingError], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = OTHERWISE[error](Scene(tiny_model, tmp_path, monkeypatch))
    assert problem(response) == (STATUS[error], error.code)


def test_every_error_has_a_status_and_nothing_else_has() -> None:
    assert set(STATUS) == RAISED


def test_codes_are_unique() -> None:
    codes = [error.code for error in subclasses(ReadingError)]
    codes += [code for code, _ in FRAMEWORK.values()]
    assert len(codes) == len(set(codes))


def test_documentation_lists_every_code_with_its_status_and_no_other() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \|", text, re.MULTILINE))
    expected = {error.code: str(int(status)) for error, status in STATUS.items()}
    expected |= {code: str(status) for status, (code, _) in FRAMEWORK.items()}
    assert rows == expected


def test_bases_are_never_raised() -> None:
    names = {base.__name__ for base in BASES}
    for path in files(ROOT / "service", "*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in names, f"{path.name}:{node.lineno}"


def test_tree_in_the_module_lists_every_error() -> None:
    listed = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))
    assert listed == {error.__name__ for error in subclasses(ReadingError)} - {"ReadingError"}
