import json
from pathlib import Path
from typing import Any

import pytest

from service.errors import InvalidManifest
from service.model.manifest import Manifest
from tests.tiny_model import GATE, POINT


@pytest.fixture
def fields(tiny_model: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((tiny_model / "manifest.json").read_text())
    return loaded


class TestManifest:
    def test_json_round_trip(self, tiny_model: Path) -> None:
        manifest = Manifest.load(tiny_model / "manifest.json")
        assert Manifest.from_json(manifest.to_json()) == manifest

    def test_gate_survives_the_round_trip(self, gated_model: Path) -> None:
        manifest = Manifest.load(gated_model / "manifest.json")
        assert manifest.gate == GATE
        assert Manifest.from_json(manifest.to_json()) == manifest

    def test_manifest_from_before_there_were_gates_is_read(self, fields: dict[str, Any]) -> None:
        del fields["gate"]
        assert Manifest.from_json(json.dumps(fields)).gate is None

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"schema_version": 2}, "schema 2"),
            ({"colour": "red"}, "colour"),
            ({"default_operating_point": "best"}, "best"),
            ({"heatmap_scale": 0.0}, "heatmap scale"),
            ({"operating_points": []}, "balanced"),
            ({"operating_points": [POINT.__class__.__name__]}, "not readable"),
            ({"graph": "other.onnx"}, "no SHA-256"),
            ({"sha256": {"model.onnx": 7}}, "not a string"),
            ({"gate": {"graph": "gate.onnx", "threshold": 0.5}}, "no SHA-256 for the gate"),
            ({"gate": {"graph": "model.onnx", "threshold": 1.0}}, "threshold"),
            ({"gate": {"graph": "model.onnx", "threshold": "high"}}, "not readable"),
            ({"calibration": {"temperature": "warm"}}, "not readable"),
        ],
    )
    def test_contradiction_is_refused(
        self, fields: dict[str, Any], change: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(InvalidManifest, match=message):
            Manifest.from_json(json.dumps(fields | change))

    def test_repeated_operating_point_is_refused(self, fields: dict[str, Any]) -> None:
        fields["operating_points"] *= 2
        with pytest.raises(InvalidManifest, match="repeat a name"):
            Manifest.from_json(json.dumps(fields))

    @pytest.mark.parametrize("text", ["", "[]", "{}", "null"])
    def test_what_is_no_manifest_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidManifest, match="not readable"):
            Manifest.from_json(text)

    def test_missing_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidManifest, match=r"manifest\.json"):
            Manifest.load(tmp_path / "manifest.json")
