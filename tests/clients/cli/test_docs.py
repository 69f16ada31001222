"""Every command explains itself, and docs/cli.md is what the commands say."""

import importlib.util
from types import ModuleType

import click
import pytest

from tests.sources import ROOT

DOCS = ROOT / "docs"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_cli", DOCS / "generate_cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = generator()
COMMANDS: dict[str, click.Command] = dict(GENERATOR.all_commands())
RUNNABLE = [name for name, command in COMMANDS.items() if not isinstance(command, click.Group)]


def test_reference_is_current() -> None:
    written = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert written == GENERATOR.render(), "run: python docs/generate_cli.py"


def test_both_programs_are_covered() -> None:
    assert {"cxr", "cxr predict", "cxr score", "cxr evaluate"} <= COMMANDS.keys()
    assert {"cxr-train", "cxr-train generate", "cxr-train fit"} <= COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_command_has_help(name: str) -> None:
    assert (COMMANDS[name].help or "").strip()


@pytest.mark.parametrize("name", RUNNABLE)
def test_command_has_an_example_that_calls_it_on_a_line_of_its_own(name: str) -> None:
    _, _, example = GENERATOR.help_text(name, COMMANDS[name]).partition("Example:")
    assert f"\n      {name} " in example, f"{name} has no example, or click rewrapped it"
