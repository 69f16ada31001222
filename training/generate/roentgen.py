"""RoentGen-v2, a Stable Diffusion 2.1 trained on chest radiographs; the only file with diffusers.

design -> prompt -> [roentgen-v2] -> archive -> dataset

References
----------
"RoentGen-v2", arXiv 2508.16783: prompts of at most 77 tokens, guidance 3, 75 steps.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from tqdm import tqdm

from service.files import sha256
from training.generate.archive import Archive
from training.generate.manifest import DatasetMismatch
from training.generate.plan import Plan
from training.generate.prompt import FOLDER


@dataclass(frozen=True, slots=True, kw_only=True)
class RoentgenSettings:
    """Everything but the design.

    Attributes
    ----------
    model
        Id of a model, downloaded with the login of the environment, or a folder of one.
    templates
        TOML file of prompts.
    guidance, steps
        Of the sampling, as published.
    batch_size
        Images drawn at once; it changes them by rounding only.
    device, dtype
        As torch names them; by default cuda where there is one, with bfloat16, else cpu with
        float32.
    max_images
        Bound on the images of the folder, whatever the number of runs.
    """

    model: str = "stanfordmimi/RoentGen-v2"
    templates: Path = FOLDER / "roentgen.toml"
    guidance: float = 3.0
    steps: int = 75
    batch_size: int = 4
    device: str | None = None
    dtype: str | None = None
    max_images: int | None = None

    def plan(self, pairs: int, seed: int) -> Plan:
        """Every request of the data set."""
        return Plan.draw(
            pairs,
            seed,
            self.templates,
            generator="roentgen-v2",
            model=self.model,
            guidance=self.guidance,
            steps=self.steps,
        )


def draw(
    folder: Path, *, pairs: int, seed: int, settings: RoentgenSettings, progress: bool = True
) -> tuple[Path | None, int, int]:
    """Draw every image that is missing in ``folder``.

    Both halves of a pair start from the same noise. Interruptions cost the batch being drawn.

    Returns
    -------
    manifest, images, wanted
        File of the manifest, which lists complete pairs (None if there is none); images that are
        there, of those the design asks for.

    Raises
    ------
    ValueError
        If ``folder`` holds images of another design or other weights, or a prompt is too long.
    OSError
        If the model cannot be had, or has no safetensors: pickled weights are never loaded.
    """
    plan = settings.plan(pairs, seed)
    names = plan.missing(folder, settings.max_images)
    archive = Archive(folder, plan.generation)
    have = len(plan.requests) - len(names)
    with tqdm(total=len(plan.requests), initial=have, unit="image", disable=not progress) as bar:
        if names:
            pipeline, version = _load(settings)
            _check_prompts(pipeline, plan, names)
            _check_weights(archive, version)
        for first in range(0, len(names), settings.batch_size):
            batch = names[first : first + settings.batch_size]
            for name, content in zip(batch, _sample(pipeline, plan, batch, settings), strict=True):
                facts = plan.facts(name, plan.prompt(name)[0])
                model = {"model": settings.model, "model_version": version}
                archive.save(name, content, facts | model)
            bar.update(len(batch))
    images = sum(name in archive.rows for name in plan.requests)
    return archive.write_pairs(plan.requests), images, len(plan.requests)


def _load(settings: RoentgenSettings) -> tuple[Any, str]:
    """The pipeline and the version of its weights."""
    device = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = settings.dtype or ("bfloat16" if device.startswith("cuda") else "float32")
    path = Path(settings.model)
    if not path.is_dir():
        path = Path(StableDiffusionPipeline.download(settings.model, use_safetensors=True))
    load: Any = StableDiffusionPipeline.from_pretrained  # has no type information
    pipeline = load(
        str(path),
        dtype=getattr(torch, dtype),
        use_safetensors=True,
        low_cpu_mem_usage=False,  # True needs accelerate
        safety_checker=None,  # made for photographs
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device), weights_digest(path)


def weights_digest(folder: Path) -> str:
    """First 12 hex digits of the SHA-256 of all weights of a pipeline."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(bytes.fromhex(sha256(path)))
    return digest.hexdigest()[:12]


def _check_prompts(pipeline: Any, plan: Plan, names: Sequence[str]) -> None:
    """Refuse prompts that the text encoder would cut."""
    limit = pipeline.tokenizer.model_max_length
    for name in names:
        prompt = plan.prompt(name)[1]
        tokens = len(pipeline.tokenizer(prompt).input_ids)
        if tokens > limit:
            raise ValueError(f"a prompt has {tokens} tokens, at most {limit} are read: {prompt}")


def _check_weights(archive: Archive, version: str) -> None:
    for row in archive.rows.values():
        if row["model_version"] != version:
            raise DatasetMismatch(
                f"{archive.folder} holds images of weights {row['model_version']}, these are "
                f"{version}. Choose another folder."
            )


def _sample(
    pipeline: Any, plan: Plan, names: Sequence[str], settings: RoentgenSettings
) -> list[bytes]:
    """Draw one batch; grey PNG files. Noise comes from the CPU, the same on every device."""
    seeds = [plan.requests[name].seed for name in names]
    images = pipeline(
        [plan.prompt(name)[1] for name in names],
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance,
        generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
    ).images
    return [_grey_png(image) for image in images]


def _grey_png(image: Any) -> bytes:
    buffer = BytesIO()
    image.convert("L").save(buffer, "PNG")
    return buffer.getvalue()
