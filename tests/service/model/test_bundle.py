import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from service.errors import InvalidManifest, ModelCorrupt, ModelUnavailable
from service.model.bundle import Bundle
from tests.tiny_model import CARD


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(tiny_model, tmp_path / "spoiled" / "1"))


def rename_card(folder: Path, name: str) -> None:
    manifest = folder / "manifest.json"
    fields = json.loads(manifest.read_text())
    fields["sha256"][name] = fields["sha256"].pop("MODEL_CARD.md")
    manifest.write_text(json.dumps(fields))


class TestOpen:
    def test_graph_and_card_are_the_files(self, tiny_model: Path) -> None:
        bundle = Bundle.open(tiny_model)
        assert bundle.graph == (tiny_model / "model.onnx").read_bytes()
        assert bundle.card == CARD

    def test_identity_is_the_digest_of_the_graph(self, tiny_model: Path) -> None:
        bundle = Bundle.open(tiny_model)
        assert bundle.manifest.identity.sha256 == bundle.manifest.sha256["model.onnx"]

    def test_every_file_is_read_once(
        self, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened: list[str] = []
        original = io.open

        def counting(file: Path, *arguments: Any, **options: Any) -> Any:
            opened.append(Path(file).name)
            return original(file, *arguments, **options)

        monkeypatch.setattr(io, "open", counting)
        Bundle.open(tiny_model)
        assert sorted(opened) == ["MODEL_CARD.md", "manifest.json", "model.onnx"]

    def test_folder_without_manifest_is_unavailable(self, tmp_path: Path) -> None:
        with pytest.raises(ModelUnavailable, match="CXR_MODEL"):
            Bundle.open(tmp_path)

    def test_message_does_not_tell_where_the_folder_is(self, tmp_path: Path) -> None:
        with pytest.raises(ModelUnavailable) as caught:
            Bundle.open(tmp_path / "gone")
        assert str(tmp_path) not in str(caught.value)

    @pytest.mark.parametrize("name", ["model.onnx", "MODEL_CARD.md"])
    def test_one_changed_byte_is_corrupt(self, folder: Path, name: str) -> None:
        content = bytearray((folder / name).read_bytes())
        content[-1] ^= 1
        (folder / name).write_bytes(content)
        with pytest.raises(ModelCorrupt, match=name):
            Bundle.open(folder)

    @pytest.mark.parametrize("name", ["model.onnx", "MODEL_CARD.md"])
    def test_missing_file_is_unavailable(self, folder: Path, name: str) -> None:
        (folder / name).unlink()
        with pytest.raises(ModelUnavailable, match=name):
            Bundle.open(folder)

    def test_model_without_card_opens(self, folder: Path) -> None:
        manifest = folder / "manifest.json"
        fields = json.loads(manifest.read_text())
        del fields["sha256"]["MODEL_CARD.md"]
        manifest.write_text(json.dumps(fields))
        assert Bundle.open(folder).card == ""

    @pytest.mark.parametrize(
        "name", ["../card.md", "/etc/hostname", "sub/card.md", "..", "", "a\\b", "C:card", "a\0b"]
    )
    def test_name_outside_the_folder_is_refused(self, folder: Path, name: str) -> None:
        rename_card(folder, name)
        with pytest.raises(InvalidManifest, match="without a path"):
            Bundle.open(folder)

    def test_path_is_refused_even_where_the_file_exists(self, folder: Path) -> None:
        (folder / "MODEL_CARD.md").rename(folder.parent / "card.md")
        rename_card(folder, "../card.md")
        with pytest.raises(InvalidManifest):
            Bundle.open(folder)
