import os
import platform
from pathlib import Path

import pytest

from service.processor import CPUINFO, cores, this_processor

CORE = """processor\t: {core}
model name\t: Some Processor @ 2.50GHz
flags\t\t: fpu sse2 avx2 avx512_vnni {more}
"""


def cpuinfo(folder: Path, more: str = "") -> Path:
    path = folder / "cpuinfo"
    path.write_text("\n".join(CORE.format(core=core, more=more) for core in range(2)))
    return path


def test_names_the_processor_what_it_has_and_what_it_lacks(tmp_path: Path) -> None:
    found = this_processor(cpuinfo(tmp_path), "x86_64")
    assert found.features == ("AVX2", "AVX-512 VNNI")
    assert str(found) == (
        "Some Processor @ 2.50GHz (has AVX2, AVX-512 VNNI; lacks AVX-VNNI, AVX-512 BF16, AMX BF16)"
    )


def test_every_feature_is_told_apart(tmp_path: Path) -> None:
    found = this_processor(cpuinfo(tmp_path, "avx_vnni avx512_bf16 amx_bf16"), "x86_64")
    assert str(found).endswith("AVX-VNNI, AVX-512 BF16, AMX BF16; lacks none)")


@pytest.mark.parametrize("machine", ["aarch64", "arm64"])
def test_other_architectures_have_their_name_alone(tmp_path: Path, machine: str) -> None:
    assert str(this_processor(cpuinfo(tmp_path), machine)) == machine


def test_system_that_does_not_tell_has_the_architecture_alone(tmp_path: Path) -> None:
    assert str(this_processor(tmp_path / "missing", "AMD64")) == "AMD64"


@pytest.mark.skipif(not CPUINFO.exists(), reason="not Linux")
def test_this_machine_is_described() -> None:
    found = this_processor()
    assert found.name
    assert (found.features is not None) == (platform.machine() == "x86_64")


def test_at_least_one_core() -> None:
    assert cores() >= 1


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 64),
        ({"cpu.max": "max 100000"}, 64),
        ({"cpu.max": "250000 100000"}, 3),
        ({"cpu.max": "20000 100000"}, 1),
        ({"cpu.max": "9900000 100000"}, 64),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
    ],
)
def test_a_limit_of_time_counts_as_cores(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    assert cores(tmp_path) == expected
