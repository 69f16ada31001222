"""`cxr node` says what is wrong in one line, before anything listens."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from clients.cli import cli

NODE = """
spool = "{folder}/spool"
[service]
{service}
[[destination]]
name = "pacs"
{destination}
"""
ARCHIVE = 'ae_title = "PACS"\naddress = "127.0.0.1"\nport = 104'


def config(folder: Path, *, service: str = "", destination: str = ARCHIVE) -> str:
    path = folder / "node.toml"
    path.write_text(NODE.format(folder=folder, service=service, destination=destination))
    return str(path)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"service": 'key_file = "/nowhere"'}, "the key file /nowhere cannot be read"),
        ({"service": 'kye_file = "/nowhere"'}, "did you mean key_file?"),
        (
            {"destination": f'{ARCHIVE}\ntls = {{ca = "/nowhere"}}'},
            "tls of pacs: No such file or directory",
        ),
    ],
)
def test_does_not_start(tmp_path: Path, keys: dict[str, str], sentence: str) -> None:
    done = CliRunner().invoke(cli, ["node", "--config", config(tmp_path, **keys)])
    assert done.exit_code == 1
    assert sentence in done.output.splitlines()[-1]
    assert not (tmp_path / "spool").exists()


def test_needs_its_file() -> None:
    done = CliRunner().invoke(cli, ["node"])
    assert done.exit_code == 2
    assert "--config" in done.output


@pytest.mark.parametrize("command", ["status", "retry", "purge"])
def test_nothing_is_made_where_no_node_has_run(tmp_path: Path, command: str) -> None:
    done = CliRunner().invoke(cli, ["node", command, "--config", config(tmp_path)])
    assert done.exit_code == 1
    assert "no node has run in" in done.output
    assert not (tmp_path / "spool").exists()
