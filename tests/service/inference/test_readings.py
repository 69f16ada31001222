from pathlib import Path

from prometheus_client import REGISTRY

from tests.serving import serving
from tests.tiny_model import FAMILIAR, UNFAMILIAR


def counts() -> tuple[float, ...]:
    """How often familiarity, probability and the gate's refusal were counted so far."""
    refusal = {"code": "unfamiliar_image"}
    return (
        REGISTRY.get_sample_value("nanocxr_input_familiarity_count") or 0,
        REGISTRY.get_sample_value("nanocxr_probability_count") or 0,
        REGISTRY.get_sample_value("nanocxr_problems_total", refusal) or 0,
    )


def test_familiarity_of_what_the_gate_refuses_counts_too(gated_model: Path) -> None:
    before = counts()
    with serving(gated_model) as client:
        assert client.post("/predict", files={"image": FAMILIAR}).status_code == 200
        assert client.post("/predict", files={"image": UNFAMILIAR}).status_code == 422
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [2, 1, 1]
