"""Where the model that comes with nanocxr lies."""

from pathlib import Path


def default_model() -> Path:
    """Folder of the default model.

    A checkout, the installed package and the Bento all have ``models`` beside ``service``.
    """
    return Path(__file__).resolve().parents[2] / "models" / "default" / "1"
