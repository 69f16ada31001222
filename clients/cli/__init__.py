"""`cxr`: the commands that read, score and evaluate."""

from clients.cli.main import cli

__all__ = ["cli"]
