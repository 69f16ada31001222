"""RoentGen-v2 through diffusers, on a tiny random pipeline of Stable Diffusion 2.1's shape."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Whitespace
from tokenizers.trainers import BpeTrainer

from training.generate.design import draw_requests
from training.generate.manifest import DatasetMismatch
from training.generate.prompt import FOLDER, Templates

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

SIDE = 32


def save_tokenizer(folder: Path) -> "CLIPTokenizer":
    """A CLIP tokenizer that learned its words from prompts of our own templates."""
    from transformers import CLIPTokenizer  # noqa: PLC0415  see `roentgen`

    templates = Templates.load(FOLDER / "roentgen.toml")
    prompts = [
        templates.prompt(request, 0).lower()
        for request in draw_requests(9, 200, templates.age_bands)
    ]
    learned = Tokenizer(BPE(end_of_word_suffix="</w>"))
    learned.pre_tokenizer = Sequence([Whitespace(), Digits(individual_digits=True)])
    trainer = BpeTrainer(
        vocab_size=1500,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        initial_alphabet=ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learned.train_from_iterator(prompts, trainer)
    folder.mkdir()
    learned.model.save(str(folder))
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77
    )


@pytest.fixture(scope="module")
def roentgen() -> Any:
    """The module; each process that lists the tests would take two seconds for diffusers."""
    from training.generate import roentgen  # noqa: PLC0415

    return roentgen


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a pipeline with random weights: U-Net, VAE, text encoder, scheduler as in 2.1."""
    from diffusers import (  # noqa: PLC0415
        AutoencoderKL,
        PNDMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel  # noqa: PLC0415

    root = tmp_path_factory.mktemp("sd21")
    torch.manual_seed(0)
    tokenizer = save_tokenizer(root / "words")
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        hidden_act="gelu",
        projection_dim=32,
    )
    unet: Any = UNet2DConditionModel
    vae: Any = AutoencoderKL
    scheduler: Any = PNDMScheduler
    pipeline: Any = StableDiffusionPipeline
    pipeline(
        vae=vae(
            block_out_channels=(32, 32),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            sample_size=SIDE,
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=unet(
            block_out_channels=(32, 64),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            cross_attention_dim=32,
            layers_per_block=1,
            sample_size=SIDE // 2,
        ),
        scheduler=scheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            skip_prk_steps=True,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(str(root / "model"), safe_serialization=True)
    return root / "model"


@pytest.fixture
def run(roentgen: Any, model: Path) -> Callable[..., tuple[Path | None, int, int]]:
    def run(folder: Path, pairs: int = 2, seed: int = 1, **changes: Any) -> Any:
        options: dict[str, Any] = {
            "model": str(model),
            "steps": 2,
            "batch_size": 3,
            "device": "cpu",
        }
        settings = roentgen.RoentgenSettings(**options | changes)
        return roentgen.draw(folder, pairs=pairs, seed=seed, settings=settings, progress=False)

    return run


def pixels(folder: Path, manifest: Any) -> Any:
    images = [cv2.imread(str(folder / path), cv2.IMREAD_UNCHANGED) for path in manifest["path"]]
    return np.stack([np.asarray(image) for image in images])


def test_defaults_are_the_published_ones(roentgen: Any) -> None:
    settings = roentgen.RoentgenSettings()
    assert (settings.guidance, settings.steps) == (3.0, 75)
    assert settings.model == "stanfordmimi/RoentGen-v2"


def test_images_are_grey_recorded_and_balanced(
    roentgen: Any, run: Any, model: Path, tmp_path: Path
) -> None:
    manifest, images, wanted = run(tmp_path, pairs=2)
    assert (images, wanted) == (4, 4)
    rows = pd.read_parquet(manifest)
    assert rows.groupby("group").label.apply(sorted).tolist() == [[0, 1]] * 2
    assert set(rows.model_version) == {roentgen.weights_digest(model)}
    assert set(rows.generator) == {"roentgen-v2"}
    assert set(rows.notice) == {""}
    assert rows.prompt.str.match(r"\d+ year old [A-Z]+ (fe)?male\. ").all()
    drawn = pixels(tmp_path, rows)
    assert drawn.shape == (4, SIDE, SIDE)
    assert (drawn.std(axis=(1, 2)) > 1).all()
    for row in rows.to_dict("records"):
        content = (tmp_path / row["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["sha256"]
        record = tmp_path / "images" / f"{row['request']}.json"
        assert json.loads(record.read_text()) == row


def test_halves_of_a_pair_begin_with_one_noise_and_differ_by_prompt(
    run: Any, tmp_path: Path
) -> None:
    rows = pd.read_parquet(run(tmp_path, pairs=2)[0])
    drawn = pixels(tmp_path, rows).astype(float)
    within = [np.abs(drawn[i] - drawn[i + 1]).mean() for i in (0, 2)]
    between = np.abs(drawn[0] - drawn[2]).mean()
    assert 0 < max(within) < between


def test_the_batch_size_changes_nothing_but_rounding(run: Any, tmp_path: Path) -> None:
    drawn = []
    for size in (1, 4):
        folder = tmp_path / str(size)
        rows = pd.read_parquet(run(folder, pairs=2, batch_size=size)[0])
        drawn.append(pixels(folder, rows).astype(int))
    assert np.abs(drawn[0] - drawn[1]).max() <= 2


def test_what_is_there_is_not_drawn_again(
    roentgen: Any, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, images, wanted = run(tmp_path, pairs=2, max_images=3)
    assert (images, wanted) == (3, 4)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("images/*.png")}
    manifest, images, _ = run(tmp_path, pairs=2)
    assert images == 4
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())
    monkeypatch.delattr(roentgen, "_load")  # complete: the model is not even loaded
    assert run(tmp_path, pairs=2) == (manifest, 4, 4)


def test_other_weights_and_other_sampling_are_refused(
    roentgen: Any, run: Any, model: Path, tmp_path: Path
) -> None:
    folder, other = tmp_path / "data", tmp_path / "model"
    shutil.copytree(model, other)
    run(folder, pairs=1, model=str(other))
    with pytest.raises(DatasetMismatch, match=r"guidance is 3\.0, asked for 7\.5"):
        run(folder, pairs=2, model=str(other), guidance=7.5)
    weights = next(other.glob("unet/*.safetensors"))
    weights.write_bytes(next(model.glob("vae/*.safetensors")).read_bytes())
    assert roentgen.weights_digest(other) != roentgen.weights_digest(model)
    shutil.copytree(model, other, dirs_exist_ok=True)
    changed = next(other.glob("vae/*.safetensors"))
    content = bytearray(changed.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    with pytest.raises(DatasetMismatch, match="images of weights"):
        run(folder, pairs=2, model=str(other))


def test_pickled_weights_are_not_loaded(run: Any, model: Path, tmp_path: Path) -> None:
    pickled = tmp_path / "model"
    shutil.copytree(model, pickled)
    weights = next(pickled.glob("unet/*.safetensors"))
    torch.save({"a": torch.zeros(1)}, weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(OSError, match="safetensors"):
        run(tmp_path / "data", model=str(pickled))


def test_a_prompt_that_would_be_cut_is_refused(run: Any, tmp_path: Path) -> None:
    long = tmp_path / "long.toml"
    text = (FOLDER / "roentgen.toml").read_text()
    long.write_text(text.replace("Normal chest radiograph.", "Normal chest radiograph. " * 30))
    with pytest.raises(ValueError, match=r"at most 77 are read: .*Normal"):
        run(tmp_path / "data", templates=long)
    assert not list((tmp_path / "data" / "images").iterdir())


def test_an_estimate_loads_and_writes_nothing(roentgen: Any, tmp_path: Path) -> None:
    settings = roentgen.RoentgenSettings(model="no/such-model", max_images=5)
    prompts = settings.plan(10, 1).missing_prompts(tmp_path / "data", settings.max_images)
    assert len(prompts) == 5
    assert not (tmp_path / "data").exists()
