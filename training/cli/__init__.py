"""`cxr-train`: the commands that generate, train and package."""

from training.cli.main import cli

__all__ = ["cli"]
