"""podman is told what a machine lacks, by looking at that machine."""

import os
import resource
from pathlib import Path

import pytest

from deploy.adapting import Adaptation
from deploy.engine import Engine, digest_of

EVERYTHING = "000001ffffffffff"
NO_SYS_RESOURCE = "000001fffeffffff"
DIGESTS = [f"sha256:{letter * 64}" for letter in "abc"]


def system(root: Path, *, effective: str = EVERYTHING, controllers: str | None = None) -> Path:
    """The files of a machine with these capabilities, and these controllers beside version 1."""
    status = root / "proc/self/status"
    status.parent.mkdir(parents=True)
    status.write_text(f"Name:\tpython\nCapInh:\t0000000000000000\nCapEff:\t{effective}\n")
    if controllers is not None:
        unified = root / "sys/fs/cgroup/unified"
        unified.mkdir(parents=True)
        (unified / "cgroup.controllers").write_text(f"{controllers}\n")
    return root


class TestAdaptation:
    @pytest.mark.parametrize("controllers", [None, ""])
    def test_nothing_where_nothing_lacks(self, tmp_path: Path, controllers: str | None) -> None:
        root = system(tmp_path, controllers=controllers)
        assert Adaptation.here("podman", root) == Adaptation()

    def test_another_runtime_where_crun_refuses(self, tmp_path: Path) -> None:
        found = Adaptation.here("podman", system(tmp_path, controllers="hugetlb"))
        assert found.runtime == ("--runtime=runc",)
        assert found.limits == ()
        assert "hugetlb" in found.notes[0]

    @pytest.mark.skipif(os.geteuid() != 0, reason="without root podman keeps to its own limits")
    def test_no_more_files_than_root_may_give_without_the_capability(self, tmp_path: Path) -> None:
        found = Adaptation.here("podman", system(tmp_path, effective=NO_SYS_RESOURCE))
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        assert found.limits[0] == f"--ulimit=nofile={files}:{files}"
        assert found.runtime == ()
        assert "CAP_SYS_RESOURCE" in found.notes[0]

    def test_docker_has_a_daemon_with_its_own_rights(self, tmp_path: Path) -> None:
        root = system(tmp_path, effective=NO_SYS_RESOURCE, controllers="hugetlb")
        assert Adaptation.here("docker", root) == Adaptation()
        assert Adaptation.here("buildah", root).runtime == ("--runtime=runc",)
        assert Adaptation.here("buildah", root).limits == ()


class TestCommand:
    adaptation = Adaptation(("--runtime=runc",), ("--ulimit=nofile=9:9",), ("why",))

    def test_podman_runs_with_runtime_and_limits(self) -> None:
        podman = Engine("podman", self.adaptation)
        assert podman.command("run", "--rm", "x") == [
            *("podman", "--runtime=runc", "run", "--ulimit=nofile=9:9", "--rm", "x")
        ]
        assert podman.command("stop", "x") == ["podman", "--runtime=runc", "stop", "x"]

    def test_buildah_has_the_runtime_behind_the_verb(self) -> None:
        buildah = Engine("buildah", self.adaptation)
        assert buildah.command("build", ".") == ["buildah", "build", "--runtime=runc", "."]
        assert buildah.command("from", "x") == ["buildah", "from", "x"]

    def test_nothing_is_added_where_nothing_lacks(self) -> None:
        assert Engine("docker", Adaptation()).command("run", "x") == ["docker", "run", "x"]


class TestDigest:
    @pytest.mark.parametrize(
        ("image", "entry"),
        [
            ("docker.io/library/python:3.11-slim", "docker.io/library/python"),
            ("docker.io/library/python:3.11-slim", "python"),  # docker
            ("python:3.11-slim", "docker.io/library/python"),
            ("docker.io/prom/prometheus:v3", "prom/prometheus"),
            ("localhost:5000/python", "localhost:5000/python"),
        ],
    )
    def test_of_the_repository_that_was_named(self, image: str, entry: str) -> None:
        known = [f"mirror.example/other@{DIGESTS[0]}", f"{entry}@{DIGESTS[1]}"]
        assert digest_of(image, known) == DIGESTS[1]

    def test_none_where_it_comes_from_elsewhere(self) -> None:
        assert digest_of("localhost/base:1", []) is None
        assert digest_of("localhost/base:1", [f"mirror.example/base@{DIGESTS[0]}"]) is None

    def test_one_that_is_given_needs_no_engine(self) -> None:
        image = f"docker.io/library/python:3.11@{DIGESTS[2]}"
        assert Engine("docker", Adaptation()).digest(image) == DIGESTS[2]
